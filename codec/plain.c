#include "codec/plain.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/half.h"
#include "base/le.h"

#define Q8_MAX     127
#define Q4_MAX     7
#define Q4_ZERO    8 /* code of 0; code 0 is not used */
#define Q8_HDR_LEN 4 /* the row's scale */

/* A codec works row by row; every row takes row_len(dim) bytes. */
struct codec {
	const char *name;
	size_t (*row_len)(size_t dim);
	/* Index of the first element that cannot be sent, dim when all can. */
	size_t (*check)(const float *x, size_t dim);
	void (*put)(uint8_t *dst, const float *x, size_t dim); /* after check */
	/* 0, ERR_FORMAT or ERR_NOT_FINITE with *at, the element. */
	int (*get)(float *x, const uint8_t *src, size_t dim, size_t *at);
};

static float f32_of_bits(uint32_t bits)
{
	float f;

	memcpy(&f, &bits, sizeof(f));
	return f;
}

static uint32_t bits_of_f32(float f)
{
	uint32_t bits;

	memcpy(&bits, &f, sizeof(bits));
	return bits;
}

/* Index of the first x that is NaN or not below limit in magnitude, dim when there is none. The
 * first loop only answers whether, so that it vectorizes. */
static size_t find_above(const float *x, size_t dim, float limit)
{
	unsigned bad = 0;

	for (size_t i = 0; i < dim; i++)
		bad |= !(fabsf(x[i]) < limit);
	if (!bad)
		return dim;
	for (size_t i = 0; i < dim; i++) {
		if (!(fabsf(x[i]) < limit))
			return i;
	}
	return dim;
}

static size_t f32_row_len(size_t dim)
{
	return dim * 4;
}

static size_t f32_check(const float *x, size_t dim)
{
	return find_above(x, dim, INFINITY);
}

static void f32_put(uint8_t *dst, const float *x, size_t dim)
{
	for (size_t i = 0; i < dim; i++)
		le_put32(dst + 4 * i, bits_of_f32(x[i]));
}

static int f32_get(float *x, const uint8_t *src, size_t dim, size_t *at)
{
	for (size_t i = 0; i < dim; i++)
		x[i] = f32_of_bits(le_get32(src + 4 * i));
	*at = find_above(x, dim, INFINITY);
	return *at == dim ? 0 : ERR_NOT_FINITE;
}

static size_t f16_row_len(size_t dim)
{
	return dim * 2;
}

/* From 65520 on a value would round to infinity. */
static size_t f16_check(const float *x, size_t dim)
{
	return find_above(x, dim, 65520.0f);
}

static void f16_put(uint8_t *dst, const float *x, size_t dim)
{
	for (size_t i = 0; i < dim; i++)
		le_put16(dst + 2 * i, half_from_f32(x[i]));
}

static int f16_get(float *x, const uint8_t *src, size_t dim, size_t *at)
{
	for (size_t i = 0; i < dim; i++)
		x[i] = half_to_f32(le_get16(src + 2 * i));
	*at = find_above(x, dim, INFINITY);
	return *at == dim ? 0 : ERR_NOT_FINITE;
}

static size_t q8_row_len(size_t dim)
{
	return Q8_HDR_LEN + dim;
}

/* max|x| / steps; a scale that would be subnormal counts as 0, so that no machine that flushes
 * subnormals can differ. */
static float scale_of(const float *x, size_t dim, int steps)
{
	float most = 0, scale;

	for (size_t i = 0; i < dim; i++) {
		float a = fabsf(x[i]);

		most = a > most ? a : most;
	}
	scale = most / (float)steps;
	return scale < FLT_MIN ? 0 : scale;
}

static float q8_scale(const float *x, size_t dim)
{
	return scale_of(x, dim, Q8_MAX);
}

static float q4_scale(const float *x, size_t dim)
{
	return scale_of(x, dim, Q4_MAX);
}

/* Neither negative, minus zero nor subnormal. */
static bool is_scale(float scale)
{
	return !bits_of_f32(scale) || scale >= FLT_MIN;
}

static size_t q8_check(const float *x, size_t dim)
{
	size_t at = find_above(x, dim, INFINITY);

	/* 127 times the rounded scale may overflow where the largest value is next to FLT_MAX;
	 * q4 is as careful */
	if (at == dim && isinf(q8_scale(x, dim) * Q8_MAX))
		at = find_above(x, dim, FLT_MAX / 2);
	return at;
}

/* Round half to even without a call: adding 1.5 * 2^23 leaves no bits for a fraction. */
static float round_even(float v)
{
	return v + 12582912.0f - 12582912.0f;
}

static void q8_put(uint8_t *dst, const float *x, size_t dim)
{
	float scale = q8_scale(x, dim);

	le_put32(dst, bits_of_f32(scale));
	if (scale == 0) {
		memset(dst + Q8_HDR_LEN, 0, dim);
		return;
	}
	for (size_t i = 0; i < dim; i++)
		dst[Q8_HDR_LEN + i] = (uint8_t)(int8_t)round_even(x[i] / scale);
}

