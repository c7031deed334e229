/* tests/test_session.c - the agent's session, event by event. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "agent/session.h"

#define ACCEPT_US   100u
#define REPLY_US    1000u
#define DEADLINE_US 1000000u
#define CHUNK_ROWS  4u
#define MAX_IDS     32u
#define NEVER       UINT64_MAX

/* A session, its newest effects, and the time. A row is encoded as one byte: its position. */
struct machine {
	struct session s;
	struct session_effects fx;
	uint64_t now_us;
};

/* Of the test that is running; a test may change conf before it makes the machine. */
static struct session_conf conf;
static struct machine m;

static void step(struct session_event ev)
{
	ev.now_us = m.now_us;
	session_step(&m.s, &ev, &m.fx);
}

static int set_up(void **state)
{
	(void)state;
	conf = (struct session_conf){
		.id = 1,
		.n_layers = 4,
		.split = 1,
		.side_rows = 4,
		.row_bytes = 8,
		.chunk_rows = CHUNK_ROWS,
		.max_ids = MAX_IDS,
		.max_new = MAX_IDS,
		.log_bytes = MAX_IDS,
		.accept_us = ACCEPT_US,
		.reply_us = REPLY_US,
		.deadline_us = DEADLINE_US,
	};
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	session_finish(&m.s);
	m = (struct machine){ 0 };
	return 0;
}

static void idle_machine(void)
{
	session_finish(&m.s);
	m = (struct machine){ .now_us = 10 };
	assert_int_equal(session_init(&m.s, &conf), 0);
}

static void start(uint32_t n_prompt)
{
	uint32_t ids[MAX_IDS + 1];

	for (uint32_t i = 0; i < n_prompt; i++)
		ids[i] = 100 + i;
	step((struct session_event){ .kind = SESSION_EV_START, .ids = ids, .n_ids = n_prompt });
}

/* The compute thread gives the rows that were asked for. */
static void give_rows(void)
{
	uint8_t bytes[CHUNK_ROWS];
	uint32_t left = m.s.n_ids - m.s.computed;
	uint32_t rows = left < m.s.conf.chunk_rows ? left : m.s.conf.chunk_rows;

	assert_true(m.s.computing);
	for (uint32_t i = 0; i < rows; i++)
		bytes[i] = (uint8_t)(m.s.computed + i);
	step((struct session_event){
		.kind = SESSION_EV_ROWS, .bytes = bytes, .len = rows, .codec = 1 });
}

static void give_all_rows(void)
{
	while (m.s.computing)
		give_rows();
}

static void accept_from(const char *worker, uint32_t epoch, uint32_t context)
{
	struct msg_accept a = { .session = 1, .epoch = epoch, .context_tokens = context };

	memcpy(a.worker, worker, strlen(worker));
	step((struct session_event){ .kind = SESSION_EV_ACCEPT, .accept = &a });
}

static struct msg_tokens expected_tokens(uint32_t id)
{
	return (struct msg_tokens){
		.session = 1,
		.epoch = m.s.epoch,
		.seq = m.s.n_chunks,
		.pos = m.s.n_ids,
		.ids = { id },
		.n_ids = 1,
	};
}

static void give_tokens(const struct msg_tokens *t)
{
	step((struct session_event){ .kind = SESSION_EV_TOKENS, .tokens = t });
}

static void give_token(uint32_t id)
{
	struct msg_tokens t = expected_tokens(id);

	give_tokens(&t);
}

static void give_error(uint32_t epoch, int code, bool again)
{
	struct msg_error e = {
		.session = 1, .epoch = epoch, .code = code, .again = again, .reason = "the reason"
	};

	step((struct session_event){ .kind = SESSION_EV_ERROR, .error = &e });
}

static void give_need(uint32_t epoch, uint32_t seq, uint32_t kv_len)
{
	struct msg_need n = { .session = 1, .epoch = epoch, .seq = seq, .kv_len = kv_len };

	step((struct session_event){ .kind = SESSION_EV_NEED, .need = &n });
}

