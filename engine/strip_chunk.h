/* engine/strip_chunk.h - some blocks of a strip, unpacked: what the kernels of AVX-512 VNNI and of
 * AMX multiply.
 *
 * A chunk is filled once and then met by all rows of activations, so that neither has to know how a
 * type lies in memory. Codes are bytes in the order of struct kern_wide; scales are floats, for an
 * integer times an integer is exact in floats too where the product is below 2^24, and vpmulld
 * takes two turns. Private to strip_avx512vnni.c and strip_amx.c. */
#ifndef ENGINE_STRIP_CHUNK_H
#define ENGINE_STRIP_CHUNK_H

#include <immintrin.h>
#include <string.h>

#include "engine/strip.h"

#define INLINE       static inline __attribute__((always_inline))

#define CHUNK_BLOCKS 8

/* What a block's integer is made of. */
enum chunk_kind {
	CHUNK_PLAIN,      /* the sum of 32 products */
	CHUNK_SCALED,     /* times one scale */
	CHUNK_SCALED_MIN, /* and one minimum */
	CHUNK_HALVES,     /* a scale for each half */
	CHUNK_HALVES_MIN  /* and a minimum for each half */
};

/* How codes are to be written: as they count, or moved up so that they are unsigned. */
enum chunk_codes { CHUNK_SIGNED, CHUNK_UNSIGNED };

struct chunk {
	_Alignas(64) uint8_t q[CHUNK_BLOCKS * 8][64]; /* chunk_group */
	_Alignas(64) float d[CHUNK_BLOCKS][16], m[CHUNK_BLOCKS][16];
	float scale[2][CHUNK_BLOCKS][16];
	float min[CHUNK_BLOCKS][16];       /* CHUNK_SCALED_MIN */
	int16_t mins[CHUNK_BLOCKS][16][2]; /* CHUNK_HALVES_MIN */
};

/* Fill c from n blocks at number `at` of the strip at src. */
typedef void chunk_fill(struct chunk *c, const void *src, size_t at, size_t n,
			enum chunk_codes codes);

INLINE bool chunk_has_halves(enum chunk_kind kind)
{
	return kind >= CHUNK_HALVES;
}

INLINE bool chunk_has_min(enum chunk_kind kind)
{
	return kind == CHUNK_SCALED_MIN || kind == CHUNK_HALVES_MIN;
}

/* Vector of c->q with columns 4g..4g+3 of block b. */
INLINE size_t chunk_group(size_t b, unsigned g)
{
	return b * 8 + g;
}

INLINE void chunk_put(struct chunk *c, size_t b, unsigned g, __m512i codes)
{
	_mm512_store_si512(c->q[chunk_group(b, g)], codes);
}

INLINE __m512 chunk_halves(const uint8_t *p)
{
	return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}

INLINE __m128i chunk_bytes(const void *p)
{
	return _mm_loadu_si128((const __m128i *)p);
}

INLINE __m512 chunk_floats_u8(__m128i bytes)
{
	return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes));
}

INLINE __m512 chunk_floats_i8(__m128i bytes)
{
	return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
}

INLINE __m512i chunk_vector(const uint8_t *p)
{
	return _mm512_loadu_si512(p);
}

INLINE __m512i chunk_low(__m512i a)
{
	return _mm512_and_si512(a, _mm512_set1_epi8(15));
}

INLINE __m512i chunk_high(__m512i a)
{
	return chunk_low(_mm512_srli_epi16(a, 4));
}

/* Memory is read once, in one stream: ask for what comes some blocks later. */
INLINE void chunk_prefetch(const uint8_t *p, size_t bytes)
{
	for (size_t i = 0; i < bytes; i += 64)
		_mm_prefetch((const char *)p + 2048 + i, _MM_HINT_T0);
}

INLINE void chunk_fill_q4_0(struct chunk *c, const void *src, size_t at, size_t n,
			    enum chunk_codes codes)
{
	const uint8_t *p = (const uint8_t *)src + at * 288;
	const __m512i mid = _mm512_set1_epi8(codes == CHUNK_SIGNED ? 8 : 0);

	for (size_t b = 0; b < n; b++, p += 288) {
		chunk_prefetch(p, 288);
		_mm512_store_ps(c->d[b], chunk_halves(p));
		for (unsigned v = 0; v < 4; v++) {
			__m512i nib = chunk_vector(p + 32 + 64 * v);

			chunk_put(c, b, v, _mm512_sub_epi8(chunk_low(nib), mid));
			chunk_put(c, b, v + 4, _mm512_sub_epi8(chunk_high(nib), mid));
		}
	}
}

INLINE void chunk_fill_q8_0(struct chunk *c, const void *src, size_t at, size_t n,
			    enum chunk_codes codes)
{
	const uint8_t *p = (const uint8_t *)src + at * 544;
	const __m512i top = _mm512_set1_epi8(codes == CHUNK_SIGNED ? 0 : -128);

