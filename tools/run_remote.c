/* tools/run_remote.c - the prompt goes to the agent's daemon, replies come back on a topic. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/rng.h"
#include "base/trace.h"
#include "daemon/daemon.h"
#include "daemon/inbox.h"
#include "daemon/link.h"
#include "tools/run.h"

#define CONNECT_MS 5000
#define STATUS_MS  500    /* for the retained status, once connected */
#define TOLD_MS    1000   /* without a connection, until it is said what is waited for */
#define SILENT_MS  3000   /* without an answer */
#define SLACK_MS   5000   /* beyond the session's deadline: the reply's own way */
#define LOST_MS    35000u /* longer than the agent waits between attempts to connect */
#define GOODBYE_MS 500

struct remote {
	struct run *r;
	struct queue *inbox;
	struct bus *bus;
	bool up, interrupted;
	bool seen;                     /* a status of the agent came */
	struct msg_agent_status agent; /* newest */
	uint64_t asked_boot;           /* of the agent that was asked */
	uint64_t lost_ms; /* since when it is out of the broker's sight; 0: it is there */
	uint64_t asked_us, piece_us; /* when the prompt went out, and the newest reply came */
	uint32_t n_pieces;
	struct err broken; /* a reply of ours that cannot be read */
	char down[160];    /* why there is no connection */
};

static struct topic topic_of(const struct run *r, enum topic_kind kind)
{
	struct topic t = { .kind = kind };

	snprintf(t.fleet, sizeof(t.fleet), "%s", r->conf.fleet);
	snprintf(t.agent, sizeof(t.agent), "%s", r->conf.agent);
	if (kind == TOPIC_AGENT_REPLY)
		snprintf(t.reply, sizeof(t.reply), "%s", r->prompt.id);
	return t;
}

/* A Last Will means little: the link may be back in a moment, and the agent goes on meanwhile. */
static void note_status(struct remote *m, const struct msg_agent_status *st)
{
	bool there = st->state != MSG_LOST && st->state != MSG_OFFLINE;

	if (m->asked_boot && !there && st->boot != m->asked_boot)
		return; /* late: of an earlier life */
	m->seen = true;
	m->agent = *st;
	if (there)
		m->lost_ms = 0;
	else if (!m->lost_ms)
		m->lost_ms = clock_now_ms();
}

/* The agent's threads are not ours: what the replies tell. The parts of a token are the means of
 * the last one. */
static void draw_reply(struct remote *m, const struct msg_reply *reply, uint64_t now_us)
{
	const struct msg_stats *s = &reply->stats;
	const struct {
		const char *name;
		double ms;
	} parts[] = {
		{ "head", s->head_ms },   { "encode", s->encode_ms },
		{ "broker", s->wire_ms }, { "queue", s->worker_queue_ms },
		{ "tail", s->worker_ms }, { "other", s->other_ms },
	};
	uint64_t at_us = m->asked_us + (uint64_t)(s->ttft_ms * 1000);

	trace_track(0, reply->done ? "last reply" : "piece", m->piece_us, now_us, m->n_pieces++);
	m->piece_us = now_us;
	if (!reply->done)
		return;
	trace_track(0, "prompt", m->asked_us, now_us, 0);
	trace_track_name(1, "mean token of the reply");
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		uint64_t len_us = (uint64_t)(parts[i].ms * 1000 + 0.5);

		trace_track(1, parts[i].name, at_us, at_us + len_us, 0);
		at_us += len_us;
	}
}

static void on_message(struct remote *m, const struct bus_event *ev)
{
	struct err e = { 0 };
	struct msg msg;

	if (!ev->len)
		return;
	if (msg_parse(&msg, (const char *)ev->payload, ev->len, MSG_TYPE_COUNT, &e)) {
		if (strstr(ev->topic, "/reply/"))
			m->broken = e;
		return;
	}
	if (msg.type == MSG_AGENT_STATUS)
		note_status(m, &msg.u.agent_status);
	if (msg.type == MSG_REPLY && !strcmp(msg.u.reply.id, m->r->prompt.id)) {
		draw_reply(m, &msg.u.reply, ev->at_us);
		run_show(m->r, &msg.u.reply);
	}
	msg_finish(&msg);
}

/* Take one item, wait at most ms. */
static void turn(struct remote *m, long ms)
{
	struct inbox_item *item = queue_pop(m->inbox, ms);
	const struct bus_event *ev;

	if (!item)
		return;
	ev = &((struct inbox_bus *)item)->ev;
	if (item->kind == INBOX_SIGNAL) {
		m->interrupted = true;
	} else if (ev->kind == BUS_MESSAGE) {
		on_message(m, ev);
	} else {
		m->up = ev->kind == BUS_UP;
		snprintf(m->down, sizeof(m->down), "%.159s", ev->text);
	}
	inbox_free(item);
}

static int subscribe(struct remote *m, enum topic_kind kind)
{
	struct topic t = topic_of(m->r, kind);
	char filter[TOPIC_MAX];

	topic_put(filter, &t);
	return bus_subscribe(m->bus, filter, 1);
}

static int connect_bus(struct remote *m, struct err *e)
{
	char client[2 * TOPIC_NAME_MAX + 8];
	struct bus_conf bc;
	int rc;

	snprintf(client, sizeof(client), "%.64s-%.64s", m->r->conf.agent, m->r->prompt.id);
	bc = link_conf(&m->r->conf.broker, client, NULL, NULL);
	rc = bus_mqtt_open(&m->bus, &bc, inbox_bus_handler, m->inbox, e);
	if (!rc && (subscribe(m, TOPIC_AGENT_STATUS) || subscribe(m, TOPIC_AGENT_REPLY)))
		rc = err_set(e, ERR_NOMEM, "subscriptions");
	return rc;
}

