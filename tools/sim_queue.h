/* tools/sim_queue.h - what happens next in the simulated world: events by time, then by age. */
#ifndef TOOLS_SIM_QUEUE_H
#define TOOLS_SIM_QUEUE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct sim_event {
	uint64_t at_us;
	uint64_t order; /* set by sim_queue_add */
	uint32_t kind;
	uint32_t who; /* index of an agent or worker */
	uint32_t what, life; /* a session's place, and which of those that had it; or nothing */
	uint32_t rows;       /* that are under way; or nothing */
	uint32_t from;       /* the agent that sent them to a worker; or nothing */
};

/* A binary heap. Zeroed is empty. */
struct sim_queue {
	struct sim_event *at;
	size_t n, cap;
	uint64_t added;
};

/* ERR_NOMEM. An event at UINT64_MAX never comes and is not kept. */
MUST_CHECK int sim_queue_add(struct sim_queue *q, const struct sim_event *ev);

/* Time of the next one, or UINT64_MAX. */
uint64_t sim_queue_next_us(const struct sim_queue *q);

/* The next one; there must be one. */
struct sim_event sim_queue_take(struct sim_queue *q);

void sim_queue_finish(struct sim_queue *q);

#endif
