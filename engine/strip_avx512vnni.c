/* Compiled for AVX-512 F, BW, DQ, VL and VNNI; kern.c looks before it calls.
 *
 * A vector is four columns of the 16 rows of a strip; vpdpbusd adds its products with four codes of
 * one row of activations, which are broadcast on their way from memory. Eight sums are in registers
 * at once: of one strip and eight rows of activations, or, since loads are what there are too many
 * of, of two strips and four rows, which use each broadcast twice. Weights must be unsigned there:
 * codes are moved up by a constant, and the sum of the activations times that constant, taken off
 * again, is where each sum begins. Sums of a super-block's blocks are multiplied by their scales as
 * integers. */
#include "engine/strip_chunk.h"

#include <math.h>

/* Sums that are in registers at once. */
#define MOST 8

/* Rows of activations, from a chunk on; their blocks; sums of the dots so far. */
struct rows {
	const int8_t *q;
	const float *step;
	const int16_t *sum;
	size_t ld; /* blocks from one row to the next */
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

/* Groups [4 first, 4 last) of block b of ns strips with n rows, added to sums[strip][row]. */
INLINE void multiply(const struct chunk *c, const struct rows *x, size_t b, unsigned first,
		     unsigned last, __m512i *sums, unsigned ns, unsigned n)
{
	for (unsigned g = 4 * first; g < 4 * last; g++) {
		__m512i w[2];

		for (unsigned s = 0; s < ns; s++)
			w[s] = _mm512_load_si512(c[s].q[chunk_group(b, g)]);
		for (unsigned r = 0; r < n; r++) {
			__m512i q = quad(x->q + 32 * (r * x->ld + b) + 4 * g);

			for (unsigned s = 0; s < ns; s++)
				sums[s * n + r] = _mm512_dpbusd_epi32(sums[s * n + r], w[s], q);
		}
	}
}

/* Where the sums of block b, or of a half of it, begin. */
INLINE void start(__m512i *sums, const struct begin *begin, unsigned half, size_t b, unsigned ns,
		  unsigned n)
{
	for (unsigned i = 0; i < ns * n; i++)
		sums[i] = begin ? _mm512_set1_epi32(begin[i % n].at[half][b])
				: _mm512_setzero_si512();
}

/* A row's sums of both halves of block b, in all lanes. */
INLINE __m512i sums_of(const struct rows *x, unsigned r, size_t b)
{
	int32_t pair;

	memcpy(&pair, x->sum + 2 * (r * x->ld + b), sizeof(pair));
	return _mm512_set1_epi32(pair);
}

INLINE __m512 step_of(const struct rows *x, unsigned r, size_t b)
{
	return _mm512_set1_ps(x->step[r * x->ld + b]);
}

/* less[strip][row] += what the minimums of block b make of the rows' sums. */
INLINE void add_mins(__m512i *less, const struct chunk *c, const struct rows *x, size_t b,
		     unsigned ns, unsigned n)
{
	for (unsigned i = 0; i < ns * n; i++)
		less[i] = _mm512_dpwssd_epi32(less[i], _mm512_load_si512(c[i / n].min[b]),
					      sums_of(x, i % n, b));
}

/* Block b of a chunk, which has steps and perhaps minimums of its own, added to acc[strip][row]. */
INLINE void add_block(const struct chunk *c, const struct rows *x, size_t b, bool mins,
		      const struct begin *begin, __m512 *acc, unsigned ns, unsigned n)
{
	__m512i sums[MOST];

	start(sums, begin, 0, b, ns, n);
	multiply(c, x, b, 0, 2, sums, ns, n);
	for (unsigned i = 0; i < ns * n; i++)
		acc[i] = chunk_add(acc[i], sums[i], c[i / n].d[b], step_of(x, i % n, b));
	if (!mins)
		return;
	start(sums, NULL, 0, b, ns, n);
	add_mins(sums, c, x, b, ns, n);
	for (unsigned i = 0; i < ns * n; i++)
		acc[i] = chunk_add(acc[i], sums[i], c[i / n].m[b], step_of(x, i % n, b));
}

/* all[strip][row] += the sums of groups [4 first, 4 last) of block b times their scales. */
INLINE void add_scaled(__m512i *all, const struct chunk *c, const struct rows *x, size_t b,
		       unsigned first, unsigned last, const struct begin *begin, unsigned ns,
		       unsigned n)
{
	__m512i sums[MOST];

	start(sums, begin, first, b, ns, n);
	multiply(c, x, b, first, last, sums, ns, n);
	for (unsigned i = 0; i < ns * n; i++) {
		__m512i scale = _mm512_load_si512(c[i / n].scale[first][b]);

		all[i] = _mm512_add_epi32(all[i], _mm512_mullo_epi32(sums[i], scale));
	}
}

INLINE void add_super(const struct chunk *c, const struct rows *x, bool halves, bool mins,
		      const struct begin *begin, __m512 *acc, unsigned ns, unsigned n)
{
	__m512i all[MOST], less[MOST];

	start(all, NULL, 0, 0, ns, n);
	start(less, NULL, 0, 0, ns, n);
	for (size_t b = 0; b < CHUNK_BLOCKS; b++) {
		add_scaled(all, c, x, b, 0, halves ? 1 : 2, begin, ns, n);
		if (halves)
			add_scaled(all, c, x, b, 1, 2, begin, ns, n);
		if (mins)
			add_mins(less, c, x, b, ns, n);
	}
	for (unsigned i = 0; i < ns * n; i++) {
		acc[i] = chunk_add(acc[i], all[i], c[i / n].d[0], step_of(x, i % n, 0));
		if (mins)
			acc[i] = chunk_add(acc[i], less[i], c[i / n].m[0], step_of(x, i % n, 0));
	}
}

/* A chunk of n_blocks of each of ns strips with n rows of activations, ns * n <= MOST. */
INLINE void add_rows(const struct chunk *c, size_t n_blocks, const struct rows *x,
		     enum chunk_kind kind, bool mins, int moved, unsigned ns, unsigned n)
{
	const bool halves = kind == CHUNK_HALVES;
	struct begin begins[MOST], *begin = moved ? begins : NULL;
	__m512 acc[MOST];

