/* tests/test_plan_prefill.c - the planner's time of a prompt (coordinator/plan_prefill.h) beside
 * the worker's own scheduler (worker/sched.h) on a machine that takes what the planner thinks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "coordinator/plan_cost.h"
#include "coordinator/plan_prefill.h"
#include "worker/sched.h"

#define LAYERS     22u
#define MAX_CHUNKS 400u
#define TOKENS     20u /* of an answer */
#define SESSIONS   6u  /* until the scheduler knows what steps take */

/* One layer of TinyLlama-1.1B in Q4_0, two threads: with AMX, and on a machine where rows are all
 * that counts. */
static const struct plan_worker amx = { .n_batches = 4,
					.batches = { { .rows = 1, .layer_ms = 2.17 },
						     { .rows = 8, .layer_ms = 4.23 },
						     { .rows = 16, .layer_ms = 7.28 },
						     { .rows = 64, .layer_ms = 19.9 } },
					.decode_ms = 0.1 };
static const struct plan_worker linear = { .n_batches = 2,
					   .batches = { { .rows = 1, .layer_ms = 1.1 },
							{ .rows = 64, .layer_ms = 64.1 } } };

struct bench {
	const struct plan_worker *worker;
	struct sched *s;
	struct sched_job jobs[MAX_CHUNKS];
	uint64_t come_us[MAX_CHUNKS];
	unsigned n_jobs, n_come;
	uint64_t now_us;
	uint32_t rows[MAX_CHUNKS]; /* of the steps */
	unsigned n_steps;
};

static void open_bench(struct bench *b, const struct plan_worker *w)
{
	const struct sched_conf conf = { .flows = 2,
					 .max_rows = SCHED_MAX_ROWS,
					 .layers = LAYERS,
					 .interactive_us = 100000,
					 .bulk_us = 5000000,
					 .share = 0.2,
					 .answer = 1 };

	*b = (struct bench){ .worker = w, .now_us = 1000000 };
	assert_int_equal(sched_create(&b->s, &conf), 0);
}

static void put(struct bench *b, uint32_t pos, uint32_t rows, uint32_t layers, bool sample,
		uint64_t come_us)
{
	assert_true(b->n_jobs < MAX_CHUNKS);
	b->come_us[b->n_jobs] = come_us;
	b->jobs[b->n_jobs++] =
		(struct sched_job){ .pos = pos, .rows = rows, .sample = sample, .until = layers };
}

static void come(struct bench *b)
{
	for (; b->n_come < b->n_jobs && b->come_us[b->n_come] <= b->now_us; b->n_come++) {
		b->jobs[b->n_come].arrived_us = b->come_us[b->n_come];
		sched_add(b->s, &b->jobs[b->n_come]);
	}
}

/* All that was put. */
static void run(struct bench *b, uint32_t layers)
{
	struct sched_step step;
	uint64_t wake_us, us;

	for (b->n_come = b->n_steps = 0;;) {
		come(b);
		if (!sched_form(b->s, b->now_us, &step, &wake_us)) {
			if (b->n_come == b->n_jobs && wake_us == UINT64_MAX)
				break;
			if (b->n_come < b->n_jobs && b->come_us[b->n_come] < wake_us)
				wake_us = b->come_us[b->n_come];
			b->now_us = wake_us;
			continue;
		}
		us = (uint64_t)(1000 * layers *
					plan_cost_layer_ms(b->worker, step.rows, step.rows, 0) +
				1000 * step.rows * b->worker->decode_ms);
		b->now_us += us;
		sched_ran(b->s, &step, b->now_us, us);
		b->rows[b->n_steps++] = step.rows;
	}
	b->n_jobs = 0;
}

/* ms of the prompt, from the first chunk's begin on. */
static double run_session(struct bench *b, const struct plan_prefill *p)
{
	const uint32_t n = p->full * p->chunk.rows + p->rest.rows;
	const uint64_t begin_us = b->now_us;
	double agent_ms = 0, up_ms = p->open_ms;

	for (uint32_t pos = 0; pos < n;) {
		const struct plan_chunk *c = n - pos < p->chunk.rows ? &p->rest : &p->chunk;

		agent_ms += c->agent_ms;
		up_ms = fmax(up_ms, agent_ms) + c->link_ms;
		put(b, pos, c->rows, p->layers, pos + c->rows == n,
		    begin_us + (uint64_t)(1000 * up_ms) + b->n_jobs); /* one behind the other */
		pos += c->rows;
	}
	run(b, p->layers);
	return (double)(b->now_us - begin_us) / 1000;
}

/* Some sessions with answers: the scheduler learns what steps take. */
static void teach(struct bench *b, const struct plan_prefill *p)
{
	for (unsigned i = 0; i < SESSIONS; i++) {
		(void)run_session(b, p);
		for (uint32_t k = 0; k < TOKENS; k++) {
			put(b, p->full * p->chunk.rows + p->rest.rows + k, 1, p->layers, true,
			    b->now_us + 1000);
			run(b, p->layers);
		}
	}
}

