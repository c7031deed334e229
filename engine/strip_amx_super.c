/* Compiled as strip_amx.c: types with super-blocks on tiles.
 *
 * What would have to leave the tiles for each block, to be multiplied by its scale, stays: weights
 * are multiplied by their scales when they are unpacked. Such a product does not fit 8 bits, but
 * two digits do: of Q4_K the codes times the upper and the lower half of their scale, of Q6_K the
 * bytes of the product. So a super-block of 16 weight rows and 16 rows of activations takes four
 * products of whole tiles for each digit, and leaves two tiles of integers.
 *
 * While tiles are at work one of two ports takes floats and multiplications; the other one still
 * takes additions and shifts. Stores of tiles have to be in the cache before vectors may read what
 * they stored. So three units (a super-block and 16 rows) are under way at a time: the products of
 * one are made, the tiles of the one before are stored, and the integers of the one before that
 * become floats. Measured: docs/decisions.md, 88. */
#include "engine/strip_amx.h"

#include "engine/strip_chunk.h"

#define TILE_ROWS 16

/* Rows and strips that meet, and rows times super-blocks until another strip's turn. */
#define MOST_ROWS   96
#define MOST_STRIPS 8
#define MOST_PARTS  768

/* Columns of a tile of weights, and how many of them a super-block is. */
#define TILE_COLUMNS 64
#define TILES        4

/* Numbers of tiles must be words that the preprocessor knows. */
#define LOW_0   0
#define HIGH_0  1
#define LOW_1   2
#define HIGH_1  3
#define ROWS    4
#define WEIGHTS 5

/* Digits of a super-block of a strip: products of codes and scales. */
struct digits {
	_Alignas(64) uint8_t low[TILES][16][TILE_COLUMNS]; /* without sign */
	_Alignas(64) uint8_t high[TILES][16][TILE_COLUMNS];
};

/* What else there is of it; minimums of blocks 2i and 2i + 1. */
struct factors {
	_Alignas(64) float d[16];
	float m[16];
	int16_t min[4][16][2];
};

/* What there is of a row and a super-block but codes: their sums in blocks 2i and 2i + 1. */
struct part {
	_Alignas(16) int16_t sum[4][2];
	float step;
	uint32_t unused[3];
};

struct unit {
	const struct digits *digits;
	const struct factors *factors;
	const int8_t *q; /* of the first row, from the super-block on */
	const struct part *parts;
	float (*acc)[16];
};

/* What a call works with. */
struct work {
	_Alignas(64) int32_t sums[2][2][TILE_ROWS][16];      /* of every other unit: low, high */
	_Alignas(64) float acc[MOST_STRIPS * MOST_ROWS][16]; /* [strip][row] */
	struct digits digits[2];
	struct factors factors[4];
	struct part parts[MOST_PARTS]; /* [super-block][row] */
};

/* Some super-blocks of some strips with some rows. */
struct call {
	const uint8_t *src; /* of the first super-block of the first strip */
	size_t strip_bytes;
	size_t strips, supers; /* at most MOST_STRIPS, MOST_PARTS / rows */
	const int8_t *q;       /* of the first row, from the first super-block on */
	size_t row_bytes;
	size_t rows;      /* at most MOST_ROWS */
	size_t tile_rows; /* strip_amx_tile_rows */
	size_t slots;     /* rows of all tiles together */
};

/* Digits and factors of the super-block at src. */
typedef void fill_super(struct digits *to, struct factors *f, const uint8_t *src);

/* Both 16-bit halves of each lane are the lane's low half. */
INLINE __m512i twice(__m512i a)
{
	return _mm512_or_si512(_mm512_and_si512(a, _mm512_set1_epi32(0xffff)),
			       _mm512_slli_epi32(a, 16));
}

