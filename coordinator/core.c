#include "coordinator/core.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "codec/codec.h"
#include "coordinator/assign.h"
#include "daemon/link.h"

#define DECIDE_MS   1000
#define FIGURES_MS  30000 /* least time from anything that was said to mere figures */
#define ANNOUNCE_MS 1000
#define SETTLE_MS   300 /* after a connect: retained statuses and decisions come first */
#define TICK_AGENTS 64  /* looked at in one tick */
#define BEHIND_MS   200 /* between two ticks that decide, while many messages wait */

static int check_codec(const char *key, const char *agent, const char *spec, struct err *e)
{
	struct codec_spec parsed;
	struct err why = { 0 };

	if (!spec[0] || !spec_parse(&parsed, spec, &why))
		return 0;
	return err_set(e, ERR_CONFIG, "%s%s.codec: %.150s", key, agent, why.text);
}

static int check_calibration(const struct config_coordinator *conf, struct err *e)
{
	struct cal *cal;
	int rc;

	if (!conf->calibration[0])
		return 0;
	rc = cal_open(&cal, conf->calibration, e);
	if (rc)
		return err_wrap(e, "calibration");
	cal_close(cal);
	return 0;
}

int coordinator_check(const struct config_coordinator *conf, struct err *e)
{
	int rc = check_codec("policy", "", conf->policy.codec, e);

	for (uint32_t i = 0; !rc && i < conf->n_agents; i++)
		rc = check_codec("agents.", conf->agents[i].agent, conf->agents[i].codec, e);
	return rc ? rc : check_calibration(conf, e);
}

static struct topic topic_of(const struct coordinator_core *c, enum topic_kind kind)
{
	struct topic t = { .kind = kind };

	snprintf(t.fleet, sizeof(t.fleet), "%s", c->conf->fleet);
	return t;
}

static int announce(struct coordinator_core *c, enum msg_state state, uint64_t now_ms)
{
	struct topic t = topic_of(c, TOPIC_COORDINATOR_STATUS);
	struct msg m = { .type = MSG_COORDINATOR_STATUS };
	struct msg_coordinator_status *st = &m.u.coordinator_status;

	snprintf(t.coordinator, sizeof(t.coordinator), "%s", c->conf->coordinator);
	memcpy(st->coordinator, t.coordinator, sizeof(st->coordinator));
	st->state = state;
	st->boot = c->boot;
	st->active = c->announced_active = lease_is_active(&c->lease, now_ms);
	st->term = c->lease.term;
	st->agents = c->announced_agents = roster_ready_agents(&c->roster);
	st->workers = c->announced_workers = roster_ready_workers(&c->roster);
	snprintf(st->version, sizeof(st->version), "%s", SPLITMQ_VERSION);
	c->announced_ms = now_ms;
	return link_birth(c->bus, &t, &m);
}

/* When there is news: who is active at once, numbers at most one a second. */
static void announce_changes(struct coordinator_core *c, uint64_t now_ms)
{
	bool active = lease_is_active(&c->lease, now_ms) != c->announced_active;
	bool numbers = roster_ready_agents(&c->roster) != c->announced_agents ||
		       roster_ready_workers(&c->roster) != c->announced_workers;

	if (active || (numbers && now_ms >= c->announced_ms + ANNOUNCE_MS))
		(void)!announce(c, MSG_READY, now_ms);
}

int coordinator_core_start(struct coordinator_core *c, struct bus *bus)
{
	static const enum topic_kind wanted[] = {
		TOPIC_COORDINATOR_STATUS, TOPIC_COORDINATOR_LEASE, TOPIC_DECISION,
		TOPIC_AGENT_STATUS,       TOPIC_AGENT_PROFILE,     TOPIC_AGENT_TELEMETRY,
		TOPIC_AGENT_ANSWER,       TOPIC_WORKER_STATUS,     TOPIC_WORKER_TELEMETRY,
	};
	char filter[TOPIC_MAX];
	struct err e = { 0 };

	if (decide_create(&c->decide, c->conf, &e)) {
		log_event(LOG_LEVEL_ERROR, "planner.failed", "reason=%s", LOG_QUOTED(e.text));
		return e.code;
	}
	c->bus = bus;
	lease_init(&c->lease, c->conf->coordinator, c->boot, c->conf->lease_ms);
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		struct topic t = topic_of(c, wanted[i]);
		int rc;

		topic_put(filter, &t);
		rc = bus_subscribe(bus, filter, 1);
		if (rc)
			return rc;
	}
	return announce(c, MSG_READY, 0);
}

