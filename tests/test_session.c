/* tests/test_session.c - the agent's session, event by event: start, rows, tokens, ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "tests/session_machine.h"

/* ---- start ---- */

static void states_and_finishes_have_their_names(void **state)
{
	static const char *const states[] = { "idle", "opening", "open", "local", "ended" };
	static const char *const finishes[] = { "stop",     "length",    "context",
						"deadline", "cancelled", "error" };

	(void)state;
	for (unsigned i = 0; i < SESSION_NSTATES; i++)
		assert_string_equal(session_state_name((enum session_state)i), states[i]);
	for (unsigned i = 0; i < SESSION_NFINISHES; i++)
		assert_string_equal(session_finish_name((enum session_finish)i), finishes[i]);
}

static void start_asks_once_for_a_worker_and_for_rows(void **state)
{
	(void)state;
	idle_machine();
	assert_int_equal(session_due_us(&m.s), DEADLINE_US);
	start(10);
	assert_int_equal(m.s.state, SESSION_OPENING);
	assert_int_equal(m.s.epoch, 1);
	assert_true(m.fx.open);
	assert_string_equal(m.s.worker, "");
	assert_true(m.fx.compute);
	assert_int_equal(m.fx.compute_pos, 0);
	assert_int_equal(m.fx.compute_rows, CHUNK_ROWS);
	assert_int_equal(session_due_us(&m.s), m.now_us + ACCEPT_US);
	start(3);
	assert_nothing();
	assert_int_equal(m.s.n_prompt, 10);
}

static void a_prompt_that_is_empty_or_fills_the_context_fails(void **state)
{
	(void)state;
	idle_machine();
	start(MAX_IDS);
	assert_failed(ERR_CONTEXT, "the prompt fills the context");
	idle_machine();
	start(0);
	assert_failed(ERR_FORMAT, "the prompt is empty");
	assert_false(m.fx.open || m.fx.compute);
	idle_machine();
	start(MAX_IDS - 1);
	assert_int_equal(m.s.state, SESSION_OPENING);
}

/* ---- rows ---- */

static void rows_are_asked_for_and_logged_chunk_by_chunk(void **state)
{
	static const uint32_t rows[] = { 4, 4, 2 };

	(void)state;
	idle_machine();
	start(10);
	for (uint32_t i = 0; i < 3; i++) {
		assert_true(m.fx.compute);
		assert_int_equal(m.fx.compute_pos, i * CHUNK_ROWS);
		assert_int_equal(m.fx.compute_rows, rows[i]);
		give_rows();
		assert_sends(0, 0); /* no worker yet */
	}
	assert_false(m.fx.compute);
	assert_int_equal(m.s.n_chunks, 3);
	for (uint32_t i = 0; i < 3; i++) {
		assert_int_equal(m.s.chunks[i].pos, i * CHUNK_ROWS);
		assert_int_equal(m.s.chunks[i].rows, rows[i]);
		assert_int_equal(m.s.chunks[i].codec, 1);
		assert_int_equal(session_chunk_bytes(&m.s, i)[0], i * CHUNK_ROWS);
	}
}

static void only_the_chunk_with_the_newest_token_wants_a_sample(void **state)
{
	(void)state;
	open_machine(10);
	assert_false(session_wants_sample(&m.s, 0));
	assert_false(session_wants_sample(&m.s, 1));
	assert_true(session_wants_sample(&m.s, 2));
	give_token(7);
	assert_false(session_wants_sample(&m.s, 2)); /* a replay must not sample it again */
}

static void rows_that_nobody_asked_for_are_ignored(void **state)
{
	(void)state;
	open_machine(4);
	for (unsigned i = 0; i < 2 * MAX_IDS; i++) {
		step((struct session_event){
			.kind = SESSION_EV_ROWS, .bytes = (const uint8_t *)"x", .len = 0 });
		assert_nothing();
	}
	step((struct session_event){ .kind = SESSION_EV_LOCAL_TOKEN, .id = 5 });
	assert_nothing();
	assert_int_equal(m.s.n_chunks, 1);
	assert_int_equal(m.s.n_ids, 4);
}

static void a_full_log_fails_the_session(void **state)
{
	(void)state;
	conf.log_bytes = 7;
	idle_machine();
	start(10);
	give_rows();
	give_rows();
	assert_failed(ERR_INTERNAL, "the replay log is full");
}