/* Two codes of 4 bits times a digit of 3 bits do not get into each other's way in 16 bits. */
INLINE void fill_q4_k(struct digits *to, struct factors *f, const uint8_t *src)
{
	__m512i before = _mm512_setzero_si512();

	_mm512_store_ps(f->d, chunk_halves(src));
	_mm512_store_ps(f->m, _mm512_sub_ps(_mm512_set1_ps(-0.0f), chunk_halves(src + 32)));
#pragma GCC unroll 8
	for (unsigned b = 0; b < CHUNK_BLOCKS; b++) {
		const uint8_t *nibbles = src + 256 + 256 * b;
		uint8_t(*low)[64] = to->low[b / 2] + b % 2 * 8;
		uint8_t(*high)[64] = to->high[b / 2] + b % 2 * 8;
		__m128i scale, min;
		__m512i both, upper, lower, mins;

		chunk_prefetch(src + 288 * b, 288);
		chunk_scales_q4_k(src, b, &scale, &min);
		both = twice(_mm512_cvtepu8_epi32(scale));
		upper = _mm512_srli_epi16(both, 3);
		lower = _mm512_and_si512(both, _mm512_set1_epi16(7));
		mins = _mm512_cvtepu8_epi32(min);
		if (b % 2)
			_mm512_store_si512(f->min[b / 2],
					   _mm512_or_si512(before, _mm512_slli_epi32(mins, 16)));
		before = mins;
		for (unsigned v = 0; v < 4; v++) {
			const __m512i nib = chunk_vector(nibbles + 64 * v);
			const __m512i first = chunk_low(nib), second = chunk_high(nib);

			_mm512_store_si512(low[v], _mm512_mullo_epi16(first, lower));
			_mm512_store_si512(low[v + 4], _mm512_mullo_epi16(second, lower));
			_mm512_store_si512(high[v], _mm512_mullo_epi16(first, upper));
			_mm512_store_si512(high[v + 4], _mm512_mullo_epi16(second, upper));
		}
	}
}

/* Products have 14 bits. */
INLINE void fill_q6_k(struct digits *to, struct factors *f, const uint8_t *src)
{
	const __mmask64 odd = 0xaaaaaaaaaaaaaaaa;

	_mm512_store_ps(f->d, chunk_halves(src));
#pragma GCC unroll 8
	for (unsigned b = 0; b < CHUNK_BLOCKS; b++) {
		const uint8_t *nibbles = src + 288 + 256 * b, *bits = src + 2336 + 128 * b;
		uint8_t(*low)[64] = to->low[b / 2] + b % 2 * 8;
		uint8_t(*high)[64] = to->high[b / 2] + b % 2 * 8;

		chunk_prefetch(src + 420 * b, 420);
		for (unsigned half = 0; half < 2; half++) {
			const __m128i scale = chunk_bytes(src + 32 + 32 * b + 16 * half);
			const __m512i both = twice(_mm512_cvtepi8_epi32(scale));
			const __m512i even_scale = _mm512_and_si512(both, _mm512_set1_epi16(0xff));
			const __m512i odd_scale = _mm512_slli_epi16(both, 8);
			const __m512i mid = _mm512_slli_epi16(both, 5);

			for (unsigned k = 0; k < 4; k++) {
				const __m512i c = chunk_codes_q6_k(nibbles, bits, half, k);
				const __m512i x =
					_mm512_sub_epi16(_mm512_maddubs_epi16(c, even_scale), mid);
				const __m512i y =
					_mm512_sub_epi16(_mm512_maddubs_epi16(c, odd_scale), mid);

				_mm512_store_si512(
					low[4 * half + k],
					_mm512_mask_mov_epi8(x, odd, _mm512_slli_epi16(y, 8)));
				_mm512_store_si512(
					high[4 * half + k],
					_mm512_mask_mov_epi8(_mm512_srli_epi16(x, 8), odd, y));
			}
		}
	}
}

/* Tile t of a unit: its products are added to the first or the second pair of tiles. */
INLINE void multiply(const struct unit *u, size_t row_bytes, unsigned t, bool second)
{
	_tile_loadd(ROWS, u->q + TILE_COLUMNS * t, row_bytes);
	_tile_loadd(WEIGHTS, u->digits->low[t], 64);
	if (second)
		_tile_dpbsud(LOW_1, ROWS, WEIGHTS);
	else
		_tile_dpbsud(LOW_0, ROWS, WEIGHTS);
	_tile_loadd(WEIGHTS, u->digits->high[t], 64);
	if (second)
		_tile_dpbssd(HIGH_1, ROWS, WEIGHTS);
	else
		_tile_dpbssd(HIGH_0, ROWS, WEIGHTS);
}

/* What the rows of a unit share, in registers: any store may look like one of it. */
struct shared {
	__m512 d, m;
	__m512i min[4];
};

INLINE struct shared share(const struct factors *f, bool mins)
{
	struct shared s = { .d = _mm512_load_ps(f->d) };

	s.m = mins ? _mm512_load_ps(f->m) : s.d;
	for (unsigned i = 0; i < 4; i++)
		s.min[i] = mins ? _mm512_load_si512(f->min[i]) : _mm512_setzero_si512();
	return s;
}

INLINE __m512 add(__m512 acc, __m512i integer, __m512 d, __m512 step)
{
	return _mm512_fmadd_ps(_mm512_cvtepi32_ps(integer), _mm512_mul_ps(d, step), acc);
}

