/* Net-out, the thread of the MQTT bus: connect, subscribe, be born, then drain the out queue into
 * the broker; when the connection goes, wait with backoff and begin again.
 *
 *	rest --> session_open --> serve --> (lost) --> rest
 *	             |  refused, nobody there, no answer: BUS_DOWN
 *	             +--------------------------------> rest
 *
 * Paho's thread calls on_message (straight to the handler), on_acked and on_lost. A publish
 * carries the number of the connection it was meant for; net-out drops what comes too late, so
 * that nothing stale floods out after a reconnect. Subscriptions and the birth are net-out's own:
 * they reach it through the queue like everything else.
 *
 * A QoS 0 publish that nothing is before, and that the socket has room for, does not take this way:
 * the owner's thread writes it. That saves a copy and the waking of a thread (docs/decisions.md,
 * 46), and cannot block, which Paho's publish does in steps of 100 ms once a packet is written in
 * part. Never on Paho's own thread, which would have to write the rest. */
#include "bus/bus.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/queue.h"
#include "base/rng.h"
#include "base/trace.h"
#include "bus/bus_conf.h"
#include "bus/bus_impl.h"
#include "bus/bus_link.h"
#include "bus/bus_nodelay.h"
#include "bus/bus_out.h"
#include "bus/bus_probe.h"
#include "bus/bus_retry.h"

#define BIRTH_ANSWER_MS 3000
#define ACKS_MAX        2048 /* above what bus_link lets be unanswered */
#define PACKET_OVERHEAD 512  /* of a publish, and of TLS around it */
#define FILTER_OVERHEAD 3    /* of a filter in SUBSCRIBE: its length and options */
#define GRACE_MS        1000 /* for net-out to notice that it shall end */

struct sub {
	struct sub *next;
	int qos;
	char filter[];
};

struct mqtt {
	struct bus bus; /* first */
	struct bus_conf conf;
	bus_handler *handler;
	void *ctx;
	struct bus_link *link;
	struct bus_out *out;
	struct bus_sockets
		sockets[2]; /* of the connections with even and odd numbers; read while up */
	struct queue *acks; /* answers to QoS 1 publishes: reason + 1 */
	struct queue *done; /* closed when net-out has ended */
	pthread_t thread;

	/* Any thread. */
	atomic_bool up, lost, closing, dialling;
	atomic_int lost_reason;
	atomic_uint session; /* number of the connection */
	atomic_uint max_packet;
	_Atomic uint64_t deadline_ms; /* of closing */
	_Atomic uint64_t published, received, refused, dropped, oversized, connects;

	/* Net-out only. */
	struct bus_link_limits limits;
	uint32_t unanswered;
	uint64_t since_ms; /* the connection stands */
	struct bus_retry retry;
	bool fatal;
	struct sub *subs;
	struct out_item *birth; /* NULL: none */
};

/* ---- events ---- */

static void tell(struct mqtt *b, enum bus_event_kind kind, const char *text)
{
	struct bus_event ev = { .kind = kind, .text = text };

	if (bus_link_enter(b->link)) {
		b->handler(b->ctx, &ev);
		bus_link_leave(b->link);
	}
}

/* Of Paho's thread: the handler is being called. */
static _Thread_local bool receiving;

/* Paho's thread. Brokers honour our maximum packet size; Paho itself would accept anything. */
static void on_message(void *ctx, const char *topic, const uint8_t *payload, size_t len,
		       bool retained)
{
	struct mqtt *b = ctx;
	struct bus_event ev = {
		.kind = BUS_MESSAGE,
		.topic = topic,
		.payload = payload,
		.len = len,
		.retained = retained,
		.at_us = clock_now_us(),
	};

	if (len + strlen(topic) > b->conf.max_packet_bytes) {
		atomic_fetch_add(&b->oversized, 1);
		return;
	}
	atomic_fetch_add(&b->received, 1);
	trace_thread("net-in");
	receiving = true;
	b->handler(b->ctx, &ev);
	receiving = false;
	trace_span("receive", ev.at_us, trace_now_us(), 0);
}

/* Paho's thread. */
static void on_acked(void *ctx, int reason)
{
	struct mqtt *b = ctx;

	if (reason >= 0x80)
		atomic_fetch_add(&b->refused, 1);
	if (!queue_push(b->acks, (void *)((uintptr_t)reason + 1)))
		return; /* cannot be: there is room for all that may be unanswered */
}

