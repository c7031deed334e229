#include "worker/worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/rng.h"
#include "base/trace.h"
#include "daemon/daemon.h"
#include "daemon/inbox.h"
#include "daemon/link.h"
#include "daemon/memory.h"
#include "daemon/spare.h"
#include "worker/core.h"
#include "worker/tail.h"

#define GOODBYE_MS         1000
#define TELEMETRY_EXPIRY_S 30
#define TICK_MS            1000
/* Inbox, link and core: what their threads take, and libraries when they run. */
#define OTHER_BYTES (2u << 20)

struct worker {
	const struct config_worker *conf;
	struct queue *inbox;
	struct tail *tail;
	struct worker_core *core;
	struct bus *bus;
	struct spare spare;
	uint64_t boot, started_ms, tick_due_ms, telemetry_due_ms;
	unsigned signals;
	struct tail_counts counts; /* at the last telemetry */
	struct err fatal;
};

static struct segment_ask session_ask(const struct segment *seg, uint32_t split, uint32_t context,
				      enum kv_type type)
{
	return (struct segment_ask){
		.first = split,
		.last = seg->hp.n_layers,
		.context_tokens = context,
		.kv = type,
		.extra = tail_extra(&seg->hp),
	};
}

static int begin(void *ctx, struct kv **kv, uint32_t split, uint32_t context, enum kv_type type,
		 struct err *e)
{
	struct worker *w = ctx;
	struct segment *seg = tail_segment(w->tail);
	const struct segment_ask ask = session_ask(seg, split, context, type);
	struct room_answer answer;
	int rc;

	segment_judge(seg, &ask, false, &answer);
	if (answer.missing_bytes)
		return segment_refuse(&ask, &answer, e);
	rc = segment_begin(seg, kv, split, seg->hp.n_layers, context, type, e);
	if (!rc)
		segment_book(seg, ask.extra.session_bytes);
	return rc;
}

static int begin_side(void *ctx, struct kv **kv, uint32_t first, uint32_t last, uint32_t context,
		      enum kv_type type, struct err *e)
{
	struct worker *w = ctx;

	return segment_begin(tail_segment(w->tail), kv, first, last, context, type, e);
}

static void end_side(void *ctx, struct kv *kv)
{
	struct worker *w = ctx;

	segment_end(tail_segment(w->tail), kv);
}

static void settle(void *ctx, struct kv *kv)
{
	struct worker *w = ctx;

	segment_resized(tail_segment(w->tail), kv);
}

static int begin_codec(void *ctx, struct codec_state **state, uint32_t split, struct err *e)
{
	struct worker *w = ctx;

	return segment_begin_codec(tail_segment(w->tail), state, split, e);
}

static void end(void *ctx, struct kv *kv, uint32_t split, uint32_t context)
{
	struct worker *w = ctx;
	struct segment *seg = tail_segment(w->tail);

	(void)split;
	(void)context;
	segment_unbook(seg, tail_extra(&seg->hp).session_bytes);
	segment_end(seg, kv);
}

static uint64_t missing(void *ctx, uint32_t split, uint32_t context, enum kv_type type)
{
	struct worker *w = ctx;
	const struct segment *seg = tail_segment(w->tail);

	const struct segment_ask ask = session_ask(seg, split, context, type);
	struct room_answer answer;

	segment_judge(seg, &ask, false, &answer);
	return answer.missing_bytes;
}

static uint64_t held(void *ctx, const struct kv *kv)
{
	(void)ctx;
	return kv_size_bytes(kv);
}

static bool submit(void *ctx, struct tail_job *job)
{
	struct worker *w = ctx;

	return tail_submit(w->tail, job);
}

/* ---- the loop's work on other threads: see agent/agent.c ---- */

/* A job that is out must come back before anything is freed. */
static bool finished(const struct worker *w)
{
	bool leave =
		w->fatal.code || w->signals > 1 || (w->signals && !worker_core_sessions(w->core));

	return leave && !worker_core_jobs(w->core);
}

/* Compute thread. */
static void job_done(void *ctx, struct tail_job *job)
{
	struct worker *w = ctx;
	uint64_t start_us = trace_now_us();

	if (!queue_enter(w->inbox)) {
		inbox_push_job(w->inbox, &job->item);
		return;
	}
	if (worker_core_jobs(w->core) > 1) { /* others wait for this thread */
		inbox_push_job(w->inbox, &job->item);
		queue_leave(w->inbox, false);
		return;
	}
	worker_core_computed(w->core, job, clock_now_us());
	trace_span("job", start_us, trace_now_us(), 0);
	queue_leave(w->inbox, finished(w));
}