	for (size_t b = 0; b < n; b++, p += 544) {
		chunk_prefetch(p, 544);
		_mm512_store_ps(c->d[b], chunk_halves(p));
		for (unsigned g = 0; g < 8; g++)
			chunk_put(c, b, g,
				  _mm512_xor_si512(chunk_vector(p + 32 + 64 * g), top));
	}
}

/* Scale and minimum of block b of the super-block at p (pack.h). */
INLINE void chunk_scales_q4_k(struct chunk *c, const uint8_t *p, size_t b)
{
	const __m128i nibble = _mm_set1_epi8(15), upper = _mm_set1_epi8(0x30);
	__m128i low = chunk_bytes(p + 64 + 16 * b);
	__m128i high = chunk_bytes(p + 192 + 16 * (b / 2));
	__m128i scale, min;

	if (b % 2)
		high = _mm_srli_epi16(high, 4);
	scale = _mm_or_si128(_mm_and_si128(low, nibble),
			     _mm_and_si128(_mm_slli_epi16(high, 4), upper));
	min = _mm_or_si128(_mm_and_si128(_mm_srli_epi16(low, 4), nibble),
			   _mm_and_si128(_mm_slli_epi16(high, 2), upper));
	_mm512_store_ps(c->scale[0][b], chunk_floats_u8(scale));
	_mm512_store_ps(c->min[b], chunk_floats_u8(min));
}

/* at and n are multiples of 8. */
INLINE void chunk_fill_q4_k(struct chunk *c, const void *src, size_t at, size_t n,
			    enum chunk_codes codes)
{
	const uint8_t *p = (const uint8_t *)src + at / 8 * 2304;
	__m512 d = chunk_halves(p), m = _mm512_sub_ps(_mm512_set1_ps(-0.0f), chunk_halves(p + 32));

	(void)codes; /* 0..15 are the same in both */
	for (size_t b = 0; b < n; b++) {
		const uint8_t *nibbles = p + 256 + 256 * b;

		chunk_prefetch(p + 288 * b, 288);
		_mm512_store_ps(c->d[b], d);
		_mm512_store_ps(c->m[b], m);
		chunk_scales_q4_k(c, p, b);
		for (unsigned v = 0; v < 4; v++) {
			__m512i nib = chunk_vector(nibbles + 64 * v);

			chunk_put(c, b, v, chunk_low(nib));
			chunk_put(c, b, v + 4, chunk_high(nib));
		}
	}
}

/* Codes of groups 4 half .. 4 half + 3 of block b: four low bits and two high ones. */
INLINE void chunk_codes_q6_k(struct chunk *c, size_t b, unsigned half, const uint8_t *nibbles,
			     const uint8_t *high, __m512i mid)
{
	const __m512i bits = chunk_vector(high + 64 * half), upper = _mm512_set1_epi8(0x30);
	const __m512i top[4] = { _mm512_slli_epi16(bits, 4), _mm512_slli_epi16(bits, 2), bits,
				 _mm512_srli_epi16(bits, 2) };

	for (unsigned k = 0; k < 4; k++) {
		__m512i low = chunk_vector(nibbles + 64 * k);

		low = half ? chunk_high(low) : chunk_low(low);
		low = _mm512_or_si512(low, _mm512_and_si512(top[k], upper));
		chunk_put(c, b, 4 * half + k, _mm512_sub_epi8(low, mid));
	}
}

/* at and n are multiples of 4. */
INLINE void chunk_fill_q6_k(struct chunk *c, const void *src, size_t at, size_t n,
			    enum chunk_codes codes)
{
	const uint8_t *p = (const uint8_t *)src + at / 8 * 3360;
	const __m512i mid = _mm512_set1_epi8(codes == CHUNK_SIGNED ? 32 : 0);
	__m512 d = chunk_halves(p);

	for (size_t b = 0; b < n; b++) {
		const size_t i = at % 8 + b;
		const uint8_t *nibbles = p + 288 + 256 * i, *high = p + 2336 + 128 * i;

		chunk_prefetch(p + 420 * i, 420);
		_mm512_store_ps(c->d[b], d);
		for (unsigned half = 0; half < 2; half++) {
			_mm512_store_ps(c->scale[half][b],
					chunk_floats_i8(chunk_bytes(p + 32 + 32 * i + 16 * half)));
			chunk_codes_q6_k(c, b, half, nibbles, high, mid);
		}
	}
}

/* Everything that any kind may want of a block. */
INLINE void chunk_fill_wide(struct chunk *c, const void *src, size_t at, size_t n,
			    enum chunk_codes codes)
{
	const struct kern_wide *w = (const struct kern_wide *)src + at;
	const __m512i top = _mm512_set1_epi8(codes == CHUNK_SIGNED ? 0 : -128);

