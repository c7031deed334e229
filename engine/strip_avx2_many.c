/* Strips times many rows of activations, for AVX2, FMA and F16C.
 *
 * What can be done once is done once: rows of activations are laid out as panels, in which what a
 * tile reads lies side by side; a chunk of 8 blocks of a strip is unpacked once for all rows. A
 * tile is 16 weight rows times 3 or 4 of activations: first the integers of 8 blocks, each block's
 * in registers, then what they are worth.
 *
 * Zen 3 does two of vpmaddubsw and vpmaddwd a cycle and four additions, in four pipes of which two
 * take the former; a multiplication and an addition take 0.63 cycles together, not 0.5. That is
 * what bounds all of this (docs/performance.md). */
#include "engine/strip_avx2.h"

#define UNROLL(n)         _Pragma(UNROLL_TEXT(GCC unroll n))
#define UNROLL_TEXT(text) #text

#define CHUNK             8 /* blocks */
#define MOST              4 /* rows of a tile */

#define Q4_0_BYTES        288 /* of a strip's block */
#define Q8_0_BYTES        544
#define Q4_K_BYTES        256 /* but for steps and scales */

/* One block of the rows of a tile. offset, of 16 bits, is for codes that are moved up: with a step
 * for each block -8 times the sums of both halves, in offset[0]; with one for 8 blocks -32 times
 * the sums of what vpmaddubsw adds up in a lane, of each half. */
struct panel {
	_Alignas(64) int8_t q[8][MOST][4]; /* columns 4 g .. 4 g + 3 of row j: q[place(g)][j] */
	int16_t offset[2][MOST][2];
	int16_t sum[MOST][2]; /* with a step for 8 blocks, in even ones: of this one, of the next */
	float step[MOST];
};

/* Blocks of a strip: codes from 0 on in the order of struct kern_wide, or (Q8_0) where they are in
 * the strip. A super-block has but one d, and minimums of two blocks side by side. */
struct chunk {
	_Alignas(64) uint8_t q[CHUNK][8][2][32];
	_Alignas(64) float d[CHUNK][16], m[16];
	_Alignas(64) int16_t scale[CHUNK][2][16][2]; /* each twice */
	_Alignas(64) int16_t min[CHUNK / 2][16][2];
	const uint8_t *src;
};

INLINE unsigned place(unsigned g)
{
	return g % 4 * 2 + g / 4;
}

INLINE void store(void *p, __m256i v)
{
	_mm256_store_si256(p, v);
}

INLINE __m256i half_of(const void *p, unsigned h)
{
	return load((const uint8_t *)p + 32 * h);
}

INLINE __m256 floats(const float *p, unsigned h)
{
	return _mm256_load_ps(p + 8 * h);
}

/* 32 codes of each of four rows. */
INLINE void put_codes(struct panel *p, const int8_t *const row[MOST])
{
	__m256i v[4], ab[2], cd[2];

	for (unsigned j = 0; j < 4; j++)
		v[j] = load(row[j]);
	ab[0] = _mm256_unpacklo_epi32(v[0], v[1]);
	ab[1] = _mm256_unpackhi_epi32(v[0], v[1]);
	cd[0] = _mm256_unpacklo_epi32(v[2], v[3]);
	cd[1] = _mm256_unpackhi_epi32(v[2], v[3]);
	for (unsigned i = 0; i < 2; i++) {
		store(p->q[4 * i], _mm256_unpacklo_epi64(ab[i], cd[i]));
		store(p->q[4 * i + 2], _mm256_unpackhi_epi64(ab[i], cd[i]));
	}
}

/* Four bytes of each of four rows. */
INLINE __m128i gather(const void *a, const void *b, const void *c, const void *d)
{
	__m128i ab = _mm_unpacklo_epi32(_mm_loadu_si32(a), _mm_loadu_si32(b));

	return _mm_unpacklo_epi64(ab, _mm_unpacklo_epi32(_mm_loadu_si32(c), _mm_loadu_si32(d)));
}

