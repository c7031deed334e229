#include "engine/strip.h"

#include <math.h>
#include <string.h>

#include "engine/pack.h"

static void zero_block(int8_t *q, float *step, int16_t *sum, float value)
{
	memset(q, 0, 32);
	*step = value;
	sum[0] = sum[1] = 0;
}

static void quantize_block(const float *x, int8_t *q, float *step, int16_t *sum)
{
	float a = 0, inv;
	bool finite = true;

	for (unsigned i = 0; i < 32; i++) {
		a = fabsf(x[i]) > a ? fabsf(x[i]) : a;
		finite = finite && isfinite(x[i]);
	}
	if (!finite || a < 1e-36f) {
		zero_block(q, step, sum, finite ? 0 : NAN);
		return;
	}
	inv = 127.0f / a;
	*step = a / 127.0f;
	sum[0] = sum[1] = 0;
	for (unsigned i = 0; i < 32; i++) {
		q[i] = (int8_t)rintf(x[i] * inv);
		sum[i / 16] = (int16_t)(sum[i / 16] + q[i]);
	}
}

void strip_ref_quantize(const float *x, size_t n, int8_t *q, float *step, int16_t *sum)
{
	for (size_t b = 0; b < n / 32; b++)
		quantize_block(x + 32 * b, q + 32 * b, step + b, sum + 2 * b);
}

/* Block b's share of the dot of one weight row with one row of activations. */
static float add_block(float acc, const struct kern_wide *w, unsigned row, bool mins,
		       const struct kern_acts *x, size_t b)
{
	const int8_t *q = x->q + 32 * b;
	const int16_t *sum = x->sum + 2 * b;
	int32_t half[2] = { 0, 0 };

	for (unsigned e = 0; e < 32; e++)
		half[e / 16] += w->q[e / 4][row][e % 4] * q[e];
	half[0] = half[0] * w->scale[0][row] + half[1] * w->scale[1][row];
	acc = fmaf((float)half[0], w->d[row] * x->step[b], acc);
	if (mins) {
		half[1] = w->min[0][row] * sum[0] + w->min[1][row] * sum[1];
		acc = fmaf((float)half[1], w->m[row] * x->step[b], acc);
	}
	return acc;
}

/* n blocks from block `at` on; out holds what came before. */
static void add_blocks(const struct kern_wide *w, size_t at, size_t n, bool mins,
		       const struct kern_acts *x, size_t row, float *out)
{
	for (unsigned i = 0; i < KERN_STRIP; i++) {
		for (size_t b = 0; b < n; b++)
			out[i] = add_block(out[i], w + b, i, mins, x, row * x->blocks + at + b);
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
	const size_t step = quant_block_elements(w->type) / 32;
	struct kern_wide wide[8];

	for (size_t r = 0; r < rows; r++)
		memset(out + r * ldo, 0, KERN_STRIP * sizeof(*out));
	for (size_t b = 0; b < w->blocks; b += step, src += pack_block_bytes(w->type)) {
		pack_widen(w->type, src, wide);
		for (size_t r = 0; r < rows; r++)
			add_blocks(wide, b, step, w->type == QUANT_Q4_K, x, first + r,
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
