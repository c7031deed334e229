#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "engine/expand.h"
#include "engine/kern.h"
#include "engine/pack.h"

/* Most blocks of 32 of a row, rows of activations, and bytes of a row of 32-bit floats. Up to
 * EACH_ROWS rows every number is tried, then some. */
#define BLOCKS    40
#define ROWS      116
#define EACH_ROWS 40
#define ROW_BYTES (BLOCKS * 32 * 2)

static const enum quant_type packed_types[] = { QUANT_Q4_0, QUANT_Q8_0, QUANT_Q4_K, QUANT_Q6_K };
#define N_PACKED (sizeof(packed_types) / sizeof(packed_types[0]))

static uint64_t counter;

static uint64_t draw(uint64_t below)
{
	return rng_u64(5, counter++) % below;
}

static float uniform(float lo, float hi)
{
	return lo + (hi - lo) * (float)rng_unit(6, counter++);
}

static const struct kern *ref(void)
{
	return kern_at(0);
}

#define FOR_EACH_KERN(k) for (unsigned at = 1; ((k) = kern_at(at)) != NULL; at++)

static void assert_same(const char *what, const float *got, const float *want, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (isnan(got[i]) && isnan(want[i]))
			continue;
		if (memcmp(&got[i], &want[i], sizeof(float)))
			fail_msg("%s: element %zu of %zu is %a, not %a", what, i, n, (double)got[i],
				 (double)want[i]);
	}
}

/* What is drawn: everyday numbers, the ends of all ranges, or integers as large as they get. */
enum kind { PLAIN, EXTREME, LARGEST, N_KINDS };

static uint16_t some_half(enum kind kind)
{
	static const uint16_t ends[] = { 0, 0x8000, 1, 0x8001, 0x7bff, 0xfbff, 0x7c00, 0x7e00 };

	if (kind == EXTREME)
		return ends[draw(draw(4) ? 6 : 8)];
	if (kind == LARGEST)
		return 0x3c00; /* 1 */
	return quant_f32_to_f16(uniform(-0.1f, 0.1f));
}

/* Rows of blocks of that type: bytes at random, or each row all 0x00, 0xff, 0x80 or 0x7f. */
static void fill_rows(enum quant_type type, uint8_t *data, size_t bytes, enum kind kind)
{
	static const struct {
		enum quant_type type;
		unsigned first, second; /* offsets of the block's f16 numbers */
	} halves[] = {
		{ QUANT_Q4_0, 0, 0 },     { QUANT_Q4_1, 0, 2 },   { QUANT_Q5_0, 0, 0 },
		{ QUANT_Q5_1, 0, 2 },     { QUANT_Q8_0, 0, 0 },   { QUANT_Q2_K, 80, 82 },
		{ QUANT_Q3_K, 108, 108 }, { QUANT_Q4_K, 0, 2 },   { QUANT_Q5_K, 0, 2 },
		{ QUANT_Q6_K, 208, 208 }, { QUANT_IQ4_NL, 0, 0 }, { QUANT_IQ4_XS, 0, 0 },
	};
	static const uint8_t ends[] = { 0, 0xff, 0x80, 0x7f };
	const size_t step = quant_block_bytes(type);

	for (size_t i = 0; i < bytes; i += step) {
		if (kind != PLAIN)
			memset(data + i, ends[draw(kind == LARGEST ? 2 : 4)], step);
		if (kind == LARGEST && type == QUANT_Q6_K) /* its scales have all 8 bits */
			memset(data + i + 192, ends[2 + draw(2)], 16);
		for (size_t j = 0; j < step && kind == PLAIN; j++)
			data[i + j] = (uint8_t)draw(256);
		for (size_t h = 0; h < sizeof(halves) / sizeof(halves[0]); h++) {
			uint16_t a = some_half(kind), b = some_half(kind);

			if (halves[h].type != type)
				continue;
			memcpy(data + i + halves[h].second, &b, sizeof(b));
			memcpy(data + i + halves[h].first, &a, sizeof(a));
		}
	}
}

