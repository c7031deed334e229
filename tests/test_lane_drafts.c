/* tests/test_lane_drafts.c - rows of guessed tokens at the worker's lane, event by event; and an
 * agent that guesses, over a network that loses, repeats and reorders: its answers are those of one
 * that does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "base/le.h"
#include "base/rng.h"
#include "tests/lane_machine.h"
#include "worker/drafts.h"

#define DRAFT (WIRE_DRAFT | WIRE_SAMPLE | WIRE_IDS)

static void send_draft(uint32_t seq, uint32_t pos, uint32_t id)
{
	struct wire_hdr h = a_chunk(seq, pos, 1);

	h.flags = DRAFT;
	h.split = l.split;
	step((struct lane_event){ .kind = LANE_EV_ROWS, .hdr = &h, .id = id });
}

/* A prompt of four rows is out as chunk 1. */
static void begin(void)
{
	open_epoch(1);
	send_rows(1, 0, 4);
	assert_true(fx.run);
}

static void assert_answer(uint32_t seq, uint32_t id)
{
	assert_true(fx.answer && !fx.need);
	assert_int_equal(l.answer.seq, seq);
	assert_int_equal(l.answer.ids[0], id);
	assert_int_equal(l.answer.epoch, l.open.epoch);
}

static void assert_need(uint32_t seq, uint32_t len)
{
	assert_true(fx.need && !fx.run && !fx.answer);
	assert_int_equal(fx.need_seq, seq);
	assert_int_equal(fx.need_len, len);
}

static void assert_token(uint32_t pos, uint32_t id)
{
	uint32_t is;

	assert_true(lane_token_at(&l, pos, &is));
	assert_int_equal(is, id);
}

static void drafts_that_are_right_are_rows_like_others(void **state)
{
	(void)state;
	begin();
	send_draft(2, 4, 70);
	assert_true(fx.run);
	send_draft(3, 5, 71);
	assert_true(fx.run);
	assert_int_equal(l.planned_len, 6);
	compute(1, 1, 4, 70);
	assert_answer(1, 70); /* though newer chunks were taken */
	assert_int_equal(l.planned_len, 6);
	compute(1, 2, 5, 71);
	assert_answer(2, 71);
	compute(1, 3, 6, 72);
	assert_answer(3, 72);
	send_rows(4, 6, 1);
	assert_true(fx.run);
	assert_token(4, 70);
	assert_token(6, 72);
}

static void drafts_that_are_wrong_have_never_been(void **state)
{
	uint32_t id;

	(void)state;
	begin();
	send_draft(2, 4, 70);
	send_draft(3, 5, 71);
	compute(1, 1, 4, 60);
	assert_answer(1, 60);
	assert_int_equal(l.planned_len, 4);
	assert_token(4, 60);
	assert_false(lane_token_at(&l, 5, &id));
	compute(1, 2, 5, 71); /* what comes of them */
	assert_nothing();
	send_draft(4, 6, 72); /* and what follows on them */
	assert_nothing();
	send_draft(5, 7, 73);
	assert_nothing();
	compute(1, 3, 6, 72);
	assert_nothing();
	send_rows(6, 4, 1);
	assert_true(fx.run);
	send_draft(7, 5, 61);
	assert_true(fx.run);
	compute(1, 6, 5, 61);
	assert_answer(6, 61);
	compute(1, 7, 6, 62);
	assert_answer(7, 62);
	assert_token(5, 61);
	assert_int_equal(l.jobs, 0);
}

static void a_draft_in_the_middle_may_be_wrong(void **state)
{
	(void)state;
	begin();
	for (uint32_t i = 0; i < 3; i++)
		send_draft(2 + i, 4 + i, 70 + i);
	compute(1, 1, 4, 70);
	compute(1, 2, 5, 60); /* the second one is wrong */
	assert_answer(2, 60);
	assert_int_equal(l.planned_len, 5);
	compute(1, 3, 6, 72);
	assert_nothing();
	send_draft(5, 7, 73);
	assert_nothing();
	send_rows(6, 5, 1);
	assert_true(fx.run);
}

