/* Compiled for AVX-512 F, BW, DQ, VL, VNNI and FP16 and for AMX tiles of bfloat16; kern.c looks,
 * and asks the system for the tiles, before it calls.
 *
 * Codes and rounded activations have at most 8 bits, which bfloat16 holds exactly, and the sums of
 * 32 products stay below 2^24: TDPBF16PS gives the integers of a block as floats, and rounds none.
 * (Weights are 2^-104 of what they count, activations 2^104: that is what comes out when a half
 * float's bits are moved to where bfloat16 has them.) A product has 16 rows of activations and the
 * 16 weight rows of a strip. It must leave the tile to be scaled: it is stored to a buffer, and
 * vectors take it from there, a multiplication and a fused one for each row. While any tile
 * instruction is under way these have one port, so they are the limit, and all else is arranged to
 * go on beside them:
 *
 * - Two strips share each tile of activations and each row's step.
 * - A tile is stored two products later, when it is finished; vectors are a unit (two blocks of two
 *   strips and 16 rows) behind the tiles, also from one strip to the next.
 * - Blocks are unpacked one ahead: loads of tiles wait until what they read is in the cache.
 * - Results go out a tile of rows after each step, to lines that were asked for: all at once they
 *   would fill the buffer for stores, in which tiles are stored, too.
 * - Rows of activations lie as the tiles need them, made once for all strips (strip_amx_tiles);
 *   sums stay here until a strip is done, since rows of the result are a multiple of 4 KiB apart
 *   in many models, which leaves them one set of the first-level cache.
 *
 * Types with super-blocks are in strip_amx_super.c, few rows in strip_amx_few.c, which also takes
 * those behind the last whole tile; very few are left to AVX-512 VNNI. */
#include "engine/strip_amx.h"
#include "engine/strip_chunk.h"

#define TILE_ROWS  16
#define TILE_BYTES 1024
#define STRIPS     2
#define BLOCKS     2 /* of a unit */

/* What is not in a step, and not often: 10 % of a product hang on that. */
#define NOINLINE __attribute__((noinline))

/* Rows that meet a strip together. */
#define MOST_ROWS 192

/* One is multiplied and one filled; of another two the factors are still needed. */
#define CHUNKS  2
#define FACTORS 4

/* Numbers of tiles must be words that the preprocessor knows. */
#define ROWS_0    0
#define ROWS_1    1
#define WEIGHTS_0 2
#define WEIGHTS_1 3
#define SUMS_00   4 /* block, strip */
#define SUMS_01   5
#define SUMS_10   6
#define SUMS_11   7

/* Codes of a block as a tile. Row 4 s + v: of vector v (pack.h) bytes 0 and 2 of each weight row
 * (s < 2) or bytes 1 and 3, low halves (s even) or high ones. */
struct codes {
	_Alignas(64) uint16_t q[16][32];
};

/* Its d, of 16 weight rows. */
struct factors {
	_Alignas(64) float d[16];
};

/* Products on their way out. Of two units in turn, half of 4 KiB apart from what is a multiple of
 * that: what is loaded must not look as if it were what is being stored. */
struct sums {
	_Alignas(64) float at[BLOCKS][STRIPS][TILE_ROWS][16];
	uint8_t gap[2048];
};

/* Two blocks of two strips against 16 rows of activations. */
struct unit {
	const struct codes (*w)[STRIPS];
	const struct factors (*d)[STRIPS];
	const uint8_t *rows;             /* two tiles */
	const float (*steps)[TILE_ROWS]; /* of these */
	float (*acc)[STRIPS][16];
};

/* What a call works with: in the first-level cache. */
struct work {
	struct sums sums[2];
	_Alignas(64) float acc[MOST_ROWS][STRIPS][16], rest[TILE_ROWS][STRIPS][16];
	struct codes codes[CHUNKS][BLOCKS][STRIPS];
	struct factors factors[FACTORS][BLOCKS][STRIPS];
};

/* Writes the codes and factors of one block at number `at` of the strip at src. */
typedef void fill_block(struct codes *to, struct factors *f, const uint8_t *src, size_t at);

/* Codes -8..7 by their four bits, whatever is in the fifth, times 2^-104: 16 bits each. */
INLINE __m512i codes_q4_0(void)
{
	static const _Alignas(64) uint16_t codes[32] = {
		0x8d00, 0x8ce0, 0x8cc0, 0x8ca0, 0x8c80, 0x8c40, 0x8c00, 0x8b80,
		0x0000, 0x0b80, 0x0c00, 0x0c40, 0x0c80, 0x0ca0, 0x0cc0, 0x0ce0,
		0x8d00, 0x8ce0, 0x8cc0, 0x8ca0, 0x8c80, 0x8c40, 0x8c00, 0x8b80,
		0x0000, 0x0b80, 0x0c00, 0x0c40, 0x0c80, 0x0ca0, 0x0cc0, 0x0ce0,
	};

	return _mm512_load_si512(codes);
}

