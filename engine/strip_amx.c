/* Compiled for AVX-512 F, BW, DQ, VL and VNNI and for AMX tiles of 8-bit integers; kern.c looks,
 * and asks the system for the tiles, before it calls.
 *
 * A block of unpacked codes, [8][16][4], is a tile of weights as it stands; 16 rows of activations
 * with 32 bytes each are the other one. Their product has the 16 x 16 integers of one block, which
 * must leave the tile to be scaled: it is stored to a buffer, and vectors take it from there. Loads
 * have to wait until such stores are in the cache, so the vectors are one unit behind the tiles:
 * while the products of a unit (a chunk and 16 rows) are made, those of the unit before are added
 * up, and a product takes the place of one that has just been read. For the same reason chunks are
 * unpacked one ahead.
 *
 * What vectors need of activations is copied so that rows are a constant apart, and the sums stay
 * here until a strip is done: rows of the result are a multiple of 4 KiB apart in many models,
 * which leaves them one set of the first-level cache, and makes a load look as if it were of what
 * was just stored. */
#include "engine/strip_chunk.h"

/* Fewer rows than a tile has, also those at the end, are left to AVX-512 VNNI. */
#define TILE_ROWS 16

/* Rows that meet a strip together. */
#define MOST_ROWS 96

/* Products of a unit: 8 blocks, or both halves of 4 blocks. */
#define TILES 8

/* One is added up, one multiplied, one filled. */
#define CHUNKS 3

/* Vectors of zeros between the halves of a block: the eight from the first on are the lower half
 * and zeros, the eight from the fifth on zeros and the upper half. Both meet the same rows. */
#define GAP 4

/* Numbers of tiles must be words that the preprocessor knows. */
#define ROWS_0    0
#define ROWS_1    1
#define WEIGHTS_0 2
#define WEIGHTS_1 3
#define SUMS_0    4
#define SUMS_1    5
#define SUMS_2    6
#define SUMS_3    7

/* The operand of LDTILECFG. */
struct config {
	uint8_t palette, start_row, reserved[14];
	uint16_t row_bytes[16];
	uint8_t rows[16];
};

/* Of 16 rows, for the blocks of a chunk: what vectors need. */
struct factors {
	_Alignas(64) float step[TILE_ROWS][CHUNK_BLOCKS];
	float whole[TILE_ROWS][CHUNK_BLOCKS];    /* CHUNK_SCALED_MIN */
	int16_t sum[TILE_ROWS][CHUNK_BLOCKS][2]; /* CHUNK_HALVES_MIN */
};

/* A chunk against 16 rows of activations. */
struct unit {
	const struct chunk *c;
	size_t n_blocks;
	const int8_t *q; /* of the first row, from the chunk's first block on */
	size_t row_bytes;
	const struct factors *f;
	float (*acc)[16];
};

/* What a call works with: in the first-level cache, but for chunks that are not in use. */
struct work {
	_Alignas(64) int32_t sums[TILES][TILE_ROWS][16];
	_Alignas(64) float acc[MOST_ROWS][16];
	struct factors factors[2];
	struct chunk chunks[CHUNKS];
};

/* What is written at p is in memory from here on: gcc 12 does not know that tiles are loaded from
 * there. */
INLINE void publish(const void *p)
{
	__asm__ volatile("" : : "r"(p) : "memory");
}

static void configure(void)
{
	static const struct config c = {
		.palette = 1,
		.row_bytes = { 32, 32, 64, 64, 64, 64, 64, 64 },
		.rows = { 16, 16, 8, 8, 16, 16, 16, 16 },
	};

	_tile_loadconfig(&c);
}

/* sums = rows at `rows` x weights at `weights`. */
#define PRODUCT(sums, rows_tile, weights_tile, weights)                                            \
	do {                                                                                       \
		_tile_loadd(weights_tile, weights, 64);                                            \
		_tile_zero(sums);                                                                  \
		_tile_dpbssd(sums, rows_tile, weights_tile);                                       \
	} while (0)

/* Two products: of blocks b and, if there, b + 1, or of both halves of block b. They are in the
 * first or the second pair of tiles for sums. */
