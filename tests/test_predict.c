#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "codec/dot.h"
#include "codec/predict.h"
#include "tests/tiny_cal.h"

#define MOST  300
#define LARGE 150 /* components: more than predict.c takes at a time */

/* Room to begin at any address. */
static struct {
	int8_t a8[MOST + 64];
	int16_t a16[MOST + 64], b16[MOST + 64];
	float b[MOST + 64];
} d;

static const struct dot *const variants[] = {
	&dot_ref,
#ifdef CODEC_X86
	&dot_avx2,
#endif
};

static bool can_run(const struct dot *dot)
{
#ifdef CODEC_X86
	if (dot == &dot_avx2)
		return __builtin_cpu_supports("avx2");
#endif
	return dot == &dot_ref;
}

/* The extremes are drawn often. */
static void fill(uint64_t seed)
{
	for (size_t i = 0; i < MOST + 64; i++) {
		uint64_t r = rng_u64(seed, i);

		d.a8[i] = (int8_t)(r % 4 ? (int)(r >> 8) : (r & 4 ? -128 : 127));
		d.a16[i] = (int16_t)(r % 4 ? (int)(r >> 16) : (r & 4 ? -32768 : 32767));
		d.b16[i] = (int16_t)(r % 4 ? (int)(r >> 32) % 1024 : (r & 4 ? -1023 : 1023));
		d.b[i] = (float)ldexp(rng_unit(seed + 1, i) - 0.5, (int)(r >> 50) % 40 - 20);
	}
}

static uint32_t bits_of(float v)
{
	uint32_t bits;

	memcpy(&bits, &v, sizeof(bits));
	return bits;
}

/* The bytes that are there as up to 9 rows of n: a row of many is a row alone. */
static void check_rows(const struct dot *dot, const int8_t *a8, const int16_t *a16, const float *b,
		       const int16_t *b16, size_t n)
{
	const size_t width = n / 9;
	int32_t sums[9];
	float f16[9], f8[9];

	for (size_t rows = 1; width && rows <= 9; rows++) {
		dot->i8_i16_rows(a8, rows, b16, width, sums);
		dot->i16_f32_rows(a16, rows, b, width, f16);
		dot->i8_f32_rows(a8, rows, b, width, f8);
		for (size_t r = 0; r < rows; r++) {
			const int8_t *row8 = a8 + r * width;
			const int16_t *row16 = a16 + r * width;

			assert_true(sums[r] == dot_ref.i8_i16(row8, b16, width));
			assert_int_equal(bits_of(f16[r]),
					 bits_of(dot_ref.i16_f32(row16, b, width)));
			assert_int_equal(bits_of(f8[r]), bits_of(dot_ref.i8_f32(row8, b, width)));
		}
	}
}

static void check_all(const struct dot *dot, size_t n, size_t at)
{
	const int8_t *a8 = d.a8 + at;
	const int16_t *a16 = d.a16 + at, *b16 = d.b16 + at / 2;
	const float *b = d.b + at / 3;
	int64_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += (int64_t)a8[i] * b16[i];
	assert_true(sum == dot->i8_i16(a8, b16, n));
	assert_int_equal(bits_of(dot->i16_f32(a16, b, n)), bits_of(dot_ref.i16_f32(a16, b, n)));
	assert_int_equal(bits_of(dot->i8_f32(a8, b, n)), bits_of(dot_ref.i8_f32(a8, b, n)));
	check_rows(dot, a8, a16, b, b16, n);
}

static void every_variant_gives_the_bits_of_the_plain_one(void **state)
{
	(void)state;
	for (size_t v = 0; v < sizeof(variants) / sizeof(variants[0]); v++) {
		if (!can_run(variants[v]))
			continue;
		for (size_t n = 0; n <= MOST; n = n < 100 ? n + 1 : n + 37) {
			fill(n);
			for (size_t at = 0; at < 64; at += n < 100 ? 1 : 7)
				check_all(variants[v], n, at);
		}
	}
}

/* The order of the sum is part of the wire format: 16 lanes, then halves onto halves. */
static void floats_are_summed_in_sixteen_lanes_and_a_tree(void **state)
{
	(void)state;
	for (size_t n = 1; n <= 100; n++) {
		float lane[16] = { 0 };

		fill(n);
		for (size_t i = 0; i < n; i++) {
			volatile float product = (float)d.a16[i] * d.b[i];

			lane[i % 16] += product;
		}
		for (unsigned width = 8; width; width /= 2) {
			for (unsigned i = 0; i < width; i++)
				lane[i] += lane[i + width];
		}
		assert_int_equal(bits_of(lane[0]), bits_of(dot_pick()->i16_f32(d.a16, d.b, n)));
	}
}

static void the_largest_sum_of_integers_does_not_overflow(void **state)
{
	static int8_t a[CAL_MAX_K];
	static int16_t b[CAL_MAX_K];

	(void)state;
	memset(a, -128, sizeof(a));
	for (size_t i = 0; i < CAL_MAX_K; i++)
		b[i] = -PREDICT_MOST;
	for (size_t v = 0; v < sizeof(variants) / sizeof(variants[0]); v++) {
		if (can_run(variants[v]))
			assert_int_equal(variants[v]->i8_i16(a, b, CAL_MAX_K),
					 128 * PREDICT_MOST * CAL_MAX_K);
	}
}

static void the_word_ref_in_the_environment_asks_for_the_plain_one(void **state)
{
	const char *before = getenv("SPLITMQ_ISA");
	char kept[64] = "";

	(void)state;
	if (before)
		strncat(kept, before, sizeof(kept) - 1);
	setenv("SPLITMQ_ISA", "ref", 1);
	assert_ptr_equal(dot_pick(), &dot_ref);
	unsetenv("SPLITMQ_ISA");
	assert_true(can_run(dot_pick()));
	if (before)
		setenv("SPLITMQ_ISA", kept, 1);
}