static float some_step(enum kind kind)
{
	static const float ends[] = { 0,       1e-42f, 1e-36f / 127, 1,       1e30f,
				      2.6e36f, 3e38f,  NAN,          INFINITY };

	if (kind == EXTREME)
		return ends[draw(draw(4) ? 6 : 9)];
	return kind == LARGEST ? 1 : uniform(0, 0.1f);
}

/* ROWS rows of activations, for weights of that type, that shift bytes, floats and sums off their
 * alignment. */
static struct kern_acts fill_acts(enum quant_type type, size_t blocks, size_t shift, enum kind kind)
{
	static int8_t q[ROWS * (BLOCKS + 3) * 32 + 64];
	static float step[ROWS * (BLOCKS + 3) + 16];
	static int16_t sum[ROWS * (BLOCKS + 3) * 2 + 32];
	struct kern_acts x = { .blocks = blocks,
			       .ld = blocks + draw(4),
			       .group = kern_group(type),
			       .q = q + shift,
			       .step = step + shift % 16,
			       .sum = sum + shift % 32 };
	int end = 127;

	for (size_t b = 0; b < ROWS * x.ld; b++) {
		if (b % x.ld % x.group == 0 || (kind == EXTREME && draw(4) == 0))
			end = draw(2) ? 127 : -127;
		x.sum[2 * b] = x.sum[2 * b + 1] = 0;
		x.step[b] = b % x.ld % x.group ? x.step[b - 1] : some_step(kind);
		for (size_t e = 0; e < 32; e++) {
			int8_t v = (int8_t)(kind == PLAIN ? (int)draw(255) - 127 : end);

			x.q[32 * b + e] = v;
			x.sum[2 * b + e / 16] = (int16_t)(x.sum[2 * b + e / 16] + v);
		}
	}
	return x;
}

static void every_table_rounds_activations_alike(void **state)
{
	static const float ends[] = { 0,      -0.0f,  1e-36f, 0.99e-36f, -1e-42f, 3e38f,
				      -3e38f, 127.0f, 0.5f,   -1.5f,     NAN,     -INFINITY };
	static float x[BLOCKS * 32 + 16], step[2][BLOCKS];
	static int8_t q[2][BLOCKS * 32];
	static int16_t sum[2][BLOCKS * 2];
	const struct kern *k;

	(void)state;
	FOR_EACH_KERN(k)
	{
		for (size_t round = 0; round < 400; round++) {
			size_t group = round % 3 ? 1 : 8, shift = round % 16;
			size_t blocks = group > 1 ? group * (1 + round % 5) : 1 + round % 37;
			float size = ldexpf(1, (int)draw(200) - 100);

			for (size_t i = 0; i < blocks * 32; i++) {
				x[shift + i] = uniform(-size, size);
				if (draw(40) == 0)
					x[shift + i] = ends[draw(round % 4 ? 10 : 12)];
				if (group > 1 && round % 7 == 0 && i / 32 % 2) /* zero blocks */
					x[shift + i] = 0;
				if (round % 5 == 0) /* halves between two codes */
					x[shift + i] = (float)draw(255) / 2 - 63.5f;
			}
			x[shift] = round % 5 ? x[shift] : 127;
			k->quantize(x + shift, blocks * 32, group, q[0], step[0], sum[0]);
			ref()->quantize(x + shift, blocks * 32, group, q[1], step[1], sum[1]);
			assert_memory_equal(q[0], q[1], blocks * 32);
			assert_memory_equal(sum[0], sum[1], blocks * 2 * sizeof(int16_t));
			assert_same(k->name, step[0], step[1], blocks);
		}
	}
}

