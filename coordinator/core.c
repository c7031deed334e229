#include "coordinator/core.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "codec/codec.h"
#include "daemon/link.h"

#define DECIDE_MS 1000
#define SETTLE_MS 300 /* after a connect: retained statuses and decisions come first */

static int check_codec(const char *key, const char *agent, const char *spec, struct err *e)
{
	struct codec_spec parsed;
	struct err why = { 0 };

	if (!spec[0] || !spec_parse(&parsed, spec, &why))
		return 0;
	return err_set(e, ERR_CONFIG, "%s%s.codec: %.150s", key, agent, why.text);
}

int coordinator_check(const struct config_coordinator *conf, struct err *e)
{
	int rc = check_codec("policy", "", conf->policy.codec, e);

	for (uint32_t i = 0; !rc && i < conf->n_agents; i++)
		rc = check_codec("agents.", conf->agents[i].agent, conf->agents[i].codec, e);
	return rc;
}

static struct topic topic_of(const struct coordinator_core *c, enum topic_kind kind)
{
	struct topic t = { .kind = kind };

	snprintf(t.fleet, sizeof(t.fleet), "%s", c->conf->fleet);
	return t;
}

static int announce(struct coordinator_core *c, enum msg_state state)
{
	struct topic t = topic_of(c, TOPIC_COORDINATOR_STATUS);
	struct msg m = { .type = MSG_COORDINATOR_STATUS };
	struct msg_coordinator_status *st = &m.u.coordinator_status;

	snprintf(t.coordinator, sizeof(t.coordinator), "%s", c->conf->coordinator);
	memcpy(st->coordinator, t.coordinator, sizeof(st->coordinator));
	st->state = state;
	st->boot = c->boot;
	st->active = state == MSG_READY;
	st->agents = c->announced_agents = roster_ready_agents(&c->roster);
	st->workers = c->announced_workers = roster_ready_workers(&c->roster);
	snprintf(st->version, sizeof(st->version), "%s", SPLITMQ_VERSION);
	return link_birth(c->bus, &t, &m);
}

int coordinator_core_start(struct coordinator_core *c, struct bus *bus)
{
	static const enum topic_kind wanted[] = { TOPIC_AGENT_STATUS, TOPIC_WORKER_STATUS,
						  TOPIC_DECISION };
	char filter[TOPIC_MAX];

	c->bus = bus;
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		struct topic t = topic_of(c, wanted[i]);
		int rc;

		topic_put(filter, &t);
		rc = bus_subscribe(bus, filter, 1);
		if (rc)
			return rc;
	}
	return announce(c, MSG_READY);
}

void coordinator_core_finish(struct coordinator_core *c)
{
	roster_finish(&c->roster);
}

void coordinator_core_link(struct coordinator_core *c, bool up, uint64_t now_ms)
{
	c->settled_ms = up ? now_ms + SETTLE_MS : 0;
	if (!up)
		roster_doubt(&c->roster);
}

/* Empty when the policy says nothing. */
static const char *kv_of(const struct config_policy *p)
{
	return strcmp(p->kv, "auto") ? p->kv : "";
}

/* What YAML says about an agent: its own section where it speaks, else the policy. */
static void wish_of(const struct config_coordinator *conf, const char *agent, struct roster_wish *w)
{
	const struct config_policy *p = &conf->policy, *own = NULL;
	uint32_t split;

	for (uint32_t i = 0; i < conf->n_agents; i++) {
		if (!strcmp(conf->agents[i].agent, agent))
			own = &conf->agents[i];
	}
	split = own && own->split != UINT32_MAX ? own->split : p->split;
	*w = (struct roster_wish){ .has_split = split != UINT32_MAX, .split = split };
	snprintf(w->codec, sizeof(w->codec), "%.127s",
		 own && own->codec[0] ? own->codec : p->codec);
	snprintf(w->kv, sizeof(w->kv), "%s", own && kv_of(own)[0] ? kv_of(own) : kv_of(p));
	snprintf(w->worker, sizeof(w->worker), "%s",
		 own && own->worker[0] ? own->worker : p->worker);
	w->context_tokens =
		own && own->context_tokens != UINT32_MAX ? own->context_tokens : p->context_tokens;
	if (w->context_tokens == UINT32_MAX)
		w->context_tokens = 0;
}