/* Net-in. Rows are few bytes to look at; what opens and closes sessions takes and frees memory. */
static void on_event(void *ctx, const struct bus_event *ev)
{
	struct worker *w = ctx;

	if (ev->kind != BUS_MESSAGE || !wire_is_frame(ev->payload, ev->len) ||
	    !queue_enter(w->inbox)) {
		inbox_bus_handler(w->inbox, ev);
		return;
	}
	worker_core_message(w->core, ev, clock_now_us());
	queue_leave(w->inbox, finished(w));
}

/* done: w's, or NULL when no job will be run. */
static int open_tail(struct tail **t, const struct config_worker *conf, tail_done *done,
		     struct worker *w, struct err *e)
{
	struct tail_conf tc = {
		.model = conf->model,
		.kv = conf->kv,
		.calibration = conf->calibration,
		.first_layer = conf->first_layer,
		.threads = conf->threads,
		.pin_threads = conf->pin_threads[0] == 'y',
		.spin_us = conf->spin_us,
		.context_tokens = conf->context_tokens,
		.memory_budget_bytes = conf->memory_budget_bytes,
		.memory_reserve_bytes = conf->memory_reserve_bytes,
		.other_bytes = OTHER_BYTES,
		.max_sessions = conf->max_sessions,
		.interactive_us = conf->interactive_ms * 1000ull,
		.bulk_us = conf->bulk_ms * 1000ull,
		.share = conf->prompt_share / 100.0,
		.warm_up = done && conf->telemetry_s,
	};

	return tail_create(t, &tc, done, w, e);
}

static struct worker_core_facts facts_of(const struct config_worker *conf,
					 const struct segment *seg)
{
	const uint32_t n = seg->hp.n_layers, held = n - conf->first_layer;
	const uint64_t layers = segment_weight_bytes(seg, conf->first_layer, n, false, false);
	const uint64_t limit = seg->budget.limit_bytes;

	return (struct worker_core_facts){
		.kv_elements = seg->hp.n_kv_heads * (seg->hp.head_dim + seg->hp.head_dim_v),
		.threads = conf->threads,
		.budget_bytes = limit != UINT64_MAX ? limit : 0,
		.weight_bytes = seg->budget.booked_bytes,
		.layer_bytes = held ? layers / held : 0,
		.head_bytes = segment_weight_bytes(seg, n, n, false, true),
	};
}

static void fill_core_conf(const struct worker *w, struct worker_core_conf *cc)
{
	const struct segment *seg = tail_segment(w->tail);

	*cc = (struct worker_core_conf){
		.limits = {
			.n_layers = seg->hp.n_layers,
			.first_layer = w->conf->first_layer,
			.dim = seg->hp.dim,
			.kv_elements = seg->hp.n_kv_heads *
				       (seg->hp.head_dim + seg->hp.head_dim_v),
			.context_tokens = w->conf->context_tokens,
			.max_packet_bytes = w->conf->broker.max_packet_bytes,
			.max_rows = TAIL_MAX_ROWS,
			.idle_us = w->conf->session_idle_ms * 1000ull,
		},
		.max_sessions = w->conf->max_sessions,
		.drafts = w->conf->drafts,
		.evict_us = w->conf->session_evict_ms * 1000ull,
		.kv = seg->kv_type,
		.n_vocab = seg->hp.n_vocab,
		.qos = (int)w->conf->broker.qos,
		.boot = w->boot,
		.facts = facts_of(w->conf, seg),
	};
	snprintf(cc->fleet, sizeof(cc->fleet), "%s", w->conf->fleet);
	snprintf(cc->model_name, sizeof(cc->model_name), "%s", seg->name);
	snprintf(cc->limits.worker, sizeof(cc->limits.worker), "%s", w->conf->worker);
	snprintf(cc->limits.model, sizeof(cc->limits.model), "%s", seg->hash);
	snprintf(cc->limits.calibration, sizeof(cc->limits.calibration), "%s",
		 seg->cal ? seg->cal->id : "");
}

static struct topic own_topic(const struct worker *w, enum topic_kind kind)
{
	struct topic t = { .kind = kind };

