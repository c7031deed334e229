/* The integer kernels for AVX2, FMA and F16C.
 *
 * A tile is 16 weight rows times up to 6 rows of activations. Lanes are weight rows: each vector of
 * four codes of eight rows meets four codes of one row of activations in all lanes, so nothing is
 * ever added across lanes. A tile goes over its blocks in chunks of 8, and of each chunk first over
 * weight rows 0..7, then 8..15: sums stay in registers, and the second half finds its weights in
 * the cache, so that memory is read once and evenly. */
#include "engine/strip_avx2.h"

#include <math.h>

/* Rows of activations of the largest tile, and of the largest that does both halves at once. */
#define MOST  6
#define FEW   2

#define CHUNK 8 /* blocks */

/* Rows of activations from some block on; row j begins j * ld blocks later. */
struct acts {
	const int8_t *q;
	const float *step;
	const int16_t *sum;
	size_t ld;
};

/* Add the sums of `blocks` (<= 8) blocks at w, of nh * 8 weight rows from row 8 * h0 on and of nx
 * rows of activations, to acc[nh][nx]. nh and nx are constants wherever this is inlined. */
typedef void chunk_fn(__m256 *acc, const uint8_t *w, unsigned h0, struct acts x, unsigned blocks,
		      unsigned nh, unsigned nx);

INLINE const int8_t *codes_at(struct acts x, unsigned j, unsigned k)
{
	return x.q + (j * x.ld + k) * 32;
}

INLINE __m256i sums_at(struct acts x, unsigned j, unsigned k)
{
	return four(x.sum + (j * x.ld + k) * 2);
}

INLINE __m256 step_at(struct acts x, unsigned j, unsigned k)
{
	return _mm256_set1_ps(x.step[j * x.ld + k]);
}

INLINE __m256 add_scaled(__m256 acc, __m256i sum, __m256 d, __m256 step)
{
	return _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), _mm256_mul_ps(d, step), acc);
}

INLINE __m256 sub_scaled(__m256 acc, __m256i sum, __m256 d, __m256 step)
{
	return _mm256_fnmadd_ps(_mm256_cvtepi32_ps(sum), _mm256_mul_ps(d, step), acc);
}

INLINE void clear(__m256i *s, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		s[i] = _mm256_setzero_si256();
}

INLINE __m256i plus_madd(__m256i acc, __m256i a, __m256i b)
{
	return _mm256_add_epi32(acc, _mm256_madd_epi16(a, b));
}

/* s[nh][nx] = two i16 per weight row whose sum is that of its codes times activations, in block k.
 * Neither passes 16 * 15 * 127. */
INLINE void nibble_sums(__m256i *s, const uint8_t *w, struct acts x, unsigned k, unsigned nh,
			unsigned nx)
{
	const __m256i mask = _mm256_set1_epi8(15);

	clear(s, nh * nx);
	for (unsigned v = 0; v < 4; v++) {
		for (unsigned h = 0; h < nh; h++) {
			__m256i c = load(w + v * 64 + h * 32), low = _mm256_and_si256(c, mask);
			__m256i high = _mm256_and_si256(_mm256_srli_epi16(c, 4), mask);

			for (unsigned j = 0; j < nx; j++) {
				const int8_t *q = codes_at(x, j, k) + 4 * v;
				__m256i *sum = s + h * nx + j;

				*sum = add_16(*sum, _mm256_maddubs_epi16(low, four(q)));
				*sum = add_16(*sum, _mm256_maddubs_epi16(high, four(q + 16)));
			}
		}
	}
}

/* Of 8 q's sum nothing is lost in i16 either: by halves at most 8 * 8 * 127 + 8 * 15 * 127 +
 * 8 * 8 * 127 is left. */
INLINE void chunk_q4_0(__m256 *acc, const uint8_t *w, unsigned h0, struct acts x, unsigned blocks,
		       unsigned nh, unsigned nx)
{
	const __m256i ones = _mm256_set1_epi16(1);

	for (unsigned k = 0; k < blocks; k++, w += 288) {
		__m256i s[FEW * MOST];

		if (h0 == 0)
			fetch(w + 1536, 288);
		nibble_sums(s, w + 32 + h0 * 32, x, k, nh, nx);
		for (unsigned h = 0; h < nh; h++) {
			__m256 d = eight_halves(w + (h0 + h) * 16);

			for (unsigned j = 0; j < nx; j++) {
				__m256i eight = _mm256_slli_epi16(sums_at(x, j, k), 3);
				__m256i sum = _mm256_sub_epi16(s[h * nx + j], eight);
				__m256 *a = acc + h * nx + j;

				sum = _mm256_madd_epi16(sum, ones);
				*a = add_scaled(*a, sum, d, step_at(x, j, k));
			}
		}
	}
}