static void rounded_activations_are_right_to_half_a_step(void **state)
{
	float x[256], step[8];
	int8_t q[256];
	int16_t sum[16];

	(void)state;
	for (unsigned round = 0; round < 1000; round++) {
		float size = ldexpf(1, (int)draw(100) - 50), top = 0;
		unsigned group = round % 2 ? 1 : 8;
		int sums[16] = { 0 };

		for (unsigned i = 0; i < 32 * group; i++) {
			x[i] = uniform(-size, size);
			top = fabsf(x[i]) > top ? fabsf(x[i]) : top;
		}
		ref()->quantize(x, 32 * group, group, q, step, sum);
		for (unsigned i = 0; i < 32 * group; i++) {
			assert_true(fabsf(x[i] - (float)q[i] * step[0]) <= 0.50001f * step[0]);
			assert_in_range(q[i] + 127, 0, 254);
			sums[i / 16] += q[i];
		}
		for (unsigned i = 0; i < 2 * group; i++)
			assert_int_equal(sum[i], sums[i]);
		for (unsigned b = 0; b < group; b++)
			assert_true(step[b] == top / 127);
	}
}

/* One of three groups. */
static void check_not_finite(const struct kern *k, unsigned group, unsigned at, float bad)
{
	const unsigned n = 32 * group, hit = at / n;
	float x[3 * 256], step[3 * 8];
	int8_t q[3 * 256], zero[256] = { 0 };
	int16_t sum[3 * 16], zero_sum[16] = { 0 };

	for (unsigned j = 0; j < 3 * n; j++)
		x[j] = 2;
	x[at] = bad;
	k->quantize(x, 3 * n, group, q, step, sum);
	for (unsigned b = 0; b < 3 * group; b++)
		assert_int_equal(isnan(step[b]) != 0, b / group == hit);
	assert_memory_equal(q + hit * n, zero, n);
	assert_memory_equal(sum + hit * 2 * group, zero_sum, 2 * group * sizeof(*sum));
}

static void a_group_that_is_not_finite_is_nan_and_no_other(void **state)
{
	static const float bad[] = { NAN, INFINITY, -INFINITY };
	const struct kern *k;

	(void)state;
	for (unsigned at = 0; (k = kern_at(at)) != NULL; at++) {
		for (unsigned i = 0; i < 96; i++)
			check_not_finite(k, 1, i, bad[i % 3]);
		for (unsigned i = 0; i < 3 * 256; i++)
			check_not_finite(k, 8, i, bad[i % 3]);
	}
}

/* The sums of the dot in double: of dequantized weights and of activations as they were rounded. */
static void assert_dot(enum quant_type type, const uint8_t *row, const struct kern_acts *x,
		       size_t r, float got)
{
	static float w[BLOCKS * 32];
	double exact = 0, size = 0;

	quant_dequant_row(type, row, w, x->blocks * 32);
	for (size_t i = 0; i < x->blocks * 32; i++) {
		double v = (double)x->q[r * x->ld * 32 + i] * x->step[r * x->ld + i / 32];

		exact += w[i] * v;
		size += fabs(w[i] * v);
	}
	if (!(fabs(exact - got) <= 1e-5 * size))
		fail_msg("%s: %g, not %g", quant_name(type), (double)got, exact);
}

static void the_definition_is_the_product_of_dequantized_rows(void **state)
{
	static uint8_t data[16 * ROW_BYTES];
	static struct kern_wide wide[BLOCKS];
	float out[16];

	(void)state;
	for (unsigned type = 0; type < QUANT_TYPE_END; type++) {
		if (!quant_name(type) || !expand_knows(type))
			continue;
		for (size_t blocks = 8; blocks <= 24; blocks += 8) {
			size_t row = quant_row_bytes(type, blocks * 32);
			enum kind kind = blocks == 8 ? LARGEST : PLAIN;
			struct kern_acts x = fill_acts(type, blocks, 0, kind);

			fill_rows(type, data, 16 * row, kind);
			expand_rows(type, data, row, 16, blocks * 32, wide);
			ref()->wide(wide, expand_mins(type), &x, 3, 1, out, 16);
			for (unsigned i = 0; i < 16; i++)
				assert_dot(type, data + i * row, &x, 3, out[i]);
		}
	}
}

