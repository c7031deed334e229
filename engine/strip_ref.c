#include "engine/strip.h"

#include <math.h>
#include <string.h>

#include "engine/pack.h"

/* The size of the largest of n elements; NaN when one is not finite. */
static float largest(const float *x, size_t n)
{
	float a = 0;

	for (size_t i = 0; i < n; i++) {
		if (!isfinite(x[i]))
			return NAN;
		a = fabsf(x[i]) > a ? fabsf(x[i]) : a;
	}
	return a;
}

/* 32 elements times inverse; of nothing for 0. */
static void round_block(const float *x, float inverse, int8_t *q, int16_t *sum)
{
	sum[0] = sum[1] = 0;
	for (unsigned i = 0; i < 32; i++) {
		q[i] = inverse > 0 ? (int8_t)rintf(x[i] * inverse) : 0;
		sum[i / 16] = (int16_t)(sum[i / 16] + q[i]);
	}
}

void strip_ref_quantize(const float *x, size_t n, size_t group, int8_t *q, float *step,
			int16_t *sum)
{
	float a = 0;

	for (size_t b = 0; b < n / 32; b++) {
		if (b % group == 0)
			a = largest(x + 32 * b, 32 * group);
		step[b] = a < 1e-36f ? 0 : a / 127.0f;
		round_block(x + 32 * b, a >= 1e-36f ? 127.0f / a : 0, q + 32 * b, sum + 2 * b);
	}
}

/* Block b's share of the integer of one weight row and one row of activations. */
static int32_t products(const struct kern_wide *w, unsigned row, const int8_t *q)
{
	int32_t half[2] = { 0, 0 };

	for (unsigned e = 0; e < 32; e++)
		half[e / 16] += w->q[e / 4][row][e % 4] * q[e];
	return half[0] * w->scale[0][row] + half[1] * w->scale[1][row];
}

/* The share of a group of blocks, of which activations have that number b first, in the dot. */
static float add_group(float acc, const struct kern_wide *w, unsigned row, bool mins,
		       const struct kern_acts *x, size_t b)
{
	int32_t sum = 0, more = 0;

	for (size_t k = 0; k < x->group; k++) {
		const int16_t *of = x->sum + 2 * (b + k);

		sum += products(w + k, row, x->q + 32 * (b + k));
		more += w[k].min[0][row] * of[0] + w[k].min[1][row] * of[1];
	}
	acc = fmaf((float)sum, w->d[row] * x->step[b], acc);
	return mins ? fmaf((float)more, w->m[row] * x->step[b], acc) : acc;
}

/* n blocks from block `at` on; out holds what came before. */
static void add_blocks(const struct kern_wide *w, size_t at, size_t n, bool mins,
		       const struct kern_acts *x, size_t row, float *out)
{
	for (unsigned i = 0; i < KERN_STRIP; i++) {
		for (size_t b = 0; b < n; b += x->group)
			out[i] = add_group(out[i], w + b, i, mins, x, row * x->ld + at + b);
	}
}

void strip_ref_wide(const struct kern_wide *w, bool mins, const struct kern_acts *x, size_t first,
		    size_t rows, float *out, size_t ldo)
{
	for (size_t r = 0; r < rows; r++) {
		memset(out + r * ldo, 0, KERN_STRIP * sizeof(*out));
		add_blocks(w, 0, x->blocks, mins, x, first + r, out + r * ldo);
	}
}

static void one_strip(const struct kern_strips *w, const uint8_t *src, const struct kern_acts *x,
		      size_t first, size_t rows, float *out, size_t ldo)
{
	struct kern_wide wide[8];

	for (size_t r = 0; r < rows; r++)
		memset(out + r * ldo, 0, KERN_STRIP * sizeof(*out));
	for (size_t b = 0; b < w->blocks; b += x->group, src += pack_block_bytes(w->type)) {
		pack_widen(w->type, src, wide);
		for (size_t r = 0; r < rows; r++)
			add_blocks(wide, b, x->group, w->type == QUANT_Q4_K, x, first + r,
				   out + r * ldo);
	}
}

void strip_ref_strip(const struct kern_strips *w, size_t strip, size_t n, const struct kern_acts *x,
		     size_t first, size_t rows, float *out, size_t ldo)
{
	for (size_t i = 0; i < n; i++)
		one_strip(w, w->data + (strip + i) * w->strip_bytes, x, first, rows,
			  out + i * KERN_STRIP, ldo);
}
