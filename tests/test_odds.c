/* tests/test_odds.c - which guesses are worth sending (agent/odds.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "agent/odds.h"

static void guesses_are_as_good_as_they_were_of_late(void **state)
{
	struct odds o = { 0 };

	(void)state;
	assert_true(odds_of(&o, 2, 1) > odds_of(&o, 2, 0)); /* it was right before */
	for (unsigned i = 0; i < 1000; i++) {
		odds_learn(&o, 2, 0, false);
		odds_learn(&o, 2, 3, true);
	}
	assert_true(odds_of(&o, 2, 0) < 0.02 && odds_of(&o, 2, 3) > 0.98);
	for (unsigned i = 0; i < 1000; i++)
		odds_learn(&o, 2, 0, i % 4 > 0);
	assert_true(odds_of(&o, 2, 0) > 0.7 && odds_of(&o, 2, 0) < 0.8);
	assert_true(odds_of(&o, 3, 3) < 0.7); /* nothing is known of those */
}

static void what_is_sent_must_be_likely_to_pay(void **state)
{
	(void)state;
	assert_true(odds_are_good(0.5, 20000, 1000));
	assert_true(odds_are_good(0.5, 20000, 0)); /* the link's rate is not known */
	assert_false(odds_are_good(0.5, 20000, 25000));
	assert_true(odds_are_good(0.9, 20000, 25000));
	assert_false(odds_are_good(0.1, 20000, 0));
	assert_false(odds_are_good(1, 0, 1000)); /* nothing is waited for */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(guesses_are_as_good_as_they_were_of_late),
		cmocka_unit_test(what_is_sent_must_be_likely_to_pay),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
