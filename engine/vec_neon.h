/* engine/vec_neon.h - sixteen lanes as four quarters on AArch64: the vocabulary of kern_vec.h.
 *
 *   vf 16 x f32    vi 16 x i32    vb 16 bytes
 *
 * Private to kern_neon.c. vf_max and vf_min give their second operand when either is NaN. */
#ifndef ENGINE_VEC_NEON_H
#define ENGINE_VEC_NEON_H

#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Outputs of the widest register block of kern_vec.h: 2 x 2 sums of four registers each. */
#define VEC_TILE_W 2
#define VEC_TILE_X 2

/* Sums of mix, sixteen columns each, that stay in registers beside what they are made of. */
#define VEC_MIX_SUMS 6

struct vf {
	float32x4_t v[4];
};

struct vi {
	int32x4_t v[4];
};

struct vb {
	uint8x16_t v;
};

/* A function of two vf by quarters. */
#define VEC_BINARY(name, call)                                                                     \
	static inline struct vf name(struct vf a, struct vf b)                                     \
	{                                                                                          \
		return (struct vf){ { call(a.v[0], b.v[0]), call(a.v[1], b.v[1]),                  \
				      call(a.v[2], b.v[2]), call(a.v[3], b.v[3]) } };              \
	}

static inline struct vf vf_set(float x)
{
	float32x4_t v = vdupq_n_f32(x);

	return (struct vf){ { v, v, v, v } };
}

static inline struct vf vf_load(const float *p)
{
	return (struct vf){ { vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8),
			      vld1q_f32(p + 12) } };
}

/* The first n (< 16) of 16, zeros after them. */
static inline struct vf vf_load_n(const float *p, size_t n)
{
	float all[16] = { 0 };

	memcpy(all, p, n * sizeof(*p));
	return vf_load(all);
}

static inline void vf_store(float *p, struct vf a)
{
	vst1q_f32(p, a.v[0]);
	vst1q_f32(p + 4, a.v[1]);
	vst1q_f32(p + 8, a.v[2]);
	vst1q_f32(p + 12, a.v[3]);
}

static inline void vf_store_n(float *p, struct vf a, size_t n)
{
	float all[16];

	vf_store(all, a);
	memcpy(p, all, n * sizeof(*p));
}

static inline float32x4_t vec_max(float32x4_t a, float32x4_t b)
{
	return vbslq_f32(vcgtq_f32(a, b), a, b);
}

static inline float32x4_t vec_min(float32x4_t a, float32x4_t b)
{
	return vbslq_f32(vcltq_f32(a, b), a, b);
}

VEC_BINARY(vf_add, vaddq_f32)
VEC_BINARY(vf_sub, vsubq_f32)
VEC_BINARY(vf_mul, vmulq_f32)
VEC_BINARY(vf_div, vdivq_f32)
VEC_BINARY(vf_max, vec_max)
VEC_BINARY(vf_min, vec_min)

static inline struct vf vf_fma(struct vf a, struct vf b, struct vf c)
{
	return (struct vf){ { vfmaq_f32(c.v[0], a.v[0], b.v[0]), vfmaq_f32(c.v[1], a.v[1], b.v[1]),
			      vfmaq_f32(c.v[2], a.v[2], b.v[2]),
			      vfmaq_f32(c.v[3], a.v[3], b.v[3]) } };
}

static inline float vf_largest(struct vf a)
{
	return vmaxvq_f32(vec_max(vec_max(a.v[0], a.v[1]), vec_max(a.v[2], a.v[3])));
}

/* The order of kern.h: lane j += lane j + 8, + 4, + 2, + 1. */
static inline float32x4_t vec_quarter(struct vf a)
{
	return vaddq_f32(vaddq_f32(a.v[0], a.v[2]), vaddq_f32(a.v[1], a.v[3]));
}

static inline float vf_reduce(struct vf a)
{
	float32x4_t s = vec_quarter(a);
	float32x2_t t = vadd_f32(vget_low_f32(s), vget_high_f32(s));

	return vget_lane_f32(t, 0) + vget_lane_f32(t, 1);
}

/* Lanes 0 + 2 and 1 + 3 of a, then of b. */
static inline float32x4_t vec_halves(float32x4_t a, float32x4_t b)
{
	return vaddq_f32(vcombine_f32(vget_low_f32(a), vget_low_f32(b)),
			 vcombine_f32(vget_high_f32(a), vget_high_f32(b)));
}

/* vf_reduce of four, side by side. */
static inline void vf_reduce4(float *out, struct vf a, struct vf b, struct vf c, struct vf d)
{
	float32x4_t ab = vec_halves(vec_quarter(a), vec_quarter(b));
	float32x4_t cd = vec_halves(vec_quarter(c), vec_quarter(d));

	vst1q_f32(out, vpaddq_f32(ab, cd));
}

static inline struct vi vi_of_bits(struct vf a)
{
	return (struct vi){ { vreinterpretq_s32_f32(a.v[0]), vreinterpretq_s32_f32(a.v[1]),
			      vreinterpretq_s32_f32(a.v[2]), vreinterpretq_s32_f32(a.v[3]) } };
}

static inline struct vf vf_of_bits(struct vi a)
{
	return (struct vf){ { vreinterpretq_f32_s32(a.v[0]), vreinterpretq_f32_s32(a.v[1]),
			      vreinterpretq_f32_s32(a.v[2]), vreinterpretq_f32_s32(a.v[3]) } };
}

