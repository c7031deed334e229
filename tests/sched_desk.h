/* tests/sched_desk.h - a scheduler, its jobs and the time: what the tests of worker/sched stand on.
 * Include it after cmocka.h, in one .c file of a program. */
#ifndef TESTS_SCHED_DESK_H
#define TESTS_SCHED_DESK_H

#include <stdlib.h>

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
	uint32_t layers; /* of the model */
	struct sched_job jobs[MAX_JOBS];
	unsigned n_jobs;
};

static inline struct desk *make_desk_of(uint32_t layers, uint32_t max_rows, double attention)
{
	const struct sched_conf conf = { .flows = FLOWS,
					 .max_rows = max_rows,
					 .layers = layers,
					 .interactive_us = 100000,
					 .bulk_us = 5000000,
					 .share = 0.205,
					 .attention = attention };
	struct desk *d = calloc(1, sizeof(*d));

	assert_non_null(d);
	d->layers = layers;
	assert_int_equal(sched_create(&d->s, &conf), 0);
	d->now_us = 1000000;
	return d;
}

static inline struct desk *make_desk(double attention)
{
	return make_desk_of(1, MAX_ROWS, attention);
}

static inline int desk_open(void **state)
{
	*state = make_desk(0);
	return 0;
}

static inline int desk_close(void **state)
{
	struct desk *d = *state;

	sched_destroy(d->s);
	free(d);
	return 0;
}

/* rows of flow from pos on, through the last so many layers; sample: they are answered. */
static inline struct sched_job *put_of(struct desk *d, uint32_t flow, uint32_t pos, uint32_t rows,
				       bool sample, bool bulk, uint32_t layers)
{
	struct sched_job *job = &d->jobs[d->n_jobs++];

	assert_true(d->n_jobs < MAX_JOBS);
	*job = (struct sched_job){ .flow = flow,
				   .pos = pos,
				   .rows = rows,
				   .sample = sample,
				   .bulk = bulk,
				   .from = d->layers - layers,
				   .until = d->layers,
				   .arrived_us = d->now_us };
	sched_add(d->s, job);
	return job;
}

static inline struct sched_job *put(struct desk *d, uint32_t flow, uint32_t pos, uint32_t rows,
				    bool sample, bool bulk)
{
	return put_of(d, flow, pos, rows, sample, bulk, d->layers);
}

static inline bool form(struct desk *d)
{
	return sched_form(d->s, d->now_us, &d->step, &d->wake_us);
}

/* The step runs on the simulated machine. */
static inline void run(struct desk *d)
{
	uint64_t took = (uint64_t)(BASE_US + ROW_US * d->step.work);

	d->now_us += took;
	sched_ran(d->s, &d->step, d->now_us, took);
}

/* Two sizes are run, so that the cost is known; nobody is expected back. */
static inline void teach(struct desk *d)
{
	put(d, FLOWS - 2, 0, 1, false, false);
	assert_true(form(d));
	run(d);
	put(d, FLOWS - 2, 1, 32, false, false);
	assert_true(form(d));
	run(d);
}

#endif
