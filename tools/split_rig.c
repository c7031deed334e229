#include "tools/split_rig.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "daemon/inbox.h"
#include "schema/msg.h"
#include "tools/child.h"
#include "tools/cmd.h"
#include "tools/private_broker.h"

#define READY_MS  60000
#define STOP_MS   3000
#define FLEET     "bench"
#define WORKER    "worker"
#define STATUS    "splitmq/v1/" FLEET "/worker/" WORKER "/status"
#define DAY_MS    "86400000"
#define WORDS_MAX ((size_t)1 << 20)

struct split_rig {
	struct split_rig_conf conf;
	char model[CONFIG_PATH_MAX]; /* absolute */
	char log[512];               /* the worker's output */
	struct private_broker *broker;
	struct child worker;
	struct relay *relay;
};

/* What both programs are told, in YAML. */
static void print_common(FILE *f, const struct split_rig *r, uint16_t port)
{
	fprintf(f, "fleet: " FLEET "\nmodel: \"%s\"\nthreads: %u\ncontext_tokens: %u\nkv: %s\n",
		r->model, (unsigned)r->conf.threads, (unsigned)r->conf.context_tokens, r->conf.kv);
	if (r->conf.has_spin)
		fprintf(f, "spin_us: %u\n", (unsigned)r->conf.spin_us);
	fprintf(f, "telemetry_s: 0\nlog: warn\nbroker: {host: 127.0.0.1, port: %u}\n",
		(unsigned)port);
}

static int write_worker_conf(const struct split_rig *r, const char *path, struct err *e)
{
	FILE *f = fopen(path, "w");

	if (!f)
		return err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
	fprintf(f, "worker: " WORKER "\nfirst_layer: %u\n",
		r->conf.any_split ? 0 : (unsigned)r->conf.split);
	print_common(f, r, split_rig_port(r));
	return fclose(f) ? err_set(e, ERR_IO, "%s: %s", path, strerror(errno)) : 0;
}

static int start_worker(struct split_rig *r, struct err *e)
{
	char conf[512], path[CONFIG_PATH_MAX], trace[CONFIG_PATH_MAX];
	char option[] = "-c", to[] = "--trace";
	char *const argv[] = { path, option, conf, r->conf.trace ? to : NULL, trace, NULL };
	const char *folder = private_broker_folder(r->broker);
	int rc = child_find(path, sizeof(path), "worker", "splitmq-worker", e);

	snprintf(conf, sizeof(conf), "%s/worker.yaml", folder);
	snprintf(trace, sizeof(trace), "%s", r->conf.trace ? r->conf.trace : "");
	snprintf(r->log, sizeof(r->log), "%s/worker.log", folder);
	if (!rc)
		rc = write_worker_conf(r, conf, e);
	return rc ? rc : child_start(&r->worker, argv, r->log, e);
}

/* The last line that the worker wrote. */
static int gave_up(const struct split_rig *r, struct err *e)
{
	char *text = NULL, *line;
	size_t len = 0;

	if (cmd_read_file(r->log, WORDS_MAX, &text, &len, NULL) || !len) {
		free(text);
		return err_set(e, ERR_STATE, "the worker ended at once");
	}
	while (len && text[len - 1] == '\n')
		text[--len] = '\0';
	line = strrchr(text, '\n');
	err_set(e, ERR_STATE, "the worker ended: %s", line ? line + 1 : text);
	free(text);
	return ERR_STATE;
}

/* Is it a status of a worker that takes sessions? */
static bool says_ready(const struct inbox_item *item)
{
	const struct bus_event *ev = &((const struct inbox_bus *)item)->ev;
	struct msg m;
	bool ready;

	if (item->kind != INBOX_BUS || ev->kind != BUS_MESSAGE ||
	    msg_parse(&m, (const char *)ev->payload, ev->len, MSG_TYPE_COUNT, NULL))
		return false;
	ready = m.type == MSG_WORKER_STATUS && m.u.worker_status.state == MSG_READY;
	msg_finish(&m);
	return ready;
}

