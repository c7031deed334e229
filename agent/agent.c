#include "agent/agent.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/core.h"
#include "agent/fallback.h"
#include "agent/fronts.h"
#include "agent/head.h"
#include "agent/lens.h"
#include "agent/move.h"
#include "agent/offline.h"
#include "agent/profile.h"
#include "agent/recast.h"
#include "agent/rehearsal.h"
#include "agent/reply.h"
#include "agent/report.h"
#include "agent/seat.h"
#include "agent/settings.h"
#include "agent/slot.h"
#include "agent/sounding.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/rng.h"
#include "base/trace.h"
#include "codec/chunk.h"
#include "daemon/daemon.h"
#include "daemon/inbox.h"
#include "daemon/link.h"
#include "daemon/memory.h"
#include "daemon/sensors.h"
#include "daemon/spare.h"

#define GOODBYE_MS         1000
#define TELEMETRY_EXPIRY_S 30
#define FIRST_MS           2000 /* from the start to the first telemetry: probes are back by then */
#define METERED_S          60   /* least seconds between two telemetry messages where bytes cost */
#define OTHER_BYTES        (1u << 20) /* inbox, link and core: what their threads take */

struct agent {
	const struct config_agent *conf;
	struct queue *inbox;
	struct head *head;
	struct fronts *fronts;
	struct agent_core *core;
	struct bus *bus;
	struct spare spare;
	agent_reply_fn *on_reply;
	agent_tick_fn *on_tick;
	void *reply_ctx;
	uint64_t boot, started_ms, telemetry_due_ms;
	uint64_t wake_us;          /* when the loop looks at the time again */
	unsigned signals, replies; /* replies: in the inbox */
	bool stop;
	struct inbox_item draft;   /* says that one is ready */
	bool rehearsing;           /* jobs are nobody's: they come back through the inbox */
	struct msg_telemetry told; /* newest telemetry */
	struct err fatal;
	char down[160]; /* why there is no connection */
};

/* To begin, change or end what a session has there. */
static struct segment *segment_of(void *ctx)
{
	struct agent *a = ctx;

	head_recall(a->head);
	return head_segment(a->head);
}

static int begin(void *ctx, struct head_job *job, uint32_t split, uint32_t context,
		 enum kv_type type, struct err *e)
{
	const struct segment_ask ask = seat_ask(segment_of(ctx), split, context, type, &job->codec);

	return seat_take(segment_of(ctx), job, &ask, e);
}

static int fits(void *ctx, const struct admit_ask *ask, struct room_answer *answer, struct err *e)
{
	const struct agent *a = ctx;
	const struct segment *seg = head_segment(a->head);
	struct segment_ask want =
		seat_ask(seg, ask->split, ask->context_tokens, ask->kv, ask->codec);

	return fronts_judge(a->fronts, ask->front, &want, ask->alone, agent_core_idle(a->core),
			    answer, e);
}

static void want_front(void *ctx, const char *name)
{
	struct agent *a = ctx;

	fronts_want(a->fronts, a->core, name);
}

static void end(void *ctx, struct head_job *job, uint32_t split, uint32_t context)
{
	(void)split;
	(void)context;
	seat_give_back(segment_of(ctx), job);
}

static int begin_recast(void *ctx, const struct head_job *job, struct head_job *recast,
			enum kv_type type, struct err *e)
{
	return recast_begin(segment_of(ctx), job, recast, type, e);
}

static int end_recast(void *ctx, struct head_job *job, struct head_job *recast, uint32_t from,
		      uint32_t len, struct err *e)
{
	(void)segment_of(ctx);
	return recast_done(job, recast, from, len, e);
}

static int side_begin(void *ctx, const struct head_job *job, struct head_job *side,
		      const struct agent_move *m, struct err *e)
{
	return move_begin(segment_of(ctx), job, side, m, e);
}

static void side_moved(void *ctx, struct head_job *job, struct head_job *side,
		       const struct agent_move *m, uint32_t len)
{
	move_done(segment_of(ctx), job, side, m, len);
}

