/* engine/fit.h - the best step for a handful of numbers on a small grid of codes.
 *
 * The searches of quantize*.c. n is a multiple of 8, at most FIT_MAX; w are weights >= 0. Sums are
 * kept in eight lanes that are added in order, so that a vector unit gives the same bits as none.
 * Pure; any thread. Private to quantize*.c. */
#ifndef ENGINE_FIT_H
#define ENGINE_FIT_H

#include <stdint.h>

#define FIT_MAX 32

/* Numbers below this are 0 in any block: half of the smallest f16. */
#define FIT_TINY 0x1p-26f

struct fit {
	const float *x, *w; /* [n] */
	unsigned n;
	float lo, hi; /* codes are the integers in lo..hi */
};

/* x ~ step * q + offset */
struct fit_line {
	float step, offset;
};

/* Nearest codes q[n] (integers as floats) under l; all 0, or the code nearest to 0, when the step
 * is 0. Returns sum w (x - step q - offset)^2. */
float fit_codes(const struct fit *f, struct fit_line l, float *q);

/* Step with the least error for an offset of 0; its sign is free. 0 for a row of (nearly) zeros. */
float fit_step(const struct fit *f);

/* Step >= 0 and offset with the least error; lo is 0. An offset above 0 is not considered when
 * `below`, as the K types cannot store one. */
struct fit_line fit_affine(const struct fit *f, int below);

/* sum w q^2 and sum w x q of codes q: what moving the step costs, and the best step's numerator. */
void fit_moments(const struct fit *f, const float *q, float *qq, float *xq);

/* The f16 at most one unit in the last place from v whose use as step gives the least error. */
uint16_t fit_half_step(const struct fit *f, float v, float *q);

#endif
