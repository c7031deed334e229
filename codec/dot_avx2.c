#include <immintrin.h>

#include "codec/dot.h"

#define LANES 16 /* of every sum of floats, as in dot_ref.c */

static __m128i load(const void *p)
{
	return _mm_loadu_si128(p);
}

static int32_t sum_of(__m256i v)
{
	__m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));

	s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
	s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
	return _mm_cvtsi128_si32(s);
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
	int32_t sum;
	size_t i = 0;

	for (; i + 32 <= n; i += 32) {
		s = _mm256_add_epi32(s, pairs(a + i, b + i));
		t = _mm256_add_epi32(t, pairs(a + i + 16, b + i + 16));
	}
	sum = sum_of(_mm256_add_epi32(s, t));
	for (; i < n; i++)
		sum += (int16_t)a[i] * b[i];
	return sum;
}

/* The tree of dot_ref.c over lanes low[0..8), high[0..8). */
static float tree(__m256 low, __m256 high)
{
	const __m256 eight = _mm256_add_ps(low, high);
	const __m128 four =
		_mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
	const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));

	return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

/* The same after products that fill no vector. */
static float tree_of_rest(__m256 low, __m256 high, const float *rest, size_t n)
{
	float lane[LANES];

	_mm256_storeu_ps(lane, low);
	_mm256_storeu_ps(lane + 8, high);
	for (size_t i = 0; i < n; i++)
		lane[i] += rest[i];
	return tree(_mm256_loadu_ps(lane), _mm256_loadu_ps(lane + 8));
}

/* sum + a * b, not fused */
static __m256 add(__m256 sum, __m256i a, const float *b)
{
	return _mm256_add_ps(sum, _mm256_mul_ps(_mm256_cvtepi32_ps(a), _mm256_loadu_ps(b)));
}

static float i16_f32(const int16_t *a, const float *b, size_t n)
{
	__m256 low = _mm256_setzero_ps(), high = low;
	float rest[LANES];
	size_t at = 0;

	for (; at + LANES <= n; at += LANES) {
		low = add(low, _mm256_cvtepi16_epi32(load(a + at)), b + at);
		high = add(high, _mm256_cvtepi16_epi32(load(a + at + 8)), b + at + 8);
	}
	if (at == n)
		return tree(low, high);
	for (size_t i = 0; at + i < n; i++)
		rest[i] = (float)a[at + i] * b[at + i];
	return tree_of_rest(low, high, rest, n - at);
}

static float i8_f32(const int8_t *a, const float *b, size_t n)
{
	__m256 low = _mm256_setzero_ps(), high = low;
	float rest[LANES];
	size_t at = 0;

	for (; at + LANES <= n; at += LANES) {
		const __m128i v = load(a + at);

		low = add(low, _mm256_cvtepi8_epi32(v), b + at);
		high = add(high, _mm256_cvtepi8_epi32(_mm_srli_si128(v, 8)), b + at + 8);
	}
	if (at == n)
		return tree(low, high);
	for (size_t i = 0; at + i < n; i++)
		rest[i] = (float)a[at + i] * b[at + i];
	return tree_of_rest(low, high, rest, n - at);
}

/* Sums of four rows at once: additions of one wait for each other, those of four do not. n is a
 * multiple of LANES. */
static void four_i16(const int16_t *a, const float *b, size_t n, float *out)
{
	__m256 low[4] = { 0 }, high[4] = { 0 };

	for (size_t at = 0; at < n; at += LANES) {
		for (unsigned k = 0; k < 4; k++) {
			const int16_t *p = a + k * n + at;

			low[k] = add(low[k], _mm256_cvtepi16_epi32(load(p)), b + at);
			high[k] = add(high[k], _mm256_cvtepi16_epi32(load(p + 8)), b + at + 8);
		}
	}
	for (unsigned k = 0; k < 4; k++)
		out[k] = tree(low[k], high[k]);
}

static void four_i8(const int8_t *a, const float *b, size_t n, float *out)
{
	__m256 low[4] = { 0 }, high[4] = { 0 };

	for (size_t at = 0; at < n; at += LANES) {
		for (unsigned k = 0; k < 4; k++) {
			const __m128i v = load(a + k * n + at);

			low[k] = add(low[k], _mm256_cvtepi8_epi32(v), b + at);
			high[k] = add(high[k], _mm256_cvtepi8_epi32(_mm_srli_si128(v, 8)),
				      b + at + 8);
		}
	}
	for (unsigned k = 0; k < 4; k++)
		out[k] = tree(low[k], high[k]);
}

static void four_i8_i16(const int8_t *a, const int16_t *b, size_t n, int32_t *out)
{
	__m256i sum[4] = { 0 };

	for (size_t at = 0; at < n; at += LANES) {
		for (unsigned k = 0; k < 4; k++)
			sum[k] = _mm256_add_epi32(sum[k], pairs(a + k * n + at, b + at));
	}
	for (unsigned k = 0; k < 4; k++)
		out[k] = sum_of(sum[k]);
}

static void i8_i16_rows(const int8_t *a, size_t rows, const int16_t *b, size_t n, int32_t *out)
{
	size_t r = 0;

	for (; n % LANES == 0 && r + 4 <= rows; r += 4)
		four_i8_i16(a + r * n, b, n, out + r);
	for (; r < rows; r++)
		out[r] = i8_i16(a + r * n, b, n);
}

static void i16_f32_rows(const int16_t *a, size_t rows, const float *b, size_t n, float *out)
{
	size_t r = 0;

	for (; n % LANES == 0 && r + 4 <= rows; r += 4)
		four_i16(a + r * n, b, n, out + r);
	for (; r < rows; r++)
		out[r] = i16_f32(a + r * n, b, n);
}

static void i8_f32_rows(const int8_t *a, size_t rows, const float *b, size_t n, float *out)
{
	size_t r = 0;

	for (; n % LANES == 0 && r + 4 <= rows; r += 4)
		four_i8(a + r * n, b, n, out + r);
	for (; r < rows; r++)
		out[r] = i8_f32(a + r * n, b, n);
}

const struct dot dot_avx2 = { "avx2",      i8_i16,       i16_f32,    i8_f32,
			      i8_i16_rows, i16_f32_rows, i8_f32_rows };