static void side_end(void *ctx, struct head_job *side)
{
	move_end(segment_of(ctx), side);
}

static bool submit(void *ctx, struct head_job *job)
{
	struct agent *a = ctx;

	return head_submit(a->head, job);
}

static void guess(void *ctx, const struct head_job *job, uint32_t pos,
		  const struct head_guesses *guesses)
{
	struct agent *a = ctx;

	head_guess(a->head, job, pos, guesses);
}

static void reply(void *ctx, const struct msg_reply *r)
{
	struct agent *a = ctx;
	struct reply_item *it = a->on_reply ? reply_copy(r) : NULL;

	if (it && queue_push(a->inbox, it)) {
		a->replies++;
		return;
	}
	free(it);
	if (a->on_reply) {
		err_set(&a->fatal, ERR_NOMEM, "a reply");
		a->stop = true;
	}
}

/* ---- the loop's work on other threads ----
 *
 * To wake a thread takes as long as a layer of a small model. So what a token waits for is done by
 * the thread that has it in its hands, in the loop's turn, when the loop has nothing to do. */

static bool finished(const struct agent *a)
{
	bool idle = !agent_core_sessions(a->core) && !agent_core_busy(a->core);

	return idle && !a->replies && (a->stop || a->signals);
}

/* Call the loop when it shall end, or is to wake up earlier than it knows. */
static void leave(struct agent *a)
{
	queue_leave(a->inbox, finished(a) || a->fatal.code ||
				      agent_core_due_us(a->core) < a->wake_us ||
				      (a->conf->telemetry_s && sounding_calls(a->core)));
}

/* Compute thread. */
static void job_done(void *ctx, struct head_job *job)
{
	struct agent *a = ctx;
	uint64_t start_us = trace_now_us();

	if (a->rehearsing || !queue_enter(a->inbox)) {
		inbox_push_job(a->inbox, &job->item);
		return;
	}
	agent_core_computed(a->core, job, clock_now_us());
	trace_span("job", start_us, trace_now_us(), 0);
	leave(a);
}

/* In the loop's turn. */
static void take_draft(struct agent *a)
{
	struct head_draft d;

	if (head_take_draft(a->head, &d))
		agent_core_drafted(a->core, &d, clock_now_us());
	head_go_on(a->head);
}

/* Compute thread. */
static void drafted(void *ctx)
{
	struct agent *a = ctx;

	if (!queue_enter(a->inbox)) {
		if (!queue_push(a->inbox, &a->draft))
			head_go_on(a->head);
		return;
	}
	take_draft(a);
	leave(a);
}

/* An answer of a worker, or of the broker: little to do, and time counts. A prompt is left to the
 * loop, since it may take long. */
static bool is_answer(const struct bus_event *ev)
{
	const char *leaf = ev->kind == BUS_MESSAGE ? strrchr(ev->topic, '/') : NULL;

	return leaf && (!strcmp(leaf, "/down") || !strcmp(leaf, "/probe"));
}

/* Net-in. */
static void on_event(void *ctx, const struct bus_event *ev)
{
	struct agent *a = ctx;

	if (!is_answer(ev) || !queue_enter(a->inbox)) {
		inbox_bus_handler(a->inbox, ev);
		return;
	}
	agent_core_message(a->core, ev, clock_now_us());
	leave(a);
}

static int fill_core_conf(struct agent *a, struct agent_core_conf *cc, struct err *e)
{
	const int rc = settings_core(cc, a->conf, head_segment(a->head), e);

	cc->boot = a->boot;
	fronts_names(a->fronts, cc);
	return rc;
}

/* For the proof that a session as configured fits. */
struct expected {
	const struct config_agent *conf;
	struct codec_spec codec;
};

static struct segment_extra extra(void *ctx, const struct model_hparams *hp)
{
	const struct expected *x = ctx;

	return admit_extra(&x->codec, hp->dim, x->conf->split == hp->n_layers);
}

