/* Compiled for AVX-512 F, BW, DQ, VL and VNNI; kern.c looks before it calls.
 *
 * A vector is four columns of the 16 rows of a strip; vpdpbusd adds its products with four codes of
 * one row of activations, which are broadcast on their way from memory. Eight rows of activations
 * meet each vector while it is in a register. Weights must be unsigned there: codes are moved up by
 * a constant, and the sum of the activations times that constant, taken off again, is where each
 * sum begins (one vpmaddwd for eight blocks of a row; from there it is broadcast by a load). */
#include "engine/strip_chunk.h"

#include <math.h>

/* n <= 8 rows of activations from a chunk on; its blocks; sums of the dots so far. */
struct rows {
	const int8_t *q;
	const float *step;
	const int16_t *sum;
	size_t blocks; /* per row: how far rows are apart */
	float *out;
	size_t ldo;
};

INLINE __m512i quad(const int8_t *p)
{
	int32_t four;

	memcpy(&four, p, sizeof(four));
	return _mm512_set1_epi32(four);
}

/* What the sums of up to eight rows begin with, by half of a block: codes moved up make them too
 * large by that times the sum of the activations. */
struct starts {
	int32_t at[2][8][CHUNK_BLOCKS];
};

/* Of the row whose n sums are at sum; its halves' codes are moved up by `low` and `high`. */
INLINE void start(const int16_t *sum, size_t n, int low, int high, int32_t at[CHUNK_BLOCKS])
{
	const uint32_t pair = (uint16_t)-low | (uint32_t)-high << 16;
	__m256i sums = _mm256_maskz_loadu_epi32((__mmask8)((1u << n) - 1), sum);

	_mm256_storeu_si256((__m256i *)at,
			    _mm256_madd_epi16(sums, _mm256_set1_epi32((int32_t)pair)));
}

/* n rows of a chunk whose codes are moved up. */
INLINE void start_rows(const struct rows *x, size_t n_blocks, bool halves, int moved,
		       struct starts *s, unsigned n)
{
	for (unsigned r = 0; r < n; r++) {
		const int16_t *sum = x->sum + 2 * r * x->blocks;

		start(sum, n_blocks, moved, halves ? 0 : moved, s->at[0][r]);
		if (halves)
			start(sum, n_blocks, 0, moved, s->at[1][r]);
	}
}

/* Groups [4 first, 4 last) of block b with n rows, from `from` on or from 0 (NULL); as floats. */
INLINE void multiply(const struct chunk *c, const struct rows *x, size_t b, unsigned first,
		     unsigned last, int32_t (*from)[CHUNK_BLOCKS], __m512 *dots, unsigned n)
{
	__m512i sums[8];

	for (unsigned r = 0; r < n; r++)
		sums[r] = from ? _mm512_set1_epi32(from[r][b]) : _mm512_setzero_si512();
	for (unsigned g = 4 * first; g < 4 * last; g++) {
		__m512i w = _mm512_load_si512(c->q[chunk_group(b, g, 0)]);

		for (unsigned r = 0; r < n; r++)
			sums[r] = _mm512_dpbusd_epi32(
				sums[r], w, quad(x->q + 32 * (r * x->blocks + b) + 4 * g));
	}
	for (unsigned r = 0; r < n; r++)
		dots[r] = _mm512_cvtepi32_ps(sums[r]);
}

/* One block with n rows of activations; s: NULL where codes are not moved up. */
INLINE void add_block(const struct chunk *c, const struct rows *x, size_t b, enum chunk_kind kind,
		      struct starts *s, const struct chunk_row *at, __m512 *acc, unsigned n)
{
	const bool halves = chunk_has_halves(kind);
	__m512 low[8], high[8];

	multiply(c, x, b, 0, halves ? 1 : 2, s ? s->at[0] : NULL, low, n);
	if (halves)
		multiply(c, x, b, 1, 2, s ? s->at[1] : NULL, high, n);
	for (unsigned r = 0; r < n; r++) {
		__m512 dots[2] = { low[r], halves ? high[r] : low[r] };

		acc[r] = chunk_add(acc[r], c, b, kind, at + r, dots);
	}
}