	snprintf(t.fleet, sizeof(t.fleet), "%s", w->conf->fleet);
	snprintf(t.worker, sizeof(t.worker), "%s", w->conf->worker);
	return t;
}

static int open_bus(struct worker *w, struct err *e)
{
	struct topic t = own_topic(w, TOPIC_WORKER_STATUS);
	struct msg will = { .type = MSG_WORKER_STATUS,
			    .u.worker_status = { .state = MSG_LOST, .boot = w->boot } };
	int rc;

	snprintf(will.u.worker_status.worker, sizeof(will.u.worker_status.worker), "%s", t.worker);
	rc = link_open(&w->bus, &w->conf->broker, &t, &will, on_event, w, e);
	if (rc)
		return rc;
	rc = worker_core_start(w->core, w->bus);
	return rc ? err_set(e, rc, "subscriptions") : 0;
}

int worker_create(struct worker **out, const struct config_worker *conf, struct err *e)
{
	struct worker *w = calloc(1, sizeof(*w));
	const struct worker_ops ops = { .ctx = w,
					.begin = begin,
					.end = end,
					.begin_side = begin_side,
					.end_side = end_side,
					.settle = settle,
					.begin_codec = begin_codec,
					.submit = submit,
					.missing = missing,
					.held = held };
	struct worker_core_conf cc;
	int rc;

	if (!w)
		return err_set(e, ERR_NOMEM, "worker");
	w->conf = conf;
	w->boot = rng_entropy() | 1;
	w->started_ms = clock_now_ms();
	rc = inbox_create(&w->inbox);
	if (!rc)
		rc = open_tail(&w->tail, conf, job_done, w, e);
	if (!rc) {
		fill_core_conf(w, &cc);
		spare_init(&w->spare, tail_segment(w->tail), conf->release_after_ms * 1000ull);
		rc = worker_core_create(&w->core, &cc, &ops);
	}
	if (!rc)
		rc = open_bus(w, e);
	if (rc) {
		worker_destroy(w);
		return rc;
	}
	*out = w;
	return 0;
}

void worker_destroy(struct worker *w)
{
	if (!w)
		return;
	bus_close(w->bus, GOODBYE_MS); /* sends what is queued: the last status */
	worker_core_destroy(w->core);
	tail_destroy(w->tail);
	inbox_destroy(w->inbox);
	free(w);
}

void worker_get_facts(const struct worker *w, struct worker_facts *f)
{
	const struct segment *seg = tail_segment(w->tail);

	*f = (struct worker_facts){
		.n_layers = seg->hp.n_layers,
		.first_layer = w->conf->first_layer,
		.weight_bytes = seg->weight_bytes,
	};
}

int worker_check(const struct config_worker *conf, struct err *e)
{
	struct tail *t = NULL;
	int rc = open_tail(&t, conf, NULL, NULL, e);

	tail_destroy(t);
	return rc;
}

/* Of weights that are not there now, but would be for a session at the first layer; as far as
 * caches have not taken their room. */
static uint64_t promised_bytes(const struct segment *seg)
{
	const uint64_t all = segment_weight_bytes(seg, seg->first, seg->last, false, true);
	const uint64_t gone = all > seg->weight_bytes ? all - seg->weight_bytes : 0;
	const struct kv_budget *b = &seg->budget;
	const uint64_t room =
		b->limit_bytes > b->booked_bytes ? b->limit_bytes - b->booked_bytes : 0;

	return gone < room ? gone : room;
}

/* What the compute thread did since the last time, and what caches may take. */
static void add_compute(struct worker *w, struct msg_telemetry *t)
{
	const struct kv_budget *b = &tail_segment(w->tail)->budget;
	const uint64_t promised = promised_bytes(tail_segment(w->tail));
	struct tail_counts now, *last = &w->counts;

	tail_count(w->tail, &now);
	if (now.steps > last->steps)
		t->batch_rows = (double)(now.rows - last->rows) / (double)(now.steps - last->steps);
	if (now.jobs > last->jobs)
		t->queue_ms = (double)(now.queue_us - last->queue_us) /
			      (double)(now.jobs - last->jobs) / 1000;
	if (b->limit_bytes != UINT64_MAX)
		t->kv_budget_bytes = b->limit_bytes - b->booked_bytes + t->kv_bytes;
	t->weight_bytes = b->booked_bytes - t->kv_bytes + promised;
	t->queue_high_ms = now.queue_high_us / 1000.0;
	t->decode_ms = now.decode_ms;
	t->n_batches = now.n_batches;
	memcpy(t->batches, now.batches, sizeof(t->batches));
	t->draining = w->signals;
	*last = now;
}