/* done: a's, or NULL when no job will be run. */
static int open_head(struct head **h, const struct config_agent *conf, head_done *done,
		     struct agent *a, unsigned *front, struct err *e)
{
	struct expected x = { .conf = conf };
	struct segment_conf sc = {
		.path = conf->model,
		.kv = conf->kv,
		.calibration = conf->calibration,
		.last = conf->split == UINT32_MAX ? SEGMENT_QUARTER : conf->split,
		.embed = true,
		.threads = conf->threads,
		.pin_threads = conf->pin_threads[0] == 'y',
		.max_rows = AGENT_CHUNK_ROWS,
		.spare_rows = HEAD_SPARE_ROWS,
		.context_tokens = conf->context_tokens,
		.memory_budget_bytes = conf->memory_budget_bytes,
		.memory_reserve_bytes = conf->memory_reserve_bytes,
		.other_bytes = OTHER_BYTES + (conf->run_ahead[0] == 'y' ? LENS_BYTES_MAX : 0),
		.extra = extra,
		.extra_ctx = &x,
	};
	int rc = settings_codec(&x.codec, conf, e);

	return rc ? rc : fallback_open(h, &sc, conf, done, a, front, e);
}

static struct topic own_topic(const struct agent *a, enum topic_kind kind)
{
	struct topic t = { .kind = kind };

	snprintf(t.fleet, sizeof(t.fleet), "%s", a->conf->fleet);
	snprintf(t.agent, sizeof(t.agent), "%s", a->conf->agent);
	return t;
}

static int open_bus(struct agent *a, struct err *e)
{
	struct topic t = own_topic(a, TOPIC_AGENT_STATUS);
	struct msg will = { .type = MSG_AGENT_STATUS,
			    .u.agent_status = { .state = MSG_LOST, .boot = a->boot } };
	int rc;

	snprintf(will.u.agent_status.agent, sizeof(will.u.agent_status.agent), "%s", t.agent);
	rc = link_open(&a->bus, &a->conf->broker, &t, &will, on_event, a, e);
	if (rc)
		return rc;
	rc = agent_core_start(a->core, a->bus);
	return rc ? err_set(e, rc, "subscriptions") : 0;
}

/* Layers to rehearse: those that will run as far as is known, or else the first one. */
static uint32_t rehearsed_layers(const struct agent *a)
{
	const struct segment *seg = head_segment(a->head);
	const uint32_t split = settings_split(a->conf, seg);

	return split ? split : seg->slice.last ? 1 : 0;
}

/* Encoded are rows as sessions will have them: at l = 0, too, so that no other predictors than
 * those of sessions come into memory. */
static int begin_rehearsal(struct agent *a, struct head_job *job, const struct rehearsal *r,
			   enum kv_type kv, struct err *e)
{
	struct segment *seg = head_segment(a->head);
	struct segment_ask ask = seat_ask(
		seg, r->layers, REHEARSAL_POSITIONS(r->chunk_rows) + r->deep, kv, &job->codec);

	ask.split = settings_split(a->conf, seg);
	return seat_take(seg, job, &ask, e);
}