static void lose(const char *worker, bool listening)
{
	step((struct session_event){
		.kind = SESSION_EV_WORKER_LOST, .worker = worker, .listening = listening });
}

static void tick_at(uint64_t now_us)
{
	m.now_us = now_us;
	step((struct session_event){ .kind = SESSION_EV_TICK });
}

static void plain(enum session_event_kind kind)
{
	step((struct session_event){ .kind = kind });
}

/* OPEN at w1, epoch 1, all rows of the prompt sent, the answer is due. */
static void open_machine(uint32_t n_prompt)
{
	idle_machine();
	start(n_prompt);
	give_all_rows();
	accept_from("w1", 1, MAX_IDS);
	assert_int_equal(m.s.state, SESSION_OPEN);
	assert_true(m.s.awaiting);
}

static void assert_nothing(void)
{
	const struct session_effects *fx = &m.fx;

	assert_false(fx->close || fx->open || fx->compute || fx->token || fx->ended);
	assert_int_equal(fx->send_from, fx->send_to);
}

static void assert_sends(uint32_t from, uint32_t to)
{
	assert_int_equal(m.fx.send_from, from);
	assert_int_equal(m.fx.send_to, to);
}

static void assert_closes(const char *worker, uint32_t epoch)
{
	assert_true(m.fx.close);
	assert_string_equal(m.fx.close_worker, worker);
	assert_int_equal(m.fx.close_epoch, epoch);
}

static void assert_failed(int code, const char *reason)
{
	assert_int_equal(m.s.state, SESSION_ENDED);
	assert_int_equal(m.s.finish, SESSION_ERROR);
	assert_int_equal(m.s.error, code);
	assert_string_equal(m.s.reason, reason);
	assert_true(m.fx.ended);
}

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

/* ---- a split that moves (handover.h); side pieces have at most 4 rows ---- */

static void decide(uint32_t split, bool alone)
{
	step((struct session_event){ .kind = SESSION_EV_DECIDE, .split = split, .alone = alone });
}

static void give_side(void)
{
	assert_true(m.s.handover.out);
	step((struct session_event){ .kind = SESSION_EV_SIDE,
				     .bytes = (const uint8_t *)"sidesidesideside",
				     .len = m.s.handover.way == SESSION_UP ? 0 : m.s.handover.out,
				     .codec = 1 });
}

/* The worker has so many positions of the fill. */
static void give_filled(uint32_t len)
{
	struct msg_need n = { .session = 1,
			      .epoch = m.s.epoch,
			      .has_fill = true,
			      .fill_split = m.s.handover.to,
			      .fill_len = len };

	step((struct session_event){ .kind = SESSION_EV_NEED, .need = &n });
}

static void a_split_moves_up_between_two_tokens(void **state)
{
	(void)state;
	open_machine(6);
	decide(3, false);
	assert_true(m.fx.side_begin && m.fx.side);
	assert_int_equal(m.fx.side_pos, 0);
	assert_int_equal(m.fx.side_rows, 4);
	give_side();
	assert_int_equal(m.fx.side_pos, 4);
	assert_int_equal(m.fx.side_rows, 2);
	give_side();
	assert_false(m.fx.side || m.fx.moved); /* not before the token */
	give_token(7);
	assert_true(m.fx.moved && m.fx.compute && m.fx.token);
	assert_int_equal(m.s.conf.split, 3);
	give_rows();
	assert_int_equal(m.s.chunks[m.s.n_chunks - 1].split, 3);
	assert_int_equal(m.s.chunks[0].split, 1);
	assert_int_equal(session_open_split(&m.s), 1);
}

