/* tests/test_sched.c - which rows make a step: single decisions, and a simulated machine. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "worker/sched.h"

#define FLOWS    32u
#define MAX_ROWS 64u
#define BASE_US  10000 /* of a step on the simulated machine */
#define ROW_US   1000
#define MAX_JOBS 32768u

struct desk {
	struct sched *s;
	struct sched_step step;
	uint64_t now_us, wake_us;
	struct sched_job jobs[MAX_JOBS];
	unsigned n_jobs;
};

static struct desk *make_desk(double attention)
{
	const struct sched_conf conf = { .flows = FLOWS,
					 .max_rows = MAX_ROWS,
					 .interactive_us = 100000,
					 .bulk_us = 5000000,
					 .share = 0.205,
					 .attention = attention };
	struct desk *d = calloc(1, sizeof(*d));

	assert_non_null(d);
	assert_int_equal(sched_create(&d->s, &conf), 0);
	d->now_us = 1000000;
	return d;
}

static int desk_open(void **state)
{
	*state = make_desk(0);
	return 0;
}

static int desk_close(void **state)
{
	struct desk *d = *state;

	sched_destroy(d->s);
	free(d);
	return 0;
}

/* rows of flow from pos on; sample: they are answered. */
static struct sched_job *put(struct desk *d, uint32_t flow, uint32_t pos, uint32_t rows,
			     bool sample, bool bulk)
{
	struct sched_job *job = &d->jobs[d->n_jobs++];

	assert_true(d->n_jobs < MAX_JOBS);
	*job = (struct sched_job){ .flow = flow,
				   .pos = pos,
				   .rows = rows,
				   .sample = sample,
				   .bulk = bulk,
				   .layers = 1,
				   .arrived_us = d->now_us };
	sched_add(d->s, job);
	return job;
}

static bool form(struct desk *d)
{
	return sched_form(d->s, d->now_us, &d->step, &d->wake_us);
}

/* The step runs on the simulated machine. */
static void run(struct desk *d)
{
	uint64_t took = (uint64_t)(BASE_US + ROW_US * d->step.work);

	d->now_us += took;
	sched_ran(d->s, &d->step, d->now_us, took);
}

/* Two sizes are run, so that the cost is known; nobody is expected back. */
static void teach(struct desk *d)
{
	put(d, FLOWS - 2, 0, 1, false, false);
	assert_true(form(d));
	run(d);
	put(d, FLOWS - 2, 1, 32, false, false);
	assert_true(form(d));
	run(d);
}

static void assert_part(const struct desk *d, unsigned i, const struct sched_job *job,
			uint32_t first, uint32_t rows)
{
	assert_true(i < d->step.n);
	assert_ptr_equal(d->step.parts[i].job, job);
	assert_int_equal(d->step.parts[i].first, first);
	assert_int_equal(d->step.parts[i].rows, rows);
	assert_int_equal(d->step.parts[i].last, first + rows == job->rows);
}

static void nothing_to_do_is_no_step(void **state)
{
	struct desk *d = *state;

	assert_false(form(d));
	assert_true(d->wake_us == UINT64_MAX);
}

static void one_row_runs_at_once(void **state)
{
	struct desk *d = *state;
	struct sched_job *job = put(d, 3, 0, 1, true, false);

	assert_true(form(d));
	assert_int_equal(d->step.n, 1);
	assert_part(d, 0, job, 0, 1);
	run(d);
	assert_false(form(d));
	assert_true(d->wake_us == UINT64_MAX);
	job = put(d, 3, 1, 1, true, false); /* alone, nothing is waited for */
	assert_true(form(d));
	assert_part(d, 0, job, 0, 1);
}

static void rows_of_all_that_decode_run_together(void **state)
{
	struct desk *d = *state;

	for (uint32_t i = 0; i < 16; i++)
		put(d, i, 7, 1, true, false);
	assert_true(form(d));
	assert_int_equal(d->step.n, 16);
	assert_int_equal(d->step.rows, 16);
}

/* Few rows that are answered, and not the end of a prompt. */
static void some_rows_count_as_decoding_and_more_do_not(void **state)
{
	struct desk *d = *state;

	assert_true(put(d, 0, 0, SCHED_DECODE_ROWS, true, false)->decodes);
	assert_false(put(d, 1, 0, SCHED_DECODE_ROWS + 1, true, false)->decodes);
	assert_false(put(d, 2, 0, 4, false, false)->decodes);
	assert_false(put(d, 2, 4, 4, true, false)->decodes); /* the prompt's last rows */
	assert_true(put(d, 2, 8, 1, true, false)->decodes);
}