/* At most one a second for an agent: two coordinators that disagree must not flood the broker. */
static void decide(struct coordinator_core *c, struct roster_agent *a, uint64_t now_ms)
{
	struct topic t = topic_of(c, TOPIC_DECISION);
	struct msg m = { .type = MSG_DECISION };
	struct roster_wish w;
	int rc;

	if (a->decided_ms && now_ms < a->decided_ms + DECIDE_MS)
		return;
	wish_of(c->conf, a->status.agent, &w);
	if (!roster_decide(&c->roster, a, &w, &m.u.decision)) {
		if (a->retained || a->status.state != MSG_READY)
			return;
		m.u.decision = a->decision; /* the broker lost it */
	}
	memcpy(t.agent, a->status.agent, sizeof(t.agent));
	rc = link_publish(c->bus, &t, &m, 1, true, 0);
	if (rc) {
		log_event(LOG_LEVEL_DEBUG, "decision.failed", "agent=%s reason=\"%s\"",
			  a->status.agent, err_phrase(rc));
		return; /* the next tick tries again */
	}
	a->decision = m.u.decision;
	a->retained = true;
	a->decided_ms = now_ms;
	log_event(LOG_LEVEL_INFO, "decision.made",
		  "agent=%s number=%llu split=%u codec=%s kv=%s worker=%s reason=\"%s\"",
		  a->status.agent, (unsigned long long)a->decision.number, a->decision.split,
		  a->decision.codec[0] ? a->decision.codec : "-",
		  a->decision.kv[0] ? a->decision.kv : "-",
		  a->decision.worker[0] ? a->decision.worker : "-", a->decision.reason);
}

void coordinator_core_tick(struct coordinator_core *c, uint64_t now_ms)
{
	if (!c->settled_ms || now_ms < c->settled_ms)
		return;
	for (uint32_t i = 0; i < c->roster.n_agents; i++)
		decide(c, &c->roster.agents[i], now_ms);
	if (roster_ready_agents(&c->roster) != c->announced_agents ||
	    roster_ready_workers(&c->roster) != c->announced_workers)
		(void)!announce(c, MSG_READY);
}

static int take(struct coordinator_core *c, const struct topic *t, const struct msg *m,
		bool retained)
{
	if (t->kind == TOPIC_AGENT_STATUS && m->type == MSG_AGENT_STATUS)
		return roster_agent(&c->roster, &m->u.agent_status, retained);
	if (t->kind == TOPIC_WORKER_STATUS && m->type == MSG_WORKER_STATUS)
		return roster_worker(&c->roster, &m->u.worker_status, retained);
	if (t->kind == TOPIC_DECISION && m->type == MSG_DECISION)
		return roster_decided(&c->roster, &m->u.decision);
	return 0;
}

/* The name in a message must be that of its topic, which the broker's access list vouches for. */
static bool is_genuine(const struct topic *t, const struct msg *m)
{
	if (m->type == MSG_AGENT_STATUS)
		return !strcmp(t->agent, m->u.agent_status.agent);
	if (m->type == MSG_WORKER_STATUS)
		return !strcmp(t->worker, m->u.worker_status.worker);
	return m->type != MSG_DECISION || !strcmp(t->agent, m->u.decision.agent);
}

/* Somebody wiped a retained message: a decision is said again at the next tick. */
static void on_cleared(struct coordinator_core *c, const struct topic *t)
{
	struct roster_agent *a = NULL;

	if (t->kind == TOPIC_DECISION)
		a = roster_find_agent(&c->roster, t->agent);
	if (a)
		a->retained = false;
}

void coordinator_core_message(struct coordinator_core *c, const struct bus_event *ev,
			      uint64_t now_ms)
{
	struct err e = { 0 };
	struct topic t;
	struct msg m;

	if (topic_get(&t, ev->topic, strlen(ev->topic)))
		return;
	if (!ev->len) {
		on_cleared(c, &t);
		return;
	}
	if (msg_parse(&m, (const char *)ev->payload, ev->len, MSG_TYPE_COUNT, &e)) {
		log_event(LOG_LEVEL_WARN, "message.refused", "topic=%s bytes=%zu reason=\"%s\"",
			  ev->topic, ev->len, e.text);
		return;
	}
	if (!is_genuine(&t, &m))
		log_event(LOG_LEVEL_WARN, "message.refused",
			  "topic=%s reason=\"name and topic differ\"", ev->topic);
	else if (take(c, &t, &m, ev->retained))
		log_event(LOG_LEVEL_ERROR, "roster.full", "reason=\"out of memory\"");
	msg_finish(&m);
	coordinator_core_tick(c, now_ms);
}

int coordinator_core_goodbye(struct coordinator_core *c)
{
	return announce(c, MSG_OFFLINE);
}
