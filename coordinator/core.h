/* coordinator/core.h - the coordinator without its threads: messages to the roster and the lease,
 * decisions from them. Loop thread.
 *
 * One of several is active (coordinator/lease.h); the others follow everything and publish nothing
 * but their status. */
#ifndef COORDINATOR_CORE_H
#define COORDINATOR_CORE_H

#include <stdint.h>

#include "base/err.h"
#include "bus/bus.h"
#include "config/config.h"
#include "coordinator/decide.h"
#include "coordinator/lease.h"
#include "coordinator/roster.h"

struct coordinator_core {
	const struct config_coordinator *conf;
	struct bus *bus;
	struct roster roster;
	struct lease lease;
	struct decide *decide;
	uint64_t boot;
	uint64_t settled_ms; /* retained messages have arrived by then; 0: not connected yet */
	bool behind; /* set by the driver: many messages wait and are to be read first */
	uint64_t tick_ms; /* of the newest decisions */
	uint64_t announced_ms;
	uint32_t announced_agents, announced_workers;
	bool announced_active;
};

/* Names in the policy that no agent could obey: ERR_CONFIG naming the key. */
MUST_CHECK int coordinator_check(const struct config_coordinator *conf, struct err *e);

/* Subscribe and announce: call once after the bus was opened; coordinator_core_finish is needed
 * whatever it returns. */
MUST_CHECK int coordinator_core_start(struct coordinator_core *c, struct bus *bus);
void coordinator_core_finish(struct coordinator_core *c);

void coordinator_core_link(struct coordinator_core *c, bool up, uint64_t now_ms);
void coordinator_core_message(struct coordinator_core *c, const struct bus_event *ev,
			      uint64_t now_ms);
/* Renew the lease, decide for whom it is due: not for all of them, if they are many, so that
 * messages are read in between. True when more are due now. */
bool coordinator_core_tick(struct coordinator_core *c, uint64_t now_ms);
/* Give the lease back; the last status: offline. */
MUST_CHECK int coordinator_core_goodbye(struct coordinator_core *c, uint64_t now_ms);

#endif
