/* engine/strip_chunk.h - some blocks of a strip, unpacked: what AVX-512 VNNI multiplies, and how
 * AMX reads strips too.
 *
 * A chunk is filled once and then met by all rows of activations, so that the kernel need not know
 * how a type lies in memory. It is a super-block, or up to 8 blocks that have a step each. Codes
 * are bytes in the order of struct kern_wide, moved up so that they have no sign. Private to
 * strip_avx512vnni.c and strip_amx*.c. */
#ifndef ENGINE_STRIP_CHUNK_H
#define ENGINE_STRIP_CHUNK_H

#include <immintrin.h>
#include <string.h>

#include "engine/strip.h"

#ifndef INLINE /* tests that emulate instructions have theirs */
#define INLINE static inline __attribute__((always_inline))
#endif

#define CHUNK_BLOCKS 8

/* What a chunk is: blocks, or a super-block with a scale for each block or each half of one. */
enum chunk_kind { CHUNK_BLOCK, CHUNK_SUPER, CHUNK_HALVES };

struct chunk {
	_Alignas(64) uint8_t q[CHUNK_BLOCKS * 8][64]; /* chunk_group */
	/* A super-block has but the first of d and m. */
	_Alignas(64) float d[CHUNK_BLOCKS][16], m[CHUNK_BLOCKS][16];
	int32_t scale[2][CHUNK_BLOCKS][16]; /* only CHUNK_HALVES has the second */
	int16_t min[CHUNK_BLOCKS][16][2];
};

/* Fill c from n blocks at number `at` of the strip at src. */
typedef void chunk_fill(struct chunk *c, const void *src, size_t at, size_t n);

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

INLINE void chunk_put_scale(struct chunk *c, unsigned half, size_t b, __m128i scales)
{
	_mm512_store_si512(c->scale[half][b], _mm512_cvtepi8_epi32(scales));
}