/* As many rows as there are, zeros behind them. */
static void packed_strips_give_the_bits_of_rows_in_the_file(void **state)
{
	static uint8_t data[16 * ROW_BYTES], strip[16 * ROW_BYTES];
	static struct kern_wide wide[BLOCKS];
	static float got[5 * 16], want[5 * 16];

	(void)state;
	for (size_t t = 0; t < N_PACKED * N_KINDS * 16; t++) {
		enum quant_type type = packed_types[t % N_PACKED];
		enum kind kind = t / N_PACKED % N_KINDS;
		size_t n_rows = t / N_PACKED / N_KINDS + 1;
		size_t blocks = quant_block_elements(type) / 32 * (1 + n_rows % 5);
		size_t row = quant_row_bytes(type, blocks * 32);
		struct kern_acts x = fill_acts(type, blocks, 0, kind);
		struct kern_strips w = { .type = type,
					 .data = strip,
					 .strip_bytes = pack_strip_bytes(type, blocks * 32),
					 .blocks = blocks };

		assert_int_equal(w.strip_bytes, 16 * row);
		fill_rows(type, data, n_rows * row, kind);
		pack_strip(type, data, row, n_rows, blocks * 32, strip);
		expand_rows(type, data, row, n_rows, blocks * 32, wide);
		ref()->strip(&w, 0, 1, &x, 0, 5, got, 16);
		ref()->wide(wide, expand_mins(type), &x, 0, 5, want, 16);
		assert_same(quant_name(type), got, want, 5 * 16);
		for (size_t i = n_rows; i < 16 && kind == PLAIN; i++)
			assert_true(got[i] == 0);
	}
}

/* Now and then all rows of x in tiles, if the table has that: of a matrix that has some more. */
static void lay_tiles(const struct kern *k, struct kern_acts *x)
{
	enum { MORE = (ROWS / KERN_TILE_ROWS + 2) * KERN_TILE_ROWS };
	static _Alignas(64) uint8_t tiles[MORE / KERN_TILE_ROWS * BLOCKS * KERN_TILE_BYTES];

	memset(tiles, 0xff, sizeof(tiles)); /* NaN */
	x->tile_rows = MORE - draw(2) * KERN_TILE_ROWS;
	x->tiles = k->tiles && x->group == 1 && draw(2) ? tiles : NULL;
	for (size_t r = 0; r < ROWS && x->tiles; r++)
		k->tiles(x, r);
}

/* Some of the strips of a packed matrix; their bits by both tables, and nothing else written. */
static void compare_strips(const struct kern *k, enum quant_type type, size_t blocks, size_t rows,
			   enum kind kind)
{
	enum { MOST = 3, LDO = 16 * MOST + 5 };
	static uint8_t raw[16 * ROW_BYTES], data[(MOST + 2) * 16 * ROW_BYTES + 64];
	static float got[ROWS * LDO], want[ROWS * LDO];
	/* Some kernels like it to be a multiple. */
	const size_t like = draw(2) ? k->rows_step : 1;
	const size_t shift = draw(64), first = draw((ROWS - rows) / like + 1) * like;
	const size_t bytes = quant_row_bytes(type, blocks * 32), n = 1 + draw(MOST);
	const size_t ldo = 16 * n + draw(5);
	struct kern_acts x = fill_acts(type, blocks, draw(64), kind);
	struct kern_strips w = { .type = type,
				 .data = data + shift,
				 .strip_bytes = pack_strip_bytes(type, blocks * 32),
				 .blocks = blocks };

	for (size_t s = 0; s < n + 2; s++) {
		fill_rows(type, raw, 16 * bytes, kind);
		pack_strip(type, raw, bytes, 16, blocks * 32, data + shift + s * w.strip_bytes);
	}
	memset(got, 0x5a, sizeof(got));
	memset(want, 0x5a, sizeof(want));
	lay_tiles(k, &x);
	k->strip(&w, 1, n, &x, first, rows, got, ldo);
	for (size_t s = 0; s < n; s++)
		ref()->strip(&w, 1 + s, 1, &x, first, rows, want + 16 * s, ldo);
	assert_same(k->name, got, want, ROWS * LDO);
}