INLINE void fill_q4_0(struct codes *to, struct factors *f, const uint8_t *src, size_t at)
{
	const uint8_t *p = src + at * 288;
	const __m512i codes = codes_q4_0();

	chunk_prefetch(p, 288);
	_mm512_store_ps(f->d, chunk_halves(p));
	for (unsigned v = 0; v < 4; v++) {
		__m512i nib = chunk_vector(p + 32 + 64 * v);

		_mm512_store_si512(to->q[v], _mm512_permutexvar_epi16(nib, codes));
		_mm512_store_si512(to->q[4 + v],
				   _mm512_permutexvar_epi16(_mm512_srli_epi16(nib, 4), codes));
		_mm512_store_si512(to->q[8 + v],
				   _mm512_permutexvar_epi16(_mm512_srli_epi16(nib, 8), codes));
		_mm512_store_si512(to->q[12 + v],
				   _mm512_permutexvar_epi16(_mm512_srli_epi16(nib, 12), codes));
	}
}

/* 32 codes, each in the upper byte of its word, as bfloat16 times 2^-104: a half float with its
 * exponent and ten bits three places lower, of which all but seven are 0. */
INLINE __m512i codes_q8_0(__m512i upper)
{
	__m512i half = _mm512_castph_si512(_mm512_cvtepi16_ph(upper));

	return _mm512_and_si512(_mm512_srai_epi16(half, 3), _mm512_set1_epi16((int16_t)0x8fff));
}

INLINE void fill_q8_0(struct codes *to, struct factors *f, const uint8_t *src, size_t at)
{
	const uint8_t *p = src + at * 544;
	const __m512i upper = _mm512_set1_epi16((int16_t)0xff00);

	chunk_prefetch(p, 544);
	_mm512_store_ps(f->d, chunk_halves(p));
	for (unsigned g = 0; g < 8; g++) {
		__m512i codes = chunk_vector(p + 32 + 64 * g);

		_mm512_store_si512(to->q[g], codes_q8_0(_mm512_slli_epi16(codes, 8)));
		_mm512_store_si512(to->q[8 + g], codes_q8_0(_mm512_and_si512(codes, upper)));
	}
}

/* Four rows of a unit from `row` on: what its products mean, added to acc. */
INLINE void add_rows(const struct unit *u, const struct sums *sums, __m512 d[BLOCKS][STRIPS],
		     unsigned row)
{
#pragma GCC unroll 4
	for (unsigned r = row; r < row + 4; r++) {
		__m512 acc[STRIPS] = { _mm512_load_ps(u->acc[r][0]), _mm512_load_ps(u->acc[r][1]) };

#pragma GCC unroll 2
		for (unsigned b = 0; b < BLOCKS; b++) {
			const __m512 step = _mm512_set1_ps(u->steps[b][r]);

#pragma GCC unroll 2
			for (unsigned s = 0; s < STRIPS; s++)
				acc[s] = _mm512_fmadd_ps(_mm512_load_ps(sums->at[b][s][r]),
							 _mm512_mul_ps(d[b][s], step), acc[s]);
		}
		_mm512_store_ps(u->acc[r][0], acc[0]);
		_mm512_store_ps(u->acc[r][1], acc[1]);
	}
}

/* The product of the block at `weights` with ROWS_0 or ROWS_1; what is in its tile goes to `to`. */
#define PRODUCT(sums, to, rows_tile, weights_tile, weights)                                        \
	do {                                                                                       \
		_tile_loadd(weights_tile, weights, 64);                                            \
		_tile_stored(sums, to, 64);                                                        \
		_tile_zero(sums);                                                                  \
		_tile_dpbf16ps(sums, rows_tile, weights_tile);                                     \
	} while (0)

/* The products of `now`, while those of the unit before, which are finished by now, go to `to`, and
 * those of the unit before that, which have come to `from`, are added up. */
