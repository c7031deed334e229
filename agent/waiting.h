/* agent/waiting.h - prompts that wait for a slot, or for the broker. Internal to the agent's core.
 * Loop thread. */
#ifndef AGENT_WAITING_H
#define AGENT_WAITING_H

#include "agent/slot.h"

/* Index of the waiting prompt with this id; c->n_waiting when there is none. */
unsigned waiting_find(const struct agent_core *c, const char *id);

/* The first one that may begin, or c->n_waiting: what crosses the broker waits until its limits are
 * known; all do while weights are changed. */
unsigned waiting_next(const struct agent_core *c);

void waiting_drop(struct agent_core *c, unsigned i);

/* Refuse those whose deadline passed, or that named a split while the fleet is away for long. */
void waiting_expire(struct agent_core *c, uint64_t now_us);

#endif
