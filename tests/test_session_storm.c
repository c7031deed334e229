/* tests/test_session_storm.c - 200,000 events at random over the agent's session.
 *
 * Most of them are nearly right, so that sessions get somewhere; after each the machine's own
 * invariant and those below must hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "agent/session.h"
#include "base/rng.h"

#define EVENTS 1000000u

struct storm {
	uint64_t seed, rolls;
	struct session s;
	struct session_effects fx;
	uint64_t now_us;
	struct msg_accept accept;
	struct msg_tokens tokens;
	struct msg_need need;
	struct msg_error error;
	uint32_t ids[64];
	uint8_t bytes[8];
	bool ended; /* the end was told */
	unsigned moved[SESSION_BACK + 1], abandoned, refilled, drafted, right;
	unsigned seen_states[SESSION_NSTATES], seen_finishes[SESSION_NFINISHES], reopened;
};

static uint32_t roll(struct storm *st, uint32_t below)
{
	return (uint32_t)(rng_u64(st->seed, st->rolls++) % below);
}

/* Mostly v, else something near it or far from it. */
static uint32_t nearly(struct storm *st, uint32_t v)
{
	switch (roll(st, 12)) {
	case 0:
		return v + 1;
	case 1:
		return v - 1;
	case 2:
		return roll(st, 50);
	case 3:
		return UINT32_MAX;
	default:
		return v;
	}
}

static void put_worker(struct storm *st, char dst[TOPIC_NAME_MAX + 1])
{
	memset(dst, 0, TOPIC_NAME_MAX + 1);
	dst[0] = 'w';
	dst[1] = (char)('0' + roll(st, 3));
}

static void begin_storm_session(struct storm *st)
{
	struct session_conf conf = {
		.id = 1,
		.n_layers = 4,
		.split = roll(st, 4),
		.local = !roll(st, 3),
		.row_bytes = 8,
		.chunk_rows = 1 + roll(st, 5),
		.max_ids = 1 + roll(st, 40),
		.max_new = 1 + roll(st, 30),
		.drafts = roll(st, 5),
		.accept_us = 100,
		.reply_us = 1000,
		.deadline_us = st->now_us + 1 + roll(st, 200000),
	};

	conf.side_rows = 1 + roll(st, conf.chunk_rows);
	conf.kept_side_rows = 1 + roll(st, conf.chunk_rows);
	conf.split = conf.local ? conf.n_layers : conf.split;
	conf.log_bytes = roll(st, 20) ? 8u * conf.max_ids : roll(st, 30);
	if (!roll(st, 3))
		put_worker(st, conf.worker);
	session_finish(&st->s);
	assert_int_equal(session_init(&st->s, &conf), 0);
	st->s.token_us = roll(st, 2) ? 0 : roll(st, 3000);
	st->ended = false;
}

static uint32_t newest_seq(const struct session *s)
{
	return s->n_chunks ? s->chunks[s->n_chunks - 1].seq : 0;
}

static void fill_messages(struct storm *st)
{
	const struct session *s = &st->s;

	st->accept = (struct msg_accept){ .epoch = nearly(st, s->epoch),
					  .context_tokens = nearly(st, s->conf.max_ids),
					  .drafts = roll(st, 5) };
	put_worker(st, st->accept.worker);
	st->tokens = (struct msg_tokens){
		.epoch = nearly(st, s->epoch),
		.seq = nearly(st, newest_seq(s)),
		.pos = nearly(st, s->n_ids),
		.ids = { s->n_drafts && roll(st, 3) ? s->ids[s->n_ids] : roll(st, 1000) },
		.n_ids = roll(st, 20) ? 1 : roll(st, MSG_IDS_MAX + 1),
		.end = !roll(st, 30),
	};
	st->need = (struct msg_need){ .epoch = nearly(st, s->epoch),
				      .seq = nearly(st, newest_seq(s)),
				      .kv_len = roll(st, 45) };
	if (roll(st, 2)) {
		st->need.seq = roll(st, 8) ? 0 : st->need.seq;
		st->need.has_fill = !roll(st, 20) != (s->handover.way != SESSION_BACK);
		st->need.kv_len = nearly(st, s->handover.done);
		st->need.epoch = s->epoch;
		st->need.fill_split = nearly(st, s->handover.to);
		st->need.fill_len = nearly(st, s->handover.done);
	}
	st->error = (struct msg_error){ .epoch = nearly(st, s->epoch),
					.code = -(int)roll(st, 20),
					.again = !roll(st, 3),
					.reason = "storm" };
}

/* Rare events are those that end a session. */
static enum session_event_kind any_kind(struct storm *st)
{
	enum session_event_kind kind = (enum session_event_kind)roll(st, SESSION_EV_COUNT);
	bool rare = kind == SESSION_EV_CANCEL || kind == SESSION_EV_COMPUTE_FAILED ||
		    kind == SESSION_EV_ERROR || kind == SESSION_EV_WORKER_LOST ||
		    kind == SESSION_EV_SIDE_FAILED || kind == SESSION_EV_DECIDE;

