#include "tools/sim_live.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/rng.h"
#include "daemon/daemon.h"
#include "daemon/inbox.h"
#include "daemon/link.h"
#include "tools/cmd.h"
#include "tools/progress.h"
#include "tools/sim_print.h"
#include "tools/watch.h"

#define NAME       "simulate"
#define OUT_QUEUE  65536 /* messages: a fleet that comes up at once */
#define CONNECT_MS 10000
#define GOODBYE_MS 30000
#define SLICE_US   20000 /* decisions are looked for this often at least */

struct live {
	const struct scenario *s;
	struct watch_conf conf;
	struct queue *inbox;
	struct bus *bus;
	struct sim_world *world;
	uint64_t began_us;       /* 0: not connected yet */
	uint64_t unsent;         /* messages that the bus did not take */
	uint64_t heard;          /* messages from the broker */
	char said[CMD_SAID_MAX]; /* of the connection */
	bool stop;
	struct err fatal;
};

static void on_signal(void *ctx, int signal)
{
	inbox_push_signal(ctx, signal);
}

static void on_message(void *ctx, const struct topic *t, const struct msg *m, int qos, bool retain)
{
	struct live *l = ctx;

	if (link_publish(l->bus, t, m, qos, retain, 0))
		l->unsent++;
}

static int connect_bus(struct live *l, struct err *e)
{
	const struct topic decisions = { .kind = TOPIC_DECISION };
	struct topic t = decisions;
	char client[32], filter[TOPIC_MAX];
	struct bus_conf bc;
	int rc;

	snprintf(client, sizeof(client), "simulate-%016" PRIx64, rng_entropy());
	memcpy(t.fleet, l->conf.fleet, sizeof(t.fleet));
	topic_put(filter, &t);
	bc = link_conf(&l->conf.broker, client, NULL, NULL);
	bc.queue_messages = OUT_QUEUE;
	rc = bus_mqtt_open(&l->bus, &bc, inbox_bus_handler, l->inbox, e);
	if (!rc && bus_subscribe(l->bus, filter, 1))
		rc = err_set(e, ERR_NOMEM, "subscription");
	return rc;
}

static int take(struct live *l, const struct bus_event *ev)
{
	struct err e;
	struct msg m;
	int rc = 0;

	l->heard++;
	if (!ev->len || msg_parse(&m, (const char *)ev->payload, ev->len, MSG_TYPE_COUNT, &e))
		return 0; /* a real agent would log it and go on */
	if (m.type == MSG_DECISION)
		rc = sim_world_decide(l->world, &m.u.decision);
	msg_finish(&m);
	return rc;
}

static int handle(struct live *l, const struct inbox_item *item)
{
	const struct bus_event *ev = &((const struct inbox_bus *)item)->ev;

	if (item->kind == INBOX_SIGNAL) {
		l->stop = true;
		return 0;
	}
	switch (ev->kind) {
	case BUS_MESSAGE:
		return take(l, ev);
	case BUS_UP:
		l->said[0] = '\0';
		if (!l->began_us)
			l->began_us = clock_now_us();
		return 0;
	case BUS_DOWN:
		cmd_say_once("simulate", l->said, ev->text);
		return 0;
	case BUS_FATAL:
		return err_set(&l->fatal, ERR_REFUSED, "%s", ev->text);
	}
	return 0;
}

/* All that has arrived; waits for the first of it at most until the next event of the world. */
static int listen(struct live *l, uint64_t wait_us)
{
	struct inbox_item *item = queue_pop_us(l->inbox, (int64_t)wait_us);
	int rc = 0;

	while (item && !rc) {
		rc = handle(l, item);
		inbox_free(item);
		item = rc ? NULL : queue_pop_us(l->inbox, 0);
	}
	return rc;
}

static int wait_for_broker(struct live *l)
{
	uint64_t until_us = clock_now_us() + 1000 * (uint64_t)CONNECT_MS;
	int rc = 0;

	while (!rc && !l->began_us && !l->stop && clock_now_us() < until_us)
		rc = listen(l, SLICE_US);
	if (!rc && !l->began_us && !l->stop)
		rc = err_set(&l->fatal, ERR_TIMEOUT, "broker %s: no connection",
			     l->conf.broker.host);
	return rc;
}

