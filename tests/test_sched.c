/* tests/test_sched.c - which rows make a step: single decisions, and anything that may come. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "tests/sched_desk.h"

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

/* What a session that goes on elsewhere will need here: it may be on this machine. */
static void chunks_that_nobody_waits_for_make_short_steps(void **state)
{
	struct desk *d = *state;
	struct sched_job *jobs[6];

	for (uint32_t i = 0; i < 6; i++) {
		const uint32_t rows = i < 2 ? 12 : 4;

		jobs[i] = put(d, 0, i < 2 ? 12 * i : 24 + 4 * (i - 2), rows, false, false);
		jobs[i]->patient = true;
	}
	assert_true(form(d));
	assert_int_equal(d->step.n, 1);
	assert_part(d, 0, jobs[0], 0, 12);
	assert_true(d->step.patient);
	run(d);
	assert_true(form(d));
	assert_int_equal(d->step.n, 2); /* 16 rows are not too many */
	assert_part(d, 1, jobs[2], 0, 4);
	run(d);
	assert_true(form(d));
	assert_int_equal(d->step.n, 3);
	run(d);
	assert_false(form(d));
}

static void a_step_is_not_patient_when_somebody_waits_for_a_part_of_it(void **state)
{
	struct desk *d = *state;

	put(d, 0, 0, 4, false, false)->patient = true;
	put(d, 1, 0, 1, true, false);
	assert_true(form(d));
	assert_int_equal(d->step.n, 2);
	assert_false(d->step.patient);
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
	run(d); /* of this size, now, of which all counts as cost of rows */
	for (uint32_t i = 0; i < 10; i++)
		put(d, 2 + i, 6, 1, true, false);
	assert_true(form(d));
	assert_int_equal(d->step.n, 11);
	assert_part(d, 10, prompt, 1, 2); /* a fifth of 10 */
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
	assert_true(form(d)); /* silent for some steps: as many again are granted */
	assert_int_equal(d->step.n, 2);
	run(d);
	d->now_us += 2100000;
	assert_true(form(d)); /* the rest: they have gone */
	assert_int_equal(d->step.n, 2);
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

/* ---- who is waited for ---------------------------------------------------------------------- */

/* Rows of a session, each so long after the answer to the one before. */
static void come_back(struct desk *d, uint32_t flow, bool bulk, unsigned n, uint64_t gap_us)
{
	for (uint32_t pos = 0; pos < n; pos++) {
		d->now_us += pos ? gap_us : 0;
		put(d, flow, pos, 1, true, bulk);
		while (!form(d))
			d->now_us = d->wake_us;
		run(d);
	}
}

static void a_session_that_paused_once_is_waited_for_as_before(void **state)
{
	struct desk *d = *state;

	teach(d);
	come_back(d, 0, false, 8, 1000);
	d->now_us += 3000000;
	put(d, 0, 8, 1, true, false);
	assert_true(form(d));
	run(d);
	put(d, 1, 5, 1, true, false);
	assert_false(form(d));
	assert_in_range(d->wake_us, d->now_us + 1, d->now_us + 2000);
}

static void rows_that_would_all_wait_longer_than_a_step_saves_do_not(void **state)
{
	struct desk *d = *state;

	teach(d);
	come_back(d, 0, false, 8, 4000);
	put(d, 1, 5, 1, true, false);
	assert_false(form(d)); /* 10 ms for two times 4 */
	for (uint32_t i = 2; i < 5; i++)
		put(d, i, 5, 1, true, false);
	assert_true(form(d)); /* ... for five times */
	assert_int_equal(d->step.n, 4);
}

static void bulk_rows_are_waited_for_by_their_like(void **state)
{
	struct desk *d = *state;

	teach(d);
	come_back(d, 0, true, 8, 1000);
	put(d, 1, 5, 1, true, true);
	assert_false(form(d));
	assert_in_range(d->wake_us, d->now_us + 1, d->now_us + 2000);
	put(d, 2, 5, 1, true, false); /* an urgent one does not */
	assert_true(form(d));
	assert_ptr_equal(d->step.parts[0].job, &d->jobs[d->n_jobs - 1]);
}

static void a_prompt_goes_on_while_bulk_rows_are_on_their_way(void **state)
{
	struct desk *d = *state;

	teach(d);
	come_back(d, 0, true, 8, 1000);
	put(d, 1, 5, 1, true, true);
	put(d, 2, 0, 32, false, false);
	assert_true(form(d));
	assert_int_equal(d->step.rows, 33); /* and all of it: no bulk row is worth a short step */
}

/* Rows that come when a step without urgent ones has ended have not waited for it. */
static void a_prompt_gets_its_share_of_a_step_with_rows_that_came_later(void **state)
{
	struct desk *d = *state;
	struct sched_job *prompt;

	teach(d);
	put(d, 1, 0, 60, false, false);
	assert_true(form(d));
	run(d);
	d->now_us += 1000;
	prompt = put(d, 1, 60, 40, true, false);
	for (uint32_t i = 0; i < 10; i++)
		put(d, 2 + i, 5, 1, true, false);
	assert_true(form(d));
	assert_part(d, 10, prompt, 0, 4);
}

/* When a prompt may begin; one session was answered early, one late, or only one of them. */
static uint64_t allowed_us(bool early, bool late)
{
	struct desk *d = make_desk(0);
	const uint64_t begun_us = d->now_us + 100000;
	uint64_t us;

	teach(d);
	for (uint32_t i = 0; i < 2; i++) {
		d->now_us = begun_us + 15000 * i;
		if (!(i ? late : early))
			continue;
		put(d, 1 - i, 0, 1, true, false);
		assert_true(form(d));
		run(d);
	}
	d->now_us = begun_us + 30000;
	put(d, 2, 0, 32, false, false);
	us = form(d) ? 0 : d->wake_us - begun_us;
	sched_destroy(d->s);
	free(d);
	return us;
}

static void a_prompt_waits_for_all_sessions_that_may_come_back_at_once(void **state)
{
	(void)state;
	assert_true(allowed_us(true, false) < allowed_us(false, true));
	assert_int_equal(allowed_us(true, true), allowed_us(false, true));
}

/* ---- anything ------------------------------------------------------------------------------- */

/* What has been taken of each flow: chunks in order, rows in order, each once. */
struct book {
	uint32_t put_pos[FLOWS], taken_pos[FLOWS];
	unsigned cut[2];
	struct sched_part wave[SCHED_MAX_ROWS]; /* that is under way */
	unsigned n_wave;
	uint32_t at; /* its next layer */
	unsigned n_waves, n_slices;
};

static void enter_part(struct book *b, const struct sched_part *p)
{
	const struct sched_job *job = p->job;

	assert_int_equal(b->taken_pos[job->flow], job->pos + p->first);
	assert_true(p->rows && p->first + p->rows <= job->rows);
	assert_int_equal(p->last, p->first + p->rows == job->rows);
	b->taken_pos[job->flow] += p->rows;
	b->cut[job->bulk] += !p->first && !p->last;
	b->cut[job->bulk] -= p->first && p->last;
}

/* Nothing but the same parts, layer by layer, and nobody else of their flows. */
static void enter_wave(struct book *b, const struct desk *d, uint32_t flows)
{
	const struct sched_step *step = &d->step;
	uint32_t first = d->layers, last = 0; /* of those that have layers */

	if (step->begins) {
		assert_int_equal(b->n_wave, 0);
		b->n_wave = step->n - step->urgent;
		memcpy(b->wave, step->parts + step->urgent, b->n_wave * sizeof(*b->wave));
		b->n_waves++;
	}
	for (unsigned i = 0; i < b->n_wave; i++) {
		const struct sched_job *job = b->wave[i].job;

		if (job->from < job->until) {
			first = job->from < first ? job->from : first;
			last = job->until > last ? job->until : last;
		}
		assert_false(flows & 1u << b->wave[i].flow);
	}
	if (step->urgent == step->n)
		return;
	assert_int_equal(b->n_wave, step->n - step->urgent);
	assert_memory_equal(b->wave, step->parts + step->urgent, b->n_wave * sizeof(*b->wave));
	assert_int_equal(step->from, !last ? 0 : step->begins ? first : b->at);
	assert_true((step->until > step->from || !last) && step->until <= last);
	assert_int_equal(step->ends, step->until == last);
	b->at = step->until;
	b->n_wave = step->ends ? 0 : b->n_wave;
	b->n_slices++;
}

static void enter(struct book *b, const struct desk *d)
{
	const struct sched_step *step = &d->step;
	uint32_t rows = 0, seen = 0, flow = UINT32_MAX, there = 0;

	for (unsigned i = 0; i < step->n; i++) {
		const struct sched_part *p = &step->parts[i];

		there += p->rows;
		if (i == step->urgent) {
			enter_wave(b, d, seen);
			if (!step->begins)
				continue;
		}
		if (i >= step->urgent && !step->begins)
			continue;
		if (p->flow != flow)
			assert_false(seen & 1u << p->flow); /* they lie together */
		flow = p->flow;
		seen |= 1u << flow;
		enter_part(b, p);
		rows += p->rows;
	}
	if (step->urgent == step->n)
		enter_wave(b, d, seen);
	assert_int_equal(rows, step->rows);
	assert_true(there && there <= MAX_ROWS);
	assert_true(b->cut[0] <= 1 && b->cut[1] <= 1);
}

static void put_any(struct desk *d, struct book *b, uint64_t seed, unsigned i)
{
	uint32_t flow = (uint32_t)(rng_u64(seed, 4 * i) % FLOWS);
	uint32_t r = (uint32_t)rng_u64(seed, 4 * i + 1);
	uint32_t rows = r & 1 ? 1 : 1 + (r >> 8) % MAX_ROWS;

	put_of(d, flow, b->put_pos[flow], rows, r & 6, flow & 1, (r >> 20) % (d->layers + 1));
	b->put_pos[flow] += rows;
}

/* Returns how many steps waves took more than one each. */
static unsigned run_whatever_comes(uint64_t seed, uint32_t layers)
{
	struct book b = { 0 };
	struct desk *d = make_desk_of(layers, MAX_ROWS, 0);
	unsigned idle = 0;

	for (unsigned i = 0; i < 600; i++) {
		if (i < 300 && rng_u64(seed, 4 * i + 2) % 3)
			put_any(d, &b, seed, i);
		if (form(d)) {
			enter(&b, d);
			run(d);
		}
		d->now_us += rng_u64(seed, 4 * i + 3) % 20000;
	}
	while (idle++ < 2000 && (form(d) || d->wake_us != UINT64_MAX)) {
		if (d->step.n) {
			enter(&b, d);
			run(d);
		} else {
			d->now_us = d->wake_us;
		}
	}
	assert_memory_equal(b.put_pos, b.taken_pos, sizeof(b.put_pos));
	assert_int_equal(b.n_wave, 0);
	sched_destroy(d->s);
	free(d);
	return b.n_slices - b.n_waves;
}

static void whatever_comes_runs_once_and_in_order(void **state)
{
	unsigned more = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 200; seed++) {
		assert_int_equal(run_whatever_comes(seed, 1), 0);
		more += run_whatever_comes(seed, 2 + (uint32_t)seed % 9);
	}
	assert_true(more > 5000);
}

