#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "engine/kern.h"

/* Room for the longest row, a few rows of it, and a misalignment of up to 15 floats. */
#define MAX_N 1100
#define ROWS  13

static uint64_t counter;

static float uniform(float lo, float hi)
{
	return lo + (hi - lo) * (float)rng_unit(2, counter++);
}

/* Mostly ordinary numbers, and extremes far more often than life has them. */
static float number(void)
{
	static const float extremes[] = { 0,      -0.0f, 1e-42f,  -1e-42f, 1e-30f,
					  -1e30f, 3e37f, 65504.f, -127.f,  1.0f };

	if (rng_u64(1, counter++) % 8 == 0)
		return extremes[rng_u64(1, counter++) % 10];
	return uniform(-4, 4);
}

static void fill(float *x, size_t n)
{
	for (size_t i = 0; i < n; i++)
		x[i] = number();
}

/* Bit equality, but any NaN equals any NaN: sums of extremes may overflow to inf - inf. */
static void assert_same(const char *isa, const float *got, const float *want, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (isnan(got[i]) && isnan(want[i]))
			continue;
		if (memcmp(&got[i], &want[i], sizeof(float)))
			fail_msg("%s: element %zu of %zu is %a, not %a", isa, i, n, (double)got[i],
				 (double)want[i]);
	}
}

static const struct kern *ref(void)
{
	return kern_at(0);
}

/* Every other table of this machine in turn. */
#define FOR_EACH_KERN(k) for (unsigned at = 1; ((k) = kern_at(at)) != NULL; at++)

static void dots_of_every_length_and_alignment_are_those_of_the_definition(void **state)
{
	static float a[MAX_N + 16], b[MAX_N + 16];
	const struct kern *k;

	(void)state;
	FOR_EACH_KERN(k)
	{
		for (size_t n = 0; n <= 200; n++) {
			size_t shift = n % 16, other = n * 7 % 16;
			float got, want;

			fill(a, n + 16);
			fill(b, n + 16);
			got = k->dot(a + shift, b + other, n);
			want = ref()->dot(a + shift, b + other, n);
			assert_same(k->name, &got, &want, 1);
		}
	}
}

static void a_dot_is_right_to_rounding(void **state)
{
	static float a[MAX_N], b[MAX_N];

	(void)state;
	for (size_t n = 1; n <= MAX_N; n = n * 3 + 1) {
		double exact = 0, size = 0;

		for (size_t i = 0; i < n; i++) {
			a[i] = uniform(-1, 1);
			b[i] = uniform(-1, 1);
			exact += (double)a[i] * b[i];
			size += fabs((double)a[i] * b[i]);
		}
		/* each of the n / 16 + 4 roundings on a path is at most 2^-24 of what is summed */
		assert_true(fabs(ref()->dot(a, b, n) - exact) <=
			    ((double)n / 16 + 5) * 0x1p-24 * size);
	}
}

static void a_dot_may_be_cut_into_pieces(void **state)
{
	static float a[MAX_N], b[MAX_N];
	const struct kern *k;

	(void)state;
	fill(a, MAX_N);
	fill(b, MAX_N);
	for (unsigned i = 0; (k = kern_at(i)) != NULL; i++) {
		float lanes[KERN_LANES] = { 0 }, whole[KERN_LANES] = { 0 };

		k->accumulate(lanes, a, b, 64);
		k->accumulate(lanes, a + 64, b + 64, 16);
		k->accumulate(lanes, a + 80, b + 80, 77);
		k->accumulate(whole, a, b, 157);
		assert_same(k->name, lanes, whole, KERN_LANES);
	}
}

static void a_tile_gives_the_bits_of_single_dots(void **state)
{
	static float w[ROWS * MAX_N], x[ROWS * MAX_N], got[ROWS * ROWS], want[ROWS * ROWS];
	const struct kern *k;

	(void)state;
	fill(w, ROWS * MAX_N);
	fill(x, ROWS * MAX_N);
	for (unsigned at = 0; (k = kern_at(at)) != NULL; at++) {
		for (size_t nw = 1; nw <= ROWS; nw++) {
			for (size_t nx = 1; nx <= ROWS; nx++) {
				size_t n = (nw * 37 + nx * 11) % 100;
				struct kern_tile t = { .w = w + nx,
						       .x = x + nw,
						       .out = got,
						       .ldw = n + 3,
						       .ldx = n + 5,
						       .ldo = nw,
						       .nw = nw,
						       .nx = nx,
						       .n = n };

				k->tile(&t);
				for (size_t j = 0; j < nx; j++) {
					for (size_t i = 0; i < nw; i++)
						want[j * nw + i] = ref()->dot(t.w + i * t.ldw,
									      t.x + j * t.ldx, n);
				}
				assert_same(k->name, got, want, nw * nx);
			}
		}
	}
}