static void step(const struct unit *now, struct sums *to, const struct unit *older,
		 const struct sums *from)
{
	/* In registers: every load from here on may look like one of a tile that is stored. */
	const struct unit u = *now, v = *older;
	__m512 d[BLOCKS][STRIPS];

#pragma GCC unroll 2
	for (unsigned b = 0; b < BLOCKS; b++) {
#pragma GCC unroll 2
		for (unsigned s = 0; s < STRIPS; s++)
			d[b][s] = _mm512_load_ps(v.d[b][s].d);
	}
	_tile_loadd(ROWS_0, u.rows, 64);
	PRODUCT(SUMS_00, to->at[0][0], ROWS_0, WEIGHTS_0, u.w[0][0].q);
	add_rows(&v, from, d, 0);
	PRODUCT(SUMS_01, to->at[0][1], ROWS_0, WEIGHTS_1, u.w[0][1].q);
	add_rows(&v, from, d, 4);
	_tile_loadd(ROWS_1, u.rows + TILE_BYTES, 64);
	PRODUCT(SUMS_10, to->at[1][0], ROWS_1, WEIGHTS_0, u.w[1][0].q);
	add_rows(&v, from, d, 8);
	PRODUCT(SUMS_11, to->at[1][1], ROWS_1, WEIGHTS_1, u.w[1][1].q);
	add_rows(&v, from, d, 12);
}

/* n strips with some rows, as blocks of fill. */
struct call {
	fill_block *fill;
	const struct kern_strips *w;
	size_t strip, n;
	const struct kern_acts *x;
	size_t first, rows; /* of x: multiples of TILE_ROWS; rows at most MOST_ROWS */
	float *out;
	size_t ldo;
};

/* The next blocks to unpack. */
struct cursor {
	size_t strip, block; /* strips of the call */
	unsigned chunk;
};

INLINE const uint8_t *strip_at(const struct call *call, size_t i)
{
	/* Where the strips are an odd number the last one is its own neighbour. */
	i = i < call->n ? i : call->n - 1;
	return call->w->data + (call->strip + i) * call->w->strip_bytes;
}

/* Blocks at the cursor, which moves on; none behind the last strip. */
INLINE void fill_chunk(struct work *w, const struct call *call, struct cursor *at)
{
	struct codes(*to)[STRIPS] = w->codes[at->chunk % CHUNKS];
	struct factors(*f)[STRIPS] = w->factors[at->chunk % FACTORS];

	if (at->strip >= call->n)
		return;
	for (size_t s = 0; s < STRIPS; s++) {
		const uint8_t *src = strip_at(call, at->strip + s);

		call->fill(&to[0][s], &f[0][s], src, at->block);
		if (at->block + 1 < call->x->blocks) {
			call->fill(&to[1][s], &f[1][s], src, at->block + 1);
			continue;
		}
		memset(&to[1][s], 0, sizeof(to[1][s]));
		memset(&f[1][s], 0, sizeof(f[1][s]));
	}
	strip_amx_publish(to);
	at->chunk++;
	at->block += BLOCKS;
	if (at->block >= call->x->blocks) {
		at->block = 0;
		at->strip += STRIPS;
	}
}

/* Strips i and i + 1 of a tile of rows of the result. */
INLINE float *out_of(const struct call *call, size_t i, size_t row)
{
	return call->out + row * call->ldo + i * KERN_STRIP;
}

/* Their lines will be written soon. (GCC 12 takes what has but builtin prefetches for nothing, and
 * leaves calls of it out.) */
static NOINLINE void ask_out(const struct call *call, size_t i, size_t row)
{
	const float *out = out_of(call, i, row);

	for (size_t r = 0; r < TILE_ROWS; r++, out += call->ldo) {
		__asm__ volatile("prefetchw %0" : : "m"(*out));
		__asm__ volatile("prefetchw %0" : : "m"(out[KERN_STRIP]));
	}
}

/* What has come together for them goes out. */
static NOINLINE void put_out(struct work *w, const struct call *call, size_t i, size_t row)
{
	float *out = out_of(call, i, row);

	for (size_t r = row; r < row + TILE_ROWS; r++, out += call->ldo) {
		_mm512_storeu_ps(out, _mm512_load_ps(w->acc[r][0]));
		if (i + 1 < call->n)
			_mm512_storeu_ps(out + KERN_STRIP, _mm512_load_ps(w->acc[r][1]));
		_mm512_store_ps(w->acc[r][0], _mm512_setzero_ps());
		_mm512_store_ps(w->acc[r][1], _mm512_setzero_ps());
	}
}

/* Number of the two tiles for `block`, of an even number, and rows from `row` on. Rows that are
 * multiplied one after the other lie so, which is how the cache has them in time. */
INLINE size_t tiles_at(const struct kern_acts *x, size_t row, size_t block)
{
	return block / BLOCKS * (x->tile_rows / TILE_ROWS) + row / TILE_ROWS;
}

