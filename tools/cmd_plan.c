/* tools/cmd_plan.c - the planner, explained. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/rng.h"
#include "daemon/daemon.h"
#include "daemon/inbox.h"
#include "daemon/link.h"
#include "schema/topic.h"
#include "tools/cmd.h"
#include "tools/commands.h"
#include "tools/plan_show.h"

#define NAME             "plan"
#define MAX_PACKET_BYTES (1u << 20)
#define FILE_BYTES       ((size_t)16 << 20)
#define SETTLE_MS        500 /* after the last message of a whole picture: others may follow */
#define GOODBYE_MS       500

struct listening {
	struct capture *capture;
	bool up; /* the broker was there */
	struct queue *inbox;
	struct bus *bus;
};

struct request {
	const char *config, *profile, *agent;
	uint32_t wait_s;
	bool json;
};

static void on_signal(void *ctx, int signal)
{
	inbox_push_signal(ctx, signal);
}

static int subscribe(struct bus *bus, const struct config_coordinator *conf, const char *agent)
{
	static const enum topic_kind wanted[] = { TOPIC_AGENT_PROFILE, TOPIC_AGENT_TELEMETRY,
						  TOPIC_WORKER_STATUS, TOPIC_WORKER_TELEMETRY,
						  TOPIC_DECISION };
	char filter[TOPIC_MAX];
	int rc = 0;

	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]) && !rc; i++) {
		struct topic t = { .kind = wanted[i] };

		snprintf(t.fleet, sizeof(t.fleet), "%s", conf->fleet);
		snprintf(t.agent, sizeof(t.agent), "%s", agent);
		topic_put(filter, &t);
		rc = bus_subscribe(bus, filter, 0);
	}
	return rc;
}

static int join(struct listening *l, const struct config_coordinator *conf, struct err *e)
{
	struct bus_conf bc;
	char client[32];
	int rc;

	snprintf(client, sizeof(client), "plan-%016" PRIx64, rng_entropy());
	bc = link_conf(&conf->broker, client, NULL, NULL);
	bc.max_packet_bytes = MAX_PACKET_BYTES;
	rc = bus_mqtt_open(&l->bus, &bc, inbox_bus_handler, l->inbox, e);
	if (rc)
		return rc;
	rc = subscribe(l->bus, conf, l->capture->agent);
	return rc ? err_set(e, rc, "%s", err_phrase(rc)) : 0;
}

/* A message that cannot be read is told and passed over: others may do. A broker that was never
 * there is not waited for. */
static int handle(struct listening *l, const struct bus_event *ev, struct err *e)
{
	struct err why = { 0 };

	l->up |= ev->kind == BUS_UP;
	if (ev->kind == BUS_FATAL || (ev->kind == BUS_DOWN && !l->up))
		return err_set(e, ev->kind == BUS_FATAL ? ERR_REFUSED : ERR_OFFLINE, "broker: %s",
			       ev->text);
	if (ev->kind == BUS_MESSAGE && ev->len &&
	    capture_message(l->capture, (const char *)ev->payload, ev->len, &why))
		fprintf(stderr, "splitmq plan: %s: %s\n", ev->topic, why.text);
	return 0;
}

/* Until the picture is whole and nothing more comes, or the time is over. */
static int listen_on(struct listening *l, uint64_t wait_ms, struct err *e)
{
	const uint64_t end_ms = clock_now_ms() + wait_ms;
	int rc = 0;

	while (!rc) {
		uint64_t now_ms = clock_now_ms();
		int64_t left_ms = now_ms < end_ms ? (int64_t)(end_ms - now_ms) : 0;
		bool whole = capture_is_whole(l->capture);
		struct inbox_item *item;

		item = queue_pop(l->inbox, whole && left_ms > SETTLE_MS ? SETTLE_MS : (int)left_ms);
		if (!item)
			return 0;
		if (item->kind == INBOX_SIGNAL)
			rc = err_set(e, ERR_CANCELLED, "interrupted");
		else
			rc = handle(l, &((struct inbox_bus *)item)->ev, e);
		inbox_free(item);
	}
	return rc;
}

static int ask_broker(struct capture *c, const struct config_coordinator *conf, uint64_t wait_ms,
		      struct err *e)
{
	struct listening l = { .capture = c };
	int rc = 0;

