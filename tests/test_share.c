/* tests/test_share.c - how much of the compute thread's time side jobs get (agent/share.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "agent/share.h"

/* A row took so long beside side jobs; returns what their steps get then, each of step_us. */
static int64_t row_beside(struct share *s, int64_t took_us, int64_t step_us)
{
	int64_t got = 0;

	share_learn(s, true, false, took_us);
	share_owe(s, took_us);
	for (; share_is_due(s); got += step_us) {
		s->step_us = step_us;
		share_had(s, true, step_us);
	}
	return got;
}

/* Rows without any, so that it is known what they take. */
static void be_calm(struct share *s, int64_t row_us)
{
	for (unsigned i = 0; i < 12; i++)
		share_learn(s, false, false, row_us);
}

static void side_jobs_get_half_of_what_rows_take(void **state)
{
	struct share s = { 0 };
	int64_t got = 0;

	(void)state;
	be_calm(&s, 1000);
	for (unsigned i = 0; i < 10; i++)
		got += row_beside(&s, 1000, 100);
	assert_int_equal(got, 10 * 500);
	assert_int_equal(row_beside(&s, 600, 100), 300); /* however much quicker it was */
}

/* By a step that is longer than a share, the next ones have less. */
static void what_a_step_is_too_long_by_counts_the_next_time(void **state)
{
	struct share s = { 0 };
	int64_t got = 0;

	(void)state;
	be_calm(&s, 1000);
	for (unsigned i = 0; i < 40; i++)
		got += row_beside(&s, 1000, 1600);
	assert_in_range(got, 40 * 500 - 1600, 40 * 500 + 1600);
	s = (struct share){ .owed_us = 799, .step_us = 1600 };
	assert_false(share_is_due(&s)); /* it would be twice as long */
	s.owed_us++;
	assert_true(share_is_due(&s));
}

static void a_row_that_is_slowed_by_half_leaves_them_a_third(void **state)
{
	struct share s = { 0 };
	int64_t got = 0;

	(void)state;
	be_calm(&s, 1000);
	assert_int_equal(row_beside(&s, 1100, 1), 400); /* half as long again is the most */
	s.owed_us = 0;
	for (unsigned i = 0; i < 10; i++)
		got += row_beside(&s, 1500, 1);
	assert_int_equal(got, 10 * 500);
}

/* What rows take was learned beside no side job, from the ninth on, and not from prompts. */
static void what_rows_take_is_learned_when_there_are_no_side_jobs(void **state)
{
	struct share s = { 0 };

	(void)state;
	for (unsigned i = 0; i < 8; i++)
		share_learn(&s, false, false, 4000);
	assert_int_equal(s.calm_us, 0);
	share_learn(&s, false, true, 90000);
	assert_int_equal(s.calm_us, 0);
	share_learn(&s, false, false, 1000);
	assert_int_equal(s.calm_us, 1000);
	share_learn(&s, true, false, 9000);
	share_learn(&s, false, false, 9000);
	assert_int_equal(s.calm_us, 1000);
}

/* Their first step is long in coming: weights have to be read. */
static void what_was_missed_comes_two_shares_at_a_time(void **state)
{
	struct share s = { 0 };

	(void)state;
	be_calm(&s, 1000);
	for (unsigned i = 0; i < 10; i++)
		share_owe(&s, 1000);
	assert_int_equal(row_beside(&s, 1000, 100), 2 * 500);
	assert_int_equal(row_beside(&s, 1000, 100), 500);
}

/* The thread had nothing else to do: one step of that is remembered, not all. */
static void what_they_had_meanwhile_counts_as_a_step_at_most(void **state)
{
	struct share s = { .step_us = 300 };

	(void)state;
	be_calm(&s, 1000);
	for (unsigned i = 0; i < 10; i++)
		share_had(&s, false, 300);
	assert_int_equal(row_beside(&s, 1000, 100), 0);
	assert_int_equal(s.owed_us, -300);
	assert_int_equal(row_beside(&s, 1000, 100), 200);
	share_owe(&s, 1000);
	assert_true(share_is_due(&s));
	share_forget(&s);
	assert_false(share_is_due(&s));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(side_jobs_get_half_of_what_rows_take),
		cmocka_unit_test(what_a_step_is_too_long_by_counts_the_next_time),
		cmocka_unit_test(a_row_that_is_slowed_by_half_leaves_them_a_third),
		cmocka_unit_test(what_rows_take_is_learned_when_there_are_no_side_jobs),
		cmocka_unit_test(what_was_missed_comes_two_shares_at_a_time),
		cmocka_unit_test(what_they_had_meanwhile_counts_as_a_step_at_most),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
