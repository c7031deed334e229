/* tests/plan_world.h - all facts of a plan in one place: what the tests of the planner stand on.
 *
 * A test gets a gateway that is slower than its worker, 8 layers, a link of 1 Mbit/s and 20 ms, and
 * changes what it is about. */
#ifndef TESTS_PLAN_WORLD_H
#define TESTS_PLAN_WORLD_H

#include "coordinator/plan.h"

#define PLAN_WORLD_LAYERS 40 /* most */

/* All facts of a plan in one place. */
struct plan_world {
	struct plan_agent agent;
	struct plan_front fronts[PLAN_MAX_FRONTS];
	uint64_t weights[PLAN_MAX_FRONTS][PLAN_WORLD_LAYERS + 1];
	struct plan_worker worker;
	struct plan_link link;
	struct plan_accuracy accuracy;
	float row_bits[PLAN_MAX_LEVELS * (PLAN_WORLD_LAYERS + 1)];
	float prompt_bits[PLAN_MAX_LEVELS * (PLAN_WORLD_LAYERS + 1)];
	float loss[PLAN_MAX_FRONTS * KV_TYPE_COUNT * PLAN_MAX_LEVELS * (PLAN_WORLD_LAYERS + 1)];
	uint32_t codec_bytes[PLAN_WORLD_LAYERS + 1];
	struct plan_policy policy;
	struct plan_present present;
	struct plan_input in;
	struct plan_result r;
};

void plan_world_init(struct plan_world *w);

/* Set up and tear down of a cmocka test: *state is a world. */
int plan_world_open(void **state);
int plan_world_close(void **state);

/* Front f again: layers of so many bytes, of the usual speed. */
void plan_world_front(struct plan_world *w, uint32_t f, uint32_t layers, uint64_t layer_bytes);

/* A table of so many levels, of which each has fewer bits and a higher loss than the one before. */
void plan_world_accuracy(struct plan_world *w, uint32_t levels);

/* w->r; fails the running test where there is none. */
void plan_world_plan(struct plan_world *w);

#endif
