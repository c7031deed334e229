/* tools/sim_world.h - a simulated fleet: agents with links, workers, sessions.
 *
 * It says what real agents and workers would say (status, profile, telemetry, answers to
 * decisions), and obeys decisions as they would.
 *
 * Every token is played through: processor of the agent, link, batch of the worker, link; nothing
 * of it is computed by the planner's formulas. Time is simulated and passes only in sim_world_run.
 * Deterministic: a function of the scenario and the decisions.
 * One thread. */
#ifndef TOOLS_SIM_WORLD_H
#define TOOLS_SIM_WORLD_H

#include <stdint.h>

#include "config/scenario.h"
#include "schema/msg.h"
#include "tools/sim_stats.h"

struct sim_world;

/* A message of an agent or worker, at the time that sim_world_now_us says. What m points to is
 * borrowed. */
typedef void sim_publish(void *ctx, const struct topic *t, const struct msg *m, int qos,
			 bool retain);

/* What the policy asks for: to count who misses it. 0: no limit. */
struct sim_limits {
	double token_ms, ttft_ms;
	uint32_t prompt_tokens; /* ttft_ms is for prompts of at most so many; 0: of any length */
};

/* The scenario is copied. Workers come up in the first second, agents within 6 s after the workers'
 * first telemetry. ERR_NOMEM. */
MUST_CHECK int sim_world_create(struct sim_world **out, const struct scenario *s,
				const struct sim_limits *limits, const char *fleet,
				sim_publish *publish, void *ctx);
void sim_world_destroy(struct sim_world *w);

/* Time of the next event, us since the beginning; UINT64_MAX: nothing will happen any more. */
uint64_t sim_world_next_us(const struct sim_world *w);
/* Perform all events up to and at until_us. ERR_NOMEM: the world is of no use any more. */
MUST_CHECK int sim_world_run(struct sim_world *w, uint64_t until_us);
uint64_t sim_world_now_us(const struct sim_world *w);

/* A decision was published: it reaches its agent a round trip later. Agents that are not of this
 * world are ignored. ERR_NOMEM. */
MUST_CHECK int sim_world_decide(struct sim_world *w, const struct msg_decision *d);

/* The end: everybody's status is "offline". */
void sim_world_leave(struct sim_world *w);

/* Sessions still running are not in it. */
struct sim_stats *sim_world_stats(struct sim_world *w);

/* Names: agents "sim-00000", workers "sim-w000". */
void sim_world_agent_name(char dst[static TOPIC_NAME_MAX + 1], uint32_t i);
void sim_world_worker_name(char dst[static TOPIC_NAME_MAX + 1], uint32_t i);

#endif
