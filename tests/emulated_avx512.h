/* tests/emulated_avx512.h - AVX-512 on any x86-64 machine with AVX2, F16C and FMA: included before
 * a kernel's source (-include), it gives the intrinsics that the source names another meaning.
 *
 * From SIMDe where SIMDe 0.7.4 has one; the others are below, element by element as Intel's manual
 * tells them. An intrinsic that is not listed here does not compile: add it. */
#ifndef TESTS_EMULATED_AVX512_H
#define TESTS_EMULATED_AVX512_H

#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include <simde/x86/avx512.h>
#include <simde/x86/avx512/dpbusd.h>
#include <simde/x86/avx512/dpwssd.h>

#define INLINE_EMULATED static inline __attribute__((unused))

/* Of kernels: a copy wherever they are used would take minutes to compile. */
#define INLINE static inline __attribute__((unused))

/* from : elements of an operand of 16; to : the same of the result; one : what becomes of x[i]. */
#define EMULATED_EACH(name, result, operand, from, to, one)                                        \
	INLINE_EMULATED result name(operand a)                                                     \
	{                                                                                          \
		from x[16];                                                                        \
		to y[16];                                                                          \
		result r;                                                                          \
                                                                                                   \
		memcpy(x, &a, sizeof(x));                                                          \
		for (unsigned i = 0; i < 16; i++)                                                  \
			y[i] = (one);                                                              \
		memcpy(&r, y, sizeof(r));                                                          \
		return r;                                                                          \
	}

EMULATED_EACH(emulated_cvtepi32_epi8, __m128i, simde__m512i, int32_t, uint8_t, (uint8_t)x[i])
EMULATED_EACH(emulated_cvtepi32_ps, simde__m512, simde__m512i, int32_t, float, (float)x[i])
EMULATED_EACH(emulated_cvtepi8_epi32, simde__m512i, __m128i, int8_t, int32_t, x[i])
EMULATED_EACH(emulated_cvtepu8_epi32, simde__m512i, __m128i, uint8_t, int32_t, x[i])
EMULATED_EACH(emulated_cvtepu16_epi32, simde__m512i, __m256i, uint16_t, int32_t, x[i])
EMULATED_EACH(emulated_cvtps_epi32, simde__m512i, simde__m512, float, int32_t, (int32_t)rintf(x[i]))
EMULATED_EACH(emulated_cvtph_ps, simde__m512, __m256i, uint16_t, float, _cvtsh_ss(x[i]))

#undef EMULATED_EACH

INLINE_EMULATED __m256i emulated_cvtepi32_epi16(simde__m512i a)
{
	int32_t x[16];
	uint16_t y[16];
	__m256i r;

	memcpy(x, &a, sizeof(x));
	for (unsigned i = 0; i < 16; i++)
		y[i] = (uint16_t)x[i];
	memcpy(&r, y, sizeof(r));
	return r;
}

INLINE_EMULATED __m256i emulated_cvtps_ph(simde__m512 a, int rounding)
{
	float x[16];
	uint16_t y[16];
	__m256i r;

	(void)rounding; /* to nearest is the only one in use */
	memcpy(x, &a, sizeof(x));
	for (unsigned i = 0; i < 16; i++)
		y[i] = _cvtss_sh(x[i], _MM_FROUND_TO_NEAREST_INT);
	memcpy(&r, y, sizeof(r));
	return r;
}

INLINE_EMULATED __m256 emulated_extractf32x8_ps(simde__m512 a, int at)
{
	__m256 half[2];

	memcpy(half, &a, sizeof(half));
	return half[at];
}

INLINE_EMULATED simde__m512 emulated_permute_ps(simde__m512 a, int control)
{
	float x[16], y[16];

	memcpy(x, &a, sizeof(x));
	for (int i = 0; i < 16; i++)
		y[i] = x[i / 4 * 4 + (control >> i % 4 * 2 & 3)];
	memcpy(&a, y, sizeof(a));
	return a;
}

/* The half floats, as integers of 16 bits: which type they have does not matter here. */
INLINE_EMULATED simde__m512i emulated_cvtepi16_ph(simde__m512i a)
{
	int16_t x[32];

	memcpy(x, &a, sizeof(x));
	for (unsigned i = 0; i < 32; i++)
		x[i] = (int16_t)_cvtss_sh(x[i], _MM_FROUND_TO_NEAREST_INT);
	memcpy(&a, x, sizeof(a));
	return a;
}

