/* engine/quantize_super.c - super-blocks of 256 elements: a few-bit scale (and minimum) for each
 * sub-block, under f16 factors of the whole.
 *
 * Way of a block: the best real step (and offset) of each sub-block by itself; the factors under
 * which few-bit scales come closest to these, weighted by what a deviation costs; then in turns the
 * scales and codes for the factors (each sub-block tries the neighbours of its nearest scale), and
 * the factors for scales and codes, which is a least-squares problem of one or two unknowns. The
 * turn with the least error of the decoded block wins. */
#include "engine/quantize_block.h"

#include <math.h>
#include <string.h>

#include "base/half.h"
#include "base/le.h"
#include "engine/fit.h"

#define N     256
#define SUBS  16 /* most sub-blocks */
#define TURNS 4

/* A block in the making. Its copies are compared by error. */
struct block {
	const float *x, *w; /* [N] */
	unsigned subs, sub; /* sub-blocks, and elements of each */
	float lo, hi;       /* codes */
	float scale_lo, scale_hi;
	uint16_t d, dmin; /* factors; dmin 0 where there are no minima */
	float scale[SUBS], min[SUBS];
	float q[N];
	float error;
};

static struct fit fit_of(const struct block *b, unsigned j)
{
	return (struct fit){ .x = b->x + j * b->sub,
			     .w = b->w + j * b->sub,
			     .n = b->sub,
			     .lo = b->lo,
			     .hi = b->hi };
}

static float clamp(float v, float lo, float hi)
{
	return v < lo ? lo : v > hi ? hi : v;
}

/* The factor d for steps[subs] that cost[j] says how much to respect. The f16 next to it. */
static uint16_t factor_of(const struct block *b, const float *steps, const float *cost)
{
	struct fit f = {
		.x = steps, .w = cost, .n = b->subs, .lo = b->scale_lo, .hi = b->scale_hi
	};

	return half_from_f32(clamp(fit_step(&f), -65504, 65504));
}

/* Scale, minimum and codes of sub-block j under the block's factors; the nearest to `step` and
 * `offset` and their neighbours are tried. Returns the error. */
static float pick_scale(struct block *b, unsigned j, struct fit_line want)
{
	const float d = half_to_f32(b->d), dmin = half_to_f32(b->dmin);
	const float scale = d != 0 ? rintf(clamp(want.step / d, b->scale_lo, b->scale_hi)) : 0;
	const float min = dmin != 0 ? rintf(clamp(-want.offset / dmin, 0, b->scale_hi)) : 0;
	const struct fit f = fit_of(b, j);
	const int mins = dmin != 0;
	float codes[FIT_MAX], least = INFINITY;

	for (int i = 0; i < 3 * (mins ? 3 : 1); i++) {
		/* 0, 1, -1: the nearest first */
		float s = scale + (float)(i % 3 == 2 ? -1 : i % 3);
		float m = min + (float)(i / 3 == 2 ? -1 : i / 3), error;

		if (s < b->scale_lo || s > b->scale_hi || m < 0 || m > b->scale_hi)
			continue;
		error = fit_codes(&f, (struct fit_line){ d * s, -(dmin * m) }, codes);
		if (error < least) {
			least = error;
			b->scale[j] = s;
			b->min[j] = m;
			memcpy(b->q + j * b->sub, codes, b->sub * sizeof(codes[0]));
		}
	}
	return least;
}