/* ---- waves ---------------------------------------------------------------------------------- */

/* Ten sessions decode, and a prompt of 200 rows has come. */
static struct desk *crowd(struct sched_job **prompt)
{
	struct desk *d = make_desk_of(10, MAX_ROWS, 0);

	teach(d);
	*prompt = put(d, 1, 0, 60, false, false);
	for (uint32_t i = 0; i < 10; i++)
		put(d, 2 + i, 5, 1, true, false);
	assert_true(form(d));
	assert_int_equal(d->step.urgent, 10);
	return d;
}

static void close_crowd(struct desk *d)
{
	sched_destroy(d->s);
	free(d);
}

static void next_tokens(struct desk *d)
{
	run(d);
	for (uint32_t i = 0; i < 10; i++)
		put(d, 2 + i, 6, 1, true, false);
	assert_true(form(d));
	assert_int_equal(d->step.urgent, 10);
}

/* A fifth of 20 ms is four rows through ten layers, or 20 rows through two. */
static void a_prompt_goes_some_layers_a_step_where_others_decode(void **state)
{
	struct sched_job *prompt;
	struct desk *d = crowd(&prompt);

	(void)state;
	assert_int_equal(d->step.urgent, 10);
	assert_part(d, 10, prompt, 0, 20);
	assert_true(d->step.begins && !d->step.ends);
	assert_int_equal(d->step.rows, 30);
	for (uint32_t layer = 0; layer < 10; layer += 2) {
		assert_int_equal(d->step.from, layer);
		assert_int_equal(d->step.until, layer + 2);
		assert_int_equal(d->step.begins, layer == 0);
		assert_int_equal(d->step.ends, layer == 8);
		assert_part(d, 10, prompt, 0, 20);
		next_tokens(d);
	}
	assert_part(d, 10, prompt, 20, 20); /* the next one */
	assert_true(d->step.begins);
	close_crowd(d);
}