/* What docs and PROTOCOL.md say of a prediction, in integers, with each float operation on its
 * own. */
static float expected(const struct cal *c, const struct cal_split *s, enum cal_mode mode,
		      const struct predict_from *from, uint32_t i)
{
	const struct cal_predictor *p = &s->predictors[mode];
	const uint32_t *const ids[2] = { from->token, from->earlier };
	const int8_t *const tables[2] = { p->now, p->before };
	volatile float v;
	int64_t sum = 0;

	if (!from->row)
		return s->first[i];
	for (uint32_t j = 0; j < s->k; j++) {
		volatile float scaled = from->row[j] * s->in_scale[j];
		double whole = nearbyint((double)scaled);

		whole = whole > 1023 ? 1023 : whole < -1023 ? -1023 : whole;
		sum += (int64_t)p->rows[i * s->k + j] * (int64_t)whole;
	}
	v = (float)sum * p->scale[i];
	v += p->bias[i];
	sum = 0;
	for (unsigned t = 0; t < 2 && mode == CAL_TOKENS; t++) {
		for (uint32_t j = 0; ids[t] && j < c->n_features; j++)
			sum += c->features[*ids[t] * c->n_features + j] *
			       tables[t][i * c->n_features + j];
		if (ids[t] && !c->n_features)
			sum += tables[t][*ids[t] * s->k + i];
	}
	if (mode == CAL_TOKENS) {
		volatile float part = (float)sum * p->token_scale[i];

		v += part;
	}
	return v;
}

static void check_row(struct cal *c, enum cal_mode mode, const struct predict_from *from)
{
	const struct cal_split *s = tiny_cal_split(c, 1);
	float p[LARGE];
	int16_t z[LARGE];

	predict_row(c, s, mode, from, z, p);
	for (uint32_t i = 0; i < s->k; i++)
		assert_int_equal(bits_of(p[i]), bits_of(expected(c, s, mode, from, i)));
}

static void check_predictions(uint32_t k, uint32_t features)
{
	struct tiny_cal conf = { .dim = k + 4,
				 .k = k,
				 .features = features,
				 .vocab = 20,
				 .n_splits = 1,
				 .size = 3,
				 .seed = 5 };
	struct cal *c = tiny_cal_make(&conf);

	for (uint32_t n = 0; n < 40; n++) {
		const uint32_t id = n % 20, earlier = n * 7 % 20;
		struct predict_from from = { .token = &id, .earlier = &earlier };
		float row[LARGE];

		/* the larger ones are beyond what an integer holds */
		tiny_cal_rows(n, 0, 1, k, n < 20 ? 3 : 50, row);
		check_row(c, CAL_TOKENS, &from);
		from.row = row;
		check_row(c, CAL_ROWS, &from);
		check_row(c, CAL_TOKENS, &from);
		from.earlier = NULL;
		check_row(c, CAL_TOKENS, &from);
		from.token = NULL;
		check_row(c, CAL_TOKENS, &from);
	}
	cal_close(c);
}

static void a_prediction_is_what_its_integers_say(void **state)
{
	(void)state;
	for (uint32_t features = 0; features <= 8; features += 4) {
		check_predictions(33, features);
		check_predictions(LARGE, features);
	}
}

static void components_beyond_the_range_count_as_its_end(void **state)
{
	struct tiny_cal conf = {
		.dim = 8, .k = 8, .vocab = 2, .n_splits = 1, .size = 1, .seed = 6
	};
	struct cal *c = tiny_cal_make(&conf);
	const struct cal_split *s = tiny_cal_split(c, 1);
	static const float huge[] = { 1e6f, 1e30f, INFINITY };
	float row[8], p[8], first[8];
	int16_t z[8];

	(void)state;
	for (size_t h = 0; h < 3; h++) {
		const struct predict_from from = { .row = row };

		for (unsigned i = 0; i < 8; i++)
			row[i] = i % 2 ? huge[h] : -huge[h];
		predict_row(c, s, CAL_ROWS, &from, z, p);
		for (unsigned i = 0; i < 8; i++)
			assert_int_equal(z[i], i % 2 ? PREDICT_MOST : -PREDICT_MOST);
		if (!h)
			memcpy(first, p, sizeof(p));
		assert_memory_equal(first, p, sizeof(p));
	}
	cal_close(c);
}

static void back_undoes_forward(void **state)
{
	struct tiny_cal conf = {
		.dim = 96, .k = 96, .vocab = 2, .n_splits = 1, .size = 1, .seed = 7
	};
	struct cal *c = tiny_cal_make(&conf);
	const struct cal_split *s = tiny_cal_split(c, 1);
	float x[96], u[96], y[96];
	double error = 0, energy = 0;

	(void)state;
	tiny_cal_rows(3, 0, 1, 96, 1, x);
	predict_forward(s, x, 96, u);
	predict_back(s, u, 96, y);
	for (unsigned i = 0; i < 96; i++) {
		error += pow((double)(y[i] - x[i]), 2);
		energy += pow((double)x[i], 2);
	}
	assert_true(error < 1e-3 * energy); /* the bytes of `back` */
	cal_close(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_variant_gives_the_bits_of_the_plain_one),
		cmocka_unit_test(floats_are_summed_in_sixteen_lanes_and_a_tree),
		cmocka_unit_test(the_largest_sum_of_integers_does_not_overflow),
		cmocka_unit_test(the_word_ref_in_the_environment_asks_for_the_plain_one),
		cmocka_unit_test(a_prediction_is_what_its_integers_say),
		cmocka_unit_test(components_beyond_the_range_count_as_its_end),
		cmocka_unit_test(back_undoes_forward),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