/* Paho's threads. */
static void on_lost(void *ctx, int reason)
{
	struct mqtt *b = ctx;

	atomic_store(&b->lost_reason, reason);
	atomic_store(&b->lost, true);
	atomic_store(&b->up, false);
	bus_out_wake(b->out);
}

/* ---- sending ---- */

static bool overdue(struct mqtt *b)
{
	return atomic_load(&b->closing) && clock_now_ms() >= atomic_load(&b->deadline_ms);
}

/* One answer to a QoS 1 publish -> its reason code, or -1 after timeout_ms. */
static int take_answer(struct mqtt *b, long timeout_ms)
{
	void *answer = queue_pop(b->acks, timeout_ms);

	if (!answer)
		return -1;
	if (b->unanswered)
		b->unanswered--;
	return (int)((uintptr_t)answer - 1);
}

/* The broker's receive maximum is kept here: Paho would sleep 100 ms for a free place. */
static bool await_place(struct mqtt *b)
{
	while (take_answer(b, 0) >= 0)
		;
	while (b->unanswered >= b->limits.receive_max) {
		if (atomic_load(&b->lost) || overdue(b))
			return false;
		(void)!take_answer(b, 100);
	}
	return true;
}

static int send(struct mqtt *b, const struct bus_publish *p)
{
	struct bus_publish q = *p;
	uint64_t start_us = trace_now_us();
	int rc = ERR_OFFLINE;

	if (q.qos > b->limits.max_qos)
		q.qos = b->limits.max_qos;
	if (q.qos == 0 || await_place(b))
		rc = bus_link_publish(b->link, &q);
	if (rc) {
		atomic_fetch_add(&b->dropped, 1);
		return rc;
	}
	trace_span("send", start_us, trace_now_us(), 0);
	b->unanswered += q.qos > 0;
	atomic_fetch_add(&b->published, 1);
	return 0;
}

/* ---- what is remembered ---- */

static void remember_sub(struct mqtt *b, const struct bus_publish *p)
{
	size_t len = strlen(p->topic) + 1;
	struct sub *s;

	for (s = b->subs; s; s = s->next) {
		if (!strcmp(s->filter, p->topic)) {
			s->qos = p->qos;
			return;
		}
	}
	s = malloc(sizeof(*s) + len);
	if (!s) { /* subscribed now, but not after a reconnect: count it as a loss */
		atomic_fetch_add(&b->dropped, 1);
		return;
	}
	s->next = b->subs;
	s->qos = p->qos;
	memcpy(s->filter, p->topic, len);
	b->subs = s;
}

/* Take from it what must outlive it; a publish is dropped. The item is used up. */
static void keep(struct mqtt *b, struct out_item *it)
{
	if (it->kind == OUT_BIRTH) {
		if (b->birth)
			bus_out_free(b->out, b->birth);
		b->birth = it;
		return;
	}
	if (it->kind == OUT_SUBSCRIBE)
		remember_sub(b, &it->p);
	if (it->kind == OUT_PUBLISH)
		atomic_fetch_add(&b->dropped, 1);
	bus_out_free(b->out, it);
}

/* Know what has been asked for so far. */
static void catch_up(struct mqtt *b)
{
	struct out_item *it;

	while ((it = bus_out_take(b->out, 0)))
		keep(b, it);
}

/* ---- one connection ---- */

static int subscribe(struct mqtt *b, uint32_t n, const char *const filters[], const int qos[],
		     struct err *e)
{
	uint32_t refused;
	int rc = bus_link_subscribe(b->link, n, filters, qos, &refused, e);

	if (rc)
		err_wrap(e, "subscribe to %s", filters[refused]);
	return rc;
}

/* As many of the filters from *s on as one packet takes; *s becomes the next one. */
static int subscribe_some(struct mqtt *b, const struct sub **s, struct err *e)
{
	const char *filters[BUS_LINK_FILTERS];
	size_t bytes = PACKET_OVERHEAD;
	int qos[BUS_LINK_FILTERS];
	uint32_t n = 0;

	for (; *s && n < BUS_LINK_FILTERS; *s = (*s)->next) {
		bytes += strlen((*s)->filter) + FILTER_OVERHEAD;
		if (n && bytes > b->limits.max_packet)
			break;
		filters[n] = (*s)->filter;
		qos[n++] = (*s)->qos;
	}
	return subscribe(b, n, filters, qos, e);
}