/* Blocks of random bytes whose f16 scales are finite. */
static void fill_blocks(enum quant_type type, uint8_t *data, size_t bytes)
{
	static const struct {
		enum quant_type type;
		unsigned first, second; /* offsets of the block's f16 numbers */
	} scales[] = {
		{ QUANT_Q4_0, 0, 0 },     { QUANT_Q4_1, 0, 2 },   { QUANT_Q5_0, 0, 0 },
		{ QUANT_Q5_1, 0, 2 },     { QUANT_Q8_0, 0, 0 },   { QUANT_Q2_K, 80, 82 },
		{ QUANT_Q3_K, 108, 108 }, { QUANT_Q4_K, 0, 2 },   { QUANT_Q5_K, 0, 2 },
		{ QUANT_Q6_K, 208, 208 }, { QUANT_IQ4_NL, 0, 0 }, { QUANT_IQ4_XS, 0, 0 },
		{ QUANT_F16, 0, 0 },
	};
	unsigned step = quant_block_bytes(type);

	if (type == QUANT_F32 || type == QUANT_BF16) {
		for (size_t i = 0; i < bytes / step; i++) {
			float f = number();

			memcpy(data + i * step, (uint8_t *)&f + sizeof(f) - step, step);
		}
		return;
	}
	for (size_t i = 0; i < bytes; i++)
		data[i] = (uint8_t)rng_u64(3, counter++);
	for (size_t s = 0; s < sizeof(scales) / sizeof(scales[0]); s++) {
		for (size_t at = 0; scales[s].type == type && at < bytes; at += step) {
			uint16_t a = quant_f32_to_f16(uniform(-2, 2));
			uint16_t b = quant_f32_to_f16(uniform(-1e-6f, 1e-6f)); /* subnormal */

			memcpy(data + at + scales[s].second, &b, sizeof(b));
			memcpy(data + at + scales[s].first, &a, sizeof(a));
		}
	}
}

static void every_type_is_dequantized_to_the_bits_of_quant(void **state)
{
	static uint8_t data[4 * MAX_N + 16];
	static float got[MAX_N], want[MAX_N];
	const struct kern *k;

	(void)state;
	FOR_EACH_KERN(k)
	{
		for (unsigned type = 0; type < QUANT_TYPE_END; type++) {
			unsigned block = quant_block_elements(type);

			for (size_t n = block; block && n <= 1024; n += block == 1 ? 7 : block) {
				size_t bytes = quant_row_bytes(type, n);
				uint8_t *src = data + (type == QUANT_F32 ? 0 : n / block % 16);

				fill_blocks(type, src, bytes);
				k->dequant(type, src, got, n);
				quant_dequant_row(type, src, want, n);
				assert_same(k->name, got, want, n);
			}
		}
	}
}

static void rows_of_every_type_give_the_dots_of_their_values(void **state)
{
	static uint8_t data[ROWS * 4 * MAX_N];
	static float x[MAX_N], row[MAX_N], got[ROWS], want[ROWS];
	const struct kern *k;

	(void)state;
	for (unsigned at = 0; (k = kern_at(at)) != NULL; at++) {
		for (unsigned type = 0; type < QUANT_TYPE_END; type++) {
			unsigned block = quant_block_elements(type);

			for (size_t n = block; block && n <= 1024; n += block == 1 ? 19 : block) {
				struct kern_rows w = { .type = type,
						       .data = data,
						       .row_bytes = quant_row_bytes(type, n),
						       .n_rows = 1 + n / block % ROWS };

				fill_blocks(type, data, w.n_rows * w.row_bytes);
				fill(x, n);
				k->rows(&w, x, n, got);
				for (size_t i = 0; i < w.n_rows; i++) {
					quant_dequant_row(type, data + i * w.row_bytes, row, n);
					want[i] = ref()->dot(row, x, n);
				}
				assert_same(k->name, got, want, w.n_rows);
			}
		}
	}
}