static void a_wave_runs_to_its_end_when_nobody_decodes_any_more(void **state)
{
	struct sched_job *prompt;
	struct desk *d = crowd(&prompt);

	(void)state;
	run(d);
	d->now_us += 2100000;
	assert_true(form(d));
	assert_int_equal(d->step.n, 1);
	assert_int_equal(d->step.from, 2);
	assert_true(d->step.ends);
	close_crowd(d);
}

/* Keys and values that have come run through none: they are taken whole, with as many rows of
 * others as without them, nearly. */
static void rows_without_layers_take_no_room(void **state)
{
	struct desk *d = make_desk_of(10, MAX_ROWS, 0);
	struct sched_job *values, *prompt;

	(void)state;
	teach(d);
	values = put_of(d, 1, 0, 12, false, false, 0);
	prompt = put(d, 2, 0, 30, false, false);
	for (uint32_t i = 0; i < 10; i++)
		put(d, 3 + i, 5, 1, true, false);
	assert_true(form(d));
	assert_int_equal(d->step.urgent, 10);
	assert_part(d, 10, values, 0, 12);
	assert_part(d, 11, prompt, 0, 20);
	assert_int_equal(d->step.until, 2);
	close_crowd(d);
}

/* Without rows that run through the layers anyway these cost their weights, too. */
static void a_wave_goes_on_while_who_was_answered_is_away(void **state)
{
	struct sched_job *prompt;
	struct desk *d = crowd(&prompt);
	uint32_t at = 2;

	(void)state;
	run(d);
	while (!form(d))
		d->now_us = d->wake_us;
	assert_int_equal(d->step.urgent, 0);
	assert_int_equal(d->step.from, at);
	assert_true(d->step.until > at && !d->step.ends);
	close_crowd(d);
}

