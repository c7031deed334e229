/* bus/bus_nodelay.h - switch Nagle's algorithm off on the connections to a broker. */
#ifndef BUS_BUS_NODELAY_H
#define BUS_BUS_NODELAY_H

#include <stdint.h>

#include "base/err.h"

/* Set TCP_NODELAY on every TCP socket of this process whose peer has this port, and look that it
 * took. Call after each CONNACK. ERR_NOT_FOUND when there is no such socket, ERR_IO. Any thread. */
MUST_CHECK int bus_nodelay_set(uint16_t port, struct err *e);

#endif