/* Codes and steps of block k of four rows. */
INLINE void put_block(struct panel *p, const struct kern_acts *x, const size_t from[MOST], size_t k)
{
	const int8_t *q[MOST];
	const float *step[MOST];

	for (unsigned j = 0; j < MOST; j++) {
		q[j] = x->q + (from[j] + k) * 32;
		step[j] = x->step + from[j] + k;
	}
	put_codes(p, q);
	_mm_store_si128((void *)p->step, gather(step[0], step[1], step[2], step[3]));
}

INLINE void put_single(struct panel *p, const struct kern_acts *x, const size_t from[MOST],
		       size_t k)
{
	const int16_t *sum[MOST];
	__m128i v;

	for (unsigned j = 0; j < MOST; j++)
		sum[j] = x->sum + (from[j] + k) * 2;
	put_block(p, x, from, k);
	v = gather(sum[0], sum[1], sum[2], sum[3]);
	_mm_store_si128((void *)p->offset,
			_mm_sub_epi16(_mm_setzero_si128(), _mm_slli_epi16(v, 3)));
}

/* The offsets of a block whose codes are there; its rows' sums. */
INLINE __m128i put_offsets(struct panel *p)
{
	__m256i s = _mm256_setzero_si256();

	for (unsigned i = 0; i < 4; i++)
		s = _mm256_add_epi16(s,
				     _mm256_maddubs_epi16(_mm256_set1_epi8(1), load(p->q[2 * i])));
	store(p->offset, _mm256_sub_epi16(_mm256_setzero_si256(), _mm256_slli_epi16(s, 5)));
	s = _mm256_madd_epi16(s, _mm256_set1_epi16(1));
	return _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
}

INLINE void put_pair(struct panel *p, const struct kern_acts *x, const size_t from[MOST], size_t k)
{
	__m128i sum[2];

	for (unsigned i = 0; i < 2; i++) {
		put_block(p + i, x, from, k + i);
		sum[i] = put_offsets(p + i);
	}
	_mm_store_si128((void *)p->sum, _mm_blend_epi16(sum[0], _mm_slli_epi32(sum[1], 16), 0xaa));
}

/* n <= 4 rows from row `first` on; the last stands in for those that are missing. */
static void put_panels(struct panel *p, const struct kern_acts *x, size_t first, size_t n)
{
	size_t from[MOST];

	for (size_t j = 0; j < MOST; j++)
		from[j] = (first + (j < n ? j : n - 1)) * x->ld;
	for (size_t k = 0; x->group == 1 && k < x->blocks; k++)
		put_single(p + k, x, from, k);
	for (size_t k = 0; x->group > 1 && k < x->blocks; k += 2)
		put_pair(p + k, x, from, k);
}

/* How many tiles, all of 3 or 4 rows, and where the t-th begins. */
static size_t tiles_of(size_t rows)
{
	return (rows + MOST - 1) / MOST;
}

static size_t tile_at(size_t rows, size_t t)
{
	return rows * t / tiles_of(rows);
}

void strip_avx2_panels(const struct kern_acts *x, size_t first, size_t rows, void *to)
{
	struct panel *p = to;

	for (size_t t = 0; t < tiles_of(rows); t++, p += x->blocks) {
		const size_t j = tile_at(rows, t);

		put_panels(p, x, first + j, tile_at(rows, t + 1) - j);
	}
}

INLINE void put_halves(float *to, const uint8_t *src)
{
	_mm256_store_ps(to, eight_halves(src));
	_mm256_store_ps(to + 8, eight_halves(src + 16));
}

