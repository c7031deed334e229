/* tests/test_session_faults.c - the agent's session, event by event: silence, gaps, errors, lost
 * workers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/session_machine.h"

/* ---- silence ---- */

static void silence_resends_the_newest_chunk_with_doubled_patience(void **state)
{
	(void)state;
	open_machine(10);
	assert_int_equal(m.s.due_us, m.now_us + REPLY_US);
	tick_at(m.s.due_us - 1);
	assert_nothing();
	tick_at(m.s.due_us);
	assert_sends(2, 3);
	assert_int_equal(m.s.due_us, m.now_us + 2 * REPLY_US);
	tick_at(m.s.due_us);
	assert_sends(2, 3);
	assert_int_equal(m.s.due_us, m.now_us + 4 * REPLY_US);
	assert_int_equal(m.s.retries, 2);
	assert_false(m.fx.open);
}

static void a_silent_worker_is_left_for_another_with_the_whole_log(void **state)
{
	(void)state;
	open_machine(10);
	for (unsigned i = 0; i < 3; i++)
		tick_at(m.s.due_us);
	assert_int_equal(m.s.state, SESSION_OPENING);
	assert_int_equal(m.s.epoch, 2);
	assert_true(m.fx.open);
	assert_closes("w1", 1);
	assert_string_equal(m.s.worker, "");
	assert_sends(0, 0);
	assert_false(m.s.awaiting);
	accept_from("w1", 1, MAX_IDS); /* late */
	assert_nothing();
	accept_from("w2", 2, MAX_IDS);
	assert_sends(0, 3);
	assert_true(m.s.awaiting);
	assert_int_equal(m.s.due_us, m.now_us + REPLY_US);
	give_token(3);
	assert_true(m.fx.token);
}

static void an_answer_starts_the_count_of_retries_anew(void **state)
{
	(void)state;
	open_machine(4);
	for (unsigned i = 0; i < 5; i++) {
		tick_at(m.s.due_us);
		tick_at(m.s.due_us);
		assert_int_equal(m.s.state, SESSION_OPEN);
		give_token(i);
		assert_int_equal(m.s.last_rtt_us, 0); /* a retry says nothing about the link */
		give_all_rows();
		assert_int_equal(m.s.due_us, m.now_us + REPLY_US);
	}
	m.now_us += 5;
	give_token(6);
	assert_int_equal(m.s.last_rtt_us, 5);
}

/* ---- NEED ---- */

static void need_replays_from_a_chunk_boundary(void **state)
{
	(void)state;
	open_machine(10);
	m.now_us += 500;
	give_need(1, 3, 4);
	assert_sends(1, 3);
	assert_true(m.s.awaiting);
	assert_int_equal(m.s.due_us, m.now_us + REPLY_US);
	assert_int_equal(m.s.retries, 2);
	give_need(1, 3, 0);
	assert_sends(0, 3);
	give_token(5);
	assert_true(m.fx.token);
	assert_int_equal(m.s.last_rtt_us, 0);
}

static void need_from_elsewhere_opens_the_session_anew(void **state)
{
	static const uint32_t lengths[] = { 3, 10, 1000 }; /* inside a chunk, at the end, beyond */

	(void)state;
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		open_machine(10);
		give_need(1, 3, lengths[i]);
		assert_int_equal(m.s.state, SESSION_OPENING);
		assert_int_equal(m.s.epoch, 2);
		assert_true(m.fx.open);
		assert_closes("w1", 1);
	}
}

static void a_worker_that_needs_on_and_on_is_left(void **state)
{
	(void)state;
	open_machine(10);
	for (unsigned i = 0; i < 5; i++) { /* the first one is news, four are not */
		give_need(1, 3, 4);
		assert_int_equal(m.s.state, SESSION_OPEN);
	}
	give_need(1, 3, 4);
	assert_int_equal(m.s.state, SESSION_OPENING);
}