static inline struct vi vi_add(struct vi a, struct vi b)
{
	return (struct vi){ { vaddq_s32(a.v[0], b.v[0]), vaddq_s32(a.v[1], b.v[1]),
			      vaddq_s32(a.v[2], b.v[2]), vaddq_s32(a.v[3], b.v[3]) } };
}

static inline struct vi vi_shl23(struct vi a)
{
	return (struct vi){ { vshlq_n_s32(a.v[0], 23), vshlq_n_s32(a.v[1], 23),
			      vshlq_n_s32(a.v[2], 23), vshlq_n_s32(a.v[3], 23) } };
}

static inline struct vf vf_of_u8(struct vb a)
{
	uint16x8_t lo = vmovl_u8(vget_low_u8(a.v)), hi = vmovl_high_u8(a.v);

	return (struct vf){
		{ vcvtq_f32_u32(vmovl_u16(vget_low_u16(lo))), vcvtq_f32_u32(vmovl_high_u16(lo)),
		  vcvtq_f32_u32(vmovl_u16(vget_low_u16(hi))), vcvtq_f32_u32(vmovl_high_u16(hi)) }
	};
}

static inline struct vf vf_of_i8(struct vb a)
{
	int8x16_t s = vreinterpretq_s8_u8(a.v);
	int16x8_t lo = vmovl_s8(vget_low_s8(s)), hi = vmovl_high_s8(s);

	return (struct vf){
		{ vcvtq_f32_s32(vmovl_s16(vget_low_s16(lo))), vcvtq_f32_s32(vmovl_high_s16(lo)),
		  vcvtq_f32_s32(vmovl_s16(vget_low_s16(hi))), vcvtq_f32_s32(vmovl_high_s16(hi)) }
	};
}

static inline uint16x4_t vec_u16(const uint8_t *p)
{
	return vreinterpret_u16_u8(vld1_u8(p));
}

static inline float32x4_t vec_of_f16(const uint8_t *p)
{
	return vcvt_f32_f16(vreinterpret_f16_u16(vec_u16(p)));
}

static inline struct vf vf_of_f16(const uint8_t *p)
{
	return (struct vf){ { vec_of_f16(p), vec_of_f16(p + 8), vec_of_f16(p + 16),
			      vec_of_f16(p + 24) } };
}

static inline float32x4_t vec_of_bf16(const uint8_t *p)
{
	return vreinterpretq_f32_u32(vshll_n_u16(vec_u16(p), 16));
}

static inline struct vf vf_of_bf16(const uint8_t *p)
{
	return (struct vf){ { vec_of_bf16(p), vec_of_bf16(p + 8), vec_of_bf16(p + 16),
			      vec_of_bf16(p + 24) } };
}

/* Round to nearest, ties to even. */
static inline void vf_to_f16(uint16_t *p, struct vf a)
{
	for (unsigned i = 0; i < 4; i++)
		vst1_u16(p + 4 * i, vreinterpret_u16_f16(vcvt_f16_f32(a.v[i])));
}

static inline struct vb vb_load(const uint8_t *p)
{
	return (struct vb){ vld1q_u8(p) };
}

static inline void vb_store(int8_t *p, struct vb a)
{
	vst1q_s8(p, vreinterpretq_s8_u8(a.v));
}

static inline struct vb vb_set(int8_t x)
{
	return (struct vb){ vdupq_n_u8((uint8_t)x) };
}

/* Sixteen from memory. */
static inline struct vf vf_load_i8(const uint8_t *p)
{
	return vf_of_i8(vb_load(p));
}

static inline struct vb vb_and(struct vb a, struct vb b)
{
	return (struct vb){ vandq_u8(a.v, b.v) };
}

static inline struct vb vb_or(struct vb a, struct vb b)
{
	return (struct vb){ vorrq_u8(a.v, b.v) };
}

static inline struct vb vb_sub(struct vb a, struct vb b)
{
	return (struct vb){ vsubq_u8(a.v, b.v) };
}

static inline struct vb vb_shr(struct vb a, unsigned n)
{
	return (struct vb){ vshlq_u8(a.v, vdupq_n_s8((int8_t) - (int)n)) };
}

static inline struct vb vb_shl(struct vb a, unsigned n)
{
	return (struct vb){ vshlq_u8(a.v, vdupq_n_s8((int8_t)n)) };
}

/* table[index], index < 16. */
static inline struct vb vb_lookup(struct vb table, struct vb index)
{
	return (struct vb){ vqtbl1q_u8(table.v, index.v) };
}

/* value in the bytes whose bit of mask is set. */
static inline struct vb vb_bits(unsigned mask, int8_t value)
{
	const uint8x8_t bit = vcreate_u8(0x8040201008040201u);
	uint8x16_t bytes = vcombine_u8(vdup_n_u8((uint8_t)mask), vdup_n_u8((uint8_t)(mask >> 8)));
	uint8x16_t set = vtstq_u8(bytes, vcombine_u8(bit, bit));

	return (struct vb){ vandq_u8(set, vdupq_n_u8((uint8_t)value)) };
}

/* One half-precision number. */
static inline float vec_f16(const uint8_t *p)
{
	uint16x4_t half = vdup_n_u16((uint16_t)(p[0] | p[1] << 8));

	return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(half)), 0);
}

#undef VEC_BINARY

#endif
