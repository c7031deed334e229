#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tools/spread.h"

static void an_interval_takes_as_many_from_each_end_as_chance_allows(void **state)
{
	/* tables of the sign test: the k-th smallest and largest of n at 5 % */
	static const struct {
		size_t n, k;
	} known[] = { { 6, 1 }, { 8, 1 }, { 9, 2 }, { 12, 3 }, { 20, 6 }, { 25, 8 }, { 100, 40 } };
	double v[100], low, high;

	(void)state;
	for (size_t i = 0; i < 100; i++)
		v[i] = (double)(i + 1);
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		assert_true(spread_interval(v, known[i].n, &low, &high));
		assert_true(low == (double)known[i].k);
		assert_true(high == (double)(known[i].n + 1 - known[i].k));
	}
}

static void five_values_are_too_few(void **state)
{
	const double v[5] = { 1, 2, 3, 4, 5 };
	double low, high;

	(void)state;
	for (size_t n = 1; n <= 5; n++)
		assert_false(spread_interval(v, n, &low, &high));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_interval_takes_as_many_from_each_end_as_chance_allows),
		cmocka_unit_test(five_values_are_too_few),
	};

	return cmocka_run_group_tests_name("spread", tests, NULL, NULL);
}