/* Neither that it comes back soon nor that a prompt was going on is true of the next session. */
static void a_session_inherits_nothing_from_the_one_before(void **state)
{
	struct desk *d = *state;

	teach(d);
	for (uint32_t pos = 0; pos < 4; pos++) { /* back after a millisecond, each time */
		put(d, 0, pos, 1, true, false);
		assert_true(form(d));
		run(d);
		d->now_us += 1000;
	}
	put(d, 1, 0, 1, true, false);
	put(d, 0, 0, 1, true, false); /* a new one in its place */
	assert_true(form(d));
	run(d);
	put(d, 1, 1, 1, true, false);
	assert_true(form(d)); /* nobody is waited for */
	assert_int_equal(d->step.n, 1);
	run(d);
	put(d, 0, 1, 32, false, false);
	assert_non_null(sched_take_any(d->s)); /* it ended before its prompt had run */
	assert_true(put(d, 0, 0, 1, true, false)->decodes);
}

static void a_prompt_runs_in_whole_chunks_while_nobody_decodes(void **state)
{
	struct desk *d = *state;
	struct sched_job *a = put(d, 0, 0, 24, false, false), *b = put(d, 0, 24, 24, true, false);

	assert_true(form(d));
	assert_int_equal(d->step.n, 2); /* one after the other, in one step */
	assert_part(d, 0, a, 0, 24);
	assert_part(d, 1, b, 0, 24);
}

static void a_prompt_gets_a_share_of_a_step_that_others_decode_in(void **state)
{
	struct desk *d = *state;
	struct sched_job *prompt, *row;

	teach(d);
	prompt = put(d, 1, 0, 40, true, false);
	for (uint32_t i = 0; i < 10; i++)
		row = put(d, 2 + i, 5, 1, true, false);
	assert_true(form(d));
	assert_int_equal(d->step.n, 11);
	assert_part(d, 9, row, 0, 1);
	assert_part(d, 10, prompt, 0, 4); /* a fifth of (10 + 10) ms, at 1 ms */
	run(d);
	row = put(d, 2, 6, 1, true, false);
	assert_true(form(d));
	assert_part(d, 0, row, 0, 1);
	assert_part(d, 1, prompt, 4, 2); /* of 11 ms */
}

static void a_prompt_gets_one_row_when_nothing_else_fits(void **state)
{
	struct desk *d = *state;
	struct sched_job *prompt = put(d, 1, 0, 8, false, false);

	put(d, 2, 5, 1, true, false);
	assert_true(form(d)); /* nothing is known of costs */
	assert_int_equal(d->step.n, 2);
	assert_part(d, 1, prompt, 0, 1);
}

static void the_earliest_deadline_goes_first(void **state)
{
	struct desk *d = *state;
	struct sched_job *bulk, *early, *late;

	teach(d);
	bulk = put(d, 1, 0, 60, true, true);
	d->now_us += 1000;
	early = put(d, 2, 0, 40, true, false);
	d->now_us += 1000;
	late = put(d, 3, 0, 40, true, false);
	assert_true(form(d));
	assert_part(d, 0, early, 0, 40);
	assert_part(d, 1, late, 0, 24);
	assert_int_equal(d->step.n, 2);
	d->now_us = bulk->deadline_us;
	put(d, 4, 0, 60, true, false);
	assert_true(form(d)); /* by now its turn has come, after what is older still */
	assert_part(d, 0, late, 24, 16);
	assert_part(d, 1, bulk, 0, 48);
}

static void bulk_rows_join_when_there_is_room(void **state)
{
	struct desk *d = *state;

	teach(d);
	for (uint32_t i = 0; i < 8; i++)
		put(d, i, 5, 1, true, i >= 2);
	assert_true(form(d));
	assert_int_equal(d->step.n, 4); /* two urgent ones, and a fifth of 12 ms of others */
	run(d);
	assert_false(form(d)); /* who was answered just now may come back in a moment */
	d->now_us = d->wake_us;
	assert_true(form(d)); /* silent for some steps: one step of a row of the rest is granted */
	assert_int_equal(d->step.n, 1);
	run(d);
	d->now_us += 2100000;
	assert_true(form(d)); /* the rest: they have gone */
	assert_int_equal(d->step.n, 3);
}