/* A chunk of n_blocks with n rows of activations. */
INLINE void add_rows(const struct chunk *c, size_t n_blocks, const struct rows *x,
		     enum chunk_kind kind, int moved, unsigned n)
{
	float whole[8][CHUNK_BLOCKS];
	struct chunk_row at[8];
	struct starts s;
	__m512 acc[8];

	if (moved)
		start_rows(x, n_blocks, chunk_has_halves(kind), moved, &s, n);
	for (unsigned r = 0; r < n; r++) {
		at[r] = (struct chunk_row){ .step = x->step + r * x->blocks,
					    .sum = x->sum + 2 * r * x->blocks,
					    .whole = whole[r] };
		if (kind == CHUNK_SCALED_MIN)
			chunk_wholes(at[r].sum, n_blocks, whole[r]);
		acc[r] = _mm512_loadu_ps(x->out + r * x->ldo);
	}
	for (size_t b = 0; b < n_blocks; b++)
		add_block(c, x, b, kind, moved ? &s : NULL, at, acc, n);
	for (unsigned r = 0; r < n; r++)
		_mm512_storeu_ps(x->out + r * x->ldo, acc[r]);
}

INLINE void next_rows(struct rows *x, size_t n)
{
	x->q += 32 * n * x->blocks;
	x->step += n * x->blocks;
	x->sum += 2 * n * x->blocks;
	x->out += n * x->ldo;
}

/* A chunk with all rows. */
INLINE void add_chunk(const struct chunk *c, size_t n_blocks, struct rows x, size_t rows,
		      enum chunk_kind kind, int moved)
{
	for (; rows >= 8; rows -= 8, next_rows(&x, 8))
		add_rows(c, n_blocks, &x, kind, moved, 8);
	if (rows & 4) {
		add_rows(c, n_blocks, &x, kind, moved, 4);
		next_rows(&x, 4);
	}
	if (rows & 2) {
		add_rows(c, n_blocks, &x, kind, moved, 2);
		next_rows(&x, 2);
	}
	if (rows & 1)
		add_rows(c, n_blocks, &x, kind, moved, 1);
}

typedef void add_of_kind(const struct chunk *c, size_t n_blocks, struct rows x, size_t rows,
			 int moved);

#define ADD(name, kind, by)                                                                        \
	static void add_##name(const struct chunk *c, size_t n_blocks, struct rows x, size_t rows, \
			       int moved)                                                          \
	{                                                                                          \
		(void)moved;                                                                       \
		add_chunk(c, n_blocks, x, rows, kind, by);                                         \
	}

ADD(plain, CHUNK_PLAIN, moved)
ADD(scaled, CHUNK_SCALED, moved)
ADD(scaled_min, CHUNK_SCALED_MIN, moved)
ADD(scaled_min_unmoved, CHUNK_SCALED_MIN, 0)
ADD(halves, CHUNK_HALVES, moved)
ADD(halves_min, CHUNK_HALVES_MIN, moved)
#undef ADD

/* The whole strip at src, as blocks of fill, with those rows. */
INLINE void add_strip(chunk_fill *fill, add_of_kind *add, int moved, const void *src,
		      const struct kern_acts *x, size_t first, size_t rows, float *out, size_t ldo)
{
	struct rows at = { .q = x->q + 32 * first * x->blocks,
			   .step = x->step + first * x->blocks,
			   .sum = x->sum + 2 * first * x->blocks,
			   .blocks = x->blocks,
			   .out = out,
			   .ldo = ldo };
	struct chunk c;

	for (size_t r = 0; r < rows; r++)
		_mm512_storeu_ps(out + r * ldo, _mm512_setzero_ps());
	for (size_t b = 0; b < x->blocks; b += CHUNK_BLOCKS) {
		size_t n = x->blocks - b < CHUNK_BLOCKS ? x->blocks - b : CHUNK_BLOCKS;

		fill(&c, src, b, n, CHUNK_UNSIGNED, 0);
		add(&c, n, at, rows, moved);
		at.q += 32 * CHUNK_BLOCKS;
		at.step += CHUNK_BLOCKS;
		at.sum += 2 * CHUNK_BLOCKS;
	}
}

