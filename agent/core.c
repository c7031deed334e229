#include "agent/core.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/offline.h"
#include "agent/reply.h"
#include "agent/slot.h"
#include "agent/sounding.h"
#include "agent/verdict.h"
#include "agent/waiting.h"
#include "base/log.h"
#include "daemon/link.h"
#include "schema/wire.h"

#define SETTLE_US 300000u /* after a connect: the workers' retained statuses come first */

int agent_core_create(struct agent_core **out, const struct agent_core_conf *conf,
		      const struct agent_ops *ops)
{
	struct agent_core *c = calloc(1, sizeof(*c));

	if (!c)
		return ERR_NOMEM;
	c->conf = *conf;
	c->ops = *ops;
	meter_shape(&c->meter, conf->attention);
	c->probe = (struct probe){ .every_us = conf->probe_us, .id = conf->boot };
	c->slots = calloc(conf->max_sessions, sizeof(*c->slots));
	c->frame_cap = slot_frame_bytes(conf->dim);
	c->frame = malloc(c->frame_cap);
	if (!c->slots || !c->frame) {
		agent_core_destroy(c);
		return ERR_NOMEM;
	}
	*out = c;
	return 0;
}

void agent_core_destroy(struct agent_core *c)
{
	if (!c)
		return;
	for (unsigned i = 0; c->slots && i < c->conf.max_sessions; i++) {
		if (c->slots[i].used)
			slot_free(c, &c->slots[i]);
	}
	for (unsigned i = 0; i < c->n_waiting; i++)
		free(c->waiting[i].prompt.prompt);
	reply_drop_kept(c);
	free(c->slots);
	free(c->frame);
	free(c);
}

/* A topic of this agent; worker and session stay wildcards. */
static struct topic own_topic(const struct agent_core *c, enum topic_kind kind)
{
	struct topic t = { .kind = kind };

	snprintf(t.fleet, sizeof(t.fleet), "%s", c->conf.fleet);
	snprintf(t.agent, sizeof(t.agent), "%s", c->conf.agent);
	return t;
}

static int announce(struct agent_core *c, enum msg_state state)
{
	struct topic t = own_topic(c, TOPIC_AGENT_STATUS);
	struct msg m = { .type = MSG_AGENT_STATUS };
	struct msg_agent_status *st = &m.u.agent_status;

	snprintf(st->agent, sizeof(st->agent), "%s", c->conf.agent);
	st->state = state;
	st->boot = c->conf.boot;
	snprintf(st->model, sizeof(st->model), "%s", c->conf.model);
	snprintf(st->model_name, sizeof(st->model_name), "%s", c->conf.model_name);
	st->n_layers = c->conf.n_layers;
	st->dim = c->conf.dim;
	st->context_tokens = c->conf.context_tokens;
	st->max_sessions = c->conf.max_sessions;
	snprintf(st->version, sizeof(st->version), "%s", SPLITMQ_VERSION);
	return link_birth(c->bus, &t, &m);
}

int agent_core_start(struct agent_core *c, struct bus *bus)
{
	static const struct {
		enum topic_kind kind;
		int qos;
	} wanted[] = {
		{ TOPIC_DOWN, 1 },         { TOPIC_DECISION, 1 },    { TOPIC_WORKER_STATUS, 1 },
		{ TOPIC_AGENT_PROMPT, 1 }, { TOPIC_AGENT_PROBE, 0 },
	};
	struct topic t;
	char filter[TOPIC_MAX];
	int rc;

	c->bus = bus;
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		if (wanted[i].kind == TOPIC_AGENT_PROBE && !c->conf.probe_us)
			continue;
		t = own_topic(c, wanted[i].kind);
		if (wanted[i].kind == TOPIC_WORKER_STATUS)
			t.agent[0] = '\0';
		topic_put(filter, &t);
		rc = bus_subscribe(bus, filter, wanted[i].qos);
		if (rc)
			return rc;
	}
	return announce(c, MSG_READY);
}