static void only_one_chunk_of_a_class_is_cut(void **state)
{
	struct desk *d = *state;
	struct sched_job *a, *b, *c;

	teach(d);
	a = put(d, 1, 0, 60, true, false);
	b = put(d, 2, 0, 60, true, false);
	c = put(d, 3, 0, 60, true, true);
	put(d, 4, 5, 1, true, false);
	assert_true(form(d));
	assert_part(d, 1, a, 0, 2);
	assert_int_equal(d->step.n, 2);
	run(d);
	a->deadline_us = b->deadline_us + 1; /* whatever the order: a is continued, b not cut too */
	put(d, 4, 6, 1, true, false);
	assert_true(form(d));
	assert_part(d, 1, a, 2, 2);
	assert_int_equal(d->step.n, 2);
	run(d);
	d->now_us = c->deadline_us; /* that of the other class may be cut as well */
	a->deadline_us = b->deadline_us = c->deadline_us + 1;
	put(d, 4, 7, 1, true, false);
	assert_true(form(d));
	assert_part(d, 1, c, 0, 2);
}

static void a_chunk_that_was_cut_can_be_dropped(void **state)
{
	struct desk *d = *state;
	struct sched_job *a, *b;

	a = put(d, 1, 0, 60, false, false);
	b = put(d, 1, 60, 4, true, false);
	put(d, 2, 5, 1, true, false);
	assert_true(form(d));
	assert_part(d, 1, a, 0, 1);
	sched_drop(d->s, a);
	assert_true(form(d));
	assert_part(d, 0, b, 0, 4);
	assert_int_equal(d->step.n, 1);
}

static void all_can_be_taken_out(void **state)
{
	struct desk *d = *state;
	struct sched_job *first = put(d, 1, 0, 60, false, false);

	put(d, 1, 60, 60, false, false);
	put(d, 2, 5, 1, true, false);
	assert_true(form(d));
	assert_ptr_equal(sched_take_any(d->s), first);
	assert_int_equal(sched_take_any(d->s)->pos, 60);
	assert_null(sched_take_any(d->s));
	assert_false(form(d));
}

/* ---- a machine and its sessions ------------------------------------------------------------- */

#define DECODERS 16u
#define TOKENS   1200u /* most of a session */
#define PROMPT   2000u
#define CHUNK    12u

/* What a step takes: memory for the weights, or arithmetic of rows, whichever is longer. */
struct machine {
	double memory_us, base_us, row_us;
	double attention_us; /* of a position */
};

static const struct machine linear = { .base_us = BASE_US, .row_us = ROW_US };
/* TinyLlama-1.1B in Q4_0, two threads of Zen 3. */
static const struct machine small_server = { 21000, 3000, 9300, 2.5 };

struct plant {
	struct desk d;
	const struct machine *machine;
	unsigned decoders;
	bool bulk;         /* what the decoders are */
	bool prompt;       /* there is one; token times are those beside it */
	uint32_t most;     /* tokens of a decoder */
	uint64_t away_us;  /* from answer to the next row, and up to as much again */
	uint64_t stall_us; /* every eighth time the loop is kept from running, for up to so long */
	uint64_t back_us[FLOWS], began_us[FLOWS];
	uint32_t tokens[FLOWS];
	uint64_t spans_us[FLOWS * TOKENS]; /* of tokens, from one answer to the next */
	unsigned n_spans;
	uint32_t prompt_rows; /* that have run */
	uint64_t prompt_us;   /* when the prompt was done */
	uint32_t beside;      /* tokens of the first decoder until then */
	uint64_t longest_us;  /* step */
	unsigned steps, rows;
};

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static uint64_t percentile(struct plant *p, unsigned percent)
{
	qsort(p->spans_us, p->n_spans, sizeof(*p->spans_us), by_size);
	return p->spans_us[p->n_spans * percent / 100];
}

static void arrive(struct plant *p)
{
	uint64_t now_us;

	for (uint32_t i = 0; i < p->decoders; i++) {
		if (p->back_us[i] > p->d.now_us || p->tokens[i] == p->most)
			continue;
		now_us = p->d.now_us;
		p->d.now_us = p->back_us[i]; /* during the step that has just run, perhaps */
		p->back_us[i] = UINT64_MAX;
		put(&p->d, i, 1 + p->tokens[i], 1, true, p->bulk);
		p->d.now_us = now_us;
	}
}

