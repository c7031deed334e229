/* agent/sounding.h - when the link is probed (agent/probe.h), and when telemetry tells of it. Loop
 * thread. */
#ifndef AGENT_SOUNDING_H
#define AGENT_SOUNDING_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/core.h"
#include "bus/bus.h"

/* Publish the next probe, when it is time for one: to be asked once a second at least. */
void sounding_send(struct agent_core *c, uint64_t now_us);

/* A message on the topic of our probes. */
void sounding_take(struct agent_core *c, const struct bus_event *ev, uint64_t now_us);

/* After a change of the link telemetry is due earlier (agent/hurry.h). Not where bytes cost
 * (conf.probe_us 0). */
void sounding_hurry(struct agent_core *c, uint64_t *due_ms, uint64_t now_ms);
/* There is a reason to call both now. */
bool sounding_calls(const struct agent_core *c);

#endif
