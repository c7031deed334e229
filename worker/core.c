#include "worker/core.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/le.h"
#include "base/log.h"
#include "base/trace.h"
#include "daemon/link.h"
#include "worker/answer.h"

int worker_core_create(struct worker_core **out, const struct worker_core_conf *conf,
		       const struct worker_ops *ops)
{
	struct worker_core *c = calloc(1, sizeof(*c));
	int rc = 0;

	if (!c)
		return ERR_NOMEM;
	c->conf = *conf;
	c->ops = *ops;
	c->places = calloc(conf->max_sessions, sizeof(*c->places));
	for (unsigned i = 0; c->places && !rc && i < conf->max_sessions; i++)
		rc = lane_init(&c->places[i].lane, &conf->limits);
	if (!c->places || rc) {
		worker_core_destroy(c);
		return ERR_NOMEM;
	}
	*out = c;
	return 0;
}

static void drop_kv(struct worker_core *c, struct place *p)
{
	if (p->kv)
		c->ops.end(c->ops.ctx, p->kv, p->kv_split, p->kv_context);
	codec_state_destroy(p->codec);
	codec_state_destroy(p->later_codec);
	p->codec = p->later_codec = NULL;
	p->kv = NULL;
}

static void drop_side(struct worker_core *c, struct place *p)
{
	if (p->side)
		c->ops.end_side(c->ops.ctx, p->side);
	codec_state_destroy(p->side_codec);
	p->side_codec = NULL;
	p->side = NULL;
}

void worker_core_destroy(struct worker_core *c)
{
	if (!c)
		return;
	for (unsigned i = 0; c->places && i < c->conf.max_sessions; i++) {
		drop_side(c, &c->places[i]);
		drop_kv(c, &c->places[i]);
		lane_finish(&c->places[i].lane);
	}
	free(c->places);
	free(c);
}

static int announce(struct worker_core *c, enum msg_state state)
{
	const struct lane_limits *lim = &c->conf.limits;
	struct topic t = answer_topic(c, TOPIC_WORKER_STATUS);
	struct msg m = { .type = MSG_WORKER_STATUS };
	struct msg_worker_status *st = &m.u.worker_status;

	snprintf(st->worker, sizeof(st->worker), "%s", lim->worker);
	st->state = state;
	st->boot = c->conf.boot;
	snprintf(st->model, sizeof(st->model), "%s", lim->model);
	snprintf(st->model_name, sizeof(st->model_name), "%s", c->conf.model_name);
	st->n_layers = lim->n_layers;
	st->dim = lim->dim;
	st->first_layer = lim->first_layer;
	st->context_tokens = lim->context_tokens;
	memcpy(st->calibration, lim->calibration, sizeof(st->calibration));
	st->max_sessions = c->conf.max_sessions;
	st->kv_elements = c->conf.facts.kv_elements;
	st->threads = c->conf.facts.threads;
	st->budget_bytes = c->conf.facts.budget_bytes;
	st->weight_bytes = c->conf.facts.weight_bytes;
	st->layer_bytes = c->conf.facts.layer_bytes;
	st->head_bytes = c->conf.facts.head_bytes;
	snprintf(st->version, sizeof(st->version), "%s", SPLITMQ_VERSION);
	return link_birth(c->bus, &t, &m);
}

int worker_core_start(struct worker_core *c, struct bus *bus)
{
	struct topic up = answer_topic(c, TOPIC_UP), open = answer_topic(c, TOPIC_OPEN);
	char filter[TOPIC_MAX];
	int rc;

	c->bus = bus;
	topic_put(filter, &up);
	rc = bus_subscribe(bus, filter, 1);
	if (rc)
		return rc;
	topic_put_shared(filter, "workers", &open);
	rc = bus_subscribe(bus, filter, 1);
	return rc ? rc : announce(c, MSG_READY);
}

