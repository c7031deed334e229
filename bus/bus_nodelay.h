/* bus/bus_nodelay.h - switch Nagle's algorithm off on the connections to a broker. */
#ifndef BUS_BUS_NODELAY_H
#define BUS_BUS_NODELAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define BUS_SOCKETS_MAX 8

/* TCP sockets of this process whose peer has one port. Ours is one of them. */
struct bus_sockets {
	int fds[BUS_SOCKETS_MAX];
	unsigned n;       /* 0: none, or too many to keep */
	size_t room_bytes; /* a packet of this size fits one that is writable */
};

/* Set TCP_NODELAY on every TCP socket of this process whose peer has this port, and look that it
 * took; *s: those sockets. Call after each CONNACK. ERR_NOT_FOUND when there is no such socket,
 * ERR_IO. Any thread. */
MUST_CHECK int bus_nodelay_set(uint16_t port, struct bus_sockets *s, struct err *e);

/* A packet of len bytes can be written at once to any of them: nothing would wait. Never blocks. */
bool bus_sockets_have_room(const struct bus_sockets *s, size_t len);

#endif
