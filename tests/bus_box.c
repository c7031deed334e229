#include "tests/bus_box.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/queue.h"

#define EVENTS_MAX  65536
#define PATIENCE_MS 25000 /* longer than an attempt to connect that is lost, and one more */

static void event_free(void *item)
{
	struct box_event *ev = item;

	if (!ev)
		return;
	free(ev->topic);
	free(ev->text);
	free(ev->payload);
	free(ev);
}

/* Any thread of the bus. ctx is the queue, not the box: a failed test leaves its stack while the
 * bus still runs. */
static void collect(void *ctx, const struct bus_event *ev)
{
	struct box_event *copy = calloc(1, sizeof(*copy));

	if (!copy)
		abort();
	copy->kind = ev->kind;
	copy->topic = ev->topic ? strdup(ev->topic) : NULL;
	copy->text = ev->text ? strdup(ev->text) : NULL;
	copy->payload = calloc(1, ev->len + 1);
	copy->len = ev->len;
	copy->retained = ev->retained;
	copy->at_us = clock_now_us();
	if (ev->len)
		memcpy(copy->payload, ev->payload, ev->len);
	if (!queue_push(ctx, copy))
		abort();
}

struct bus_conf box_conf(const struct broker *br, const char *id)
{
	return (struct bus_conf){
		.host = "127.0.0.1",
		.port = broker_port(br),
		.client_id = id,
		.backoff_min_ms = 20,
		.backoff_max_ms = 200,
	};
}

void box_open(struct box *x, const struct bus_conf *conf)
{
	struct err e;

	memset(x, 0, sizeof(*x));
	assert_int_equal(queue_create(&x->events, EVENTS_MAX), 0);
	if (bus_mqtt_open(&x->bus, conf, collect, x->events, &e))
		fail_msg("%s", e.text);
}

void box_open_up(struct box *x, const struct broker *br, const char *id)
{
	struct bus_conf conf = box_conf(br, id);

	box_open(x, &conf);
	box_await(x, BUS_UP);
}

void box_close(struct box *x)
{
	bus_close(x->bus, 1000);
	queue_destroy(x->events, event_free);
	event_free(x->last);
	memset(x, 0, sizeof(*x));
}

const struct box_event *box_find(struct box *x, enum bus_event_kind kind, unsigned timeout_ms)
{
	uint64_t now = clock_now_ms(), until = now + timeout_ms;

	do {
		event_free(x->last);
		x->last = queue_pop(x->events, now < until ? (long)(until - now) : 0);
		now = clock_now_ms();
	} while (x->last && x->last->kind != kind);
	return x->last;
}

const struct box_event *box_await(struct box *x, enum bus_event_kind kind)
{
	static const char *const names[] = { "up", "down", "message", "fatal" };
	const struct box_event *ev = box_find(x, kind, PATIENCE_MS);

	if (!ev)
		fail_msg("no event \"%s\" within %d ms", names[kind], PATIENCE_MS);
	return ev;
}

void box_expect(struct box *x, const char *topic, const char *payload, bool retained)
{
	const struct box_event *ev = box_await(x, BUS_MESSAGE);

	assert_string_equal(ev->topic, topic);
	assert_string_equal((const char *)ev->payload, payload);
	assert_int_equal(ev->len, strlen(payload));
	assert_int_equal(ev->retained, retained);
}

void box_say(struct box *x, const char *topic, const char *text, int qos)
{
	struct bus_publish p = { .topic = topic, .payload = text, .len = strlen(text), .qos = qos };

	assert_int_equal(bus_publish(x->bus, &p), 0);
}

struct broker *box_broker;

int box_start_broker(void **state)
{
	(void)state;
	if (broker_missing())
		return 0;
	box_broker = broker_create();
	broker_start(box_broker, NULL);
	return 0;
}

int box_stop_broker(void **state)
{
	(void)state;
	broker_destroy(box_broker);
	box_broker = NULL;
	return 0;
}

struct broker *box_need_broker(void)
{
	if (!box_broker) {
		print_message("skipped: %s\n", broker_missing());
		skip();
	}
	return box_broker;
}
