/* engine/vec_avx512.h - sixteen lanes on AVX-512 (F, BW, DQ, VL): the vocabulary of kern_vec.h.
 *
 *   vf 16 x f32    vi 16 x i32    vb 16 bytes
 *
 * Private to kern_avx512.c. vf_max and vf_min give their second operand when either is NaN. */
#ifndef ENGINE_VEC_AVX512_H
#define ENGINE_VEC_AVX512_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

/* Outputs of the widest register block of kern_vec.h: 4 x 6 sums, 4 weights, 1 activation. */
#define VEC_TILE_W 4
#define VEC_TILE_X 6

/* Sums of mix, sixteen columns each, that stay in registers beside what they are made of. */
#define VEC_MIX_SUMS 24

#define VEC_EXPAND   expand_avx2

struct vf {
	__m512 v;
};

struct vi {
	__m512i v;
};

struct vb {
	__m128i v;
};

static inline struct vf vf_set(float x)
{
	return (struct vf){ _mm512_set1_ps(x) };
}

static inline struct vf vf_load(const float *p)
{
	return (struct vf){ _mm512_loadu_ps(p) };
}

static inline __mmask16 vec_mask(size_t n)
{
	return (__mmask16)((1u << n) - 1);
}

/* The first n (< 16) of 16, zeros after them. */
static inline struct vf vf_load_n(const float *p, size_t n)
{
	return (struct vf){ _mm512_maskz_loadu_ps(vec_mask(n), p) };
}

static inline void vf_store(float *p, struct vf a)
{
	_mm512_storeu_ps(p, a.v);
}

static inline void vf_store_n(float *p, struct vf a, size_t n)
{
	_mm512_mask_storeu_ps(p, vec_mask(n), a.v);
}

static inline struct vf vf_add(struct vf a, struct vf b)
{
	return (struct vf){ _mm512_add_ps(a.v, b.v) };
}

static inline struct vf vf_sub(struct vf a, struct vf b)
{
	return (struct vf){ _mm512_sub_ps(a.v, b.v) };
}

static inline struct vf vf_mul(struct vf a, struct vf b)
{
	return (struct vf){ _mm512_mul_ps(a.v, b.v) };
}

static inline struct vf vf_div(struct vf a, struct vf b)
{
	return (struct vf){ _mm512_div_ps(a.v, b.v) };
}

static inline struct vf vf_fma(struct vf a, struct vf b, struct vf c)
{
	return (struct vf){ _mm512_fmadd_ps(a.v, b.v, c.v) };
}

static inline struct vf vf_max(struct vf a, struct vf b)
{
	return (struct vf){ _mm512_max_ps(a.v, b.v) };
}

static inline struct vf vf_min(struct vf a, struct vf b)
{
	return (struct vf){ _mm512_min_ps(a.v, b.v) };
}

static inline float vf_largest(struct vf a)
{
	return _mm512_reduce_max_ps(a.v);
}

/* The order of kern.h: lane j += lane j + 8, + 4, + 2, + 1. */
static inline float vf_reduce(struct vf a)
{
	__m256 w = _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
	__m128 x = _mm_add_ps(_mm256_castps256_ps128(w), _mm256_extractf128_ps(w, 1));

	x = _mm_add_ps(x, _mm_movehl_ps(x, x));
	x = _mm_add_ss(x, _mm_movehdup_ps(x));
	return _mm_cvtss_f32(x);
}

/* vf_reduce of four, side by side. */
static inline void vf_reduce4(float *out, struct vf a, struct vf b, struct vf c, struct vf d)
{
	__m512 ab = _mm512_add_ps(_mm512_shuffle_f32x4(a.v, b.v, 0x44),
				  _mm512_shuffle_f32x4(a.v, b.v, 0xee));
	__m512 cd = _mm512_add_ps(_mm512_shuffle_f32x4(c.v, d.v, 0x44),
				  _mm512_shuffle_f32x4(c.v, d.v, 0xee));
	__m512 s = _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88),
				 _mm512_shuffle_f32x4(ab, cd, 0xdd));

	s = _mm512_add_ps(s, _mm512_permute_ps(s, 0x4e));
	s = _mm512_add_ps(s, _mm512_permute_ps(s, 0xb1));
	_mm_storeu_ps(out, _mm512_castps512_ps128(_mm512_maskz_compress_ps(0x1111, s)));
}

static inline struct vi vi_of_bits(struct vf a)
{
	return (struct vi){ _mm512_castps_si512(a.v) };
}

static inline struct vf vf_of_bits(struct vi a)
{
	return (struct vf){ _mm512_castsi512_ps(a.v) };
}

static inline struct vi vi_add(struct vi a, struct vi b)
{
	return (struct vi){ _mm512_add_epi32(a.v, b.v) };
}

static inline struct vi vi_shl23(struct vi a)
{
	return (struct vi){ _mm512_slli_epi32(a.v, 23) };
}

static inline struct vf vf_of_u8(struct vb a)
{
	return (struct vf){ _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(a.v)) };
}

static inline struct vf vf_of_i8(struct vb a)
{
	return (struct vf){ _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(a.v)) };
}

/* Sixteen from memory. */
static inline struct vf vf_load_i8(const uint8_t *p)
{
	const __m128i bytes = _mm_loadu_si128((const __m128i *)p);

	return (struct vf){ _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes)) };
}

static inline struct vf vf_of_f16(const uint8_t *p)
{
	return (struct vf){ _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p)) };
}

static inline struct vf vf_of_bf16(const uint8_t *p)
{
	__m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));

	return (struct vf){ _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16)) };
}

/* Round to nearest, ties to even. */
static inline void vf_to_f16(uint16_t *p, struct vf a)
{
	_mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT));
}

/* value in the bytes whose bit of mask is set. */
static inline struct vb vb_bits(unsigned mask, int8_t value)
{
	return (struct vb){ _mm_maskz_set1_epi8((__mmask16)mask, value) };
}

#include "engine/vec_bytes.h"

#endif