static int await_ready(struct split_rig *r, struct queue *inbox, struct err *e)
{
	const uint64_t until = clock_now_ms() + READY_MS;
	bool ready = false;

	while (!ready) {
		struct inbox_item *item = queue_pop(inbox, 20);

		ready = item && says_ready(item);
		if (item)
			inbox_free(item);
		if (!child_runs(&r->worker))
			return gave_up(r, e);
		if (clock_now_ms() > until)
			return err_set(e, ERR_TIMEOUT, "the worker is not ready after a minute");
	}
	return 0;
}

static int await_worker(struct split_rig *r, struct err *e)
{
	const struct bus_conf conf = { .host = "127.0.0.1",
				       .port = split_rig_port(r),
				       .client_id = "bench-watch" };
	struct queue *inbox = NULL;
	struct bus *bus = NULL;
	int rc = inbox_create(&inbox);

	if (rc)
		return err_set(e, rc, "inbox");
	rc = bus_mqtt_open(&bus, &conf, inbox_bus_handler, inbox, e);
	if (!rc && bus_subscribe(bus, STATUS, 1))
		rc = err_set(e, ERR_NOMEM, "subscription");
	if (!rc)
		rc = await_ready(r, inbox, e);
	bus_close(bus, 100);
	inbox_destroy(inbox);
	return rc;
}

static int start_link(struct split_rig *r, struct err *e)
{
	struct relay_conf *c = &r->conf.link;

	if (!c->delay_us && !c->jitter_us && !c->rate_bit_s)
		return 0;
	c->to_host = "127.0.0.1";
	c->to_port = split_rig_port(r);
	return relay_start(&r->relay, c, e);
}

int split_rig_start(struct split_rig **out, const struct split_rig_conf *conf, struct err *e)
{
	struct split_rig *r = calloc(1, sizeof(*r));
	char *absolute;
	int rc = 0;

	if (!r)
		return err_set(e, ERR_NOMEM, "out of memory");
	r->conf = *conf;
	absolute = realpath(conf->model, NULL);
	if (!absolute || strlen(absolute) >= sizeof(r->model) || strpbrk(absolute, "\"\\"))
		rc = err_set(e, ERR_IO, "%s: no such file, or its path is unusual", conf->model);
	else
		snprintf(r->model, sizeof(r->model), "%s", absolute);
	free(absolute);
	if (!rc)
		rc = private_broker_start(&r->broker, e);
	if (!rc)
		rc = start_worker(r, e);
	if (!rc)
		rc = await_worker(r, e);
	if (!rc)
		rc = start_link(r, e);
	if (rc) {
		split_rig_stop(r);
		return rc;
	}
	*out = r;
	return 0;
}

void split_rig_stop(struct split_rig *r)
{
	if (!r)
		return;
	relay_stop(r->relay);
	child_stop(&r->worker, STOP_MS);
	private_broker_stop(r->broker);
	free(r);
}

uint16_t split_rig_port(const struct split_rig *r)
{
	return private_broker_port(r->broker);
}

uint16_t split_rig_agent_port(const struct split_rig *r)
{
	return r->relay ? relay_port(r->relay) : split_rig_port(r);
}

int split_rig_agent(const struct split_rig *r, struct config_agent *c, struct err *e)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	int rc;

	if (!f)
		return err_set(e, ERR_NOMEM, "out of memory");
	fprintf(f, "agent: agent\nsplit: %u\ncodec: \"%s\"\nrun_ahead: %s\ndrafts: %u\n",
		(unsigned)r->conf.split, r->conf.codec, r->conf.run_ahead ? "yes" : "no",
		(unsigned)r->conf.drafts);
	/* a slow link and a large prompt are no reason to send again */
	fprintf(f, "timeouts: {accept_ms: 60000, reply_ms: 600000, session_ms: " DAY_MS "}\n");
	print_common(f, r, split_rig_agent_port(r));
	rc = fclose(f) ? err_set(e, ERR_NOMEM, "out of memory")
		       : config_parse_agent(c, "agent", text, len, e);
	free(text);
	return rc;
}
