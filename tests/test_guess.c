/* tests/test_guess.c - which token may come next (agent/guess.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "agent/guess.h"

static struct guess g; /* of each test anew */

static int fresh(void **state)
{
	(void)state;
	g = (struct guess){ 0 };
	return 0;
}

static void learn(const uint32_t *ids, uint32_t n)
{
	for (uint32_t i = 1; i <= n; i++)
		guess_learn(&g, ids, i, false);
}

static uint32_t next(const uint32_t *ids, uint32_t n)
{
	const struct guess_entry *e = guess_next(&g, ids, n);

	return e ? e->id : UINT32_MAX;
}

static void what_came_once_comes_again(void **state)
{
	const uint32_t ids[] = { 5, 6, 7, 8, 9 };

	(void)state;
	assert_int_equal(next(ids, 0), UINT32_MAX);
	assert_int_equal(next(ids, 3), UINT32_MAX);
	learn(ids, 5);
	for (uint32_t n = 1; n < 5; n++)
		assert_int_equal(next(ids, n), ids[n]);
	assert_int_equal(next(ids, 5), UINT32_MAX);
	assert_int_equal(next((uint32_t[]){ 1, 8 }, 2), 9); /* another token before it */
}

static void more_context_is_believed_first(void **state)
{
	const uint32_t one[] = { 1, 2, 3, 4 }, other[] = { 7, 2, 3, 9 };

	(void)state;
	learn(one, 4);
	learn(other, 4);
	learn(other, 4);
	assert_int_equal(next(one, 3), 4);
	assert_int_equal(next(other, 3), 9);
}

/* As often as it was right before. */
static void what_was_right_gives_way_when_it_was_wrong(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 10; i++)
		learn((uint32_t[]){ 1, 2 }, 2);
	for (unsigned i = 0; i < 3; i++) {
		learn((uint32_t[]){ 1, 3 }, 2);
		assert_int_equal(next((uint32_t[]){ 1 }, 1), 2);
	}
	learn((uint32_t[]){ 1, 3 }, 2);
	assert_int_equal(next((uint32_t[]){ 1 }, 1), 3);
}

/* Far more than there is room for: the newest ones are known, and nothing is made up. */
static void it_forgets_what_it_has_no_room_for(void **state)
{
	const uint32_t n = 100000;
	unsigned known = 0;

	(void)state;
	for (uint32_t i = 0; i < n; i++)
		learn((uint32_t[]){ 2 * i, 2 * i + 1 }, 2);
	for (uint32_t i = 0; i < n; i++) {
		const uint32_t id = next(&(uint32_t){ 2 * i }, 1);

		assert_true(id == 2 * i + 1 || id == UINT32_MAX);
		known += id != UINT32_MAX;
	}
	assert_in_range(known, GUESS_ENTRIES / 2, GUESS_ENTRIES);
}

/* Tokens of prompts shall not cross before an answer has had them. */
static void what_only_prompts_have_told_is_known_apart(void **state)
{
	const uint32_t ids[] = { 5, 6 };

	(void)state;
	guess_learn(&g, ids, 2, false);
	guess_learn(&g, ids, 2, false);
	assert_false(guess_next(&g, ids, 1)->said);
	guess_learn(&g, ids, 2, true);
	assert_true(guess_next(&g, ids, 1)->said);
	guess_learn(&g, ids, 2, false);
	assert_true(guess_next(&g, ids, 1)->said);
	for (unsigned i = 0; i < 5; i++) /* it gives way to another one */
		guess_learn(&g, (uint32_t[]){ 5, 7 }, 2, false);
	assert_int_equal(guess_next(&g, ids, 1)->id, 7);
	assert_false(guess_next(&g, ids, 1)->said);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(what_came_once_comes_again, fresh),
		cmocka_unit_test_setup(more_context_is_believed_first, fresh),
		cmocka_unit_test_setup(what_was_right_gives_way_when_it_was_wrong, fresh),
		cmocka_unit_test_setup(what_only_prompts_have_told_is_known_apart, fresh),
		cmocka_unit_test_setup(it_forgets_what_it_has_no_room_for, fresh),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