static struct slot *slot_of_session(struct agent_core *c, uint64_t session)
{
	for (unsigned i = 0; i < c->conf.max_sessions; i++) {
		struct slot *sl = &c->slots[i];

		if (sl->used && sl->session.state != SESSION_ENDED &&
		    sl->session.conf.id == session)
			return sl;
	}
	return NULL;
}

static struct slot *slot_of_id(struct agent_core *c, const char *id)
{
	for (unsigned i = 0; i < c->conf.max_sessions; i++) {
		struct slot *sl = &c->slots[i];

		if (sl->used && sl->session.state != SESSION_ENDED && !strcmp(sl->id, id))
			return sl;
	}
	return NULL;
}

static struct slot *free_slot(struct agent_core *c)
{
	for (unsigned i = 0; i < c->conf.max_sessions; i++) {
		if (!c->slots[i].used)
			return &c->slots[i];
	}
	return NULL;
}

/* Waiting prompts go to slots as these become free. */
static void fill_slots(struct agent_core *c, uint64_t now_us)
{
	struct slot *sl;
	unsigned i;

	while ((i = waiting_next(c)) < c->n_waiting && (sl = free_slot(c))) {
		struct waiting w = c->waiting[i];

		c->waiting[i].prompt.prompt = NULL;
		waiting_drop(c, i);
		slot_begin(c, sl, &w, NULL, 0, now_us);
		free(w.prompt.prompt);
	}
}

/* A prompt of this id runs or waits. */
static bool is_live(struct agent_core *c, const char *id)
{
	return slot_of_id(c, id) || waiting_find(c, id) < c->n_waiting;
}

/* An id of ours, when the sender gave none. */
static void make_id(struct agent_core *c, struct msg_prompt *m)
{
	if (m->id[0])
		return;
	do
		snprintf(m->id, sizeof(m->id), "p%u", ++c->ids_made);
	while (is_live(c, m->id));
}

/* Why m cannot be taken: 0, or ERR_* and a reason. */
static int refuse_reason(const struct agent_core *c, const char **why)
{
	if (c->draining) {
		*why = "the agent is shutting down";
		return ERR_REFUSED;
	}
	if (c->n_waiting == CORE_WAITING) {
		*why = "too many prompts are waiting";
		return ERR_BUSY;
	}
	return 0;
}

/* Sessions that wait to be opened while every ready worker serves another model: say so at once. */
static void check_mismatch(struct agent_core *c, uint64_t now_us)
{
	const struct msg_worker_status *w = workers_mismatch(&c->workers, c->conf.model);
	struct msg_error m = { .code = ERR_MODEL_MISMATCH };

	if (!w || !c->up || now_us < c->settled_us)
		return;
	snprintf(m.reason, sizeof(m.reason),
		 "worker %s serves model %.32s (%.40s), this agent has %.32s", w->worker, w->model,
		 w->model_name, c->conf.model);
	for (unsigned i = 0; i < c->conf.max_sessions; i++) {
		struct slot *sl = &c->slots[i];

		if (!sl->used || sl->session.state != SESSION_OPENING)
			continue;
		m.epoch = sl->session.epoch;
		slot_event(c, sl,
			   &(struct session_event){
				   .kind = SESSION_EV_ERROR, .now_us = now_us, .error = &m });
	}
	fill_slots(c, now_us);
}

/* Whether the fleet is there, and what follows from it. */
static void look_around(struct agent_core *c, uint64_t now_us)
{
	const bool may_begin = offline_look(c, now_us);

	waiting_expire(c, now_us);
	if (may_begin)
		fill_slots(c, now_us);
}

static void take_prompt(struct agent_core *c, struct msg_prompt *m, bool in_process,
			uint64_t now_us)
{
	const char *why = NULL;
	int rc;

	make_id(c, m);
	if (is_live(c, m->id)) {
		log_event(LOG_LEVEL_INFO, "prompt.repeated", "id=%s", m->id);
		return;
	}
	rc = refuse_reason(c, &why);
	if (rc) {
		slot_refuse(c, m->id, in_process, rc, why);
		return;
	}
	c->waiting[c->n_waiting++] = (struct waiting){
		.prompt = *m,
		.in_process = in_process,
		.deadline_us = slot_deadline_us(c, m, now_us),
	};
	m->prompt = NULL;
	look_around(c, now_us);
	fill_slots(c, now_us);
	check_mismatch(c, now_us);
}

