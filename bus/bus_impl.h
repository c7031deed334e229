/* bus/bus_impl.h - what the two kinds of bus share. For bus/ only. */
#ifndef BUS_BUS_IMPL_H
#define BUS_BUS_IMPL_H

#include "bus/bus.h"

#define BUS_PACKET_BYTES_DEFAULT 262144u

/* Arguments have been checked by bus.c before an operation is called. */
struct bus_ops {
	int (*subscribe)(struct bus *b, const char *filter, int qos);
	int (*set_birth)(struct bus *b, const char *topic, const char *payload);
	int (*publish)(struct bus *b, const struct bus_publish *p);
	uint32_t (*max_packet)(struct bus *b); /* bytes of the largest packet that may be sent */
	bool (*is_up)(struct bus *b);
	void (*get_counts)(struct bus *b, struct bus_counts *n);
	void (*close)(struct bus *b, uint32_t timeout_ms);
};

/* First member of every kind of bus. */
struct bus {
	const struct bus_ops *ops;
};

/* Largest payload of a PUBLISH on topic, QoS 1 and expiry included, in a packet of packet_bytes. */
size_t bus_payload_room(uint32_t packet_bytes, const char *topic);

/* Well-formed by MQTT 5.0, sections 4.7 and 4.8.2 (shared subscriptions). */
bool bus_filter_ok(const char *filter);
bool bus_topic_ok(const char *topic);

/* "$share/<group>/<filter>" -> <filter>; any other filter as it is. */
const char *bus_filter_body(const char *filter);

#endif
