#include "engine/fit.h"

#include <math.h>
#include <string.h>

#include "base/half.h"

#define LANES 8

/* Eight sums side by side: +, - and * of each by itself, on any machine (gcc and clang). */
typedef float lanes __attribute__((vector_size(LANES * sizeof(float))));

/* Adding and subtracting it rounds to the nearest integer, ties to even, for |v| < 2^22: as rintf,
 * but any compiler makes vector code of it. */
#define ROUNDER 12582912.0f

/* Steps of the search for a grid of codes whose largest is `top`: the peak is laid on codes from
 * BELOW under to `above` over the last one, where it is cut off for the good of the others. */
#define STRIDE        0.5f

#define LOAD(v, from) memcpy(&(v), from, sizeof(v))
#define ADD_UP(s)     (((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7])))

static float round_code(float v, float lo, float hi)
{
	v = v < lo ? lo : v;
	v = v > hi ? hi : v;
	return (v + ROUNDER) - ROUNDER;
}

static float error_of(const struct fit *f, struct fit_line l, const float *q)
{
	lanes sum = { 0 }, x, w, code, rest;

	for (unsigned i = 0; i < f->n; i += LANES) {
		LOAD(x, f->x + i);
		LOAD(w, f->w + i);
		LOAD(code, q + i);
		rest = x - (l.step * code + l.offset);
		sum += w * rest * rest;
	}
	return ADD_UP(sum);
}

float fit_codes(const struct fit *f, struct fit_line l, float *restrict q)
{
	const float inverse = fabsf(l.step) > 0x1p-60f ? 1 / l.step : 0;
	const float lo = f->lo, hi = f->hi;
	const float *restrict x = f->x;
	const unsigned n = f->n;

	for (unsigned i = 0; i < n; i++)
		q[i] = round_code((x[i] - l.offset) * inverse, lo, hi);
	return error_of(f, l, q);
}

void fit_moments(const struct fit *f, const float *q, float *qq, float *xq)
{
	lanes a = { 0 }, b = { 0 }, x, w, code;

	for (unsigned i = 0; i < f->n; i += LANES) {
		LOAD(x, f->x + i);
		LOAD(w, f->w + i);
		LOAD(code, q + i);
		w *= code;
		a += w * code;
		b += w * x;
	}
	*qq = ADD_UP(a);
	*xq = ADD_UP(b);
}

/* The number furthest from 0, with its sign. */
static float peak_of(const struct fit *f)
{
	float peak = 0;

	for (unsigned i = 0; i < f->n; i++) {
		if (fabsf(f->x[i]) > fabsf(peak))
			peak = f->x[i];
	}
	return peak;
}

/* One step of Lloyd's: codes under `step`, then the best step for these codes. */
static float improve(const struct fit *f, float step, float *error)
{
	float q[FIT_MAX], qq, xq;

	fit_codes(f, (struct fit_line){ step, 0 }, q);
	fit_moments(f, q, &qq, &xq);
	if (!(qq > 0))
		return step;
	step = xq / qq;
	*error = error_of(f, (struct fit_line){ step, 0 }, q);
	return step;
}

/* Try the peak on code `c` and its neighbours up to `to`. */
static void try_peak(const struct fit *f, float peak, float from, float to, float sign, float *best,
		     float *least)
{
	for (float c = from; c <= to; c += STRIDE) {
		float error = *least, step = improve(f, peak / (sign * c), &error);

		if (error < *least) {
			*least = error;
			*best = step;
		}
	}
}

float fit_step(const struct fit *f)
{
	const float peak = peak_of(f), top = f->hi > -f->lo ? f->hi : -f->lo;
	const float below = fminf(top / 2, 4), above = fminf(top * 0.75f, 6);
	float best = 0, least = INFINITY;

	if (fabsf(peak) < FIT_TINY)
		return 0;
	try_peak(f, peak, top - below, top + above, 1, &best, &least);
	if (f->lo != -f->hi && f->lo < 0)
		try_peak(f, peak, top - below, top + above, -1, &best, &least);
	for (unsigned i = 0; i < 4 && least > 0; i++) {
		float error = least, step = improve(f, best, &error);

		if (!(error < least))
			break;
		least = error;
		best = step;
	}
	return best;
}