/* Codes of six bits, whose upper two are at high. */
INLINE void put_sixes(uint8_t (*to)[2][32], const uint8_t *src, const uint8_t *high)
{
	const __m256i low4 = _mm256_set1_epi8(15), top2 = _mm256_set1_epi8(0x30);

	for (unsigned i = 0; i < 4; i++) { /* 16 columns of eight rows */
		const unsigned upper = i / 2, h = i % 2;
		__m256i u = half_of(high + 64 * upper, h);
		__m256i up[4] = { _mm256_slli_epi16(u, 4), _mm256_slli_epi16(u, 2), u,
				  _mm256_srli_epi16(u, 2) };

		for (unsigned v = 0; v < 4; v++) {
			__m256i c = half_of(src + 64 * v, h);

			c = _mm256_and_si256(upper ? _mm256_srli_epi16(c, 4) : c, low4);
			c = _mm256_or_si256(c, _mm256_and_si256(up[v], top2));
			store(to[4 * upper + v][h], c);
		}
	}
}

INLINE __m128i sixteen(const void *p)
{
	return _mm_loadu_si128(p);
}

/* Pairs of 16 scales or minimums. */
INLINE void put_pairs(int16_t (*to)[2], __m128i first, __m128i second)
{
	store(to, _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(first, second)));
	store(to + 8, _mm256_cvtepi8_epi16(_mm_unpackhi_epi8(first, second)));
}

/* 16 numbers of 6 bits, each twice. */
INLINE void put_twice(int16_t (*to)[2], const uint8_t *from)
{
	const __m256i first = _mm256_or_si256(
		_mm256_set1_epi16(-256), _mm256_setr_epi32(0, 0x10001, 0x20002, 0x30003, 0x40004,
							   0x50005, 0x60006, 0x70007));
	const __m256i v = _mm256_broadcastsi128_si256(sixteen(from));

	store(to, _mm256_shuffle_epi8(v, first));
	store(to + 8, _mm256_shuffle_epi8(v, _mm256_or_si256(first, _mm256_set1_epi8(8))));
}

/* Fill c from the chunk at w, but for nibbles. */
typedef void unpack_fn(struct chunk *c, const uint8_t *w, unsigned blocks);

/* Codes stay where they are: bytes of a block, steps first. */
INLINE void unpack_steps(struct chunk *c, const uint8_t *w, unsigned blocks, size_t bytes)
{
	c->src = w + 32;
	for (unsigned k = 0; k < blocks; k++, w += bytes)
		put_halves(c->d[k], w);
}

static void unpack_q4_0(struct chunk *c, const uint8_t *w, unsigned blocks)
{
	unpack_steps(c, w, blocks, Q4_0_BYTES);
}

static void unpack_q8_0(struct chunk *c, const uint8_t *w, unsigned blocks)
{
	unpack_steps(c, w, blocks, Q8_0_BYTES);
}

static void unpack_q4_k(struct chunk *c, const uint8_t *w, unsigned blocks)
{
	struct scales o;

	scales_q4_k(&o, w + 64);
	put_halves(c->d[0], w);
	put_halves(c->m, w + 32);
	c->src = w + 256;
	(void)blocks; /* CHUNK */
	UNROLL(8)
	for (unsigned k = 0; k < CHUNK; k++)
		put_twice(c->scale[k][0], o.scale[k]);
	UNROLL(4)
	for (unsigned k = 0; k < CHUNK; k += 2)
		put_pairs(c->min[k / 2], sixteen(o.min[k]), sixteen(o.min[k + 1]));
}

static void unpack_q6_k(struct chunk *c, const uint8_t *w, unsigned blocks)
{
	put_halves(c->d[0], w);
	for (unsigned k = 0; k < blocks; k++) {
		put_sixes(c->q[k], w + 288 + 256 * k, w + 2336 + 128 * k);
		for (unsigned i = 0; i < 2; i++) {
			__m128i scale = sixteen(w + 32 + 32 * k + 16 * i);

			put_pairs(c->scale[k][i], scale, scale);
		}
	}
}

/* s[h * nx + j] += four codes of rows 8 h .. of the strip times those of row j, in pairs. */
INLINE void add_group(__m256i *s, const __m256i codes[2], const int8_t (*q)[4], unsigned nx)
{
	for (unsigned j = 0; j < nx; j++) {
		__m256i x = four(q[j]);

		s[j] = add_16(s[j], _mm256_maddubs_epi16(codes[0], x));
		s[nx + j] = add_16(s[nx + j], _mm256_maddubs_epi16(codes[1], x));
	}
}