static void a_token_waits_for_the_last_piece(void **state)
{
	(void)state;
	open_machine(6);
	decide(3, false);
	give_side();
	give_token(7); /* while the last piece is out */
	assert_true(m.fx.token && !m.fx.compute);
	assert_true(m.s.handover.holding);
	give_side();
	assert_true(m.fx.moved && m.fx.compute);
}

static void a_split_moves_down_when_the_worker_has_all(void **state)
{
	uint32_t chunks;

	(void)state;
	open_machine(3);
	chunks = m.s.n_chunks;
	decide(0, false);
	assert_true(m.fx.side_begin && m.fx.side);
	give_side();
	assert_int_equal(m.fx.fill_to - m.fx.fill_from, 1);
	give_token(7);
	assert_false(m.fx.compute); /* the answer is on its way */
	give_filled(3);
	assert_true(m.fx.moved && m.fx.compute);
	give_rows();
	assert_sends(chunks, chunks + 1);
	assert_false(m.fx.refill);
	assert_int_equal(m.s.fills[0].before, chunks);
	lose("w1", false); /* another worker gets all of it */
	assert_int_equal(session_open_split(&m.s), 0);
	accept_from("w2", 2, MAX_IDS);
	assert_sends(0, chunks + 1);
	assert_true(m.fx.refill);
}

static void a_fill_that_is_refused_leaves_the_session_as_it_was(void **state)
{
	(void)state;
	open_machine(3);
	decide(0, false);
	give_side();
	give_token(7);
	give_error(1, ERR_LIMIT, true);
	assert_true(m.fx.side_end && m.fx.compute && !m.fx.moved);
	assert_int_equal(m.s.state, SESSION_OPEN);
	assert_int_equal(m.s.conf.split, 1);
	give_rows();
	assert_false(m.fx.side_begin); /* not before the next decision */
	decide(0, false);
	assert_true(m.fx.side_begin);
}

static void silence_about_a_fill_is_asked_then_given_up(void **state)
{
	(void)state;
	open_machine(3);
	decide(0, false);
	give_side();
	give_token(7);
	assert_true(m.s.handover.holding);
	tick_at(m.s.handover.due_us);
	assert_int_equal(m.fx.fill_to - m.fx.fill_from, 1);
	assert_true(m.fx.compute); /* the token has waited long enough */
	while (m.s.handover.way != SESSION_STAYS)
		tick_at(m.s.handover.due_us);
	assert_true(m.fx.side_end);
	assert_int_equal(m.s.state, SESSION_OPEN);
}

static void who_goes_on_alone_draws_the_token_that_is_out(void **state)
{
	(void)state;
	open_machine(3);
	decide(4, true);
	assert_true(m.fx.side_begin);
	assert_int_equal(m.fx.side_rows, 2); /* but for the newest */
	give_side();
	assert_true(m.fx.moved && m.fx.compute);
	assert_closes("w1", 1);
	assert_int_equal(m.s.state, SESSION_LOCAL);
	assert_int_equal(m.fx.compute_pos, 2);
	step((struct session_event){ .kind = SESSION_EV_LOCAL_TOKEN, .id = 9 });
	assert_true(m.fx.token && m.fx.compute);
	decide(1, false); /* and back */
	assert_true(m.fx.open && m.fx.side_begin);
	accept_from("w2", 2, MAX_IDS);
	give_side();
	assert_sends(0, 1);
	step((struct session_event){ .kind = SESSION_EV_LOCAL_TOKEN, .id = 9 });
	while (!m.fx.moved)
		give_side();
	assert_int_equal(m.s.state, SESSION_OPEN);
	give_rows();
	assert_true(m.s.awaiting);
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
		TEST(a_split_moves_up_between_two_tokens),
		TEST(a_token_waits_for_the_last_piece),
		TEST(a_split_moves_down_when_the_worker_has_all),
		TEST(a_fill_that_is_refused_leaves_the_session_as_it_was),
		TEST(silence_about_a_fill_is_asked_then_given_up),
		TEST(who_goes_on_alone_draws_the_token_that_is_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