static struct plan_prefill prompt_of(const struct plan_worker *w, uint32_t layers, uint32_t rows,
				     uint32_t chunk)
{
	return (struct plan_prefill){ .full = rows / chunk,
				      .chunk = { .rows = chunk, .agent_ms = 1 },
				      .rest = { .rows = rows % chunk, .agent_ms = 0.9 },
				      .open_ms = 20,
				      .worker = w,
				      .layers = layers,
				      .of_layers = LAYERS };
}

static void has_run(const struct bench *b, const uint32_t *rows, unsigned n)
{
	assert_int_equal(b->n_steps, n);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(b->rows[i], rows[i]);
}

static void is_near(double ms, double want_ms)
{
	if (fabs(ms / want_ms - 1) > 1e-3)
		fail_msg("%g ms, not %g", ms, want_ms);
}

/* The first chunk runs alone; meanwhile the others come, and run together. */
static void the_worker_takes_what_has_come(void **state)
{
	struct plan_prefill p = prompt_of(&amx, LAYERS, 34, 12);
	const double of_12 = LAYERS * (4.23 + 0.5 * (7.28 - 4.23)) + 1.2;
	const double of_22 = LAYERS * (7.28 + 6 / 48.0 * (19.9 - 7.28)) + 2.2;
	const double of_10 = LAYERS * (4.23 + 0.25 * (7.28 - 4.23)) + 1;
	struct bench b;

	(void)state;
	open_bench(&b, &amx);
	is_near(run_session(&b, &p), 20 + of_12 + of_22);
	has_run(&b, (uint32_t[]){ 12, 22 }, 2);
	is_near(plan_prefill_ms(&p), 20 + of_12 + of_22);
	p.chunk.link_ms = p.rest.link_ms = 200; /* each is done when the next one comes */
	is_near(run_session(&b, &p), 20 + 3 * 200 + of_10);
	has_run(&b, (uint32_t[]){ 12, 12, 10 }, 3);
	is_near(plan_prefill_ms(&p), 20 + 3 * 200 + of_10);
	sched_destroy(b.s);
}

/* A step grows until it would not be more efficient; what is left of a chunk comes next. */
static void a_step_has_its_most_rows(void **state)
{
	const struct plan_prefill p = prompt_of(&linear, LAYERS, 200, 60);
	struct bench b;

	(void)state;
	open_bench(&b, &linear);
	teach(&b, &p);
	is_near(run_session(&b, &p), plan_prefill_ms(&p));
	has_run(&b, (uint32_t[]){ 60, 64, 64, 12 }, 4);
	assert_true(plan_prefill_most_rows(&linear, LAYERS, LAYERS) == 64);
	assert_true(plan_prefill_most_rows(&linear, LAYERS / 2, LAYERS) == 128);
	assert_true(plan_prefill_most_rows(&linear, 1, LAYERS) == SCHED_MAX_ROWS);
	sched_destroy(b.s);
}

/* Whatever the link and the split: how far is the planner off? */
static double worst_of(const struct plan_worker *w, uint32_t layers)
{
	static const uint32_t prompts[] = { 12, 34, 96, 250, 700 }, chunks[] = { 8, 12, 64 };
	static const double gaps_ms[] = { 0, 0.05, 0.2, 0.5, 1, 2, 5, 10, 20 }; /* of rows */
	double worst = 0;
	struct bench b;

	open_bench(&b, w);
	for (unsigned i = 0; i < 5 * 3 * 9 * 2; i++) {
		struct plan_prefill p = prompt_of(w, layers, prompts[i % 5], chunks[i / 5 % 3]);
		const double gap_ms = gaps_ms[i / 15 % 9];
		double plan_ms, ms;

		if (i < 5 * 3 * 9) { /* the link is slow, or the agent */
			p.chunk.link_ms = p.chunk.rows * gap_ms;
			p.rest.link_ms = p.rest.rows * gap_ms;
		} else {
			p.chunk.agent_ms = p.chunk.rows * gap_ms;
			p.rest.agent_ms = p.rest.rows * gap_ms;
		}
		if (!i)
			teach(&b, &p);
		ms = run_session(&b, &p);
		plan_ms = plan_prefill_ms(&p);
		worst = fmax(worst, fabs(plan_ms / ms - 1));
	}
	sched_destroy(b.s);
	return worst;
}

static void the_planner_foresees_the_schedulers_steps(void **state)
{
	(void)state;
	for (uint32_t layers = 1; layers <= LAYERS; layers += 7) {
		const double a = worst_of(&amx, layers), b = worst_of(&linear, layers);

		print_message("%u layers: at most %.1f %% off (AMX), %.1f %% (linear)\n", layers,
			      100 * a, 100 * b);
		assert_true(a < 0.08); /* it learns from other sizes how long a step may be */
		assert_true(b < 0.002);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_worker_takes_what_has_come),
		cmocka_unit_test(a_step_has_its_most_rows),
		cmocka_unit_test(the_planner_foresees_the_schedulers_steps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