	for (unsigned r = 0; moved && r < n; r++)
		set_begin(&begins[r], x->sum + 2 * r * x->ld, n_blocks, moved, halves);
	for (unsigned i = 0; i < ns * n; i++)
		acc[i] = _mm512_loadu_ps(x->out + i % n * x->ldo + i / n * KERN_STRIP);
	if (kind != CHUNK_BLOCK)
		add_super(c, x, halves, mins, begin, acc, ns, n);
	for (size_t b = 0; kind == CHUNK_BLOCK && b < n_blocks; b++)
		add_block(c, x, b, mins, begin, acc, ns, n);
	for (unsigned i = 0; i < ns * n; i++)
		_mm512_storeu_ps(x->out + i % n * x->ldo + i / n * KERN_STRIP, acc[i]);
}

INLINE void next_rows(struct rows *x, size_t n)
{
	x->q += 32 * n * x->ld;
	x->step += n * x->ld;
	x->sum += 2 * n * x->ld;
	x->out += n * x->ldo;
}

/* A chunk, which begins with block `at`, of each of ns strips with all rows. */
INLINE void add_chunk(const struct chunk *c, size_t n_blocks, const struct rows *all, size_t at,
		      size_t rows, enum chunk_kind kind, bool mins, int moved, unsigned ns)
{
	struct rows x = *all;

	x.q += 32 * at;
	x.step += at;
	x.sum += 2 * at;
	for (; rows >= MOST / ns; rows -= MOST / ns, next_rows(&x, MOST / ns))
		add_rows(c, n_blocks, &x, kind, mins, moved, ns, MOST / ns);
	if (ns == 1 && (rows & 4)) {
		add_rows(c, n_blocks, &x, kind, mins, moved, ns, 4);
		next_rows(&x, 4);
	}
	if (rows & 2) {
		add_rows(c, n_blocks, &x, kind, mins, moved, ns, 2);
		next_rows(&x, 2);
	}
	if (rows & 1)
		add_rows(c, n_blocks, &x, kind, mins, moved, ns, 1);
}

/* all is the same for all chunks of a strip: what was just written would have to be waited for. */
typedef void add_of_kind(const struct chunk *c, size_t n_blocks, const struct rows *all, size_t at,
			 size_t rows);

#define ADD(name, kind, mins, moved, ns)                                                           \
	static void add_##name(const struct chunk *c, size_t n_blocks, const struct rows *all,     \
			       size_t at, size_t rows)                                             \
	{                                                                                          \
		add_chunk(c, n_blocks, all, at, rows, kind, mins, moved, ns);                      \
	}

