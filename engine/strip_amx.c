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
 * was just stored.
 *
 * Q4_0 and Q8_0 are multiplied here; types with super-blocks in strip_amx_super.c. */
#include "engine/strip_amx.h"
#include "engine/strip_chunk.h"

/* Fewer rows than a tile has, also those at the end, are left to AVX-512 VNNI. */
#define TILE_ROWS 16

/* Rows that meet a strip together. */
#define MOST_ROWS 96

/* One is added up, one multiplied, one filled. */
#define CHUNKS 3

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

/* Steps of 16 rows, for the blocks of a chunk. */
typedef float steps[TILE_ROWS][CHUNK_BLOCKS];

/* A chunk against 16 rows of activations. */
struct unit {
	const struct chunk *c;
	size_t n_blocks;
	const int8_t *q; /* of the first row, from the chunk's first block on */
	size_t row_bytes;
	const float (*step)[CHUNK_BLOCKS];
	float (*acc)[16];
};

/* What a call works with: in the first-level cache, but for chunks that are not in use. */
struct work {
	_Alignas(64) int32_t sums[CHUNK_BLOCKS][TILE_ROWS][16];
	_Alignas(64) float acc[MOST_ROWS][16];
	_Alignas(64) steps steps[2];
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

/* The products of blocks b and, if there, b + 1, in the first or the second pair of tiles for
 * sums. */
INLINE void multiply(struct unit u, size_t b, bool second)
{
	const uint8_t *weights;

	if (b >= u.n_blocks)
		return;
	weights = u.c->q[chunk_group(b, 0)];
	_tile_loadd(ROWS_0, u.q + 32 * b, u.row_bytes);
	if (second)
		PRODUCT(SUMS_2, ROWS_0, WEIGHTS_0, weights);
	else
		PRODUCT(SUMS_0, ROWS_0, WEIGHTS_0, weights);
	if (b + 1 >= u.n_blocks)
		return;
	_tile_loadd(ROWS_1, u.q + 32 * (b + 1), u.row_bytes);
	if (second)
		PRODUCT(SUMS_3, ROWS_1, WEIGHTS_1, weights + 64 * 8);
	else
		PRODUCT(SUMS_1, ROWS_1, WEIGHTS_1, weights + 64 * 8);
}

/* What multiply made goes to `to`, which has room for two. */
INLINE void keep(struct unit u, size_t b, bool second, int32_t (*to)[TILE_ROWS][16])
{
	if (b >= u.n_blocks)
		return;
	if (second)
		_tile_stored(SUMS_2, to[0], 64);
	else
		_tile_stored(SUMS_0, to[0], 64);
	if (b + 1 >= u.n_blocks)
		return;
	if (second)
		_tile_stored(SUMS_3, to[1], 64);
	else
		_tile_stored(SUMS_1, to[1], 64);
}

/* Block b of a unit: what its products mean, added to acc. */
INLINE void add_block(struct unit u, size_t b, int32_t (*sums)[16], __m512 acc[TILE_ROWS])
{
	if (b >= u.n_blocks)
		return;
#pragma GCC unroll 16
	for (unsigned r = 0; r < TILE_ROWS; r++) {
		acc[r] = chunk_add(acc[r], _mm512_load_si512(sums[r]), u.c->d[b],
				   _mm512_set1_ps(u.step[r][b]));
	}
}

/* A fourth of a step: two blocks of both units, with sums of two tiles. */
INLINE void turn(struct unit now, struct unit before, size_t b, bool second,
		 int32_t (*sums)[TILE_ROWS][16], __m512 acc[TILE_ROWS])
{
	multiply(now, b, second);
	add_block(before, b, sums[0], acc);
	add_block(before, b + 1, sums[1], acc);
	keep(now, b, second, sums);
}

/* The products of `now` while those of `before` are added up; either may have no blocks. */
static void step(struct work *w, const struct unit *now, const struct unit *before)
{
	/* In registers: every load from here on may look like one of a tile that is stored. */
	struct unit to = *now, from = *before;
	__m512 acc[TILE_ROWS];

#pragma GCC unroll 16
	for (unsigned r = 0; r < TILE_ROWS; r++)
		acc[r] = _mm512_load_ps(from.acc[r]);
	for (size_t b = 0; b < CHUNK_BLOCKS; b += 4) {
		turn(to, from, b, false, w->sums + b, acc);
		turn(to, from, b + 2, true, w->sums + b + 2, acc);
	}
#pragma GCC unroll 16
	for (unsigned r = 0; r < TILE_ROWS; r++)
		_mm512_store_ps(from.acc[r], acc[r]);
}

/* Of the rows from `row` of x on, for n blocks from block `at` on. */
INLINE void copy_steps(steps s, const struct kern_acts *x, size_t row, size_t at, size_t n)
{
	const __mmask8 there = (__mmask8)((1u << n) - 1);
	size_t i = row * x->ld + at;

#pragma GCC unroll 1
	for (size_t r = 0; r < TILE_ROWS; r++, i += x->ld)
		_mm256_store_si256((__m256i *)s[r], _mm256_maskz_loadu_epi32(there, x->step + i));
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
		     const struct chunk *c, size_t at, size_t n_blocks, steps s)
{
	const struct kern_acts *x = call->x;

	copy_steps(s, x, call->first + row, at, n_blocks);
	u->c = c;
	u->n_blocks = n_blocks;
	u->q = x->q + 32 * ((call->first + row) * x->ld + at);
	u->row_bytes = 32 * x->ld;
	u->step = (const float(*)[CHUNK_BLOCKS])s;
	u->acc = w->acc + row;
}

/* Chunk number `nth` of the strip; the last may have fewer blocks, and then none. Returns how many
 * it has. */
INLINE size_t fill_chunk(struct work *w, const struct call *call, size_t nth)
{
	struct chunk *c = &w->chunks[nth % CHUNKS];
	const size_t at = nth * CHUNK_BLOCKS, blocks = call->x->blocks;
	const size_t left = at < blocks ? blocks - at : 0;
	const size_t n = left < CHUNK_BLOCKS ? left : CHUNK_BLOCKS;

	if (n)
		call->fill(c, call->src, at, n, CHUNK_SIGNED);
	publish(c);
	return n;
}

/* The sums of a call, in w->acc. */
INLINE void add_strip(struct work *w, const struct call *call)
{
	struct unit units[2] = { { .acc = w->acc }, { .acc = w->acc } };
	size_t n = fill_chunk(w, call, 0), next;
	unsigned turns = 0;

	for (size_t r = 0; r < call->rows; r++)
		_mm512_store_ps(w->acc[r], _mm512_setzero_ps());
	for (size_t nth = 0; n; nth++, n = next) {
		next = fill_chunk(w, call, nth + 1);
		for (size_t row = 0; row < call->rows; row += TILE_ROWS, turns++) {
			struct unit *now = &units[turns % 2];

			set_unit(now, w, call, row, &w->chunks[nth % CHUNKS], nth * CHUNK_BLOCKS, n,
				 w->steps[turns % 2]);
			step(w, now, &units[(turns + 1) % 2]);
		}
	}
	units[turns % 2].n_blocks = 0;
	step(w, &units[turns % 2], &units[(turns + 1) % 2]);
}

/* n whole strips from number `strip` on, as blocks of fill, with whole tiles of rows. */
INLINE void run_strips(chunk_fill *fill, const struct kern_strips *w, size_t strip, size_t n,
		       const struct kern_acts *x, size_t first, size_t rows, float *out, size_t ldo)
{
	const uint8_t *src = w->data + strip * w->strip_bytes;
	struct work work;

	configure();
	for (; n; n--, src += w->strip_bytes, out += KERN_STRIP) {
		for (size_t at = 0; at < rows; at += MOST_ROWS) {
			const size_t most = rows - at < MOST_ROWS ? rows - at : MOST_ROWS;
			const struct call call = { fill, src, x, first + at, most };

			add_strip(&work, &call);
			for (size_t r = 0; r < most; r++)
				_mm512_storeu_ps(out + (at + r) * ldo, _mm512_load_ps(work.acc[r]));
		}
	}
	_tile_release();
}

void strip_amx_strip(const struct kern_strips *w, size_t strip, size_t n, const struct kern_acts *x,
		     size_t first, size_t rows, float *out, size_t ldo)
{
	const size_t whole = rows / TILE_ROWS * TILE_ROWS;

	if (whole && w->type == QUANT_Q4_0)
		run_strips(chunk_fill_q4_0, w, strip, n, x, first, whole, out, ldo);
	else if (whole && w->type == QUANT_Q8_0)
		run_strips(chunk_fill_q8_0, w, strip, n, x, first, whole, out, ldo);
	else if (whole)
		strip_amx_super(w, strip, n, x, first, whole, out, ldo);
	if (whole < rows)
		strip_avx512vnni_strip(w, strip, n, x, first + whole, rows - whole,
				       out + whole * ldo, ldo);
}

void strip_amx_wide(const struct kern_wide *w, bool mins, const struct kern_acts *x, size_t first,
		    size_t rows, float *out, size_t ldo)
{
	strip_avx512vnni_wide(w, mins, x, first, rows, out, ldo);
}

void strip_amx_quantize(const float *x, size_t n, size_t group, int8_t *q, float *step,
			int16_t *sum)
{
	strip_avx512vnni_quantize(x, n, group, q, step, sum);
}