/* While there is a prompt, all is measured until it is done. */
static bool counts(const struct plant *p)
{
	return !p->prompt || p->prompt_rows < PROMPT;
}

/* The step that was formed, on the plant's machine. */
static void run_step(struct plant *p)
{
	const struct machine *m = p->machine;
	const uint64_t before_us = p->d.now_us;
	double us = m->base_us;

	for (unsigned i = 0; i < p->d.step.n; i++) {
		const struct sched_part *part = &p->d.step.parts[i];
		const double pos = part->job->pos + part->first + part->rows / 2.0;

		us += part->rows * (double)part->job->layers * (m->row_us + m->attention_us * pos);
	}
	us = us > m->memory_us ? us : m->memory_us;
	p->d.now_us += (uint64_t)us;
	sched_ran(p->d.s, &p->d.step, p->d.now_us, p->d.now_us - before_us);
	if (counts(p) && us > (double)p->longest_us)
		p->longest_us = (uint64_t)us;
	p->steps++;
	p->rows += p->d.step.rows;
}

static void answer(struct plant *p)
{
	const uint64_t dice = rng_u64(6, p->steps);
	const uint64_t stall_us = dice % 8 ? 0 : (dice >> 8) % (p->stall_us + 1);

	for (unsigned i = 0; i < p->d.step.n; i++) {
		const struct sched_part *part = &p->d.step.parts[i];
		const uint32_t f = part->job->flow;

		if (f >= p->decoders) {
			p->prompt_rows += part->rows;
			p->prompt_us = p->d.now_us;
			p->beside = p->tokens[0];
			continue;
		}
		if (counts(p))
			p->spans_us[p->n_spans++] = p->d.now_us - p->began_us[f];
		p->began_us[f] = p->d.now_us;
		p->back_us[f] = p->d.now_us + stall_us + p->away_us +
				rng_u64(5, f * TOKENS + p->tokens[f]) % (p->away_us + 1);
		p->tokens[f]++;
	}
}

/* The next event: somebody comes back, or the scheduler wants to be asked. */
static uint64_t next_us(const struct plant *p)
{
	uint64_t at = p->d.wake_us;

	for (uint32_t i = 0; i < p->decoders; i++) {
		if (p->tokens[i] < p->most && p->back_us[i] < at)
			at = p->back_us[i];
	}
	return at;
}

static void run_plant(struct plant *p, bool prompt)
{
	p->prompt = prompt;
	for (uint32_t i = 0; i < p->decoders; i++)
		p->back_us[i] = p->began_us[i] = p->d.now_us + i * 700;
	for (uint32_t pos = 0; prompt && pos < PROMPT; pos += CHUNK)
		put(&p->d, FLOWS - 1, pos, pos + CHUNK < PROMPT ? CHUNK : PROMPT - pos,
		    pos + CHUNK >= PROMPT, false);
	for (;;) {
		arrive(p);
		if (form(&p->d)) {
			run_step(p);
			answer(p);
			continue;
		}
		if (next_us(p) == UINT64_MAX)
			return;
		assert_true(next_us(p) > p->d.now_us);
		p->d.now_us = next_us(p);
	}
}

/* As teach. */
static void warm(struct plant *p)
{
	for (uint32_t pos = 0; pos < 2; pos++) {
		put(&p->d, FLOWS - 2, pos, pos ? 32 : 1, false, false);
		assert_true(form(&p->d));
		run_step(p);
	}
	p->steps = p->rows = 0;
}

static struct plant *make_plant_of(const struct machine *machine, unsigned decoders,
				   uint64_t away_us)
{
	struct plant *p = calloc(1, sizeof(*p));
	struct desk *d = make_desk(machine->attention_us / machine->row_us * 1.2); /* about */

	assert_non_null(p);
	memcpy(&p->d, d, sizeof(p->d));
	free(d);
	p->machine = machine;
	warm(p);
	p->decoders = decoders;
	p->most = 200;
	p->away_us = away_us;
	return p;
}

static struct plant *make_plant(unsigned decoders, uint64_t away_us)
{
	return make_plant_of(&linear, decoders, away_us);
}

static void free_plant(struct plant *p)
{
	sched_destroy(p->d.s);
	free(p);
}

static void sessions_that_come_back_soon_are_taken_together(void **state)
{
	struct plant *p = make_plant(DECODERS, 50);

	(void)state;
	run_plant(p, false);
	assert_true(p->rows > 14 * p->steps);
	free_plant(p);
}