static void what_fails_in_a_wave_leaves_it(void **state)
{
	struct desk *d = make_desk_of(10, MAX_ROWS, 0);
	struct sched_job *a, *b, *c;

	(void)state;
	teach(d);
	a = put(d, 1, 0, 8, false, false);
	b = put(d, 1, 8, 4, false, false);
	c = put(d, 2, 0, 60, false, true);
	for (uint32_t i = 0; i < 10; i++)
		put(d, 2 + 1 + i, 5, 1, true, false);
	assert_true(form(d));
	assert_part(d, 10, a, 0, 8);
	assert_part(d, 11, b, 0, 4);
	assert_part(d, 12, c, 0, 8);
	sched_drop(d->s, b);
	run(d);
	b = put(d, 1, 12, 4, true, false); /* waits for what is left of its flow */
	put(d, 3, 6, 1, true, false);
	assert_true(form(d));
	assert_int_equal(d->step.n, 3);
	assert_part(d, 1, a, 0, 8);
	assert_part(d, 2, c, 0, 8);
	sched_drop(d->s, c);
	sched_drop(d->s, a);
	run(d);
	put(d, 3, 7, 1, true, false);
	assert_true(form(d));
	assert_int_equal(d->step.n, 2);
	assert_part(d, 1, b, 0, 4);
	assert_true(d->step.begins);
	assert_ptr_equal(sched_take_any(d->s), b); /* under way or not */
	assert_null(sched_take_any(d->s));
	assert_false(form(d));
	sched_destroy(d->s);
	free(d);
}

