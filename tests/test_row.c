#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "codec/row.h"
#include "tools/source.h"

#define MOST_DIM 4096

static const size_t dims[] = { 1, 2, 3, 15, 16, 17, 64, 255, 256, 1000, 4096 };
static const float deltas[] = { 1e-6f, 1e-5f, 1e-4f, 1e-3f, 5e-3f, 0.02f, 0.1f, 0.3f, 0.5f };

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

static const struct row_conf wide = { .tau_kind = ROW_TAU_AUTO, .bits_min = 1, .bits_max = 16 };

/* What a test works with; large: not on the stack. */
static struct {
	float x[MOST_DIM], y[MOST_DIM + 8], back[MOST_DIM];
	int16_t q[MOST_DIM];
	struct row_outlier outliers[ROW_OUTLIERS(MOST_DIM)];
	struct row row;
} b;

static void quantize(const struct row_conf *conf, size_t dim, float budget)
{
	b.row = (struct row){ .q = b.q, .outliers = b.outliers };
	memcpy(b.y, b.x, dim * sizeof(*b.y));
	row_quantize(conf, b.y, NULL, dim, budget, &b.row);
	row_restore(&b.row, dim, b.back);
}

static double error_of(size_t dim)
{
	double sum = 0;

	for (size_t i = 0; i < dim; i++) {
		double e = (double)b.back[i] - (double)b.x[i];

		sum += e * e;
	}
	return sum;
}

/* The error that the row would have with another step. */
static double error_with_step(size_t dim, unsigned n)
{
	const double step = (double)row_step(n);
	double sum = 0;

	for (size_t i = 0; i < dim; i++) {
		double v = (double)b.x[i], e = v - nearbyint(v / step) * step;
		bool out = false;

		for (uint32_t k = 0; k < b.row.n_outliers; k++)
			out |= b.outliers[k].at == i;
		sum += out ? 0 : e * e;
	}
	return sum;
}

/* Rows of one kind and dim, at each delta. The sums of the code under test are in single
 * precision: a thousandth is theirs. */
static void check_budgets(const char *what, size_t dim)
{
	for (size_t k = 0; k < LEN(deltas); k++) {
		const float budget = deltas[k] * row_energy(b.x, dim);

		quantize(&wide, dim, budget);
		if (row_bits(b.q, dim) == ROW_MAX_BITS)
			continue; /* it would take more bits than there are */
		if (error_of(dim) > (double)budget * 1.001)
			fail_msg("%s, dim %zu, delta %g: the error is %.4g of the budget", what,
				 dim, (double)deltas[k], error_of(dim) / (double)budget);
	}
}

static void the_error_stays_within_the_budget_for_every_source(void **state)
{
	(void)state;
	for (unsigned kind = 0; kind < SOURCE_COUNT; kind++) {
		for (size_t d = 0; d < LEN(dims); d++) {
			for (uint64_t seed = 0; seed < (dims[d] < 300 ? 40 : 6); seed++) {
				source_row((enum source_kind)kind, seed, b.x, dims[d]);
				check_budgets(source_name((enum source_kind)kind), dims[d]);
			}
		}
	}
}

static void the_error_stays_within_the_budget_for_rows_of_any_size(void **state)
{
	static const float sizes[] = { 0x1p-40f, 1e-6f, 1e6f, 0x1p40f };

	(void)state;
	for (size_t s = 0; s < LEN(sizes); s++) {
		for (size_t d = 0; d < LEN(dims); d++) {
			source_row(SOURCE_GAUSS, 5, b.x, dims[d]);
			for (size_t i = 0; i < dims[d]; i++)
				b.x[i] *= sizes[s];
			check_budgets("scaled", dims[d]);
			for (size_t i = 0; i < dims[d]; i++)
				b.x[i] = sizes[s] * 1.37f;
			check_budgets("constant", dims[d]);
			for (size_t i = 0; i < dims[d]; i++)
				b.x[i] = i % 7 ? 0 : sizes[s];
			check_budgets("sparse", dims[d]);
		}
	}
}