static struct place *find(struct worker_core *c, const char *agent, uint64_t session)
{
	for (unsigned i = 0; i < c->conf.max_sessions; i++) {
		struct place *p = &c->places[i];

		if (p->lane.state != LANE_FREE && p->lane.open.session == session &&
		    !strcmp(p->lane.agent, agent))
			return p;
	}
	return NULL;
}

static struct place *free_place(struct worker_core *c)
{
	for (unsigned i = 0; i < c->conf.max_sessions; i++) {
		if (c->places[i].lane.state == LANE_FREE)
			return &c->places[i];
	}
	return NULL;
}

static void step(struct worker_core *c, struct place *p, const struct lane_event *ev,
		 const uint8_t *body);

/* No job is out, and nothing has been heard of it for a while: its agent can replay. */
static bool is_idle(const struct worker_core *c, const struct place *p, uint64_t now_us)
{
	const struct lane *l = &p->lane;

	return l->state == LANE_SERVING && !l->jobs && now_us - l->touched_us >= c->conf.evict_us;
}

/* The session that has been idle longest makes room for another one; false when none is idle. */
static bool evict(struct worker_core *c, uint64_t now_us)
{
	struct place *oldest = NULL;

	for (unsigned i = 0; i < c->conf.max_sessions; i++) {
		struct place *p = &c->places[i];

		if (is_idle(c, p, now_us) &&
		    (!oldest || p->lane.touched_us < oldest->lane.touched_us))
			oldest = p;
	}
	if (!oldest)
		return false;
	c->evictions++;
	log_event(LOG_LEVEL_INFO, "session.evicted", "agent=%s session=%016llx idle_ms=%llu",
		  oldest->lane.agent, (unsigned long long)oldest->lane.open.session,
		  (unsigned long long)(now_us - oldest->lane.touched_us) / 1000);
	step(c, oldest, &(struct lane_event){ .kind = LANE_EV_EVICT, .now_us = now_us }, NULL);
	return true;
}

/* Memory for the cache of p, from idle sessions where there is none: but only if that helps. */
static void make_room(struct worker_core *c, const struct place *p, uint64_t now_us)
{
	const struct worker_ops *ops = &c->ops;
	uint64_t missing, idle = 0;

	if (!ops->missing)
		return;
	missing = ops->missing(ops->ctx, p->kv_split, p->kv_context, p->kv_type);
	for (unsigned i = 0; missing && i < c->conf.max_sessions; i++) {
		if (c->places[i].kv && is_idle(c, &c->places[i], now_us))
			idle += ops->held(ops->ctx, c->places[i].kv);
	}
	while (missing && idle >= missing && evict(c, now_us))
		missing = ops->missing(ops->ctx, p->kv_split, p->kv_context, p->kv_type);
}

/* A KV cache that fits the lane's epoch: the one that is there, or a new one. */
static int ensure_kv(struct worker_core *c, struct place *p, uint64_t now_us, struct err *e)
{
	const struct lane *l = &p->lane;
	enum kv_type type = c->conf.kv;
	int rc;

	if (l->open.kv[0] && kv_type_parse(&type, l->open.kv))
		return err_set(e, ERR_UNSUPPORTED, "kv %s", l->open.kv);
	if (p->kv && p->kv_split == l->open.split && p->kv_context == l->context_tokens &&
	    p->kv_type == type)
		return 0;
	drop_kv(c, p);
	p->kv_split = l->open.split;
	p->kv_context = l->context_tokens;
	p->kv_type = type;
	make_room(c, p, now_us);
	rc = c->ops.begin(c->ops.ctx, &p->kv, p->kv_split, p->kv_context, type, e);
	if (!rc)
		rc = c->ops.begin_codec(c->ops.ctx, &p->codec, p->kv_split, e);
	if (rc)
		drop_kv(c, p);
	return rc;
}

static void set_history(struct tail_job *job, const struct lane *l)
{
	uint32_t n = l->n_generated;

	if (l->open.sampling.repeat_penalty == 1)
		return;
	if (n > l->open.sampling.repeat_last)
		n = l->open.sampling.repeat_last;
	if (n > MSG_IDS_MAX)
		n = MSG_IDS_MAX;
	memcpy(job->history, l->generated + l->n_generated - n, n * sizeof(job->history[0]));
	job->n_history = n;
}

