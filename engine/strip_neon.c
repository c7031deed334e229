/* The integer kernels for any AArch64, which has products of bytes but no sums of four; and the
 * rounding of activations for all of them. */
#include "engine/strip_arm.h"

#include <math.h>
#include <string.h>

/* Pairs of products fit i16: none is larger than 128 * 127. */
INLINE int32x4_t dot_four(int32x4_t s, int8x16_t codes, int8x16_t q)
{
	int16x8_t a = vmull_s8(vget_low_s8(codes), vget_low_s8(q));
	int16x8_t b = vmull_high_s8(codes, q);

	return vpadalq_s16(s, vpaddq_s16(a, b));
}

INLINE int8x16_t four(const int8_t *q)
{
	int32_t v;

	memcpy(&v, q, sizeof(v));
	return vreinterpretq_s8_s32(vdupq_n_s32(v));
}

INLINE void dots(int32x4_t *s, const int8x16_t c[4], const int8_t *q, size_t ld, unsigned nx)
{
	for (unsigned j = 0; j < nx; j++) {
		for (unsigned g = 0; g < 4; g++)
			s[j] = dot_four(s[j], c[g], four(q + j * ld + 4 * g));
	}
}

INLINE void settle(int32x4_t *s, unsigned nx)
{
	(void)s;
	(void)nx;
}

void strip_neon_strip(const struct kern_strips *w, size_t at, size_t n, const struct kern_acts *x,
		      size_t first, size_t rows, float *out, size_t ldo)
{
	for (size_t i = 0; i < n; i++)
		strip(w, at + i, x, first, rows, out + i * KERN_STRIP, ldo);
}

void strip_neon_wide(const struct kern_wide *w, bool mins, const struct kern_acts *x, size_t first,
		     size_t rows, float *out, size_t ldo)
{
	wide(w, mins, x, first, rows, out, ldo);
}

INLINE int16x4_t rounded(const float *x, float a)
{
	return vqmovn_s32(vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x), a)));
}

INLINE int8x8_t eight_rounded(const float *x, float a)
{
	return vqmovn_s16(vcombine_s16(rounded(x, a), rounded(x + 4, a)));
}

/* As integers, magnitudes of floats are in their order, infinity and NaN above all others. */
INLINE uint32_t top_bits(const float *x, size_t n)
{
	uint32x4_t top = vdupq_n_u32(0);

	for (size_t i = 0; i < n; i += 4)
		top = vmaxq_u32(top, vreinterpretq_u32_f32(vabsq_f32(vld1q_f32(x + i))));
	return vmaxvq_u32(top);
}

/* Blocks that share a step. */
static void quantize_group(const float *x, size_t blocks, int8_t *q, float *step, int16_t *sum)
{
	const uint32_t bits = top_bits(x, 32 * blocks), infinity = 0x7f800000;
	bool zero;
	float a;

	memcpy(&a, &bits, sizeof(a));
	zero = bits >= infinity || a < 1e-36f;
	for (size_t h = 0; h < 2 * blocks; h++, x += 16, q += 16) {
		int8x16_t codes = vdupq_n_s8(0);

		if (!zero)
			codes = vcombine_s8(eight_rounded(x, 127.0f / a),
					    eight_rounded(x + 8, 127.0f / a));
		vst1q_s8(q, codes);
		sum[h] = vaddlvq_s8(codes);
		step[h / 2] = bits >= infinity ? NAN : zero ? 0 : a / 127.0f;
	}
}

void strip_neon_quantize(const float *x, size_t n, size_t group, int8_t *q, float *step,
			 int16_t *sum)
{
	for (size_t b = 0; b < n / 32; b += group)
		quantize_group(x + 32 * b, group, q + 32 * b, step + b, sum + 2 * b);
}