void coordinator_core_finish(struct coordinator_core *c)
{
	roster_finish(&c->roster);
	decide_destroy(c->decide);
	c->decide = NULL;
}

/* ---- the lease ---- */

static int publish_lease(struct coordinator_core *c, enum lease_effect fx)
{
	struct topic t = topic_of(c, TOPIC_COORDINATOR_LEASE);
	struct msg m = { .type = MSG_COORDINATOR_LEASE, .u.coordinator_lease = c->lease.own };
	char topic[TOPIC_MAX];

	if (fx == LEASE_PUBLISH)
		return link_publish(c->bus, &t, &m, 1, true, 0);
	topic_put(topic, &t);
	return bus_publish(
		c->bus,
		&(struct bus_publish){ .topic = topic, .payload = "", .qos = 1, .retain = true });
}

static void step_lease(struct coordinator_core *c, const struct lease_event *ev)
{
	enum lease_state before = c->lease.state;
	enum lease_effect fx = lease_step(&c->lease, ev);

	if (fx != LEASE_NOTHING && publish_lease(c, fx))
		log_event(LOG_LEVEL_DEBUG, "lease.failed", "term=%llu",
			  (unsigned long long)c->lease.own.term);
	if (c->lease.state == before)
		return;
	log_event(LOG_LEVEL_INFO, "lease.state", "state=%s before=%s term=%llu holder=%s",
		  lease_state_name(c->lease.state), lease_state_name(before),
		  (unsigned long long)c->lease.term,
		  c->lease.state == LEASE_HOLDING     ? c->conf->coordinator
		  : c->lease.state == LEASE_FOLLOWING ? c->lease.holder.coordinator
						      : "-");
	if (c->lease.state == LEASE_HOLDING)
		roster_touch_all(&c->roster); /* what the last one did not come to */
}

void coordinator_core_link(struct coordinator_core *c, bool up, uint64_t now_ms)
{
	c->settled_ms = up ? now_ms + SETTLE_MS : 0;
	if (!up)
		roster_doubt(&c->roster);
	step_lease(c, &(struct lease_event){ .kind = up ? LEASE_EV_UP : LEASE_EV_DOWN,
					     .now_ms = now_ms });
}

/* ---- decisions ---- */

static int publish_decision(struct coordinator_core *c, struct roster_agent *a,
			    struct msg_decision *d, uint64_t now_ms)
{
	struct topic t = topic_of(c, TOPIC_DECISION);
	struct msg m = { .type = MSG_DECISION };
	int rc;

	snprintf(d->coordinator, sizeof(d->coordinator), "%s", c->conf->coordinator);
	d->term = c->lease.own.term;
	m.u.decision = *d;
	memcpy(t.agent, a->status.agent, sizeof(t.agent));
	rc = link_publish(c->bus, &t, &m, 1, true, 0);
	if (!rc)
		roster_publish(&c->roster, a, d, now_ms);
	return rc;
}

static void log_decision(const struct msg_decision *d, bool again)
{
	log_event(again ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO,
		  again ? "decision.repeated" : "decision.made",
		  "agent=%s number=%llu split=%u codec=%s kv=%s worker=%s reason=%s", d->agent,
		  (unsigned long long)d->number, d->split, d->codec[0] ? d->codec : "-",
		  d->kv[0] ? d->kv : "-", d->worker[0] ? d->worker : "-", LOG_QUOTED(d->reason));
}

/* How long a new decision waits: for nothing but the second when what holds is no good. */
static uint64_t pause_ms(const struct coordinator_core *c, const struct roster_agent *a)
{
	const struct roster_worker *w = roster_find_worker(&c->roster, a->decision.worker);
	bool lost = a->decision.worker[0] && (!w || !assign_can_serve(w, a));
	bool refused = a->answer.number == a->decision.number && !a->answer.taken;

	if (!a->retained || lost || refused || a->hold_ms < DECIDE_MS)
		return DECIDE_MS;
	return a->hold_ms;
}

