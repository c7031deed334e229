/* bus/bus_link.h - one MQTT v5 connection, made and remade over Paho's MQTTClient; blocking calls.
 *
 * All functions are for one thread (net-out) unless they say otherwise. The events come on Paho's
 * threads, never after bus_link_retire. */
#ifndef BUS_BUS_LINK_H
#define BUS_BUS_LINK_H

#include "bus/bus.h"

struct bus_link;

#define BUS_LINK_TAKEN_OVER 0x8e /* reason: another client has come with our id */

struct bus_link_events {
	/* A message has arrived; both ends of the pointers are valid during the call. */
	void (*message)(void *ctx, const char *topic, const uint8_t *payload, size_t len,
			bool retained);
	/* The broker has answered a QoS 1 publish; reason is an MQTT v5 reason code, >= 0x80
	 * refused. */
	void (*acked)(void *ctx, int reason);
	/* What bus_link_connect opened is over, not by us. Once per connection. reason: the
	 * broker's, or 0. */
	void (*lost)(void *ctx, int reason);
};

/* What the broker said in its CONNACK. */
struct bus_link_limits {
	uint32_t max_packet;  /* UINT32_MAX: none */
	uint32_t receive_max; /* QoS 1 publishes that may be unanswered */
	int max_qos;
};

/* conf is kept, not copied. ERR_CONFIG, ERR_NOMEM. */
MUST_CHECK int bus_link_create(struct bus_link **out, const struct bus_conf *conf,
			       const struct bus_link_events *events, void *ctx, struct err *e);

/* TCP, TLS, CONNECT, CONNACK: at most BUS_LINK_CONNECT_S seconds. ERR_REFUSED with the broker's
 * reason in words, ERR_IO, ERR_TIMEOUT. */
#define BUS_LINK_CONNECT_S 10
MUST_CHECK int bus_link_connect(struct bus_link *l, struct bus_link_limits *limits, struct err *e);

/* In one packet, n in 1..BUS_LINK_FILTERS. Waits for the SUBACK, 5 s at most. ERR_REFUSED: the
 * first filter that the broker refuses is filters[*refused] (it may have granted others); ERR_IO
 * (the connection is gone). */
#define BUS_LINK_FILTERS 16
MUST_CHECK int bus_link_subscribe(struct bus_link *l, uint32_t n, const char *const filters[],
				  const int qos[], uint32_t *refused, struct err *e);

/* Writes the packet; blocks while the socket is full. ERR_OFFLINE, ERR_FORMAT (topic is not
 * UTF-8). Any thread but Paho's. */
MUST_CHECK int bus_link_publish(struct bus_link *l, const struct bus_publish *p);

/* Goodbye (no Last Will), or nothing when not connected. Any thread: a blocked publish returns. */
void bus_link_disconnect(struct bus_link *l);

/* The phrase of an MQTT v5 reason code, a constant string. */
const char *bus_link_reason(int reason);

/* Call the owner back only between enter (true) and leave: true means that retire waits. Any
 * thread. */
MUST_CHECK bool bus_link_enter(struct bus_link *l);
void bus_link_leave(struct bus_link *l);

/* No event is under way or will come once this returns. l stays allocated (bus_link.c says why)
 * but must not be used any more. Any thread but Paho's. NULL is fine. */
void bus_link_retire(struct bus_link *l);

#endif
