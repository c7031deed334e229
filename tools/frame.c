#include "tools/frame.h"

#include <inttypes.h>
#include <stdlib.h>

#include "codec/codec.h"

/* Fewest bits that an element takes: in plain codecs 4; in tabq next to nothing. */
static bool is_plausible(const struct wire_hdr *h, size_t n)
{
	return h->codec >= PLAIN_COUNT ? h->body_len > 0 : n / 2 <= h->body_len;
}

int frame_values(const struct wire_hdr *h, const uint8_t *body, float **x, struct err *e)
{
	const size_t n = (size_t)h->rows * h->dim, ids = h->flags & WIRE_IDS ? 4u * h->rows : 0;
	struct codec_work *w = NULL;
	int rc;

	*x = NULL;
	if (h->kind == WIRE_KV)
		return 0; /* numbers of a cache: not shown */
	if (!codec_known(h->codec))
		return err_set(e, ERR_UNSUPPORTED,
			       "rows in codec %u, which this side does not know", h->codec);
	if (ids > h->body_len || !is_plausible(h, n))
		return err_set(e, ERR_FORMAT,
			       "%" PRIu32 " bytes cannot hold %" PRIu32 " rows of %" PRIu32,
			       h->body_len, h->rows, h->dim);
	if (codec_needs(h->codec) != CODEC_NOTHING || n > FRAME_MAX_VALUES)
		return 0;
	*x = malloc(n * sizeof(**x));
	if (!*x || codec_work_create(&w, h->dim, h->rows))
		rc = err_set(e, ERR_NOMEM, "%s", err_phrase(ERR_NOMEM));
	else
		rc = codec_decode(w, NULL,
				  &(struct codec_chunk){ .id = h->codec,
							 .src = body + ids,
							 .len = h->body_len - ids,
							 .dim = h->dim,
							 .n = h->rows },
				  *x, e);
	codec_work_destroy(w);
	if (rc) {
		free(*x);
		*x = NULL;
	}
	return rc;
}