/* A row: what its integers mean, added to acc. */
INLINE void add_row(float acc[16], const struct part *p, const struct shared *f,
		    const int32_t low[16], const int32_t high[16], unsigned shift, bool mins)
{
	const __m512 step = _mm512_set1_ps(p->step);
	__m512i all = _mm512_slli_epi32(_mm512_load_si512(high), shift);
	__m512 sum = _mm512_load_ps(acc);

	all = _mm512_add_epi32(all, _mm512_load_si512(low));
	sum = add(sum, all, f->d, step);
	if (mins) {
		__m512i less = _mm512_setzero_si512();

		for (unsigned i = 0; i < 4; i++) {
			int32_t pair;

			memcpy(&pair, p->sum[i], sizeof(pair));
			less = _mm512_dpwssd_epi32(less, f->min[i], _mm512_set1_epi32(pair));
		}
		sum = add(sum, less, f->m, step);
	}
	_mm512_store_ps(acc, sum);
}

/* One tile of sums of the first or the second pair leaves for `to`. */
INLINE void leave(int32_t (*to)[TILE_ROWS][16], unsigned digit, bool second)
{
	if (second && digit)
		_tile_stored(HIGH_1, to[1], 64);
	else if (second)
		_tile_stored(LOW_1, to[0], 64);
	else if (digit)
		_tile_stored(HIGH_0, to[1], 64);
	else
		_tile_stored(LOW_0, to[0], 64);
}

/* The products of `now` in one pair of tiles, while those of the unit before it leave the other
 * one and the integers of `last`, the unit before that, are added. now and last may be NULL. */
INLINE void step(struct work *w, const struct unit *now, const struct call *call,
		 const struct unit *last, unsigned shift, bool mins, bool whole, bool second)
{
	int32_t(*sums)[TILE_ROWS][16] = w->sums[second];
	const struct unit from = last ? *last : (struct unit){ 0 };
	const struct shared f = last ? share(from.factors, mins) : (struct shared){ 0 };

	if (now && second) {
		_tile_zero(LOW_1);
		_tile_zero(HIGH_1);
	} else if (now) {
		_tile_zero(LOW_0);
		_tile_zero(HIGH_0);
	}
#pragma GCC unroll 4
	for (unsigned t = 0; t < TILES; t++) {
		if (now)
			multiply(now, call->row_bytes, t, second);
		if (t < 2)
			leave(w->sums[!second], t, !second);
		if (!last)
			continue;
#pragma GCC unroll 4
		for (unsigned r = 4 * t; r < 4 * t + 4; r++) {
			if (whole || r < call->tile_rows)
				add_row(from.acc[r], from.parts + r, &f, sums[0][r], sums[1][r],
					shift, mins);
		}
	}
}

/* Sums and steps of all rows, from block `at` of x on. */
static void fill_parts(struct work *w, const struct call *call, const struct kern_acts *x,
		       size_t first, size_t at)
{
	const __m256i ones = _mm256_set1_epi16(1);

	for (size_t s = 0; s < call->supers; s++) {
		for (size_t r = 0; r < call->rows; r++) {
			const size_t i = (first + r) * x->ld + at + s * CHUNK_BLOCKS;
			struct part *p = &w->parts[s * call->rows + r];
			const void *sums = x->sum + 2 * i;
			const __m256i both = _mm256_madd_epi16(_mm256_loadu_si256(sums), ones);

			_mm_store_si128((void *)p->sum,
					_mm_packs_epi32(_mm256_castsi256_si128(both),
							_mm256_extracti128_si256(both, 1)));
			p->step = x->step[i];
		}
	}
}

/* Digits and factors of chunk n: super-blocks of a strip follow each other, then those of the next
 * strip. */
INLINE void fill_chunk(struct work *w, const struct call *call, size_t n, fill_super *fill,
		       size_t bytes)
{
	const size_t strip = n / call->supers, super = n % call->supers;

	if (strip < call->strips)
		fill(&w->digits[n % 2], &w->factors[n % 4],
		     call->src + strip * call->strip_bytes + super * bytes);
	strip_amx_publish(w);
}

/* The first row of the tile of which results are at `slot` and behind: the last tile ends with the
 * last row. */
INLINE size_t row_of(const struct call *call, size_t slot)
{
	const size_t last = call->rows - call->tile_rows;

	return slot < last ? slot : last;
}

INLINE void set_unit(struct unit *u, struct work *w, const struct call *call, size_t n, size_t slot)
{
	const size_t row = row_of(call, slot);
	const size_t strip = n / call->supers, super = n % call->supers;

	u->digits = &w->digits[n % 2];
	u->factors = &w->factors[n % 4];
	u->q = call->q + row * call->row_bytes + super * 32 * CHUNK_BLOCKS;
	u->parts = w->parts + super * call->rows + row;
	u->acc = w->acc + strip * call->slots + slot;
}