static void the_largest_rows_that_the_codec_takes_are_within_the_budget(void **state)
{
	(void)state;
	for (size_t d = 0; d < LEN(dims); d++) {
		source_row(SOURCE_GAUSS, 6, b.x, dims[d]);
		for (size_t i = 0; i < dims[d]; i++)
			b.x[i] = fmaxf(-1, fminf(1, b.x[i] / 3)) * 0x1.fffffep49f;
		assert_true(isfinite(row_energy(b.x, dims[d])));
		check_budgets("largest", dims[d]);
	}
}

/* Where rounding errors are uniform the error of a step is known to a few per cent, so that two
 * notches (a factor of 1.41) are too many; one (1.19) mostly is. */
static void no_step_is_much_finer_than_needed(void **state)
{
	unsigned rows = 0, exact = 0;

	(void)state;
	for (unsigned kind = 0; kind < SOURCE_COUNT; kind++) {
		for (uint64_t seed = 0; seed < 20; seed++) {
			source_row((enum source_kind)kind, seed, b.x, 1000);
			for (size_t k = 0; k < LEN(deltas) && deltas[k] < 0.01f; k++) {
				const float budget = deltas[k] * row_energy(b.x, 1000);

				quantize(&wide, 1000, budget);
				assert_true(error_with_step(1000, b.row.step + 2u) >
					    (double)budget);
				exact += error_with_step(1000, b.row.step + 1u) >
					 (double)budget * 0.999;
				rows++;
			}
		}
	}
	assert_in_range(exact, rows * 98 / 100, rows);
}

static void a_row_of_zeros_or_of_next_to_nothing_has_nothing_to_say(void **state)
{
	(void)state;
	for (size_t d = 0; d < LEN(dims); d++) {
		for (int tiny = 0; tiny < 2; tiny++) {
			for (size_t i = 0; i < dims[d]; i++)
				b.x[i] = tiny ? 0x1p-100f : 0;
			memset(b.q, 0x55, sizeof(b.q));
			quantize(&wide, dims[d], 0.005f * row_energy(b.x, dims[d]));
			assert_int_equal(b.row.n_outliers, 0);
			for (size_t i = 0; i < dims[d]; i++)
				assert_int_equal(b.q[i], 0);
		}
	}
}

static void what_is_far_beyond_the_others_is_taken_out_and_comes_back(void **state)
{
	(void)state;
	for (size_t dim = 64; dim <= MOST_DIM; dim *= 4) {
		source_row(SOURCE_MASSIVE, dim, b.x, dim);
		quantize(&wide, dim, 0.01f * row_energy(b.x, dim));
		assert_int_equal(b.row.n_outliers, 2);
		for (unsigned k = 0; k < 2; k++) {
			size_t at = b.outliers[k].at;

			assert_true(source_sticks_out(SOURCE_MASSIVE, at, dim));
			assert_int_equal(b.q[at], 0);
			assert_true(b.back[at] == b.x[at]);
		}
		/* the massive ones are not what an error is relative to */
		assert_true(row_energy(b.x, dim) < 2 * (float)dim);
	}
}

static uint32_t outliers_with(enum row_tau kind, float tau)
{
	const struct row_conf conf = {
		.tau_kind = kind, .tau = tau, .bits_min = 1, .bits_max = 16
	};

	quantize(&conf, 1000, 10);
	return b.row.n_outliers;
}

static void tau_says_what_is_taken_out(void **state)
{
	(void)state;
	source_row(SOURCE_GAUSS, 1, b.x, 1000);
	for (unsigned i = 0; i < 5; i++)
		b.x[i * 190 + 3] = 9.0f + 0.9f * (float)i;
	assert_int_equal(outliers_with(ROW_TAU_OFF, 0), 0);
	assert_int_equal(outliers_with(ROW_TAU_ABS, 11.5f), 2);
	assert_int_equal(outliers_with(ROW_TAU_ABS, 8), 5);
	assert_int_equal(outliers_with(ROW_TAU_RMS, 6), 5);
	assert_int_equal(outliers_with(ROW_TAU_RMS, 30), 0);
	/* where everything sticks out nothing does */
	assert_int_equal(outliers_with(ROW_TAU_ABS, 0.01f), 0);
	b.x[500] = 400;
	assert_int_equal(outliers_with(ROW_TAU_AUTO, 0), 1);
}