/* The answer to what it follows on is there already. */
static void a_draft_that_comes_late_is_known_to_be_wrong(void **state)
{
	(void)state;
	begin();
	compute(1, 1, 4, 60);
	send_draft(2, 4, 70);
	assert_nothing();
	send_draft(3, 5, 71);
	assert_nothing();
	send_draft(2, 4, 70);
	assert_nothing();
	assert_token(4, 60);
	assert_int_equal(l.planned_len, 4);
	send_rows(4, 4, 1);
	assert_true(fx.run);
	send_draft(5, 5, 61);
	assert_true(fx.run);
	compute(1, 4, 5, 61);
	compute(1, 5, 6, 62);
	assert_answer(5, 62);
	send_draft(6, 6, 62); /* late, and right */
	assert_true(fx.run);
	compute(1, 6, 7, 63);
	assert_answer(6, 63);
}

static void nothing_follows_on_a_row_that_was_lost(void **state)
{
	(void)state;
	begin();
	send_draft(2, 4, 70);
	send_draft(3, 5, 71);
	compute(1, 1, 4, 60);
	send_draft(5, 5, 61); /* chunk 4, the row at 4, was lost */
	assert_need(5, 4);
	send_rows(4, 4, 1);
	send_draft(5, 5, 61);
	assert_true(fx.run);
	send_draft(7, 7, 63); /* and a draft was */
	assert_need(7, 6);
	send_draft(6, 6, 62);
	assert_true(fx.run);
}

/* The agent gave drafts up though they were right: what it sends then goes another way. */
static void a_row_takes_the_place_of_drafts(void **state)
{
	(void)state;
	begin();
	send_draft(2, 4, 70);
	compute(1, 1, 4, 70);
	send_draft(4, 5, 61); /* chunk 3 was lost, and there are as many positions as it wants */
	assert_need(4, 4);
	send_draft(3, 5, 71);
	send_draft(5, 5, 61); /* chunk 4 was lost: what is held at 4 is another row */
	assert_need(5, 4);
	send_rows(4, 4, 1);
	assert_true(fx.run);
	assert_int_equal(l.planned_len, 5);
	compute(1, 2, 5, 71);
	assert_nothing();
	compute(1, 3, 6, 72);
	assert_nothing();
	send_draft(5, 5, 61);
	assert_true(fx.run);
	compute(1, 4, 5, 61);
	assert_answer(4, 61);
}

static void nothing_follows_on_the_end(void **state)
{
	(void)state;
	begin();
	send_draft(2, 4, 70);
	step((struct lane_event){ .kind = LANE_EV_COMPUTED,
				  .epoch = 1,
				  .seq = 1,
				  .pos = 4,
				  .id = 70,
				  .sampled = true,
				  .end = true });
	assert_answer(1, 70);
	assert_int_equal(l.planned_len, 4);
	compute(1, 2, 5, 71);
	assert_nothing();
	send_draft(3, 5, 71);
	assert_nothing();
	send_rows(4, 4, 1);
	step((struct lane_event){ .kind = LANE_EV_COMPUTED,
				  .epoch = 1,
				  .seq = 4,
				  .pos = 5,
				  .id = 71,
				  .sampled = true,
				  .end = true });
	assert_answer(4, 71);
	send_draft(5, 5, 71); /* it comes late */
	assert_nothing();
}

static void the_newest_eight_answers_are_given_again(void **state)
{
	(void)state;
	begin();
	compute(1, 1, 4, 50);
	for (uint32_t i = 0; i < 8; i++) {
		send_draft(2 + i, 4 + i, 50 + i);
		compute(1, 2 + i, 5 + i, 51 + i);
	}
	for (uint32_t i = 0; i < 8; i++) {
		send_draft(2 + i, 4 + i, 50 + i);
		assert_answer(2 + i, 51 + i);
		assert_false(fx.run);
	}
	send_rows(1, 0, 4);
	assert_nothing();
}