static void free_job(struct tail_job *job)
{
	if (job)
		free(job->logits);
	free(job);
}

/* A job with room for what it brings and what it is asked for; NULL when memory is out. */
static struct tail_job *make_job(const struct worker_core *c, const struct wire_hdr *h)
{
	const unsigned both = WIRE_SAMPLE | WIRE_WANT_LOGITS;
	struct tail_job *job = calloc(1, sizeof(*job) + h->body_len);

	if (!job || (h->flags & both) != both)
		return job;
	job->logits = calloc(c->conf.n_vocab, sizeof(*job->logits));
	if (job->logits)
		return job;
	free_job(job);
	return NULL;
}

/* The cache beside, for a fill that begins. */
static int ensure_side(struct worker_core *c, struct place *p, struct err *e)
{
	const struct lane *l = &p->lane;
	const uint32_t last = l->split;
	int rc = c->ops.begin_side(c->ops.ctx, &p->side, l->fill_split, last, p->kv_context,
				   p->kv_type, e);

	if (!rc)
		rc = c->ops.begin_codec(c->ops.ctx, &p->side_codec, l->fill_split, e);
	if (rc)
		drop_side(c, p);
	return rc;
}

/* The job that moved the split is back: what is held now, and what was for the rows before. */
static void settle(struct worker_core *c, struct place *p)
{
	c->ops.settle(c->ops.ctx, p->kv);
	if (p->side)
		c->ops.settle(c->ops.ctx, p->side);
	codec_state_destroy(p->codec);
	p->codec = p->later_codec;
	p->later_codec = NULL;
	p->kv_split = p->lane.split;
}

/* Whose cache and codec the rows go through. */
static int direct(struct worker_core *c, struct place *p, struct tail_job *job,
		  const struct lane_effects *fx, struct err *e)
{
	const bool fill = wire_is_fill(&job->hdr);

	if (fx->change && c->ops.begin_codec(c->ops.ctx, &p->later_codec, job->hdr.split, e))
		return e->code;
	job->kv = fill ? p->side : p->kv;
	job->codec = fill ? p->side_codec : p->later_codec ? p->later_codec : p->codec;
	job->changes = fx->change;
	job->join = fx->join ? p->side : NULL;
	return 0;
}

static void run(struct worker_core *c, struct place *p, const struct wire_hdr *h,
		const uint8_t *body, const struct lane_effects *fx, uint64_t now_us)
{
	struct tail_job *job = make_job(c, h);
	struct lane_event ev = { .kind = LANE_EV_FAILED,
				 .now_us = now_us,
				 .epoch = h->epoch,
				 .seq = h->seq,
				 .fill = wire_is_fill(h),
				 .code = ERR_BUSY,
				 .reason = "too many rows are waiting" };
	struct err e = { 0 };

	if (job) {
		job->lane = (unsigned)(p - c->places);
		job->hdr = *h;
		job->bulk = p->lane.open.class == MSG_BULK || ev.fill;
		job->has_token = lane_token_at(&p->lane, h->pos, &job->token);
		memcpy(job->body, body, h->body_len);
		job->sampling = segment_sampling(&p->lane.open.sampling);
		set_history(job, &p->lane);
		c->jobs++;
		c->rows += h->rows;
		if (c->jobs <= INBOX_JOBS && !direct(c, p, job, fx, &e) &&
		    c->ops.submit(c->ops.ctx, job))
			return;
		c->jobs--;
		free_job(job);
	}
	if (e.code) {
		ev.code = e.code;
		ev.reason = e.text;
	}
	step(c, p, &ev, NULL);
}