static int subscribe_one(struct mqtt *b, const struct bus_publish *p, struct err *e)
{
	const char *filter = p->topic;

	return subscribe(b, 1, &filter, &p->qos, e);
}

/* Publish the birth and wait until the broker has it. A refusal is told in text, no more: the
 * connection itself is good. */
static int give_birth(struct mqtt *b, char *text, size_t cap)
{
	int reason, rc;

	if (!b->birth)
		return 0;
	rc = send(b, &b->birth->p);
	if (rc)
		return rc;
	reason = b->limits.max_qos > 0 ? take_answer(b, BIRTH_ANSWER_MS) : 0;
	if (reason >= 0x80)
		snprintf(text, cap, ", but the broker refuses the publish to %s: %s",
			 b->birth->p.topic, bus_link_reason(reason));
	return 0;
}

static int dial(struct mqtt *b, struct err *e)
{
	uint32_t ours = b->conf.max_packet_bytes;
	int rc;

	atomic_store(&b->lost, false);
	while (queue_pop(b->acks, 0))
		;
	b->unanswered = 0;
	atomic_store(&b->dialling, true);
	rc = bus_link_connect(b->link, &b->limits, e);
	atomic_store(&b->dialling, false);
	if (rc)
		return rc;
	atomic_store(&b->max_packet, b->limits.max_packet < ours ? b->limits.max_packet : ours);
	atomic_fetch_add(&b->session, 1);
	b->since_ms = clock_now_ms();
	return 0;
}

/* Connected, subscribed, born. Returns 0, or an error after which nothing is connected. A bus that
 * is being closed shall not be born any more: nobody would take the status back. */
static int session_open(struct mqtt *b, struct err *e)
{
	char text[768], slow[240] = "", mute[160] = "";
	struct err nodelay;
	int rc = dial(b, e);

	if (rc) {
		bus_retry_refused(&b->retry);
		err_wrap(e, "connect to %s:%u", b->conf.host, b->conf.port);
		return rc;
	}
	if (atomic_load(&b->closing)) {
		bus_link_disconnect(b->link);
		return err_set(e, ERR_CANCELLED, "closed");
	}
	if (bus_nodelay_set(b->conf.port, &b->sockets[atomic_load(&b->session) % 2], &nodelay))
		snprintf(slow, sizeof(slow), ", but slowly (no TCP_NODELAY: %.100s)", nodelay.text);
	catch_up(b);
	for (const struct sub *s = b->subs; s && !rc;)
		rc = subscribe_some(b, &s, e);
	if (!rc && give_birth(b, mute, sizeof(mute)))
		rc = err_set(e, ERR_IO, "connection to %s:%u lost", b->conf.host, b->conf.port);
	if (rc) {
		bus_link_disconnect(b->link);
		return rc;
	}
	atomic_fetch_add(&b->connects, 1);
	atomic_store(&b->up, true);
	snprintf(text, sizeof(text), "connected to %s:%u%s%s", b->conf.host, b->conf.port, slow,
		 mute);
	tell(b, BUS_UP, text);
	return 0;
}

/* Do what one item asks. Non-zero: end the connection. The item is used up. */
static int perform(struct mqtt *b, struct out_item *it, struct err *e)
{
	int rc = 0;

	if (it->kind == OUT_PUBLISH && it->session == atomic_load(&b->session)) {
		(void)!send(b, &it->p); /* counted; a lost connection shows itself */
		bus_out_free(b->out, it);
		return 0;
	}
	if (it->kind == OUT_SUBSCRIBE && subscribe_one(b, &it->p, e))
		rc = e->code;
	if (it->kind == OUT_BIRTH)
		(void)!send(b, &it->p);
	keep(b, it);
	return rc;
}

static void say_lost(struct mqtt *b, struct err *e)
{
	int reason = atomic_load(&b->lost_reason);

	err_set(e, ERR_OFFLINE, "connection to %s:%u lost%s%s", b->conf.host, b->conf.port,
		reason ? ": " : "", reason ? bus_link_reason(reason) : "");
}