/* Of what holds; *d is to be published. Figures that come too soon wait for the next telemetry. */
static bool is_news(struct coordinator_core *c, struct roster_agent *a, struct msg_decision *d,
		    uint64_t now_ms)
{
	const enum decide_news news = decide_make(c->decide, &c->roster, a, d, &a->again);

	if (news == DECIDE_CHOICE || a->status.state != MSG_READY)
		return news == DECIDE_CHOICE;
	if (news == DECIDE_FIGURES && (!a->retained || now_ms >= a->told_ms + FIGURES_MS))
		return true;
	a->again |= news == DECIDE_FIGURES;
	if (!a->retained)
		*d = a->decision; /* the broker lost it */
	return !a->retained;
}

/* False when it must be looked at again. At most one decision a second for an agent. */
static bool decide(struct coordinator_core *c, struct roster_agent *a, uint64_t now_ms)
{
	const uint64_t before = a->decision.number;
	struct msg_decision d;
	int rc;

	if (a->decided_ms &&
	    (now_ms < a->told_ms + DECIDE_MS || now_ms < a->decided_ms + pause_ms(c, a)))
		return false;
	if (!is_news(c, a, &d, now_ms))
		return true;
	rc = publish_decision(c, a, &d, now_ms);
	if (rc) {
		log_event(LOG_LEVEL_DEBUG, "decision.failed", "agent=%s reason=%s", a->status.agent,
			  LOG_QUOTED(err_phrase(rc)));
		return false;
	}
	log_decision(&d, d.number == before);
	return true;
}

/* Those whose turn is not yet go to the end of the list. How many are done with. */
static uint32_t decide_due(struct coordinator_core *c, uint64_t now_ms)
{
	uint32_t n = c->roster.n_due < TICK_AGENTS ? c->roster.n_due : TICK_AGENTS, done = 0;

	for (; n; n--) {
		struct roster_agent *a = roster_next_due(&c->roster);

		if (decide(c, a, now_ms))
			done++;
		else
			roster_touch(&c->roster, a);
	}
	return done;
}

bool coordinator_core_tick(struct coordinator_core *c, uint64_t now_ms)
{
	if (!c->settled_ms)
		return false;
	step_lease(c, &(struct lease_event){ .kind = LEASE_EV_TICK, .now_ms = now_ms });
	announce_changes(c, now_ms);
	if (now_ms < c->settled_ms || !lease_is_active(&c->lease, now_ms))
		return false;
	if (c->behind && now_ms < c->tick_ms + BEHIND_MS)
		return true;
	c->tick_ms = now_ms;
	return decide_due(c, now_ms) && c->roster.n_due;
}

/* ---- messages ---- */

static int take_decision(struct coordinator_core *c, const struct msg_decision *d, uint64_t now_ms)
{
	step_lease(c, &(struct lease_event){
			      .kind = LEASE_EV_TERM, .now_ms = now_ms, .term = d->term });
	return roster_decided(&c->roster, d);
}

static void take_status(struct coordinator_core *c, const struct msg_coordinator_status *st,
			uint64_t now_ms)
{
	if (st->state == MSG_OFFLINE || st->state == MSG_LOST)
		step_lease(c, &(struct lease_event){
				      .kind = LEASE_EV_GONE, .now_ms = now_ms, .boot = st->boot });
}

static int take(struct coordinator_core *c, struct msg *m, bool retained, uint64_t now_ms)
{
	switch (m->type) {
	case MSG_AGENT_STATUS:
		return roster_agent(&c->roster, &m->u.agent_status, retained);
	case MSG_AGENT_PROFILE:
		return roster_profile(&c->roster, &m->u.agent_profile);
	case MSG_AGENT_TELEMETRY:
		roster_agent_telemetry(&c->roster, &m->u.telemetry);
		return 0;
	case MSG_DECISION_ANSWER:
		return roster_answer(&c->roster, &m->u.decision_answer);
	case MSG_WORKER_STATUS:
		return roster_worker(&c->roster, &m->u.worker_status, retained);
	case MSG_WORKER_TELEMETRY:
		roster_worker_telemetry(&c->roster, &m->u.telemetry);
		return 0;
	case MSG_DECISION:
		return take_decision(c, &m->u.decision, now_ms);
	case MSG_COORDINATOR_STATUS:
		take_status(c, &m->u.coordinator_status, now_ms);
		return 0;
	case MSG_COORDINATOR_LEASE:
		step_lease(c, &(struct lease_event){ .kind = LEASE_EV_HEARD,
						     .now_ms = now_ms,
						     .claim = &m->u.coordinator_lease,
						     .retained = retained });
		return 0;
	default:
		return 0;
	}
}