static void a_need_that_is_not_for_the_newest_chunk_is_ignored(void **state)
{
	(void)state;
	open_machine(10);
	give_need(0, 3, 4);
	assert_nothing();
	give_need(2, 3, 4);
	assert_nothing();
	give_need(1, 2, 4);
	assert_nothing();
	give_token(1);
	give_need(1, 3, 4); /* answered already */
	assert_nothing();
}

/* ---- errors and losses while open ---- */

static void a_passing_error_opens_the_session_anew(void **state)
{
	static const int codes[] = { ERR_NOT_FOUND, ERR_STATE, ERR_BUSY, ERR_CANCELLED,
				     ERR_TIMEOUT };

	(void)state;
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		open_machine(10);
		give_error(1, codes[i], false);
		assert_int_equal(m.s.state, SESSION_OPENING);
		assert_int_equal(m.s.epoch, 2);
		assert_true(m.fx.open);
		give_error(1, codes[i], false); /* repeated: of the epoch before */
		assert_nothing();
		assert_int_equal(m.s.epoch, 2);
	}
}

static void a_lasting_error_fails_the_session_with_its_words(void **state)
{
	(void)state;
	open_machine(10);
	give_error(1, ERR_NOT_FINITE, false);
	assert_failed(ERR_NOT_FINITE, "the reason");
	assert_closes("w1", 1);
}

static void an_error_that_is_stale_or_says_again_is_ignored(void **state)
{
	(void)state;
	open_machine(10);
	give_error(0, ERR_REFUSED, false);
	assert_nothing();
	give_error(2, ERR_REFUSED, false);
	assert_nothing();
	give_error(1, ERR_REFUSED, true);
	assert_nothing();
	assert_int_equal(m.s.state, SESSION_OPEN);
}

static void a_lost_worker_is_replaced_and_not_told(void **state)
{
	(void)state;
	open_machine(10);
	lose("w2", false);
	assert_nothing();
	lose("w1", false);
	assert_int_equal(m.s.epoch, 2);
	assert_true(m.fx.open);
	assert_false(m.fx.close);
}

static void a_worker_that_leaves_in_peace_is_told(void **state)
{
	(void)state;
	open_machine(10);
	lose("w1", true);
	assert_int_equal(m.s.epoch, 2);
	assert_true(m.fx.open);
	assert_closes("w1", 1);
}

static void a_new_connection_repeats_what_is_waited_for(void **state)
{
	(void)state;
	idle_machine();
	plain(SESSION_EV_LINK_UP);
	assert_nothing();
	start(10);
	plain(SESSION_EV_LINK_UP);
	assert_true(m.fx.open);
	give_all_rows();
	accept_from("w1", 1, MAX_IDS);
	m.now_us += 500;
	plain(SESSION_EV_LINK_UP);
	assert_sends(2, 3);
	assert_int_equal(m.s.due_us, m.now_us + REPLY_US);
	give_token(1);
	assert_int_equal(m.s.last_rtt_us, 0);
	plain(SESSION_EV_LINK_UP); /* nothing is waited for: the row is being computed */
	assert_nothing();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(silence_resends_the_newest_chunk_with_doubled_patience),
		TEST(a_silent_worker_is_left_for_another_with_the_whole_log),
		TEST(an_answer_starts_the_count_of_retries_anew),
		TEST(need_replays_from_a_chunk_boundary),
		TEST(need_from_elsewhere_opens_the_session_anew),
		TEST(a_worker_that_needs_on_and_on_is_left),
		TEST(a_need_that_is_not_for_the_newest_chunk_is_ignored),
		TEST(a_passing_error_opens_the_session_anew),
		TEST(a_lasting_error_fails_the_session_with_its_words),
		TEST(an_error_that_is_stale_or_says_again_is_ignored),
		TEST(a_lost_worker_is_replaced_and_not_told),
		TEST(a_worker_that_leaves_in_peace_is_told),
		TEST(a_new_connection_repeats_what_is_waited_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