static int q8_get(float *x, const uint8_t *src, size_t dim, size_t *at)
{
	float scale = f32_of_bits(le_get32(src));

	*at = 0;
	if (!isfinite(scale))
		return ERR_NOT_FINITE;
	if (!is_scale(scale))
		return ERR_FORMAT;
	for (size_t i = 0; i < dim; i++) {
		*at = i;
		if (src[Q8_HDR_LEN + i] == 0x80)
			return ERR_FORMAT;
		x[i] = (float)(int8_t)src[Q8_HDR_LEN + i] * scale;
	}
	*at = find_above(x, dim, INFINITY);
	return *at == dim ? 0 : ERR_NOT_FINITE;
}

/* As q8, with 15 values and two of them in a byte; the first one in its low half. */
static size_t q4_row_len(size_t dim)
{
	return Q8_HDR_LEN + (dim + 1) / 2;
}

static void q4_put(uint8_t *dst, const float *x, size_t dim)
{
	float scale = q4_scale(x, dim);

	le_put32(dst, bits_of_f32(scale));
	memset(dst + Q8_HDR_LEN, 0, (dim + 1) / 2);
	for (size_t i = 0; i < dim; i++) {
		int q = scale == 0 ? 0 : (int)round_even(x[i] / scale);

		dst[Q8_HDR_LEN + i / 2] |= (uint8_t)((q + Q4_ZERO) << i % 2 * 4);
	}
}

static int q4_get(float *x, const uint8_t *src, size_t dim, size_t *at)
{
	float scale = f32_of_bits(le_get32(src));

	*at = 0;
	if (!isfinite(scale))
		return ERR_NOT_FINITE;
	if (!is_scale(scale))
		return ERR_FORMAT;
	for (size_t i = 0; i < dim; i++) {
		int code = src[Q8_HDR_LEN + i / 2] >> i % 2 * 4 & 15;

		*at = i;
		if (!code)
			return ERR_FORMAT;
		x[i] = (float)(code - Q4_ZERO) * scale;
	}
	*at = find_above(x, dim, INFINITY);
	return *at == dim ? 0 : ERR_NOT_FINITE;
}

static const struct codec codecs[PLAIN_COUNT] = {
	[PLAIN_F32] = { "f32", f32_row_len, f32_check, f32_put, f32_get },
	[PLAIN_F16] = { "f16", f16_row_len, f16_check, f16_put, f16_get },
	[PLAIN_Q8] = { "q8", q8_row_len, q8_check, q8_put, q8_get },
	[PLAIN_Q4] = { "q4", q4_row_len, q8_check, q4_put, q4_get },
};

const char *plain_name(enum plain_id id)
{
	return (unsigned)id < PLAIN_COUNT ? codecs[id].name : "unknown";
}

size_t plain_bound(enum plain_id id, size_t dim, size_t rows)
{
	assert((unsigned)id < PLAIN_COUNT);
	return codecs[id].row_len(dim) * rows;
}

int plain_encode(enum plain_id id, const float *x, size_t dim, size_t rows, uint8_t *dst,
		 size_t cap, size_t *len, struct err *e)
{
	const struct codec *c = &codecs[id];
	size_t need = plain_bound(id, dim, rows);

	if (cap < need)
		return err_set(e, ERR_LIMIT, "%zu rows in %s take %zu bytes, there is room for %zu",
			       rows, c->name, need, cap);
	for (size_t r = 0; r < rows; r++) {
		size_t at = c->check(x + r * dim, dim);

		if (at < dim)
			return err_set(e, ERR_NOT_FINITE,
				       "row %zu, element %zu: %g cannot be sent as %s", r, at,
				       (double)x[r * dim + at], c->name);
	}
	for (size_t r = 0; r < rows; r++)
		c->put(dst + r * c->row_len(dim), x + r * dim, dim);
	*len = need;
	return 0;
}

/* Do len bytes hold rows of row_len each? By division: the claims may be anything. */
static bool fits(size_t len, size_t row_len, size_t rows)
{
	return row_len && len % row_len == 0 && len / row_len == rows;
}

int plain_decode(unsigned id, const uint8_t *src, size_t len, size_t dim, size_t rows, float *x,
		 struct err *e)
{
	const struct codec *c;

	if (id >= PLAIN_COUNT)
		return err_set(e, ERR_UNSUPPORTED,
			       "rows in codec %u, which this side does not know", id);
	c = &codecs[id];
	if (dim > SIZE_MAX / 8 || !dim || !rows || !fits(len, c->row_len(dim), rows))
		return err_set(e, ERR_FORMAT, "%zu bytes are not %zu rows of %zu elements in %s",
			       len, rows, dim, c->name);
	for (size_t r = 0; r < rows; r++) {
		size_t at;
		int rc = c->get(x + r * dim, src + r * c->row_len(dim), dim, &at);

		if (rc)
			return err_set(e, rc, "row %zu, element %zu: %s in %s", r, at,
				       err_phrase(rc), c->name);
	}
	return 0;
}