	if (st->s.handover.way == SESSION_STAYS && kind == SESSION_EV_DECIDE && roll(st, 2))
		return kind;
	if (st->s.handover.way == SESSION_STAYS && st->s.state == SESSION_LOCAL && !roll(st, 4))
		return SESSION_EV_DECIDE;
	if (st->s.handover.way != SESSION_STAYS && st->s.state == SESSION_OPEN && !roll(st, 4))
		return st->s.computing ? SESSION_EV_ROWS : SESSION_EV_TOKENS;
	if (st->s.handover.accepted && st->s.computing && !roll(st, 4))
		return SESSION_EV_LOCAL_TOKEN;
	if (st->s.handover.way != SESSION_STAYS && roll(st, 2))
		return st->s.handover.out && roll(st, 3) ? SESSION_EV_SIDE
		       : st->s.handover.way == SESSION_BACK && !st->s.handover.accepted
			       ? SESSION_EV_ACCEPT
			       : SESSION_EV_NEED;
	if (!rare || !roll(st, 40))
		return kind;
	return roll(st, 2) ? SESSION_EV_ROWS : SESSION_EV_SIDE;
}

static struct session_event any_event(struct storm *st)
{
	static const char *const workers[] = { "w0", "w1", "w2" };

	fill_messages(st);
	return (struct session_event){
		.kind = any_kind(st),
		.ids = st->ids,
		.n_ids = roll(st, 44),
		.bytes = st->bytes,
		.len = roll(st, sizeof(st->bytes) + 1),
		.pos = nearly(st, st->s.n_ids + st->s.n_drafts),
		.id = roll(st, 1000),
		.end = !roll(st, 30),
		.code = ERR_IO,
		.reason = "storm",
		.worker = workers[roll(st, 3)],
		.split = roll(st, 6),
		.alone = !roll(st, 4),
		.listening = roll(st, 2),
		.accept = &st->accept,
		.tokens = &st->tokens,
		.need = &st->need,
		.error = &st->error,
	};
}

/* The log is whole and in order. */
static void check_log(const struct session *s)
{
	uint32_t pos = 0;
	size_t len = 0;

	assert_true(s->log_len <= s->conf.log_bytes);
	for (uint32_t i = 0; i < s->n_chunks; i++) {
		assert_int_equal(s->chunks[i].pos, pos);
		assert_int_equal(s->chunks[i].offset, len);
		assert_true(s->chunks[i].seq > (i ? s->chunks[i - 1].seq : 0));
		assert_true(s->chunks[i].rows >= 1 && s->chunks[i].rows <= s->conf.chunk_rows);
		pos += s->chunks[i].rows;
		len += s->chunks[i].len;
	}
	if (!s->conf.local)
		assert_int_equal(pos, s->computed);
	assert_int_equal(len, s->log_len);
	for (uint32_t i = s->n_chunks; i < s->n_chunks + s->n_drafts; i++) {
		assert_true(s->chunks[i].pos == pos++ && s->chunks[i].rows == 1);
		assert_int_equal(s->chunks[i].offset, len);
		assert_true(s->chunks[i].seq > s->chunks[i - 1].seq);
		len += s->chunks[i].len;
	}
	assert_true(len <= s->conf.log_bytes && s->n_drafts <= s->conf.drafts);
}

/* What a handover wants, and that the split moves only when all rows are there. */
static void check_side(const struct storm *st, const struct session *before)
{
	const struct session_effects *fx = &st->fx;
	const struct session *s = &st->s;
	const struct session_handover *h = &s->handover;

	assert_true(!fx->side_begin || h->way != SESSION_STAYS || fx->ended);
	if (fx->side) {
		assert_int_equal(fx->side_pos, h->done);
		assert_int_equal(fx->side_rows, h->out);
		assert_in_range(fx->side_rows, 1,
				fx->side_first ? s->conf.kept_side_rows : s->conf.side_rows);
		assert_true(fx->side_pos + fx->side_rows <= s->computed);
	}
	assert_true(fx->side_end == false || !before->handover.out || !h->out || fx->side);
	if (fx->moved) {
		assert_int_equal(h->out, 0);
		assert_int_equal(s->conf.split, h->to);
		assert_int_not_equal(s->conf.split, before->conf.split);
		assert_true(h->done >= s->computed || s->n_ids == s->computed + 1);
		assert_int_equal(s->handovers, before->handovers + 1);
	} else {
		assert_int_equal(s->conf.split, before->conf.split);
	}
	assert_true(fx->fill_from <= fx->fill_to);
	assert_true(fx->fill_from == fx->fill_to || (fx->fill + fx->moved == s->n_fills &&
						     fx->fill_to <= s->fills[fx->fill].n_chunks));
	for (unsigned i = 0; i < s->n_fills; i++)
		assert_true(s->fills[i].before <= s->n_chunks);
}

static void check_effects(const struct storm *st, const struct session *before,
			  enum session_event_kind kind)
{
	const struct session_effects *fx = &st->fx;
	const struct session *s = &st->s;