static void a_draft_that_is_repeated_while_it_runs_is_ignored(void **state)
{
	(void)state;
	begin();
	send_draft(2, 4, 70);
	send_draft(2, 4, 70);
	assert_nothing();
	assert_int_equal(l.jobs, 2);
}

static void what_goes_wrong_with_a_draft_that_is_void_is_no_error(void **state)
{
	(void)state;
	begin();
	send_draft(2, 4, 70);
	compute(1, 1, 4, 60);
	step((struct lane_event){ .kind = LANE_EV_FAILED,
				  .epoch = 1,
				  .seq = 2,
				  .pos = 5,
				  .code = ERR_NOT_FINITE,
				  .reason = "a NaN" });
	assert_nothing();
	assert_int_equal(l.state, LANE_SERVING);
	assert_int_equal(l.jobs, 0);
	send_rows(3, 4, 1);
	send_draft(4, 5, 61);
	step((struct lane_event){ .kind = LANE_EV_FAILED,
				  .epoch = 1,
				  .seq = 4,
				  .pos = 6,
				  .code = ERR_NOT_FINITE,
				  .reason = "a NaN" });
	assert_refused(ERR_NOT_FINITE, 1, 4);
}

static void a_new_epoch_knows_no_drafts(void **state)
{
	(void)state;
	begin();
	send_draft(2, 4, 70);
	compute(1, 1, 4, 60);
	open_epoch(2);
	send_rows(1, 0, 4);
	send_draft(2, 4, 70);
	assert_true(fx.run);
	compute(1, 2, 5, 71); /* of epoch 1 */
	assert_nothing();
	compute(2, 1, 4, 70);
	assert_answer(1, 70);
	compute(2, 2, 5, 71);
	assert_answer(2, 71);
}

/* The penalty's history of a job is what stands before it, whatever was guessed behind. */
static void the_history_ends_where_the_rows_do(void **state)
{
	(void)state;
	begin();
	send_draft(2, 4, 70);
	assert_int_equal(l.n_generated, 1);
	send_draft(3, 5, 71);
	assert_int_equal(l.n_generated, 2);
	compute(1, 1, 4, 70);
	assert_int_equal(l.n_generated, 2); /* those behind it stay */
	compute(1, 2, 5, 71);
	send_draft(4, 6, 72);
	send_rows(5, 5, 1); /* in the place of both */
	assert_int_equal(l.n_generated, 2);
	assert_token(5, 71);
	send_draft(6, 6, 62);
	assert_int_equal(l.n_generated, 3);
	assert_token(6, 62);
}

static void a_split_moves_before_drafts_not_with_them(void **state)
{
	struct wire_hdr h;

	(void)state;
	begin();
	send_draft(2, 4, 70);
	h = a_chunk(3, 5, 1);
	h.flags = DRAFT;
	h.split = 3;
	step((struct lane_event){ .kind = LANE_EV_ROWS, .hdr = &h, .id = 71 });
	assert_need(3, 4);
	compute(1, 1, 4, 60);
	h = a_chunk(4, 4, 1);
	h.split = 3;
	send(&h); /* up: where the draft was */
	assert_true(fx.run && fx.change && !fx.join);
	compute(1, 2, 5, 71);
	compute(1, 4, 5, 61);
	assert_true(fx.changed);
	h = a_chunk(1 << 16 | 1, 0, 5);
	h.flags = WIRE_FILL;
	send(&h);
	assert_true(fx.run && fx.side);
	send_draft(5, 5, 61);
	send_draft(6, 6, 62);
	assert_true(fx.run);
	h = a_chunk(7, 5, 1);
	send(&h); /* down: where drafts are, which are not known to be wrong */
	assert_true(fx.run && fx.change && fx.join);
	assert_int_equal(l.planned_len, 6);
}

/* ---- what the compute thread knows of them ---- */

static struct tail_job *a_job(uint32_t pos, uint8_t flags, uint32_t id)
{
	struct tail_job *job = calloc(1, sizeof(*job) + 4);