/* Groups g0 .. g0 + n - 1 of a block. */
INLINE void add_codes(__m256i *s, uint8_t (*codes)[2][32], const struct panel *p, unsigned g0,
		      unsigned n, unsigned nx)
{
	UNROLL(8)
	for (unsigned g = g0; g < g0 + n; g++) {
		const __m256i c[2] = { load(codes[g][0]), load(codes[g][1]) };

		add_group(s, c, p->q[place(g)], nx);
	}
}

INLINE void add_nibbles(__m256i *s, uint8_t (*codes)[2][32], const uint8_t *nibbles,
			const struct panel *p, unsigned nx)
{
	const __m256i mask = _mm256_set1_epi8(15);

	UNROLL(4)
	for (unsigned v = 0; v < 4; v++) {
		__m256i low[2], high[2];

		for (unsigned h = 0; h < 2; h++) {
			__m256i c = half_of(nibbles + 64 * v, h);

			low[h] = _mm256_and_si256(c, mask);
			high[h] = _mm256_and_si256(_mm256_srli_epi16(c, 4), mask);
			store(codes[v][h], low[h]);
			store(codes[v + 4][h], high[h]);
		}
		add_group(s, low, p->q[place(v)], nx);
		add_group(s, high, p->q[place(v + 4)], nx);
	}
}

INLINE void clear(__m256i *s, unsigned nx)
{
	for (unsigned i = 0; i < 2 * nx; i++)
		s[i] = _mm256_setzero_si256();
}

INLINE void keep(__m256i *to, const __m256i *s, unsigned nx)
{
	for (unsigned i = 0; i < 2 * nx; i++)
		store(to + i, s[i]);
}

/* Vectors that compilers are to have in memory from here on: all at once have no room in registers,
 * and those would be in memory that are needed sooner. */
#define KEEP(v) __asm__("" : : "r"(v) : "memory")

INLINE void fetch_line(const uint8_t *p, unsigned i)
{
	_mm_prefetch((const void *)(p + 64 * i), _MM_HINT_T0);
}

INLINE __m256 plus_scaled(__m256 acc, __m256i sum, __m256 d, __m256 step)
{
	return _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), _mm256_mul_ps(d, step), acc);
}

/* sums_...: sums of products of blocks that have a step each, [block][2][nx], lanes being weight
 * rows. fresh: the nibbles are to be unpacked. */

/* In 16 bits: pairs whose sum counts. Of 8 q's sum nothing is lost there, see strip_avx2.c. */
INLINE void sums_q4_0(__m256i (*out)[2 * MOST], struct chunk *c, const struct panel *p,
		      unsigned blocks, const uint8_t *next, unsigned nx, bool fresh)
{
	for (unsigned k = 0; k < blocks; k++, p++) {
		__m256i s[2 * MOST];

		fetch_line(next, k);
		clear(s, nx);
		if (fresh)
			add_nibbles(s, c->q[k], c->src + Q4_0_BYTES * k, p, nx);
		else
			add_codes(s, c->q[k], p, 0, 8, nx);
		for (unsigned i = 0; i < 2 * nx; i++)
			s[i] = add_16(s[i], four(p->offset[0][i % nx]));
		keep(out[k], s, nx);
	}
}

