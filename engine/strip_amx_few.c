/* Compiled as strip_amx.c: Q4_0 and Q8_0 with few rows, such as a batch of sessions or a short
 * prompt has.
 *
 * Unpacking to bfloat16 (strip_amx.c) pays when many rows meet what was unpacked. Here tiles are of
 * 8-bit integers: codes of Q8_0 are one as they lie in memory, those of Q4_0 but for a subtraction.
 * A product of 32 columns is then an integer that has to become a float, one operation more, and
 * rows are read as they were rounded. Otherwise the way of a product is that of strip_amx.c: two
 * strips share a tile of rows and each step, products leave their tiles one unit later, and are
 * added up another unit later.
 *
 * Rows that are no multiple of 16 are cut into tiles of equally many, of which the last begins
 * where it ends with the last row: rows that it has in common with the one before are multiplied
 * twice. So no other rows are read, and all units take equally long. */
#include "engine/strip_amx.h"
#include "engine/strip_chunk.h"

#define TILE_ROWS 16
#define STRIPS    2
#define BLOCKS    2 /* of a unit */

#define NOINLINE  __attribute__((noinline))

/* Rows that meet a strip together. */
#define MOST_ROWS 64

/* Numbers of tiles must be words that the preprocessor knows. */
#define ROWS_0    0
#define ROWS_1    1
#define WEIGHTS_0 2
#define WEIGHTS_1 3
#define SUMS_00   4 /* block, strip */
#define SUMS_01   5
#define SUMS_10   6
#define SUMS_11   7

/* Half of 4 KiB apart from what is a multiple of that: what is loaded must not look as if it were
 * what is being stored. */
struct sums {
	_Alignas(64) int32_t at[BLOCKS][STRIPS][TILE_ROWS][16];
	uint8_t gap[2048];
};

/* Codes of Q4_0, unpacked: tiles. */
struct codes {
	_Alignas(64) uint8_t q[BLOCKS][8][64];
};

/* Two blocks of two strips against a tile of rows of activations. */
struct unit {
	const uint8_t *codes[STRIPS], *d[STRIPS]; /* of the first block */
	const int8_t *rows;
	const float *steps;
	float (*acc)[STRIPS][16];
};

/* Bytes and floats from one block or row to the next, and to what is asked for now: the same for
 * all units. */
struct apart {
	size_t codes, d, rows, steps, ahead;
};

struct work {
	struct sums sums[2];
	_Alignas(64) float acc[MOST_ROWS][STRIPS][16], rest[TILE_ROWS][STRIPS][16];
	struct codes codes[2][STRIPS]; /* multiplied; filled */
	struct unit units[3];          /* the newest */
	unsigned n_units, n_fills;
};

/* n strips with some rows. */
struct call {
	const struct kern_strips *w;
	size_t strip, n;
	const struct kern_acts *x;
	size_t first, rows; /* of x: at most MOST_ROWS */
	size_t tile_rows;   /* at most TILE_ROWS */
	float *out;
	size_t ldo;
	struct apart apart;
};

static void configure(size_t tile_rows)
{
	const uint8_t n = (uint8_t)tile_rows;
	const struct strip_amx_config c = {
		.palette = 1,
		.row_bytes = { 32, 32, 64, 64, 64, 64, 64, 64 },
		.rows = { n, n, 8, 8, n, n, n, n },
	};

	strip_amx_publish(&c);
	_tile_loadconfig(&c);
}

/* Four rows of a unit, which has n, from `row` on: what its integers mean, added to acc. Meanwhile
 * two strips are asked for, a line of each for every row, which is about what blocks of Q8_0 are:
 * all at once would stop everything else. */
