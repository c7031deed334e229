/* Compiled for AVX-512 F, BW, DQ, VL and VNNI and for AMX tiles of 8-bit integers; kern.c looks,
 * and asks the system for the tiles, before it calls.
 *
 * A block of unpacked codes, [8][16][4], is a tile of weights as it stands; 16 rows of activations
 * with 32 bytes each are the other one. Their product has the 16 x 16 integers of one block, which
 * must leave the tile to be scaled: it is stored to a buffer, and vectors take it from there. Loads
 * have to wait until such stores are in the cache, so the vectors are one unit behind the tiles:
 * while the products of a unit (a chunk and 16 rows) are made, those of the unit before are added
 * up. */
#include "engine/strip_chunk.h"

/* Below so many rows AVX-512 VNNI, whose weights need no way through tiles, is the faster one. */
#define FEWEST_ROWS 8

#define TILE_ROWS   16

/* Products of a unit: 8 blocks, or both halves of 4 blocks. */
#define TILES 8

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
#define ROWS_END  6 /* fewer than 16 rows */
#define SUMS_END  7

/* The operand of LDTILECFG. */
struct config {
	uint8_t palette, start_row, reserved[14];
	uint16_t row_bytes[16];
	uint8_t rows[16];
};

typedef int32_t sums[TILES][TILE_ROWS][16];

/* A chunk against up to 16 rows of activations. */
struct unit {
	const struct chunk *c;
	size_t n_blocks;
	const int8_t *q; /* of the first row, from the chunk's first block on; so the next two */
	const float *step;
	const int16_t *sum;
	float *out;
	size_t n_rows;
	int32_t (*sums)[TILE_ROWS][16];
};

/* What all units of a call share. */
struct call {
	const struct kern_acts *x;
	size_t ldo;
};

/* What is written at p is in memory from here on: gcc 12 does not know that tiles are loaded from
 * there. */
INLINE void publish(const void *p)
{
	__asm__ volatile("" : : "r"(p) : "memory");
}

static void configure(size_t last_rows)
{
	struct config c = { .palette = 1 };

	c.rows[ROWS_0] = c.rows[ROWS_1] = c.rows[SUMS_0] = c.rows[SUMS_1] = TILE_ROWS;
	c.rows[WEIGHTS_0] = c.rows[WEIGHTS_1] = 8;
	c.rows[ROWS_END] = c.rows[SUMS_END] = (uint8_t)last_rows;
	c.row_bytes[ROWS_0] = c.row_bytes[ROWS_1] = 32;
	c.row_bytes[WEIGHTS_0] = c.row_bytes[WEIGHTS_1] = 64;
	c.row_bytes[SUMS_0] = c.row_bytes[SUMS_1] = 64;
	c.row_bytes[ROWS_END] = last_rows ? 32 : 0;
	c.row_bytes[SUMS_END] = last_rows ? 64 : 0;
	publish(&c);
	_tile_loadconfig(&c);
}

/* Blocks b and, if there, b + 1 of 16 rows. */
INLINE void multiply_two(const struct unit *u, size_t b, size_t row_bytes)
{
	_tile_loadd(ROWS_0, u->q + 32 * b, row_bytes);
	_tile_loadd(WEIGHTS_0, u->c->q[chunk_group(b, 0, 0)], 64);
	_tile_zero(SUMS_0);
	_tile_dpbssd(SUMS_0, ROWS_0, WEIGHTS_0);
	_tile_stored(SUMS_0, u->sums[b], 64);
	if (b + 1 >= u->n_blocks)
		return;
	_tile_loadd(ROWS_1, u->q + 32 * (b + 1), row_bytes);
	_tile_loadd(WEIGHTS_1, u->c->q[chunk_group(b + 1, 0, 0)], 64);
	_tile_zero(SUMS_1);
	_tile_dpbssd(SUMS_1, ROWS_1, WEIGHTS_1);
	_tile_stored(SUMS_1, u->sums[b + 1], 64);
}