static void halves_are_rounded_alike(void **state)
{
	static float x[MAX_N];
	uint16_t got[MAX_N];
	const struct kern *k;

	(void)state;
	FOR_EACH_KERN(k)
	{
		for (size_t n = 0; n <= 1000; n += 9) {
			fill(x, n);
			for (size_t i = 0; i < n; i += 3)
				x[i] = ldexpf(uniform(1, 2),
					      (int)(rng_u64(5, counter++) % 50) - 30);
			got[n] = 0x1234;
			k->to_f16(x, got, n);
			for (size_t i = 0; i < n; i++)
				assert_int_equal(got[i], quant_f32_to_f16(x[i]));
			assert_int_equal(got[n], 0x1234);
		}
	}
}

/* The two block types, by table. */
static void to_blocks(const struct kern *k, enum quant_type type, const float *x, uint8_t *dst,
		      size_t n)
{
	(type == QUANT_Q8_0 ? k->to_q8_0 : k->to_q4_0)(x, dst, n);
}

static const enum quant_type block_types[] = { QUANT_Q8_0, QUANT_Q4_0 };

static void blocks_of_every_length_are_those_of_the_definition(void **state)
{
	static float x[MAX_N + 16];
	static uint8_t got[2 * MAX_N], want[2 * MAX_N];
	const struct kern *k;

	(void)state;
	FOR_EACH_KERN(k)
	{
		for (size_t n = 0; n <= 300; n++) {
			size_t shift = n % 16;

			fill(x, n + 16);
			for (size_t i = 0; i < n + 16 && n % 3;
			     i++) /* also blocks without extremes */
				x[i] = uniform(-3, 2) * ldexpf(1, (int)(n % 50) - 30);
			for (unsigned t = 0; t < 2; t++) {
				memset(got, 0xa5, sizeof(got));
				memset(want, 0xa5, sizeof(want));
				to_blocks(k, block_types[t], x + shift, got, n);
				to_blocks(ref(), block_types[t], x + shift, want, n);
				if (memcmp(got, want, sizeof(got)))
					fail_msg("%s: %s of %zu elements differs", k->name,
						 quant_name(block_types[t]), n);
			}
		}
	}
}

/* Sums that decide between steps of q4_0: differences in them show in one block of many only. */
static void a_hundred_thousand_blocks_of_q4_0_are_those_of_the_definition(void **state)
{
	float x[32];
	uint8_t got[18], want[18];
	const struct kern *k;

	(void)state;
	FOR_EACH_KERN(k)
	{
		for (unsigned round = 0; round < 100000; round++) {
			for (unsigned i = 0; i < 32; i++)
				x[i] = uniform(-1, 1);
			k->to_q4_0(x, got, 32);
			ref()->to_q4_0(x, want, 32);
			assert_memory_equal(got, want, sizeof(got));
		}
	}
}

/* x through blocks and back; the step of each block into steps. */
static void round_trip(enum quant_type type, const float *x, float *y, float *steps, size_t n)
{
	static uint8_t blocks[2 * MAX_N];
	size_t padded = (n + 31) / 32 * 32, bytes = quant_block_bytes(type);

	to_blocks(ref(), type, x, blocks, n);
	quant_dequant_row(type, blocks, y, padded);
	for (size_t b = 0; b < padded / 32; b++)
		steps[b] = fabsf(quant_f16_to_f32(
			(uint16_t)(blocks[b * bytes] | blocks[b * bytes + 1] << 8)));
	for (size_t i = n; i < padded; i++)
		assert_true(y[i] == 0);
}

static void a_block_of_q8_0_is_right_to_half_a_step(void **state)
{
	static float x[MAX_N], y[MAX_N], steps[MAX_N];

	(void)state;
	for (size_t n = 1; n < 1000; n += 7) {
		float size = ldexpf(1, (int)(n % 24) - 5);

		for (size_t i = 0; i < n; i++)
			x[i] = uniform(-size, size);
		round_trip(QUANT_Q8_0, x, y, steps, n);
		for (size_t i = 0; i < n; i++) {
			float step = steps[i / 32];
			/* a step below the normal f16 is off by up to 2^-25, the largest code
			 * by 127 times that */
			float rest = step < 0x1p-14f ? 127 * 0x1p-25f : 0;

			assert_true(fabsf(x[i] - y[i]) <= 0.5001f * step + rest);
			assert_true(step <= 1.001f * size / 127 + 0x1p-25f);
		}
	}
}