INLINE void multiply(struct unit u, size_t b, bool halves, bool second)
{
	const uint8_t *weights, *others;

	if (b >= u.n_blocks)
		return;
	weights = u.c->q[chunk_group(b, 0, halves ? GAP : 0)];
	others = weights + 64 * (halves ? GAP : 8);
	_tile_loadd(ROWS_0, u.q + 32 * b, u.row_bytes);
	if (second)
		PRODUCT(SUMS_2, ROWS_0, WEIGHTS_0, weights);
	else
		PRODUCT(SUMS_0, ROWS_0, WEIGHTS_0, weights);
	if (halves && second) {
		PRODUCT(SUMS_3, ROWS_0, WEIGHTS_1, others);
	} else if (halves) {
		PRODUCT(SUMS_1, ROWS_0, WEIGHTS_1, others);
	} else if (b + 1 < u.n_blocks) {
		_tile_loadd(ROWS_1, u.q + 32 * (b + 1), u.row_bytes);
		if (second)
			PRODUCT(SUMS_3, ROWS_1, WEIGHTS_1, others);
		else
			PRODUCT(SUMS_1, ROWS_1, WEIGHTS_1, others);
	}
}

/* What multiply made goes to `to`, which has room for two. */
INLINE void keep(struct unit u, size_t b, bool halves, bool second, int32_t (*to)[TILE_ROWS][16])
{
	if (b >= u.n_blocks)
		return;
	if (second)
		_tile_stored(SUMS_2, to[0], 64);
	else
		_tile_stored(SUMS_0, to[0], 64);
	if (!halves && b + 1 >= u.n_blocks)
		return;
	if (second)
		_tile_stored(SUMS_3, to[1], 64);
	else
		_tile_stored(SUMS_1, to[1], 64);
}

/* Block b of a unit: what its products mean, added to acc. */
INLINE void add_block(struct unit u, size_t b, enum chunk_kind kind, int32_t (*sums)[TILE_ROWS][16],
		      __m512 acc[TILE_ROWS])
{
	if (b >= u.n_blocks)
		return;
#pragma GCC unroll 16
	for (unsigned r = 0; r < TILE_ROWS; r++) {
		const struct chunk_row row = { u.f->step[r], u.f->sum[r][0], u.f->whole[r] };
		__m512 dots[2];

		dots[0] = _mm512_cvtepi32_ps(_mm512_load_si512(sums[0][r]));
		dots[1] = chunk_has_halves(kind) ? _mm512_cvtepi32_ps(_mm512_load_si512(sums[1][r]))
						 : dots[0];
		acc[r] = chunk_add(acc[r], u.c, b, kind, &row, dots);
	}
}

/* A fourth of a step, from block b of both units on, with sums of two tiles. */
INLINE void turn(struct unit now, struct unit before, size_t b, enum chunk_kind kind, bool second,
		 int32_t (*sums)[TILE_ROWS][16], __m512 acc[TILE_ROWS])
{
	const bool halves = chunk_has_halves(kind);

	multiply(now, b, halves, second);
	add_block(before, b, kind, sums, acc);
	if (!halves)
		add_block(before, b + 1, kind, sums + 1, acc);
	keep(now, b, halves, second, sums);
}

/* The products of `now` while those of `before` are added up; either may have no blocks.
 *
 * While tiles are at work, vectors have one of their two ports. With minimums there are too many of
 * them to be among the tiles: they go first. */
INLINE void step(struct work *w, const struct unit *now, const struct unit *before,
		 enum chunk_kind kind)
{
	const size_t blocks = chunk_has_halves(kind) ? 1 : 2, tiles = 2 / blocks;
	/* In registers: every load from here on may look like one of a tile that is stored. */
	struct unit to = *now, from = *before;
	__m512 acc[TILE_ROWS];

#pragma GCC unroll 16
	for (unsigned r = 0; r < TILE_ROWS; r++)
		acc[r] = _mm512_load_ps(from.acc[r]);
	for (size_t b = 0; chunk_has_min(kind) && b < from.n_blocks; b++)
		add_block(from, b, kind, w->sums + tiles * b, acc);
	from.n_blocks = chunk_has_min(kind) ? 0 : from.n_blocks;
	for (size_t t = 0; t < TILES / 2; t += 2) {
		turn(to, from, blocks * t, kind, false, w->sums + 2 * t, acc);
		turn(to, from, blocks * (t + 1), kind, true, w->sums + 2 * (t + 1), acc);
	}
#pragma GCC unroll 16
	for (unsigned r = 0; r < TILE_ROWS; r++)
		_mm512_store_ps(from.acc[r], acc[r]);
}

