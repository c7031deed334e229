/* The integer kernels for AArch64 with sums of four products of bytes (SDOT). */
#include "engine/strip_arm.h"

INLINE void dots(int32x4_t *s, const int8x16_t c[4], const int8_t *q, size_t ld, unsigned nx)
{
	for (unsigned j = 0; j < nx; j++) {
		int8x16_t x = vld1q_s8(q + j * ld);

		s[j] = vdotq_laneq_s32(s[j], c[0], x, 0);
		s[j] = vdotq_laneq_s32(s[j], c[1], x, 1);
		s[j] = vdotq_laneq_s32(s[j], c[2], x, 2);
		s[j] = vdotq_laneq_s32(s[j], c[3], x, 3);
	}
}

INLINE void settle(int32x4_t *s, unsigned nx)
{
	(void)s;
	(void)nx;
}

void strip_dotprod_quantize(const float *x, size_t n, size_t group, int8_t *q, float *step,
			    int16_t *sum)
{
	strip_neon_quantize(x, n, group, q, step, sum);
}

void strip_dotprod_strip(const struct kern_strips *w, size_t at, size_t n,
			 const struct kern_acts *x, size_t first, size_t rows, float *out,
			 size_t ldo)
{
	for (size_t i = 0; i < n; i++)
		strip(w, at + i, x, first, rows, out + i * KERN_STRIP, ldo);
}

void strip_dotprod_wide(const struct kern_wide *w, bool mins, const struct kern_acts *x,
			size_t first, size_t rows, float *out, size_t ldo)
{
	wide(w, mins, x, first, rows, out, ldo);
}