/* What speeds cannot be found out by now are by the first sessions. */
static void rehearse(struct agent *a, const struct agent_core_conf *cc)
{
	const struct segment *seg = head_segment(a->head);
	const uint32_t chunk = chunk_rows(&cc->codec, cc->dim, SIZE_MAX, AGENT_CHUNK_ROWS);
	const uint32_t context = a->conf->context_tokens;
	struct head_job job = { .codec = cc->codec,
				.cap = slot_frame_bytes(cc->dim),
				.front = fronts_used(a->fronts) };
	struct rehearsal r = { .head = a->head,
			       .done = a->inbox,
			       .job = &job,
			       .layers = rehearsed_layers(a),
			       .deep = REHEARSAL_DEEP < context ? REHEARSAL_DEEP : context,
			       .chunk_rows = chunk,
			       .n_vocab = seg->hp.n_vocab };
	struct err e = { 0 };
	int rc = r.layers ? 0 : err_set(&e, ERR_NOT_FOUND, "the file has no layers");

	if (!seg->cal)
		job.codec.predict = SPEC_PREDICT_NONE;
	job.bytes = malloc(job.cap);
	if (!rc && !job.bytes)
		rc = err_set(&e, ERR_NOMEM, "a chunk");
	if (!rc)
		rc = begin_rehearsal(a, &job, &r, cc->kv, &e);
	if (rc == ERR_LIMIT) { /* no room for so many positions */
		r.deep = 0;
		rc = begin_rehearsal(a, &job, &r, cc->kv, &e);
	}
	if (!rc) {
		a->rehearsing = true;
		rc = rehearsal_run(&r, agent_core_meter(a->core));
		a->rehearsing = false;
		end(a, &job, r.layers, 0);
		if (rc)
			err_set(&e, rc, "%s", job.err.text[0] ? job.err.text : err_phrase(rc));
	}
	free(job.bytes);
	if (rc)
		log_event(LOG_LEVEL_INFO, "speed.unknown", "reason=%s", LOG_QUOTED(e.text));
}

int agent_create(struct agent **out, const struct config_agent *conf, agent_reply_fn *on_reply,
		 void *ctx, struct err *e)
{
	struct agent *a = calloc(1, sizeof(*a));
	struct agent_core_conf cc;
	unsigned front = 0;
	int rc;

	if (!a)
		return err_set(e, ERR_NOMEM, "agent");
	a->conf = conf;
	a->draft.kind = INBOX_DRAFT;
	a->on_reply = on_reply;
	a->reply_ctx = ctx;
	a->boot = rng_entropy() | 1;
	a->started_ms = clock_now_ms();
	rc = inbox_create(&a->inbox);
	if (!rc)
		rc = open_head(&a->head, conf, job_done, a, &front, e);
	if (!rc && conf->run_ahead[0] == 'y')
		rc = head_learn(a->head, e);
	if (!rc)
		rc = fronts_create(&a->fronts, conf, a->head, a->inbox, e);
	if (!rc && front)
		rc = fronts_start(a->fronts, front, e);
	if (!rc)
		rc = fill_core_conf(a, &cc, e);
	if (!rc)
		rc = agent_core_create(&a->core, &cc,
				       &(struct agent_ops){ .ctx = a,
							    .begin = begin,
							    .end = end,
							    .recast_begin = begin_recast,
							    .recast_done = end_recast,
							    .recast_end = side_end,
							    .submit = submit,
							    .side_begin = side_begin,
							    .side_moved = side_moved,
							    .side_end = side_end,
							    .reply = reply,
							    .fits = fits,
							    .front = want_front,
							    .guess = guess });
	if (!rc) {
		head_on_draft(a->head, drafted);
		fronts_tell(a->fronts, a->core);
	}
	if (!rc && !on_reply && conf->telemetry_s) /* a daemon, and somebody wants to know */
		rehearse(a, &cc);
	if (!rc)
		spare_init(&a->spare, head_segment(a->head), conf->release_after_ms * 1000ull);
	if (!rc)
		rc = open_bus(a, e);
	if (rc) {
		agent_destroy(a);
		return rc;
	}
	*out = a;
	return 0;
}

void agent_destroy(struct agent *a)
{
	if (!a)
		return;
	bus_close(a->bus, GOODBYE_MS); /* sends what is queued: the last status */
	agent_core_destroy(a->core);
	head_stop(a->head);
	fronts_destroy(a->fronts);
	head_destroy(a->head);
	inbox_destroy(a->inbox);
	free(a);
}

void agent_get_facts(const struct agent *a, struct agent_facts *f)
{
	const struct segment *seg = head_segment(a->head);
	uint32_t split = settings_split(a->conf, seg);

	*f = (struct agent_facts){
		.n_layers = seg->hp.n_layers,
		.split = split,
		.weight_bytes =
			segment_weight_bytes(seg, 0, split, true, split == seg->hp.n_layers),
	};
}

