/* tests/bus_box.h - a bus whose events wait in a box until the test asks for them. */
#ifndef TESTS_BUS_BOX_H
#define TESTS_BUS_BOX_H

#include "bus/bus.h"
#include "tests/broker.h"

struct box_event {
	enum bus_event_kind kind;
	char *topic, *text; /* NULL where the event has none */
	uint8_t *payload;   /* NUL-terminated beyond len */
	size_t len;
	bool retained;
	uint64_t at_us;
};

struct box {
	struct bus *bus;
	struct queue *events;
	struct box_event *last; /* given out by box_await; valid until the next call */
};

/* Loopback, id, short backoff; everything else as in bus.h. */
struct bus_conf box_conf(const struct broker *br, const char *id);

/* Fails the test if the bus does not open. */
void box_open(struct box *x, const struct bus_conf *conf);
void box_open_up(struct box *x, const struct broker *br, const char *id); /* and waits for BUS_UP */
void box_close(struct box *x);

/* Next event of this kind; others are thrown away. NULL after timeout_ms. */
const struct box_event *box_find(struct box *x, enum bus_event_kind kind, unsigned timeout_ms);

/* The same, but failing the test when it does not come within 10 s. */
const struct box_event *box_await(struct box *x, enum bus_event_kind kind);

/* box_await a message and compare it. */
void box_expect(struct box *x, const char *topic, const char *payload, bool retained);

/* Publish text at QoS qos; fails the test on an error. */
void box_say(struct box *x, const char *topic, const char *text, int qos);

/* A broker that lets everybody in, set up and torn down around a test or a group. box_broker is
 * NULL where none can be had; box_need_broker then skips the test, with the reason. */
extern struct broker *box_broker;
int box_start_broker(void **state);
int box_stop_broker(void **state);
struct broker *box_need_broker(void);

#endif
