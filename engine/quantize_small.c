/* engine/quantize_small.c - blocks of 32 elements under one step, or a step and an offset. */
#include "engine/quantize_block.h"

#include "base/half.h"
#include "base/le.h"
#include "engine/fit.h"

#define N 32

/* Step of the symmetric types -> its f16, and the codes that fit it best. */
static uint16_t symmetric(const float *x, const float *w, float lo, float hi, float *q)
{
	const struct fit f = { .x = x, .w = w, .n = N, .lo = lo, .hi = hi };

	return fit_half_step(&f, fit_step(&f), q);
}

/* Step and offset as f16, and the codes 0..hi under them. */
static void affine(const float *x, const float *w, float hi, uint16_t *step, uint16_t *offset,
		   float *q)
{
	const struct fit f = { .x = x, .w = w, .n = N, .lo = 0, .hi = hi };
	const struct fit_line l = fit_affine(&f, 0);

	*step = half_from_f32(l.step);
	*offset = half_from_f32(l.offset);
	fit_codes(&f, (struct fit_line){ half_to_f32(*step), half_to_f32(*offset) }, q);
}

/* Low four bits of element j and j + 16 into byte j. */
static void put_nibbles(const float *q, int zero, uint8_t *dst)
{
	for (unsigned j = 0; j < 16; j++) {
		int low = (int)q[j] + zero, high = (int)q[j + 16] + zero;

		dst[j] = (uint8_t)((low & 15) | (high & 15) << 4);
	}
}

/* Fifth bit of element j into bit j. */
static uint32_t fifth_bits(const float *q, int zero)
{
	uint32_t bits = 0;

	for (unsigned j = 0; j < N; j++)
		bits |= (uint32_t)(((int)q[j] + zero) >> 4 & 1) << j;
	return bits;
}

void quantize_block_q4_0(const float *x, const float *w, uint8_t *dst)
{
	float q[N];

	le_put16(dst, symmetric(x, w, -8, 7, q));
	put_nibbles(q, 8, dst + 2);
}

void quantize_block_q4_1(const float *x, const float *w, uint8_t *dst)
{
	uint16_t step, offset;
	float q[N];

	affine(x, w, 15, &step, &offset, q);
	le_put16(dst, step);
	le_put16(dst + 2, offset);
	put_nibbles(q, 0, dst + 4);
}

void quantize_block_q5_0(const float *x, const float *w, uint8_t *dst)
{
	float q[N];

	le_put16(dst, symmetric(x, w, -16, 15, q));
	le_put32(dst + 2, fifth_bits(q, 16));
	put_nibbles(q, 16, dst + 6);
}

void quantize_block_q5_1(const float *x, const float *w, uint8_t *dst)
{
	uint16_t step, offset;
	float q[N];

	affine(x, w, 31, &step, &offset, q);
	le_put16(dst, step);
	le_put16(dst + 2, offset);
	le_put32(dst + 4, fifth_bits(q, 0));
	put_nibbles(q, 0, dst + 8);
}

/* Code -128 stays unused, as everywhere: kernels of other engines negate codes. */
void quantize_block_q8_0(const float *x, const float *w, uint8_t *dst)
{
	float q[N];

	le_put16(dst, symmetric(x, w, -127, 127, q));
	for (unsigned j = 0; j < N; j++)
		dst[2 + j] = (uint8_t)(int8_t)q[j];
}