	daemon_block_signals();
	if (inbox_create(&l.inbox))
		rc = err_set(e, ERR_NOMEM, "inbox");
	if (!rc && daemon_catch_signals(on_signal, l.inbox))
		rc = err_set(e, ERR_INTERNAL, "signals");
	if (!rc)
		rc = join(&l, conf, e);
	if (!rc)
		fprintf(stderr, "splitmq plan: listening, for %u s at most\n",
			(unsigned)(wait_ms / 1000));
	if (!rc)
		rc = listen_on(&l, wait_ms, e);
	if (!rc && c->has_profile && !capture_is_whole(c))
		fprintf(stderr, "splitmq plan: not everybody has told how fast it is: agents and "
				"workers do every telemetry_s (10 s by default); --wait longer?\n");
	bus_close(l.bus, GOODBYE_MS);
	daemon_ignore_signals();
	inbox_destroy(l.inbox);
	return rc;
}

static int read_file(struct capture *c, const char *path, struct err *e)
{
	char *text = NULL;
	size_t len;
	int rc = cmd_read_file(path, FILE_BYTES, &text, &len, e);

	if (!rc)
		rc = capture_lines(c, path, text, len, e);
	free(text);
	return rc;
}

static int show(const struct capture *c, const struct config_coordinator *conf, bool json,
		struct err *e)
{
	struct plan_case *p = NULL;
	struct cal *cal = NULL;
	int rc = plan_case_calibration(&cal, conf, c, e);

	if (!rc)
		rc = plan_case_best(&p, c, conf, cal, e);
	if (!rc && json && plan_show_json(p, c->agent))
		rc = err_set(e, ERR_NOMEM, "the plan as JSON");
	else if (!rc && !json)
		plan_show_text(p, c->agent);
	plan_case_destroy(p);
	cal_close(cal);
	return rc;
}

static int plan(const struct request *o)
{
	struct config_coordinator *conf = calloc(1, sizeof(*conf));
	struct capture *c = calloc(1, sizeof(*c));
	struct err e = { 0 };
	int rc = conf && c ? 0 : err_set(&e, ERR_NOMEM, "%s", err_phrase(ERR_NOMEM));

	if (!rc)
		rc = config_load_coordinator(conf, o->config, &e);
	if (!rc && o->agent)
		snprintf(c->agent, sizeof(c->agent), "%s", o->agent);
	if (!rc)
		rc = o->profile ? read_file(c, o->profile, &e)
				: ask_broker(c, conf, o->wait_s * 1000ull, &e);
	if (!rc && !c->has_profile)
		rc = err_set(&e, ERR_NOT_FOUND, "%s has no profile of %s%s%s%s",
			     o->profile ? o->profile : conf->broker.host,
			     o->agent ? "agent " : "any agent", o->agent ? o->agent : "",
			     c->other[0] ? ", but one of " : "", c->other);
	if (!rc)
		rc = show(c, conf, o->json, &e);
	if (c)
		capture_finish(c);
	free(c);
	free(conf);
	return rc ? cmd_fail(NAME, &e) : CMD_OK;
}

static int take_name(void *place, const char *text, struct err *e)
{
	const char **name = place;

	*name = text;
	return topic_name_ok(text) ? 0 : err_set(e, ERR_USAGE, "\"%s\" is no name", text);
}

static const struct options_row options[] = {
	{ 'c', "config", "FILE", OPTIONS_TEXT(struct request, config), .needed = true,
	  .help = "configuration of the coordinator: policy, limits, calibration" },
	{ 0, "profile", "FILE", OPTIONS_TEXT(struct request, profile),
	  .help = "captured messages, - for stdin; no broker is asked" },
	{ 0, "agent", "NAME", OPTIONS_TAKEN(struct request, agent, take_name), .help = "whose plan",
	  .preset = "the first that is heard" },
	{ 0, "wait", "S", OPTIONS_U32(struct request, wait_s, 1, 3600), .unit = "seconds",
	  .help = "how long to listen at the broker" },
	{ 0, "json", NULL, OPTIONS_FLAG(struct request, json), .help = "one JSON object" },
};

const struct options_table cmd_plan_options = {
	.program = "splitmq " NAME,
	.summary = "what a coordinator would decide for an agent, and why",
	.synopsis = "-c FILE [--profile FILE] [--agent NAME] [--json]",
	.about =
		"Tells what the coordinator would decide for an agent, what is next best, and what "
		"speaks against each other split. Facts are what agents and workers say: for some "
		"seconds on the broker, or in a file with a message a line, as from\n"
		"  mosquitto_sub -W 15 -t 'splitmq/v1/default/agent/gw/profile' \\\n"
		"    -t 'splitmq/v1/default/agent/gw/telemetry' -t 'splitmq/v1/default/worker/+/+'",
	OPTIONS_ROWS(options),
};

int cmd_plan(int argc, char **argv)
{
	struct request o = { .wait_s = 15 };
	int rc = options_read(&cmd_plan_options, &o, argc, argv);

	return rc != OPTIONS_GO_ON ? rc : plan(&o);
}
