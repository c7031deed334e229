/* engine/kern_block.h - f32 to blocks of Q8_0 and Q4_0, and what makes rows fit for them: one
 * definition for all tables.
 *
 * Plain C, compiled once per instruction set. Every step is one operation per element, an exact
 * maximum, or a sum over 16 lanes in the order of kern.h, so that whatever the compiler makes of it
 * has the same bits. A block with an element that is not finite, or too large for its f16 step,
 * becomes NaN altogether: as loud as f16 is. Private to kern_ref.c and kern_vec.h. */
#ifndef ENGINE_KERN_BLOCK_H
#define ENGINE_KERN_BLOCK_H

#include <stdbool.h>

#include "base/half.h"
#include "base/le.h"
#include "engine/kern_def.h"

#define BLOCK 32

/* The step of a block and its reciprocal; both 0 when f16 has nothing so small. */
struct block_step {
	uint16_t half;
	float inverse;
};

static inline struct block_step block_step_of(float step)
{
	struct block_step s = { .half = half_from_f32(step) };
	float rounded = half_to_f32(s.half);

	s.inverse = rounded == 0 ? 0 : 1.0f / rounded;
	return s;
}

/* Largest magnitude; NaN when there is one, since its bits are the largest of all. */
static inline float block_top(const float x[BLOCK])
{
	uint32_t bits[BLOCK], top = 0;
	float f;

	memcpy(bits, x, sizeof(bits));
	for (unsigned i = 0; i < BLOCK; i++) {
		uint32_t b = bits[i] & 0x7fffffff;

		top = b > top ? b : top;
	}
	memcpy(&f, &top, sizeof(f));
	return f;
}

/* x / step rounded to the nearest integer, ties to even, then cut to lo..hi: codes. No quotient is
 * far from that range, and adding this number leaves its integer in the low bits. */
static inline void block_codes(const float x[BLOCK], float inverse, int32_t lo, int32_t hi,
			       int32_t codes[BLOCK])
{
	const int32_t zero = 0x4b400000; /* 12582912.0f */
	float sums[BLOCK];

	for (unsigned i = 0; i < BLOCK; i++)
		sums[i] = x[i] * inverse + 12582912.0f;
	memcpy(codes, sums, sizeof(sums));
	for (unsigned i = 0; i < BLOCK; i++) {
		int32_t c = codes[i] - zero;

		c = c > lo ? c : lo;
		codes[i] = c < hi ? c : hi;
	}
}

static inline void block_to_q8_0(const float x[BLOCK], uint8_t *dst)
{
	struct block_step s = block_step_of(block_top(x) / 127);
	int32_t codes[BLOCK];

	block_codes(x, s.inverse, -127, 127, codes);
	le_put16(dst, s.half);
	for (unsigned i = 0; i < BLOCK; i++)
		dst[2 + i] = (uint8_t)codes[i];
}

/* The step that fits x best in the mean square for the codes that 1 / inverse gives, and how much
 * of x's energy those codes then explain. */
static inline float block_fit(const float x[BLOCK], float inverse, float *step)
{
	float c[BLOCK], xc[KERN_LANES], cc[KERN_LANES], a, b;
	int32_t codes[BLOCK];

	block_codes(x, inverse, -8, 7, codes);
	for (unsigned i = 0; i < BLOCK; i++)
		c[i] = (float)codes[i];
	for (unsigned j = 0; j < KERN_LANES; j++) {
		xc[j] = fmaf(x[j + KERN_LANES], c[j + KERN_LANES], x[j] * c[j]);
		cc[j] = fmaf(c[j + KERN_LANES], c[j + KERN_LANES], c[j] * c[j]);
	}
	a = def_reduce(xc);
	b = def_reduce(cc);
	*step = a / b;
	return *step * a;
}

/* The codes -8..7 reach further on one side: the largest element goes there, whole or cut a little.
 * Of a few such steps the one with the smallest error is taken. */
static inline float block_best_step(const float x[BLOCK], float top)
{
	static const float reach[] = { 7.0f, 7.4f, 7.7f, 8.0f, 8.4f };
	float best = -1, step = 0;
	bool positive = false;

	for (unsigned i = 0; i < BLOCK; i++)
		positive |= x[i] == top;
	for (unsigned k = 0; k < sizeof(reach) / sizeof(reach[0]); k++) {
		float d, found = block_fit(x, (positive ? -reach[k] : reach[k]) / top, &d);

		if (found > best) {
			best = found;
			step = d;
		}
	}
	return step;
}

/* top is an ordinary number: neither NaN nor one whose step f16 cannot hold. */
static inline bool block_is_plain(float top)
{
	return top >= 8 * 0x1p-24f && top <= 8 * 65504.0f;
}

static inline void block_to_q4_0(const float x[BLOCK], uint8_t *dst)
{
	float top = block_top(x), step = top / 8;
	struct block_step s;
	int32_t c[BLOCK];

	if (block_is_plain(top))
		step = block_best_step(x, top);
	s = block_step_of(step);
	block_codes(x, s.inverse, -8, 7, c);
	le_put16(dst, s.half);
	for (unsigned j = 0; j < BLOCK / 2; j++)
		dst[2 + j] = (uint8_t)((c[j] + 8) | (c[j + BLOCK / 2] + 8) * 16);
}

/* Whole blocks, then the one that is filled up with zeros. */
static inline void block_row(void (*put)(const float x[BLOCK], uint8_t *dst), size_t block_bytes,
			     const float *src, uint8_t *dst, size_t n)
{
	float last[BLOCK] = { 0 };

	for (; n >= BLOCK; n -= BLOCK, src += BLOCK, dst += block_bytes)
		put(src, dst);
	if (!n)
		return;
	memcpy(last, src, n * sizeof(*src));
	put(last, dst);
}

static void to_q8_0(const float *src, uint8_t *dst, size_t n)
{
	block_row(block_to_q8_0, 34, src, dst, n);
}

static void to_q4_0(const float *src, uint8_t *dst, size_t n)
{
	block_row(block_to_q4_0, 18, src, dst, n);
}

/* Five times the same step, sums of neighbours to the front and differences to the back: the
 * Walsh-Hadamard matrix with its rows in another order. */
static inline void block_rotate(float *dst, const float x[BLOCK], float scale)
{
	float a[BLOCK], b[BLOCK];

	for (unsigned i = 0; i < BLOCK; i++)
		a[i] = x[i] * scale;
	for (unsigned step = 1; step < BLOCK; step *= 2) {
		for (unsigned i = 0; i < BLOCK / 2; i++) {
			b[i] = a[2 * i] + a[2 * i + 1];
			b[i + BLOCK / 2] = a[2 * i] - a[2 * i + 1];
		}
		memcpy(a, b, sizeof(a));
	}
	memcpy(dst, a, sizeof(a));
}

static void rotate(float *dst, const float *src, float scale, size_t n)
{
	float last[BLOCK] = { 0 };

	for (; n >= BLOCK; n -= BLOCK, src += BLOCK, dst += BLOCK)
		block_rotate(dst, src, scale);
	if (!n)
		return;
	memcpy(last, src, n * sizeof(*src));
	block_rotate(dst, last, scale);
}

#endif
