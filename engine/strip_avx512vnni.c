/* Compiled for AVX-512 F, BW, DQ, VL and VNNI; kern.c looks before it calls.
 *
 * A vector is four columns of the 16 rows of a strip; vpdpbusd adds its products with four codes of
 * one row of activations, which are broadcast on their way from memory. Eight sums are in registers
 * at once: of one strip and eight rows of activations, or, since loads are what there are too many
 * of, of two strips and four rows, which use each broadcast twice. Weights must be unsigned there:
 * codes are moved up by a constant, and the sum of the activations times that constant, taken off
 * again, is where each sum begins. */
#include "engine/strip_chunk.h"

#include <math.h>

/* Sums that are in registers at once. */
#define MOST 8

/* Rows of activations, from a chunk on; their blocks; sums of the dots so far. */
struct rows {
	const int8_t *q;
	const float *step;
	const int16_t *sum;
	size_t blocks; /* per row: how far rows are apart */
	float *out;
	size_t ldo;
};

/* Where a row's sums begin in each block of a chunk, or in both halves of each: what codes that
 * were moved up have too much. */
struct begin {
	int32_t at[2][CHUNK_BLOCKS];
};

INLINE __m512i quad(const int8_t *p)
{
	int32_t four;

	memcpy(&four, p, sizeof(four));
	return _mm512_set1_epi32(four);
}

/* n blocks of a row; moved: what codes are moved up by. */
INLINE void set_begin(struct begin *to, const int16_t *sum, size_t n, int moved, bool halves)
{
	const __m256i pairs = _mm256_maskz_loadu_epi32((__mmask8)((1u << n) - 1), sum);
	const uint32_t low = (uint16_t)-moved, high = (uint32_t)-moved << 16;
	const __m256i first = _mm256_set1_epi32((int32_t)(halves ? low : low | high));

	_mm256_storeu_si256((__m256i *)to->at[0], _mm256_madd_epi16(pairs, first));
	if (halves)
		_mm256_storeu_si256((__m256i *)to->at[1],
				    _mm256_madd_epi16(pairs, _mm256_set1_epi32((int32_t)high)));
}

/* Groups [4 first, 4 last) of block b of ns strips with n rows, added to sums[strip][row]; as
 * floats. */
INLINE void multiply(const struct chunk *c, const struct rows *x, size_t b, unsigned first,
		     unsigned last, __m512i *sums, __m512 *dots, unsigned ns, unsigned n)
{
	for (unsigned g = 4 * first; g < 4 * last; g++) {
		__m512i w[2];

		for (unsigned s = 0; s < ns; s++)
			w[s] = _mm512_load_si512(c[s].q[chunk_group(b, g)]);
		for (unsigned r = 0; r < n; r++) {
			__m512i q = quad(x->q + 32 * (r * x->blocks + b) + 4 * g);

			for (unsigned s = 0; s < ns; s++)
				sums[s * n + r] = _mm512_dpbusd_epi32(sums[s * n + r], w[s], q);
		}
	}
	for (unsigned i = 0; i < ns * n; i++)
		dots[i] = _mm512_cvtepi32_ps(sums[i]);
}

/* One block of ns strips with n rows of activations, added to acc[strip][row]. */
INLINE void add_block(const struct chunk *c, const struct rows *x, size_t b, enum chunk_kind kind,
		      const struct begin *begin, const struct chunk_row *at, __m512 *acc,
		      unsigned ns, unsigned n)
{
	const bool halves = chunk_has_halves(kind);
	__m512 low[MOST], high[MOST];
	__m512i sums[MOST];

	for (unsigned i = 0; i < ns * n; i++)
		sums[i] = begin ? _mm512_set1_epi32(begin[i % n].at[0][b]) : _mm512_setzero_si512();
	multiply(c, x, b, 0, halves ? 1 : 2, sums, low, ns, n);
	for (unsigned i = 0; halves && i < ns * n; i++)
		sums[i] = begin ? _mm512_set1_epi32(begin[i % n].at[1][b]) : _mm512_setzero_si512();
	if (halves)
		multiply(c, x, b, 1, 2, sums, high, ns, n);
	for (unsigned i = 0; i < ns * n; i++) {
		__m512 dots[2] = { low[i], halves ? high[i] : low[i] };

		acc[i] = chunk_add(acc[i], c + i / n, b, kind, at + i % n, dots);
	}
}

