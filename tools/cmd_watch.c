/* tools/cmd_watch.c - live traffic of a fleet, decoded. */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/rng.h"
#include "daemon/daemon.h"
#include "daemon/inbox.h"
#include "daemon/link.h"
#include "schema/topic.h"
#include "tools/cmd.h"
#include "tools/commands.h"
#include "tools/watch.h"

#define NAME             "watch"
#define MAX_PACKET_BYTES (16u << 20) /* more than any node of the fleet should send */
#define GOODBYE_MS       500

struct watch {
	const char *config, *filter;
	uint64_t count; /* 0: no end */
	bool json;
	struct queue *inbox;
	struct bus *bus;
	unsigned long long shown;
	char said[CMD_SAID_MAX]; /* of the connection */
};

static void on_signal(void *ctx, int signal)
{
	inbox_push_signal(ctx, signal);
}

static int connect_bus(struct watch *w, const struct watch_conf *c, struct err *e)
{
	char client[32], all[TOPIC_MAX];
	const char *filter = w->filter ? w->filter : all;
	struct bus_conf bc;
	int rc;

	snprintf(client, sizeof(client), "watch-%016" PRIx64, rng_entropy());
	snprintf(all, sizeof(all), "splitmq/v1/%s/#", c->fleet);
	bc = link_conf(&c->broker, client, NULL, NULL);
	bc.max_packet_bytes = MAX_PACKET_BYTES;
	rc = bus_mqtt_open(&w->bus, &bc, inbox_bus_handler, w->inbox, e);
	if (rc)
		return rc;
	rc = bus_subscribe(w->bus, filter, 0);
	if (rc == ERR_USAGE)
		return err_set(e, rc, "\"%s\" is not a topic filter", filter);
	return rc ? err_set(e, rc, "%s", err_phrase(rc)) : 0;
}

/* 0: go on; 1: enough; ERR_*: no use. */
static int handle(struct watch *w, const struct bus_event *ev, struct err *e)
{
	switch (ev->kind) {
	case BUS_UP:
	case BUS_DOWN:
		cmd_say_once(NAME, w->said, ev->text);
		return 0;
	case BUS_FATAL:
		return err_set(e, ERR_REFUSED, "%s", ev->text);
	case BUS_MESSAGE:
		break;
	}
	watch_show(ev, clock_wall_ms(), w->json);
	if (fflush(stdout) || ferror(stdout))
		return err_set(e, ERR_IO, "standard output cannot be written");
	return ++w->shown == w->count;
}

static int loop(struct watch *w, struct err *e)
{
	int rc = 0;

	while (!rc) {
		struct inbox_item *item = queue_pop(w->inbox, -1);

		if (item->kind == INBOX_SIGNAL)
			rc = 1;
		else
			rc = handle(w, &((struct inbox_bus *)item)->ev, e);
		inbox_free(item);
	}
	return rc < 0 ? rc : 0;
}

/* When messages come faster than a terminal shows them, the inbox drops. */
static void tell_missed(const struct watch *w)
{
	struct bus_counts n;

	bus_get_counts(w->bus, &n);
	if (n.received > w->shown && w->shown != w->count)
		fprintf(stderr, "splitmq watch: %llu messages came too fast to be shown\n",
			n.received - w->shown);
}

static int watch(struct watch *w)
{
	struct watch_conf conf;
	struct err e;
	int rc = watch_load(&conf, w->config, &e);

	daemon_block_signals();
	if (!rc && inbox_create(&w->inbox))
		rc = err_set(&e, ERR_NOMEM, "inbox");
	if (!rc && daemon_catch_signals(on_signal, w->inbox))
		rc = err_set(&e, ERR_INTERNAL, "signals");
	if (!rc)
		rc = connect_bus(w, &conf, &e);
	if (!rc)
		rc = loop(w, &e);
	if (!rc)
		tell_missed(w);
	bus_close(w->bus, GOODBYE_MS);
	daemon_ignore_signals();
	inbox_destroy(w->inbox);
	return rc ? cmd_fail(NAME, &e) : CMD_OK;
}

static const struct options_row options[] = {
	{ 'c', "config", "FILE", OPTIONS_TEXT(struct watch, config), .needed = true,
	  .help = "configuration of an agent, a worker or a coordinator" },
	{ 0, "FILTER", NULL, OPTIONS_TEXT(struct watch, filter), .operand = true,
	  .help = "MQTT topic filter", .preset = "splitmq/v1/<fleet>/#" },
	{ 'n', "count", "COUNT", OPTIONS_U64(struct watch, count, 1, OPTIONS_ANY),
	  .help = "end after so many messages", .preset = "never" },
	{ 0, "json", NULL, OPTIONS_FLAG(struct watch, json),
	  .help = "one JSON object per message instead of text" },
};

const struct options_table cmd_watch_options = {
	.program = "splitmq " NAME,
	.summary = "live traffic of a fleet, decoded",
	.synopsis = "-c FILE [FILTER] [-n COUNT] [--json]",
	.about = "Prints every message that the broker lets the FILE's user read: time, topic, and "
		 "the control message as JSON or the frame with its header, bits per element and "
		 "range, until Ctrl-C. Prompts and answers are shown too.",
	OPTIONS_ROWS(options),
};

int cmd_watch(int argc, char **argv)
{
	struct watch w = { 0 };
	int rc = options_read(&cmd_watch_options, &w, argc, argv);

	return rc != OPTIONS_GO_ON ? rc : watch(&w);
}