INLINE void add_rows(const struct unit *u, size_t ld, const struct sums *sums,
		     __m512 d[BLOCKS][STRIPS], unsigned row, size_t n, const uint8_t *first,
		     const uint8_t *second)
{
#pragma GCC unroll 4
	for (unsigned r = row; r < row + 4; r++) {
		__m512 acc[STRIPS];

		_mm_prefetch((const char *)first + 64 * r, _MM_HINT_T0);
		_mm_prefetch((const char *)second + 64 * r, _MM_HINT_T0);
		if (r >= n)
			continue;
		acc[0] = _mm512_load_ps(u->acc[r][0]);
		acc[1] = _mm512_load_ps(u->acc[r][1]);
#pragma GCC unroll 2
		for (unsigned b = 0; b < BLOCKS; b++) {
			const __m512 step = _mm512_set1_ps(u->steps[r * ld + b]);

#pragma GCC unroll 2
			for (unsigned s = 0; s < STRIPS; s++) {
				const __m512i i = _mm512_load_si512(sums->at[b][s][r]);

				acc[s] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(i),
							 _mm512_mul_ps(d[b][s], step), acc[s]);
			}
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
		_tile_dpbssd(sums, rows_tile, weights_tile);                                       \
	} while (0)

/* The products of `now`, while those of the unit before, which are finished by now, go to `to`, and
 * those of the unit before that, which have come to `from`, are added up. */
INLINE void step(const struct unit *now, struct sums *to, const struct unit *older,
		 const struct sums *from, const struct apart *apart, size_t n)
{
	/* In registers: every load from here on may look like one of a tile that is stored. */
	const struct unit u = *now, v = *older;
	const struct apart a = *apart;
	const uint8_t *first = u.d[0] + a.ahead, *second = u.d[1] + a.ahead;
	__m512 d[BLOCKS][STRIPS];

#pragma GCC unroll 2
	for (unsigned b = 0; b < BLOCKS; b++) {
#pragma GCC unroll 2
		for (unsigned s = 0; s < STRIPS; s++)
			d[b][s] = chunk_halves(v.d[s] + b * a.d);
	}
	_tile_loadd(ROWS_0, u.rows, a.rows);
	PRODUCT(SUMS_00, to->at[0][0], ROWS_0, WEIGHTS_0, u.codes[0]);
	add_rows(&v, a.steps, from, d, 0, n, first, second);
	PRODUCT(SUMS_01, to->at[0][1], ROWS_0, WEIGHTS_1, u.codes[1]);
	add_rows(&v, a.steps, from, d, 4, n, first, second);
	_tile_loadd(ROWS_1, u.rows + 32, a.rows);
	PRODUCT(SUMS_10, to->at[1][0], ROWS_1, WEIGHTS_0, u.codes[0] + a.codes);
	add_rows(&v, a.steps, from, d, 8, n, first, second);
	PRODUCT(SUMS_11, to->at[1][1], ROWS_1, WEIGHTS_1, u.codes[1] + a.codes);
	add_rows(&v, a.steps, from, d, 12, n, first, second);
}

static NOINLINE void whole_step(const struct unit *now, struct sums *to, const struct unit *older,
				const struct sums *from, const struct apart *apart)
{
	step(now, to, older, from, apart, TILE_ROWS);
}

static NOINLINE void part_step(const struct unit *now, struct sums *to, const struct unit *older,
			       const struct sums *from, const struct apart *apart, size_t n)
{
	step(now, to, older, from, apart, n);
}

INLINE void take_step(struct work *w, const struct call *call)
{
	const unsigned n = w->n_units++;
	const struct unit *now = &w->units[n % 3], *older = &w->units[(n + 1) % 3];
	struct sums *to = &w->sums[(n + 1) % 2], *from = &w->sums[n % 2];

	if (call->tile_rows == TILE_ROWS)
		whole_step(now, to, older, from, &call->apart);
	else
		part_step(now, to, older, from, &call->apart, call->tile_rows);
}

INLINE void unpack(struct codes *to, const uint8_t *src)
{
	const __m512i mid = _mm512_set1_epi8(8);

	for (unsigned b = 0; b < BLOCKS; b++, src += 288) {
		for (unsigned v = 0; v < 4; v++) {
			const __m512i nib = chunk_vector(src + 32 + 64 * v);

			_mm512_store_si512(to->q[b][v], _mm512_sub_epi8(chunk_low(nib), mid));
			_mm512_store_si512(to->q[b][v + 4], _mm512_sub_epi8(chunk_high(nib), mid));
		}
	}
}

/* Where two blocks of strip i of the call begin. Where the strips are an odd number the last one is
 * its own neighbour. */
INLINE const uint8_t *blocks_at(const struct call *call, size_t i, size_t block)
{
	i = i < call->n ? i : call->n - 1;
	return call->w->data + (call->strip + i) * call->w->strip_bytes + block * call->apart.d;
}

/* Two strips from number i on, two blocks: nibbles become bytes; none behind the last strip. */
INLINE void fill(struct work *w, const struct call *call, size_t i, size_t block)
{
	struct codes *to = w->codes[w->n_fills++ % 2];

	for (size_t s = 0; s < STRIPS && i < call->n; s++)
		unpack(&to[s], blocks_at(call, i + s, block));
	strip_amx_publish(w);
}

/* The first row of the tile of which results are at `slot` and behind. */
INLINE size_t row_of(const struct call *call, size_t slot)
{
	const size_t last = call->rows - call->tile_rows;

	return slot < last ? slot : last;
}

/* Two blocks that were filled last but one, and a tile of rows. */
INLINE void set_unit(struct unit *u, struct work *w, const struct call *call, size_t i,
		     size_t block, size_t slot, bool nibbles)
{
	const struct kern_acts *x = call->x;
	const size_t at = (call->first + row_of(call, slot)) * x->ld + block;
	const struct codes *codes = w->codes[w->n_fills % 2];

	for (size_t s = 0; s < STRIPS; s++) {
		u->d[s] = blocks_at(call, i + s, block);
		u->codes[s] = nibbles ? codes[s].q[0][0] : u->d[s] + 32;
	}
	u->rows = x->q + 32 * at;
	u->steps = x->step + at;
	u->acc = w->acc + slot;
}

/* What has come together for strips i and i + 1 goes out. */
static void put_out(struct work *w, const struct call *call, size_t i)
{
	for (size_t slot = 0; slot < call->rows; slot += call->tile_rows) {
		float *out = call->out + row_of(call, slot) * call->ldo + i * KERN_STRIP;

		for (size_t r = slot; r < slot + call->tile_rows; r++, out += call->ldo) {
			_mm512_storeu_ps(out, _mm512_load_ps(w->acc[r][0]));
			if (i + 1 < call->n)
				_mm512_storeu_ps(out + KERN_STRIP, _mm512_load_ps(w->acc[r][1]));
			_mm512_store_ps(w->acc[r][0], _mm512_setzero_ps());
			_mm512_store_ps(w->acc[r][1], _mm512_setzero_ps());
		}
	}
}

/* All units of two strips from number i on, of which the last two are added up by later steps. */
INLINE void add_strips(struct work *w, const struct call *call, size_t i, bool nibbles)
{
	const size_t blocks = call->x->blocks;
	unsigned turns = 0;

	for (size_t b = 0; b < blocks; b += BLOCKS) {
		if (nibbles && b + BLOCKS < blocks)
			fill(w, call, i, b + BLOCKS);
		else if (nibbles)
			fill(w, call, i + STRIPS, 0);
		for (size_t r = 0; r < call->rows; r += call->tile_rows) {
			set_unit(&w->units[w->n_units % 3], w, call, i, b, r, nibbles);
			take_step(w, call);
			if (++turns == 2 && i)
				put_out(w, call, i - STRIPS);
		}
	}
}

/* A unit whose sums nobody reads stands for those that are missing at both ends. */
INLINE void run_strips(const struct call *call, bool nibbles)
{
	struct work w;
	struct unit none;
	size_t i;

	memset(w.sums, 0, sizeof(w.sums));
	memset(w.acc, 0, sizeof(w.acc));
	memset(w.rest, 0, sizeof(w.rest));
	w.n_units = w.n_fills = 0;
	if (nibbles)
		fill(&w, call, 0, 0);
	set_unit(&none, &w, call, 0, 0, 0, nibbles);
	none.acc = w.rest;
	w.units[0] = w.units[1] = w.units[2] = none;
	for (i = 0; i < call->n; i += STRIPS)
		add_strips(&w, call, i, nibbles);
	for (unsigned last = 0; last < 2; last++) {
		w.units[w.n_units % 3] = none;
		take_step(&w, call);
	}
	put_out(&w, call, i - STRIPS);
}

static void run_q4_0(struct call call)
{
	call.apart.d = 288;
	call.apart.ahead = CHUNK_AHEAD * 288;
	call.apart.codes = sizeof(struct codes) / BLOCKS;
	run_strips(&call, true);
}

static void run_q8_0(struct call call)
{
	call.apart.d = call.apart.codes = 544;
	call.apart.ahead = CHUNK_AHEAD * 544;
	run_strips(&call, false);
}

bool strip_amx_few_fits(const struct kern_acts *x)
{
	/* Two strips must have at least two units. */
	return x->group == 1 && x->blocks % BLOCKS == 0 && x->blocks > BLOCKS;
}

static void run_rows(struct call call)
{
	configure(call.tile_rows);
	if (call.w->type == QUANT_Q4_0)
		run_q4_0(call);
	else
		run_q8_0(call);
}

void strip_amx_few(const struct kern_strips *w, size_t strip, size_t n_strips,
		   const struct kern_acts *x, size_t first, size_t rows, float *out, size_t ldo)
{
	for (size_t r = 0, n; r < rows; r += n) {
		n = rows - r < MOST_ROWS ? rows - r : MOST_ROWS;
		run_rows((struct call){ .w = w,
					.strip = strip,
					.n = n_strips,
					.x = x,
					.first = first + r,
					.rows = n,
					.tile_rows = strip_amx_tile_rows(n),
					.out = out + r * ldo,
					.ldo = ldo,
					.apart = { .rows = 32 * x->ld, .steps = x->ld } });
	}
	_tile_release();
}