/* A chunk of n_blocks of each of ns strips with n rows of activations, ns * n <= MOST. */
INLINE void add_rows(const struct chunk *c, size_t n_blocks, const struct rows *x,
		     enum chunk_kind kind, int moved, unsigned ns, unsigned n)
{
	float whole[MOST][CHUNK_BLOCKS];
	struct begin begin[MOST];
	struct chunk_row at[MOST];
	__m512 acc[MOST];

	for (unsigned r = 0; r < n; r++) {
		at[r] = (struct chunk_row){ .step = x->step + r * x->blocks,
					    .sum = x->sum + 2 * r * x->blocks,
					    .whole = whole[r] };
		if (kind == CHUNK_SCALED_MIN)
			chunk_wholes(at[r].sum, n_blocks, whole[r]);
		if (moved)
			set_begin(&begin[r], at[r].sum, n_blocks, moved, chunk_has_halves(kind));
	}
	for (unsigned i = 0; i < ns * n; i++)
		acc[i] = _mm512_loadu_ps(x->out + i % n * x->ldo + i / n * KERN_STRIP);
	for (size_t b = 0; b < n_blocks; b++)
		add_block(c, x, b, kind, moved ? begin : NULL, at, acc, ns, n);
	for (unsigned i = 0; i < ns * n; i++)
		_mm512_storeu_ps(x->out + i % n * x->ldo + i / n * KERN_STRIP, acc[i]);
}

INLINE void next_rows(struct rows *x, size_t n)
{
	x->q += 32 * n * x->blocks;
	x->step += n * x->blocks;
	x->sum += 2 * n * x->blocks;
	x->out += n * x->ldo;
}

/* A chunk, which begins with block `at`, of each of ns strips with all rows. */
INLINE void add_chunk(const struct chunk *c, size_t n_blocks, const struct rows *all, size_t at,
		      size_t rows, enum chunk_kind kind, int moved, unsigned ns)
{
	struct rows x = *all;

	x.q += 32 * at;
	x.step += at;
	x.sum += 2 * at;
	for (; rows >= MOST / ns; rows -= MOST / ns, next_rows(&x, MOST / ns))
		add_rows(c, n_blocks, &x, kind, moved, ns, MOST / ns);
	if (ns == 1 && (rows & 4)) {
		add_rows(c, n_blocks, &x, kind, moved, ns, 4);
		next_rows(&x, 4);
	}
	if (rows & 2) {
		add_rows(c, n_blocks, &x, kind, moved, ns, 2);
		next_rows(&x, 2);
	}
	if (rows & 1)
		add_rows(c, n_blocks, &x, kind, moved, ns, 1);
}

/* all is the same for all chunks of a strip: what was just written would have to be waited for. */
typedef void add_of_kind(const struct chunk *c, size_t n_blocks, const struct rows *all, size_t at,
			 size_t rows);

#define ADD(name, kind, moved, ns)                                                                 \
	static void add_##name(const struct chunk *c, size_t n_blocks, const struct rows *all,     \
			       size_t at, size_t rows)                                             \
	{                                                                                          \
		add_chunk(c, n_blocks, all, at, rows, kind, moved, ns);                            \
	}

ADD(q4_0, CHUNK_PLAIN, 8, 1)
ADD(q4_0_twice, CHUNK_PLAIN, 8, 2)
ADD(q8_0, CHUNK_PLAIN, 128, 1)
ADD(q8_0_twice, CHUNK_PLAIN, 128, 2)
ADD(q4_k, CHUNK_SCALED_MIN, 0, 1)
ADD(q4_k_twice, CHUNK_SCALED_MIN, 0, 2)
ADD(q6_k, CHUNK_HALVES, 32, 1)
ADD(q6_k_twice, CHUNK_HALVES, 32, 2)
ADD(scaled, CHUNK_SCALED, 128, 1)
ADD(scaled_min, CHUNK_SCALED_MIN, 128, 1)
ADD(halves, CHUNK_HALVES, 128, 1)
ADD(halves_min, CHUNK_HALVES_MIN, 128, 1)
#undef ADD