static void sessions_that_take_their_time_share_steps_all_the_same(void **state)
{
	struct plant *p = make_plant(DECODERS, 4000);

	(void)state;
	run_plant(p, false);
	/* half of them run while the others are away */
	assert_true(p->rows >= 7 * p->steps);
	free_plant(p);
}

/* The 95th percentile of token times with and without a prompt of 2,000 rows. */
static void a_prompt_slows_tokens_by_less_than_a_quarter(void **state)
{
	static const uint64_t away_us[] = { 50, 500, 4000 };

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		struct plant *with = make_plant(DECODERS, away_us[i]);
		struct plant *without = make_plant(DECODERS, away_us[i]);
		double grown;

		run_plant(without, false);
		run_plant(with, true);
		grown = (double)percentile(with, 95) / (double)percentile(without, 95);
		if (grown >= 1.25)
			fail_msg("away %u us: %.2f times", (unsigned)away_us[i], grown);
		assert_int_equal(with->prompt_rows, PROMPT);
		free_plant(with);
		free_plant(without);
	}
}

/* TinyLlama on a small server, the whole prompt beside 16 sessions, and a loop that is kept from
 * running now and then so that all sessions seem to have gone: no long step begins all the same. */
static void no_long_step_begins_when_the_loop_is_starved(void **state)
{
	static const uint64_t away_us[] = { 30, 500, 20000 }, stall_us[] = { 0, 2000, 40000 };

	(void)state;
	for (unsigned i = 0; i < 9; i++) {
		struct plant *with = make_plant_of(&small_server, DECODERS, away_us[i % 3]);
		struct plant *without = make_plant_of(&small_server, DECODERS, away_us[i % 3]);
		double grown, longest, rows_s;

		with->stall_us = without->stall_us = stall_us[i / 3];
		with->most = TOKENS;
		run_plant(with, true);
		without->most = with->beside;
		run_plant(without, false);
		grown = (double)percentile(with, 95) / (double)percentile(without, 95);
		longest = (double)with->longest_us / (double)without->longest_us;
		rows_s = PROMPT * 1e6 / (double)with->prompt_us;
		assert_int_equal(with->prompt_rows, PROMPT);
		assert_true(with->beside < TOKENS); /* to its end */
		if (grown >= 1.25 || longest >= 1.25 || rows_s < 10)
			fail_msg("away %u us, stalls of %u: %.2f times, longest step %.2f times, "
				 "prompt %.1f rows/s",
				 (unsigned)away_us[i % 3], (unsigned)stall_us[i / 3], grown,
				 longest, rows_s);
		free_plant(with);
		free_plant(without);
	}
}

/* 12 rows a chunk, 64 a step: as fast as if it were alone. */
static void a_prompt_does_not_wait_for_bulk_sessions(void **state)
{
	struct plant *p = make_plant(DECODERS, 50);
	uint64_t begun = p->d.now_us, alone;

	(void)state;
	p->bulk = true;
	alone = (PROMPT + MAX_ROWS - 1) / MAX_ROWS * (BASE_US + MAX_ROWS * ROW_US);
	run_plant(p, true);
	assert_int_equal(p->prompt_rows, PROMPT);
	assert_true(p->prompt_us - begun < alone + alone / 10);
	free_plant(p);
}

static void a_prompt_goes_on_beside_sessions_that_decode_for_ever(void **state)
{
	struct plant *p = make_plant(1, 1);

	(void)state;
	run_plant(p, true);
	assert_int_equal(p->prompt_rows, PROMPT);
	assert_int_equal(p->tokens[0], p->most);
	free_plant(p);
}

/* ---- anything ------------------------------------------------------------------------------- */

/* What has been taken of each flow: chunks in order, rows in order, each once. */
struct book {
	uint32_t put_pos[FLOWS], taken_pos[FLOWS];
	unsigned cut[2];
};

static void enter(struct book *b, const struct sched_step *step)
{
	uint32_t rows = 0, seen = 0, flow = UINT32_MAX;

	for (unsigned i = 0; i < step->n; i++) {
		const struct sched_part *p = &step->parts[i];
		const struct sched_job *job = p->job;

		assert_int_equal(b->taken_pos[job->flow], job->pos + p->first);
		assert_true(p->rows && p->first + p->rows <= job->rows);
		assert_int_equal(p->last, p->first + p->rows == job->rows);
		if (job->flow != flow)
			assert_false(seen & 1u << job->flow); /* they lie together */
		flow = job->flow;
		seen |= 1u << flow;
		b->taken_pos[flow] += p->rows;
		rows += p->rows;
		b->cut[job->bulk] += !p->first && !p->last;
		b->cut[job->bulk] -= p->first && p->last;
	}
	assert_int_equal(rows, step->rows);
	assert_true(rows && rows <= MAX_ROWS);
	assert_true(b->cut[0] <= 1 && b->cut[1] <= 1);
}

