#include <immintrin.h>

#include "codec/dot.h"

#define LANES 16 /* of every sum of floats, as in dot_ref.c */

static __m128i load(const void *p)
{
	return _mm_loadu_si128(p);
}

/* Sums of pairs of 16 products. */
static __m256i pairs(const int8_t *a, const int16_t *b)
{
	return _mm256_madd_epi16(_mm256_cvtepi8_epi16(load(a)),
				 _mm256_loadu_si256((const void *)b));
}

static int32_t i8_i16(const int8_t *a, const int16_t *b, size_t n)
{
	__m256i s = _mm256_setzero_si256(), t = s;
	int32_t lane[8], sum = 0;
	size_t i = 0;

	for (; i + 32 <= n; i += 32) {
		s = _mm256_add_epi32(s, pairs(a + i, b + i));
		t = _mm256_add_epi32(t, pairs(a + i + 16, b + i + 16));
	}
	_mm256_storeu_si256((void *)lane, _mm256_add_epi32(s, t));
	for (unsigned k = 0; k < 8; k++)
		sum += lane[k];
	for (; i < n; i++)
		sum += (int16_t)a[i] * b[i];
	return sum;
}

static float tree(float s[LANES])
{
	for (unsigned width = LANES / 2; width; width /= 2) {
		for (unsigned i = 0; i < width; i++)
			s[i] += s[i + width];
	}
	return s[0];
}

/* sum + a * b, not fused */
static __m256 add(__m256 sum, __m256i a, const float *b)
{
	return _mm256_add_ps(sum, _mm256_mul_ps(_mm256_cvtepi32_ps(a), _mm256_loadu_ps(b)));
}

static float i16_f32(const int16_t *a, const float *b, size_t n)
{
	__m256 low = _mm256_setzero_ps(), high = low;
	float lane[LANES];
	size_t at = 0;

	for (; at + LANES <= n; at += LANES) {
		low = add(low, _mm256_cvtepi16_epi32(load(a + at)), b + at);
		high = add(high, _mm256_cvtepi16_epi32(load(a + at + 8)), b + at + 8);
	}
	_mm256_storeu_ps(lane, low);
	_mm256_storeu_ps(lane + 8, high);
	for (; at < n; at++)
		lane[at % LANES] += (float)a[at] * b[at];
	return tree(lane);
}

static float i8_f32(const int8_t *a, const float *b, size_t n)
{
	__m256 low = _mm256_setzero_ps(), high = low;
	float lane[LANES];
	size_t at = 0;

	for (; at + LANES <= n; at += LANES) {
		const __m128i v = load(a + at);

		low = add(low, _mm256_cvtepi8_epi32(v), b + at);
		high = add(high, _mm256_cvtepi8_epi32(_mm_srli_si128(v, 8)), b + at + 8);
	}
	_mm256_storeu_ps(lane, low);
	_mm256_storeu_ps(lane + 8, high);
	for (; at < n; at++)
		lane[at % LANES] += (float)a[at] * b[at];
	return tree(lane);
}

const struct dot dot_avx2 = { "avx2", i8_i16, i16_f32, i8_f32 };