INLINE void sums_q8_0(__m256i (*out)[2 * MOST], struct chunk *c, const struct panel *p,
		      unsigned blocks, const uint8_t *next, unsigned nx)
{
	const __m256i ones = _mm256_set1_epi16(1);
	const uint8_t *w = c->src;

	for (unsigned k = 0; k < blocks; k++, p++, w += Q8_0_BYTES) {
		__m256i s[2 * MOST];

		fetch_line(next, k);
		clear(s, nx);
		UNROLL(8)
		for (unsigned g = 0; g < 8; g++) {
			__m256i a = half_of(w + 64 * g, 0), b = half_of(w + 64 * g, 1);
			__m256i size_a = _mm256_abs_epi8(a), size_b = _mm256_abs_epi8(b);

			for (unsigned j = 0; j < nx; j++) {
				__m256i x = four(p->q[place(g)][j]);
				__m256i v = _mm256_maddubs_epi16(size_a, _mm256_sign_epi8(x, a));

				x = _mm256_maddubs_epi16(size_b, _mm256_sign_epi8(x, b));
				s[j] = add_32(s[j], _mm256_madd_epi16(v, ones));
				s[nx + j] = add_32(s[nx + j], _mm256_madd_epi16(x, ones));
			}
		}
		keep(out[k], s, nx);
	}
}

/* Add what such sums are worth to acc[2][nx]. pairs: they are of pairs. */
INLINE void finish_blocks(__m256 *acc, __m256i (*s)[2 * MOST], const struct chunk *c,
			  const struct panel *p, unsigned blocks, unsigned nx, bool pairs)
{
	const __m256i ones = _mm256_set1_epi16(1);

	for (unsigned k = 0; k < blocks; k++, p++) {
		for (unsigned j = 0; j < nx; j++) {
			__m256 step = _mm256_set1_ps(p->step[j]);

			for (unsigned h = 0; h < 2; h++) {
				const unsigned i = h * nx + j;
				__m256i sum = pairs ? _mm256_madd_epi16(s[k][i], ones) : s[k][i];

				acc[i] = plus_scaled(acc[i], sum, floats(c->d[k], h), step);
			}
		}
	}
}

/* super_...: the integer of a super-block, [2][nx]. The sums of products that have one scale stay
 * in 16 bits until they meet it. */
INLINE void add_scaled(__m256i *to, const __m256i *s, int16_t (*scale)[2], unsigned nx)
{
	for (unsigned i = 0; i < 2 * nx; i++)
		to[i] = _mm256_add_epi32(to[i], _mm256_madd_epi16(s[i], half_of(scale, i / nx)));
}

INLINE void super_q4_k(__m256i *out, struct chunk *c, const struct panel *p, const uint8_t *next,
		       unsigned nx, bool fresh)
{
	for (unsigned k = 0; k < CHUNK; k++, p++) {
		__m256i s[2 * MOST];

		fetch_line(next, k);
		clear(s, nx);
		if (fresh)
			add_nibbles(s, c->q[k], c->src + Q4_K_BYTES * k, p, nx);
		else
			add_codes(s, c->q[k], p, 0, 8, nx);
		add_scaled(out, s, c->scale[k][0], nx);
	}
}

/* Codes are 32 too large, but offsets begin the sums: of four products of pairs, each of which fits
 * 16 bits, nothing is lost, since what is left is at most 8 * 32 * 127. */
INLINE void super_q6_k(__m256i *out, struct chunk *c, const struct panel *p, const uint8_t *next,
		       unsigned nx)
{
	for (unsigned k = 0; k < CHUNK; k++, p++) {
		fetch_line(next, k);
		UNROLL(2)
		for (unsigned half = 0; half < 2; half++) {
			__m256i s[2 * MOST];

			for (unsigned i = 0; i < 2 * nx; i++)
				s[i] = four(p->offset[half][i % nx]);
			add_codes(s, c->q[k], p, 4 * half, 4, nx);
			add_scaled(out, s, c->scale[k][half], nx);
		}
	}
}

/* The integer of the minimums, [2][nx]: every second panel has the sums of two blocks. */
INLINE void super_mins(__m256i *out, const struct chunk *c, const struct panel *p, unsigned nx)
{
	UNROLL(4)
	for (unsigned k = 0; k < CHUNK / 2; k++) {
		const __m256i min[2] = { half_of(c->min[k], 0), half_of(c->min[k], 1) };

		for (unsigned j = 0; j < nx; j++) {
			__m256i x = four(p[2 * k].sum[j]);

			for (unsigned i = j; i < 2 * nx; i += nx) {
				__m256i v = _mm256_madd_epi16(min[i / nx], x);

				out[i] = k ? add_32(out[i], v) : v;
			}
		}
	}
	KEEP(out);
}