ADD(q4_0, CHUNK_BLOCK, false, 8, 1)
ADD(q4_0_twice, CHUNK_BLOCK, false, 8, 2)
ADD(q8_0, CHUNK_BLOCK, false, 128, 1)
ADD(q8_0_twice, CHUNK_BLOCK, false, 128, 2)
ADD(q4_k, CHUNK_SUPER, true, 0, 1)
ADD(q4_k_twice, CHUNK_SUPER, true, 0, 2)
ADD(q6_k, CHUNK_HALVES, false, 32, 1)
ADD(q6_k_twice, CHUNK_HALVES, false, 32, 2)
ADD(block_mins, CHUNK_BLOCK, true, 128, 1)
ADD(super_block, CHUNK_SUPER, false, 128, 1)
ADD(super_mins, CHUNK_SUPER, true, 128, 1)
ADD(halves, CHUNK_HALVES, false, 128, 1)
ADD(halves_mins, CHUNK_HALVES, true, 128, 1)
#undef ADD

/* ns whole strips at src, `bytes` apart, as blocks of fill, with those rows. */
INLINE void add_strips(chunk_fill *fill, add_of_kind *add, const uint8_t *src, size_t bytes,
		       unsigned ns, const struct kern_acts *x, size_t first, size_t rows,
		       float *out, size_t ldo)
{
	const struct rows all = { .q = x->q + 32 * first * x->ld,
				  .step = x->step + first * x->ld,
				  .sum = x->sum + 2 * first * x->ld,
				  .ld = x->ld,
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
			fill(&c[s], src + s * bytes, b, n);
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
	static add_of_kind *const adds[][2] = {
		[CHUNK_BLOCK] = { add_q8_0, add_block_mins },
		[CHUNK_SUPER] = { add_super_block, add_super_mins },
		[CHUNK_HALVES] = { add_halves, add_halves_mins },
	};
	enum chunk_kind kind = CHUNK_BLOCK;

	if (x->group > 1)
		kind = chunk_is_halved(w, x->blocks) ? CHUNK_HALVES : CHUNK_SUPER;
	add_strips(chunk_fill_wide, adds[kind][mins], (const void *)w, 0, 1, x, first, rows, out,
		   ldo);
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

/* The magnitude of the largest of n elements, as an integer: infinity and NaN above all others. */
INLINE uint32_t top_bits(const float *x, size_t n)
{
	const __m512i size = _mm512_set1_epi32(0x7fffffff);
	__m512i top = _mm512_setzero_si512();

	for (size_t i = 0; i < n; i += 16)
		top = _mm512_max_epu32(top, _mm512_and_si512(_mm512_loadu_si512(x + i), size));
	return largest(top);
}

/* Blocks that share a step. */
static void quantize_group(const float *x, size_t blocks, int8_t *q, float *step, int16_t *sum)
{
	const uint32_t bits = top_bits(x, 32 * blocks), infinity = 0x7f800000;
	float top;

	memcpy(&top, &bits, sizeof(top));
	if (bits >= infinity || top < 1e-36f) {
		memset(q, 0, 32 * blocks);
		memset(sum, 0, 2 * blocks * sizeof(*sum));
		for (size_t b = 0; b < blocks; b++)
			step[b] = bits >= infinity ? NAN : 0;
		return;
	}
	for (size_t h = 0; h < 2 * blocks; h++) {
		sum[h] = quantize_half(_mm512_loadu_ps(x + 16 * h), 127.0f / top, q + 16 * h);
		step[h / 2] = top / 127.0f;
	}
}

/* Blocks that are rounded together: a lane for the step of each. */
#define ROUND_BLOCKS 16

/* Dword 4 j + k becomes 4 k + j. */
INLINE __m512i across(__m512i a)
{
	static const int32_t from[16] = { 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15 };

	return _mm512_permutexvar_epi32(_mm512_loadu_si512(from), a);
}

/* Dword j of each fourth: the four of a[j] there, joined. */
#define FOLD(name, join)                                                                           \
	INLINE __m512i name(const __m512i a[4])                                                    \
	{                                                                                          \
		__m512i s = join(_mm512_unpacklo_epi32(a[0], a[1]),                                \
				 _mm512_unpackhi_epi32(a[0], a[1]));                               \
		__m512i t = join(_mm512_unpacklo_epi32(a[2], a[3]),                                \
				 _mm512_unpackhi_epi32(a[2], a[3]));                               \
                                                                                                   \
		return join(_mm512_unpacklo_epi64(s, t), _mm512_unpackhi_epi64(s, t));             \
	}

FOLD(fold_max, _mm512_max_epu32)
FOLD(fold_add, _mm512_add_epi32)
#undef FOLD

/* The larger of fourths of a and b: those in `one` and those in `other`, as shuffles name them. */
#define LARGER(a, b, one, other)                                                                   \
	_mm512_max_epu32(_mm512_castps_si512(_mm512_shuffle_f32x4(_mm512_castsi512_ps(a),          \
								  _mm512_castsi512_ps(b), one)),   \
			 _mm512_castps_si512(_mm512_shuffle_f32x4(_mm512_castsi512_ps(a),          \
								  _mm512_castsi512_ps(b), other)))

/* top_bits of each block. */
INLINE __m512i tops_of(const float *x)
{
	const __m512i size = _mm512_set1_epi32(0x7fffffff);
	__m512i top[ROUND_BLOCKS], four[4], low, high;

#pragma GCC unroll 16
	for (size_t b = 0; b < ROUND_BLOCKS; b++)
		top[b] = _mm512_max_epu32(
			_mm512_and_si512(_mm512_loadu_si512(x + 32 * b), size),
			_mm512_and_si512(_mm512_loadu_si512(x + 32 * b + 16), size));
	for (unsigned i = 0; i < 4; i++)
		four[i] = fold_max(top + 4 * i);
	low = LARGER(four[0], four[1], 0x44, 0xee);
	high = LARGER(four[2], four[3], 0x44, 0xee);
	return LARGER(low, high, 0x88, 0xdd);
}

/* In each lane the largest of its eight. */
INLINE __m512i top_of_eight(__m512i top)
{
	__m512 x = _mm512_castsi512_ps(LARGER(top, top, 0xe4, 0xb1));

	x = _mm512_castsi512_ps(_mm512_max_epu32(_mm512_castps_si512(x),
						 _mm512_castps_si512(_mm512_permute_ps(x, 0x4e))));
	return _mm512_max_epu32(_mm512_castps_si512(x),
				_mm512_castps_si512(_mm512_permute_ps(x, 0xb1)));
}

INLINE __m512i code_of(const float *x, __m512 inverse)
{
	return _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x), inverse));
}