static uint64_t until_next(const struct live *l, uint64_t now_us)
{
	uint64_t next_us = sim_world_next_us(l->world);

	if (next_us <= now_us)
		return 0;
	return next_us - now_us < SLICE_US ? next_us - now_us : SLICE_US;
}

static int play(struct live *l)
{
	const uint64_t end_us = 1000000u * (uint64_t)l->s->duration_s;
	struct progress p = { .what = NAME, .units = "s", .total = l->s->duration_s };
	uint64_t now_us = 0;
	int rc = 0;

	while (!rc && !l->stop && now_us < end_us) {
		rc = listen(l, until_next(l, now_us));
		now_us = clock_now_us() - l->began_us;
		if (!rc)
			rc = sim_world_run(l->world, now_us < end_us ? now_us : end_us);
		progress_show(&p, now_us / 1000000);
	}
	progress_clear(&p);
	return rc;
}

static void forget(struct live *l, enum topic_kind kind, const char *agent, const char *worker)
{
	struct topic t = { .kind = kind };
	char topic[TOPIC_MAX];

	memcpy(t.fleet, l->conf.fleet, sizeof(t.fleet));
	snprintf(t.agent, sizeof(t.agent), "%s", agent);
	snprintf(t.worker, sizeof(t.worker), "%s", worker);
	topic_put(topic, &t);
	l->unsent +=
		bus_publish(l->bus,
			    &(struct bus_publish){
				    .topic = topic, .payload = "", .qos = 1, .retain = true }) != 0;
}

/* Nothing of this fleet shall be left on the broker. */
static void leave(struct live *l)
{
	static const enum topic_kind kinds[] = { TOPIC_AGENT_STATUS, TOPIC_AGENT_PROFILE,
						 TOPIC_AGENT_ANSWER, TOPIC_DECISION };
	char name[TOPIC_NAME_MAX + 1];

	sim_world_leave(l->world);
	for (uint32_t i = 0; i < l->s->agents; i++) {
		sim_world_agent_name(name, i);
		for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
			forget(l, kinds[k], name, "");
	}
	for (uint32_t i = 0; i < l->s->workers; i++) {
		sim_world_worker_name(name, i);
		forget(l, TOPIC_WORKER_STATUS, "", name);
	}
}

static void tell_lost(const struct live *l)
{
	struct bus_counts n;

	bus_get_counts(l->bus, &n);
	if (l->unsent)
		fprintf(stderr, "splitmq simulate: %" PRIu64 " messages could not be sent\n",
			l->unsent);
	if (n.received > l->heard)
		fprintf(stderr, "splitmq simulate: %" PRIu64 " decisions came too fast\n",
			n.received - l->heard);
}

static int run(struct live *l, const struct sim_limits *limits, bool json, struct err *e)
{
	double seconds;
	int rc = connect_bus(l, e);

	if (!rc && sim_world_create(&l->world, l->s, limits, l->conf.fleet, on_message, l))
		rc = err_set(e, ERR_NOMEM, "simulation");
	if (rc)
		return rc;
	rc = wait_for_broker(l);
	if (!rc && l->began_us)
		rc = play(l);
	if (rc)
		return err_set(e, rc, "%s", l->fatal.code ? l->fatal.text : err_phrase(rc));
	if (!l->began_us)
		return 0;
	seconds = (double)sim_world_now_us(l->world) / 1e6;
	tell_lost(l);
	leave(l);
	rc = sim_print(l->s, sim_world_stats(l->world), NULL, seconds, json);
	return rc ? err_set(e, rc, "report") : 0;
}

int sim_live_run(const struct scenario *s, const struct sim_limits *limits, const char *config,
		 bool json, struct err *e)
{
	struct live l = { .s = s };
	int rc = watch_load(&l.conf, config, e);

	daemon_block_signals();
	if (!rc && inbox_create(&l.inbox))
		rc = err_set(e, ERR_NOMEM, "inbox");
	if (!rc && daemon_catch_signals(on_signal, l.inbox))
		rc = err_set(e, ERR_INTERNAL, "signals");
	if (!rc)
		rc = run(&l, limits, json, e);
	bus_close(l.bus, GOODBYE_MS);
	daemon_ignore_signals();
	inbox_destroy(l.inbox);
	sim_world_destroy(l.world);
	return rc;
}