/* Several strips in one call, with panels, where a table has that. */
static void compare_several(const struct kern *k, enum quant_type type, size_t blocks, size_t rows,
			    enum kind kind)
{
	enum { MOST = 3, LDO = 16 * MOST + 5 };
	static _Alignas(64) uint8_t panels[KERN_PANEL_MOST / 4 * BLOCKS * KERN_PANEL_BYTES];
	static uint8_t raw[16 * ROW_BYTES], data[(MOST + 1) * 16 * ROW_BYTES + 64];
	static float got[ROWS * LDO], want[ROWS * LDO];
	const size_t shift = draw(64), first = draw(ROWS - rows + 1), n = 1 + draw(MOST);
	const size_t bytes = quant_row_bytes(type, blocks * 32);
	struct kern_acts x = fill_acts(type, blocks, draw(64), kind);
	struct kern_strips w = { .type = type,
				 .data = data + shift,
				 .strip_bytes = pack_strip_bytes(type, blocks * 32),
				 .blocks = blocks };

	for (size_t s = 0; s <= n; s++) {
		fill_rows(type, raw, 16 * bytes, kind);
		pack_strip(type, raw, bytes, 16, blocks * 32, data + shift + s * w.strip_bytes);
	}
	memset(got, 0x5a, sizeof(got));
	memset(want, 0x5a, sizeof(want));
	k->panels(&x, first, rows, panels);
	k->strips(&w, 1, n, panels, rows, got, LDO);
	for (size_t s = 0; s < n; s++)
		ref()->strip(&w, 1 + s, 1, &x, first, rows, want + 16 * s, LDO);
	assert_same(k->name, got, want, ROWS * LDO);
}

static void strips_with_panels_are_those_of_the_definition(void **state)
{
	const struct kern *k;

	(void)state;
	FOR_EACH_KERN(k)
	{
		assert_int_equal(!k->strips, !k->panels);
		for (size_t i = 0; i < 4 * KERN_PANEL_MOST && k->strips; i++) {
			size_t rows =
				KERN_PANEL_LEAST + i % (KERN_PANEL_MOST - KERN_PANEL_LEAST + 1);

			for (size_t t = 0; t < N_PACKED; t++) {
				size_t step = quant_block_elements(packed_types[t]) / 32;
				size_t blocks = step * (1 + draw(step == 1 ? 19 : 3));

				for (enum kind kind = PLAIN; kind < N_KINDS; kind++)
					compare_several(k, packed_types[t], blocks, rows, kind);
			}
		}
	}
}

/* The number of rows that is tried after that one. */
static size_t more_rows(size_t rows)
{
	return rows < EACH_ROWS ? rows + 1 : rows + 19;
}

static void strips_of_every_table_are_those_of_the_definition(void **state)
{
	const struct kern *k;

	(void)state;
	FOR_EACH_KERN(k)
	{
		for (size_t rows = 1; rows <= ROWS; rows = more_rows(rows)) {
			for (size_t t = 0; t < N_PACKED; t++) {
				size_t step = quant_block_elements(packed_types[t]) / 32;
				size_t blocks = step * (1 + rows % (step == 1 ? 11 : 3));
				/* Some kernels want them even, and more than two. */
				size_t even = step == 1 ? 4 + 2 * draw(4) : step;

				for (enum kind kind = PLAIN; kind < N_KINDS; kind++) {
					compare_strips(k, packed_types[t], blocks, rows, kind);
					compare_strips(k, packed_types[t], even, rows, kind);
				}
			}
		}
	}
}

