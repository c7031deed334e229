/* engine/kern_def.h - scalar pieces of the definition, shared by the files of the tables.
 *
 * Private to kern_*.c: they are compiled with different flags, so everything here is static. */
#ifndef ENGINE_KERN_DEF_H
#define ENGINE_KERN_DEF_H

#include <math.h>
#include <string.h>

#include "engine/kern.h"

/* e^x = 2^n * e^r with n = round(x / ln 2); adding EXP_MAGIC rounds to an integer and leaves it in
 * the low bits. ln 2 in two parts (the first is exact in few bits, so n * hi is exact). */
#define EXP_LO     (-87.0f)
#define EXP_HI     88.0f
#define EXP_LOG2E  1.44269504f
#define EXP_MAGIC  12582912.0f
#define EXP_LN2_HI 0.693359375f
#define EXP_LN2_LO (-2.12194440e-4f)

/* 1 / k! for k = 7, 6, ... 2: on |r| <= ln 2 / 2 the series is off by less than 6e-9. */
#define EXP_C7 1.98412698e-4f
#define EXP_C6 1.38888889e-3f
#define EXP_C5 8.33333333e-3f
#define EXP_C4 4.16666667e-2f
#define EXP_C3 1.66666667e-1f
#define EXP_C2 0.5f

static inline float def_exp(float x)
{
	uint32_t bits, shift;
	float t, n, r, p;

	x = EXP_LO > x ? EXP_LO : x;
	x = EXP_HI < x ? EXP_HI : x;
	t = fmaf(x, EXP_LOG2E, EXP_MAGIC);
	n = t - EXP_MAGIC;
	r = fmaf(n, -EXP_LN2_HI, x);
	r = fmaf(n, -EXP_LN2_LO, r);
	p = fmaf(EXP_C7, r, EXP_C6);
	p = fmaf(p, r, EXP_C5);
	p = fmaf(p, r, EXP_C4);
	p = fmaf(p, r, EXP_C3);
	p = fmaf(p, r, EXP_C2);
	p = fmaf(p, r, 1.0f);
	p = fmaf(p, r, 1.0f);
	memcpy(&bits, &p, sizeof(bits));
	memcpy(&shift, &t, sizeof(shift));
	bits += shift << 23;
	memcpy(&p, &bits, sizeof(p));
	return p;
}

static inline float def_silu(float x)
{
	return x / (1.0f + def_exp(-x));
}

/* The factor of rms_norm from the sum of squares. */
static inline float def_rms_factor(float sum, size_t n, float eps)
{
	return 1.0f / sqrtf(sum / (float)n + eps);
}

static inline float def_reduce(float lanes[KERN_LANES])
{
	for (unsigned w = KERN_LANES / 2; w > 0; w /= 2) {
		for (unsigned j = 0; j < w; j++)
			lanes[j] += lanes[j + w];
	}
	return lanes[0];
}

/* kern.nibbles from byte `from` on. */
static inline void def_nibbles(const uint8_t *src, int8_t *dst, size_t n, size_t from)
{
	for (size_t i = from; i < n; i++) {
		dst[i] = (int8_t)((src[i] & 15) - 8);
		dst[n + i] = (int8_t)((src[i] >> 4) - 8);
	}
}

/* Elements that are dequantized at a time where no kernel of its own exists for a type: a
 * multiple of every block and of the lanes, and small enough to stay in the first-level cache. */
#define DEF_CHUNK 512

/* kern.rows by way of a small buffer: any type, any table. */
static inline void def_rows(const struct kern *k, const struct kern_rows *w, const float *x,
			    size_t n, float *out)
{
	const size_t chunk_bytes = quant_row_bytes(w->type, DEF_CHUNK);
	float buf[DEF_CHUNK];

	for (size_t i = 0; i < w->n_rows; i++) {
		const uint8_t *src = w->data + i * w->row_bytes;
		float lanes[KERN_LANES] = { 0 };

		for (size_t at = 0; at < n; at += DEF_CHUNK) {
			size_t m = n - at < DEF_CHUNK ? n - at : DEF_CHUNK;

			k->dequant(w->type, src, buf, m);
			k->accumulate(lanes, buf, x + at, m);
			src += chunk_bytes;
		}
		out[i] = def_reduce(lanes);
	}
}

/* The tables; those that this build or machine lacks are never referred to. */
extern const struct kern kern_ref;
extern const struct kern kern_avx2;
extern const struct kern kern_avx512;
extern const struct kern kern_avx512vnni;
extern const struct kern kern_amx;
extern const struct kern kern_neon;
extern const struct kern kern_dotprod;
extern const struct kern kern_i8mm;

#endif
