/* tools/relay.h - a slow link on a fast machine: TCP connections passed on later, and no faster.
 *
 * Whatever arrives is cut into packets of at most RELAY_PACKET bytes. A packet takes its place on
 * the wire when the one before it has left (size over rate), then travels for the delay and a
 * random part of the jitter, and never overtakes: all connections share the rate of a direction.
 * A packet is passed on within 0.3 ms of its time where the machine is not overloaded. Connections
 * are accepted at once. No kernel support is needed. */
#ifndef TOOLS_RELAY_H
#define TOOLS_RELAY_H

#include <stdint.h>

#include "base/err.h"

#define RELAY_PACKET	      1448u
#define RELAY_MAX_CONNECTIONS 64u

struct relay;

struct relay_conf {
	const char *listen_host;  /* an address of this machine; NULL: 127.0.0.1 */
	uint16_t listen_port;	  /* 0: a free one */
	const char *to_host;
	uint16_t to_port;
	uint32_t delay_us;	  /* one way */
	uint32_t jitter_us;	  /* added to the delay, uniform in 0..jitter_us */
	uint64_t rate_bit_s;	  /* each direction; 0: no limit */
	uint64_t seed;		  /* of the jitter */
};

/* Listen, and run a thread until relay_stop. ERR_IO when the address cannot be used or to_host is
 * not known, ERR_NOMEM. */
MUST_CHECK int relay_start(struct relay **out, const struct relay_conf *conf, struct err *e);

/* Cuts all connections; what is on its way is lost. NULL is fine. */
void relay_stop(struct relay *r);

uint16_t relay_port(const struct relay *r);

/* Another rate, for packets that arrive from now on; 0: no limit. Any thread. */
void relay_set_rate(struct relay *r, uint64_t rate_bit_s);

/* Bytes passed on so far: up, from those who connected, and down. Any thread. */
void relay_get_bytes(const struct relay *r, uint64_t *up, uint64_t *down);

#endif
