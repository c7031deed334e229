/* coordinator/plan_cost.h - what a choice costs in time, traffic and memory: the formulas of
 * docs/planning.md. Private to coordinator/plan*.c. Pure; any thread. */
#ifndef COORDINATOR_PLAN_COST_H
#define COORDINATOR_PLAN_COST_H

#include "coordinator/plan.h"

/* What depends on split, front and level only. */
struct plan_timing {
	double ttft_ms, token_ms, up_bytes, down_bytes, session_bytes, worker_ms;
};

/* All figures that this needs are there. */
bool plan_cost_known(const struct plan_input *in, uint32_t split, uint32_t front);

/* Only when they are known. */
void plan_cost_timing(const struct plan_input *in, uint32_t split, uint32_t front, uint32_t level,
		      struct plan_timing *t);

uint64_t plan_cost_edge_bytes(const struct plan_input *in, const struct plan_choice *c);
uint64_t plan_cost_worker_bytes(const struct plan_input *in, const struct plan_choice *c);
double plan_cost_loss(const struct plan_input *in, const struct plan_choice *c);

/* Moving a session that has so many positions from one choice to another, in units of the
 * objective. */
double plan_cost_handover(const struct plan_input *in, const struct plan_choice *from,
			  const struct plan_choice *to, uint32_t positions);

/* Mean positions of what is planned for. Rows of a prompt: the middle of the expected one. Tokens:
 * of what is left of the sessions that run; when none does, of the expected session's answer. */
double plan_cost_prompt_at(const struct plan_input *in);
double plan_cost_token_at(const struct plan_input *in);

/* Time of one layer (or of the head) of the worker for a step of so many rows, `own` of them at
 * this position, others where they were: between the sizes that were measured on a line, below the
 * least as that one, above the largest in proportion. */
double plan_cost_layer_ms(const struct plan_worker *w, double rows, double own, double at);
double plan_cost_head_ms(const struct plan_worker *w, double rows);

#endif
