/* agent/hurry.h - telemetry that tells of a change of the link does not wait for its turn.
 *
 * When the meter notices a change, what the link is now is known as soon as the probes that are
 * sent then (agent/probe.h) are back; a second later at the latest it is told as far as it is
 * known. Pure. */
#ifndef AGENT_HURRY_H
#define AGENT_HURRY_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/meter.h"
#include "agent/probe.h"

#define HURRY_US 1000000u

/* Zeroed: nothing has changed yet. */
struct hurry {
	uint32_t told; /* changes of the meter that telemetry was hurried for */
	bool waits;    /* for the probes after the newest of them */
};

/* hurry_due has something to say: to be called soon. */
bool hurry_calls(const struct hurry *h, const struct meter *m, const struct probe *p);

/* When telemetry is due that was due at due_us: then, or earlier (now_us at the earliest). */
uint64_t hurry_due(struct hurry *h, const struct meter *m, const struct probe *p, uint64_t due_us,
		   uint64_t now_us);

#endif