static void a_failed_computation_fails_the_session(void **state)
{
	(void)state;
	idle_machine();
	start(10);
	step((struct session_event){
		.kind = SESSION_EV_COMPUTE_FAILED, .code = ERR_NOT_FINITE, .reason = "a NaN" });
	assert_failed(ERR_NOT_FINITE, "a NaN");
	assert_false(m.s.computing);
}

/* ---- ACCEPT ---- */

static void accept_sends_what_is_ready_and_the_rest_follows(void **state)
{
	(void)state;
	idle_machine();
	start(10);
	give_rows();
	accept_from("w1", 1, MAX_IDS);
	assert_int_equal(m.s.state, SESSION_OPEN);
	assert_string_equal(m.s.worker, "w1");
	assert_sends(0, 1);
	assert_false(m.s.awaiting);
	assert_int_equal(session_due_us(&m.s), DEADLINE_US);
	give_rows();
	assert_sends(1, 2);
	m.now_us = 77;
	give_rows();
	assert_sends(2, 3);
	assert_true(m.s.awaiting);
	assert_int_equal(session_due_us(&m.s), 77 + REPLY_US);
}

static void an_accept_of_another_epoch_is_ignored(void **state)
{
	(void)state;
	idle_machine();
	start(4);
	accept_from("w1", 2, MAX_IDS);
	assert_nothing();
	accept_from("w1", 0, MAX_IDS);
	assert_nothing();
	assert_int_equal(m.s.state, SESSION_OPENING);
}

static void a_repeated_accept_is_ignored_and_a_second_worker_dismissed(void **state)
{
	(void)state;
	open_machine(4);
	accept_from("w1", 1, MAX_IDS);
	assert_nothing();
	accept_from("w2", 1, MAX_IDS);
	assert_closes("w2", 1);
	assert_string_equal(m.s.worker, "w1");
	assert_int_equal(m.s.state, SESSION_OPEN);
	assert_sends(0, 0);
	lose("w1", false);
	accept_from("w2", 2, 4 * MAX_IDS);
	assert_int_equal(m.s.conf.max_ids, MAX_IDS); /* no more than was asked for */
	accept_from("w1", 1, MAX_IDS);
	assert_closes("w1", 1);
	assert_string_equal(m.s.worker, "w2");
}

static void a_worker_may_grant_a_shorter_context(void **state)
{
	(void)state;
	idle_machine();
	start(4);
	give_all_rows();
	accept_from("w1", 1, 6);
	give_token(1);
	assert_true(m.fx.token);
	assert_false(m.fx.ended);
	give_all_rows();
	give_token(2);
	assert_true(m.fx.token);
	assert_true(m.fx.ended);
	assert_int_equal(m.s.finish, SESSION_CONTEXT);
	assert_closes("w1", 1);
}

static void a_context_too_short_for_the_prompt_fails(void **state)
{
	(void)state;
	idle_machine();
	start(4);
	accept_from("w1", 1, 4);
	assert_failed(ERR_CONTEXT, "the worker's context is too short for this session");
	assert_closes("w1", 1);
}

static void a_worker_whose_packets_are_too_small_fails(void **state)
{
	(void)state;
	conf.packet_bytes = 1;
	idle_machine();
	start(4);
	accept_from("w1", 1, MAX_IDS); /* says max_packet_bytes 0 */
	assert_failed(ERR_LIMIT, "a frame of rows does not fit the worker's packets");
	assert_closes("w1", 1);
}

/* ---- opening ---- */

static void silence_repeats_the_open(void **state)
{
	(void)state;
	idle_machine();
	start(4);
	tick_at(m.s.due_us - 1);
	assert_nothing();
	for (uint32_t i = 1; i < 5; i++) {
		tick_at(m.s.due_us);
		assert_true(m.fx.open);
		assert_int_equal(m.s.due_us, m.now_us + ACCEPT_US);
		assert_int_equal(m.s.retries, i);
		assert_int_equal(m.s.epoch, 1); /* an OPEN is idempotent */
	}
}

static void a_named_worker_is_asked_twice_and_then_any(void **state)
{
	(void)state;
	memcpy(conf.worker, "w9", 3);
	idle_machine();
	start(4);
	assert_string_equal(m.s.worker, "w9");
	tick_at(m.s.due_us);
	assert_true(m.fx.open);
	assert_string_equal(m.s.worker, "w9");
	tick_at(m.s.due_us);
	assert_true(m.fx.open);
	assert_string_equal(m.s.worker, "");
}

