/* tests/session_machine.h - one session, driven event by event: what the tests of agent/session
 * stand on. Include it after cmocka.h, in one .c file of a program. */
#ifndef TESTS_SESSION_MACHINE_H
#define TESTS_SESSION_MACHINE_H

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

static inline void step(struct session_event ev)
{
	ev.now_us = m.now_us;
	session_step(&m.s, &ev, &m.fx);
}

static inline int set_up(void **state)
{
	(void)state;
	conf = (struct session_conf){
		.id = 1,
		.n_layers = 4,
		.split = 1,
		.side_rows = 4,
		.kept_side_rows = 2,
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

static inline int tear_down(void **state)
{
	(void)state;
	session_finish(&m.s);
	m = (struct machine){ 0 };
	return 0;
}

static inline void idle_machine(void)
{
	session_finish(&m.s);
	m = (struct machine){ .now_us = 10 };
	assert_int_equal(session_init(&m.s, &conf), 0);
}

static inline void start(uint32_t n_prompt)
{
	uint32_t ids[MAX_IDS + 1];

	for (uint32_t i = 0; i < n_prompt; i++)
		ids[i] = 100 + i;
	step((struct session_event){ .kind = SESSION_EV_START, .ids = ids, .n_ids = n_prompt });
}

/* The compute thread gives the rows that were asked for. */
static inline void give_rows(void)
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

static inline void give_all_rows(void)
{
	while (m.s.computing)
		give_rows();
}

static inline void accept_from(const char *worker, uint32_t epoch, uint32_t context)
{
	struct msg_accept a = { .session = 1, .epoch = epoch, .context_tokens = context };

	memcpy(a.worker, worker, strlen(worker));
	step((struct session_event){ .kind = SESSION_EV_ACCEPT, .accept = &a });
}

static inline struct msg_tokens expected_tokens(uint32_t id)
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

static inline void give_tokens(const struct msg_tokens *t)
{
	step((struct session_event){ .kind = SESSION_EV_TOKENS, .tokens = t });
}

static inline void give_token(uint32_t id)
{
	struct msg_tokens t = expected_tokens(id);

	give_tokens(&t);
}

static inline void give_error(uint32_t epoch, int code, bool again)
{
	struct msg_error e = {
		.session = 1, .epoch = epoch, .code = code, .again = again, .reason = "the reason"
	};

	step((struct session_event){ .kind = SESSION_EV_ERROR, .error = &e });
}

static inline void give_need(uint32_t epoch, uint32_t seq, uint32_t kv_len)
{
	struct msg_need n = { .session = 1, .epoch = epoch, .seq = seq, .kv_len = kv_len };

	step((struct session_event){ .kind = SESSION_EV_NEED, .need = &n });
}

static inline void lose(const char *worker, bool listening)
{
	step((struct session_event){
		.kind = SESSION_EV_WORKER_LOST, .worker = worker, .listening = listening });
}

static inline void tick_at(uint64_t now_us)
{
	m.now_us = now_us;
	step((struct session_event){ .kind = SESSION_EV_TICK });
}

static inline void plain(enum session_event_kind kind)
{
	step((struct session_event){ .kind = kind });
}

/* OPEN at w1, epoch 1, all rows of the prompt sent, the answer is due. */
static inline void open_machine(uint32_t n_prompt)
{
	idle_machine();
	start(n_prompt);
	give_all_rows();
	accept_from("w1", 1, MAX_IDS);
	assert_int_equal(m.s.state, SESSION_OPEN);
	assert_true(m.s.awaiting);
}

static inline void assert_nothing(void)
{
	const struct session_effects *fx = &m.fx;

	assert_false(fx->close || fx->open || fx->compute || fx->token || fx->ended);
	assert_int_equal(fx->send_from, fx->send_to);
}

static inline void assert_sends(uint32_t from, uint32_t to)
{
	assert_int_equal(m.fx.send_from, from);
	assert_int_equal(m.fx.send_to, to);
}

static inline void assert_closes(const char *worker, uint32_t epoch)
{
	assert_true(m.fx.close);
	assert_string_equal(m.fx.close_worker, worker);
	assert_int_equal(m.fx.close_epoch, epoch);
}

static inline void assert_failed(int code, const char *reason)
{
	assert_int_equal(m.s.state, SESSION_ENDED);
	assert_int_equal(m.s.finish, SESSION_ERROR);
	assert_int_equal(m.s.error, code);
	assert_string_equal(m.s.reason, reason);
	assert_true(m.fx.ended);
}

#endif