int agent_check(const struct config_agent *conf, const char **front, struct err *e)
{
	struct fronts *f = NULL;
	struct head *h = NULL;
	unsigned at = 0;
	int rc = open_head(&h, conf, NULL, NULL, &at, e);

	if (!rc)
		rc = fronts_create(&f, conf, h, NULL, e);
	*front = at ? conf->fronts[at - 1].front : NULL;
	fronts_destroy(f);
	head_destroy(h);
	return rc;
}

/* Retained; again with each connection, as a broker that comes back may have lost it. */
static void publish_profile(struct agent *a)
{
	const struct segment *seg = head_segment(a->head);
	struct msg m = { .type = MSG_AGENT_PROFILE };
	struct msg_agent_profile *p = &m.u.agent_profile;
	struct topic t = own_topic(a, TOPIC_AGENT_PROFILE);
	int rc = profile_fill(p, a->conf, seg);

	p->boot = a->boot;
	if (!rc)
		rc = fronts_fill(a->fronts, p);
	if (!rc)
		rc = link_publish(a->bus, &t, &m, 1, true, 0);
	if (rc)
		log_event(LOG_LEVEL_WARN, "profile.failed", "agent=%s reason=%s", a->conf->agent,
			  LOG_QUOTED(err_phrase(rc)));
	msg_finish(&m);
}

static void publish_telemetry(struct agent *a)
{
	const struct kv_budget *b = &head_segment(a->head)->budget;
	struct msg m = { .type = MSG_AGENT_TELEMETRY };
	struct msg_telemetry *now = &m.u.telemetry;
	struct topic t = own_topic(a, TOPIC_AGENT_TELEMETRY);

	report_telemetry(a->core, clock_now_us(), now);
	now->uptime_ms = clock_now_ms() - a->started_ms;
	now->rss_bytes = memory_resident_bytes();
	now->mem_available_bytes = memory_available_bytes();
	now->budget_bytes = b->limit_bytes != UINT64_MAX ? b->limit_bytes : 0;
	now->used_bytes = b->booked_bytes;
	sensors_read(now, "");
	if (settings_metered(a->conf) && a->told.name[0] && !report_differs(now, &a->told))
		return;
	if (link_publish(a->bus, &t, &m, 0, false, TELEMETRY_EXPIRY_S))
		log_event(LOG_LEVEL_DEBUG, "telemetry.failed", "agent=%s", a->conf->agent);
	a->told = *now;
}

static void on_signal(struct agent *a, int signal)
{
	log_event(LOG_LEVEL_INFO, "agent.signal", "signal=%d sessions=%u", signal,
		  agent_core_sessions(a->core));
	if (a->signals++ == 0)
		agent_core_drain(a->core);
	else
		agent_core_cancel_all(a->core, clock_now_us());
}

static void on_bus(struct agent *a, const struct bus_event *ev)
{
	uint64_t now_us = clock_now_us();

	if (ev->kind == BUS_MESSAGE) {
		agent_core_message(a->core, ev, now_us);
	} else if (ev->kind == BUS_UP) {
		log_event(LOG_LEVEL_INFO, "broker.connected", "host=%s port=%u note=%s",
			  a->conf->broker.host, a->conf->broker.port, LOG_QUOTED(ev->text));
		agent_core_link(a->core, true, now_us);
		segment_settle(head_segment(a->head));
		publish_profile(a);
	} else {
		log_event(LOG_LEVEL_WARN, ev->kind == BUS_DOWN ? "broker.lost" : "broker.gave_up",
			  "host=%s port=%u reason=%s", a->conf->broker.host, a->conf->broker.port,
			  LOG_QUOTED(ev->text));
		snprintf(a->down, sizeof(a->down), "%.159s", ev->text);
		agent_core_link(a->core, false, now_us);
	}
	if (ev->kind == BUS_FATAL) {
		err_set(&a->fatal, ERR_REFUSED, "broker %s: %s", a->conf->broker.host, ev->text);
		a->stop = true;
	}
}