void strip_avx512vnni_strip(const struct kern_strips *w, size_t strip, const struct kern_acts *x,
			    size_t first, size_t rows, float *out, size_t ldo)
{
	const uint8_t *src = w->data + strip * w->strip_bytes;

	if (w->type == QUANT_Q4_0)
		add_strip(chunk_fill_q4_0, add_plain, 8, src, x, first, rows, out, ldo);
	else if (w->type == QUANT_Q8_0)
		add_strip(chunk_fill_q8_0, add_plain, 128, src, x, first, rows, out, ldo);
	else if (w->type == QUANT_Q4_K)
		add_strip(chunk_fill_q4_k, add_scaled_min_unmoved, 0, src, x, first, rows, out,
			  ldo);
	else
		add_strip(chunk_fill_q6_k, add_halves, 32, src, x, first, rows, out, ldo);
}

void strip_avx512vnni_wide(const struct kern_wide *w, bool mins, const struct kern_acts *x,
			   size_t first, size_t rows, float *out, size_t ldo)
{
	static add_of_kind *const adds[] = {
		[CHUNK_PLAIN] = add_plain,           [CHUNK_SCALED] = add_scaled,
		[CHUNK_SCALED_MIN] = add_scaled_min, [CHUNK_HALVES] = add_halves,
		[CHUNK_HALVES_MIN] = add_halves_min,
	};

	add_strip(chunk_fill_wide, adds[chunk_kind_of(w, x->blocks, mins)], 128, w, x, first, rows,
		  out, ldo);
}

/* Largest of the lanes, which are not negative. */
INLINE uint32_t largest(__m512i a)
{
	__m256i w = _mm256_max_epu32(_mm512_castsi512_si256(a), _mm512_extracti64x4_epi64(a, 1));
	__m128i x = _mm_max_epu32(_mm256_castsi256_si128(w), _mm256_extracti128_si256(w, 1));

	x = _mm_max_epu32(x, _mm_shuffle_epi32(x, 0x4e));
	x = _mm_max_epu32(x, _mm_shuffle_epi32(x, 0xb1));
	return (uint32_t)_mm_cvtsi128_si32(x);
}

/* Sum of 16 signed bytes. */
INLINE int16_t sum_of(__m128i bytes)
{
	__m128i up = _mm_xor_si128(bytes, _mm_set1_epi8(-128));
	__m128i two = _mm_sad_epu8(up, _mm_setzero_si128());

	return (int16_t)(_mm_cvtsi128_si32(two) + _mm_extract_epi16(two, 4) - 16 * 128);
}

/* 16 elements -> codes; their sum. */
INLINE int16_t quantize_half(__m512 x, float inverse, int8_t *q)
{
	__m128i codes =
		_mm512_cvtepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(x, _mm512_set1_ps(inverse))));

	_mm_storeu_si128((__m128i *)q, codes);
	return sum_of(codes);
}

static void quantize_block(const float *x, int8_t *q, float *step, int16_t *sum)
{
	const __m512i size = _mm512_set1_epi32(0x7fffffff);
	__m512 low = _mm512_loadu_ps(x), high = _mm512_loadu_ps(x + 16);
	uint32_t bits =
		largest(_mm512_max_epu32(_mm512_and_si512(_mm512_castps_si512(low), size),
					 _mm512_and_si512(_mm512_castps_si512(high), size)));
	float top;

	memcpy(&top, &bits, sizeof(top));
	if (bits >= 0x7f800000 || top < 1e-36f) { /* infinite or NaN, or too small */
		memset(q, 0, 32);
		*step = bits >= 0x7f800000 ? NAN : 0;
		sum[0] = sum[1] = 0;
		return;
	}
	*step = top / 127.0f;
	sum[0] = quantize_half(low, 127.0f / top, q);
	sum[1] = quantize_half(high, 127.0f / top, q + 16);
}

void strip_avx512vnni_quantize(const float *x, size_t n, int8_t *q, float *step, int16_t *sum)
{
	for (size_t b = 0; b < n / 32; b++)
		quantize_block(x + 32 * b, q + 32 * b, step + b, sum + 2 * b);
}
