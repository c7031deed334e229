/* coordinator/roster.h - which agents and workers there are, and what each agent was told: pure.
 *
 * Everything is rebuilt from retained messages: statuses and the decisions of an earlier life. Sees
 * base and schema only. Loop thread. */
#ifndef COORDINATOR_ROSTER_H
#define COORDINATOR_ROSTER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "coordinator/names.h"
#include "schema/msg.h"

#define ROSTER_FIGURES 12u
#define ROSTER_NEAR    4u
#define ROSTER_HOLD_MS 60000u

/* A round trip that was measured. */
struct roster_near {
	uint32_t worker; /* its place */
	float rtt_ms;    /* 0: none */
};

/* What refusals taught, until the agent's profile or budget changes. */
struct roster_lesson {
	uint64_t budget_bytes;        /* it has no more, as predictions count; 0: as it says */
	uint64_t said_bytes;          /* budget that it said then */
	char front[MSG_FRONT_MAX];    /* refused for another reason than memory; empty: none */
	char codec[MSG_SPEC_MAX];     /* likewise */
};

struct roster_agent {
	struct msg_agent_status status; /* its name comes first */
	struct msg_agent_profile profile;  /* n_fronts 0: none yet; what it owns is the roster's */
	struct msg_telemetry telemetry;    /* newest; boot 0: none of this life */
	struct msg_decision decision;      /* newest; number 0: none yet */
	struct msg_decision_answer answer; /* newest; number 0: none yet */
	uint64_t decided_ms;               /* when it was last published, but for mere figures */
	uint64_t told_ms;                  /* when anything was published */
	float seen[ROSTER_FIGURES];        /* of telemetry, when it was last put on the list */
	struct roster_near near[ROSTER_NEAR];
	struct roster_lesson lesson;
	uint32_t hold_ms;      /* pause after the newest decision, when it went back and forth */
	uint32_t before_split; /* of the decision before the newest one */
	bool again;    /* to be looked at with its next telemetry, whatever that says */
	bool retained; /* the broker holds the newest decision, as far as we know */
	bool due;      /* it is on the list of those to be looked at */
};

struct roster_worker {
	struct msg_worker_status status; /* likewise */
	struct msg_telemetry telemetry; /* newest; boot 0: none of this life */
	uint32_t n_agents;              /* ready ones whose decision names it */
	float seen[ROSTER_FIGURES];     /* likewise; then its agents were */
};

struct roster {
	struct roster_agent *agents; /* [n_agents], by first appearance; moves when it grows */
	struct roster_worker *workers;
	uint32_t n_agents, n_workers;
	uint32_t cap_agents, cap_workers;
	struct names by_agent, by_worker;
	uint32_t *due; /* ring of cap_due places of agents, n_due from first_due on, oldest first */
	uint32_t first_due, n_due, cap_due;
	uint32_t ready_agents, ready_workers;
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

/* Likewise; the profile's memory changes hands, whatever is returned. */
MUST_CHECK int roster_profile(struct roster *r, struct msg_agent_profile *p);
/* Of an agent or a worker that is known; of another one it is dropped: its next one will do. */
void roster_agent_telemetry(struct roster *r, const struct msg_telemetry *t);
void roster_worker_telemetry(struct roster *r, const struct msg_telemetry *t);
MUST_CHECK int roster_answer(struct roster *r, const struct msg_decision_answer *an);

/* A decision that is retained on the broker: numbers go on from there. */
MUST_CHECK int roster_decided(struct roster *r, const struct msg_decision *d);

/* Ours is published: it is a's decision from now on. The same number: only figures are new, or the
 * broker had lost it. One that goes back to the split before it
 * doubles the pause until the next, up to ROSTER_HOLD_MS; a minute of rest ends that. */
void roster_publish(struct roster *r, struct roster_agent *a, const struct msg_decision *d,
		    uint64_t now_ms);

/* The broker is gone; when it comes back it must prove what it still holds. */
void roster_doubt(struct roster *r);

/* NULL: not known. Valid until the next agent or worker appears. O(1). */
struct roster_agent *roster_find_agent(struct roster *r, const char *name);
struct roster_worker *roster_find_worker(const struct roster *r, const char *name);

/* Put an agent, or all of them, on the list of those to be looked at. It is already there after
 * anything above that changes what might be decided. */
void roster_touch(struct roster *r, struct roster_agent *a);
void roster_touch_all(struct roster *r);
/* Take the oldest off the list: NULL when it is empty. */
struct roster_agent *roster_next_due(struct roster *r);

/* Decide for an agent: *d is the new decision (number counted up) and true, or false when nothing
 * changes or the agent is not ready. The wish is bent to what is possible, and `reason` says so:
 * a split beyond the model becomes its number of layers, a named worker that is not ready or
 * serves another model is left out. */
bool roster_decide(const struct roster *r, const struct roster_agent *a,
		   const struct roster_wish *w, struct msg_decision *d);

uint32_t roster_ready_agents(const struct roster *r);
uint32_t roster_ready_workers(const struct roster *r);

#endif