/* Both halves of block b of 16 rows. */
INLINE void multiply_halves(const struct unit *u, size_t b, size_t row_bytes)
{
	_tile_loadd(ROWS_0, u->q + 32 * b, row_bytes);
	_tile_loadd(WEIGHTS_0, u->c->q[chunk_group(b, 0, GAP)], 64);
	_tile_loadd(WEIGHTS_1, u->c->q[chunk_group(b, 0, GAP) + GAP], 64);
	_tile_zero(SUMS_0);
	_tile_dpbssd(SUMS_0, ROWS_0, WEIGHTS_0);
	_tile_stored(SUMS_0, u->sums[2 * b], 64);
	_tile_zero(SUMS_1);
	_tile_dpbssd(SUMS_1, ROWS_0, WEIGHTS_1);
	_tile_stored(SUMS_1, u->sums[2 * b + 1], 64);
}

/* The eight vectors at `weights` with fewer than 16 rows. */
INLINE void multiply_end(const struct unit *u, size_t b, const void *weights, int32_t (*to)[16],
			 size_t row_bytes)
{
	_tile_loadd(ROWS_END, u->q + 32 * b, row_bytes);
	_tile_loadd(WEIGHTS_0, weights, 64);
	_tile_zero(SUMS_END);
	_tile_dpbssd(SUMS_END, ROWS_END, WEIGHTS_0);
	_tile_stored(SUMS_END, to, 64);
}

/* The part of a unit's products that is done in turn `turn` of four. */
INLINE void multiply(const struct unit *u, unsigned turn, bool halves, size_t row_bytes)
{
	const unsigned gap = halves ? GAP : 0;

	for (size_t b = halves ? turn : 2 * turn, i = 0; i < (halves ? 1 : 2); i++, b++) {
		const uint8_t *weights;

		if (b >= u->n_blocks)
			return;
		if (u->n_rows == TILE_ROWS && halves)
			multiply_halves(u, b, row_bytes);
		else if (u->n_rows == TILE_ROWS)
			multiply_two(u, b, row_bytes);
		if (u->n_rows == TILE_ROWS)
			return;
		weights = u->c->q[chunk_group(b, 0, gap)];
		multiply_end(u, b, weights, u->sums[halves ? 2 * b : b], row_bytes);
		if (halves)
			multiply_end(u, b, weights + 64 * GAP, u->sums[2 * b + 1], row_bytes);
	}
}

/* Rows first .. first + n - 1 of a unit: what its products mean, added to what out holds. */
INLINE void add_rows(const struct unit *u, size_t first, enum chunk_kind kind,
		     const struct call *call, unsigned n)
{
	const size_t blocks = call->x->blocks;
	float whole[4][CHUNK_BLOCKS];
	struct chunk_row at[4];
	__m512 acc[4];

	for (unsigned r = 0; r < n; r++) {
		const size_t row = first + r;

		at[r] = (struct chunk_row){ .step = u->step + row * blocks,
					    .sum = u->sum + 2 * row * blocks,
					    .whole = whole[r] };
		if (kind == CHUNK_SCALED_MIN)
			chunk_wholes(at[r].sum, u->n_blocks, whole[r]);
		acc[r] = _mm512_loadu_ps(u->out + row * call->ldo);
	}
	for (size_t b = 0; b < u->n_blocks; b++) {
		const size_t t = chunk_has_halves(kind) ? 2 * b : b;

		for (unsigned r = 0; r < n; r++) {
			__m512 dots[2];

			dots[0] = _mm512_cvtepi32_ps(_mm512_load_si512(u->sums[t][first + r]));
			dots[1] = !chunk_has_halves(kind) ? dots[0]
							  : _mm512_cvtepi32_ps(_mm512_load_si512(
								    u->sums[t + 1][first + r]));
			acc[r] = chunk_add(acc[r], u->c, b, kind, at + r, dots);
		}
	}
	for (unsigned r = 0; r < n; r++)
		_mm512_storeu_ps(u->out + (first + r) * call->ldo, acc[r]);
}

/* The products of `now` while those of `before` are added up; either may be empty. */
INLINE void step(const struct unit *now, const struct unit *before, enum chunk_kind kind,
		 const struct call *call)
{
	for (unsigned turn = 0; turn < 4; turn++) {
		size_t r = 4 * turn;

		multiply(now, turn, chunk_has_halves(kind), 32 * call->x->blocks);
		if (r + 4 <= before->n_rows) {
			add_rows(before, r, kind, call, 4);
			continue;
		}
		for (; r < before->n_rows && r < 4 * turn + 4; r++)
			add_rows(before, r, kind, call, 1);
	}
}