/* The rule of the file format: the largest element's magnitude is eight steps. */
static double error_of_the_plain_rule(const float *x)
{
	float top = 0, step;
	double sum = 0;

	for (unsigned i = 0; i < 32; i++)
		top = fabsf(x[i]) > fabsf(top) ? x[i] : top;
	step = quant_f16_to_f32(quant_f32_to_f16(top / -8));
	for (unsigned i = 0; i < 32; i++) {
		float code = fminf(fmaxf(nearbyintf(x[i] / step), -8), 7);

		sum += ((double)x[i] - code * step) * ((double)x[i] - code * step);
	}
	return sum;
}

static void a_block_of_q4_0_beats_the_plain_rule(void **state)
{
	float x[32], y[32], step;
	double plain = 0, ours = 0;

	(void)state;
	for (unsigned round = 0; round < 2000; round++) {
		double sum = 0, one;

		for (unsigned i = 0; i < 32; i++) { /* nearly normal, as rotated rows are */
			x[i] = 0;
			for (unsigned k = 0; k < 6; k++)
				x[i] += uniform(-1, 1);
		}
		round_trip(QUANT_Q4_0, x, y, &step, 32);
		for (unsigned i = 0; i < 32; i++)
			sum += ((double)x[i] - y[i]) * ((double)x[i] - y[i]);
		one = error_of_the_plain_rule(x);
		assert_true(sum <= one * 1.001);
		ours += sum;
		plain += one;
	}
	print_message("  mean square error: %.3f of the plain rule's\n", ours / plain);
	assert_true(ours <= 0.92 * plain);
}

static void what_f16_cannot_hold_makes_its_block_nan_and_no_other(void **state)
{
	static const float bad[] = { NAN, INFINITY, -INFINITY, 1e30f };
	const struct kern *k;
	uint8_t blocks[2 * 34];
	float x[64], y[64];

	(void)state;
	for (unsigned at = 0; (k = kern_at(at)) != NULL; at++) {
		for (unsigned c = 0; c < 8; c++) {
			for (unsigned i = 0; i < 64; i++)
				x[i] = 1;
			x[c * 5] = bad[c / 2];
			to_blocks(k, block_types[c % 2], x, blocks, 64);
			quant_dequant_row(block_types[c % 2], blocks, y, 64);
			for (unsigned i = 0; i < 32; i++)
				assert_false(isfinite(y[c * 5 / 32 * 32 + i]));
			for (unsigned i = 0; i < 32; i++)
				assert_true(fabsf(y[32 - c * 5 / 32 * 32 + i] - 1) < 0.01f);
		}
	}
}

static void rotations_agree_and_keep_products(void **state)
{
	static float x[MAX_N + 16], y[MAX_N + 16], got[MAX_N], want[MAX_N];
	const struct kern *k;

	(void)state;
	for (unsigned at = 0; (k = kern_at(at)) != NULL; at++) {
		for (size_t n = 1; n <= 200; n++) {
			size_t padded = (n + 31) / 32 * 32;
			double exact = 0, size = 0;

			for (size_t i = 0; i < n + 16; i++) {
				x[i] = uniform(-1, 1);
				y[i] = uniform(-1, 1);
			}
			k->rotate(got, x + n % 16, 0.25f, n);
			ref()->rotate(want, x + n % 16, 0.25f, n);
			assert_same(k->name, got, want, padded);
			k->rotate(want, y + n % 16, 0.125f, n);
			for (size_t i = 0; i < n; i++) {
				exact += (double)x[i + n % 16] * y[i + n % 16];
				size += fabs((double)x[i + n % 16] * y[i + n % 16]);
			}
			assert_true(fabs(k->dot(got, want, padded) - exact) <= 1e-5 * (size + 1));
		}
	}
}

#define MIX_V (110 * 300) /* numbers of v in the test of mix */
#define MIX_Y (16 * 300)