/* Add what the integers of a super-block are worth to acc[nx][16]. less: NULL, or the minimums'. */
INLINE void finish_super(float (*acc)[16], const __m256i *s, const __m256i *less,
			 const struct chunk *c, const struct panel *p, unsigned nx)
{
	for (unsigned i = 0; i < 2 * nx; i++) {
		const unsigned h = i / nx, j = i % nx;
		const __m256 step = _mm256_set1_ps(p->step[j]);
		__m256 a = plus_scaled(floats(acc[j], h), s[i], floats(c->d[0], h), step);

		if (less)
			a = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(less[i]),
					     _mm256_mul_ps(floats(c->m, h), step), a);
		_mm256_store_ps(acc[j] + 8 * h, a);
	}
}

/* Add blocks of the chunk times nx rows to acc[nx][16], and ask for a line at next for each. */
INLINE void blocks_of(enum quant_type type, float (*acc)[16], struct chunk *c,
		      const struct panel *p, unsigned blocks, const uint8_t *next, unsigned nx,
		      bool fresh)
{
	__m256i s[CHUNK][2 * MOST];
	__m256 a[2 * MOST];

	if (type == QUANT_Q8_0)
		sums_q8_0(s, c, p, blocks, next, nx);
	else
		sums_q4_0(s, c, p, blocks, next, nx, fresh);
	for (unsigned i = 0; i < 2 * nx; i++)
		a[i] = floats(acc[i % nx], i / nx);
	finish_blocks(a, s, c, p, blocks, nx, type == QUANT_Q4_0);
	for (unsigned i = 0; i < 2 * nx; i++)
		_mm256_store_ps(acc[i % nx] + 8 * (i / nx), a[i]);
}

/* The same for a super-block. */
INLINE void super_of(enum quant_type type, float (*acc)[16], struct chunk *c, const struct panel *p,
		     const uint8_t *next, unsigned nx, bool fresh)
{
	__m256i s[2 * MOST], less[2 * MOST];

	clear(s, nx);
	if (type == QUANT_Q4_K) {
		super_q4_k(s, c, p, next, nx, fresh);
		super_mins(less, c, p, nx);
		finish_super(acc, s, less, c, p, nx);
	} else {
		super_q6_k(s, c, p, next, nx);
		finish_super(acc, s, NULL, c, p, nx);
	}
}

INLINE void tile(enum quant_type type, float (*acc)[16], struct chunk *c, const struct panel *p,
		 unsigned blocks, const uint8_t *next, unsigned nx, bool fresh)
{
	if (type == QUANT_Q4_0 || type == QUANT_Q8_0)
		blocks_of(type, acc, c, p, blocks, next, nx, fresh);
	else
		super_of(type, acc, c, p, next, nx, fresh);
}

typedef void tile_fn(float (*acc)[16], struct chunk *c, const struct panel *p, unsigned blocks,
		     const uint8_t *next);