static void put_any(struct desk *d, struct book *b, uint64_t seed, unsigned i)
{
	uint32_t flow = (uint32_t)(rng_u64(seed, 4 * i) % FLOWS);
	uint32_t r = (uint32_t)rng_u64(seed, 4 * i + 1);
	uint32_t rows = r & 1 ? 1 : 1 + (r >> 8) % MAX_ROWS;

	put(d, flow, b->put_pos[flow], rows, r & 6, flow & 1)->layers = (float)((r >> 20) % 4) / 3;
	b->put_pos[flow] += rows;
}

static void whatever_comes_runs_once_and_in_order(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 200; seed++) {
		struct book b = { 0 };
		struct desk *d;
		unsigned idle = 0;

		desk_open((void **)&d);
		for (unsigned i = 0; i < 600; i++) {
			if (i < 300 && rng_u64(seed, 4 * i + 2) % 3)
				put_any(d, &b, seed, i);
			if (form(d)) {
				enter(&b, &d->step);
				run(d);
			}
			d->now_us += rng_u64(seed, 4 * i + 3) % 20000;
		}
		while (idle++ < 1000 && (form(d) || d->wake_us != UINT64_MAX)) {
			if (d->step.n) {
				enter(&b, &d->step);
				run(d);
			} else {
				d->now_us = d->wake_us;
			}
		}
		assert_memory_equal(b.put_pos, b.taken_pos, sizeof(b.put_pos));
		desk_close((void **)&d);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, desk_open, desk_close)

static void a_job_that_comes_after_another_flow_waits_for_it(void **state)
{
	struct desk *d = make_desk(0);
	struct sched_job *fill = put(d, 1, 0, 60, false, true), *joins;

	(void)state;
	put(d, 0, 99, 1, true, false);
	joins = put(d, 0, 100, 1, true, false);
	joins->after = 2;
	assert_true(form(d)); /* the first row, and some of the fill */
	assert_true(d->step.parts[0].job != joins && d->step.parts[0].flow == 0);
	while (fill->done < fill->rows) {
		for (unsigned i = 0; i < d->step.n; i++)
			assert_true(d->step.parts[i].job != joins);
		sched_ran(d->s, &d->step, d->now_us += 1000, 1000);
		assert_true(form(d));
	}
	sched_ran(d->s, &d->step, d->now_us += 1000, 1000);
	assert_true(form(d));
	assert_ptr_equal(d->step.parts[0].job, joins);
	sched_destroy(d->s);
	free(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(nothing_to_do_is_no_step),
		TEST(one_row_runs_at_once),
		TEST(rows_of_all_that_decode_run_together),
		TEST(some_rows_count_as_decoding_and_more_do_not),
		TEST(a_session_inherits_nothing_from_the_one_before),
		TEST(a_prompt_runs_in_whole_chunks_while_nobody_decodes),
		TEST(a_prompt_gets_a_share_of_a_step_that_others_decode_in),
		TEST(a_prompt_gets_one_row_when_nothing_else_fits),
		TEST(the_earliest_deadline_goes_first),
		TEST(bulk_rows_join_when_there_is_room),
		TEST(only_one_chunk_of_a_class_is_cut),
		TEST(a_chunk_that_was_cut_can_be_dropped),
		TEST(all_can_be_taken_out),
		cmocka_unit_test(sessions_that_come_back_soon_are_taken_together),
		cmocka_unit_test(sessions_that_take_their_time_share_steps_all_the_same),
		cmocka_unit_test(a_prompt_slows_tokens_by_less_than_a_quarter),
		cmocka_unit_test(no_long_step_begins_when_the_loop_is_starved),
		cmocka_unit_test(a_prompt_does_not_wait_for_bulk_sessions),
		cmocka_unit_test(a_prompt_goes_on_beside_sessions_that_decode_for_ever),
		cmocka_unit_test(a_job_that_comes_after_another_flow_waits_for_it),
		cmocka_unit_test(whatever_comes_runs_once_and_in_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