INLINE_EMULATED float emulated_reduce_max_ps(simde__m512 a)
{
	float x[16];

	memcpy(x, &a, sizeof(x));
	for (unsigned i = 1; i < 16; i++)
		x[0] = x[i] > x[0] ? x[i] : x[0];
	return x[0];
}

/* Masked loads and stores touch no memory but that of their elements. */
INLINE_EMULATED simde__m512 emulated_maskz_loadu_ps(uint16_t mask, const void *p)
{
	float x[16] = { 0 };
	simde__m512 a;

	for (unsigned i = 0; i < 16; i++) {
		if (mask >> i & 1)
			memcpy(x + i, (const char *)p + 4 * i, 4);
	}
	memcpy(&a, x, sizeof(a));
	return a;
}

INLINE_EMULATED __m256i emulated_maskz_loadu_epi32(uint8_t mask, const void *p)
{
	int32_t x[8] = { 0 };
	__m256i a;

	for (unsigned i = 0; i < 8; i++) {
		if (mask >> i & 1)
			memcpy(x + i, (const char *)p + 4 * i, 4);
	}
	memcpy(&a, x, sizeof(a));
	return a;
}

INLINE_EMULATED void emulated_mask_storeu_ps(void *p, uint16_t mask, simde__m512 a)
{
	float x[16];

	memcpy(x, &a, sizeof(x));
	for (unsigned i = 0; i < 16; i++) {
		if (mask >> i & 1)
			memcpy((char *)p + 4 * i, x + i, 4);
	}
}

INLINE_EMULATED __m128i emulated_maskz_set1_epi8(uint16_t mask, int8_t value)
{
	int8_t x[16];
	__m128i a;

	for (unsigned i = 0; i < 16; i++)
		x[i] = mask >> i & 1 ? value : 0;
	memcpy(&a, x, sizeof(a));
	return a;
}

#undef INLINE_EMULATED

/* Beside the originals in one program (tests/emulated.c). */
#define kern_avx512               emulated_avx512
#define kern_avx512vnni           emulated_avx512vnni
#define kern_amx                  emulated_amx
#define strip_avx512vnni_quantize emulated_avx512vnni_quantize
#define strip_avx512vnni_strip    emulated_avx512vnni_strip
#define strip_avx512vnni_wide     emulated_avx512vnni_wide
#define strip_amx_quantize        emulated_amx_quantize
#define strip_amx_strip           emulated_amx_strip
#define strip_amx_tiles           emulated_amx_tiles
#define strip_amx_wide            emulated_amx_wide