/* The best line for codes q, by the normal equations. l is kept where they have no answer. */
static struct fit_line solve(const struct fit *f, const float *q, struct fit_line l, int below)
{
	lanes sw = { 0 }, sq = { 0 }, sqq = { 0 }, sx = { 0 }, sxq = { 0 }, v, x, code;
	float w, wq, wqq, wx, wxq, det;
	struct fit_line got;

	for (unsigned i = 0; i < f->n; i += LANES) {
		LOAD(x, f->x + i);
		LOAD(v, f->w + i);
		LOAD(code, q + i);
		sw += v;
		sx += v * x;
		v *= code;
		sq += v;
		sqq += v * code;
		sxq += v * x;
	}
	w = ADD_UP(sw);
	wq = ADD_UP(sq);
	wqq = ADD_UP(sqq);
	wx = ADD_UP(sx);
	wxq = ADD_UP(sxq);
	det = w * wqq - wq * wq;
	if (!(det > 1e-6f * w * wqq))
		return l;
	got.step = (w * wxq - wq * wx) / det;
	got.offset = (wx - got.step * wq) / w;
	if (below && got.offset > 0)
		got = (struct fit_line){ wxq / wqq, 0 };
	return got.step >= 0 ? got : l;
}

/* Codes, then the line, a few times over; keeps what is best in *best and *least. */
static void descend(const struct fit *f, struct fit_line l, unsigned turns, int below,
		    struct fit_line *best, float *least)
{
	float q[FIT_MAX];

	for (unsigned i = 0; i < turns; i++) {
		float error = fit_codes(f, l, q);

		if (error < *least) {
			*least = error;
			*best = l;
		}
		l = solve(f, q, l, below);
		error = error_of(f, l, q);
		if (error < *least) {
			*least = error;
			*best = l;
		}
	}
}

struct fit_line fit_affine(const struct fit *f, int below)
{
	/* Fewer codes want more of the range cut off. */
	const float narrowest = f->hi < 8 ? 0.5f : f->hi < 24 ? 0.75f : 0.9f;
	const float stride = (1.05f - narrowest) / 8;
	float min = f->x[0], max = f->x[0], least = INFINITY;
	struct fit_line best;

	for (unsigned i = 1; i < f->n; i++) {
		min = fminf(min, f->x[i]);
		max = fmaxf(max, f->x[i]);
	}
	if (below) {
		min = fminf(min, 0);
		max = fmaxf(max, min);
	}
	best = (struct fit_line){ 0, min };
	if (max - min < FIT_TINY)
		return best;
	descend(f, (struct fit_line){ (max - min) / f->hi, min }, 2, below, &best, &least);
	for (unsigned i = 0; i <= 8 && least > 0; i++) {
		float range = (max - min) * (narrowest + stride * (float)i);

		for (unsigned k = 0; k <= 2; k++) {
			float offset = min + (max - min - range) * 0.5f * (float)k;

			if (below)
				offset = fminf(offset, 0);
			descend(f, (struct fit_line){ range / f->hi, offset }, 1, below, &best,
				&least);
		}
	}
	descend(f, best, 3, below, &best, &least);
	return best;
}

uint16_t fit_half_step(const struct fit *f, float v, float *q)
{
	const uint16_t middle = half_from_f32(v);
	float codes[FIT_MAX], least = INFINITY;
	uint16_t best = middle;

	for (int i = 0; i < 3; i++) {
		/* the middle first: only a real gain moves away from it */
		uint16_t h = (uint16_t)(middle + (i == 2 ? -1 : i));
		float error;

		if ((i && !(middle & 0x7fff)) || (h & 0x7c00) == 0x7c00)
			continue;
		error = fit_codes(f, (struct fit_line){ half_to_f32(h), 0 }, codes);
		if (error < least) {
			least = error;
			best = h;
			for (unsigned k = 0; k < f->n; k++)
				q[k] = codes[k];
		}
	}
	return best;
}