/* Drain the queue until the connection is lost (with the reason in e) or the bus closes (0). */
static int serve(struct mqtt *b, struct err *e)
{
	struct out_item *it;
	int rc = 0;

	while (!atomic_load(&b->lost) && !overdue(b) && !rc) {
		it = bus_out_take(b->out, -1);
		if (!it)
			break; /* closing, and all is sent */
		rc = perform(b, it, e);
	}
	while (b->unanswered && !rc && !atomic_load(&b->lost) && !overdue(b))
		(void)!take_answer(b, 20);
	if (atomic_load(&b->lost)) {
		say_lost(b, e);
		return e->code;
	}
	bus_link_disconnect(b->link);
	return rc;
}

/* Two clients with one id kick each other out for ever. Who is not there any more did not do it: a
 * broker that ends again and again may be back before we try to connect. */
static void judge(struct mqtt *b, struct err *e)
{
	struct err away;

	b->fatal = bus_retry_lost(&b->retry, clock_now_ms() - b->since_ms,
				  atomic_load(&b->lost_reason) == BUS_LINK_TAKEN_OVER);
	if (bus_probe(b->conf.host, b->conf.port, &away)) {
		bus_retry_refused(&b->retry);
		b->fatal = false;
	}
	if (b->fatal)
		err_wrap(e,
			 "%d connections in a row were lost at once; another client is using the "
			 "id %s",
			 RETRY_SHORT_IN_A_ROW, b->conf.client_id);
}

/* ---- the thread ---- */

/* Wait, but keep what is asked of us meanwhile. */
static void rest(struct mqtt *b)
{
	uint64_t now = clock_now_ms(), until = now;

	until += bus_retry_delay_ms(&b->retry, b->conf.backoff_min_ms, b->conf.backoff_max_ms,
				    rng_unit(rng_entropy(), 0));
	while (!atomic_load(&b->closing) && (b->fatal || now < until)) {
		struct out_item *it = bus_out_take(b->out, b->fatal ? -1 : (long)(until - now));

		if (it)
			keep(b, it);
		now = clock_now_ms();
	}
}

static void *net_out(void *arg)
{
	struct mqtt *b = arg;
	struct err e;

	trace_thread("net-out");
	while (!atomic_load(&b->closing)) {
		int rc = session_open(b, &e);

		if (rc == 0) {
			rc = serve(b, &e);
			atomic_store(&b->up, false);
			if (rc && atomic_load(&b->lost))
				judge(b, &e);
		}
		if (rc)
			tell(b, b->fatal ? BUS_FATAL : BUS_DOWN, e.text);
		rest(b);
	}
	queue_close(b->done);
	return NULL;
}

/* Paho's threads inherit the mask: signals are for the main thread. */
static int start(struct mqtt *b)
{
	sigset_t all, old;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	rc = pthread_create(&b->thread, NULL, net_out, b);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return rc;
}

/* ---- operations of the owner thread ---- */

static int mqtt_subscribe(struct bus *bus, const char *filter, int qos)
{
	struct mqtt *b = (struct mqtt *)bus;
	struct bus_publish p = { .topic = filter, .qos = qos };

	return bus_out_put(b->out, OUT_SUBSCRIBE, &p, 0);
}

static int mqtt_set_birth(struct bus *bus, const char *topic, const char *payload)
{
	struct mqtt *b = (struct mqtt *)bus;
	struct bus_publish p = {
		.topic = topic,
		.payload = payload,
		.len = strlen(payload),
		.qos = 1,
		.retain = true,
	};

	return bus_out_put(b->out, OUT_BIRTH, &p, 0);
}

static bool may_write(struct mqtt *b, unsigned session, const struct bus_publish *p)
{
	return !receiving && !p->qos && bus_out_is_idle(b->out) &&
	       bus_sockets_have_room(&b->sockets[session % 2],
				     PACKET_OVERHEAD + strlen(p->topic) + p->len);
}

/* Straight to the broker. */
static int send_past(struct mqtt *b, const struct bus_publish *p)
{
	uint64_t start_us = trace_now_us();
	int rc = bus_link_publish(b->link, p);

	trace_span("send", start_us, trace_now_us(), 0);
	if (!rc)
		atomic_fetch_add(&b->published, 1);
	return rc;
}