/* s[j] += scale times four signed codes of eight rows times those at q, row j being 32 * ld bytes
 * further. |code| <= 128, so a product of pairs fits i16. */
INLINE void add_signed(__m256i *s, __m256i codes, __m256i scale, const int8_t *q, size_t ld,
		       unsigned nx)
{
	__m256i size = _mm256_abs_epi8(codes);

	for (unsigned j = 0; j < nx; j++) {
		__m256i x = _mm256_sign_epi8(four(q + j * ld * 32), codes);

		x = _mm256_maddubs_epi16(size, x);
		s[j] = add_32(s[j], _mm256_madd_epi16(x, scale));
	}
}

INLINE void chunk_q8_0(__m256 *acc, const uint8_t *w, unsigned h0, struct acts x, unsigned blocks,
		       unsigned nh, unsigned nx)
{
	const __m256i ones = _mm256_set1_epi16(1);

	for (unsigned k = 0; k < blocks; k++, w += 544) {
		__m256i s[FEW * MOST];

		if (h0 == 0)
			fetch(w + 1024, 544);
		clear(s, nh * nx);
		for (unsigned g = 0; g < 8; g++) {
			for (unsigned h = 0; h < nh; h++)
				add_signed(s + h * nx, load(w + 32 + g * 64 + (h0 + h) * 32), ones,
					   codes_at(x, 0, k) + 4 * g, x.ld, nx);
		}
		for (unsigned h = 0; h < nh; h++) {
			__m256 d = eight_halves(w + (h0 + h) * 16);

			for (unsigned j = 0; j < nx; j++) {
				__m256 *a = acc + h * nx + j;

				*a = add_scaled(*a, s[h * nx + j], d, step_at(x, j, k));
			}
		}
	}
}

/* 8 bytes, each as two i16. */
INLINE __m256i pairs_of_u8(const uint8_t *p)
{
	const __m256i spread =
		_mm256_setr_epi8(0, -1, 0, -1, 1, -1, 1, -1, 2, -1, 2, -1, 3, -1, 3, -1, 4, -1, 4,
				 -1, 5, -1, 5, -1, 6, -1, 6, -1, 7, -1, 7, -1);
	int64_t v;

	memcpy(&v, p, sizeof(v));
	return _mm256_shuffle_epi8(_mm256_set1_epi64x(v), spread);
}

/* A super-block, whose integers fit 32 bits (kern.h). */
INLINE void chunk_q4_k(__m256 *acc, const uint8_t *w, unsigned h0, struct acts x, unsigned blocks,
		       unsigned nh, unsigned nx)
{
	__m256i sum[FEW * MOST], less[FEW * MOST];
	struct scales o;

	scales_q4_k(&o, w + 64);
	clear(sum, nh * nx);
	clear(less, nh * nx);
	for (unsigned k = 0; k < blocks; k++) {
		__m256i s[FEW * MOST];

		if (h0 == 0)
			fetch(w + 2560 + k * 288, 288);
		nibble_sums(s, w + 256 + k * 256 + h0 * 32, x, k, nh, nx);
		for (unsigned h = 0; h < nh; h++) {
			__m256i scale = pairs_of_u8(o.scale[k] + 8 * (h0 + h));
			__m256i min = pairs_of_u8(o.min[k] + 8 * (h0 + h));

			for (unsigned j = 0; j < nx; j++) {
				const unsigned i = h * nx + j;

				sum[i] = plus_madd(sum[i], s[i], scale);
				less[i] = plus_madd(less[i], sums_at(x, j, k), min);
			}
		}
	}
	for (unsigned i = 0; i < nh * nx; i++) {
		const unsigned at = (h0 + i / nx) * 16, j = i % nx;

		acc[i] = add_scaled(acc[i], sum[i], eight_halves(w + at), step_at(x, j, 0));
		acc[i] = sub_scaled(acc[i], less[i], eight_halves(w + 32 + at), step_at(x, j, 0));
	}
}

/* Bytes of 8 rows at a and at b as pairs (a, b) of i16. */
INLINE __m128i zip(const void *a, const void *b)
{
	return _mm_unpacklo_epi8(_mm_loadl_epi64(a), _mm_loadl_epi64(b));
}

INLINE __m256i first_twice(__m256i pairs)
{
	return _mm256_blend_epi16(pairs, _mm256_slli_epi32(pairs, 16), 0xaa);
}