static void bits_min_and_max_are_honoured(void **state)
{
	(void)state;
	for (unsigned kind = 0; kind < SOURCE_COUNT; kind++) {
		source_row((enum source_kind)kind, 3, b.x, 256);
		for (unsigned min = 1; min <= 16; min++) {
			for (unsigned max = min; max <= 16; max++) {
				const struct row_conf conf = { .tau_kind = ROW_TAU_AUTO,
							       .bits_min = min,
							       .bits_max = max };

				for (size_t k = 0; k < LEN(deltas); k++) {
					quantize(&conf, 256, deltas[k] * row_energy(b.x, 256));
					assert_in_range(row_bits(b.q, 256), min, max);
				}
			}
		}
	}
}

static void steps_grow_by_an_eighth_of_an_octave(void **state)
{
	(void)state;
	for (unsigned n = 0; n < ROW_STEPS; n++) {
		double want = exp2(n / 8.0 - 100);

		assert_true(isfinite(row_step(n)));
		assert_true(fabs((double)row_step(n) / want - 1) < 1e-6);
		assert_true(!n || row_step(n) > row_step(n - 1));
	}
	for (int class = -127; class <= 127; class ++)
		assert_true(fabs((double)row_unclass(class) / exp2(-class / 4.0) - 1) < 1e-6);
}

static void bits_are_those_of_the_widest_element_and_its_sign(void **state)
{
	static const struct {
		int16_t q;
		unsigned bits;
	} cases[] = { { 0, 1 },      { 1, 2 },      { -1, 2 },     { 2, 3 },      { -3, 3 },
		      { 4, 4 },      { 127, 8 },    { -128, 9 },   { 255, 9 },    { 256, 10 },
		      { 16383, 15 }, { 16384, 16 }, { 32767, 16 }, { -32767, 16 } };

	(void)state;
	for (size_t i = 0; i < LEN(cases); i++) {
		int16_t q[3] = { 0, cases[i].q, 0 };

		assert_int_equal(row_bits(q, 3), cases[i].bits);
	}
}

/* The same row at other addresses: the same integers. */
static void results_do_not_depend_on_alignment(void **state)
{
	static int16_t first[MOST_DIM];

	(void)state;
	for (size_t d = 0; d < LEN(dims); d++) {
		unsigned step = 0;

		source_row(SOURCE_LAPLACE, 4, b.x, dims[d]);
		for (unsigned shift = 0; shift < 8; shift++) {
			const float budget = 0.01f * row_energy(b.x, dims[d]);

			memcpy(b.y + shift, b.x, dims[d] * sizeof(*b.y));
			assert_true(row_energy(b.y + shift, dims[d]) * 0.01f == budget);
			b.row = (struct row){ .q = b.q, .outliers = b.outliers };
			row_quantize(&wide, b.y + shift, NULL, dims[d], budget, &b.row);
			if (shift) {
				assert_int_equal(b.row.step, step);
				assert_memory_equal(b.q, first, dims[d] * sizeof(*b.q));
			}
			step = b.row.step;
			memcpy(first, b.q, dims[d] * sizeof(*b.q));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_error_stays_within_the_budget_for_every_source),
		cmocka_unit_test(the_error_stays_within_the_budget_for_rows_of_any_size),
		cmocka_unit_test(the_largest_rows_that_the_codec_takes_are_within_the_budget),
		cmocka_unit_test(no_step_is_much_finer_than_needed),
		cmocka_unit_test(a_row_of_zeros_or_of_next_to_nothing_has_nothing_to_say),
		cmocka_unit_test(what_is_far_beyond_the_others_is_taken_out_and_comes_back),
		cmocka_unit_test(tau_says_what_is_taken_out),
		cmocka_unit_test(bits_min_and_max_are_honoured),
		cmocka_unit_test(steps_grow_by_an_eighth_of_an_octave),
		cmocka_unit_test(bits_are_those_of_the_widest_element_and_its_sign),
		cmocka_unit_test(results_do_not_depend_on_alignment),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
