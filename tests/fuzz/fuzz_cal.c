/* Bytes are refused, or a calibration that is printed as one that says the same, and that can
 * predict. Lengths and CRCs are made to fit where the first byte is odd, or little would be
 * reached. */
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/le.h"
#include "codec/cal.h"
#include "codec/cal_layout.h"
#include "codec/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define MOST_DIM 512

/* Rows cross by each split; whatever its numbers are, both ends come to the same. */
static void cross(const struct cal *c, const struct cal_split *s)
{
	struct codec_work *work = NULL;
	struct codec_state *ends[2] = { NULL };
	struct codec_spec spec;
	float *x = calloc(c->dim, sizeof(*x)), *y = calloc(c->dim, sizeof(*y));
	struct codec_bytes out = { 0 };

	if (spec_parse(&spec, "tabq", NULL) || !x || !y || codec_work_create(&work, c->dim, 1) ||
	    codec_state_create(&ends[0], c->dim, c, s) ||
	    codec_state_create(&ends[1], c->dim, c, s))
		abort();
	out.cap = codec_bound(&spec, c->dim, 1);
	out.dst = malloc(out.cap);
	if (!out.dst)
		abort();
	for (uint32_t n = 0; n < 4; n++) {
		const uint32_t id = n % c->n_vocab;

		for (uint32_t i = 0; i < c->dim; i++)
			x[i] = (float)((i * 7 + n) % 5) - 2;
		if (codec_encode(&spec, work, ends[0], &(struct codec_rows){ x, &id, 1 }, &out,
				 NULL))
			break;
		if (codec_decode(work, ends[1],
				 &(struct codec_chunk){ .id = out.id,
							.src = out.dst,
							.len = out.len,
							.ids = &id,
							.dim = c->dim,
							.n = 1 },
				 y, NULL))
			break; /* not finite */
		if (codec_state_hash(ends[0]) != codec_state_hash(ends[1]))
			abort();
	}
	codec_work_destroy(work);
	codec_state_destroy(ends[0]);
	codec_state_destroy(ends[1]);
	free(out.dst);
	free(x);
	free(y);
}

static void check(struct cal *c)
{
	uint8_t *again = NULL;
	struct cal *back = NULL;
	size_t len;

	for (uint32_t i = 0; i < c->n_splits; i++) {
		const struct cal_split *s = NULL;

		if (!cal_use(c, c->splits[i].split, &s, NULL) && c->dim <= MOST_DIM)
			cross(c, s);
	}
	if (cal_print(c, &again, &len) || cal_parse(&back, again, len, NULL) ||
	    back->n_splits != c->n_splits || back->n_losses != c->n_losses)
		abort();
	cal_close(back);
	free(again);
}

static uint64_t at_most(uint64_t v, uint64_t most)
{
	return v < most ? v : most;
}

/* CRCs of all that the header and the directory name. */
static void sign(uint8_t *p, size_t len)
{
	const uint64_t splits =
		at_most(le_get32(p + CAL_AT_SPLITS), (len - CAL_HEADER_LEN) / CAL_ENTRY_LEN);
	const uint64_t features_at = at_most(le_get64(p + CAL_AT_FEATURES_AT), len);
	const uint64_t features =
		(uint64_t)le_get32(p + CAL_AT_VOCAB) * le_get32(p + CAL_AT_FEATURES);
	const uint64_t front = CAL_HEADER_LEN +
			       (uint64_t)le_get32(p + CAL_AT_SPLITS) * CAL_ENTRY_LEN +
			       (uint64_t)le_get32(p + CAL_AT_LOSSES) * CAL_LOSS_LEN;

	le_put64(p + CAL_AT_LEN, len);
	for (uint64_t i = 0; i < splits; i++) {
		uint8_t *entry = p + CAL_HEADER_LEN + i * CAL_ENTRY_LEN;
		const uint64_t at = at_most(le_get64(entry + CAL_ENTRY_AT), len);

		le_put32(entry + CAL_ENTRY_CRC,
			 crc32c(0, p + at, at_most(le_get64(entry + CAL_ENTRY_BYTES), len - at)));
	}
	le_put32(p + CAL_AT_FEATURES_CRC,
		 crc32c(0, p + features_at, at_most(features, len - features_at)));
	le_put32(p + CAL_AT_CRC, crc32c(crc32c(0, p, CAL_AT_CRC), p + CAL_AT_CRC + 4,
					at_most(front, len) - CAL_AT_CRC - 4));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct cal *c = NULL;
	uint8_t *copy;

	if (!len)
		return 0;
	copy = malloc(len);
	if (!copy)
		abort();
	memcpy(copy, data + 1, len - 1);
	len--;
	if (data[0] & 1 && len >= CAL_HEADER_LEN)
		sign(copy, len);
	if (!cal_parse(&c, copy, len, NULL))
		check(c);
	cal_close(c);
	free(copy);
	return 0;
}