INLINE __m256i second_twice(__m256i pairs)
{
	return _mm256_blend_epi16(pairs, _mm256_srli_epi32(pairs, 16), 0x55);
}

/* s[j] += scale times eight unsigned codes, none above 63, of eight rows times those at q. */
INLINE void add_small(__m256i *s, const __m256i codes[2], __m256i scale, const int8_t *q, size_t ld,
		      unsigned nx)
{
	for (unsigned j = 0; j < nx; j++) {
		__m256i a = _mm256_maddubs_epi16(codes[0], four(q + j * ld * 32));
		__m256i b = _mm256_maddubs_epi16(codes[1], four(q + j * ld * 32 + 4));

		s[j] = add_32(s[j], _mm256_madd_epi16(_mm256_add_epi16(a, b), scale));
	}
}

/* s[j] += scale times 16 elements of eight rows: nibbles are in the low or high halves of four
 * vectors, their upper bits all in u. */
INLINE void half_q6_k(__m256i *s, const uint8_t *nibbles, bool upper, __m256i u, __m256i scale,
		      const int8_t *q, size_t ld, unsigned nx)
{
	const __m256i low4 = _mm256_set1_epi8(15), top2 = _mm256_set1_epi8(0x30);
	__m256i up[4] = { _mm256_slli_epi16(u, 4), _mm256_slli_epi16(u, 2), u,
			  _mm256_srli_epi16(u, 2) };

	for (unsigned g = 0; g < 4; g += 2) {
		__m256i codes[2];

		for (unsigned i = 0; i < 2; i++) {
			__m256i n = load(nibbles + 64 * (g + i));

			n = _mm256_and_si256(upper ? _mm256_srli_epi16(n, 4) : n, low4);
			codes[i] = _mm256_or_si256(n, _mm256_and_si256(up[g + i], top2));
		}
		add_small(s, codes, scale, q + 4 * g, ld, nx);
	}
}

/* Add block k's share to s[nx]. */
INLINE void block_q6_k(__m256i *s, const uint8_t *w, unsigned h, struct acts x, unsigned k,
		       unsigned nx)
{
	const uint8_t *scales = w + 32 + k * 32 + 8 * h;
	const uint8_t *nibbles = w + 288 + k * 256 + h * 32, *high = w + 2336 + k * 128 + h * 32;
	const int8_t *q = codes_at(x, 0, k);
	__m256i pairs = _mm256_cvtepi8_epi16(zip(scales, scales + 16));
	__m256i offset = _mm256_mullo_epi16(pairs, _mm256_set1_epi16(-32));

	for (unsigned j = 0; j < nx; j++)
		s[j] = plus_madd(s[j], sums_at(x, j, k), offset);
	half_q6_k(s, nibbles, false, load(high), first_twice(pairs), q, x.ld, nx);
	half_q6_k(s, nibbles, true, load(high + 64), second_twice(pairs), q + 16, x.ld, nx);
}

INLINE void chunk_q6_k(__m256 *acc, const uint8_t *w, unsigned h0, struct acts x, unsigned blocks,
		       unsigned nh, unsigned nx)
{
	__m256i s[FEW * MOST];

	clear(s, nh * nx);
	for (unsigned k = 0; k < blocks; k++) {
		if (h0 == 0)
			fetch(w + 4096 + k * 420, 420);
		for (unsigned h = 0; h < nh; h++)
			block_q6_k(s + h * nx, w, h0 + h, x, k, nx);
	}
	for (unsigned i = 0; i < nh * nx; i++)
		acc[i] = add_scaled(acc[i], s[i], eight_halves(w + (h0 + i / nx) * 16),
				    step_at(x, i % nx, 0));
}

/* Add a block's share to sum[nx] and, with minimums, to more[nx]. */
INLINE void block_wide(__m256i *sum, __m256i *more, const struct kern_wide *w, bool mins,
		       unsigned h, struct acts x, unsigned k, unsigned nx)
{
	const int8_t *q = codes_at(x, 0, k);
	__m256i pairs = _mm256_cvtepi8_epi16(zip(w->scale[0] + 8 * h, w->scale[1] + 8 * h));

	for (unsigned half = 0; half < 2; half++) {
		__m256i scale = half ? second_twice(pairs) : first_twice(pairs);

		for (unsigned g = 4 * half; g < 4 * half + 4; g++)
			add_signed(sum, load(w->q[g][8 * h]), scale, q + 4 * g, x.ld, nx);
	}
	pairs = _mm256_cvtepu8_epi16(zip(w->min[0] + 8 * h, w->min[1] + 8 * h));
	for (unsigned j = 0; mins && j < nx; j++)
		more[j] = plus_madd(more[j], sums_at(x, j, k), pairs);
}

