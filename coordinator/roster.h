/* coordinator/roster.h - which agents and workers there are, and what each agent was told: pure.
 *
 * Everything is rebuilt from retained messages: statuses and the decisions of an earlier life. Sees
 * base and schema only. Loop thread. */
#ifndef COORDINATOR_ROSTER_H
#define COORDINATOR_ROSTER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "schema/msg.h"

struct roster_agent {
	struct msg_agent_status status;
	struct msg_decision decision; /* newest; number 0: none yet */
	uint64_t decided_ms;          /* when it was last published */
	bool retained;                /* the broker holds the newest decision, as far as we know */
};

struct roster {
	struct roster_agent *agents; /* [n_agents], by first appearance */
	struct msg_worker_status *workers;
	uint32_t n_agents, n_workers;
	uint32_t cap_agents, cap_workers;
};

/* What the static policy wants of an agent. */
struct roster_wish {
	bool has_split;
	uint32_t split;
	char codec[MSG_SPEC_MAX];
	char kv[KV_TYPE_MAX];            /* empty: each side's own */
	char worker[TOPIC_NAME_MAX + 1]; /* empty: any */
	uint32_t context_tokens;         /* 0: the agent's own */
};

void roster_finish(struct roster *r);

/* Take a status over. ERR_NOMEM. A notice that an earlier life ended is ignored,
 * unless it is what the broker retained: then it is the newest truth. */
MUST_CHECK int roster_agent(struct roster *r, const struct msg_agent_status *st, bool retained);
MUST_CHECK int roster_worker(struct roster *r, const struct msg_worker_status *st, bool retained);

/* A decision that is retained on the broker: numbers go on from there. */
MUST_CHECK int roster_decided(struct roster *r, const struct msg_decision *d);

/* The broker is gone; when it comes back it must prove what it still holds. */
void roster_doubt(struct roster *r);

struct roster_agent *roster_find_agent(struct roster *r, const char *name);

/* Decide for an agent: *d is the new decision (number counted up) and true, or false when nothing
 * changes or the agent is not ready. The wish is bent to what is possible, and `reason` says so:
 * a split beyond the model becomes its number of layers, a named worker that is not ready or
 * serves another model is left out. */
bool roster_decide(const struct roster *r, const struct roster_agent *a,
		   const struct roster_wish *w, struct msg_decision *d);

uint32_t roster_ready_agents(const struct roster *r);
uint32_t roster_ready_workers(const struct roster *r);

#endif
