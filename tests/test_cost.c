/* tests/test_cost.c - what is learned of the time that steps take. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "base/rng.h"
#include "worker/cost.h"

static void assert_near(double got, double wanted, double share)
{
	if (!(fabs(got - wanted) <= share * wanted))
		fail_msg("%g is not near %g", got, wanted);
}

static void nothing_is_known_at_first(void **state)
{
	struct cost c = { 0 };

	(void)state;
	assert_true(cost_us(&c, 1) == 0);
	cost_learn(&c, 0, 100); /* no rows, nothing to learn */
	assert_true(cost_us(&c, 1) == 0);
}

static void one_size_makes_every_row_look_dear(void **state)
{
	struct cost c = { 0 };

	(void)state;
	cost_learn(&c, 2, 1000);
	assert_near(cost_us(&c, 2), 1000, 1e-6);
	assert_near(cost_us(&c, 4), 2000, 1e-6);
}

static void a_line_is_found(void **state)
{
	struct cost c = { 0 };

	(void)state;
	for (double rows = 1; rows <= 256; rows *= 2)
		cost_learn(&c, rows, 5000 + 300 * rows);
	assert_near(c.base_us, 5000, 1e-4);
	assert_near(c.row_us, 300, 1e-4);
}

static void steps_that_were_interrupted_count_nothing(void **state)
{
	struct cost c = { 0 };

	(void)state;
	for (unsigned i = 0; i < 200; i++) {
		const double rows = 1 + (double)(rng_u64(1, i) % 64);
		const double noise = 1 + 0.02 * (double)(rng_u64(2, i) % 100) / 100;

		cost_learn(&c, rows, i % 5 ? (5000 + 300 * rows) * noise : 1e6);
	}
	assert_near(cost_us(&c, 1), 5300, 0.1);
	assert_near(cost_us(&c, 64), 24200, 0.1);
}

static void many_steps_of_one_size_do_not_make_the_others_forgotten(void **state)
{
	struct cost c = { 0 };

	(void)state;
	cost_learn(&c, 128, 43400);
	for (unsigned i = 0; i < 100000; i++)
		cost_learn(&c, 1, 5300);
	assert_near(c.row_us, 300, 1e-3);
}

static void a_machine_that_becomes_slower_is_believed(void **state)
{
	struct cost c = { 0 };

	(void)state;
	for (unsigned i = 0; i < 100; i++)
		cost_learn(&c, 1 + i % 2 * 15, 1000 + 100 * (1 + i % 2 * 15));
	for (unsigned i = 0; i < 2 * COST_KEPT; i++)
		cost_learn(&c, 1 + i % 2 * 15, 3000 + 300 * (1 + i % 2 * 15));
	assert_near(c.base_us, 3000, 1e-3);
	assert_near(c.row_us, 300, 1e-3);
}

static void a_line_never_falls(void **state)
{
	struct cost c = { 0 };

	(void)state;
	cost_learn(&c, 1, 9000);
	cost_learn(&c, 16, 1000); /* nonsense, but it can be measured */
	assert_true(c.base_us >= 0);
	assert_true(c.row_us > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_known_at_first),
		cmocka_unit_test(one_size_makes_every_row_look_dear),
		cmocka_unit_test(a_line_is_found),
		cmocka_unit_test(steps_that_were_interrupted_count_nothing),
		cmocka_unit_test(many_steps_of_one_size_do_not_make_the_others_forgotten),
		cmocka_unit_test(a_machine_that_becomes_slower_is_believed),
		cmocka_unit_test(a_line_never_falls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