/* Those two, and their steps, which lie behind all tiles. */
INLINE uint8_t *tiles_of(const struct kern_acts *x, size_t at)
{
	return x->tiles + at * BLOCKS * TILE_BYTES;
}

INLINE float (*steps_of(const struct kern_acts *x, size_t at))[TILE_ROWS]
{
	float(*steps)[TILE_ROWS] = (void *)tiles_of(x, tiles_at(x, 0, x->blocks + 1));

	return steps + at * BLOCKS;
}

/* The newest units, and how many there were. */
struct units {
	struct unit of[3];
	unsigned n;
};

INLINE void take_step(struct work *w, struct units *u)
{
	const unsigned n = u->n++;

	step(&u->of[n % 3], &w->sums[(n + 1) % 2], &u->of[(n + 1) % 3], &w->sums[n % 2]);
}

/* After step `turn` of strips i and i + 1, of so many: what the strips before have for a tile of
 * rows was finished by this step at the latest, and the next begins it anew. Lines are asked for
 * two steps before they are written. */
INLINE void finish_rows(struct work *w, const struct call *call, size_t i, size_t turn,
			size_t turns)
{
	const size_t tiles = call->rows / TILE_ROWS;

	if (turn + 1 == turns)
		ask_out(call, i, 0);
	if (!i || turn > tiles)
		return;
	if (turn + 1 < tiles)
		ask_out(call, i - STRIPS, (turn + 1) * TILE_ROWS);
	if (turn)
		put_out(w, call, i - STRIPS, (turn - 1) * TILE_ROWS);
}

/* All units of two strips from number i on, of which the last two are added up by later steps. */
INLINE void add_strips(struct work *w, const struct call *call, size_t i, struct cursor *at,
		       struct units *units)
{
	const size_t blocks = call->x->blocks;
	const size_t turns = (blocks + 1) / BLOCKS * (call->rows / TILE_ROWS);
	size_t turn = 0;

	for (size_t b = 0; b < blocks; b += BLOCKS) {
		const unsigned chunk = at->chunk - 1;
		size_t tiles = tiles_at(call->x, call->first, b);

		fill_chunk(w, call, at);
		for (size_t r = 0; r < call->rows; r += TILE_ROWS, tiles++) {
			struct unit *u = &units->of[units->n % 3];

			u->w = (const struct codes(*)[STRIPS])w->codes[chunk % CHUNKS];
			u->d = (const struct factors(*)[STRIPS])w->factors[chunk % FACTORS];
			u->rows = tiles_of(call->x, tiles);
			u->steps = (const float(*)[TILE_ROWS])steps_of(call->x, tiles);
			u->acc = w->acc + r;
			take_step(w, units);
			finish_rows(w, call, i, turn++, turns);
		}
	}
}

INLINE void run_strips(const struct call *call)
{
	static const struct codes nothing[BLOCKS][STRIPS];
	static const struct factors zeros[BLOCKS][STRIPS];
	struct work w;
	const struct unit none = { .w = nothing,
				   .d = zeros,
				   .rows = call->x->tiles,
				   .steps = (const float(*)[TILE_ROWS])steps_of(call->x, 0),
				   .acc = w.rest };
	struct cursor at = { 0 };
	struct units units = { .of = { none, none, none } };
	size_t i;

	memset(w.sums, 0, sizeof(w.sums));
	memset(w.acc, 0, call->rows * sizeof(w.acc[0]));
	memset(w.rest, 0, sizeof(w.rest));
	fill_chunk(&w, call, &at);
	for (i = 0; i < call->n; i += STRIPS)
		add_strips(&w, call, i, &at, &units);
	for (unsigned last = 0; last < 2; last++) {
		units.of[units.n % 3] = none;
		take_step(&w, &units);
	}
	for (size_t r = 0; r < call->rows; r += TILE_ROWS)
		put_out(&w, call, i - STRIPS, r);
}

static void run_q4_0(struct call call)
{
	call.fill = fill_q4_0;
	run_strips(&call);
}

static void run_q8_0(struct call call)
{
	call.fill = fill_q8_0;
	run_strips(&call);
}

/* Whole tiles of rows with Q4_0 or Q8_0. */
static void run_tiles(const struct kern_strips *w, size_t strip, size_t n,
		      const struct kern_acts *x, size_t first, size_t rows, float *out, size_t ldo)
{
	strip_amx_configure(TILE_ROWS);
	for (size_t r = 0; r < rows; r += MOST_ROWS) {
		const struct call call = { .w = w,
					   .strip = strip,
					   .n = n,
					   .x = x,
					   .first = first + r,
					   .rows = rows - r < MOST_ROWS ? rows - r : MOST_ROWS,
					   .out = out + r * ldo,
					   .ldo = ldo };

		if (w->type == QUANT_Q4_0)
			run_q4_0(call);
		else
			run_q8_0(call);
	}
	_tile_release();
}

