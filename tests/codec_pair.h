/* tests/codec_pair.h - an encoder and a decoder of one split, and rows between them: what the tests
 * of the codec's front door stand on. Include it after cmocka.h, in one .c file of a program. */
#ifndef TESTS_CODEC_PAIR_H
#define TESTS_CODEC_PAIR_H

#include <stdlib.h>

#include "base/rng.h"
#include "codec/codec.h"
#include "tests/tiny_cal.h"

#define MOST_DIM  256
#define MOST_ROWS 5
#define VOCAB     50u
#define SIZE      3.0f
#define CAP       (MOST_ROWS * (MOST_DIM * 4 + 512))

/* An encoder and a decoder of the same split. */
struct pair {
	size_t dim;
	struct cal *cal;
	struct codec_work *work;
	struct codec_state *sender, *receiver;
	struct codec_spec spec;
	float x[MOST_ROWS * MOST_DIM], y[MOST_ROWS * MOST_DIM];
	uint32_t ids[MOST_ROWS];
	uint8_t bytes[CAP];
	struct codec_bytes out;
	struct err e;
};

static inline struct cal *calibration(size_t dim, uint64_t seed)
{
	struct tiny_cal conf = { .dim = (uint32_t)dim,
				 .k = (uint32_t)dim,
				 .features = 8,
				 .vocab = VOCAB,
				 .n_splits = 1,
				 .size = SIZE,
				 .seed = seed };

	return tiny_cal_make(&conf);
}

static inline void set_spec(struct pair *p, const char *text)
{
	if (spec_parse(&p->spec, text, &p->e))
		fail_msg("%s: %s", text, p->e.text);
}

static inline struct pair *pair_create(size_t dim, struct cal *cal, const char *spec)
{
	struct pair *p = calloc(1, sizeof(*p));

	assert_non_null(p);
	p->dim = dim;
	p->cal = cal;
	assert_int_equal(codec_work_create(&p->work, dim, MOST_ROWS), 0);
	assert_int_equal(codec_state_create(&p->sender, dim, cal, tiny_cal_split(cal, 1)), 0);
	assert_int_equal(codec_state_create(&p->receiver, dim, cal, tiny_cal_split(cal, 1)), 0);
	set_spec(p, spec);
	return p;
}

static inline void pair_destroy(struct pair *p)
{
	codec_work_destroy(p->work);
	codec_state_destroy(p->sender);
	codec_state_destroy(p->receiver);
	cal_close(p->cal);
	free(p);
}

/* Rows of positions pos on, and their tokens. */
static inline void make_rows(struct pair *p, uint64_t seed, uint32_t pos, size_t n)
{
	tiny_cal_rows(seed, pos, n, p->dim, SIZE, p->x);
	for (size_t i = 0; i < n; i++)
		p->ids[i] = (uint32_t)(rng_u64(seed, 1000000 + pos + i) % VOCAB);
}

static inline int encode(struct pair *p, size_t n, bool ids)
{
	const struct codec_rows rows = { p->x, ids ? p->ids : NULL, n };

	p->out = (struct codec_bytes){ .dst = p->bytes, .cap = codec_bound(&p->spec, p->dim, n) };
	assert_true(p->out.cap <= sizeof(p->bytes));
	return codec_encode(&p->spec, p->work, p->sender, &rows, &p->out, &p->e);
}

static inline struct codec_chunk chunk_of(const struct pair *p, size_t n, bool ids)
{
	return (struct codec_chunk){ .id = p->out.id,
				     .src = p->bytes,
				     .len = p->out.len,
				     .ids = ids ? p->ids : NULL,
				     .dim = p->dim,
				     .n = n };
}

static inline int decode(struct pair *p, size_t n, bool ids)
{
	struct codec_chunk c = chunk_of(p, n, ids);

	return codec_decode(p->work, p->receiver, &c, p->y, &p->e);
}

static inline void cross(struct pair *p, size_t n, bool ids)
{
	if (encode(p, n, ids))
		fail_msg("encode: %s", p->e.text);
	if (decode(p, n, ids))
		fail_msg("decode: %s", p->e.text);
	assert_int_equal(codec_state_hash(p->sender), codec_state_hash(p->receiver));
}

static inline double square(const float *a, const float *b, size_t n)
{
	double sum = 0;

	for (size_t i = 0; i < n; i++) {
		double v = (double)a[i] - (b ? (double)b[i] : 0);

		sum += v * v;
	}
	return sum;
}

/* Each row is within delta, and what the calibration's own rounding adds. */
static inline void check_error(const struct pair *p, size_t n, double delta)
{
	for (size_t r = 0; r < n; r++) {
		const float *x = p->x + r * p->dim, *y = p->y + r * p->dim;

		if (square(x, y, p->dim) > delta * square(x, NULL, p->dim))
			fail_msg("row %zu: %g", r, square(x, y, p->dim) / square(x, NULL, p->dim));
	}
}

#endif