static struct sched_job *put_draft(struct desk *d, uint32_t flow, uint32_t pos)
{
	struct sched_job *job = &d->jobs[d->n_jobs++];

	*job = (struct sched_job){ .flow = flow,
				   .pos = pos,
				   .rows = 1,
				   .sample = true,
				   .draft = true,
				   .until = d->layers,
				   .arrived_us = d->now_us };
	sched_add(d->s, job);
	return job;
}

static void drafts_run_right_behind_what_they_follow_on(void **state)
{
	struct desk *d = *state;
	struct sched_job *a = put(d, 0, 4, 1, true, false);
	struct sched_job *first = put_draft(d, 0, 5), *second = put_draft(d, 0, 6);
	struct sched_job *b = put(d, 1, 9, 1, true, false);
	struct sched_job *row = put(d, 0, 7, 1, true, false); /* no draft: not with them */

	assert_ptr_equal(sched_waiting_draft(d->s, 0), NULL);
	assert_true(form(d));
	assert_int_equal(d->step.n, 4);
	assert_int_equal(d->step.urgent, 4);
	assert_int_equal(d->step.rows, 4);
	assert_part(d, 0, a, 0, 1);
	assert_part(d, 1, first, 0, 1);
	assert_part(d, 2, second, 0, 1);
	assert_part(d, 3, b, 0, 1);
	run(d);
	assert_true(form(d));
	assert_int_equal(d->step.n, 1);
	assert_part(d, 0, row, 0, 1);
}

static void a_draft_that_does_not_follow_waits(void **state)
{
	struct desk *d = *state;
	struct sched_job *other, *draft;

	put(d, 0, 4, 1, true, false);
	draft = put_draft(d, 0, 6);
	assert_true(form(d));
	assert_int_equal(d->step.n, 1);
	assert_ptr_equal(sched_waiting_draft(d->s, 0), draft);
	other = put_draft(d, 0, 7);
	sched_drop(d->s, draft);
	assert_ptr_equal(sched_waiting_draft(d->s, 0), other);
	run(d);
	assert_true(form(d));
	assert_part(d, 0, other, 0, 1);
	assert_null(sched_waiting_draft(d->s, 0));
	run(d);
	assert_false(form(d));
}

/* MAX_ROWS of the step: rows that are waited for come first. */
static void drafts_take_no_room_from_rows(void **state)
{
	struct desk *d = *state;
	const uint32_t left = MAX_ROWS - 7 * 8; /* for flow 0, and its drafts */

	for (uint32_t flow = 1; flow <= 7; flow++)
		put(d, flow, 3, 8, true, false);
	put(d, 0, 4, 1, true, false);
	for (uint32_t i = 0; i < 10; i++)
		put_draft(d, 0, 5 + i);
	assert_true(form(d));
	assert_int_equal(d->step.urgent, 7 + left);
	assert_int_equal(d->step.rows, MAX_ROWS);
	run(d);
	assert_true(form(d));
	assert_int_equal(d->step.urgent, 11 - left);
}