/* Blocks k .. k + group - 1. */
INLINE void group_wide(__m256 *acc, const struct kern_wide *w, bool mins, unsigned h, struct acts x,
		       unsigned k, unsigned group, unsigned nx)
{
	__m256i sum[MOST], more[MOST];
	__m256 d = _mm256_loadu_ps(w[k].d + 8 * h), m = _mm256_loadu_ps(w[k].m + 8 * h);

	clear(sum, nx);
	clear(more, nx);
	for (unsigned i = k; i < k + group; i++)
		block_wide(sum, more, w + i, mins, h, x, i, nx);
	for (unsigned j = 0; j < nx; j++) {
		acc[j] = add_scaled(acc[j], sum[j], d, step_at(x, j, k));
		if (mins)
			acc[j] = add_scaled(acc[j], more[j], m, step_at(x, j, k));
	}
}

#define CHUNK_WIDE(name, mins, group)                                                              \
	INLINE void chunk_##name(__m256 *acc, const uint8_t *w, unsigned h0, struct acts x,        \
				 unsigned blocks, unsigned nh, unsigned nx)                        \
	{                                                                                          \
		for (unsigned k = 0; k < blocks; k += group) {                                     \
			for (unsigned h = 0; h < nh; h++)                                          \
				group_wide(acc + h * nx, (const void *)w, mins, h0 + h, x, k,      \
					   group, nx);                                             \
		}                                                                                  \
	}
CHUNK_WIDE(wide, false, 1)
CHUNK_WIDE(wide_mins, true, 1)
CHUNK_WIDE(super, false, CHUNK)
CHUNK_WIDE(super_mins, true, CHUNK)
#undef CHUNK_WIDE

/* A strip at w, `bytes` per chunk, times nx rows of activations. */
INLINE void tile(chunk_fn *chunk, size_t bytes, const uint8_t *w, size_t blocks, struct acts x,
		 float *out, size_t ldo, unsigned nx)
{
	const unsigned nh = nx <= FEW ? 2 : 1;
	__m256 acc[2][MOST];

	for (unsigned j = 0; j < nx; j++)
		acc[0][j] = acc[1][j] = _mm256_setzero_ps();
	while (blocks) {
		unsigned n = blocks < CHUNK ? (unsigned)blocks : CHUNK;

		for (unsigned h = 0; h < 2; h += nh) {
			__m256 a[2 * MOST];

			for (unsigned i = 0; i < nh * nx; i++)
				a[i] = acc[h + i / nx][i % nx];
			chunk(a, w, h, x, n, nh, nx);
			for (unsigned i = 0; i < nh * nx; i++)
				acc[h + i / nx][i % nx] = a[i];
		}
		x.q += n * 32;
		x.step += n;
		x.sum += n * 2;
		w += bytes;
		blocks -= n;
	}
	for (unsigned j = 0; j < nx; j++) {
		_mm256_storeu_ps(out + j * ldo, acc[0][j]);
		_mm256_storeu_ps(out + j * ldo + 8, acc[1][j]);
	}
}

typedef void tile_fn(const uint8_t *w, size_t blocks, struct acts x, float *out, size_t ldo);

