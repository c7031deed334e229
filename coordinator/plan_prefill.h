/* coordinator/plan_prefill.h - when all rows of a prompt have passed agent, link and worker.
 *
 * Agent and link take chunks one by one; the worker, when it is free, all rows that have come
 * (worker/sched.h), up to a step's most. Private to coordinator/plan*.c. Pure; any thread. */
#ifndef COORDINATOR_PLAN_PREFILL_H
#define COORDINATOR_PLAN_PREFILL_H

#include "coordinator/plan.h"

/* Worker steps that are followed one by one; a longer prompt goes on at the pace of the last. */
#define PLAN_PREFILL_STEPS 64u

/* A chunk until it is at the worker. */
struct plan_chunk {
	uint32_t rows;
	double agent_ms, link_ms;
};

struct plan_prefill {
	uint32_t full;                 /* equal chunks, ... */
	struct plan_chunk chunk, rest; /* ... and a smaller one behind them; rows 0: none */
	double open_ms;                /* from the first chunk's begin until the link takes rows */
	const struct plan_worker *worker;
	uint32_t layers, of_layers; /* that it runs, of the model's */
	double at;                  /* position of the rows */
};

double plan_prefill_ms(const struct plan_prefill *p);

/* Rows of a prompt that the worker takes in one step, at most: more would not be more efficient. */
double plan_prefill_most_rows(const struct plan_worker *w, uint32_t layers, uint32_t of_layers);

#endif
