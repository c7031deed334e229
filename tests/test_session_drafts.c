/* tests/test_session_drafts.c - the agent's session: rows of guessed tokens, right and wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "tests/session_machine.h"

#define DRAFTS 3u

static void accept_drafts(uint32_t drafts)
{
	struct msg_accept a = {
		.session = 1, .epoch = m.s.epoch, .context_tokens = MAX_IDS, .drafts = drafts
	};

	memcpy(a.worker, "w1", 3);
	step((struct session_event){ .kind = SESSION_EV_ACCEPT, .accept = &a });
}

/* A prompt of four, whose answer is due; the worker takes so many drafts. */
static void waiting_machine(uint32_t drafts)
{
	conf.drafts = DRAFTS;
	idle_machine();
	start(4);
	give_all_rows();
	accept_drafts(drafts);
	assert_true(m.s.awaiting);
}

/* The row of position pos, had its token been id: the byte is its position, and 100. */
static void draft(uint32_t pos, uint32_t id)
{
	const uint8_t byte = (uint8_t)(100 + pos);

	step((struct session_event){ .kind = SESSION_EV_DRAFT,
				     .bytes = &byte,
				     .len = 1,
				     .codec = 1,
				     .state = 7,
				     .pos = pos,
				     .id = id });
}

/* The answer to this seq. */
static void answer(uint32_t seq, uint32_t id)
{
	const struct msg_tokens t = { .session = 1,
				      .epoch = m.s.epoch,
				      .seq = seq,
				      .pos = m.s.n_ids,
				      .ids = { id },
				      .n_ids = 1 };

	give_tokens(&t);
}

static void a_token_that_was_guessed_asks_for_no_row(void **state)
{
	(void)state;
	waiting_machine(4);
	draft(4, 50);
	assert_true(m.fx.draft);
	assert_int_equal(m.s.chunks[1].seq, 2);
	assert_true(session_wants_sample(&m.s, 1));
	draft(5, 51);
	assert_true(m.fx.draft);
	assert_int_equal(session_chunk_bytes(&m.s, 2)[0], 105);
	assert_int_equal(m.s.n_chunks, 1); /* of the log; the others are no part of it yet */
	m.now_us += 10;
	answer(1, 50);
	assert_true(m.fx.token && m.fx.right && !m.fx.compute);
	assert_sends(0, 0);
	assert_int_equal(m.s.n_chunks, 2);
	assert_int_equal(m.s.computed, 5);
	assert_true(m.s.awaiting);
	assert_int_equal(session_due_us(&m.s), m.now_us + REPLY_US);
	assert_int_equal(session_chunk_bytes(&m.s, 1)[0], 104);
	answer(2, 51);
	assert_true(m.fx.right && !m.fx.compute);
	answer(3, 52);
	assert_true(m.fx.token && !m.fx.right && m.fx.compute);
	assert_int_equal(m.fx.compute_pos, 6);
	give_rows();
	assert_sends(3, 4);
	assert_int_equal(m.s.chunks[3].seq, 4);
}

static void a_wrong_guess_is_forgotten_with_all_behind_it(void **state)
{
	(void)state;
	waiting_machine(4);
	draft(4, 50);
	draft(5, 51);
	answer(1, 60);
	assert_true(m.fx.token && !m.fx.right && m.fx.compute);
	assert_int_equal(m.s.ids[4], 60);
	assert_int_equal(m.s.n_drafts, 0);
	draft(5, 51); /* of the same guesses, and late */
	assert_false(m.fx.draft);
	give_rows();
	assert_sends(1, 2);
	assert_int_equal(m.s.chunks[1].seq, 4); /* 2 and 3 were the drafts' */
	assert_int_equal(session_chunk_bytes(&m.s, 1)[0], 4);
	answer(2, 70); /* of the first draft */
	assert_nothing();
	answer(4, 61);
	assert_true(m.fx.token);
}