	assert_non_null(job);
	job->hdr = a_chunk(0, pos, 1);
	job->hdr.flags = flags;
	le_put32(job->body, id);
	return job;
}

static bool is_void(struct drafts_lane *lane, uint32_t pos, uint8_t flags, uint32_t id)
{
	struct tail_job *job = a_job(pos, flags, id);
	const bool yes = drafts_void(lane, job);

	free(job);
	return yes;
}

/* After a row of position pos. */
static void sampled(struct drafts_lane *lane, uint32_t pos, uint32_t id, bool end)
{
	struct tail_job *job = a_job(pos, WIRE_SAMPLE, 0);

	job->id = id;
	job->end = end;
	drafts_sampled(lane, job);
	free(job);
}

static void drafts_are_void_until_there_is_a_row(void **state)
{
	struct drafts_lane lane = { 0 };

	(void)state;
	assert_false(is_void(&lane, 3, WIRE_SAMPLE, 0));
	assert_false(is_void(&lane, 4, DRAFT, 70)); /* not known yet */
	sampled(&lane, 3, 60, false);
	assert_false(is_void(&lane, 3, WIRE_SAMPLE | WIRE_FILL, 0)); /* says nothing of them */
	assert_true(is_void(&lane, 4, DRAFT, 70));
	assert_true(is_void(&lane, 5, DRAFT, 71));
	assert_true(is_void(&lane, 4, DRAFT, 60)); /* it follows on the others */
	assert_false(is_void(&lane, 4, WIRE_SAMPLE, 0));
	assert_false(is_void(&lane, 5, DRAFT, 61));
	sampled(&lane, 4, 61, false);
	assert_false(is_void(&lane, 5, DRAFT, 61));
	sampled(&lane, 5, 62, true);
	assert_true(is_void(&lane, 6, DRAFT, 62)); /* nothing follows on the end */
}

/* At another split the same position may be sampled with another token. */
static void what_was_sampled_before_a_row_says_nothing_of_drafts_behind_it(void **state)
{
	struct drafts_lane lane = { 0 };

	(void)state;
	sampled(&lane, 5, 62, false);
	assert_false(is_void(&lane, 5, WIRE_SAMPLE, 0));
	assert_false(is_void(&lane, 6, DRAFT, 99));
}

/* ---- an agent that guesses ------------------------------------------------------------------ */

#define TOKENS  240u
#define PROMPT  4u
#define POSES   (PROMPT + TOKENS + 8)
#define MOST    4u /* drafts beyond what is due */
#define FRAMES  1024u
#define WORDS   5u /* of the vocabulary */
#define SEEDS   200u
#define PATIENT 200u /* steps until a frame is sent again */

struct past { /* a codec's state, in the small */
	uint64_t hash;
	struct {
		uint32_t pos;
		uint64_t hash;
	} marks[4];
	unsigned n;
};

struct frame {
	struct wire_hdr hdr;
	uint32_t id;
	uint64_t past; /* before it */
};

struct answer {
	uint32_t epoch, seq, pos, id;
	bool need;
};

struct job {
	struct frame f;
	uint32_t history[POSES], n_history, history_pos;
	struct tail_job *tail; /* for worker/drafts */
	bool skipped;
	uint32_t sampled;
};

static struct {
	uint64_t seed, rolls;
	uint32_t truth[POSES];
	/* the agent */
	struct frame live[POSES + MOST]; /* the log, and drafts */
	unsigned n_live, due;
	uint32_t seq, epoch, silent;
	bool served; /* there was an answer in this epoch */
	struct past sender;
	/* the network */
	struct frame up[FRAMES];
	struct answer down[FRAMES];
	unsigned n_up, n_down;
	/* the worker */
	struct job jobs[FRAMES];
	unsigned n_jobs;
	uint32_t rows[POSES], len;
	struct past receiver;
	struct drafts_lane lane;
	unsigned right, wrong, skipped, needs, again, together;
} w;