static void publish_telemetry(struct worker *w)
{
	struct msg m = { .type = MSG_WORKER_TELEMETRY };
	struct topic t = own_topic(w, TOPIC_WORKER_TELEMETRY);

	worker_core_telemetry(w->core, &m.u.telemetry);
	add_compute(w, &m.u.telemetry);
	m.u.telemetry.uptime_ms = clock_now_ms() - w->started_ms;
	m.u.telemetry.rss_bytes = memory_resident_bytes();
	m.u.telemetry.mem_available_bytes = memory_available_bytes();
	if (link_publish(w->bus, &t, &m, 0, false, TELEMETRY_EXPIRY_S))
		log_event(LOG_LEVEL_DEBUG, "telemetry.failed", "worker=%s", w->conf->worker);
}

static void on_bus(struct worker *w, const struct bus_event *ev)
{
	const struct config_broker *b = &w->conf->broker;

	if (ev->kind == BUS_MESSAGE)
		worker_core_message(w->core, ev, clock_now_us());
	else if (ev->kind == BUS_UP)
		log_event(LOG_LEVEL_INFO, "broker.connected", "host=%s port=%u note=%s", b->host,
			  b->port, LOG_QUOTED(ev->text));
	else
		log_event(LOG_LEVEL_WARN, ev->kind == BUS_DOWN ? "broker.lost" : "broker.gave_up",
			  "host=%s port=%u reason=%s", b->host, b->port, LOG_QUOTED(ev->text));
	if (ev->kind == BUS_FATAL)
		err_set(&w->fatal, ERR_REFUSED, "broker %s: %s", b->host, ev->text);
}

static void on_signal(struct worker *w, int signal)
{
	log_event(LOG_LEVEL_INFO, "worker.signal", "signal=%d sessions=%u", signal,
		  worker_core_sessions(w->core));
	if (w->signals++ == 0) {
		worker_core_drain(w->core);
		return;
	}
	worker_core_stop(w->core);
	tail_abandon(w->tail);
}

static void dispatch(struct worker *w, struct inbox_item *item)
{
	const uint64_t start_us = trace_now_us();
	const char *what = item->kind == INBOX_JOB ? "job" : "message";

	if (item->kind == INBOX_BUS)
		on_bus(w, &((struct inbox_bus *)item)->ev);
	else if (item->kind == INBOX_SIGNAL)
		on_signal(w, ((struct inbox_signal *)item)->number);
	if (item->kind == INBOX_JOB)
		worker_core_computed(w->core, (struct tail_job *)item, clock_now_us());
	else
		inbox_free(item);
	trace_span(what, start_us, trace_now_us(), 0);
}

static void release(struct worker *w)
{
	struct segment *seg = tail_segment(w->tail);
	const uint32_t low = worker_core_lowest(w->core), n = seg->hp.n_layers;
	const struct segment_range need = { low, n, true };

	spare_look(&w->spare, seg, low < n ? &need : NULL, clock_now_us());
}

static void timers(struct worker *w)
{
	uint64_t now_ms = clock_now_ms();

	release(w);
	if (now_ms >= w->tick_due_ms) {
		worker_core_tick(w->core, clock_now_us());
		w->tick_due_ms = now_ms + TICK_MS;
	}
	if (!w->conf->telemetry_s || now_ms < w->telemetry_due_ms)
		return;
	if (w->telemetry_due_ms && bus_is_up(w->bus))
		publish_telemetry(w);
	w->telemetry_due_ms = now_ms + w->conf->telemetry_s * 1000ull;
}

int worker_run(struct worker *w, struct err *e)
{
	trace_thread("loop");
	while (!finished(w)) {
		struct inbox_item *item = queue_pop_lending(w->inbox, TICK_MS);

		if (item)
			dispatch(w, item);
		timers(w);
	}
	if (worker_core_goodbye(w->core))
		log_event(LOG_LEVEL_DEBUG, "status.failed", "state=offline");
	if (w->fatal.code)
		*e = w->fatal;
	return w->fatal.code;
}

void worker_signal(void *worker, int signal)
{
	struct worker *w = worker;

	inbox_push_signal(w->inbox, signal);
}
