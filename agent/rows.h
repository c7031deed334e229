/* agent/rows.h - frames of ROWS: chunks of the log, and fills. Internal to the agent's core. Loop
 * thread. */
#ifndef AGENT_ROWS_H
#define AGENT_ROWS_H

#include "agent/slot.h"

/* Publish what the effects say. */
void rows_send(struct agent_core *c, struct slot *sl, const struct session_effects *fx,
	       uint64_t now_us);

#endif
