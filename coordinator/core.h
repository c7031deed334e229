/* coordinator/core.h - the coordinator without its threads. Loop thread. */
#ifndef COORDINATOR_CORE_H
#define COORDINATOR_CORE_H

#include <stdint.h>

#include "base/err.h"
#include "bus/bus.h"
#include "config/config.h"
#include "coordinator/roster.h"

struct coordinator_core {
	const struct config_coordinator *conf;
	struct bus *bus;
	struct roster roster;
	uint64_t boot;
	uint64_t settled_ms; /* retained messages have arrived by then; 0: not connected yet */
	uint32_t announced_agents, announced_workers;
};

/* Names in the policy that no agent could obey: ERR_CONFIG naming the key. */
MUST_CHECK int coordinator_check(const struct config_coordinator *conf, struct err *e);

/* Subscribe and announce: call once after the bus was opened. */
MUST_CHECK int coordinator_core_start(struct coordinator_core *c, struct bus *bus);
void coordinator_core_finish(struct coordinator_core *c);

void coordinator_core_link(struct coordinator_core *c, bool up, uint64_t now_ms);
void coordinator_core_message(struct coordinator_core *c, const struct bus_event *ev,
			      uint64_t now_ms);
/* Decide for whom it is due. */
void coordinator_core_tick(struct coordinator_core *c, uint64_t now_ms);
/* The last status: offline. */
MUST_CHECK int coordinator_core_goodbye(struct coordinator_core *c);

#endif
