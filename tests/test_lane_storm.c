/* tests/test_lane_storm.c - 200,000 events at random over the worker's lane.
 *
 * Most of them are nearly right, so that sessions get somewhere; after each the lane's own
 * invariant and those below must hold: above all, no chunk is run twice, and none out of place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "worker/lane.h"

#define EVENTS   200000u
#define MAX_JOBS 64u

/* Jobs come back in order, like from the compute thread. */
struct job {
	uint32_t epoch, seq, end_pos;
	bool sample, fill, change;
};

struct storm {
	uint64_t seed, rolls, now_us;
	struct lane_limits lim;
	struct lane l;
	struct lane_effects fx;
	struct msg_open open;
	struct wire_hdr hdr;
	struct job jobs[MAX_JOBS];
	unsigned n_jobs;
	uint32_t kv_len,
		kv_first; /* what the compute thread's cache will hold, and from which layer */
	bool side;        /* there is a cache beside, for layers: */
	uint32_t side_first, side_last, side_len;
	bool no_side; /* the newest effects want one that cannot be had */
	unsigned freed, answered, answered_again, needs, busy, drained, run, filled, raised, joined,
		told, drafted, cut;
};

static uint32_t roll(struct storm *st, uint32_t below)
{
	return (uint32_t)(rng_u64(st->seed, st->rolls++) % below);
}

