/* agent/offline.h - going on alone while the fleet is away. Internal to the agent's core. Loop
 * thread.
 *
 * Away: no broker, or no ready worker that could serve this agent. After conf.offline_after_ms of
 * it, if the whole model fits here, sessions that run go on alone from where they are and new
 * prompts run here; their replies say "degraded". When the fleet is back, sessions return to their
 * split, and new prompts have it. A prompt that named its split cannot: whether it runs by now or
 * not, it ends as `offline` after that time. */
#ifndef AGENT_OFFLINE_H
#define AGENT_OFFLINE_H

#include "agent/slot.h"

/* Something may have changed: link, workers, time. True when sessions may begin that could not.
 * Sets c->offline_due_us, when it wants to look again (0: never), and c->away_long. */
bool offline_look(struct agent_core *c, uint64_t now_us);

/* What a prompt that named its split is told while c->away_long. */
const char *offline_reason(const struct agent_core *c);

/* What a prompt that is not answered may be waiting for: "broker", "worker"; NULL: neither. */
const char *offline_waits_for(const struct agent_core *c);

/* c->front was set: that may be what going alone waits for. */
void offline_front(struct agent_core *c);

#endif