static uint32_t roll(uint32_t below)
{
	return (uint32_t)(rng_u64(w.seed, w.rolls++) % below);
}

static void go_back(struct past *p, uint32_t pos)
{
	for (unsigned i = p->n; i-- && p->marks[i].pos >= pos; p->n = i) {
		if (p->marks[i].pos == pos)
			p->hash = p->marks[i].hash;
	}
}

static uint64_t move_on(struct past *p, const struct wire_hdr *h, uint32_t id)
{
	uint64_t before;

	if (!h->pos)
		*p = (struct past){ 0 };
	go_back(p, h->pos);
	if (h->flags & WIRE_DRAFT) {
		if (p->n == 4)
			memmove(p->marks, p->marks + 1, --p->n * sizeof(p->marks[0]));
		p->marks[p->n].pos = h->pos;
		p->marks[p->n++].hash = p->hash;
	}
	before = p->hash;
	p->hash = rng_u64(p->hash, h->pos * 1000ull + id);
	return before;
}

/* What follows on n rows. */
static uint32_t next_of(const uint32_t *rows, uint32_t n)
{
	uint64_t hash = 1;

	for (uint32_t i = 0; i < n; i++)
		hash = rng_u64(hash, rows[i]);
	return (uint32_t)(hash % WORDS);
}

static void post(const struct frame *f)
{
	for (unsigned n = roll(12) ? 1 : roll(3); n; n--) {
		assert_true(w.n_up < FRAMES);
		w.up[w.n_up] = *f;
		w.up[w.n_up++].hdr.epoch = w.epoch;
	}
}

static void answer(const struct answer *a)
{
	for (unsigned n = roll(12) ? 1 : roll(3); n; n--) {
		assert_true(w.n_down < FRAMES);
		w.down[w.n_down++] = *a;
	}
}

static void encode(uint32_t pos, uint32_t rows, uint32_t id, uint8_t flags)
{
	struct frame *f = &w.live[w.n_live++];

	*f = (struct frame){ .hdr = a_chunk(++w.seq, pos, rows), .id = id };
	f->hdr.flags = flags;
	f->past = move_on(&w.sender, &f->hdr, id);
	post(f);
}

/* Guessed from what the drafts before would be, mostly right. */
static void guess(void)
{
	uint32_t rows[POSES], n = PROMPT;

	for (unsigned i = 0; i < PROMPT; i++)
		rows[i] = w.truth[i];
	for (unsigned i = 1; i < w.n_live; i++)
		rows[n++] = w.live[i].id;
	if (w.served && w.n_live - 1 - w.due < MOST && n < POSES - 8)
		encode(n, 1, roll(4) ? next_of(rows, n) : roll(WORDS), DRAFT);
}

/* What was known goes again to a worker that forgot, drafts are given up. */
static void open_anew(void)
{
	struct msg_open o = an_open(++w.epoch);

	o.context_tokens = lim.context_tokens;
	for (unsigned i = 1; i <= w.due; i++)
		o.history[o.n_history++] = w.live[i].id;
	w.n_live = w.due + 1;
	w.served = false;
	open_as(&o);
	assert_true(fx.accept);
	for (unsigned i = 0; i < w.n_live; i++) {
		w.live[i].hdr.flags = i == w.due ? WIRE_SAMPLE : 0;
		post(&w.live[i]);
	}
}

static void hear(const struct answer *a)
{
	const struct frame *due = &w.live[w.due];
	const uint32_t pos = due->hdr.pos + due->hdr.rows;

	if (a->epoch != w.epoch)
		return;
	if (a->need) {
		bool known = false;

		for (unsigned i = 0; i < w.n_live; i++)
			known |= w.live[i].hdr.seq == a->seq;
		known &= w.n_up < 2 * MOST; /* else something is on its way */
		for (unsigned i = 0; known && i < w.n_live; i++) {
			if (w.live[i].hdr.pos >= a->pos)
				post(&w.live[i]);
		}
		return;
	}
	if (a->seq != due->hdr.seq)
		return; /* its turn comes when it is asked for again */
	assert_int_equal(a->pos, pos);
	assert_int_equal(a->id, w.truth[pos]);
	w.silent = 0;
	w.served = true;
	w.due++;
	if (w.due < w.n_live && w.live[w.due].id == a->id) {
		w.right++;
		return;
	}
	w.wrong += w.n_live - w.due;
	w.n_live = w.due;
	encode(pos, 1, a->id, WIRE_SAMPLE);
}