	if (st->ended)
		assert_false(fx->close || fx->open || fx->compute || fx->token || fx->ended);
	assert_true(!fx->close || fx->close_worker[0]);
	assert_true(!fx->open || s->state == SESSION_OPENING || s->handover.way == SESSION_BACK);
	assert_true(fx->send_from <= fx->send_to && fx->send_to <= s->n_chunks);
	assert_true(fx->send_from == fx->send_to || s->state == SESSION_OPEN ||
		    s->handover.accepted);
	assert_true(!fx->refill || fx->send_from < fx->send_to);
	check_side(st, before);
	if (fx->compute) {
		assert_true(s->computing);
		assert_true(!before->computing || kind == SESSION_EV_ROWS ||
			    kind == SESSION_EV_LOCAL_TOKEN);
		assert_false(s->handover.holding);
		assert_int_equal(fx->compute_pos, s->computed);
		assert_in_range(fx->compute_rows, 1, s->conf.chunk_rows);
		assert_true(fx->compute_pos + fx->compute_rows <= s->n_ids);
	}
	assert_true(!fx->draft || s->n_drafts == before->n_drafts + 1);
	if (fx->right) {
		assert_true(!fx->compute && s->awaiting && s->computed == s->n_ids);
		assert_int_equal(s->n_drafts + 1, before->n_drafts);
	}
	if (fx->token) {
		assert_int_equal(s->n_ids, before->n_ids + 1);
		assert_int_equal(s->ids[before->n_ids], fx->token_id);
	}
	assert_true(fx->ended == (s->state == SESSION_ENDED && before->state != SESSION_ENDED));
}

static void check_session(const struct storm *st, const struct session *before)
{
	const struct session *s = &st->s;

	assert_true(s->epoch >= before->epoch);
	assert_true(s->n_ids >= before->n_ids);
	assert_true(s->n_chunks >= before->n_chunks ||
		    (st->fx.side_begin && s->handover.way == SESSION_BACK));
	assert_true(s->n_ids - s->n_prompt <= s->conf.max_new);
	assert_true(s->state != SESSION_LOCAL || s->conf.local);
	assert_true(s->state == SESSION_ENDED ? session_due_us(s) == UINT64_MAX
					      : session_due_us(s) <= s->conf.deadline_us);
	assert_true(s->state != SESSION_OPEN || s->worker[0]);
	check_log(s);
}

static void count_seen(struct storm *st, const struct session *before)
{
	const struct session *s = &st->s;

	st->seen_states[s->state]++;
	if (st->fx.moved)
		st->moved[before->handover.way ? before->handover.way
					       : s->state == SESSION_LOCAL]++;
	st->abandoned += st->fx.side_end;
	st->drafted += st->fx.draft;
	st->right += st->fx.right;
	st->refilled += st->fx.refill && s->n_fills;
	st->reopened += s->state == SESSION_OPENING && before->state == SESSION_OPEN;
	if (st->fx.ended) {
		st->ended = true;
		st->seen_finishes[s->finish]++;
	}
}

/* A test may be repeated with the seed that it printed: SPLITMQ_SEED=... */
static uint64_t seed_of(uint64_t fallback)
{
	const char *text = getenv("SPLITMQ_SEED");

	return text ? strtoull(text, NULL, 10) : fallback;
}

static void no_event_can_break_the_machine(void **state)
{
	static struct storm st;

	(void)state;
	st.seed = seed_of(20240607);
	print_message("seed %llu\n", (unsigned long long)st.seed);
	begin_storm_session(&st);
	for (unsigned i = 0; i < EVENTS; i++) {
		struct session before = st.s;
		struct session_event ev = any_event(&st);

		st.now_us += roll(&st, 4) ? roll(&st, 50) : roll(&st, 1500);
		ev.now_us = st.now_us;
		session_step(&st.s, &ev, &st.fx);
		if (st.fx.side_begin && roll(&st, 3)) { /* as the driver does */
			st.s.handover.kept_from = st.s.n_ids;
			st.s.handover.kept_rows = 1 + roll(&st, 20);
		}
		check_effects(&st, &before, ev.kind);
		check_session(&st, &before);
		count_seen(&st, &before);
		if (st.ended && !st.s.computing && !roll(&st, 5))
			begin_storm_session(&st);
	}
	session_finish(&st.s);
	print_message("%u %u %u, %u %u\n", st.moved[1], st.moved[2], st.moved[3], st.abandoned,
		      st.refilled);
	for (unsigned i = 0; i < SESSION_NSTATES; i++)
		assert_true(st.seen_states[i] > 100);
	for (unsigned i = 0; i < SESSION_NFINISHES; i++)
		assert_true(st.seen_finishes[i] > 10);
	assert_true(st.reopened > 100 && st.abandoned > 100);
	for (unsigned i = SESSION_UP; i <= SESSION_BACK; i++)
		assert_true(st.moved[i] > 3);
	assert_true(st.refilled > 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_event_can_break_the_machine),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