	for (size_t b = 0; b < n; b++, w++) {
		__m512i min0 = _mm512_cvtepu8_epi32(chunk_bytes(w->min[0]));
		__m512i min1 = _mm512_cvtepu8_epi32(chunk_bytes(w->min[1]));

		_mm512_store_ps(c->d[b], _mm512_loadu_ps(w->d));
		_mm512_store_ps(c->m[b], _mm512_loadu_ps(w->m));
		_mm512_store_ps(c->scale[0][b], chunk_floats_i8(chunk_bytes(w->scale[0])));
		_mm512_store_ps(c->scale[1][b], chunk_floats_i8(chunk_bytes(w->scale[1])));
		_mm512_store_ps(c->min[b], _mm512_cvtepi32_ps(min0));
		_mm512_store_si512(c->mins[b], _mm512_or_si512(min0, _mm512_slli_epi32(min1, 16)));
		for (unsigned g = 0; g < 8; g++)
			chunk_put(c, b, g,
				  _mm512_xor_si512(chunk_vector((const uint8_t *)w->q[g]), top));
	}
}

/* The least kind that can say what the blocks at w say. */
static inline enum chunk_kind chunk_kind_of(const struct kern_wide *w, size_t blocks, bool mins)
{
	__m128i scales = _mm_setzero_si128(), apart = scales, ones = scales;

	for (size_t b = 0; b < blocks; b++) {
		__m128i scale = chunk_bytes(w[b].scale[0]);

		ones = _mm_or_si128(ones, _mm_xor_si128(scale, _mm_set1_epi8(1)));
		scales = _mm_or_si128(scales, _mm_xor_si128(scale, chunk_bytes(w[b].scale[1])));
		if (mins)
			apart = _mm_or_si128(apart, _mm_xor_si128(chunk_bytes(w[b].min[0]),
								  chunk_bytes(w[b].min[1])));
	}
	scales = _mm_or_si128(scales, apart);
	if (!_mm_testz_si128(scales, scales))
		return mins ? CHUNK_HALVES_MIN : CHUNK_HALVES;
	if (mins)
		return CHUNK_SCALED_MIN;
	return _mm_testz_si128(ones, ones) ? CHUNK_PLAIN : CHUNK_SCALED;
}

/* One row of activations, from the first block of a chunk on. */
struct chunk_row {
	const float *step;
	const int16_t *sum;
	const float *whole; /* sum[0] + sum[1], for CHUNK_SCALED_MIN */
};

/* Sums of a pair of 16-bit integers, the same for all lanes, with pairs that differ. */
INLINE __m512i chunk_pair(const int16_t *sum)
{
	int32_t pair;

	memcpy(&pair, sum, sizeof(pair));
	return _mm512_set1_epi32(pair);
}

/* Block b's integer from the products of its codes: dots[0], or one for each half. */
INLINE __m512 chunk_integer(const struct chunk *c, size_t b, enum chunk_kind kind,
			    const __m512 dots[2])
{
	if (kind == CHUNK_PLAIN)
		return dots[0];
	if (!chunk_has_halves(kind))
		return _mm512_mul_ps(dots[0], _mm512_load_ps(c->scale[0][b]));
	return _mm512_fmadd_ps(dots[1], _mm512_load_ps(c->scale[1][b]),
			       _mm512_mul_ps(dots[0], _mm512_load_ps(c->scale[0][b])));
}

INLINE __m512 chunk_minimum(const struct chunk *c, size_t b, enum chunk_kind kind,
			    const struct chunk_row *x)
{
	if (kind == CHUNK_SCALED_MIN)
		return _mm512_mul_ps(_mm512_load_ps(c->min[b]), _mm512_set1_ps(x->whole[b]));
	return _mm512_cvtepi32_ps(_mm512_dpwssd_epi32(
		_mm512_setzero_si512(), _mm512_load_si512(c->mins[b]), chunk_pair(x->sum + 2 * b)));
}

/* acc and block b of a row: the definition's two steps (kern.h). */
INLINE __m512 chunk_add(__m512 acc, const struct chunk *c, size_t b, enum chunk_kind kind,
			const struct chunk_row *x, const __m512 dots[2])
{
	__m512 step = _mm512_set1_ps(x->step[b]);

	acc = _mm512_fmadd_ps(chunk_integer(c, b, kind, dots),
			      _mm512_mul_ps(_mm512_load_ps(c->d[b]), step), acc);
	if (!chunk_has_min(kind))
		return acc;
	return _mm512_fmadd_ps(chunk_minimum(c, b, kind, x),
			       _mm512_mul_ps(_mm512_load_ps(c->m[b]), step), acc);
}

/* Sums of both halves of n <= 8 blocks, as floats. */
INLINE void chunk_wholes(const int16_t *sum, size_t n, float whole[CHUNK_BLOCKS])
{
	__m256i pairs = _mm256_maskz_loadu_epi32((__mmask8)((1u << n) - 1), sum);

	_mm256_storeu_ps(whole, _mm256_cvtepi32_ps(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1))));
}

#endif
