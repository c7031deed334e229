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

struct bus_trip_conf {
	size_t there, back; /* bytes of the request and of the answer, 4..BUS_TRIP_MAX_BYTES */
	int qos;            /* 0 or 1 */
	uint32_t busy_us;   /* each end computes for so long before it sends, as those of a token
			     * do while the others sleep; not counted */
};

/* n round trips one after the other -> us[n]. ERR_TIMEOUT when an answer does not come within 5 s,
 * ERR_LIMIT when a packet is larger than the broker wants. */
MUST_CHECK int bus_trip_measure(struct bus_trip *t, const struct bus_trip_conf *c, unsigned n,
				double *us, struct err *e);

#endif
