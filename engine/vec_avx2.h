/* engine/vec_avx2.h - sixteen lanes as two halves on AVX2 with FMA and F16C: the vocabulary of
 * kern_vec.h.
 *
 *   vf 16 x f32    vi 16 x i32    vb 16 bytes
 *
 * Private to kern_avx2.c. vf_max and vf_min give their second operand when either is NaN. */
#ifndef ENGINE_VEC_AVX2_H
#define ENGINE_VEC_AVX2_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

/* Outputs of the widest register block of kern_vec.h: 2 x 3 sums of two registers each. */
#define VEC_TILE_W 2
#define VEC_TILE_X 3

/* Sums of mix, sixteen columns each, that stay in registers beside what they are made of. */
#define VEC_MIX_SUMS 6

#define VEC_EXPAND   expand_avx2

struct vf {
	__m256 lo, hi;
};

struct vi {
	__m256i lo, hi;
};

struct vb {
	__m128i v;
};

static inline struct vf vf_set(float x)
{
	return (struct vf){ _mm256_set1_ps(x), _mm256_set1_ps(x) };
}

static inline struct vf vf_load(const float *p)
{
	return (struct vf){ _mm256_loadu_ps(p), _mm256_loadu_ps(p + 8) };
}

/* Mask of the first n of 8 lanes. */
static inline __m256i vec_mask(size_t n)
{
	const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);

	return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), index);
}

/* The first n (< 16) of 16, zeros after them. */
static inline struct vf vf_load_n(const float *p, size_t n)
{
	if (n < 8)
		return (struct vf){ _mm256_maskload_ps(p, vec_mask(n)), _mm256_setzero_ps() };
	return (struct vf){ _mm256_loadu_ps(p), _mm256_maskload_ps(p + 8, vec_mask(n - 8)) };
}

static inline void vf_store(float *p, struct vf a)
{
	_mm256_storeu_ps(p, a.lo);
	_mm256_storeu_ps(p + 8, a.hi);
}

static inline void vf_store_n(float *p, struct vf a, size_t n)
{
	if (n < 8) {
		_mm256_maskstore_ps(p, vec_mask(n), a.lo);
		return;
	}
	_mm256_storeu_ps(p, a.lo);
	_mm256_maskstore_ps(p + 8, vec_mask(n - 8), a.hi);
}

static inline struct vf vf_add(struct vf a, struct vf b)
{
	return (struct vf){ _mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi) };
}

static inline struct vf vf_sub(struct vf a, struct vf b)
{
	return (struct vf){ _mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi) };
}

static inline struct vf vf_mul(struct vf a, struct vf b)
{
	return (struct vf){ _mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi) };
}

static inline struct vf vf_div(struct vf a, struct vf b)
{
	return (struct vf){ _mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi) };
}

static inline struct vf vf_fma(struct vf a, struct vf b, struct vf c)
{
	return (struct vf){ _mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi) };
}

static inline struct vf vf_max(struct vf a, struct vf b)
{
	return (struct vf){ _mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi) };
}

static inline struct vf vf_min(struct vf a, struct vf b)
{
	return (struct vf){ _mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi) };
}

static inline float vf_largest(struct vf a)
{
	__m256 w = _mm256_max_ps(a.lo, a.hi);
	__m128 x = _mm_max_ps(_mm256_castps256_ps128(w), _mm256_extractf128_ps(w, 1));

	x = _mm_max_ps(x, _mm_movehl_ps(x, x));
	x = _mm_max_ss(x, _mm_movehdup_ps(x));
	return _mm_cvtss_f32(x);
}

/* The order of kern.h: lane j += lane j + 8, + 4, + 2, + 1. */
static inline float vf_reduce(struct vf a)
{
	__m256 w = _mm256_add_ps(a.lo, a.hi);
	__m128 x = _mm_add_ps(_mm256_castps256_ps128(w), _mm256_extractf128_ps(w, 1));

	x = _mm_add_ps(x, _mm_movehl_ps(x, x));
	x = _mm_add_ss(x, _mm_movehdup_ps(x));
	return _mm_cvtss_f32(x);
}