static void drafts_follow_what_is_out_and_no_more_than_may_be(void **state)
{
	(void)state;
	waiting_machine(4);
	draft(5, 1);
	assert_false(m.fx.draft);
	draft(3, 1);
	assert_false(m.fx.draft);
	for (uint32_t i = 0; i <= DRAFTS; i++) {
		draft(4 + i, i);
		assert_int_equal(m.fx.draft, i < DRAFTS);
	}
	waiting_machine(1);
	draft(4, 1);
	draft(5, 2);
	assert_false(m.fx.draft);
	waiting_machine(0); /* a worker of another version */
	draft(4, 1);
	assert_false(m.fx.draft);
}

/* The token behind the last one is not wanted: its row would be for nothing. */
static void no_draft_goes_beyond_the_answer(void **state)
{
	(void)state;
	conf.max_ids = 6;
	waiting_machine(4);
	draft(4, 1);
	assert_true(m.fx.draft);
	draft(5, 2);
	assert_false(m.fx.draft);
}

static void a_full_log_takes_no_draft(void **state)
{
	(void)state;
	conf.log_bytes = 5;
	waiting_machine(4);
	draft(4, 1);
	assert_true(m.fx.draft);
	draft(5, 2);
	assert_false(m.fx.draft);
	answer(1, 9);
	give_rows(); /* in the draft's place */
	assert_int_equal(m.s.state, SESSION_OPEN);
}

static void drafts_that_are_lost_are_not_asked_for(void **state)
{
	(void)state;
	waiting_machine(4);
	draft(4, 50);
	draft(5, 51);
	give_need(1, 3, 4); /* the first one is lost */
	assert_nothing();
	assert_int_equal(m.s.n_drafts, 0);
	answer(1, 50); /* and right */
	assert_true(m.fx.compute && !m.fx.right);
}

static void a_row_that_a_draft_shows_to_be_lost_is_sent_again(void **state)
{
	(void)state;
	waiting_machine(4);
	draft(4, 50);
	give_need(1, 2, 0);
	assert_sends(0, 1);
	assert_int_equal(m.s.n_drafts, 0);
}

/* Wrong drafts are there, rows that should take their place could not be taken yet. */
static void what_a_worker_has_of_wrong_drafts_does_not_count(void **state)
{
	(void)state;
	waiting_machine(4);
	draft(4, 50);
	draft(5, 51);
	answer(1, 60);
	give_rows();
	give_need(1, 4, 6);
	assert_sends(1, 2);
}

static void another_worker_gets_the_log_without_drafts(void **state)
{
	(void)state;
	waiting_machine(4);
	draft(4, 50);
	answer(1, 50);
	draft(5, 51);
	lose("w1", false);
	assert_int_equal(m.s.n_drafts, 0);
	accept_drafts(4);
	assert_sends(0, 2);
	draft(5, 51);
	assert_true(m.fx.draft);
	assert_int_equal(m.s.chunks[2].seq, 3); /* right behind the chunk that it follows on */
}

static void there_are_no_drafts_while_a_split_moves(void **state)
{
	(void)state;
	waiting_machine(4);
	draft(4, 50);
	step((struct session_event){ .kind = SESSION_EV_DECIDE, .split = 2 });
	assert_int_equal(m.s.n_drafts, 0);
	draft(4, 50);
	assert_false(m.fx.draft);
}

static void an_ended_session_takes_no_draft(void **state)
{
	(void)state;
	waiting_machine(4);
	draft(4, 50);
	plain(SESSION_EV_CANCEL);
	assert_true(m.fx.ended);
	draft(5, 51);
	assert_false(m.fx.draft);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_token_that_was_guessed_asks_for_no_row),
		TEST(a_wrong_guess_is_forgotten_with_all_behind_it),
		TEST(drafts_follow_what_is_out_and_no_more_than_may_be),
		TEST(no_draft_goes_beyond_the_answer),
		TEST(a_full_log_takes_no_draft),
		TEST(drafts_that_are_lost_are_not_asked_for),
		TEST(a_row_that_a_draft_shows_to_be_lost_is_sent_again),
		TEST(what_a_worker_has_of_wrong_drafts_does_not_count),
		TEST(another_worker_gets_the_log_without_drafts),
		TEST(there_are_no_drafts_while_a_split_moves),
		TEST(an_ended_session_takes_no_draft),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