void agent_core_prompt(struct agent_core *c, struct msg_prompt *m, uint64_t now_us)
{
	take_prompt(c, m, true, now_us);
	free(m->prompt);
	m->prompt = NULL;
}

void agent_core_prompt_ids(struct agent_core *c, const struct msg_prompt *m, const uint32_t *ids,
			   uint32_t n, uint64_t now_us)
{
	struct slot *sl = c->held ? NULL : free_slot(c);

	if (sl)
		slot_begin(c, sl,
			   &(struct waiting){ .prompt = *m,
					      .in_process = true,
					      .deadline_us = slot_deadline_us(c, m, now_us) },
			   ids, n, now_us);
	else
		slot_refuse(c, m->id, true, ERR_BUSY, "no free session");
	check_mismatch(c, now_us);
}

void agent_core_cancel(struct agent_core *c, const char *id, uint64_t now_us)
{
	struct slot *sl = slot_of_id(c, id);
	unsigned i = waiting_find(c, id);

	if (sl) {
		slot_event(c, sl,
			   &(struct session_event){ .kind = SESSION_EV_CANCEL, .now_us = now_us });
	} else if (i < c->n_waiting) {
		slot_refuse(c, id, c->waiting[i].in_process, ERR_CANCELLED, "cancelled");
		waiting_drop(c, i);
	}
	fill_slots(c, now_us);
}

void agent_core_cancel_all(struct agent_core *c, uint64_t now_us)
{
	while (c->n_waiting) {
		slot_refuse(c, c->waiting[0].prompt.id, c->waiting[0].in_process, ERR_CANCELLED,
			    "the agent is shutting down");
		waiting_drop(c, 0);
	}
	for (unsigned i = 0; i < c->conf.max_sessions; i++) {
		if (c->slots[i].used && c->slots[i].session.state != SESSION_ENDED)
			slot_event(c, &c->slots[i],
				   &(struct session_event){ .kind = SESSION_EV_CANCEL,
							    .now_us = now_us });
	}
}

/* The same event to every session that runs. */
static void broadcast(struct agent_core *c, const struct session_event *ev)
{
	for (unsigned i = 0; i < c->conf.max_sessions; i++) {
		if (c->slots[i].used && c->slots[i].session.state != SESSION_ENDED)
			slot_event(c, &c->slots[i], ev);
	}
	fill_slots(c, ev->now_us);
}

void agent_core_link(struct agent_core *c, bool up, uint64_t now_us)
{
	c->up = up;
	c->settled_us = now_us + SETTLE_US;
	if (up)
		reply_flush(c);
	if (up)
		broadcast(c,
			  &(struct session_event){ .kind = SESSION_EV_LINK_UP, .now_us = now_us });
	look_around(c, now_us);
}

uint64_t agent_core_due_us(const struct agent_core *c)
{
	uint64_t due = UINT64_MAX;

	for (unsigned i = 0; i < c->conf.max_sessions; i++) {
		uint64_t d = c->slots[i].used ? session_due_us(&c->slots[i].session) : UINT64_MAX;

		due = d < due ? d : due;
	}
	for (unsigned i = 0; i < c->n_waiting; i++)
		due = c->waiting[i].deadline_us < due ? c->waiting[i].deadline_us : due;
	return c->offline_due_us && c->offline_due_us < due ? c->offline_due_us : due;
}

void agent_core_computed(struct agent_core *c, struct head_job *job, uint64_t now_us)
{
	slot_computed(c, &c->slots[job->slot], job, now_us);
	fill_slots(c, now_us);
}

void agent_core_drafted(struct agent_core *c, const struct head_draft *d, uint64_t now_us)
{
	slot_drafted(c, d, now_us);
}

/* A worker accepted a session that we do not have (any more). */
static void close_stray(struct agent_core *c, const struct msg_accept *a)
{
	struct msg m = { .type = MSG_CLOSE,
			 .u.close = {
				 .session = a->session, .epoch = a->epoch, .reason = "unknown" } };

	slot_send_control(c, &m, a->worker, a->session);
}