/* What v holds, as numbers of each type; and steps. */
struct mix_data {
	_Alignas(4) uint8_t v[MIX_V * sizeof(float)];
	uint16_t steps[300];
	float w[16 * 113], y[MIX_Y];
};

static void fill_mix(struct mix_data *d, enum kern_number type)
{
	static float x[MIX_V];

	fill(x, MIX_V);
	fill(d->w, 16 * 113);
	fill(d->y, MIX_Y);
	if (type == KERN_F32)
		memcpy(d->v, x, sizeof(x));
	else if (type == KERN_F16)
		ref()->to_f16(x, (uint16_t *)(void *)d->v, MIX_V);
	for (size_t i = 0; type == KERN_I8 && i < MIX_V; i++)
		d->v[i] = (uint8_t)rng_u64(1, counter++);
	ref()->to_f16(x, d->steps, 300);
}

/* n columns on every table, in a shape that n gives, of few rows or many. */
static void compare_mix(const struct mix_data *d, enum kern_number type, size_t n, bool many)
{
	static float got[MIX_Y], want[MIX_Y];
	const struct kern *k;

	FOR_EACH_KERN(k)
	{
		const size_t each = type == KERN_F32 ? 4 : type == KERN_F16 ? 2 : 1;
		struct kern_mix m = { .y = got + 1,
				      .w = d->w,
				      .v = d->v + n % 5 * each,
				      .ahead = n % 2 ? d->v : NULL,
				      .ahead_bytes = n * 16,
				      .steps = n % 3 || many ? NULL : (const uint8_t *)d->steps,
				      .type = type,
				      .ldy = n + 7,
				      .ldw = 113,
				      .ldv = n + 2,
				      .ny = n % 17,
				      .nv = n % 40 + (many ? 70 : 0),
				      .n = n,
				      .fresh = n / 4 % 3 == 0 };

		memcpy(got, d->y, sizeof(got));
		memcpy(want, d->y, sizeof(want));
		k->mix(&m);
		m.y = want + 1;
		ref()->mix(&m);
		assert_same(k->name, got, want, MIX_Y);
	}
}

static void weighted_sums_run_in_the_order_of_positions(void **state)
{
	static struct mix_data d;

	(void)state;
	for (size_t n = 0; n <= 280; n++) {
		for (unsigned type = KERN_F32; type <= KERN_I8; type++) {
			fill_mix(&d, (enum kern_number)type);
			compare_mix(&d, (enum kern_number)type, n, false);
			if (n % 16 == 0)
				compare_mix(&d, (enum kern_number)type, n, true);
		}
	}
}

/* What a mix is, told another way. */
static void a_weighted_sum_is_right_to_rounding(void **state)
{
	const float w[] = { 2, -3, 0.5f };
	const int8_t v[] = { 1, 2, 3, 4, 5, 6, -7, 8, 9 };
	const uint16_t steps[] = { 0x3c00, 0x4000, 0xb800 }; /* 1, 2, -0.5 */
	const float want[] = { -13.5f + 10, -7 * 2.0f + 10, -7.5f * -0.5f + 10 };
	const struct kern *k;

	(void)state;
	for (unsigned at = 0; (k = kern_at(at)) != NULL; at++) {
		float y[] = { 10, 10, 10 };
		const struct kern_mix m = { .y = y,
					    .w = w,
					    .v = v,
					    .steps = (const uint8_t *)steps,
					    .type = KERN_I8,
					    .ldy = 3,
					    .ldw = 3,
					    .ldv = 3,
					    .ny = 1,
					    .nv = 3,
					    .n = 3 };
		k->mix(&m);
		for (unsigned i = 0; i < 3; i++) {
			if (y[i] != want[i])
				fail_msg("%s: %g, not %g", k->name, (double)y[i], (double)want[i]);
		}
	}
}

#define WEIGH_ROWS 5

struct weighed {
	float x[WEIGH_ROWS * 210], y[WEIGH_ROWS * 50], top[WEIGH_ROWS], sum[WEIGH_ROWS];
};

static void weigh_on(const struct kern *k, struct weighed *d, size_t n)
{
	const struct kern_weigh w = { .x = d->x + n % 7,
				      .y = d->y + 1,
				      .top = d->top,
				      .sum = d->sum,
				      .ldx = n + 3,
				      .ldy = n % 40 + 2,
				      .nx = n % (WEIGH_ROWS + 1),
				      .n = n,
				      .dim = n % 40 };

	k->weigh(&w);
	for (unsigned i = 0; i < WEIGH_ROWS; i++)
		d->top[i] += 0.0f; /* either zero may be the largest */
}