static void compare_wide(const struct kern *k, enum quant_type type, size_t blocks, size_t rows,
			 enum kind kind)
{
	static uint8_t raw[16 * ROW_BYTES];
	static struct kern_wide wide[BLOCKS];
	static float got[ROWS * 20], want[ROWS * 20];
	const size_t first = draw(ROWS - rows + 1), ldo = 16 + draw(5);
	const size_t bytes = quant_row_bytes(type, blocks * 32);
	struct kern_acts x = fill_acts(type, blocks, draw(64), kind);

	fill_rows(type, raw, 16 * bytes, kind);
	expand_rows(type, raw, bytes, 1 + draw(16), blocks * 32, wide);
	memset(got, 0x5a, sizeof(got));
	memset(want, 0x5a, sizeof(want));
	k->wide(wide, expand_mins(type), &x, first, rows, got, ldo);
	ref()->wide(wide, expand_mins(type), &x, first, rows, want, ldo);
	assert_same(k->name, got, want, ROWS * 20);
}

static void wide_blocks_of_every_table_and_type_are_those_of_the_definition(void **state)
{
	const struct kern *k;

	(void)state;
	FOR_EACH_KERN(k)
	{
		for (size_t rows = 1; rows <= ROWS; rows = more_rows(rows)) {
			for (unsigned type = 0; type < QUANT_TYPE_END; type++) {
				size_t step = quant_block_elements(type) / 32;

				if (!quant_name(type) || !expand_knows(type))
					continue;
				for (enum kind kind = PLAIN; kind < N_KINDS; kind++)
					compare_wide(k, type, step * (1 + rows % 4), rows, kind);
			}
		}
	}
}

static void compare_expanded(const struct kern *k, enum quant_type type, size_t n_rows,
			     enum kind kind)
{
	static uint8_t raw[16 * ROW_BYTES + 8];
	static struct kern_wide got[BLOCKS], want[BLOCKS];
	const size_t blocks = quant_block_elements(type) / 32 * (1 + draw(3)), shift = draw(8);
	const size_t bytes = quant_row_bytes(type, blocks * 32);

	fill_rows(type, raw + shift, n_rows * bytes, kind);
	memset(got, 0x5a, sizeof(got));
	memset(want, 0x5a, sizeof(want));
	k->expand(type, raw + shift, bytes, n_rows, blocks * 32, got);
	expand_rows(type, raw + shift, bytes, n_rows, blocks * 32, want);
	for (size_t b = 0; b < BLOCKS; b++) {
		assert_memory_equal(got[b].q, want[b].q, sizeof(got[b].q));
		assert_memory_equal(got[b].scale, want[b].scale, sizeof(got[b].scale));
		assert_memory_equal(got[b].min, want[b].min, sizeof(got[b].min));
		assert_same(quant_name(type), got[b].d, want[b].d, 16);
		assert_same(quant_name(type), got[b].m, want[b].m, 16);
	}
}

static void every_table_expands_alike(void **state)
{
	const struct kern *k;

	(void)state;
	FOR_EACH_KERN(k)
	{
		for (unsigned type = 0; type < QUANT_TYPE_END; type++) {
			if (!quant_name(type) || !expand_knows(type))
				continue;
			for (size_t n_rows = 1; n_rows <= 2 * 16; n_rows++)
				compare_expanded(k, type, n_rows > 16 ? 16 : n_rows,
						 n_rows % 2 ? PLAIN : EXTREME);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_table_rounds_activations_alike),
		cmocka_unit_test(rounded_activations_are_right_to_half_a_step),
		cmocka_unit_test(a_group_that_is_not_finite_is_nan_and_no_other),
		cmocka_unit_test(the_definition_is_the_product_of_dequantized_rows),
		cmocka_unit_test(packed_strips_give_the_bits_of_rows_in_the_file),
		cmocka_unit_test(every_table_expands_alike),
		cmocka_unit_test(strips_of_every_table_are_those_of_the_definition),
		cmocka_unit_test(strips_with_panels_are_those_of_the_definition),
		cmocka_unit_test(wide_blocks_of_every_table_and_type_are_those_of_the_definition),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