typedef void step_of_kind(const struct unit *now, const struct unit *before,
			  const struct call *call);

#define STEP(name, kind)                                                                           \
	static void step_##name(const struct unit *now, const struct unit *before,                 \
				const struct call *call)                                           \
	{                                                                                          \
		step(now, before, kind, call);                                                     \
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

/* The unit with the rows from `row` on (of the call's), from block `at` on. */
INLINE struct unit unit_at(const struct call *call, size_t first, size_t row, size_t rows,
			   size_t at, float *out)
{
	const size_t i = (first + row) * call->x->blocks + at;

	return (struct unit){ .q = call->x->q + 32 * i,
			      .step = call->x->step + i,
			      .sum = call->x->sum + 2 * i,
			      .out = out + row * call->ldo,
			      .n_rows = rows - row < TILE_ROWS ? rows - row : TILE_ROWS };
}

/* The whole strip at src, as blocks of fill, with those rows. */
INLINE void add_strip(chunk_fill *fill, enum chunk_kind kind, const void *src,
		      const struct kern_acts *x, size_t first, size_t rows, float *out, size_t ldo)
{
	const size_t most = chunk_has_halves(kind) ? TILES / 2 : TILES;
	const struct call call = { .x = x, .ldo = ldo };
	struct unit now, before = { .n_rows = 0 };
	struct chunk chunks[2];
	_Alignas(64) sums products[2];
	unsigned turn = 0;

	if (chunk_has_halves(kind))
		memset(chunks, 0, sizeof(chunks));
	for (size_t r = 0; r < rows; r++)
		_mm512_storeu_ps(out + r * ldo, _mm512_setzero_ps());
	configure(rows % TILE_ROWS);
	for (size_t at = 0; at < x->blocks; at += most) {
		struct chunk *c = &chunks[at / most % 2];
		const size_t n = x->blocks - at < most ? x->blocks - at : most;

		fill(c, src, at, n, CHUNK_SIGNED, chunk_has_halves(kind) ? GAP : 0);
		publish(c);
		for (size_t row = 0; row < rows; row += TILE_ROWS, turn++) {
			now = unit_at(&call, first, row, rows, at, out);
			now.c = c;
			now.n_blocks = n;
			now.sums = products[turn % 2];
			steps[kind](&now, &before, &call);
			before = now;
		}
	}
	now = (struct unit){ .n_blocks = 0 };
	steps[kind](&now, &before, &call);
	_tile_release();
}

void strip_amx_strip(const struct kern_strips *w, size_t strip, const struct kern_acts *x,
		     size_t first, size_t rows, float *out, size_t ldo)
{
	const uint8_t *src = w->data + strip * w->strip_bytes;

	if (rows < FEWEST_ROWS)
		strip_avx512vnni_strip(w, strip, x, first, rows, out, ldo);
	else if (w->type == QUANT_Q4_0)
		add_strip(chunk_fill_q4_0, CHUNK_PLAIN, src, x, first, rows, out, ldo);
	else if (w->type == QUANT_Q8_0)
		add_strip(chunk_fill_q8_0, CHUNK_PLAIN, src, x, first, rows, out, ldo);
	else if (w->type == QUANT_Q4_K)
		add_strip(chunk_fill_q4_k, CHUNK_SCALED_MIN, src, x, first, rows, out, ldo);
	else
		add_strip(chunk_fill_q6_k, CHUNK_HALVES, src, x, first, rows, out, ldo);
}

void strip_amx_wide(const struct kern_wide *w, bool mins, const struct kern_acts *x, size_t first,
		    size_t rows, float *out, size_t ldo)
{
	if (rows < FEWEST_ROWS) {
		strip_avx512vnni_wide(w, mins, x, first, rows, out, ldo);
		return;
	}
	add_strip(chunk_fill_wide, chunk_kind_of(w, x->blocks, mins), w, x, first, rows, out, ldo);
}

void strip_amx_quantize(const float *x, size_t n, int8_t *q, float *step, int16_t *sum)
{
	strip_avx512vnni_quantize(x, n, q, step, sum);
}