typedef void step_of_kind(struct work *w, const struct unit *now, const struct unit *before);

#define STEP(name, kind)                                                                           \
	static void step_##name(struct work *w, const struct unit *now, const struct unit *before) \
	{                                                                                          \
		step(w, now, before, kind);                                                        \
	}

STEP(plain, CHUNK_PLAIN)
STEP(scaled, CHUNK_SCALED)
STEP(scaled_min, CHUNK_SCALED_MIN)
STEP(halves, CHUNK_HALVES)
STEP(halves_min, CHUNK_HALVES_MIN)
#undef STEP

static step_of_kind *const steps[] = {
	[CHUNK_PLAIN] = step_plain,           [CHUNK_SCALED] = step_scaled,
	[CHUNK_SCALED_MIN] = step_scaled_min, [CHUNK_HALVES] = step_halves,
	[CHUNK_HALVES_MIN] = step_halves_min,
};

/* Factors of the rows from `row` of x on, for n blocks from block `at` on. */
INLINE void copy_factors(struct factors *f, const struct kern_acts *x, size_t row, size_t at,
			 size_t n, enum chunk_kind kind)
{
	const __mmask8 there = (__mmask8)((1u << n) - 1);
	size_t i = row * x->blocks + at;

#pragma GCC unroll 1
	for (size_t r = 0; r < TILE_ROWS; r++, i += x->blocks) {
		_mm256_store_si256((__m256i *)f->step[r],
				   _mm256_maskz_loadu_epi32(there, x->step + i));
		if (kind == CHUNK_SCALED_MIN)
			chunk_wholes(x->sum + 2 * i, n, f->whole[r]);
		if (kind == CHUNK_HALVES_MIN)
			_mm256_store_si256((__m256i *)f->sum[r],
					   _mm256_maskz_loadu_epi32(there, x->sum + 2 * i));
	}
}

/* A strip with some rows: what to do. */
struct call {
	chunk_fill *fill;
	const void *src; /* of fill */
	const struct kern_acts *x;
	size_t first, rows; /* of x: a multiple of TILE_ROWS, at most MOST_ROWS */
};

/* u becomes the rows from `row` on (of the call's) against n_blocks blocks of c, the first of which
 * is number `at`.
 *
 * Fields are written and read one by one: a load of several stores at once would have to wait until
 * they are in the cache, which is after all that is under way. */
INLINE void set_unit(struct unit *u, struct work *w, const struct call *call, size_t row,
		     const struct chunk *c, size_t at, size_t n_blocks, struct factors *f,
		     enum chunk_kind kind)
{
	const struct kern_acts *x = call->x;

	copy_factors(f, x, call->first + row, at, n_blocks, kind);
	u->c = c;
	u->n_blocks = n_blocks;
	u->q = x->q + 32 * ((call->first + row) * x->blocks + at);
	u->row_bytes = 32 * x->blocks;
	u->f = f;
	u->acc = w->acc + row;
}

/* Sums that nothing was added to, and what is not written but read. */
INLINE void clear(struct work *w, size_t rows, bool halves)
{
	const __m512i zero = _mm512_setzero_si512();

	for (size_t r = 0; r < rows; r++)
		_mm512_store_ps(w->acc[r], _mm512_setzero_ps());
	for (unsigned i = 0; halves && i < CHUNKS * TILES / 2 * GAP; i++) {
		struct chunk *c = &w->chunks[i / GAP % CHUNKS];

		_mm512_store_si512(c->q[chunk_group(i / GAP / CHUNKS, 3, GAP) + 1 + i % GAP], zero);
	}
}

/* Chunk number `nth` of the strip, of `most` blocks; the last may have fewer, and then none.
 * Returns how many it has. */
INLINE size_t fill_chunk(struct work *w, const struct call *call, size_t nth, size_t most,
			 bool halves)
{
	struct chunk *c = &w->chunks[nth % CHUNKS];
	const size_t at = nth * most, blocks = call->x->blocks;
	const size_t left = at < blocks ? blocks - at : 0, n = left < most ? left : most;

	if (n)
		call->fill(c, call->src, at, n, CHUNK_SIGNED, halves ? GAP : 0);
	publish(c);
	return n;
}