/* The factors for the scales and codes that are there: least squares over the whole block. */
static void solve_factors(struct block *b, int mins)
{
	double aa = 0, ab = 0, bb = 0, ax = 0, bx = 0, det, d, dmin = 0;

	for (unsigned i = 0; i < N; i++) {
		double w = (double)b->w[i], x = (double)b->x[i];
		double u = (double)(b->scale[i / b->sub] * b->q[i]);
		double v = -(double)b->min[i / b->sub];

		aa += w * u * u;
		ab += w * u * v;
		bb += w * v * v;
		ax += w * u * x;
		bx += w * v * x;
	}
	det = aa * bb - ab * ab;
	if (mins && det > 1e-9 * aa * bb) {
		d = (ax * bb - bx * ab) / det;
		dmin = (bx * aa - ax * ab) / det;
		if (d < 0 || dmin < 0)
			return;
	} else if (!mins && aa > 0) {
		d = ax / aa;
	} else {
		return;
	}
	if (fabs(d) > 65504 || dmin > 65504)
		return;
	b->d = half_from_f32((float)d);
	b->dmin = half_from_f32((float)dmin);
}

/* In turns: scales and codes, factors. The best turn is left in *b. */
static void descend(struct block *b, const struct fit_line *want, int mins)
{
	struct block best = *b;

	best.error = INFINITY;
	for (unsigned turn = 0; turn < TURNS; turn++) {
		b->error = 0;
		for (unsigned j = 0; j < b->subs; j++)
			b->error += pick_scale(b, j, want[j]);
		if (!(b->error < best.error))
			break;
		best = *b;
		solve_factors(b, mins);
	}
	*b = best;
}

/* sum w q^2 and sum w of sub-block j under line l. */
static void costs(const struct block *b, unsigned j, struct fit_line l, float *of_step,
		  float *of_offset)
{
	const struct fit f = fit_of(b, j);
	float q[FIT_MAX], xq;

	fit_codes(&f, l, q);
	fit_moments(&f, q, of_step, &xq);
	*of_offset = 0;
	for (unsigned i = 0; i < f.n; i++)
		*of_offset += f.w[i];
}

/* Q3_K and Q6_K: 16 sub-blocks with signed scales. */
static void symmetric(struct block *b)
{
	struct fit_line want[SUBS];
	float steps[SUBS], cost[SUBS], unused;

	for (unsigned j = 0; j < b->subs; j++) {
		const struct fit f = fit_of(b, j);

		steps[j] = fit_step(&f);
		want[j] = (struct fit_line){ steps[j], 0 };
		costs(b, j, want[j], &cost[j], &unused);
	}
	b->d = factor_of(b, steps, cost);
	descend(b, want, 0);
}

/* Q2_K, Q4_K and Q5_K: scales and minima >= 0. */
static void affine(struct block *b)
{
	struct fit_line want[SUBS];
	float steps[SUBS], mins[SUBS], step_cost[SUBS], min_cost[SUBS];

	for (unsigned j = 0; j < b->subs; j++) {
		const struct fit f = fit_of(b, j);

		want[j] = fit_affine(&f, 1);
		steps[j] = want[j].step;
		mins[j] = -want[j].offset;
		costs(b, j, want[j], &step_cost[j], &min_cost[j]);
	}
	b->d = factor_of(b, steps, step_cost);
	b->dmin = factor_of(b, mins, min_cost);
	descend(b, want, 1);
}

/* Two bits of element 128 h + 32 k + l into bits 2k, 2k+1 of byte 32 h + l. */
static void put_pairs(const float *q, int zero, int shift, uint8_t *dst)
{
	memset(dst, 0, 64);
	for (unsigned i = 0; i < N; i++) {
		int pair = ((int)q[i] + zero) >> shift & 3;

		dst[i / 128 * 32 + i % 32] |= (uint8_t)(pair << i % 128 / 32 * 2);
	}
}

void quantize_block_q2_k(const float *x, const float *w, uint8_t *dst)
{
	struct block b = { .x = x, .w = w, .subs = 16, .sub = 16, .hi = 3, .scale_hi = 15 };

	affine(&b);
	for (unsigned j = 0; j < 16; j++)
		dst[j] = (uint8_t)((int)b.scale[j] | (int)b.min[j] << 4);
	put_pairs(b.q, 0, 0, dst + 16);
	le_put16(dst + 80, b.d);
	le_put16(dst + 82, b.dmin);
}

