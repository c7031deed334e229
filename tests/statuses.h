/* tests/statuses.h - statuses of agents and workers of the toy (tests/toy.h). */
#ifndef TESTS_STATUSES_H
#define TESTS_STATUSES_H

#include <stdio.h>

#include "schema/msg.h"
#include "tests/toy.h"

static inline struct msg_agent_status agent_of(const char *name, enum msg_state state,
					       uint64_t boot)
{
	struct msg_agent_status st = { .state = state,
				       .boot = boot,
				       .model = TOY_MODEL,
				       .model_name = "toy",
				       .n_layers = TOY_LAYERS,
				       .dim = TOY_DIM,
				       .context_tokens = TOY_CONTEXT,
				       .max_sessions = 3,
				       .version = "1" };

	snprintf(st.agent, sizeof(st.agent), "%.64s", name);
	return st;
}

static inline struct msg_worker_status worker_of(const char *name, enum msg_state state,
						 uint64_t boot, const char *model)
{
	struct msg_worker_status st = { .state = state,
					.boot = boot,
					.model_name = "toy",
					.n_layers = TOY_LAYERS,
					.dim = TOY_DIM,
					.context_tokens = TOY_CONTEXT,
					.max_sessions = 6,
					.version = "1" };

	snprintf(st.worker, sizeof(st.worker), "%s", name);
	snprintf(st.model, sizeof(st.model), "%s", model);
	return st;
}

#endif