/* What a message says about itself is what its topic says, which the broker's access list vouches
 * for. */
static bool is_genuine(const struct topic *t, const struct msg *m)
{
	switch (m->type) {
	case MSG_ACCEPT:
		return m->u.accept.session == t->session && !strcmp(m->u.accept.worker, t->worker);
	case MSG_TOKENS:
		return m->u.tokens.session == t->session;
	case MSG_NEED:
		return m->u.need.session == t->session;
	case MSG_ERROR:
		return m->u.error.session == t->session;
	case MSG_WORKER_STATUS:
		return !strcmp(m->u.worker_status.worker, t->worker);
	case MSG_DECISION:
		return !strcmp(m->u.decision.agent, t->agent);
	default:
		return true;
	}
}

/* A second worker may accept; all other answers count only from the worker that holds the
 * session. */
static bool from_ours(const struct slot *sl, const char *worker)
{
	return sl->session.state != SESSION_OPEN || !strcmp(sl->session.worker, worker);
}

static void on_down(struct agent_core *c, const struct topic *t, const struct msg *m,
		    const struct bus_event *bev, uint64_t now_us)
{
	struct slot *sl = slot_of_session(c, t->session);
	struct session_event ev = { .now_us = now_us };
	struct msg_error err;

	if (!sl) {
		if (m->type == MSG_ACCEPT)
			close_stray(c, &m->u.accept);
		return;
	}
	sl->arrived_us = bev->at_us;
	sl->arrived_bytes = (uint32_t)bev->len;
	sl->times.bytes_down += bev->len;
	c->bytes_down += bev->len;
	if (m->type == MSG_ACCEPT) {
		ev.kind = SESSION_EV_ACCEPT;
		ev.accept = &m->u.accept;
	} else if (m->type == MSG_TOKENS && from_ours(sl, t->worker)) {
		ev.kind = SESSION_EV_TOKENS;
		ev.tokens = &m->u.tokens;
	} else if (m->type == MSG_NEED && from_ours(sl, t->worker)) {
		ev.kind = SESSION_EV_NEED;
		ev.need = &m->u.need;
	} else if (m->type == MSG_ERROR && from_ours(sl, t->worker)) {
		err = m->u.error;
		if (err.code == ERR_REFUSED &&
		    workers_can_serve(&c->workers, c->conf.model, session_open_split(&sl->session),
				      slot_calibration(c, sl)))
			err.code = ERR_BUSY; /* that worker has not our layers, another one does */
		ev.kind = SESSION_EV_ERROR;
		ev.error = &err;
	} else {
		return;
	}
	slot_event(c, sl, &ev);
	fill_slots(c, now_us);
}

void agent_core_tick(struct agent_core *c, uint64_t now_us)
{
	waiting_expire(c, now_us);
	broadcast(c, &(struct session_event){ .kind = SESSION_EV_TICK, .now_us = now_us });
	look_around(c, now_us);
	check_mismatch(c, now_us);
}

static void on_worker_status(struct agent_core *c, const struct msg_worker_status *st,
			     bool retained, uint64_t now_us)
{
	bool lost = workers_update(&c->workers, st, retained);
	bool leaves = st->state == MSG_DRAINING &&
		      workers_other_ready(&c->workers, c->conf.model, st->worker);

	if (lost || leaves) {
		log_event(LOG_LEVEL_INFO, "worker.left", "worker=%s state=%s", st->worker,
			  msg_state_name(st->state));
		broadcast(c, &(struct session_event){ .kind = SESSION_EV_WORKER_LOST,
						      .now_us = now_us,
						      .worker = st->worker,
						      .listening = !lost });
	}
	look_around(c, now_us);
	check_mismatch(c, now_us);
}

/* A session that runs moves, unless it shall stay. A decision for the last layer says nothing of
 * rows that still cross. */