void quantize_block_q3_k(const float *x, const float *w, uint8_t *dst)
{
	struct block b = { .x = x,
			   .w = w,
			   .subs = 16,
			   .sub = 16,
			   .lo = -4,
			   .hi = 3,
			   .scale_lo = -32,
			   .scale_hi = 31 };

	symmetric(&b);
	memset(dst, 0, 110);
	for (unsigned i = 0; i < N; i++) {
		if (b.q[i] >= 0) /* the high bit of code + 4 */
			dst[i % 32] |= (uint8_t)(1u << i / 32);
	}
	put_pairs(b.q, 4, 0, dst + 32);
	for (unsigned j = 0; j < 16; j++) {
		unsigned scale = (unsigned)((int)b.scale[j] + 32);

		dst[96 + j % 8] |= (uint8_t)((scale & 15) << j / 8 * 4);
		dst[104 + j % 4] |= (uint8_t)(scale >> 4 << j / 4 * 2);
	}
	le_put16(dst + 108, b.d);
}

/* d, dmin and 8 scales and minima of 6 bits: the head of Q4_K and Q5_K. */
static void put_head(const struct block *b, uint8_t *dst)
{
	uint8_t *packed = dst + 4;

	le_put16(dst, b->d);
	le_put16(dst + 2, b->dmin);
	for (unsigned j = 0; j < 4; j++) {
		unsigned scale = (unsigned)b->scale[j + 4], min = (unsigned)b->min[j + 4];

		packed[j] = (uint8_t)((unsigned)b->scale[j] | scale >> 4 << 6);
		packed[j + 4] = (uint8_t)((unsigned)b->min[j] | min >> 4 << 6);
		packed[j + 8] = (uint8_t)((scale & 15) | (min & 15) << 4);
	}
}

/* Low four bits: sub-blocks 2 k and 2 k + 1 share 32 bytes. */
static void put_nibbles(const float *q, uint8_t *dst)
{
	for (unsigned i = 0; i < N / 2; i++) {
		unsigned at = i / 32 * 64 + i % 32;
		unsigned low = (unsigned)q[at], high = (unsigned)q[at + 32];

		dst[i] = (uint8_t)((low & 15) | (high & 15) << 4);
	}
}

void quantize_block_q4_k(const float *x, const float *w, uint8_t *dst)
{
	struct block b = { .x = x, .w = w, .subs = 8, .sub = 32, .hi = 15, .scale_hi = 63 };

	affine(&b);
	put_head(&b, dst);
	put_nibbles(b.q, dst + 16);
}

void quantize_block_q5_k(const float *x, const float *w, uint8_t *dst)
{
	struct block b = { .x = x, .w = w, .subs = 8, .sub = 32, .hi = 31, .scale_hi = 63 };

	affine(&b);
	put_head(&b, dst);
	memset(dst + 16, 0, 32);
	for (unsigned i = 0; i < N; i++)
		dst[16 + i % 32] |= (uint8_t)((unsigned)b.q[i] >> 4 << i / 32);
	put_nibbles(b.q, dst + 48);
}

void quantize_block_q6_k(const float *x, const float *w, uint8_t *dst)
{
	struct block b = { .x = x,
			   .w = w,
			   .subs = 16,
			   .sub = 16,
			   .lo = -32,
			   .hi = 31,
			   .scale_lo = -128,
			   .scale_hi = 127 };

	symmetric(&b);
	memset(dst, 0, 128);
	for (unsigned i = 0; i < N; i++) {
		unsigned half = i / 128, k = i % 128 / 32, l = i % 32;
		unsigned code = (unsigned)((int)b.q[i] + 32);

		dst[64 * half + 32 * (k % 2) + l] |= (uint8_t)((code & 15) << k / 2 * 4);
	}
	put_pairs(b.q, 32, 4, dst + 128);
	for (unsigned j = 0; j < 16; j++)
		dst[192 + j] = (uint8_t)(int8_t)b.scale[j];
	le_put16(dst + 208, b.d);
}