/* ns whole strips at src, `bytes` apart, as blocks of fill, with those rows. */
INLINE void add_strips(chunk_fill *fill, add_of_kind *add, const uint8_t *src, size_t bytes,
		       unsigned ns, const struct kern_acts *x, size_t first, size_t rows,
		       float *out, size_t ldo)
{
	const struct rows all = { .q = x->q + 32 * first * x->blocks,
				  .step = x->step + first * x->blocks,
				  .sum = x->sum + 2 * first * x->blocks,
				  .blocks = x->blocks,
				  .out = out,
				  .ldo = ldo };
	struct chunk c[2];

	for (size_t r = 0; r < rows; r++) {
		for (unsigned s = 0; s < ns; s++)
			_mm512_storeu_ps(out + r * ldo + s * KERN_STRIP, _mm512_setzero_ps());
	}
	for (size_t b = 0; b < x->blocks; b += CHUNK_BLOCKS) {
		size_t n = x->blocks - b < CHUNK_BLOCKS ? x->blocks - b : CHUNK_BLOCKS;

		for (unsigned s = 0; s < ns; s++)
			fill(&c[s], src + s * bytes, b, n, CHUNK_UNSIGNED);
		add(c, n, &all, b, rows);
	}
}

/* n strips, two at a time where there are rows enough. */
INLINE void add_all(chunk_fill *fill, add_of_kind *one, add_of_kind *two,
		    const struct kern_strips *w, size_t strip, size_t n, const struct kern_acts *x,
		    size_t first, size_t rows, float *out, size_t ldo)
{
	const uint8_t *src = w->data + strip * w->strip_bytes;
	const size_t bytes = w->strip_bytes;

	for (; n >= 2 && rows >= MOST / 2; n -= 2, src += 2 * bytes, out += 2 * KERN_STRIP)
		add_strips(fill, two, src, bytes, 2, x, first, rows, out, ldo);
	for (; n; n--, src += bytes, out += KERN_STRIP)
		add_strips(fill, one, src, bytes, 1, x, first, rows, out, ldo);
}

void strip_avx512vnni_strip(const struct kern_strips *w, size_t strip, size_t n,
			    const struct kern_acts *x, size_t first, size_t rows, float *out,
			    size_t ldo)
{
	if (w->type == QUANT_Q4_0)
		add_all(chunk_fill_q4_0, add_q4_0, add_q4_0_twice, w, strip, n, x, first, rows, out,
			ldo);
	else if (w->type == QUANT_Q8_0)
		add_all(chunk_fill_q8_0, add_q8_0, add_q8_0_twice, w, strip, n, x, first, rows, out,
			ldo);
	else if (w->type == QUANT_Q4_K)
		add_all(chunk_fill_q4_k, add_q4_k, add_q4_k_twice, w, strip, n, x, first, rows, out,
			ldo);
	else
		add_all(chunk_fill_q6_k, add_q6_k, add_q6_k_twice, w, strip, n, x, first, rows, out,
			ldo);
}

void strip_avx512vnni_wide(const struct kern_wide *w, bool mins, const struct kern_acts *x,
			   size_t first, size_t rows, float *out, size_t ldo)
{
	static add_of_kind *const adds[] = {
		[CHUNK_PLAIN] = add_q8_0,
		[CHUNK_SCALED] = add_scaled,
		[CHUNK_SCALED_MIN] = add_scaled_min,
		[CHUNK_HALVES] = add_halves,
		[CHUNK_HALVES_MIN] = add_halves_min,
	};

	add_strips(chunk_fill_wide, adds[chunk_kind_of(w, x->blocks, mins)], (const void *)w, 0, 1,
		   x, first, rows, out, ldo);
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