static void follow(struct agent_core *c, struct slot *sl, const struct msg_decision *d,
		   const struct codec_spec *spec, const struct codec_spec *stay_spec,
		   uint64_t now_us)
{
	const bool stays = d->stay_codec[0] && sl->session.wish != d->split;

	if (stays)
		slot_decide(c, sl, stay_spec);
	else if (d->codec[0] && d->split < c->conf.n_layers)
		slot_decide(c, sl, spec);
	slot_decide_kv(sl, d->kv);
	if (!stays)
		slot_move(c, sl, d->split, now_us);
	slot_recast(c, sl, now_us);
}

static void on_decision(struct agent_core *c, const struct msg_decision *d, bool retained,
			uint64_t now_us)
{
	struct codec_spec spec = c->conf.codec, stay_spec;
	struct msg_decision_answer answer;
	int rc;

	if (!retained && c->has_decision && verdict_is_same(&c->decision, d)) {
		c->decision = *d; /* with other figures; a retained one is answered again */
		return;
	}
	rc = verdict_on(c, d, &answer);
	verdict_publish(c, &answer);
	if (rc || (d->codec[0] && spec_parse(&spec, d->codec, NULL)))
		return;
	if (d->stay_codec[0] && spec_parse(&stay_spec, d->stay_codec, NULL))
		return;
	c->decision = *d;
	c->has_decision = true;
	for (unsigned i = 0; i < c->conf.max_sessions; i++) {
		struct slot *sl = &c->slots[i];

		if (sl->used && sl->session.state != SESSION_ENDED)
			follow(c, sl, d, &spec, &stay_spec, now_us);
	}
	if (c->ops.front && !c->alone && !c->offline_loading)
		c->ops.front(c->ops.ctx, d->front);
	log_event(LOG_LEVEL_INFO, "decision.taken",
		  "number=%llu split=%u codec=%s stay_codec=%s kv=%s worker=%s",
		  (unsigned long long)d->number, d->split, d->codec[0] ? d->codec : "-",
		  d->stay_codec[0] ? d->stay_codec : "-", d->kv[0] ? d->kv : "-",
		  d->worker[0] ? d->worker : "-");
}

static void on_prompt(struct agent_core *c, struct msg *m, bool retained, uint64_t now_us)
{
	if (retained) { /* it would be answered again after every reconnect */
		log_event(LOG_LEVEL_WARN, "prompt.ignored",
			  "reason=\"published with the retain flag\"");
		return;
	}
	if (m->type == MSG_CANCEL) {
		agent_core_cancel(c, m->u.cancel.id, now_us);
		return;
	}
	take_prompt(c, &m->u.prompt, false, now_us);
}

/* A prompt that cannot be parsed still deserves an answer: under its id, or one of our making. */
static void on_malformed(struct agent_core *c, const struct bus_event *ev, enum topic_kind kind,
			 int rc, const struct err *e)
{
	struct msg_prompt none = { 0 };
	struct msg_peek peek;

	log_event(LOG_LEVEL_WARN, "message.refused", "topic=%s bytes=%zu reason=%s", ev->topic,
		  ev->len, LOG_QUOTED(e->text));
	if (kind != TOPIC_AGENT_PROMPT || ev->retained)
		return;
	if (msg_peek(&peek, (const char *)ev->payload, ev->len))
		memcpy(none.id, peek.id, sizeof(none.id));
	make_id(c, &none);
	slot_refuse(c, none.id, false, rc, e->text);
}

