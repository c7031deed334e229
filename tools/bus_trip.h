/* tools/bus_trip.h - round trips through a broker between two clients of this process.
 *
 * One client publishes, the broker passes it on, the other client answers, and the answer comes
 * back: four ways over the network, as for a token of a split session. One thread calls; an echo
 * thread answers meanwhile. */
#ifndef TOOLS_BUS_TRIP_H
#define TOOLS_BUS_TRIP_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "bus/bus.h"

#define BUS_TRIP_MAX_BYTES ((size_t)1 << 20)

struct bus_trip;

/* Connect both: the one that asks by `asks`, the one that answers by `answers` (client ids are
 * chosen here). topics is a prefix, such as "bench"; topics TOPICS/<random>/there and .../back are
 * used. ERR_OFFLINE when one cannot connect within 5 s. */
MUST_CHECK int bus_trip_open(struct bus_trip **out, const struct bus_conf *asks,
			     const struct bus_conf *answers, const char *topics, struct err *e);
void bus_trip_close(struct bus_trip *t); /* NULL is fine */

/* n round trips one after the other -> us[n]: `there` bytes, answered by `back` bytes (both up to
 * BUS_TRIP_MAX_BYTES, at least 4), QoS 0 or 1. ERR_TIMEOUT when an answer does not come within 5 s,
 * ERR_LIMIT when a packet is larger than the broker wants. */
MUST_CHECK int bus_trip_measure(struct bus_trip *t, size_t there, size_t back, int qos, unsigned n,
				double *us, struct err *e);

#endif