/* Kind of topic -> what must be on it. */
static bool belongs(enum topic_kind kind, enum msg_type type)
{
	static const enum msg_type on[TOPIC_KIND_COUNT] = {
		[TOPIC_AGENT_STATUS] = MSG_AGENT_STATUS,
		[TOPIC_AGENT_PROFILE] = MSG_AGENT_PROFILE,
		[TOPIC_AGENT_TELEMETRY] = MSG_AGENT_TELEMETRY,
		[TOPIC_AGENT_ANSWER] = MSG_DECISION_ANSWER,
		[TOPIC_WORKER_STATUS] = MSG_WORKER_STATUS,
		[TOPIC_WORKER_TELEMETRY] = MSG_WORKER_TELEMETRY,
		[TOPIC_DECISION] = MSG_DECISION,
		[TOPIC_COORDINATOR_STATUS] = MSG_COORDINATOR_STATUS,
		[TOPIC_COORDINATOR_LEASE] = MSG_COORDINATOR_LEASE,
	};

	return on[kind] == type;
}

/* The name in a message must be that of its topic, which the broker's access list vouches for. */
static bool is_genuine(const struct topic *t, const struct msg *m)
{
	switch (m->type) {
	case MSG_AGENT_STATUS:
		return !strcmp(t->agent, m->u.agent_status.agent);
	case MSG_AGENT_PROFILE:
		return !strcmp(t->agent, m->u.agent_profile.agent);
	case MSG_AGENT_TELEMETRY:
		return !strcmp(t->agent, m->u.telemetry.name);
	case MSG_DECISION_ANSWER:
		return !strcmp(t->agent, m->u.decision_answer.agent);
	case MSG_WORKER_STATUS:
		return !strcmp(t->worker, m->u.worker_status.worker);
	case MSG_WORKER_TELEMETRY:
		return !strcmp(t->worker, m->u.telemetry.name);
	case MSG_COORDINATOR_STATUS:
		return !strcmp(t->coordinator, m->u.coordinator_status.coordinator);
	default:
		return m->type != MSG_DECISION || !strcmp(t->agent, m->u.decision.agent);
	}
}

/* Somebody wiped a retained message: a decision is said again at the next tick. */
static void on_cleared(struct coordinator_core *c, const struct topic *t, uint64_t now_ms)
{
	struct roster_agent *a = NULL;

	if (t->kind == TOPIC_COORDINATOR_LEASE)
		step_lease(c, &(struct lease_event){ .kind = LEASE_EV_CLEARED, .now_ms = now_ms });
	if (t->kind == TOPIC_DECISION)
		a = roster_find_agent(&c->roster, t->agent);
	if (!a)
		return;
	a->retained = false;
	roster_touch(&c->roster, a);
}

static void on_message(struct coordinator_core *c, const struct topic *t,
		       const struct bus_event *ev, uint64_t now_ms)
{
	struct err e = { 0 };
	struct msg m;

	if (msg_parse(&m, (const char *)ev->payload, ev->len, MSG_TYPE_COUNT, &e)) {
		log_event(LOG_LEVEL_WARN, "message.refused", "topic=%s bytes=%zu reason=%s",
			  ev->topic, ev->len, LOG_QUOTED(e.text));
		return;
	}
	if (!belongs(t->kind, m.type) || !is_genuine(t, &m))
		log_event(LOG_LEVEL_WARN, "message.refused",
			  "topic=%s reason=\"message and topic differ\"", ev->topic);
	else if (take(c, &m, ev->retained, now_ms))
		log_event(LOG_LEVEL_ERROR, "roster.full", "reason=\"out of memory\"");
	msg_finish(&m);
}

void coordinator_core_message(struct coordinator_core *c, const struct bus_event *ev,
			      uint64_t now_ms)
{
	struct topic t;

	if (topic_get(&t, ev->topic, strlen(ev->topic)))
		return;
	if (ev->len)
		on_message(c, &t, ev, now_ms);
	else
		on_cleared(c, &t, now_ms);
	coordinator_core_tick(c, now_ms);
}

int coordinator_core_goodbye(struct coordinator_core *c, uint64_t now_ms)
{
	step_lease(c, &(struct lease_event){ .kind = LEASE_EV_STOP, .now_ms = now_ms });
	return announce(c, MSG_OFFLINE, now_ms);
}
