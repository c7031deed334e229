/* bus/bus_probe.h - why a connection could not be made, in words. */
#ifndef BUS_BUS_PROBE_H
#define BUS_BUS_PROBE_H

#include <stdint.h>

#include "base/err.h"

/* Does anything accept TCP connections there? 0, or ERR_IO with the system's reason. Blocks for the
 * name look-up and then for BUS_PROBE_MS at most. Any thread. */
#define BUS_PROBE_MS 1000
MUST_CHECK int bus_probe(const char *host, uint16_t port, struct err *e);

#endif