/* Minimums of both halves. */
INLINE void chunk_put_min(struct chunk *c, size_t b, __m128i first, __m128i second)
{
	__m512i low = _mm512_cvtepu8_epi32(first), high = _mm512_cvtepu8_epi32(second);

	_mm512_store_si512(c->min[b], _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
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

/* Memory is read once, in order: ask for what comes this many blocks later. For tiles, which are
 * busy with many rows. */
#define CHUNK_AHEAD 20

INLINE void chunk_prefetch(const uint8_t *p, size_t bytes)
{
	for (size_t i = 0; i < bytes; i += 64)
		_mm_prefetch((const char *)p + CHUNK_AHEAD * bytes + i, _MM_HINT_T0);
}

/* Where memory is the limit some pages are asked for in turn: prefetchers of the second-level cache
 * go page by page, and several get more out of it than one. Line n * i + j of each n pages asks for
 * line i of page j of the next n. */
INLINE void chunk_prefetch_pages(const uint8_t *p, size_t bytes, size_t n)
{
	const size_t all = n * 4096;

	for (size_t i = 0; i < bytes; i += 64) {
		const size_t at = ((uintptr_t)p + i) % all, line = at / 64;

		_mm_prefetch((const char *)p + i + (all - at) + line % n * 4096 + line / n * 64,
			     _MM_HINT_T0);
	}
}

INLINE void chunk_fill_q4_0(struct chunk *c, const void *src, size_t at, size_t n)
{
	const uint8_t *p = (const uint8_t *)src + at * 288;

	for (size_t b = 0; b < n; b++, p += 288) {
		chunk_prefetch_pages(p, 288, 2);
		_mm512_store_ps(c->d[b], chunk_halves(p));
		for (unsigned v = 0; v < 4; v++) {
			__m512i nib = chunk_vector(p + 32 + 64 * v);

			chunk_put(c, b, v, chunk_low(nib));
			chunk_put(c, b, v + 4, chunk_high(nib));
		}
	}
}

INLINE void chunk_fill_q8_0(struct chunk *c, const void *src, size_t at, size_t n)
{
	const uint8_t *p = (const uint8_t *)src + at * 544;
	const __m512i top = _mm512_set1_epi8(-128);

	for (size_t b = 0; b < n; b++, p += 544) {
		chunk_prefetch_pages(p, 544, 4);
		_mm512_store_ps(c->d[b], chunk_halves(p));
		for (unsigned g = 0; g < 8; g++)
			chunk_put(c, b, g,
				  _mm512_xor_si512(chunk_vector(p + 32 + 64 * g), top));
	}
}

/* Scales and minimums of block b of the super-block at p (pack.h), of all rows. */
INLINE void chunk_scales_q4_k(const uint8_t *p, size_t b, __m128i *scale, __m128i *min)
{
	const __m128i nibble = _mm_set1_epi8(15), upper = _mm_set1_epi8(0x30);
	__m128i low = chunk_bytes(p + 64 + 16 * b);
	__m128i high = chunk_bytes(p + 192 + 16 * (b / 2));

	if (b % 2)
		high = _mm_srli_epi16(high, 4);
	*scale = _mm_or_si128(_mm_and_si128(low, nibble),
			      _mm_and_si128(_mm_slli_epi16(high, 4), upper));
	*min = _mm_or_si128(_mm_and_si128(_mm_srli_epi16(low, 4), nibble),
			    _mm_and_si128(_mm_slli_epi16(high, 2), upper));
}

/* at is a multiple of 8, n is 8. */
INLINE void chunk_fill_q4_k(struct chunk *c, const void *src, size_t at, size_t n)
{
	const uint8_t *p = (const uint8_t *)src + at / 8 * 2304;

	_mm512_store_ps(c->d[0], chunk_halves(p));
	_mm512_store_ps(c->m[0], _mm512_sub_ps(_mm512_set1_ps(-0.0f), chunk_halves(p + 32)));
	for (size_t b = 0; b < n; b++) {
		const uint8_t *nibbles = p + 256 + 256 * b;
		__m128i scale, min;

		chunk_prefetch_pages(p + 288 * b, 288, 2);
		chunk_scales_q4_k(p, b, &scale, &min);
		chunk_put_scale(c, 0, b, scale);
		chunk_put_min(c, b, min, min);
		for (unsigned v = 0; v < 4; v++) {
			__m512i nib = chunk_vector(nibbles + 64 * v);

			chunk_put(c, b, v, chunk_low(nib));
			chunk_put(c, b, v + 4, chunk_high(nib));
		}
	}
}

/* Codes, 0..63, of group 4 half + k of the block whose bits are there: four low and two high. */
INLINE __m512i chunk_codes_q6_k(const uint8_t *nibbles, const uint8_t *high, unsigned half,
				unsigned k)
{
	const __m512i bits = chunk_vector(high + 64 * half), upper = _mm512_set1_epi8(0x30);
	const __m512i low = chunk_vector(nibbles + 64 * k);
	const __m512i top[4] = { _mm512_slli_epi16(bits, 4), _mm512_slli_epi16(bits, 2), bits,
				 _mm512_srli_epi16(bits, 2) };

	return _mm512_or_si512(half ? chunk_high(low) : chunk_low(low),
			       _mm512_and_si512(top[k], upper));
}

/* at is a multiple of 8, n is 8. */
INLINE void chunk_fill_q6_k(struct chunk *c, const void *src, size_t at, size_t n)
{
	const uint8_t *p = (const uint8_t *)src + at / 8 * 3360;

	_mm512_store_ps(c->d[0], chunk_halves(p));
	for (size_t b = 0; b < n; b++) {
		const uint8_t *nibbles = p + 288 + 256 * b, *high = p + 2336 + 128 * b;

		chunk_prefetch_pages(p + 420 * b, 420, 2);
		for (unsigned half = 0; half < 2; half++) {
			chunk_put_scale(c, half, b, chunk_bytes(p + 32 + 32 * b + 16 * half));
			for (unsigned k = 0; k < 4; k++)
				chunk_put(c, b, 4 * half + k,
					  chunk_codes_q6_k(nibbles, high, half, k));
		}
	}
}

/* Everything that any kind may want of a block. */
INLINE void chunk_fill_wide(struct chunk *c, const void *src, size_t at, size_t n)
{
	const struct kern_wide *w = (const struct kern_wide *)src + at;
	const __m512i top = _mm512_set1_epi8(-128);

	for (size_t b = 0; b < n; b++, w++) {
		_mm512_store_ps(c->d[b], _mm512_loadu_ps(w->d));
		_mm512_store_ps(c->m[b], _mm512_loadu_ps(w->m));
		chunk_put_scale(c, 0, b, chunk_bytes(w->scale[0]));
		chunk_put_scale(c, 1, b, chunk_bytes(w->scale[1]));
		chunk_put_min(c, b, chunk_bytes(w->min[0]), chunk_bytes(w->min[1]));
		for (unsigned g = 0; g < 8; g++)
			chunk_put(c, b, g,
				  _mm512_xor_si512(chunk_vector((const uint8_t *)w->q[g]), top));
	}
}

/* Halves of blocks have different scales somewhere. */
static inline bool chunk_is_halved(const struct kern_wide *w, size_t blocks)
{
	__m128i apart = _mm_setzero_si128();

	for (size_t b = 0; b < blocks; b++)
		apart = _mm_or_si128(apart, _mm_xor_si128(chunk_bytes(w[b].scale[0]),
							  chunk_bytes(w[b].scale[1])));
	return !_mm_testz_si128(apart, apart);
}

/* acc and an integer times number b of d or m and a row's step (kern.h). */
INLINE __m512 chunk_add(__m512 acc, __m512i integer, const float d[16], __m512 step)
{
	return _mm512_fmadd_ps(_mm512_cvtepi32_ps(integer), _mm512_mul_ps(_mm512_load_ps(d), step),
			       acc);
}

#endif