/* The new epoch cannot be served after all: memory. */
static void fail_reset(struct worker_core *c, struct place *p, uint64_t now_us, int rc,
		       const struct err *e)
{
	uint64_t session = p->lane.open.session;

	answer_error(c, p->lane.agent, session, p->lane.open.epoch, 0,
		     rc == ERR_LIMIT ? ERR_BUSY : rc, e->text);
	step(c, p,
	     &(struct lane_event){
		     .kind = LANE_EV_CLOSE, .now_us = now_us, .epoch = p->lane.open.epoch },
	     NULL);
}

/* Step the lane and carry the effects out. body: of the frame, for LANE_EV_ROWS. */
static void step(struct worker_core *c, struct place *p, const struct lane_event *ev,
		 const uint8_t *body)
{
	struct lane *l = &p->lane;
	struct lane_effects fx;
	struct err e = { 0 };
	int rc;

	lane_step(l, &c->conf.limits, ev, &fx);
	if (fx.reset) {
		rc = ensure_kv(c, p, ev->now_us, &e);
		if (rc) {
			fail_reset(c, p, ev->now_us, rc, &e);
			return;
		}
	}
	if (fx.answer)
		answer_tokens(c, l);
	if (fx.changed)
		settle(c, p);
	if (fx.side_over)
		drop_side(c, p);
	if (fx.side && ensure_side(c, p, &e)) {
		step(c, p,
		     &(struct lane_event){ .kind = LANE_EV_NO_SIDE,
					   .now_us = ev->now_us,
					   .seq = ev->hdr->seq,
					   .code = e.code,
					   .reason = e.text },
		     NULL);
		return;
	}
	if (fx.accept)
		answer_accept(c, l);
	if (fx.need)
		answer_need(c, l, &fx);
	if (fx.error && fx.error_again)
		answer_fill_error(c, l, fx.error_seq, fx.error, fx.reason);
	else if (fx.error)
		answer_error(c, l->agent, l->open.session, fx.error_epoch, fx.error_seq, fx.error,
			     fx.reason);
	if (fx.freed) {
		c->sessions_done++;
		log_event(LOG_LEVEL_INFO, "session.freed", "agent=%s session=%016llx", l->agent,
			  (unsigned long long)l->open.session);
		drop_side(c, p);
		drop_kv(c, p);
	}
	if (fx.run)
		run(c, p, ev->hdr, body, &fx, ev->now_us);
}

static void on_open(struct worker_core *c, const struct topic *t, const struct msg_open *o,
		    uint64_t now_us)
{
	struct lane_event ev = {
		.kind = LANE_EV_OPEN, .now_us = now_us, .agent = t->agent, .open = o
	};
	struct place *p = find(c, t->agent, o->session);
	char reason[MSG_REASON_MAX] = "";
	int rc = lane_admit(&c->conf.limits, o, reason);

	if (strcmp(o->agent, t->agent)) {
		rc = ERR_REFUSED;
		snprintf(reason, sizeof(reason), "the topic is not that of agent %s", o->agent);
	} else if (!rc && !p && c->draining) {
		rc = ERR_BUSY;
		snprintf(reason, sizeof(reason), "worker %s is shutting down",
			 c->conf.limits.worker);
	} else if (!rc && !p && !free_place(c) && !evict(c, now_us)) {
		rc = ERR_BUSY;
		snprintf(reason, sizeof(reason), "worker %s serves %u sessions already",
			 c->conf.limits.worker, c->conf.max_sessions);
	}
	if (rc) {
		answer_error(c, t->agent, o->session, o->epoch, 0, rc, reason);
		return;
	}
	if (!p) {
		p = free_place(c);
		log_event(LOG_LEVEL_INFO, "session.opened",
			  "agent=%s session=%016llx epoch=%u split=%u kv=%s", t->agent,
			  (unsigned long long)o->session, o->epoch, o->split,
			  o->kv[0] ? o->kv : kv_type_name(c->conf.kv));
	}
	step(c, p, &ev, NULL);
}

