/* coordinator/lease.h - which of several coordinators is the active one: pure.
 *
 * All of them listen to one retained topic. MQTT has no compare-and-set, so who wants to be active
 * publishes a claim with a term above all it knows, waits until the broker has shown it that claim
 * and a settle time has passed, and yields to a better one: a higher term; of one term, the name
 * that sorts first, then the smaller boot. The holder says its lease again every third of lease_ms,
 * and whenever a worse claim or an empty message stands on the topic.
 *
 * A holder is active for lease_ms (its clock) from the moment it sent what it last heard back, and
 * no longer; the others claim lease_ms (their clocks) after they last heard it, sooner when it gave
 * the lease back, its status says that it went, or it was an earlier life of their own. So the next
 * one is active within lease_ms + 2 settle times.
 *
 * Two at once: never, while the broker's messages arrive within a settle time. Never for longer
 * than lease_ms of the deposed one's clock, whatever is delayed, cut or stopped, since the broker
 * shows every claim in order: to hear its own renewal back it must have heard the better claim
 * before. A machine that slept wakes with the rest of its lease at most. What a deposed one
 * published carries an older term, and is overruled.
 *
 * Loop thread. */
#ifndef COORDINATOR_LEASE_H
#define COORDINATOR_LEASE_H

#include <stdbool.h>
#include <stdint.h>

#include "schema/msg.h"

enum lease_state {
	LEASE_DOWN,	 /* no broker */
	LEASE_LISTENING, /* just connected: what is retained comes first */
	LEASE_FOLLOWING, /* somebody else holds it */
	LEASE_CLAIMING,
	LEASE_HOLDING,
	LEASE_NSTATES
};

#define LEASE_SENT 4u /* messages that may be on their way to the broker and back */

struct lease {
	struct msg_coordinator_lease own; /* as we say it; term: of our newest claim */
	struct msg_coordinator_lease holder; /* whom we follow; term 0: nobody */
	enum lease_state state;
	uint64_t term;	   /* highest that was ever heard of */
	uint64_t due_ms;   /* of LISTENING and FOLLOWING: then we claim */
	uint64_t since_ms; /* of CLAIMING: its first message */
	uint64_t until_ms; /* CLAIMING and HOLDING: the claim holds until then; 0: not heard back */
	uint64_t renew_ms; /* next message is due */
	uint64_t now_ms;   /* of the newest event */
	uint64_t gone_boot; /* newest life that ended */
	struct {
		uint64_t renewal, ms;
	} sent[LEASE_SENT];
};

enum lease_event_kind {
	LEASE_EV_UP,	  /* broker connected */
	LEASE_EV_DOWN,	  /* connection lost */
	LEASE_EV_HEARD,	  /* claim: a message on the topic, ours too */
	LEASE_EV_CLEARED, /* an empty message on the topic */
	LEASE_EV_GONE,	  /* boot: that life of a coordinator ended, its status says */
	LEASE_EV_TERM,	  /* term: seen elsewhere, in a decision */
	LEASE_EV_TICK,
	LEASE_EV_STOP, /* we shut down */
};

struct lease_event {
	enum lease_event_kind kind;
	uint64_t now_ms;
	const struct msg_coordinator_lease *claim;
	bool retained; /* of HEARD: from the broker's store */
	uint64_t boot, term;
};

/* What is to be published, retained and with quality of service 1. */
enum lease_effect { LEASE_NOTHING, LEASE_PUBLISH /* l->own */, LEASE_CLEAR /* empty */ };

/* lease_ms: 500..600000. */
void lease_init(struct lease *l, const char *coordinator, uint64_t boot, uint32_t lease_ms);

enum lease_effect lease_step(struct lease *l, const struct lease_event *ev);

/* Whether we may decide. To be asked right before every decision. */
bool lease_is_active(const struct lease *l, uint64_t now_ms);

/* How long claims are waited for. */
uint32_t lease_settle_ms(uint32_t lease_ms);

const char *lease_state_name(enum lease_state state);

#endif