/* The sums of a call, in w->acc. */
INLINE void add_strip(struct work *w, const struct call *call, enum chunk_kind kind)
{
	const bool halves = chunk_has_halves(kind);
	const size_t most = halves ? TILES / 2 : TILES;
	struct unit units[2] = { { .acc = w->acc }, { .acc = w->acc } };
	size_t n = fill_chunk(w, call, 0, most, halves), next;
	unsigned turns = 0;

	clear(w, call->rows, halves);
	for (size_t nth = 0; n; nth++, n = next) {
		next = fill_chunk(w, call, nth + 1, most, halves);
		for (size_t row = 0; row < call->rows; row += TILE_ROWS, turns++) {
			struct unit *now = &units[turns % 2];

			set_unit(now, w, call, row, &w->chunks[nth % CHUNKS], nth * most, n,
				 &w->factors[turns % 2], kind);
			steps[kind](w, now, &units[(turns + 1) % 2]);
		}
	}
	units[turns % 2].n_blocks = 0;
	steps[kind](w, &units[turns % 2], &units[(turns + 1) % 2]);
}

/* n whole strips at src, `bytes` apart, as blocks of fill, with whole tiles of rows. */
INLINE void run_strips(chunk_fill *fill, enum chunk_kind kind, const uint8_t *src, size_t bytes,
		       size_t n, const struct kern_acts *x, size_t first, size_t rows, float *out,
		       size_t ldo)
{
	struct work w;

	configure();
	for (; n; n--, src += bytes, out += KERN_STRIP) {
		for (size_t at = 0; at < rows; at += MOST_ROWS) {
			const size_t most = rows - at < MOST_ROWS ? rows - at : MOST_ROWS;
			const struct call call = { fill, src, x, first + at, most };

			add_strip(&w, &call, kind);
			for (size_t r = 0; r < most; r++)
				_mm512_storeu_ps(out + (at + r) * ldo, _mm512_load_ps(w.acc[r]));
		}
	}
	_tile_release();
}

static void run_packed(const struct kern_strips *w, size_t strip, size_t n,
		       const struct kern_acts *x, size_t first, size_t rows, float *out, size_t ldo)
{
	const size_t bytes = w->strip_bytes;
	const uint8_t *src = w->data + strip * bytes;

	if (w->type == QUANT_Q4_0)
		run_strips(chunk_fill_q4_0, CHUNK_PLAIN, src, bytes, n, x, first, rows, out, ldo);
	else if (w->type == QUANT_Q8_0)
		run_strips(chunk_fill_q8_0, CHUNK_PLAIN, src, bytes, n, x, first, rows, out, ldo);
	else if (w->type == QUANT_Q4_K)
		run_strips(chunk_fill_q4_k, CHUNK_SCALED_MIN, src, bytes, n, x, first, rows, out,
			   ldo);
	else
		run_strips(chunk_fill_q6_k, CHUNK_HALVES, src, bytes, n, x, first, rows, out, ldo);
}

void strip_amx_strip(const struct kern_strips *w, size_t strip, size_t n, const struct kern_acts *x,
		     size_t first, size_t rows, float *out, size_t ldo)
{
	const size_t whole = rows / TILE_ROWS * TILE_ROWS;

	if (whole)
		run_packed(w, strip, n, x, first, whole, out, ldo);
	if (whole < rows)
		strip_avx512vnni_strip(w, strip, n, x, first + whole, rows - whole,
				       out + whole * ldo, ldo);
}

void strip_amx_wide(const struct kern_wide *w, bool mins, const struct kern_acts *x, size_t first,
		    size_t rows, float *out, size_t ldo)
{
	const size_t whole = rows / TILE_ROWS * TILE_ROWS;

	if (whole)
		run_strips(chunk_fill_wide, chunk_kind_of(w, x->blocks, mins), (const void *)w, 0,
			   1, x, first, whole, out, ldo);
	if (whole < rows)
		strip_avx512vnni_wide(w, mins, x, first + whole, rows - whole, out + whole * ldo,
				      ldo);
}

void strip_amx_quantize(const float *x, size_t n, int8_t *q, float *step, int16_t *sum)
{
	strip_avx512vnni_quantize(x, n, q, step, sum);
}