static void on_frame(struct worker_core *c, const struct topic *t, const struct bus_event *bev,
		     uint64_t now_us)
{
	struct lane_event ev = { .kind = LANE_EV_ROWS, .now_us = now_us };
	struct err e = { 0 };
	struct wire_hdr h;
	struct place *p;

	if (wire_get_hdr(&h, bev->payload, bev->len, &e) || h.kind == WIRE_LOGITS ||
	    h.session != t->session) {
		log_event(LOG_LEVEL_WARN, "frame.refused", "topic=%s bytes=%zu reason=%s",
			  bev->topic, bev->len,
			  LOG_QUOTED(e.code ? e.text : "not rows of this session"));
		return;
	}
	p = find(c, t->agent, h.session);
	if (!p) {
		if (h.flags & WIRE_SAMPLE)
			answer_error(c, t->agent, h.session, h.epoch, h.seq, ERR_NOT_FOUND,
				     "no such session here");
		return;
	}
	ev.hdr = &h;
	if (h.flags & WIRE_DRAFT)
		ev.id = le_get32(bev->payload + WIRE_HDR_LEN);
	step(c, p, &ev, bev->payload + WIRE_HDR_LEN);
}

static void on_close(struct worker_core *c, const struct topic *t, const struct msg_close *m,
		     uint64_t now_us)
{
	struct place *p = find(c, t->agent, m->session);

	if (p)
		step(c, p,
		     &(struct lane_event){
			     .kind = LANE_EV_CLOSE, .now_us = now_us, .epoch = m->epoch },
		     NULL);
}

/* Tell the session: that of the topic, or the one that an OPEN names in spite of all. */
static void refuse_message(struct worker_core *c, const struct topic *t, const struct bus_event *ev,
			   const struct err *e)
{
	struct msg_peek peek;
	bool named = msg_peek(&peek, (const char *)ev->payload, ev->len) && peek.session;

	log_event(LOG_LEVEL_WARN, "message.refused", "topic=%s bytes=%zu reason=%s", ev->topic,
		  ev->len, LOG_QUOTED(e->text));
	if (t->kind == TOPIC_UP && (!named || peek.session != t->session))
		peek = (struct msg_peek){ .session = t->session };
	if (peek.session)
		answer_error(c, t->agent, peek.session, peek.epoch, peek.seq, e->code, e->text);
}

void worker_core_message(struct worker_core *c, const struct bus_event *ev, uint64_t now_us)
{
	struct err e = { 0 };
	struct topic t;
	struct msg m;

	if (c->stopped)
		return;
	if (topic_get(&t, ev->topic, strlen(ev->topic)) ||
	    (t.kind != TOPIC_UP && t.kind != TOPIC_OPEN))
		return;
	c->bytes_up += ev->len;
	if (t.kind == TOPIC_UP && wire_is_frame(ev->payload, ev->len)) {
		on_frame(c, &t, ev, now_us);
		return;
	}
	if (msg_parse(&m, (const char *)ev->payload, ev->len, MSG_TYPE_COUNT, &e)) {
		refuse_message(c, &t, ev, &e);
		return;
	}
	if (m.type == MSG_OPEN && (t.kind == TOPIC_OPEN || m.u.open.session == t.session))
		on_open(c, &t, &m.u.open, now_us);
	else if (m.type == MSG_CLOSE && t.kind == TOPIC_UP && m.u.close.session == t.session)
		on_close(c, &t, &m.u.close, now_us);
	msg_finish(&m);
}

/* The lane still serves the epoch that asked. */
static bool is_current(const struct worker_core *c, const struct tail_job *job)
{
	const struct lane *l = &c->places[job->lane].lane;

	return l->state == LANE_SERVING && l->open.epoch == job->hdr.epoch;
}

/* The lane's track of the trace. */
static void draw(const struct tail_job *job, uint64_t now_us)
{
	uint64_t start_us = job->queued_us + job->queue_us;

	trace_track(job->lane, "queue", job->queued_us, start_us, job->hdr.pos);
	trace_track(job->lane, "compute", start_us, start_us + job->compute_us, job->hdr.pos);
	trace_track(job->lane, "answer", now_us, trace_now_us(), job->hdr.pos);
}