#define __m512                     simde__m512
#define __m512i                    simde__m512i
#define _mm_maskz_set1_epi8        emulated_maskz_set1_epi8
#define _mm256_maskz_loadu_epi32   emulated_maskz_loadu_epi32
#define _mm512_add_epi32           simde_mm512_add_epi32
#define _mm512_add_ps              simde_mm512_add_ps
#define _mm512_and_si512           simde_mm512_and_si512
#define _mm512_broadcast_i64x4     simde_mm512_broadcast_i64x4
#define _mm512_castph_si512(a)     (a)
#define _mm512_castps512_ps128     simde_mm512_castps512_ps128
#define _mm512_castps512_ps256     simde_mm512_castps512_ps256
#define _mm512_castps_si512        simde_mm512_castps_si512
#define _mm512_castsi512_ps        simde_mm512_castsi512_ps
#define _mm512_castsi512_si256     simde_mm512_castsi512_si256
#undef _mm512_cmpgt_epi32_mask
#define _mm512_cmpgt_epi32_mask    simde_mm512_cmpgt_epi32_mask
#define _mm512_cvtepi16_ph         emulated_cvtepi16_ph
#define _mm512_cvtepi32_epi8       emulated_cvtepi32_epi8
#define _mm512_cvtepi32_epi16      emulated_cvtepi32_epi16
#define _mm512_cvtepi32_ps         emulated_cvtepi32_ps
#define _mm512_cvtepi8_epi32       emulated_cvtepi8_epi32
#define _mm512_cvtepu16_epi32      emulated_cvtepu16_epi32
#define _mm512_cvtepu8_epi32       emulated_cvtepu8_epi32
#define _mm512_cvtph_ps            emulated_cvtph_ps
#define _mm512_cvtps_epi32         emulated_cvtps_epi32
#undef _mm512_cvtps_ph
#define _mm512_cvtps_ph            emulated_cvtps_ph
#define _mm512_div_ps              simde_mm512_div_ps
#define _mm512_dpbusd_epi32        simde_mm512_dpbusd_epi32
#define _mm512_dpwssd_epi32        simde_mm512_dpwssd_epi32
#undef _mm512_extractf32x8_ps
#define _mm512_extractf32x8_ps     emulated_extractf32x8_ps
#undef _mm512_extracti64x4_epi64
#define _mm512_extracti64x4_epi64  simde_mm512_extracti64x4_epi64
#define _mm512_fmadd_ps            simde_mm512_fmadd_ps
#define _mm512_load_ps             simde_mm512_load_ps
#define _mm512_load_si512          simde_mm512_load_si512
#define _mm512_loadu_ps            simde_mm512_loadu_ps
#define _mm512_loadu_si512         simde_mm512_loadu_si512
#define _mm512_maddubs_epi16        simde_mm512_maddubs_epi16
#define _mm512_mask_mov_epi8        simde_mm512_mask_mov_epi8
#define _mm512_mask_storeu_ps      emulated_mask_storeu_ps
#define _mm512_maskz_compress_ps   simde_mm512_maskz_compress_ps
#define _mm512_maskz_loadu_ps      emulated_maskz_loadu_ps
#define _mm512_max_epu32           simde_mm512_max_epu32
#define _mm512_max_ps              simde_mm512_max_ps
#define _mm512_min_ps              simde_mm512_min_ps
#define _mm512_mul_ps              simde_mm512_mul_ps
#define _mm512_mullo_epi16          simde_mm512_mullo_epi16
#define _mm512_mullo_epi32         simde_mm512_mullo_epi32
#define _mm512_or_si512            simde_mm512_or_si512
#define _mm512_packs_epi16         simde_mm512_packs_epi16
#define _mm512_packs_epi32         simde_mm512_packs_epi32
#define _mm512_permutexvar_epi16   simde_mm512_permutexvar_epi16
#undef _mm512_permute_ps
#define _mm512_permute_ps          emulated_permute_ps
#define _mm512_permutexvar_epi32   simde_mm512_permutexvar_epi32
#define _mm512_reduce_max_ps       emulated_reduce_max_ps
#define _mm512_set1_epi16          simde_mm512_set1_epi16
#define _mm512_set1_epi32          simde_mm512_set1_epi32
#define _mm512_set1_epi8           simde_mm512_set1_epi8
#define _mm512_set1_ps             simde_mm512_set1_ps
#define _mm512_setzero_ps          simde_mm512_setzero_ps
#define _mm512_setzero_si512       simde_mm512_setzero_si512
#undef _mm512_shuffle_f32x4
#define _mm512_shuffle_f32x4       simde_mm512_shuffle_f32x4
#undef _mm512_slli_epi16
#define _mm512_slli_epi16          simde_mm512_slli_epi16
#undef _mm512_slli_epi32
#define _mm512_slli_epi32          simde_mm512_slli_epi32
#define _mm512_sllv_epi32          simde_mm512_sllv_epi32
#undef _mm512_srai_epi16
#define _mm512_srai_epi16          simde_mm512_srai_epi16
#undef _mm512_srli_epi32
#define _mm512_srli_epi32          simde_mm512_srli_epi32
#undef _mm512_srli_epi16
#define _mm512_srli_epi16          simde_mm512_srli_epi16
#define _mm512_store_ps            simde_mm512_store_ps
#define _mm512_store_si512         simde_mm512_store_si512
#define _mm512_storeu_ps           simde_mm512_storeu_ps
#define _mm512_storeu_si512        simde_mm512_storeu_si512
#define _mm512_sub_epi16            simde_mm512_sub_epi16
#define _mm512_sub_epi8            simde_mm512_sub_epi8
#define _mm512_sub_ps              simde_mm512_sub_ps
#define _mm512_unpackhi_epi32      simde_mm512_unpackhi_epi32
#define _mm512_unpackhi_epi64      simde_mm512_unpackhi_epi64
#define _mm512_unpacklo_epi32      simde_mm512_unpacklo_epi32
#define _mm512_unpacklo_epi64      simde_mm512_unpacklo_epi64
#define _mm512_xor_si512           simde_mm512_xor_si512

#endif