static void keep_history(struct job *j)
{
	j->n_history = l.n_generated;
	j->history_pos = l.generated_pos;
	memcpy(j->history, l.generated, l.n_generated * sizeof(l.generated[0]));
}

static void arrive(const struct frame *f)
{
	struct job *j = &w.jobs[w.n_jobs];

	step((struct lane_event){ .kind = LANE_EV_ROWS, .hdr = &f->hdr, .id = f->id });
	assert_int_equal(fx.error, 0);
	if (fx.need)
		answer(&(struct answer){ w.epoch, fx.need_seq, fx.need_len, 0, true });
	w.needs += fx.need;
	w.again += fx.answer;
	if (fx.answer)
		answer(&(struct answer){ l.answer.epoch, l.answer.seq, l.answer.pos,
					 l.answer.ids[0], false });
	if (!fx.run)
		return;
	assert_true(w.n_jobs < FRAMES);
	*j = (struct job){ .f = *f };
	j->tail = calloc(1, sizeof(*j->tail) + 4);
	assert_non_null(j->tail);
	j->tail->hdr = f->hdr;
	le_put32(j->tail->body, f->id);
	keep_history(j);
	w.n_jobs++;
}

static void run(struct job *j)
{
	const struct wire_hdr *h = &j->f.hdr;

	j->skipped = drafts_void(&w.lane, j->tail);
	w.skipped += j->skipped;
	if (j->skipped)
		return;
	assert_true(h->pos <= w.len);
	assert_true(move_on(&w.receiver, h, j->f.id) == j->f.past);
	for (uint32_t i = 0; i < h->rows; i++)
		w.rows[h->pos + i] = h->rows > 1 ? w.truth[i] : j->f.id;
	w.len = h->pos + h->rows;
	j->sampled = next_of(w.rows, w.len);
}

/* What a valid job was told of the tokens before it is so, and complete for those generated. */
static void check_history(const struct job *j)
{
	const uint32_t end = j->f.hdr.pos + j->f.hdr.rows;

	if (end <= PROMPT || j->history_pos == UINT32_MAX)
		return;
	assert_int_equal(j->history_pos, PROMPT);
	assert_int_equal(j->n_history, end - PROMPT);
	assert_memory_equal(j->history, w.truth + PROMPT, j->n_history * sizeof(uint32_t));
}

static void give_back(struct job *j)
{
	const struct wire_hdr *h = &j->f.hdr;
	struct tail_job *t = j->tail;

	if (!j->skipped && h->flags & WIRE_DRAFT)
		j->skipped = drafts_void(&w.lane, t); /* it ran beside what it follows on */
	t->id = j->sampled;
	if (!j->skipped && h->flags & WIRE_SAMPLE)
		drafts_sampled(&w.lane, t);
	step((struct lane_event){ .kind = LANE_EV_COMPUTED,
				  .epoch = h->epoch,
				  .seq = h->seq,
				  .pos = h->pos + h->rows,
				  .id = j->sampled,
				  .sampled = h->flags & WIRE_SAMPLE && !j->skipped });
	assert_int_equal(fx.error, 0);
	if (fx.answer) {
		check_history(j);
		answer(&(struct answer){ h->epoch, h->seq, h->pos + h->rows, j->sampled, false });
	}
	free(t);
}