/* With tops above, amidst and below the scores. */
static void weights_agree_on_every_length(void **state)
{
	static struct weighed before, got, want;
	const struct kern *k;

	(void)state;
	FOR_EACH_KERN(k)
	{
		for (size_t n = 1; n <= 200; n++) {
			fill(before.x, WEIGH_ROWS * 210);
			fill(before.y, WEIGH_ROWS * 50);
			for (unsigned i = 0; i < WEIGH_ROWS; i++) {
				before.top[i] = i % 2 ? uniform(-4, 4) : i ? 100 : -INFINITY;
				before.sum[i] = uniform(0, 10);
			}
			got = want = before;
			weigh_on(k, &got, n);
			weigh_on(ref(), &want, n);
			assert_same(k->name, got.x, want.x, WEIGH_ROWS * 210);
			assert_same(k->name, got.y, want.y, WEIGH_ROWS * 50);
			assert_same(k->name, got.top, want.top, WEIGH_ROWS);
			assert_same(k->name, got.sum, want.sum, WEIGH_ROWS);
		}
	}
}

static void pieces_of_a_softmax_are_a_softmax(void **state)
{
	const float scores[] = { 1, 3, -2, 0, 5, 4 };
	const struct kern *k;

	(void)state;
	for (unsigned at = 0; (k = kern_at(at)) != NULL; at++) {
		float x[6], y = 0, top = -INFINITY, sum = 0;
		double want = 0, total = 0;

		memcpy(x, scores, sizeof(x));
		for (unsigned i = 0; i < 6; i += 2) {
			const struct kern_weigh w = { .x = x + i,
						      .y = &y,
						      .top = &top,
						      .sum = &sum,
						      .nx = 1,
						      .n = 2,
						      .dim = 1 };

			k->weigh(&w);
			y += x[i] * (float)i + x[i + 1] * (float)(i + 1);
		}
		for (unsigned i = 0; i < 6; i++) {
			total += exp((double)scores[i]);
			want += exp((double)scores[i]) * i;
		}
		assert_true(top == 5);
		assert_true(fabs((double)(y / sum) - want / total) < 1e-6);
	}
}

static void codes_and_steps_agree_on_every_length(void **state)
{
	static float src[3 * 210], got[3 * 210], want[3 * 210];
	static uint8_t bytes[300];
	static uint16_t steps[300];
	const struct kern *k;

	(void)state;
	FOR_EACH_KERN(k)
	{
		for (size_t n = 0; n <= 200; n++) {
			struct kern_stretch s = { .dst = got + 1,
						  .src = src + n % 3,
						  .steps = (const uint8_t *)steps,
						  .ldd = n + 5,
						  .lds = n + 2,
						  .nx = n % 4,
						  .n = n };
			int8_t codes[2][402] = { 0 };

			fill(src, 3 * 210);
			ref()->to_f16(src, steps, 300);
			memcpy(got, src, sizeof(got));
			memcpy(want, src, sizeof(want));
			k->stretch(&s);
			s.dst = want + 1;
			ref()->stretch(&s);
			assert_same(k->name, got, want, 3 * 210);
			for (size_t i = 0; i < 300; i++)
				bytes[i] = (uint8_t)rng_u64(1, counter++);
			k->nibbles(bytes + n % 9, codes[0] + 1, n);
			ref()->nibbles(bytes + n % 9, codes[1] + 1, n);
			assert_memory_equal(codes[0], codes[1], sizeof(codes[0]));
		}
	}
}

static void elementwise_kernels_agree_on_every_length(void **state)
{
	static float a[300], b[300], x[300], y[300];
	const struct kern *k;

	(void)state;
	FOR_EACH_KERN(k)
	{
		for (size_t n = 1; n <= 200; n++) {
			fill(a, 300);
			fill(b, 300);
			for (unsigned op = 0; op < 4; op++) {
				memcpy(x, a, sizeof(a));
				memcpy(y, a, sizeof(a));
				for (unsigned t = 0; t < 2; t++) {
					const struct kern *one = t ? ref() : k;
					float *z = (t ? y : x) + n % 16;

					if (op == 0)
						one->scale(z, 0.37f, n);
					else if (op == 1)
						one->add(z, b, n);
					else if (op == 2)
						one->silu_mul(z, b, n);
					else
						one->rms_norm(z, z, b, n, 1e-5f);
				}
				assert_same(k->name, x, y, 300);
			}
		}
	}
}