static bool has_tiles(const struct kern_acts *x, size_t first)
{
	/* Two strips must have at least two units. */
	return x->tiles && first % TILE_ROWS == 0 && x->blocks > BLOCKS;
}

/* Whether tiles pay for so many rows: one that few rows share takes nearly as long as a whole one,
 * and AVX-512 VNNI as long as there are rows. Measured: docs/decisions.md, 97. */
static bool pays(enum quant_type type, size_t rows)
{
	switch (type) {
	case QUANT_Q8_0:
		return rows >= 3;
	case QUANT_Q6_K:
		return rows >= 9;
	default:
		return rows >= 6;
	}
}

/* How many of the rows meet tiles of bfloat16: whole tiles. */
static size_t run_many(const struct kern_strips *w, size_t strip, size_t n,
		       const struct kern_acts *x, size_t first, size_t rows, float *out, size_t ldo)
{
	const size_t whole = rows / TILE_ROWS * TILE_ROWS;

	if (!whole || x->group > 1 || !has_tiles(x, first))
		return 0;
	run_tiles(w, strip, n, x, first, whole, out, ldo);
	return whole;
}

/* Whether the rows meet other tiles. */
static bool run_few(const struct kern_strips *w, size_t strip, size_t n, const struct kern_acts *x,
		    size_t first, size_t rows, float *out, size_t ldo)
{
	if (!pays(w->type, rows) || (x->group == 1 && !strip_amx_few_fits(x)))
		return false;
	if (x->group > 1)
		strip_amx_super(w, strip, n, x, first, rows, out, ldo);
	else
		strip_amx_few(w, strip, n, x, first, rows, out, ldo);
	return true;
}

void strip_amx_strip(const struct kern_strips *w, size_t strip, size_t n, const struct kern_acts *x,
		     size_t first, size_t rows, float *out, size_t ldo)
{
	const size_t done = run_many(w, strip, n, x, first, rows, out, ldo);

	first += done;
	rows -= done;
	out += done * ldo;
	if (rows && !run_few(w, strip, n, x, first, rows, out, ldo))
		strip_avx512vnni_strip(w, strip, n, x, first, rows, out, ldo);
}

/* 16 codes, each in the uppermost byte of its lane, where it counts 2^24, as floats times 2^104. */
INLINE __m512i row_codes(__m512i ints)
{
	const __m512i top = _mm512_set1_epi32((int32_t)0xff000000);
	const __m512 x = _mm512_cvtepi32_ps(_mm512_and_si512(ints, top));

	return _mm512_castps_si512(_mm512_mul_ps(x, _mm512_set1_ps(0x1p80f)));
}

/* In the order of struct block: of each four codes the first and third, then of each four the
 * second and fourth. Where blocks are odd there is one of zeros. */
void strip_amx_tiles(const struct kern_acts *x, size_t row)
{
	static const _Alignas(64) int32_t left[2][16] = {
		{ 24, 24, 24, 24, 24, 24, 24, 24, 16, 16, 16, 16, 16, 16, 16, 16 },
		{ 8, 8, 8, 8, 8, 8, 8, 8, 0, 0, 0, 0, 0, 0, 0, 0 },
	};
	const __m512i even = _mm512_load_si512(left[0]), odd = _mm512_load_si512(left[1]);
	const size_t blocks = x->blocks;

	for (size_t b = 0; b < blocks + blocks % BLOCKS; b++) {
		const size_t i = row * x->ld + b, at = tiles_at(x, row, b);
		__m512i low = _mm512_setzero_si512(), high = low;

		if (b < blocks) {
			const __m512i q = _mm512_broadcast_i64x4(
				_mm256_loadu_si256((const __m256i *)(const void *)(x->q + 32 * i)));

			low = row_codes(_mm512_sllv_epi32(q, even));
			high = row_codes(_mm512_sllv_epi32(q, odd));
		}
		_mm512_store_si512(tiles_of(x, at) + b % BLOCKS * TILE_BYTES +
					   64 * (row % TILE_ROWS),
				   _mm512_or_si512(_mm512_srli_epi32(low, 16), high));
		steps_of(x, at)[b % BLOCKS][row % TILE_ROWS] = b < blocks ? x->step[i] : 0;
	}
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