static void busy_while_opening_asks_others_when_the_wait_is_over(void **state)
{
	(void)state;
	memcpy(conf.worker, "w9", 3);
	idle_machine();
	start(4);
	give_error(1, ERR_BUSY, false);
	assert_nothing();
	assert_int_equal(m.s.state, SESSION_OPENING);
	tick_at(m.s.due_us);
	assert_true(m.fx.open);
	assert_string_equal(m.s.worker, "");
}

static void a_lasting_error_while_opening_fails(void **state)
{
	static const int codes[] = { ERR_MODEL_MISMATCH, ERR_REFUSED, ERR_LIMIT, ERR_CONTEXT };

	(void)state;
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		idle_machine();
		start(4);
		give_error(1, codes[i], false);
		assert_failed(codes[i], "the reason");
	}
}

static void a_named_worker_that_is_lost_is_passed_over_at_once(void **state)
{
	(void)state;
	memcpy(conf.worker, "w9", 3);
	idle_machine();
	start(4);
	lose("w1", false);
	assert_nothing();
	lose("w9", false);
	assert_true(m.fx.open);
	assert_string_equal(m.s.worker, "");
	lose("w9", false);
	assert_nothing();
}

static void answers_before_the_question_are_ignored(void **state)
{
	(void)state;
	idle_machine();
	start(4);
	give_all_rows();
	give_token(9);
	assert_nothing();
	give_need(1, 1, 0);
	assert_nothing();
	assert_int_equal(m.s.n_ids, 4);
	idle_machine();
	start(10);
	give_rows();
	accept_from("w1", 1, MAX_IDS); /* open, but the last rows are not sent yet */
	give_token(9);
	assert_nothing();
}

/* ---- TOKENS ---- */

static void a_token_is_appended_and_its_row_is_computed_and_sent(void **state)
{
	(void)state;
	open_machine(4);
	m.now_us += 300;
	give_token(55);
	assert_true(m.fx.token);
	assert_int_equal(m.fx.token_id, 55);
	assert_int_equal(m.s.ids[4], 55);
	assert_int_equal(m.s.last_rtt_us, 300);
	assert_true(m.fx.compute);
	assert_int_equal(m.fx.compute_pos, 4);
	assert_int_equal(m.fx.compute_rows, 1);
	assert_int_equal(session_due_us(&m.s), DEADLINE_US);
	give_rows();
	assert_sends(1, 2);
	assert_true(m.s.awaiting);
}

static void a_duplicate_token_is_ignored(void **state)
{
	struct msg_tokens t;

	(void)state;
	open_machine(4);
	t = expected_tokens(55);
	give_tokens(&t);
	give_tokens(&t);
	assert_nothing();
	give_all_rows();
	give_tokens(&t); /* awaiting again, but not this one */
	assert_nothing();
	assert_int_equal(m.s.n_ids, 5);
}

static void tokens_that_answer_another_question_are_ignored(void **state)
{
	static const struct {
		int epoch, seq, pos;
		uint32_t n;
	} off[] = { { -1, 0, 0, 1 }, { 1, 0, 0, 1 }, { 0, -1, 0, 1 }, { 0, 1, 0, 1 },
		    { 0, 0, -1, 1 }, { 0, 0, 1, 1 }, { 0, 0, 0, 2 },  { 0, 0, 0, 0 } };

	(void)state;
	open_machine(4);
	for (size_t i = 0; i < sizeof(off) / sizeof(off[0]); i++) {
		struct msg_tokens t = expected_tokens(9);

		t.epoch += (uint32_t)off[i].epoch;
		t.seq += (uint32_t)off[i].seq;
		t.pos += (uint32_t)off[i].pos;
		t.n_ids = off[i].n;
		give_tokens(&t);
		assert_nothing();
		assert_true(m.s.awaiting);
		assert_int_equal(m.s.n_ids, 4);
	}
}

/* ---- ends ---- */

static void the_end_token_ends_the_answer_and_is_not_text(void **state)
{
	struct msg_tokens t;

	(void)state;
	open_machine(4);
	t = expected_tokens(2);
	t.end = true;
	give_tokens(&t);
	assert_true(m.fx.ended);
	assert_false(m.fx.token);
	assert_false(m.fx.compute);
	assert_int_equal(m.s.finish, SESSION_STOP);
	assert_int_equal(m.s.error, 0);
	assert_closes("w1", 1);
	assert_int_equal(session_due_us(&m.s), NEVER);
}

static void max_new_tokens_end_the_answer(void **state)
{
	(void)state;
	conf.max_new = 2;
	open_machine(4);
	give_token(1);
	assert_false(m.fx.ended);
	give_all_rows();
	give_token(2);
	assert_true(m.fx.token);
	assert_true(m.fx.ended);
	assert_int_equal(m.s.finish, SESSION_LENGTH);
}

