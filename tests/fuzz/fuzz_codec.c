/* Two chunks of bytes, one after the other: refused, or finite rows and a state that a second
 * decoder comes to as well. With a calibration and without. The first bytes say which, the codecs,
 * how many rows and the length of the first chunk. What came out is encoded again within its
 * bound. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "codec/codec.h"
#include "tests/tiny_cal.h"

#define DIM   20
#define ROWS  3
#define VOCAB 16
#define HEAD  6

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static struct cal *calibration(void)
{
	static struct cal *cal;
	const struct tiny_cal conf = { .dim = DIM,
				       .k = DIM - 2,
				       .features = 4,
				       .vocab = VOCAB,
				       .n_splits = 1,
				       .size = 3,
				       .seed = 1 };

	if (!cal)
		cal = tiny_cal_make(&conf);
	return cal;
}

struct ends {
	struct codec_work *work;
	struct codec_state *decoders[2], *encoder;
};

static struct codec_state *make_state(bool predicts)
{
	struct cal *cal = predicts ? calibration() : NULL;
	struct codec_state *s = NULL;

	if (codec_state_create(&s, DIM, cal, tiny_cal_split(cal, 1)))
		abort();
	return s;
}

static void encode_again(struct ends *s, const struct codec_chunk *c, const float *x)
{
	const struct codec_rows rows = { x, c->ids, c->n };
	struct codec_bytes out = { 0 };
	struct codec_spec spec;
	struct err e;
	int rc;

	if (spec_parse(&spec, c->id & 1 ? "tabq" : "tabq:entropy=lz4,delta=0.1", &e))
		abort();
	out.cap = codec_bound(&spec, DIM, c->n);
	out.dst = malloc(out.cap);
	if (!out.dst)
		abort();
	rc = codec_encode(&spec, s->work, s->encoder, &rows, &out, &e);
	if (rc && rc != ERR_NOT_FINITE)
		abort();
	if (!rc && out.len > out.cap)
		abort();
	free(out.dst);
}

/* False when the chunk is refused: what comes after it means nothing. */
static bool take(struct ends *s, unsigned id, unsigned n, const uint8_t *src, size_t len)
{
	const uint32_t ids[ROWS] = { id % VOCAB, n * 5 % VOCAB, VOCAB - 1 };
	const struct codec_chunk c = { .id = id & 0x7f,
				       .src = src,
				       .len = len,
				       .ids = id & 0x80 ? NULL : ids,
				       .dim = DIM,
				       .n = n };
	float x[2][ROWS * DIM];
	int rc[2];

	for (unsigned i = 0; i < 2; i++)
		rc[i] = codec_decode(s->work, s->decoders[i], &c, x[i], NULL);
	if (rc[0] != rc[1])
		abort();
	if (rc[0])
		return false;
	if (memcmp(x[0], x[1], n * DIM * sizeof(**x)) ||
	    codec_state_hash(s->decoders[0]) != codec_state_hash(s->decoders[1]))
		abort();
	for (size_t i = 0; i < n * DIM; i++) {
		if (!isfinite(x[0][i]))
			abort();
	}
	encode_again(s, &c, x[0]);
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct ends s = { 0 };
	size_t first;

	if (len < HEAD)
		return 0;
	first = (size_t)(data[4] | data[5] << 8);
	first = first < len - HEAD ? first : len - HEAD;
	if (codec_work_create(&s.work, DIM, ROWS))
		abort();
	for (unsigned i = 0; i < 2; i++)
		s.decoders[i] = make_state(data[0] & 1);
	s.encoder = make_state(data[0] & 1);
	if (take(&s, data[1], data[3] & 3, data + HEAD, first))
		take(&s, data[2], data[3] >> 2 & 3, data + HEAD + first, len - HEAD - first);
	codec_work_destroy(s.work);
	for (unsigned i = 0; i < 2; i++)
		codec_state_destroy(s.decoders[i]);
	codec_state_destroy(s.encoder);
	return 0;
}