/* The oldest job, and drafts that follow on it, in one go. */
static void compute_some(void)
{
	unsigned n = 1;

	while (n < w.n_jobs && w.jobs[n].f.hdr.flags & WIRE_DRAFT &&
	       w.jobs[n].f.hdr.pos == w.jobs[n - 1].f.hdr.pos + w.jobs[n - 1].f.hdr.rows && roll(3))
		n++;
	w.together += n > 1;
	for (unsigned i = 0; i < n; i++)
		run(&w.jobs[i]);
	for (unsigned i = 0; i < n; i++)
		give_back(&w.jobs[i]);
	w.n_jobs -= n;
	memmove(w.jobs, w.jobs + n, w.n_jobs * sizeof(w.jobs[0]));
}

/* Mostly the oldest one. */
static unsigned pick(unsigned n)
{
	return roll(15) ? 0 : roll(n < 4 ? n : 4);
}

static void turn(void)
{
	const uint32_t what = roll(10);

	if (what < 4 && w.n_up) {
		const unsigned i = pick(w.n_up);
		const struct frame f = w.up[i];

		memmove(w.up + i, w.up + i + 1, (--w.n_up - i) * sizeof(f));
		arrive(&f);
	} else if (what < 6 && w.n_jobs) {
		compute_some();
	} else if (what < 8 && w.n_down) {
		const unsigned i = pick(w.n_down);
		const struct answer a = w.down[i];

		memmove(w.down + i, w.down + i + 1, (--w.n_down - i) * sizeof(a));
		hear(&a);
	} else if (what == 8) {
		guess();
	}
	if (++w.silent < PATIENT)
		return;
	w.silent = 0;
	if (!w.n_jobs && w.n_up < 2 * MOST && !roll(8))
		open_anew();
	else
		post(&w.live[w.due]);
}

static void play(uint64_t seed)
{
	unsigned turns = 0;

	memset(&w, 0, offsetof(__typeof__(w), right));
	w.seed = seed;
	for (uint32_t i = 0; i < POSES; i++)
		w.truth[i] = i < PROMPT ? i : next_of(w.truth, i);
	lane_finish(&l);
	lim.context_tokens = POSES;
	assert_int_equal(lane_init(&l, &lim), 0);
	encode(0, PROMPT, 0, WIRE_SAMPLE); /* it comes too early */
	open_anew();
	while (w.due < TOKENS) {
		turn();
		assert_true(turns++ < 2000 * TOKENS);
	}
	for (unsigned i = 0; i < w.n_jobs; i++)
		free(w.jobs[i].tail);
}

static void guesses_change_nothing_in_a_bad_network(void **state)
{
	(void)state;
	memset(&w, 0, sizeof(w));
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		now_us = 10;
		play(seed);
	}
	print_message("drafts: %u right, %u wrong, %u skipped; %u needs, %u answered again, "
		      "%u steps of several\n",
		      w.right, w.wrong, w.skipped, w.needs, w.again, w.together);
	assert_true(w.right > 1000 && w.wrong > 1000 && w.skipped > 500 && w.needs > 100 &&
		    w.again > 100 && w.together > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(drafts_that_are_right_are_rows_like_others),
		TEST(drafts_that_are_wrong_have_never_been),
		TEST(a_draft_in_the_middle_may_be_wrong),
		TEST(a_draft_that_comes_late_is_known_to_be_wrong),
		TEST(nothing_follows_on_a_row_that_was_lost),
		TEST(a_row_takes_the_place_of_drafts),
		TEST(nothing_follows_on_the_end),
		TEST(the_newest_eight_answers_are_given_again),
		TEST(a_draft_that_is_repeated_while_it_runs_is_ignored),
		TEST(what_goes_wrong_with_a_draft_that_is_void_is_no_error),
		TEST(a_new_epoch_knows_no_drafts),
		TEST(the_history_ends_where_the_rows_do),
		TEST(a_split_moves_before_drafts_not_with_them),
		TEST(drafts_are_void_until_there_is_a_row),
		TEST(what_was_sampled_before_a_row_says_nothing_of_drafts_behind_it),
		TEST(guesses_change_nothing_in_a_bad_network),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