static void a_full_context_ends_the_answer(void **state)
{
	(void)state;
	open_machine(MAX_IDS - 1);
	give_token(1);
	assert_true(m.fx.token);
	assert_true(m.fx.ended);
	assert_int_equal(m.s.finish, SESSION_CONTEXT);
}

static void cancel_ends_a_session_in_any_state(void **state)
{
	(void)state;
	idle_machine();
	plain(SESSION_EV_CANCEL);
	assert_true(m.fx.ended);
	assert_false(m.fx.close);
	idle_machine();
	start(4);
	plain(SESSION_EV_CANCEL);
	assert_true(m.fx.ended);
	assert_false(m.fx.close); /* nobody in particular was asked */
	open_machine(4);
	plain(SESSION_EV_CANCEL);
	assert_closes("w1", 1);
	assert_int_equal(m.s.finish, SESSION_CANCELLED);
	plain(SESSION_EV_CANCEL);
	assert_nothing();
}

static void nothing_happens_after_the_end(void **state)
{
	(void)state;
	open_machine(4);
	give_token(1);
	assert_true(m.s.computing);
	plain(SESSION_EV_CANCEL);
	assert_true(m.s.computing); /* the driver waits for the job */
	accept_from("w2", 1, MAX_IDS);
	assert_nothing();
	give_token(1);
	assert_nothing();
	give_error(1, ERR_BUSY, false);
	assert_nothing();
	lose("w1", false);
	assert_nothing();
	tick_at(DEADLINE_US);
	assert_nothing();
	give_rows();
	assert_nothing();
	assert_false(m.s.computing);
	assert_int_equal(m.s.n_chunks, 1);
}

static void a_failed_job_after_the_end_is_only_noted(void **state)
{
	(void)state;
	idle_machine();
	start(4);
	plain(SESSION_EV_CANCEL);
	step((struct session_event){
		.kind = SESSION_EV_COMPUTE_FAILED, .code = ERR_IO, .reason = "x" });
	assert_nothing();
	assert_false(m.s.computing);
	assert_int_equal(m.s.finish, SESSION_CANCELLED);
}

/* ---- the deadline ---- */

static void the_deadline_says_that_nobody_accepted(void **state)
{
	(void)state;
	idle_machine();
	start(4);
	tick_at(DEADLINE_US - 1);
	assert_int_equal(session_due_us(&m.s), DEADLINE_US); /* sooner than the next OPEN */
	tick_at(DEADLINE_US);
	assert_failed(ERR_TIMEOUT, "no worker accepted the session before its deadline");
	idle_machine();
	start(4);
	give_error(1, ERR_BUSY, false);
	tick_at(DEADLINE_US);
	assert_failed(ERR_TIMEOUT,
		      "no worker accepted the session before its deadline: the reason");
}

static void the_deadline_says_whether_the_worker_is_late(void **state)
{
	(void)state;
	open_machine(4);
	tick_at(DEADLINE_US);
	assert_failed(ERR_TIMEOUT,
		      "the worker had not answered when the session's deadline passed");
	assert_closes("w1", 1);
	idle_machine();
	start(4);
	accept_from("w1", 1, MAX_IDS); /* rows are not ready */
	tick_at(DEADLINE_US);
	assert_failed(ERR_TIMEOUT,
		      "the answer was not complete when the session's deadline passed");
}

static void at_the_deadline_the_answer_is_what_there_is(void **state)
{
	(void)state;
	open_machine(4);
	give_token(1);
	tick_at(DEADLINE_US - 1);
	assert_false(m.fx.ended);
	tick_at(DEADLINE_US);
	assert_true(m.fx.ended);
	assert_int_equal(m.s.finish, SESSION_DEADLINE);
	assert_int_equal(m.s.error, 0);
	assert_closes("w1", 1);
}

/* Asking for a token that cannot be there in time would cost the worker a step for nothing. */
static void no_token_is_asked_for_that_would_be_late(void **state)
{
	(void)state;
	open_machine(4);
	m.s.token_us = 1000;
	m.now_us = DEADLINE_US - 1000;
	give_token(1);
	assert_false(m.fx.ended);
	give_all_rows();
	m.now_us = DEADLINE_US - 999;
	give_token(2);
	assert_true(m.fx.token);
	assert_true(m.fx.ended);
	assert_false(m.fx.compute);
	assert_int_equal(m.s.finish, SESSION_DEADLINE);
	assert_int_equal(m.s.n_ids, 6);
}