/* Once, on a terminal or off it. */
static void tell(bool *told, const char *what, const char *which)
{
	if (!*told)
		fprintf(stderr, "splitmq run: waiting for %s (%s)\n", what, which);
	*told = true;
}

static int await_broker(struct remote *m, struct err *e)
{
	const uint64_t begun = clock_now_ms();
	bool told = false;

	snprintf(m->down, sizeof(m->down), "%.128s:%u does not answer", m->r->conf.broker.host,
		 m->r->conf.broker.port);
	while (!m->up && !m->interrupted && clock_now_ms() < begun + CONNECT_MS) {
		turn(m, 50);
		if (!m->up && clock_now_ms() >= begun + TOLD_MS)
			tell(&told, "the broker", m->down);
	}
	if (m->interrupted)
		return err_set(e, ERR_CANCELLED, "interrupted");
	return m->up ? 0
		     : err_set(e, ERR_OFFLINE, "no broker within %d s: %s", CONNECT_MS / 1000,
			       m->down);
}

/* Connected, and the daemon's retained status seen. */
static int find_agent(struct remote *m, struct err *e)
{
	uint64_t until;

	if (await_broker(m, e))
		return e->code;
	until = clock_now_ms() + STATUS_MS;
	while (!(m->seen && m->agent.state == MSG_READY) && !m->interrupted &&
	       clock_now_ms() < until)
		turn(m, 10);
	if (!m->seen || m->lost_ms)
		return err_set(e, ERR_NOT_FOUND, "agent %s is not running", m->r->conf.agent);
	if (m->agent.state != MSG_READY) /* taking its place now would throw it off the broker */
		return err_set(e, ERR_BUSY, "agent %s is %s", m->r->conf.agent,
			       msg_state_name(m->agent.state));
	m->asked_boot = m->agent.boot;
	return 0;
}

static void cancel(struct remote *m)
{
	struct topic t = topic_of(m->r, TOPIC_AGENT_PROMPT);
	struct msg msg = { .type = MSG_CANCEL };

	snprintf(msg.u.cancel.id, sizeof(msg.u.cancel.id), "%s", m->r->prompt.id);
	(void)!link_publish(m->bus, &t, &msg, 1, false, 0);
}

/* Why there is no use in waiting on; false while there is. */
static bool is_hopeless(const struct remote *m, struct err *e)
{
	const char *agent = m->r->conf.agent;

	if (m->interrupted)
		err_set(e, ERR_CANCELLED, "interrupted");
	else if (m->broken.code)
		err_set(e, m->broken.code, "reply of agent %s: %.150s", agent, m->broken.text);
	else if (m->agent.boot != m->asked_boot)
		err_set(e, ERR_CANCELLED, "agent %s was started anew and forgot the prompt", agent);
	else if (m->agent.state == MSG_OFFLINE)
		err_set(e, ERR_CANCELLED, "agent %s went away before it replied", agent);
	else if (m->lost_ms && clock_now_ms() > m->lost_ms + LOST_MS)
		err_set(e, ERR_TIMEOUT, "agent %s is lost since %u s", agent, LOST_MS / 1000);
	else
		return false;
	return true;
}

static int ask(struct remote *m, struct err *e)
{
	struct topic t = topic_of(m->r, TOPIC_AGENT_PROMPT);
	struct msg msg = { .type = MSG_PROMPT, .u.prompt = m->r->prompt };
	uint32_t patience_ms = m->r->prompt.deadline_ms ? m->r->prompt.deadline_ms
							: m->r->conf.session_deadline_ms;
	const uint64_t begun = clock_now_ms(), until = begun + patience_ms + SLACK_MS;
	bool told = false;
	int rc;

	m->asked_us = m->piece_us = trace_now_us();
	rc = link_publish(m->bus, &t, &msg, 1, false, 0);
	if (rc)
		return err_set(e, rc, "prompt to agent %s: %s", m->r->conf.agent, err_phrase(rc));
	while (!m->r->done && !is_hopeless(m, e) && clock_now_ms() < until) {
		turn(m, 100);
		if (!m->n_pieces && clock_now_ms() >= begun + SILENT_MS)
			tell(&told, "an answer of the agent", m->r->conf.agent);
	}
	if (m->r->done)
		return 0;
	cancel(m);
	if (e->code)
		return e->code;
	return err_set(e, ERR_TIMEOUT, "agent %s did not reply", m->r->conf.agent);
}

static void on_signal(void *ctx, int signal)
{
	inbox_push_signal(ctx, signal);
}

int run_remote(struct run *r, struct err *e)
{
	struct remote m = { .r = r };
	int rc = inbox_create(&m.inbox);

	if (rc)
		return err_set(e, rc, "inbox");
	rc = connect_bus(&m, e);
	if (!rc)
		rc = find_agent(&m, e);
	if (!rc && daemon_catch_signals(on_signal, m.inbox))
		rc = err_set(e, ERR_INTERNAL, "signals");
	if (!rc)
		rc = ask(&m, e);
	bus_close(m.bus, GOODBYE_MS);
	daemon_ignore_signals();
	inbox_destroy(m.inbox);
	return rc;
}
