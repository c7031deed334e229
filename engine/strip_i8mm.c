/* The integer kernels for AArch64 with products of byte matrices (SMMLA): two weight rows and two
 * rows of activations, eight columns each, per instruction. A row without a partner takes SDOT. */
#include "engine/strip_arm.h"

/* Of a pair of s, the first has weight rows 0 and 1, the second 2 and 3, each with both rows of
 * activations. */
INLINE void pair_dots(int32x4_t *s, const int8x16_t w[4], const int8_t *q, size_t ld)
{
	int64x2_t a = vreinterpretq_s64_s8(vld1q_s8(q));
	int64x2_t b = vreinterpretq_s64_s8(vld1q_s8(q + ld));
	int8x16_t front = vreinterpretq_s8_s64(vzip1q_s64(a, b));
	int8x16_t back = vreinterpretq_s8_s64(vzip2q_s64(a, b));

	s[0] = vmmlaq_s32(s[0], w[0], front);
	s[1] = vmmlaq_s32(s[1], w[1], front);
	s[0] = vmmlaq_s32(s[0], w[2], back);
	s[1] = vmmlaq_s32(s[1], w[3], back);
}

INLINE int32x4_t single_dots(int32x4_t s, const int8x16_t c[4], const int8_t *q)
{
	int8x16_t x = vld1q_s8(q);

	s = vdotq_laneq_s32(s, c[0], x, 0);
	s = vdotq_laneq_s32(s, c[1], x, 1);
	s = vdotq_laneq_s32(s, c[2], x, 2);
	return vdotq_laneq_s32(s, c[3], x, 3);
}

INLINE void dots(int32x4_t *s, const int8x16_t c[4], const int8_t *q, size_t ld, unsigned nx)
{
	int8x16_t w[4]; /* 8 columns of two weight rows each: rows 0, 1, then 2, 3 */

	for (unsigned g = 0; g < 4; g += 2) {
		int32x4_t a = vreinterpretq_s32_s8(c[g]), b = vreinterpretq_s32_s8(c[g + 1]);

		w[g] = vreinterpretq_s8_s32(vzip1q_s32(a, b));
		w[g + 1] = vreinterpretq_s8_s32(vzip2q_s32(a, b));
	}
	for (unsigned j = 0; j + 1 < nx; j += 2)
		pair_dots(s + j, w, q + j * ld, ld);
	if (nx % 2)
		s[nx - 1] = single_dots(s[nx - 1], c, q + (nx - 1) * ld);
}

INLINE void settle(int32x4_t *s, unsigned nx)
{
	for (unsigned j = 0; j + 1 < nx; j += 2) {
		int32x4_t front = s[j], back = s[j + 1];

		s[j] = vuzp1q_s32(front, back);
		s[j + 1] = vuzp2q_s32(front, back);
	}
}

void strip_i8mm_quantize(const float *x, size_t n, size_t group, int8_t *q, float *step,
			 int16_t *sum)
{
	strip_neon_quantize(x, n, group, q, step, sum);
}

void strip_i8mm_strip(const struct kern_strips *w, size_t at, size_t n, const struct kern_acts *x,
		      size_t first, size_t rows, float *out, size_t ldo)
{
	for (size_t i = 0; i < n; i++)
		strip(w, at + i, x, first, rows, out + i * KERN_STRIP, ldo);
}

void strip_i8mm_wide(const struct kern_wide *w, bool mins, const struct kern_acts *x, size_t first,
		     size_t rows, float *out, size_t ldo)
{
	wide(w, mins, x, first, rows, out, ldo);
}