/* ---- LOCAL ---- */

static void a_local_session_asks_no_worker(void **state)
{
	(void)state;
	conf.local = true;
	conf.split = conf.n_layers;
	conf.log_bytes = 0;
	memcpy(conf.worker, "w9", 3);
	idle_machine();
	start(6);
	assert_int_equal(m.s.state, SESSION_LOCAL);
	assert_false(m.fx.open);
	assert_int_equal(m.fx.compute_rows, CHUNK_ROWS);
	give_rows();
	assert_true(m.fx.compute);
	assert_int_equal(m.fx.compute_pos, CHUNK_ROWS);
	assert_int_equal(m.fx.compute_rows, 2);
	step((struct session_event){ .kind = SESSION_EV_LOCAL_TOKEN, .id = 8 });
	assert_true(m.fx.token);
	assert_int_equal(m.fx.token_id, 8);
	assert_int_equal(m.fx.compute_pos, 6);
	assert_int_equal(m.fx.compute_rows, 1);
	assert_int_equal(m.s.n_chunks, 0);
	step((struct session_event){ .kind = SESSION_EV_LOCAL_TOKEN, .id = 2, .end = true });
	assert_false(m.fx.token);
	assert_true(m.fx.ended);
	assert_false(m.fx.close);
	assert_int_equal(m.s.finish, SESSION_STOP);
}

static void a_local_session_listens_to_no_worker(void **state)
{
	(void)state;
	conf.local = true;
	conf.split = conf.n_layers;
	idle_machine();
	start(4);
	accept_from("w1", 1, 2); /* told to go */
	assert_true(m.fx.close && !m.fx.open && !m.fx.compute);
	give_token(9);
	assert_nothing();
	give_error(1, ERR_REFUSED, false);
	assert_nothing();
	give_need(1, 0, 0);
	assert_nothing();
	lose("", false);
	assert_nothing();
	plain(SESSION_EV_LINK_UP);
	assert_nothing();
	tick_at(DEADLINE_US - 1);
	assert_nothing();
	tick_at(DEADLINE_US);
	assert_failed(ERR_TIMEOUT,
		      "the answer was not complete when the session's deadline passed");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(states_and_finishes_have_their_names),
		TEST(start_asks_once_for_a_worker_and_for_rows),
		TEST(a_prompt_that_is_empty_or_fills_the_context_fails),
		TEST(rows_are_asked_for_and_logged_chunk_by_chunk),
		TEST(only_the_chunk_with_the_newest_token_wants_a_sample),
		TEST(rows_that_nobody_asked_for_are_ignored),
		TEST(a_full_log_fails_the_session),
		TEST(a_failed_computation_fails_the_session),
		TEST(accept_sends_what_is_ready_and_the_rest_follows),
		TEST(an_accept_of_another_epoch_is_ignored),
		TEST(a_repeated_accept_is_ignored_and_a_second_worker_dismissed),
		TEST(a_worker_may_grant_a_shorter_context),
		TEST(a_context_too_short_for_the_prompt_fails),
		TEST(a_worker_whose_packets_are_too_small_fails),
		TEST(silence_repeats_the_open),
		TEST(a_named_worker_is_asked_twice_and_then_any),
		TEST(busy_while_opening_asks_others_when_the_wait_is_over),
		TEST(a_lasting_error_while_opening_fails),
		TEST(a_named_worker_that_is_lost_is_passed_over_at_once),
		TEST(answers_before_the_question_are_ignored),
		TEST(a_token_is_appended_and_its_row_is_computed_and_sent),
		TEST(a_duplicate_token_is_ignored),
		TEST(tokens_that_answer_another_question_are_ignored),
		TEST(the_end_token_ends_the_answer_and_is_not_text),
		TEST(max_new_tokens_end_the_answer),
		TEST(a_full_context_ends_the_answer),
		TEST(cancel_ends_a_session_in_any_state),
		TEST(nothing_happens_after_the_end),
		TEST(a_failed_job_after_the_end_is_only_noted),
		TEST(the_deadline_says_that_nobody_accepted),
		TEST(the_deadline_says_whether_the_worker_is_late),
		TEST(at_the_deadline_the_answer_is_what_there_is),
		TEST(no_token_is_asked_for_that_would_be_late),
		TEST(a_local_session_asks_no_worker),
		TEST(a_local_session_listens_to_no_worker),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