/* Layers that the job's split does not need. */
static void end_rest(struct worker_core *c, struct tail_job *job)
{
	if (!job->rest)
		return;
	c->ops.settle(c->ops.ctx, job->rest);
	c->ops.end_side(c->ops.ctx, job->rest);
}

void worker_core_computed(struct worker_core *c, struct tail_job *job, uint64_t now_us)
{
	struct lane_event ev = {
		.kind = job->rc ? LANE_EV_FAILED : LANE_EV_COMPUTED,
		.now_us = now_us,
		.epoch = job->hdr.epoch,
		.seq = job->hdr.seq,
		.pos = job->hdr.pos + job->hdr.rows,
		.id = job->id,
		.sampled = job->hdr.flags & WIRE_SAMPLE && !job->skipped,
		.tell = job->hdr.flags & WIRE_TELL,
		.fill = wire_is_fill(&job->hdr),
		.end = job->end,
		.queue_us = job->queue_us,
		.compute_us = job->compute_us,
		.code = job->rc,
		.reason = job->err.text,
	};

	c->jobs--;
	if (!job->rc && job->logits && is_current(c, job))
		answer_logits(c, job);
	step(c, &c->places[job->lane], &ev, NULL);
	draw(job, now_us);
	end_rest(c, job);
	if (!c->jobs) /* the agent has the next turn */
		codec_state_foresee(c->places[job->lane].codec);
	free_job(job);
}

void worker_core_tick(struct worker_core *c, uint64_t now_us)
{
	for (unsigned i = 0; i < c->conf.max_sessions; i++) {
		if (c->places[i].lane.state != LANE_FREE)
			step(c, &c->places[i],
			     &(struct lane_event){ .kind = LANE_EV_TICK, .now_us = now_us }, NULL);
	}
}

void worker_core_drain(struct worker_core *c)
{
	c->draining = true;
	if (announce(c, MSG_DRAINING))
		log_event(LOG_LEVEL_WARN, "status.failed", "state=draining");
}

void worker_core_stop(struct worker_core *c)
{
	c->stopped = true;
}

int worker_core_goodbye(struct worker_core *c)
{
	return announce(c, MSG_OFFLINE);
}

unsigned worker_core_sessions(const struct worker_core *c)
{
	unsigned n = 0;

	for (unsigned i = 0; i < c->conf.max_sessions; i++)
		n += c->places[i].lane.state != LANE_FREE;
	return n;
}

/* Whatever jobs that are out may run. */
static uint32_t lowest(const struct place *p)
{
	uint32_t low = p->lane.split;

	if (p->kv && p->kv_split < low)
		low = p->kv_split;
	return (p->side || p->lane.filling) && p->lane.fill_split < low ? p->lane.fill_split : low;
}

uint32_t worker_core_lowest(const struct worker_core *c)
{
	uint32_t low = c->conf.limits.n_layers;

	for (unsigned i = 0; i < c->conf.max_sessions; i++) {
		const struct place *p = &c->places[i];
		const uint32_t l = p->lane.state == LANE_FREE ? low : lowest(p);

		low = l < low ? l : low;
	}
	return low;
}

unsigned worker_core_jobs(const struct worker_core *c)
{
	return c->jobs;
}

void worker_core_telemetry(const struct worker_core *c, struct msg_telemetry *t)
{
	snprintf(t->name, sizeof(t->name), "%s", c->conf.limits.worker);
	t->boot = c->conf.boot;
	t->sessions = worker_core_sessions(c);
	t->sessions_done = c->sessions_done;
	t->sessions_failed = c->sessions_failed;
	t->tokens = c->tokens;
	t->rows = c->rows;
	t->bytes_up = c->bytes_up;
	t->bytes_down = c->bytes_down;
	t->retries = c->retries;
	t->token_ms = c->token_ms;
	t->evictions = c->evictions;
	for (unsigned i = 0; c->ops.held && i < c->conf.max_sessions; i++) {
		if (c->places[i].kv)
			t->kv_bytes += c->ops.held(c->ops.ctx, c->places[i].kv);
	}
}