static int mqtt_publish(struct bus *bus, const struct bus_publish *p)
{
	struct mqtt *b = (struct mqtt *)bus;
	unsigned session = atomic_load(&b->session);

	if (!atomic_load(&b->up)) /* after reading session: a later one is not meant */
		return ERR_OFFLINE;
	if (may_write(b, session, p) && !send_past(b, p))
		return 0;
	return bus_out_put(b->out, OUT_PUBLISH, p, session);
}

static uint32_t mqtt_max_packet(struct bus *bus)
{
	return atomic_load(&((struct mqtt *)bus)->max_packet);
}

static bool mqtt_is_up(struct bus *bus)
{
	return atomic_load(&((struct mqtt *)bus)->up);
}

static void mqtt_get_counts(struct bus *bus, struct bus_counts *n)
{
	struct mqtt *b = (struct mqtt *)bus;

	n->published = atomic_load(&b->published);
	n->received = atomic_load(&b->received);
	n->refused = atomic_load(&b->refused);
	n->dropped = atomic_load(&b->dropped);
	n->oversized = atomic_load(&b->oversized);
	n->connects = atomic_load(&b->connects);
}

/* The link stays behind (see bus_link.c); net-out must have ended or never begun. */
static void mqtt_free(struct mqtt *b)
{
	if (!b)
		return;
	bus_link_retire(b->link);
	while (b->subs) {
		struct sub *s = b->subs;

		b->subs = s->next;
		free(s);
	}
	if (b->birth)
		bus_out_free(b->out, b->birth);
	bus_out_destroy(b->out);
	queue_destroy(b->acks, NULL);
	queue_destroy(b->done, NULL);
	bus_conf_finish(&b->conf);
	free(b);
}

static bool ended_within(struct mqtt *b, uint32_t timeout_ms)
{
	(void)!queue_pop(b->done, (long)timeout_ms);
	return queue_done(b->done);
}

static void mqtt_close(struct bus *bus, uint32_t timeout_ms)
{
	struct mqtt *b = (struct mqtt *)bus;
	bool ended;

	atomic_store(&b->deadline_ms, clock_now_ms() + timeout_ms);
	atomic_store(&b->closing, true);
	bus_out_close(b->out);
	ended = ended_within(b, timeout_ms + GRACE_MS);
	if (!ended && !atomic_load(&b->dialling)) {
		bus_link_disconnect(b->link); /* frees net-out from a full socket */
		ended = ended_within(b, GRACE_MS);
	}
	if (!ended) {
		/* In a connect that nobody answers. It ends by itself, and touches only what is
		 * left to it. */
		bus_link_retire(b->link);
		pthread_detach(b->thread);
		return;
	}
	pthread_join(b->thread, NULL);
	mqtt_free(b);
}

static const struct bus_ops mqtt_ops = {
	.subscribe = mqtt_subscribe,
	.set_birth = mqtt_set_birth,
	.publish = mqtt_publish,
	.max_packet = mqtt_max_packet,
	.is_up = mqtt_is_up,
	.get_counts = mqtt_get_counts,
	.close = mqtt_close,
};

int bus_mqtt_open(struct bus **out, const struct bus_conf *conf, bus_handler *handler, void *ctx,
		  struct err *e)
{
	const struct bus_link_events events = { on_message, on_acked, on_lost };
	struct mqtt *b = calloc(1, sizeof(*b));
	int rc;

	if (!b)
		return err_set(e, ERR_NOMEM, "bus");
	b->bus.ops = &mqtt_ops;
	b->handler = handler;
	b->ctx = ctx;
	rc = bus_conf_copy(&b->conf, conf, e);
	if (rc)
		goto out;
	atomic_store(&b->max_packet, b->conf.max_packet_bytes);
	if (bus_out_create(&b->out, b->conf.queue_messages) || queue_create(&b->acks, ACKS_MAX) ||
	    queue_create(&b->done, 1)) {
		rc = err_set(e, ERR_NOMEM, "queues of the bus");
		goto out;
	}
	rc = bus_link_create(&b->link, &b->conf, &events, b, e);
	if (rc)
		goto out;
	if (start(b)) {
		rc = err_set(e, ERR_NOMEM, "thread of the bus");
		goto out;
	}
	*out = &b->bus;
	b = NULL; /* handed over */
out:
	mqtt_free(b);
	return rc;
}