void agent_core_message(struct agent_core *c, const struct bus_event *ev, uint64_t now_us)
{
	struct err e = { 0 };
	struct topic t;
	struct msg m;
	int rc;

	if (topic_get(&t, ev->topic, strlen(ev->topic)) || !ev->len)
		return; /* not ours, or a retained message that was cleared */
	if (t.kind == TOPIC_AGENT_PROBE) {
		sounding_take(c, ev, now_us);
		return;
	}
	if (wire_is_frame(ev->payload, ev->len))
		return; /* this agent asks for no binary frames */
	rc = msg_parse(&m, (const char *)ev->payload, ev->len,
		       t.kind == TOPIC_AGENT_PROMPT ? MSG_PROMPT : MSG_TYPE_COUNT, &e);
	if (rc) {
		on_malformed(c, ev, t.kind, rc, &e);
		return;
	}
	if (!is_genuine(&t, &m))
		log_event(LOG_LEVEL_WARN, "message.refused",
			  "topic=%s reason=\"message and topic differ\"", ev->topic);
	else if (t.kind == TOPIC_DOWN)
		on_down(c, &t, &m, ev, now_us);
	else if (t.kind == TOPIC_WORKER_STATUS && m.type == MSG_WORKER_STATUS)
		on_worker_status(c, &m.u.worker_status, ev->retained, now_us);
	else if (t.kind == TOPIC_DECISION && m.type == MSG_DECISION)
		on_decision(c, &m.u.decision, ev->retained, now_us);
	else if (t.kind == TOPIC_AGENT_PROMPT && (m.type == MSG_PROMPT || m.type == MSG_CANCEL))
		on_prompt(c, &m, ev->retained, now_us);
	msg_finish(&m);
}

void agent_core_use_front(struct agent_core *c, const struct agent_front *front)
{
	if (c->front.index != front->index)
		log_event(LOG_LEVEL_INFO, "front.used", "front=%s", front->name);
	c->front = *front;
	offline_front(c);
}

void agent_core_front_lost(struct agent_core *c, const char *name, uint64_t missing_bytes,
			   const char *reason)
{
	struct msg_decision_answer answer = { .number = c->decision.number,
					      .code = missing_bytes ? ERR_LIMIT : ERR_NOT_FOUND,
					      .missing_bytes = missing_bytes };

	if (!c->has_decision || strcmp(c->decision.front, name))
		return;
	snprintf(answer.agent, sizeof(answer.agent), "%s", c->conf.agent);
	snprintf(answer.reason, sizeof(answer.reason), "front %s: %s", name, reason);
	verdict_publish(c, &answer);
}

bool agent_core_can_use(const struct agent_core *c, const struct agent_front *front)
{
	for (unsigned i = 0; i < c->conf.max_sessions; i++) {
		const struct session *s = &c->slots[i].session;
		uint32_t last = s->conf.split;

		if (!c->slots[i].used || (s->state == SESSION_ENDED && !s->computing))
			continue;
		if (s->handover.way != SESSION_STAYS && s->handover.to > last)
			last = s->handover.to;
		if (last > front->layers || (last == c->conf.n_layers && !front->has_head))
			return false;
	}
	return true;
}

bool agent_core_uses_front(const struct agent_core *c, unsigned index)
{
	for (unsigned i = 0; i < c->conf.max_sessions; i++) {
		const struct slot *sl = &c->slots[i];

		if (sl->used && ((sl->session.computing && sl->job.front == index) ||
				 (sl->session.handover.out && sl->side.front == index)))
			return true;
	}
	return false;
}

bool agent_core_idle(const struct agent_core *c)
{
	for (unsigned i = 0; i < c->conf.max_sessions; i++) {
		if (c->slots[i].used)
			return false;
	}
	return true;
}

void agent_core_hold(struct agent_core *c, bool hold, uint64_t now_us)
{
	c->held = hold;
	fill_slots(c, now_us);
}

void agent_core_drain(struct agent_core *c)
{
	c->draining = true;
	if (announce(c, MSG_DRAINING))
		log_event(LOG_LEVEL_WARN, "status.failed", "state=draining");
}

int agent_core_goodbye(struct agent_core *c)
{
	return announce(c, MSG_OFFLINE);
}

unsigned agent_core_sessions(const struct agent_core *c)
{
	unsigned n = c->n_waiting;

	for (unsigned i = 0; i < c->conf.max_sessions; i++)
		n += c->slots[i].used && c->slots[i].session.state != SESSION_ENDED;
	return n;
}

bool agent_core_busy(const struct agent_core *c)
{
	for (unsigned i = 0; i < c->conf.max_sessions; i++) {
		if (c->slots[i].used && slot_is_out(&c->slots[i]))
			return true;
	}
	return false;
}

struct meter *agent_core_meter(struct agent_core *c)
{
	return &c->meter;
}
