/* tests/test_window.c - what the newest of many figures add up to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "base/rng.h"
#include "base/window.h"

static void assert_near(double got, double wanted, double share)
{
	if (!(fabs(got - wanted) <= share * fabs(wanted)))
		fail_msg("%g is not near %g", got, wanted);
}

/* Times with a tail: at least 0.2 and 0.1 more in the mean, now and then much more. */
static double skewed(uint64_t seed, uint64_t i)
{
	return 0.2 - 0.1 * log(1 - rng_unit(seed, i));
}

static double sum_of(struct window *w, uint64_t seed, unsigned n)
{
	double sum = 0;

	for (unsigned i = 0; i < n; i++) {
		const double v = skewed(seed, i);

		window_add(w, v);
		sum += v;
	}
	return sum;
}

static void nothing_is_known_at_first(void **state)
{
	struct window w = { 0 };

	(void)state;
	assert_true(window_mean(&w) == 0 && window_median(&w) == 0);
}

static void few_figures_have_their_mean_or_their_median(void **state)
{
	struct window w = { 0 };

	(void)state;
	window_add(&w, 3);
	assert_near(window_mean(&w), 3, 1e-6);
	window_add(&w, 5);
	assert_near(window_mean(&w), 4, 1e-6);
	window_add(&w, 300);
	assert_near(window_mean(&w), 5, 1e-6);
	window_add(&w, 4);
	assert_near(window_mean(&w), 4.5, 1e-6);
	assert_near(window_median(&w), 4.5, 1e-6);
}

static void a_skewed_series_is_told_as_what_it_adds_up_to(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct window w = { 0 };
		const double mean = sum_of(&w, seed, WINDOW_KEPT) / WINDOW_KEPT;

		assert_near(window_mean(&w), mean, 0.03);
		assert_true(window_median(&w) < 0.96 * mean);
	}
}

static void one_stall_moves_it_hardly(void **state)
{
	static const unsigned counts[] = { 5, 12, 40, WINDOW_KEPT };

	(void)state;
	for (unsigned i = 0; i < sizeof(counts) / sizeof(*counts); i++) {
		const unsigned n = counts[i];
		struct window w = { 0 };
		double before, sum = 0;

		for (unsigned k = 0; k < n; k++) {
			window_add(&w, 1 + 0.1 * rng_unit(5, k));
			sum += 1 + 0.1 * rng_unit(5, k);
		}
		before = window_mean(&w);
		assert_near(before, sum / n, 0.01);
		w.v[n / 2] *= 100;
		assert_near(window_mean(&w), before, 0.02);
	}
}

static void what_is_slow_every_now_and_then_counts(void **state)
{
	struct window w = { 0 };

	(void)state;
	for (unsigned i = 0; i < WINDOW_KEPT; i++)
		window_add(&w, i % 8 ? 1 : 3);
	assert_near(window_mean(&w), 1.25, 1e-6);
	assert_near(window_median(&w), 1, 1e-6);
}

static void only_the_newest_count(void **state)
{
	struct window w = { 0 };

	(void)state;
	for (unsigned i = 0; i < 3 * WINDOW_KEPT; i++)
		window_add(&w, 1);
	for (unsigned i = 0; i < WINDOW_KEPT; i++)
		window_add(&w, 2);
	assert_near(window_mean(&w), 2, 1e-6);
	window_scale(&w, 1.5);
	assert_near(window_mean(&w), 3, 1e-6);
	assert_near(window_median(&w), 3, 1e-6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_known_at_first),
		cmocka_unit_test(few_figures_have_their_mean_or_their_median),
		cmocka_unit_test(a_skewed_series_is_told_as_what_it_adds_up_to),
		cmocka_unit_test(one_stall_moves_it_hardly),
		cmocka_unit_test(what_is_slow_every_now_and_then_counts),
		cmocka_unit_test(only_the_newest_count),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