/* All of call, added to w->acc. */
INLINE void add_supers(struct work *w, const struct call *call, fill_super *fill, size_t bytes,
		       unsigned shift, bool mins, bool whole)
{
	struct unit units[3];
	const struct unit *last = NULL, *before = NULL;
	size_t turn = 0;

	fill_chunk(w, call, 0, fill, bytes);
	for (size_t n = 0; n < call->strips * call->supers; n++) {
		fill_chunk(w, call, n + 1, fill, bytes);
		for (size_t slot = 0; slot < call->slots; slot += call->tile_rows, turn++) {
			struct unit *now = &units[turn % 3];

			set_unit(now, w, call, n, slot);
			if (turn % 2)
				step(w, now, call, last, shift, mins, whole, true);
			else
				step(w, now, call, last, shift, mins, whole, false);
			last = before;
			before = now;
		}
	}
	for (unsigned i = 0; i < 2; i++, turn++) {
		if (turn % 2)
			step(w, NULL, call, last, shift, mins, whole, true);
		else
			step(w, NULL, call, last, shift, mins, whole, false);
		last = before;
	}
}

static void add_q4_k(struct work *w, const struct call *call)
{
	if (call->tile_rows == TILE_ROWS)
		add_supers(w, call, fill_q4_k, 2304, 3, true, true);
	else
		add_supers(w, call, fill_q4_k, 2304, 3, true, false);
}

static void add_q6_k(struct work *w, const struct call *call)
{
	if (call->tile_rows == TILE_ROWS)
		add_supers(w, call, fill_q6_k, 3360, 8, false, true);
	else
		add_supers(w, call, fill_q6_k, 3360, 8, false, false);
}

static void put_out(const struct work *w, const struct call *call, size_t strip, float *out,
		    size_t ldo)
{
	const float(*acc)[16] = w->acc + strip * call->slots;

	for (size_t slot = 0; slot < call->slots; slot += call->tile_rows) {
		const size_t row = row_of(call, slot);

		for (size_t r = 0; r < call->tile_rows; r++)
			_mm512_storeu_ps(out + (row + r) * ldo, _mm512_load_ps(acc[slot + r]));
	}
}

/* Strips from src on, at most MOST_STRIPS, with at most MOST_ROWS rows. */
static void run(struct work *w, const struct kern_strips *s, const uint8_t *src, size_t strips,
		const struct kern_acts *x, size_t first, size_t rows, float *out, size_t ldo)
{
	const size_t supers = x->blocks / CHUNK_BLOCKS, bytes = s->strip_bytes / supers;
	const size_t tile_rows = strip_amx_tile_rows(rows);
	struct call call = { .strip_bytes = s->strip_bytes,
			     .strips = strips,
			     .row_bytes = 32 * x->ld,
			     .rows = rows,
			     .tile_rows = tile_rows,
			     .slots = (rows + tile_rows - 1) / tile_rows * tile_rows };

	strip_amx_configure(tile_rows);
	for (size_t i = 0; i < strips * call.slots; i++)
		_mm512_store_ps(w->acc[i], _mm512_setzero_ps());
	for (size_t at = 0; at < supers; at += call.supers) {
		call.supers = MOST_PARTS / rows;
		call.supers = supers - at < call.supers ? supers - at : call.supers;
		call.src = src + at * bytes;
		call.q = x->q + 32 * (first * x->ld + at * CHUNK_BLOCKS);
		fill_parts(w, &call, x, first, at * CHUNK_BLOCKS);
		if (s->type == QUANT_Q4_K)
			add_q4_k(w, &call);
		else
			add_q6_k(w, &call);
	}
	for (size_t i = 0; i < strips; i++)
		put_out(w, &call, i, out + i * KERN_STRIP, ldo);
}

void strip_amx_super(const struct kern_strips *s, size_t strip, size_t n, const struct kern_acts *x,
		     size_t first, size_t rows, float *out, size_t ldo)
{
	struct work w;

	for (size_t i = 0; i < n; i += MOST_STRIPS) {
		const size_t strips = n - i < MOST_STRIPS ? n - i : MOST_STRIPS;
		const uint8_t *src = s->data + (strip + i) * s->strip_bytes;

		for (size_t r = 0; r < rows; r += MOST_ROWS)
			run(&w, s, src, strips, x, first + r,
			    rows - r < MOST_ROWS ? rows - r : MOST_ROWS,
			    out + r * ldo + i * KERN_STRIP, ldo);
	}
	_tile_release();
}