/* Lanes 0..3 of a and of b, lanes 4..7 added to them. */
static inline __m256 vec_fold(__m256 a, __m256 b)
{
	return _mm256_add_ps(_mm256_blend_ps(a, b, 0xf0), _mm256_permute2f128_ps(a, b, 0x21));
}

/* vf_reduce of four, side by side. */
static inline void vf_reduce4(float *out, struct vf a, struct vf b, struct vf c, struct vf d)
{
	__m256 ab = vec_fold(_mm256_add_ps(a.lo, a.hi), _mm256_add_ps(b.lo, b.hi));
	__m256 cd = vec_fold(_mm256_add_ps(c.lo, c.hi), _mm256_add_ps(d.lo, d.hi));
	/* per 128 bits: a (or b) and c (or d), lanes 0 + 2 and 1 + 3 of each */
	__m256 s = _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xee));

	s = _mm256_add_ps(s, _mm256_permute_ps(s, 0xb1)); /* a a c c, b b d d */
	_mm_storeu_ps(out,
		      _mm_blend_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1), 0xa));
}

static inline struct vi vi_of_bits(struct vf a)
{
	return (struct vi){ _mm256_castps_si256(a.lo), _mm256_castps_si256(a.hi) };
}

static inline struct vf vf_of_bits(struct vi a)
{
	return (struct vf){ _mm256_castsi256_ps(a.lo), _mm256_castsi256_ps(a.hi) };
}

static inline struct vi vi_add(struct vi a, struct vi b)
{
	return (struct vi){ _mm256_add_epi32(a.lo, b.lo), _mm256_add_epi32(a.hi, b.hi) };
}

static inline struct vi vi_shl23(struct vi a)
{
	return (struct vi){ _mm256_slli_epi32(a.lo, 23), _mm256_slli_epi32(a.hi, 23) };
}

static inline struct vf vf_of_u8(struct vb a)
{
	__m128i upper = _mm_unpackhi_epi64(a.v, a.v);

	return (struct vf){ _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(a.v)),
			    _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(upper)) };
}

static inline struct vf vf_of_i8(struct vb a)
{
	__m128i upper = _mm_unpackhi_epi64(a.v, a.v);

	return (struct vf){ _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(a.v)),
			    _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(upper)) };
}

/* Sixteen from memory. */
static inline struct vf vf_load_i8(const uint8_t *p)
{
	const __m128i lo = _mm_loadl_epi64((const __m128i *)p);
	const __m128i hi = _mm_loadl_epi64((const __m128i *)(p + 8));

	return (struct vf){ _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(lo)),
			    _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(hi)) };
}

static inline struct vf vf_of_f16(const uint8_t *p)
{
	return (struct vf){ _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)),
			    _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p + 16))) };
}

static inline struct vf vf_of_bf16(const uint8_t *p)
{
	__m256i lo = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
	__m256i hi = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(p + 16)));

	return (struct vf){ _mm256_castsi256_ps(_mm256_slli_epi32(lo, 16)),
			    _mm256_castsi256_ps(_mm256_slli_epi32(hi, 16)) };
}

/* Round to nearest, ties to even. */
static inline void vf_to_f16(uint16_t *p, struct vf a)
{
	_mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(a.lo, _MM_FROUND_TO_NEAREST_INT));
	_mm_storeu_si128((__m128i *)(p + 8), _mm256_cvtps_ph(a.hi, _MM_FROUND_TO_NEAREST_INT));
}

/* value in the bytes whose bit of mask is set. */
static inline struct vb vb_bits(unsigned mask, int8_t value)
{
	const __m128i bit = _mm_set1_epi64x((long long)0x8040201008040201u);
	const __m128i spread = _mm_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
	__m128i bytes = _mm_shuffle_epi8(_mm_cvtsi32_si128((int)mask), spread);
	__m128i set = _mm_cmpeq_epi8(_mm_and_si128(bytes, bit), bit);

	return (struct vb){ _mm_and_si128(set, _mm_set1_epi8(value)) };
}

#include "engine/vec_bytes.h"

#endif