/* Two blocks -> codes. */
INLINE __m512i codes_of(const float *x, const float inverse[2])
{
	const __m512 a = _mm512_set1_ps(inverse[0]), b = _mm512_set1_ps(inverse[1]);

	return across(
		_mm512_packs_epi16(_mm512_packs_epi32(code_of(x, a), code_of(x + 16, a)),
				   _mm512_packs_epi32(code_of(x + 32, b), code_of(x + 48, b))));
}

/* All codes and sums, eight blocks at a time. */
INLINE void round_codes(const float *x, const float *inverse, int8_t *q, int16_t *sum)
{
	const __m512i one = _mm512_set1_epi8(1);

	for (size_t b = 0; b < ROUND_BLOCKS; b += 8) {
		__m512i parts[4];

#pragma GCC unroll 4
		for (size_t v = 0; v < 4; v++) {
			const size_t at = b + 2 * v;
			const __m512i codes = codes_of(x + 32 * at, inverse + at);

			_mm512_storeu_si512(q + 32 * at, codes);
			parts[v] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), one, codes);
		}
		_mm256_storeu_si256((__m256i *)(sum + 2 * b),
				    _mm512_cvtepi32_epi16(across(fold_add(parts))));
	}
}

/* As quantize_group, of one block or eight, ROUND_BLOCKS at once; false: some are no ordinary
 * numbers, and nothing is done. */
static bool round_blocks(const float *x, size_t group, int8_t *q, float *step, int16_t *sum)
{
	const __m512 most = _mm512_set1_ps(127.0f), least = _mm512_set1_ps(1e-36f);
	const __m512i finite = _mm512_set1_epi32(0x7f7fffff);
	_Alignas(64) float inverse[ROUND_BLOCKS];
	__m512i top = tops_of(x);

	if (group > 1)
		top = top_of_eight(top);
	if (_mm512_cmpgt_epi32_mask(top, finite) ||
	    _mm512_cmpgt_epi32_mask(_mm512_castps_si512(least), top))
		return false;
	_mm512_storeu_ps(step, _mm512_div_ps(_mm512_castsi512_ps(top), most));
	_mm512_store_ps(inverse, _mm512_div_ps(most, _mm512_castsi512_ps(top)));
	round_codes(x, inverse, q, sum);
	return true;
}

void strip_avx512vnni_quantize(const float *x, size_t n, size_t group, int8_t *q, float *step,
			       int16_t *sum)
{
	const size_t blocks = n / 32;
	size_t b = 0;

	while (b < blocks) {
		const size_t end = b + ROUND_BLOCKS;

		if (end <= blocks &&
		    round_blocks(x + 32 * b, group, q + 32 * b, step + b, sum + 2 * b))
			b = end;
		for (; b < end && b < blocks; b += group)
			quantize_group(x + 32 * b, group, q + 32 * b, step + b, sum + 2 * b);
	}
}
