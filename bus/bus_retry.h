/* bus/bus_retry.h - when to connect again, and when there is no use. Pure; zeroed to begin. */
#ifndef BUS_BUS_RETRY_H
#define BUS_BUS_RETRY_H

#include <stdbool.h>
#include <stdint.h>

#define RETRY_STABLE_MS      60000 /* a connection this old makes the backoff start anew */
#define RETRY_SHORT_MS       10000 /* a connection younger than this was lost "at once" */
#define RETRY_SHORT_IN_A_ROW 5     /* so many of them: somebody has our id */

struct bus_retry {
	unsigned failures; /* since the last stable connection */
	unsigned short_in_a_row;
	bool was_stable; /* since a connection could last be made at once: we were here first */
};

/* Nobody listens, or a connection could not be made. Two clients that fight for an id never come
 * here. */
void bus_retry_refused(struct bus_retry *r);

/* A connection of this age was lost; taken_over: the broker said to another client with our id.
 * True: no use in trying on. (Mosquitto 2.0 does not say it: hence the pattern.) Of two with one id
 * the one that came later: who was connected for RETRY_STABLE_MS before they met tries on. */
bool bus_retry_lost(struct bus_retry *r, uint64_t age_ms, bool taken_over);

/* How long to wait now: full jitter, uniform in [0, min(max_ms, min_ms * 2^failures)); unit is in
 * [0, 1). Counts as a failure. */
uint64_t bus_retry_delay_ms(struct bus_retry *r, uint32_t min_ms, uint32_t max_ms, double unit);

#endif
