#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tools/gaps.h"

/* Tokens take 1 ms, and 3 ms for a while: two of those are no gap of 5. */
static void tokens_without_text_take_what_their_neighbours_take(void **state)
{
	double gaps[60];
	uint32_t more[60] = { 0 };

	(void)state;
	for (size_t i = 0; i < 60; i++)
		gaps[i] = i < 30 ? 1 : 3;
	gaps[5] = 2;
	more[5] = 1;
	gaps[45] = 9;
	more[45] = 2;
	gaps_take_out(gaps, more, 60);
	assert_true(gaps[5] == 1);
	assert_true(gaps[45] == 3);
}

static void what_one_of_them_waited_is_left(void **state)
{
	double gaps[5] = { 1, 1, 7, 1, 1 };
	const uint32_t more[5] = { 0, 0, 1, 0, 0 };

	(void)state;
	gaps_take_out(gaps, more, 5);
	assert_true(gaps[2] == 6);
	assert_true(gaps[1] == 1 && gaps[3] == 1);
}

static void at_the_ends_and_beside_others_without_text(void **state)
{
	double gaps[4] = { 4, 2, 5, 1 };
	const uint32_t more[4] = { 1, 0, 1, 3 };
	double lonely = 4;
	const uint32_t one = 1;

	(void)state;
	gaps_take_out(gaps, more, 4);
	assert_true(gaps[0] == 2 && gaps[1] == 2 && gaps[2] == 3 && gaps[3] == 0);
	gaps_take_out(&lonely, &one, 1);
	assert_true(lonely == 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tokens_without_text_take_what_their_neighbours_take),
		cmocka_unit_test(what_one_of_them_waited_is_left),
		cmocka_unit_test(at_the_ends_and_beside_others_without_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
