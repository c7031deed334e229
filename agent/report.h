/* agent/report.h - what the agent tells of itself beyond its status. Loop thread. */
#ifndef AGENT_REPORT_H
#define AGENT_REPORT_H

#include "agent/core.h"

/* Counters, speeds, the link, what is left of sessions; uptime, memory and sensors are the
 * caller's. */
void report_telemetry(struct agent_core *c, uint64_t now_us, struct msg_telemetry *t);

/* Something that others would decide by differs between two messages: for links on which each one
 * costs. Times count when they differ by more than a quarter. */
bool report_differs(const struct msg_telemetry *a, const struct msg_telemetry *b);

#endif