static void on_reply(struct agent *a, const struct msg_reply *r)
{
	a->replies--;
	a->on_reply(a->reply_ctx, r);
}

static void dispatch(struct agent *a, struct inbox_item *item)
{
	const uint64_t start_us = trace_now_us();
	const char *what = item->kind == INBOX_JOB ? "job" : "message";

	if (item->kind == INBOX_BUS)
		on_bus(a, &((struct inbox_bus *)item)->ev);
	else if (item->kind == INBOX_SIGNAL)
		on_signal(a, ((struct inbox_signal *)item)->number);
	else if (item->kind == INBOX_REPLY)
		on_reply(a, &((struct reply_item *)item)->reply);
	else if (item->kind == INBOX_FRONT)
		fronts_loaded(a->fronts, a->core);
	else if (item->kind == INBOX_DRAFT)
		take_draft(a);
	if (item->kind == INBOX_JOB) /* the core may end the job's session, and the job with it */
		agent_core_computed(a->core, (struct head_job *)item, clock_now_us());
	else
		inbox_free(item);
	trace_span(what, start_us, trace_now_us(), 0);
}

/* Milliseconds to wait for an item: until the next due time, at most a second. */
static long patience_ms(struct agent *a)
{
	uint64_t now_us = clock_now_us(), due_us = agent_core_due_us(a->core);

	/* at most a millisecond late; what is due then is no reason to call the loop before */
	a->wake_us = due_us < now_us + 1000000 ? due_us : now_us + 1000000;
	return a->wake_us <= now_us ? 0 : (long)((a->wake_us - now_us) / 1000 + 1);
}

static uint64_t telemetry_ms(const struct agent *a)
{
	const uint32_t s = a->conf->telemetry_s;

	return 1000ull * (settings_metered(a->conf) && s < METERED_S ? METERED_S : s);
}

static void release(struct agent *a)
{
	const struct segment_range need = admit_need(a->core);

	spare_look(&a->spare, head_segment(a->head), &need, clock_now_us());
}

static void timers(struct agent *a)
{
	uint64_t now_ms = clock_now_ms();

	if (agent_core_due_us(a->core) <= clock_now_us())
		agent_core_tick(a->core, clock_now_us());
	fronts_tidy(a->fronts, a->core);
	release(a);
	if (a->on_tick)
		a->on_tick(a->reply_ctx);
	if (!a->conf->telemetry_s)
		return;
	sounding_send(a->core, clock_now_us());
	sounding_hurry(a->core, &a->telemetry_due_ms, now_ms);
	if (now_ms < a->telemetry_due_ms)
		return;
	if (a->telemetry_due_ms && bus_is_up(a->bus)) {
		publish_telemetry(a);
		a->telemetry_due_ms = now_ms + telemetry_ms(a);
	} else if (!a->telemetry_due_ms) {
		a->telemetry_due_ms = now_ms + FIRST_MS;
	}
}

int agent_run(struct agent *a, agent_tick_fn *on_tick, struct err *e)
{
	trace_thread("loop");
	a->on_tick = on_tick;
	while (!finished(a)) {
		struct inbox_item *item = queue_pop_lending(a->inbox, patience_ms(a));

		if (item)
			dispatch(a, item);
		timers(a);
		if (a->fatal.code)
			agent_core_cancel_all(a->core, clock_now_us());
	}
	if (agent_core_goodbye(a->core))
		log_event(LOG_LEVEL_DEBUG, "status.failed", "state=offline");
	if (a->fatal.code)
		*e = a->fatal;
	return a->fatal.code;
}

void agent_stop(struct agent *a)
{
	a->stop = true;
}

void agent_signal(void *agent, int signal)
{
	inbox_push_signal(((struct agent *)agent)->inbox, signal);
}

void agent_prompt(struct agent *a, struct msg_prompt *m)
{
	agent_core_prompt(a->core, m, clock_now_us());
}

const char *agent_waits_for(const struct agent *a, const char **why)
{
	*why = bus_is_up(a->bus) ? "" : a->down;
	return offline_waits_for(a->core);
}