#define TILE(type, name, nx, fresh)                                                                \
	static void tile_##name(float(*acc)[16], struct chunk *c, const struct panel *p,           \
				unsigned blocks, const uint8_t *next)                              \
	{                                                                                          \
		tile(QUANT_##type, acc, c, p, blocks, next, nx, fresh);                            \
	}
TILE(Q4_0, q4_0_3, 3, false)
TILE(Q4_0, q4_0_4, 4, false)
TILE(Q4_0, q4_0_fresh_3, 3, true)
TILE(Q4_0, q4_0_fresh_4, 4, true)
TILE(Q4_K, q4_k_3, 3, false)
TILE(Q4_K, q4_k_4, 4, false)
TILE(Q4_K, q4_k_fresh_3, 3, true)
TILE(Q4_K, q4_k_fresh_4, 4, true)
TILE(Q6_K, q6_k_3, 3, false)
TILE(Q6_K, q6_k_4, 4, false)
TILE(Q8_0, q8_0_3, 3, false)
TILE(Q8_0, q8_0_4, 4, false)
#undef TILE

/* Tiles of 3 and of 4 rows; the first of a chunk may have to unpack its codes. */
static const struct form {
	size_t bytes; /* of a chunk */
	unpack_fn *unpack;
	tile_fn *first[2], *other[2];
} forms[QUANT_TYPE_END] = {
	[QUANT_Q4_0] = { CHUNK * Q4_0_BYTES,
			 unpack_q4_0,
			 { tile_q4_0_fresh_3, tile_q4_0_fresh_4 },
			 { tile_q4_0_3, tile_q4_0_4 } },
	[QUANT_Q4_K] = { 2304,
			 unpack_q4_k,
			 { tile_q4_k_fresh_3, tile_q4_k_fresh_4 },
			 { tile_q4_k_3, tile_q4_k_4 } },
	[QUANT_Q6_K] = { 3360,
			 unpack_q6_k,
			 { tile_q6_k_3, tile_q6_k_4 },
			 { tile_q6_k_3, tile_q6_k_4 } },
	[QUANT_Q8_0] = { CHUNK * Q8_0_BYTES,
			 unpack_q8_0,
			 { tile_q8_0_3, tile_q8_0_4 },
			 { tile_q8_0_3, tile_q8_0_4 } },
};

/* The tiles of some rows: the t-th has those from at[t] on. */
struct tiles {
	size_t n, at[KERN_PANEL_MOST / MOST + 1];
};

static struct tiles divide(size_t rows)
{
	struct tiles o = { .n = tiles_of(rows) };

	for (size_t t = 0; t <= o.n; t++)
		o.at[t] = tile_at(rows, t);
	return o;
}

/* The strip at w with all rows. Each tile asks for its part of the next chunk, most of it line by
 * line: all at once would wait for the memory. */
static void run_strip(const struct form *f, const uint8_t *w, const struct panel *panels,
		      size_t all_blocks, const struct tiles *tiles, float (*acc)[16])
{
	const size_t part = (f->bytes / tiles->n + 63) / 64 * 64;
	struct chunk c;

	memset(acc, 0, tiles->at[tiles->n] * sizeof(*acc));
	for (size_t at = 0; at < all_blocks; at += CHUNK, w += f->bytes) {
		const size_t left = all_blocks - at;
		const unsigned blocks = left < CHUNK ? (unsigned)left : CHUNK;
		const uint8_t *next = w + f->bytes;

		f->unpack(&c, w, blocks);
		for (size_t t = 0; t < tiles->n; t++, next += part) {
			const size_t j = tiles->at[t], n = tiles->at[t + 1] - j;

			if (part > CHUNK * 64)
				fetch(next + CHUNK * 64, part - CHUNK * 64);
			(t ? f->other : f->first)[n - 3](acc + j, &c, panels + t * all_blocks + at,
							 blocks, next);
		}
	}
}

/* Ask for the lines that a strip's results go to. */
static void fetch_rows(const float *out, size_t ldo, size_t rows)
{
	for (size_t j = 0; j < rows; j++)
		_mm_prefetch((const void *)(out + j * ldo), _MM_HINT_T0);
}

void strip_avx2_strips(const struct kern_strips *w, size_t strip, size_t n, const void *panels,
		       size_t rows, float *out, size_t ldo)
{
	const uint8_t *src = w->data + strip * w->strip_bytes;
	const struct tiles tiles = divide(rows);
	_Alignas(64) float acc[KERN_PANEL_MOST][16];

	_Static_assert(sizeof(struct panel) == KERN_PANEL_BYTES, "panels");
	for (size_t i = 0; i < n; i++, src += w->strip_bytes, out += KERN_STRIP) {
		fetch_rows(out, ldo, rows);
		run_strip(&forms[w->type], src, panels, w->blocks, &tiles, acc);
		for (size_t j = 0; j < rows; j++)
			memcpy(out + j * ldo, acc[j], sizeof(acc[j]));
	}
}
