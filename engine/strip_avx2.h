/* engine/strip_avx2.h - what both files of integer kernels for AVX2 use. Private to them. */
#ifndef ENGINE_STRIP_AVX2_H
#define ENGINE_STRIP_AVX2_H

#include <immintrin.h>
#include <string.h>

#include "engine/strip.h"

#define INLINE static inline __attribute__((always_inline))

INLINE __m256i load(const void *p)
{
	return _mm256_loadu_si256(p);
}

/* Four bytes in all lanes. */
INLINE __m256i four(const void *p)
{
	int32_t v;

	memcpy(&v, p, sizeof(v));
	return _mm256_set1_epi32(v);
}

/* Ask for what comes so many bytes after w: the machine itself does not look far enough ahead to
 * keep the memory busy. How far is best depends on the type, and was measured. */
INLINE void fetch(const uint8_t *w, size_t bytes)
{
	for (size_t i = 0; i < bytes; i += 64)
		_mm_prefetch((const void *)(w + i), _MM_HINT_T0);
}

INLINE __m256 eight_halves(const uint8_t *p)
{
	return _mm256_cvtph_ps(_mm_loadu_si128((const void *)p));
}

/* Sums whose terms compilers must not gather in another order: all at once they have no room in
 * registers. */
INLINE __m256i add_16(__m256i a, __m256i b)
{
	a = _mm256_add_epi16(a, b);
	__asm__("" : "+x"(a));
	return a;
}

INLINE __m256i add_32(__m256i a, __m256i b)
{
	a = _mm256_add_epi32(a, b);
	__asm__("" : "+x"(a));
	return a;
}

/* Scales and minimums of the blocks of a strip of Q4_K. */
struct scales {
	uint8_t scale[8][16], min[8][16];
};

INLINE void scales_q4_k(struct scales *o, const uint8_t *w)
{
	const __m256i second = _mm256_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4);
	const __m256i low4 = _mm256_set1_epi8(15), top2 = _mm256_set1_epi8(0x30);

	for (unsigned p = 0; p < 4; p++) {
		__m256i low = load(w + p * 32), scale, min;
		__m256i high = _mm256_broadcastsi128_si256(
			_mm_loadu_si128((const void *)(w + 128 + p * 16)));

		high = _mm256_srlv_epi32(high, second);
		scale = _mm256_and_si256(_mm256_slli_epi16(high, 4), top2);
		min = _mm256_and_si256(_mm256_slli_epi16(high, 2), top2);
		scale = _mm256_or_si256(scale, _mm256_and_si256(low, low4));
		low = _mm256_and_si256(_mm256_srli_epi16(low, 4), low4);
		_mm256_storeu_si256((void *)o->scale[2 * p], scale);
		_mm256_storeu_si256((void *)o->min[2 * p], _mm256_or_si256(min, low));
	}
}

#endif
