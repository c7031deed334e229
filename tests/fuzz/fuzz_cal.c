/* Bytes are refused, or a calibration that is printed as the same bytes and can predict. The CRC and
 * the length are made to fit where the first byte is odd, or little would be reached. */
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

static void check(const struct cal *c, const uint8_t *src, size_t len)
{
	uint8_t *again = NULL;
	size_t again_len;

	if (cal_print(c, &again, &again_len) || again_len != len || memcmp(again, src, len) != 0)
		abort();
	free(again);
	for (uint32_t i = 0; i < c->n_splits && c->dim <= MOST_DIM; i++)
		cross(c, &c->splits[i]);
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
	if (data[0] & 1 && len >= CAL_HEADER_LEN) {
		le_put64(copy + CAL_AT_LEN, len);
		le_put32(copy + CAL_AT_CRC, crc32c(crc32c(0, copy, CAL_AT_CRC),
						   copy + CAL_AT_CRC + 4, len - CAL_AT_CRC - 4));
	}
	if (!cal_parse(&c, copy, len, NULL))
		check(c, copy, len);
	cal_close(c);
	free(copy);
	return 0;
}
