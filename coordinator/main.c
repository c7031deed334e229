/* coordinator/main.c - splitmq-coordinator: keeps the roster, publishes decisions. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/rng.h"
#include "config/config.h"
#include "coordinator/core.h"
#include "daemon/daemon.h"
#include "daemon/inbox.h"
#include "daemon/link.h"
#include "daemon/options.h"

#define NAME       "splitmq-coordinator"
#define GOODBYE_MS 1000
#define TICK_MS    200
#define MANY       64 /* messages that wait: a fleet tells of itself at once */

struct coordinator {
	const struct config_coordinator *conf;
	struct queue *inbox;
	struct bus *bus;
	struct coordinator_core core;
	bool stop;
	struct err fatal;
};

static int fail(const struct err *e)
{
	fprintf(stderr, NAME ": %s\n", e->text);
	return 1;
}

static int open_bus(struct coordinator *c, struct err *e)
{
	struct topic t = { .kind = TOPIC_COORDINATOR_STATUS };
	struct msg will = { .type = MSG_COORDINATOR_STATUS,
			    .u.coordinator_status = { .state = MSG_LOST, .boot = c->core.boot } };
	int rc;

	snprintf(t.fleet, sizeof(t.fleet), "%s", c->conf->fleet);
	snprintf(t.coordinator, sizeof(t.coordinator), "%s", c->conf->coordinator);
	memcpy(will.u.coordinator_status.coordinator, t.coordinator, sizeof(t.coordinator));
	rc = link_open(&c->bus, &c->conf->broker, &t, &will, inbox_patient_handler, c->inbox, e);
	if (rc)
		return rc;
	rc = coordinator_core_start(&c->core, c->bus);
	return rc ? err_set(e, rc, "subscriptions") : 0;
}

static void on_bus(struct coordinator *c, const struct bus_event *ev)
{
	const struct config_broker *b = &c->conf->broker;
	uint64_t now_ms = clock_now_ms();

	if (ev->kind == BUS_MESSAGE) {
		coordinator_core_message(&c->core, ev, now_ms);
	} else if (ev->kind == BUS_UP) {
		log_event(LOG_LEVEL_INFO, "broker.connected", "host=%s port=%u note=%s", b->host,
			  b->port, LOG_QUOTED(ev->text));
		coordinator_core_link(&c->core, true, now_ms);
	} else {
		log_event(LOG_LEVEL_WARN, ev->kind == BUS_DOWN ? "broker.lost" : "broker.gave_up",
			  "host=%s port=%u reason=%s", b->host, b->port, LOG_QUOTED(ev->text));
		coordinator_core_link(&c->core, false, now_ms);
	}
	if (ev->kind == BUS_FATAL)
		err_set(&c->fatal, ERR_REFUSED, "broker %s: %s", b->host, ev->text);
}

static void loop(struct coordinator *c)
{
	bool more = false; /* to decide */

	while (!c->stop && !c->fatal.code) {
		struct inbox_item *item = queue_pop(c->inbox, more ? 0 : TICK_MS);

		c->core.behind = queue_length(c->inbox) >= MANY;
		if (item && item->kind == INBOX_BUS)
			on_bus(c, &((struct inbox_bus *)item)->ev);
		else if (item && item->kind == INBOX_SIGNAL)
			c->stop = true;
		if (item)
			inbox_free(item);
		more = coordinator_core_tick(&c->core, clock_now_ms());
	}
}

static void on_signal(void *ctx, int signal)
{
	struct coordinator *c = ctx;

	inbox_push_signal(c->inbox, signal);
}

static int serve(const struct config_coordinator *conf)
{
	struct coordinator c = { .conf = conf };
	struct err e = { 0 };
	int rc;

	daemon_block_signals();
	c.core = (struct coordinator_core){ .conf = conf, .boot = rng_entropy() | 1 };
	rc = inbox_create(&c.inbox);
	if (!rc)
		rc = open_bus(&c, &e);
	if (!rc && daemon_catch_signals(on_signal, &c))
		rc = err_set(&e, ERR_INTERNAL, "signals");
	if (!rc) {
		log_event(LOG_LEVEL_INFO, "coordinator.started", "coordinator=%s fleet=%s",
			  conf->coordinator, conf->fleet);
		loop(&c);
		if (coordinator_core_goodbye(&c.core, clock_now_ms()))
			log_event(LOG_LEVEL_DEBUG, "status.failed", "state=offline");
		e = c.fatal;
		rc = c.fatal.code;
	}
	daemon_ignore_signals();
	bus_close(c.bus, GOODBYE_MS);
	coordinator_core_finish(&c.core);
	inbox_destroy(c.inbox);
	log_event(LOG_LEVEL_INFO, "coordinator.stopped", "coordinator=%s", conf->coordinator);
	return rc ? fail(&e) : 0;
}

int main(int argc, char **argv)
{
	static struct config_coordinator conf;
	struct daemon_args args;
	struct err e = { 0 };
	enum log_level level;
	int rc = daemon_parse(&args, argc, argv,
			      "Keeps the roster of a fleet and tells each agent how to split.",
			      SPLITMQ_VERSION, false);

	if (rc >= 0)
		return rc;
	if (config_load_coordinator(&conf, args.config, &e))
		return fail(&e);
	config_warn_environment(stderr);
	if (coordinator_check(&conf, &e)) {
		err_wrap(&e, "%s", args.config);
		return fail(&e);
	}
	if (!log_level_parse(&level, conf.log))
		log_set_level(level);
	if (args.print_config) {
		config_print_coordinator(&conf, stdout);
		return options_finish(NAME, 0);
	}
	if (args.check && link_check(&conf.broker, &e))
		return fail(&e);
	if (args.check) {
		printf("ok: coordinator %s of fleet %s\n", conf.coordinator, conf.fleet);
		return options_finish(NAME, 0);
	}
	return serve(&conf);
}