/* One comes while the row before it runs. */
static void run_with_draft(struct desk *d, uint32_t pos)
{
	struct sched_job *draft = &d->jobs[d->n_jobs++];

	*draft = (struct sched_job){ .flow = 0,
				     .pos = pos,
				     .rows = 1,
				     .sample = true,
				     .draft = true,
				     .until = d->layers,
				     .arrived_us = d->now_us };
	run(d);
	sched_add(d->s, draft);
	assert_true(form(d));
}

/* Drafts that were here before the answer do not mean that the next row comes at once. */
static void drafts_do_not_say_when_rows_come(void **state)
{
	struct desk *d = *state;
	uint32_t pos = 1;

	teach(d);
	for (unsigned turn = 0; turn < 10; turn++) {
		put(d, 0, pos++, 1, true, false);
		assert_true(form(d));
		for (unsigned i = 0; i < 8; i++)
			run_with_draft(d, pos++);
		run(d);
		d->now_us += 4000; /* then a row comes, after so long */
	}
	put(d, 0, pos++, 1, true, false);
	assert_true(form(d));
	run(d);
	d->now_us += 3000;
	put(d, 1, 3, 1, true, false);
	assert_false(form(d)); /* it is worth while to wait for the other one */
	d->now_us += 1000;
	put(d, 0, pos, 1, true, false);
	assert_true(form(d));
	assert_int_equal(d->step.n, 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, desk_open, desk_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(nothing_to_do_is_no_step),
		TEST(one_row_runs_at_once),
		TEST(rows_of_all_that_decode_run_together),
		TEST(some_rows_count_as_decoding_and_more_do_not),
		TEST(a_session_inherits_nothing_from_the_one_before),
		TEST(a_prompt_runs_in_whole_chunks_while_nobody_decodes),
		TEST(chunks_that_nobody_waits_for_make_short_steps),
		TEST(a_step_is_not_patient_when_somebody_waits_for_a_part_of_it),
		TEST(a_prompt_gets_a_share_of_a_step_that_others_decode_in),
		TEST(a_prompt_gets_one_row_when_nothing_else_fits),
		TEST(the_earliest_deadline_goes_first),
		TEST(bulk_rows_join_when_there_is_room),
		TEST(only_one_chunk_of_a_class_is_cut),
		TEST(a_chunk_that_was_cut_can_be_dropped),
		TEST(all_can_be_taken_out),
		TEST(a_session_that_paused_once_is_waited_for_as_before),
		TEST(rows_that_would_all_wait_longer_than_a_step_saves_do_not),
		TEST(bulk_rows_are_waited_for_by_their_like),
		TEST(a_prompt_goes_on_while_bulk_rows_are_on_their_way),
		TEST(a_prompt_gets_its_share_of_a_step_with_rows_that_came_later),
		TEST(drafts_run_right_behind_what_they_follow_on),
		TEST(a_draft_that_does_not_follow_waits),
		TEST(drafts_take_no_room_from_rows),
		TEST(drafts_do_not_say_when_rows_come),
		cmocka_unit_test(a_prompt_waits_for_all_sessions_that_may_come_back_at_once),
		cmocka_unit_test(a_job_that_comes_after_another_flow_waits_for_it),
		cmocka_unit_test(whatever_comes_runs_once_and_in_order),
		cmocka_unit_test(a_prompt_goes_some_layers_a_step_where_others_decode),
		cmocka_unit_test(a_wave_runs_to_its_end_when_nobody_decodes_any_more),
		cmocka_unit_test(rows_without_layers_take_no_room),
		cmocka_unit_test(a_wave_goes_on_while_who_was_answered_is_away),
		cmocka_unit_test(what_fails_in_a_wave_leaves_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