/* Mostly v, else something near it or far from it. */
static uint32_t nearly(struct storm *st, uint32_t v)
{
	switch (roll(st, 16)) {
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

static void fill_open(struct storm *st)
{
	st->open = (struct msg_open){
		.session = 5,
		.epoch = st->l.open.epoch + (roll(st, 8) ? 0 : 1),
		.dim = 8,
		.split = roll(st, 6) ? 2 : 3,
		.context_tokens = 1 + roll(st, 60),
		.n_history = roll(st, 4) ? 0 : roll(st, MSG_IDS_MAX + 1),
	};
	if (roll(st, 4))
		st->open.context_tokens = 64;
}

static void fill_hdr(struct storm *st)
{
	const struct lane *l = &st->l;

	st->hdr = (struct wire_hdr){
		.kind = WIRE_ROWS,
		.flags = roll(st, 2) ? WIRE_SAMPLE : 0,
		.session = 5,
		.epoch = nearly(st, l->open.epoch),
		.seq = nearly(st, roll(st, 5) ? l->last_seq + 1 : l->last_seq),
		.pos = nearly(st, l->planned_len),
		.rows = nearly(st, 2 + roll(st, 3)),
		.dim = roll(st, 60) ? l->open.dim : 9,
		.split = roll(st, 30) ? l->split : roll(st, 5),
	};
	if (!roll(st, 3)) { /* of a fill */
		st->hdr.flags |= WIRE_FILL;
		st->hdr.seq = nearly(st, roll(st, 5) ? l->fill_seq + 1 : l->fill_seq);
		if (!l->filling || !roll(st, 40))
			st->hdr.seq = (l->fill_no + !!roll(st, 4)) << 16 | 1;
		st->hdr.split = l->filling && roll(st, 20) ? l->fill_split : roll(st, 5);
		st->hdr.pos = l->filling ? nearly(st, l->fill_len) : 0;
		if (st->hdr.pos < l->planned_len && roll(st, 20))
			st->hdr.rows =
				l->planned_len - st->hdr.pos < 4 ? l->planned_len - st->hdr.pos : 4;
	} else if (l->filling && l->fill_len == l->planned_len) {
		st->hdr.split = l->fill_split;
	} else if (st->hdr.pos && !roll(st, 3)) {
		st->hdr.flags = WIRE_DRAFT | WIRE_SAMPLE | WIRE_IDS;
		st->hdr.rows = 1;
	}
	if (!st->hdr.rows)
		st->hdr.rows = 1; /* wire_get_hdr lets no empty frame pass */
}

/* The oldest job, done. */
static struct lane_event take_job(struct storm *st)
{
	struct job j = st->jobs[0];

	st->n_jobs--;
	memmove(&st->jobs[0], &st->jobs[1], st->n_jobs * sizeof(j));
	return (struct lane_event){
		.kind = roll(st, 60) ? LANE_EV_COMPUTED : LANE_EV_FAILED,
		.epoch = j.epoch,
		.seq = j.seq,
		.pos = j.end_pos,
		.id = roll(st, 3),
		.sampled = j.sample,
		.fill = j.fill,
		.end = !roll(st, 30),
		.code = ERR_IO,
		.reason = "storm",
	};
}

static struct lane_event any_event(struct storm *st)
{
	uint32_t kind = roll(st, 100);

	fill_open(st);
	fill_hdr(st);
	if (st->n_jobs && (kind < 40 || st->n_jobs == MAX_JOBS))
		return take_job(st);
	if (kind < 88)
		return (struct lane_event){ .kind = LANE_EV_ROWS,
					    .hdr = &st->hdr,
					    .id = roll(st, 3) };
	if (kind < 95)
		return (struct lane_event){ .kind = LANE_EV_OPEN,
					    .agent = "gw",
					    .open = &st->open };
	if (kind < 97)
		return (struct lane_event){ .kind = LANE_EV_CLOSE,
					    .epoch = nearly(st, st->l.open.epoch) };
	return (struct lane_event){ .kind = LANE_EV_TICK };
}

/* Of a fill: it follows on what the cache beside will hold. */
static void queue_fill(struct storm *st)
{
	const struct wire_hdr *h = &st->hdr;

	assert_true(st->side);
	assert_int_equal(h->split, st->side_first);
	assert_true(h->pos <= st->side_len);
	st->side_len = h->pos + h->rows;
	st->filled++;
}

/* Of rows at another split. No fill is being run that a job could overtake: it comes after them. */
static void queue_change(struct storm *st)
{
	const struct wire_hdr *h = &st->hdr;

	assert_true(h->split != st->kv_first);
	assert_true(st->fx.join == (h->split < st->kv_first));
	for (unsigned i = 0; i < st->n_jobs; i++)
		assert_false(st->jobs[i].change);
	st->raised += !st->fx.join;
	st->joined += st->fx.join;
	if (st->fx.join) {
		assert_true(st->side && st->side_first == h->split);
		assert_int_equal(st->side_last, st->kv_first);
		assert_int_equal(st->side_len, h->pos);
		assert_true(st->kv_len >= h->pos);
	}
	st->kv_first = h->split;
}

/* A job is queued: it must follow on what the cache will hold, and be new. */
static void queue_job(struct storm *st, const struct lane *before)
{
	const struct wire_hdr *h = &st->hdr;

	assert_int_equal(before->state, LANE_SERVING);
	assert_int_equal(h->epoch, before->open.epoch);
	assert_in_range(h->rows, 1, st->lim.max_rows);
	assert_true(h->pos + h->rows <= before->context_tokens);
	assert_int_equal(h->dim, before->open.dim);
	if (h->flags & WIRE_FILL) {
		assert_true(LANE_FILL_NO(h->seq) > before->fill_done);
		assert_true(h->seq > before->fill_seq);
		queue_fill(st);
	} else {
		assert_true(h->seq > before->last_seq);
		assert_true(h->pos <= st->kv_len);
		if (st->fx.change)
			queue_change(st);
		assert_int_equal(h->split, st->kv_first);
		if (h->flags & WIRE_DRAFT) {
			assert_int_equal(h->pos, st->kv_len);
			assert_int_equal(h->seq, before->last_seq + 1);
			st->drafted++;
		}
		st->kv_len = h->pos + h->rows;
	}
	st->jobs[st->n_jobs++] = (struct job){ .epoch = h->epoch,
					       .fill = h->flags & WIRE_FILL,
					       .change = st->fx.change,
					       .seq = h->seq,
					       .end_pos = h->pos + h->rows,
					       .sample = h->flags & WIRE_SAMPLE };
	st->run++;
}

static void check_effects(struct storm *st, const struct lane *before, enum lane_event_kind kind)
{
	const struct lane_effects *fx = &st->fx;
	const struct lane *l = &st->l;

	if (fx->side_over) {
		assert_true(st->side);
		for (unsigned i = 0; i < st->n_jobs; i++)
			assert_false(st->jobs[i].fill);
		st->side = false;
	}
	if (fx->side) {
		assert_false(st->side);
		assert_true(l->fill_split < l->split);
		st->no_side = !roll(st, 20);
		st->side = true;
		st->side_first = l->fill_split;
		st->side_last = l->split;
		st->side_len = 0;
	}
	if (fx->reset) {
		assert_true(fx->accept);
		assert_true(!st->n_jobs || (l->open.split == before->split && !before->side &&
					    l->context_tokens == before->context_tokens));
		st->kv_len = 0;
		st->kv_first = l->open.split;
		assert_false(st->side);
	}
	if (fx->run && !st->no_side)
		queue_job(st, before);
	if (kind == LANE_EV_COMPUTED && l->planned_len < st->kv_len) { /* drafts were wrong */
		assert_true(fx->answer && l->planned_len == l->answer.pos);
		assert_true(st->kv_len - l->planned_len <= before->drafts);
		st->kv_len = l->planned_len;
		st->cut++;
	}
	if (fx->answer) {
		assert_int_equal(l->answer.epoch, l->open.epoch);
		assert_true(l->answer.seq <= l->last_seq);
		if (kind == LANE_EV_ROWS)
			assert_int_equal(l->answer.seq, st->hdr.seq);
		st->answered++;
		st->answered_again += kind == LANE_EV_ROWS;
	}
	if (fx->need && kind == LANE_EV_ROWS)
		assert_true(st->hdr.flags & WIRE_SAMPLE);
	if (fx->need && kind == LANE_EV_ROWS && fx->need_seq)
		assert_true(st->hdr.pos > l->planned_len || st->hdr.split != l->split ||
			    (st->hdr.flags & WIRE_DRAFT && fx->need_len < st->hdr.pos));
	st->told += fx->need && !fx->need_seq;
	assert_true(!fx->error_again || l->state == before->state);
	if (fx->freed) {
		assert_int_equal(l->state, LANE_FREE);
		assert_int_equal(st->n_jobs, 0);
	}
	assert_true(fx->freed == (l->state == LANE_FREE && before->state != LANE_FREE));
	assert_true(!fx->error || fx->reason[0]);
	st->freed += fx->freed;
	st->needs += fx->need;
	st->busy += fx->error == ERR_BUSY;
	st->drained += l->state == LANE_DRAINING && before->state != LANE_DRAINING;
}

static void check_lane(const struct storm *st)
{
	const struct lane *l = &st->l;

	assert_int_equal(l->jobs, st->n_jobs);
	assert_true(l->n_generated <= st->lim.context_tokens);
	if (l->state != LANE_SERVING)
		return;
	assert_int_equal(l->planned_len, st->kv_len);
	assert_int_equal(l->split, st->kv_first);
	assert_true(l->side == st->side);
	assert_true(!l->filling || (l->fill_len == st->side_len && st->side_last == l->split));
	assert_true(l->planned_len <= l->context_tokens);
	assert_true(l->context_tokens <= st->lim.context_tokens);
}

/* A test may be repeated with the seed that it printed: SPLITMQ_SEED=... */
static uint64_t seed_of(uint64_t fallback)
{
	const char *text = getenv("SPLITMQ_SEED");

	return text ? strtoull(text, NULL, 10) : fallback;
}

static void no_event_can_break_the_lane(void **state)
{
	static struct storm st;

	(void)state;
	st.seed = seed_of(20240608);
	print_message("seed %llu\n", (unsigned long long)st.seed);
	st.lim = (struct lane_limits){ .worker = "w1",
				       .n_layers = 4,
				       .dim = 8,
				       .context_tokens = 64,
				       .max_rows = 4,
				       .idle_us = 300 };
	assert_int_equal(lane_init(&st.l, &st.lim), 0);
	for (unsigned i = 0; i < EVENTS; i++) {
		struct lane before = st.l;
		struct lane_event ev = any_event(&st);

		st.now_us += roll(&st, 20) ? roll(&st, 50) : roll(&st, 600);
		ev.now_us = st.now_us;
		lane_step(&st.l, &st.lim, &ev, &st.fx);
		check_effects(&st, &before, ev.kind);
		if (st.no_side) {
			ev = (struct lane_event){ .kind = LANE_EV_NO_SIDE,
						  .now_us = st.now_us,
						  .seq = st.hdr.seq,
						  .code = ERR_LIMIT,
						  .reason = "no room" };
			st.no_side = false;
			before = st.l;
			lane_step(&st.l, &st.lim, &ev, &st.fx);
			assert_true(st.fx.error_again && st.fx.side_over);
			check_effects(&st, &before, ev.kind);
		}
		check_lane(&st);
	}
	lane_finish(&st.l);
	assert_true(st.freed > 100 && st.drained > 100 && st.busy > 100 && st.needs > 100);
	assert_true(st.filled > 1000 && st.raised > 100 && st.joined > 100 && st.told > 100);
	assert_true(st.drafted > 1000 && st.cut > 100);
	assert_true(st.run > 1000 && st.answered > 1000 && st.answered_again > 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_event_can_break_the_lane),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