static void the_exponential_is_right_to_three_units_in_the_last_place(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 200000; i++) {
		float x = uniform(-87, 88);
		double want = exp((double)x);

		assert_true(fabs((double)kern_exp(x) - want) <= 2.5e-7 * want);
	}
	assert_true(kern_exp(0) == 1.0f);
	assert_true(kern_exp(-INFINITY) < 2e-38f && kern_exp(-INFINITY) > 0);
	assert_true(isnan(kern_exp(NAN)));
}

static void a_nan_is_never_lost(void **state)
{
	const struct kern *k;

	(void)state;
	for (unsigned at = 0; (k = kern_at(at)) != NULL; at++) {
		for (size_t bad = 0; bad < 40; bad++) {
			float x[40], one[40], y[40] = { 0 }, top = 1, sum = 0;
			const struct kern_weigh w = {
				.x = x, .y = y, .top = &top, .sum = &sum, .nx = 1, .n = 40
			};

			for (unsigned i = 0; i < 40; i++)
				x[i] = one[i] = 1;
			x[bad] = NAN;
			assert_true(isnan(k->dot(x, one, 40)));
			k->silu_mul(x, one, 40);
			assert_true(isnan(x[bad]));
			k->weigh(&w);
			assert_true(isnan(sum));
			k->rms_norm(y, x, one, 40, 1e-5f);
			assert_true(isnan(y[0]));
		}
	}
}

static void a_table_can_be_forced_and_a_wrong_word_is_refused(void **state)
{
	const struct kern *k = NULL;
	struct err e;

	(void)state;
	assert_int_equal(setenv("SPLITMQ_ISA", "ref", 1), 0);
	assert_int_equal(kern_pick(&k, &e), 0);
	assert_string_equal(k->name, "ref");
	assert_int_equal(setenv("SPLITMQ_ISA", "mmx", 1), 0);
	assert_int_equal(kern_pick(&k, &e), ERR_CONFIG);
	assert_non_null(strstr(e.text, "mmx"));
	assert_int_equal(unsetenv("SPLITMQ_ISA"), 0);
	assert_int_equal(kern_pick(&k, &e), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dots_of_every_length_and_alignment_are_those_of_the_definition),
		cmocka_unit_test(a_dot_is_right_to_rounding),
		cmocka_unit_test(a_dot_may_be_cut_into_pieces),
		cmocka_unit_test(a_tile_gives_the_bits_of_single_dots),
		cmocka_unit_test(every_type_is_dequantized_to_the_bits_of_quant),
		cmocka_unit_test(rows_of_every_type_give_the_dots_of_their_values),
		cmocka_unit_test(halves_are_rounded_alike),
		cmocka_unit_test(blocks_of_every_length_are_those_of_the_definition),
		cmocka_unit_test(a_hundred_thousand_blocks_of_q4_0_are_those_of_the_definition),
		cmocka_unit_test(a_block_of_q8_0_is_right_to_half_a_step),
		cmocka_unit_test(a_block_of_q4_0_beats_the_plain_rule),
		cmocka_unit_test(what_f16_cannot_hold_makes_its_block_nan_and_no_other),
		cmocka_unit_test(rotations_agree_and_keep_products),
		cmocka_unit_test(weighted_sums_run_in_the_order_of_positions),
		cmocka_unit_test(a_weighted_sum_is_right_to_rounding),
		cmocka_unit_test(weights_agree_on_every_length),
		cmocka_unit_test(pieces_of_a_softmax_are_a_softmax),
		cmocka_unit_test(codes_and_steps_agree_on_every_length),
		cmocka_unit_test(elementwise_kernels_agree_on_every_length),
		cmocka_unit_test(the_exponential_is_right_to_three_units_in_the_last_place),
		cmocka_unit_test(a_nan_is_never_lost),
		cmocka_unit_test(a_table_can_be_forced_and_a_wrong_word_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
