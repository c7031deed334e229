/* bus/bus.h - publish and subscribe, over MQTT v5 (bus_mqtt.c) or in memory (bus_mem.c).
 *
 * Threads of the MQTT bus: net-in (Paho's: copies a message and hands it to the handler), net-out
 * (ours: drains a bounded queue into the broker, connects and reconnects). The handler runs on
 * either, even on both at once: it must copy, hand over and return. Everything else: the owner, one
 * thread at a time; for a message, the handler may be it if it has the owner's turn (base/queue.h)
 * and never blocks.
 *
 * Nothing is buffered while the broker is away: a publish then is ERR_OFFLINE, the sender's
 * deadline is the one recovery path. What must be known after a reconnect is the birth: the
 * retained status, which the bus publishes itself after every connect, once all subscriptions
 * stand. */
#ifndef BUS_BUS_H
#define BUS_BUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct bus;

enum bus_event_kind {
	BUS_UP,	     /* connected, subscribed, birth published (also after each reconnect) */
	BUS_DOWN,    /* connection lost or refused; reason in text; the bus keeps trying */
	BUS_MESSAGE, /* topic, payload */
	BUS_FATAL,   /* no use in trying on (two clients with one id kick each other); see text */
};

struct bus_event {
	enum bus_event_kind kind;
	const char *topic; /* NUL-terminated; valid during the call */
	const uint8_t *payload;
	size_t len;
	bool retained; /* delivered from the broker's store */
	uint64_t at_us; /* when a message arrived, clock_now_us(); 0: nobody took the time */
	const char *text;
};

typedef void bus_handler(void *ctx, const struct bus_event *ev);

struct bus_conf {
	const char *host;
	uint16_t port;
	const char *client_id;
	const char *username, *password;      /* NULL: none */
	const char *ca_file;		      /* NULL: no TLS */
	const char *cert_file, *key_file;     /* NULL: no client certificate */
	bool tls_insecure_hostname;	      /* do not compare the certificate's name (tests) */
	uint32_t keepalive_s;		      /* 0 = 5 */
	uint32_t max_packet_bytes;	      /* largest packet that we accept; 0 = 262144 */
	uint32_t queue_messages;	      /* bound of the out queue; 0 = 1024 */
	uint32_t backoff_min_ms, backoff_max_ms; /* reconnect: full jitter; 0 = 500, 30000 */
	const char *will_topic;		      /* NULL: no Last Will; retained, QoS 1 */
	const char *will_payload;
};

struct bus_publish {
	const char *topic;
	const void *payload;
	size_t len;
	int qos;	     /* 0 or 1 */
	bool retain;
	uint32_t expiry_s;   /* MQTT v5 message expiry; 0 = none */
};

/* Start connecting in the background; the strings of conf are copied. Returns 0 as soon as the
 * threads run (BUS_UP or BUS_DOWN tells the rest), ERR_CONFIG for unreadable TLS files,
 * ERR_NOMEM. */
MUST_CHECK int bus_mqtt_open(struct bus **out, const struct bus_conf *conf, bus_handler *handler,
			     void *ctx, struct err *e);

/* A broker in memory. Messages are delivered to the handlers when bus_mem_pump runs, in order;
 * the hook may drop, duplicate, hold back or change them (fault injection in tests). */
struct bus_mem;
/* How often to deliver now: 0 drops, 2 duplicates. *delay_ms holds the message back. Asked once per
 * bus_publish, client_id is the publisher; births and Last Wills do not pass here. */
typedef unsigned bus_mem_hook(void *ctx, const char *client_id, const struct bus_publish *p,
			      uint32_t *delay_ms);
MUST_CHECK int bus_mem_create(struct bus_mem **out, bus_mem_hook *hook, void *ctx);
/* All of its clients must be closed. */
void bus_mem_destroy(struct bus_mem *broker);
/* conf: client_id (not in use yet: ERR_STATE), will and max_packet_bytes count. BUS_UP follows at
 * the next pump. */
MUST_CHECK int bus_mem_open(struct bus **out, struct bus_mem *broker, const struct bus_conf *conf,
			    bus_handler *handler, void *ctx);
/* Deliver what is due at now_ms; returns the number of deliveries. */
unsigned bus_mem_pump(struct bus_mem *broker, uint64_t now_ms);
/* Time of the earliest message held back, or UINT64_MAX. */
uint64_t bus_mem_next_ms(const struct bus_mem *broker);
/* Cut a client off without goodbye: its Last Will is published, the client sees BUS_DOWN; its later
 * publishes are ERR_OFFLINE until bus_mem_restore (which gives BUS_UP). */
void bus_mem_cut(struct bus_mem *broker, const char *client_id);
void bus_mem_restore(struct bus_mem *broker, const char *client_id);

/* Remember a filter: subscribed now if connected, and after every reconnect. QoS 0 or 1. */
MUST_CHECK int bus_subscribe(struct bus *b, const char *filter, int qos);

/* Remember the birth (retained, QoS 1): published now if connected, and after every reconnect. */
MUST_CHECK int bus_set_birth(struct bus *b, const char *topic, const char *payload);

/* Copy and queue; or, at QoS 0, write at once when nothing waits and the socket has room, unless a
 * handler calls. Never blocks. ERR_OFFLINE (not connected), ERR_LIMIT (queue full, or larger than
 * the broker's maximum packet size: see bus_max_payload), ERR_USAGE (a malformed topic, like a
 * malformed filter above). */
MUST_CHECK int bus_publish(struct bus *b, const struct bus_publish *p);

/* Largest payload that fits a packet on this topic here and now: min(broker's, ours). */
size_t bus_max_payload(struct bus *b, const char *topic);

bool bus_is_up(struct bus *b);

/* Since open. What the queue refused is the caller's to count. */
struct bus_counts {
	uint64_t published; /* handed to the network, births included */
	uint64_t received;
	uint64_t refused;   /* QoS 1 publishes that the broker answered with a reason against */
	uint64_t dropped;   /* queued, but the connection went first */
	uint64_t oversized; /* arrived, but larger than max_packet_bytes */
	uint64_t connects;
};
void bus_get_counts(struct bus *b, struct bus_counts *n);

/* Send what is queued (at most timeout_ms), disconnect cleanly (no Last Will), free. NULL is fine.
 * The handler is not called any more once this returns: after timeout_ms and 2 s at the latest. */
void bus_close(struct bus *b, uint32_t timeout_ms);

/* MQTT topic filter match ('+', '#'; a "$share/<group>/" prefix of the filter is skipped). */
bool bus_filter_match(const char *filter, const char *topic);

#endif
