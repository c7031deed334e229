/* tools/split_rig.h - a fleet on this machine for a measurement: broker, worker, perhaps a slow
 * link; and what an agent needs to know to join it.
 *
 * One thread. */
#ifndef TOOLS_SPLIT_RIG_H
#define TOOLS_SPLIT_RIG_H

#include "config/config.h"
#include "tools/relay.h"

struct split_rig;

struct split_rig_conf {
	const char *model, *codec, *kv;
	uint32_t split, threads, context_tokens, spin_us;
	bool has_spin;          /* spin_us is for both sides */
	bool run_ahead;         /* the agent's, ... */
	uint32_t drafts;        /* ... of which so many may go out at once */
	bool any_split;         /* the worker serves other splits as well */
	const char *trace;      /* file for the worker's trace; NULL: none */
	struct relay_conf link; /* between agent and broker; no relay when it does nothing */
};

/* Start a private mosquitto and splitmq-worker, and wait until the worker is ready. ERR_NOT_FOUND
 * where mosquitto or the worker is missing; ERR_STATE when the worker gives up, with its last
 * words; ERR_TIMEOUT after a minute. */
MUST_CHECK int split_rig_start(struct split_rig **out, const struct split_rig_conf *conf,
			       struct err *e);
void split_rig_stop(struct split_rig *r); /* NULL is fine */

/* Ports of the broker: as the agent sees it, and directly. */
uint16_t split_rig_agent_port(const struct split_rig *r);
uint16_t split_rig_port(const struct split_rig *r);

/* The configuration of an agent that joins. */
MUST_CHECK int split_rig_agent(const struct split_rig *r, struct config_agent *c, struct err *e);

#endif