/* A table of tiles of 1..MOST rows. */
#define TILE(type, bytes, n)                                                                       \
	static void type##_##n(const uint8_t *w, size_t blocks, struct acts x, float *out,         \
			       size_t ldo)                                                         \
	{                                                                                          \
		tile(chunk_##type, bytes, w, blocks, x, out, ldo, n);                              \
	}
#define TILES(type, bytes)                                                                         \
	TILE(type, bytes, 1)                                                                       \
	TILE(type, bytes, 2)                                                                       \
	TILE(type, bytes, 3)                                                                       \
	TILE(type, bytes, 4)                                                                       \
	TILE(type, bytes, 5)                                                                       \
	TILE(type, bytes, 6)                                                                       \
	static tile_fn *const type##_tiles[MOST] = { type##_1, type##_2, type##_3,                 \
						     type##_4, type##_5, type##_6 };

TILES(q4_0, CHUNK * 288)
TILES(q8_0, CHUNK * 544)
TILES(q4_k, 2304)
TILES(q6_k, 3360)
TILES(wide, CHUNK * sizeof(struct kern_wide))
TILES(wide_mins, CHUNK * sizeof(struct kern_wide))
TILES(super, CHUNK * sizeof(struct kern_wide))
TILES(super_mins, CHUNK * sizeof(struct kern_wide))
#undef TILES
#undef TILE

/* Rows in tiles that are full or nearly alike: a last one of a single row would be slow. */
static void run(tile_fn *const *tiles, const uint8_t *w, const struct kern_acts *x, size_t first,
		size_t rows, float *out, size_t ldo)
{
	while (rows) {
		size_t n = rows <= MOST ? rows : rows < 2 * MOST ? (rows + 1) / 2 : MOST;
		size_t at = first * x->ld;
		struct acts a = { x->q + at * 32, x->step + at, x->sum + at * 2, x->ld };

		tiles[n - 1](w, x->blocks, a, out, ldo);
		first += n;
		rows -= n;
		out += n * ldo;
	}
}

void strip_avx2_strip(const struct kern_strips *w, size_t strip, size_t n,
		      const struct kern_acts *x, size_t first, size_t rows, float *out, size_t ldo)
{
	static tile_fn *const *const types[QUANT_TYPE_END] = {
		[QUANT_Q4_0] = q4_0_tiles,
		[QUANT_Q8_0] = q8_0_tiles,
		[QUANT_Q4_K] = q4_k_tiles,
		[QUANT_Q6_K] = q6_k_tiles,
	};

	for (size_t i = 0; i < n; i++)
		run(types[w->type], w->data + (strip + i) * w->strip_bytes, x, first, rows,
		    out + i * KERN_STRIP, ldo);
}

void strip_avx2_wide(const struct kern_wide *w, bool mins, const struct kern_acts *x, size_t first,
		     size_t rows, float *out, size_t ldo)
{
	static tile_fn *const *const tiles[2][2] = { { wide_tiles, wide_mins_tiles },
						     { super_tiles, super_mins_tiles } };

	run(tiles[x->group > 1][mins], (const void *)w, x, first, rows, out, ldo);
}

/* Largest of 8. */
INLINE uint32_t largest(__m256i v)
{
	__m128i m = _mm_max_epu32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));

	m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0x4e));
	m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0xb1));
	return (uint32_t)_mm_cvtsi128_si32(m);
}

INLINE int16_t sum_16(__m128i q)
{
	__m128i s = _mm_maddubs_epi16(_mm_set1_epi8(1), q);

	s = _mm_madd_epi16(s, _mm_set1_epi16(1));
	s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
	s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
	return (int16_t)_mm_cvtsi128_si32(s);
}

/* 32 floats times a, rounded. */
INLINE __m256i rounded(const float *x, float a)
{
	const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
	__m256i v[4];

	for (unsigned i = 0; i < 4; i++)
		v[i] = _mm256_cvtps_epi32(
			_mm256_mul_ps(_mm256_loadu_ps(x + 8 * i), _mm256_set1_ps(a)));
	v[0] = _mm256_packs_epi32(v[0], v[1]);
	v[2] = _mm256_packs_epi32(v[2], v[3]);
	return _mm256_permutevar8x32_epi32(_mm256_packs_epi16(v[0], v[2]), order);
}

/* As integers, magnitudes of floats are in their order, infinity and NaN above all others. */
INLINE uint32_t top_bits(const float *x, size_t n)
{
	const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
	__m256i top = _mm256_setzero_si256();

	for (size_t i = 0; i < n; i += 8)
		top = _mm256_max_epu32(top, _mm256_and_si256(load(x + i), magnitude));
	return largest(top);
}

INLINE void put_codes(__m256i codes, int8_t *q, int16_t *sum)
{
	_mm256_storeu_si256((void *)q, codes);
	sum[0] = sum_16(_mm256_castsi256_si128(codes));
	sum[1] = sum_16(_mm256_extracti128_si256(codes, 1));
}

/* Blocks that share a step. */
INLINE void quantize_group(const float *x, size_t blocks, int8_t *q, float *step, int16_t *sum)
{
	const uint32_t infinity = 0x7f800000, bits = top_bits(x, 32 * blocks);
	float a;
	bool zero;

	memcpy(&a, &bits, sizeof(a));
	zero = bits >= infinity || a < 1e-36f;
	for (size_t b = 0; b < blocks; b++) {
		put_codes(zero ? _mm256_setzero_si256() : rounded(x + 32 * b, 127.0f / a),
			  q + 32 * b, sum + 2 * b);
		step[b] = bits >= infinity ? NAN : zero ? 0 : a / 127.0f;
	}
}

void strip_avx2_quantize(const float *x, size_t n, size_t group, int8_t *q, float *step,
			 int16_t *sum)
{
	for (size_t b = 0; b < n / 32; b += group)
		quantize_group(x + 32 * b, group, q + 32 * b, step + b, sum + 2 * b);
}
