#include "coordinator/decide.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "coordinator/accuracy.h"
#include "coordinator/assign.h"
#include "coordinator/facts.h"
#include "coordinator/plan.h"

#define TABLES     16u  /* kinds of agents whose accuracy is kept */
#define UNTRIED    4.0  /* times as fast as an agent is a worker that was not measured */
#define MOVE_WORSE 1.05 /* what a less busy worker may cost beside the present one */
#define FIGURE_FAR 0.25 /* share by which a prediction must be another to be told again */

/* What the accuracy of an agent depends on. */
struct kind {
	char model[MSG_HASH_LEN + 1];
	char codec[MSG_SPEC_MAX];
	bool predicts;
	uint32_t n_layers, dim, prefill_rows, n_fronts;
	char fronts[MSG_FRONTS_MAX][MSG_FRONT_MAX];
};

struct table {
	bool used;
	struct kind kind;
	struct accuracy accuracy;
};

/* An agent with one worker: facts and the plan of them. */
struct outlook {
	const struct roster_worker *worker; /* NULL: none */
	struct plan_worker facts;
	struct plan_link link;
	struct plan_present present;
	struct plan_result *result; /* of struct decide */
};

struct decide {
	const struct config_coordinator *conf;
	struct cal *cal; /* NULL: none */
	struct table tables[TABLES];
	uint32_t next_table;
	struct facts_agent agent; /* of the one that is decided for */
	struct plan_policy policy;
	const struct accuracy *accuracy;
	struct plan_result results[2]; /* of the best outlook, and of another one */
};

int decide_create(struct decide **out, const struct config_coordinator *conf, struct err *e)
{
	struct decide *p = calloc(1, sizeof(*p));
	int rc;

	if (!p)
		return err_set(e, ERR_NOMEM, "planner");
	p->conf = conf;
	rc = conf->calibration[0] ? cal_open(&p->cal, conf->calibration, e) : 0;
	if (rc) {
		decide_destroy(p);
		return rc;
	}
	*out = p;
	return 0;
}

void decide_destroy(struct decide *p)
{
	if (!p)
		return;
	for (uint32_t i = 0; i < TABLES; i++) {
		if (p->tables[i].used)
			accuracy_finish(&p->tables[i].accuracy);
	}
	cal_close(p->cal);
	free(p);
}

/* ---- what the operator says ---- */

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

static bool wants_plan(const struct config_coordinator *conf, const char *agent)
{
	const char *objective = conf->policy.objective;

	for (uint32_t i = 0; i < conf->n_agents; i++) {
		if (!strcmp(conf->agents[i].agent, agent) &&
		    strcmp(conf->agents[i].objective, "auto"))
			objective = conf->agents[i].objective;
	}
	return strcmp(objective, "none") && objective[0];
}

/* ---- facts ---- */

static bool predicts(const struct decide *p, const struct roster *r, const struct roster_agent *a)
{
	bool any = false;

	if (!p->cal || strcmp(p->cal->model, a->status.model))
		return false;
	for (uint32_t i = 0; i < r->n_workers; i++) {
		const struct roster_worker *w = &r->workers[i];

		if (!assign_can_serve(w, a))
			continue;
		if (strcmp(w->status.calibration, p->cal->id))
			return false;
		any = true;
	}
	return any;
}

static void kind_of(const struct decide *p, const struct roster *r, const struct roster_agent *a,
		    struct kind *k)
{
	const struct msg_agent_profile *m = &a->profile;

	memset(k, 0, sizeof(*k)); /* kinds are compared as bytes */
	memcpy(k->model, a->status.model, sizeof(k->model));
	snprintf(k->codec, sizeof(k->codec), "%.127s", facts_codec(p->conf, a->status.agent));
	k->predicts = predicts(p, r, a);
	k->n_layers = m->n_layers;
	k->dim = m->dim;
	k->prefill_rows = m->prefill_rows;
	k->n_fronts = m->n_fronts;
	for (uint32_t i = 0; i < m->n_fronts; i++)
		snprintf(k->fronts[i], sizeof(k->fronts[i]), "%s", m->fronts[i].name);
}

static int make_table(const struct decide *p, const struct kind *k, struct accuracy *out,
		      struct err *e)
{
	struct accuracy_conf c = { .predicts = k->predicts,
				   .n_layers = k->n_layers,
				   .dim = k->dim,
				   .n_fronts = k->n_fronts,
				   .codec = k->codec,
				   .chunk_rows = k->prefill_rows };

	if (p->cal && !strcmp(p->cal->model, k->model))
		c.cal = p->cal;
	for (uint32_t i = 0; i < k->n_fronts; i++)
		c.fronts[i] = k->fronts[i];
	return accuracy_init(out, &c, e);
}

/* The table for agents of this kind: kept, or made. NULL when it cannot be. */
static const struct accuracy *accuracy_of(struct decide *p, const struct kind *k, struct err *e)
{
	struct table *t = &p->tables[p->next_table];

	for (uint32_t i = 0; i < TABLES; i++) {
		if (p->tables[i].used && !memcmp(&p->tables[i].kind, k, sizeof(*k)))
			return &p->tables[i].accuracy;
	}
	if (t->used)
		accuracy_finish(&t->accuracy);
	t->used = !make_table(p, k, &t->accuracy, e);
	if (!t->used)
		return NULL;
	t->kind = *k;
	p->next_table = (p->next_table + 1) % TABLES;
	return &t->accuracy;
}

/* What refusals taught. */
static void heed(struct decide *p, const struct roster_lesson *l)
{
	struct plan_agent *a = &p->agent.agent;
	uint32_t level;

	if (l->budget_bytes && l->budget_bytes < a->budget_bytes)
		a->budget_bytes = l->budget_bytes;
	for (uint32_t i = 0; l->front[0] && i < a->n_fronts; i++) {
		if (!strcmp(a->fronts[i].name, l->front))
			p->policy.fronts &= ~(1u << i);
	}
	if (l->codec[0] && !accuracy_level(&p->accuracy->table, l->codec, &level))
		p->policy.levels &= ~(1u << level);
}

/* Facts of the agent itself; false when nothing is to be planned. *e: when something is wrong. */
static bool prepare(struct decide *p, const struct roster *r, const struct roster_agent *a,
		    struct err *e)
{
	bool calibrated = p->cal && !strcmp(p->cal->model, a->status.model);
	struct kind k;

	kind_of(p, r, a, &k);
	p->accuracy = accuracy_of(p, &k, e);
	if (!p->accuracy || facts_agent_init(&p->agent, &a->profile, &a->telemetry, e))
		return false;
	if (!facts_policy(&p->policy, p->conf, a->status.agent, &p->agent.agent,
			  &p->accuracy->table, calibrated)) {
		facts_agent_finish(&p->agent);
		return false;
	}
	heed(p, &a->lesson);
	return true;
}

/* ---- outlooks ---- */

/* A worker that has run nothing yet is taken for faster than the agent: so it is tried, and
 * measured. One taken for slow might never be. */
static void assume_speed(struct plan_worker *w, const struct plan_agent *a)
{
	const struct plan_speed *s = &a->speeds[0];

	if (!w->present || w->n_batches || !(s->layer_token_ms > 0))
		return;
	w->n_batches = 1;
	w->batches[0] = (struct plan_batch){ .rows = 1,
					     .layer_ms = s->layer_token_ms / UNTRIED,
					     .head_ms = s->head_ms / UNTRIED,
					     .depth = { s->token_depth.at,
							s->token_depth.deeper_ms / UNTRIED } };
}

/* Round trip to w, as a share of that to the worker that is measured now; 1: not known. */
static double nearness(const struct roster *r, const struct roster_agent *a,
		       const struct roster_worker *w)
{
	double rtt_ms = assign_rtt_ms(r, a, w), now_ms = a->telemetry.link.rtt_ms;

	return rtt_ms > 0 && now_ms > 0 ? rtt_ms / now_ms : 1;
}

/* What the planner is to see of this outlook. */
static struct plan_input input_of(const struct decide *p, const struct outlook *o)
{
	return (struct plan_input){ .agent = &p->agent.agent,
				    .worker = &o->facts,
				    .link = &o->link,
				    .accuracy = &p->accuracy->table,
				    .policy = &p->policy,
				    .present = &o->present };
}

static int look(struct decide *p, const struct roster *r, const struct roster_agent *a,
		const struct roster_worker *w, struct plan_result *result, struct outlook *o)
{
	const struct msg_decision *d = a->decision.number ? &a->decision : NULL;
	const struct msg_telemetry *t = w && w->telemetry.boot ? &w->telemetry : NULL;
	struct plan_input in = input_of(p, o);

	*o = (struct outlook){ .worker = w, .result = result };
	facts_present(&o->present, d, &a->telemetry, in.agent, in.accuracy,
		      w ? w->status.worker : "");
	facts_worker(&o->facts, w ? &w->status : NULL, t, a->status.model,
		     facts_own_bytes(in.agent, &o->present));
	assume_speed(&o->facts, in.agent);
	facts_link(&o->link, &a->telemetry, p->conf->expect.epsilon);
	if (d && w && d->worker[0] && strcmp(d->worker, w->status.worker))
		o->link.rtt_ms *= nearness(r, a, w); /* not the one that is measured now */
	return plan_make(result, &in, NULL);
}

static double cost(const struct outlook *o)
{
	return o->result->chosen.figures.cost;
}

static bool is_possible(const struct outlook *o)
{
	return o->result->verdict != PLAN_NONE;
}

/* Whether to move from `now` to `other`. crowded: the other worker is much less busy. */
static bool is_worth(const struct decide *p, const struct outlook *now, const struct outlook *other,
		     bool crowded)
{
	if (!is_possible(other) || !is_possible(now))
		return is_possible(other);
	if (crowded)
		return cost(other) <= MOVE_WORSE * cost(now);
	return cost(other) < (1 - 2 * p->policy.min_gain) * cost(now);
}

/* The worker that the operator named, if it is there: then no other is looked at. */
static const struct roster_worker *named(const struct roster *r, const struct roster_agent *a,
					 const struct roster_wish *wish)
{
	const struct roster_worker *w = roster_find_worker(r, wish->worker);

	return wish->worker[0] && w && assign_can_serve(w, a) ? w : NULL;
}

/* The best outlook into *best: the present worker's, or that of another one that is worth it. */
static int choose(struct decide *p, const struct roster *r, const struct roster_agent *a,
		  const struct roster_wish *wish, struct outlook *best)
{
	const struct roster_worker *fixed = named(r, a, wish), *present = fixed, *other[2];
	int rc;

	if (!present && a->decision.worker[0])
		present = roster_find_worker(r, a->decision.worker);
	if (!present || !assign_can_serve(present, a))
		present = assign_least_busy(r, a, NULL);
	rc = look(p, r, a, present, &p->results[0], best);
	if (rc || !present || fixed)
		return rc;
	other[0] = assign_least_busy(r, a, present);
	other[1] = assign_nearer(r, a, present);
	for (uint32_t i = 0; i < 2; i++) {
		bool crowded =
			other[i] && !i && assign_is_much_busier(r, a, best->worker, other[i]);
		bool lighter = other[i] && !i && assign_is_lighter(r, a, best->worker, other[i]);
		struct plan_result *free_one =
			best->result == &p->results[0] ? &p->results[1] : &p->results[0];
		struct outlook o;

		if (!other[i] || other[i] == best->worker ||
		    (!i && !crowded && !lighter && is_possible(best)))
			continue;
		if (!look(p, r, a, other[i], free_one, &o) && is_worth(p, best, &o, crowded))
			*best = o;
	}
	return 0;
}

/* ---- decisions ---- */

static bool same_choice(const struct msg_decision *a, const struct msg_decision *b)
{
	return a->split == b->split && a->context_tokens == b->context_tokens &&
	       !strcmp(a->worker, b->worker) && !strcmp(a->codec, b->codec) &&
	       !strcmp(a->stay_codec, b->stay_codec) && !strcmp(a->kv, b->kv) &&
	       !strcmp(a->front, b->front) && !strcmp(a->objective, b->objective);
}

static bool is_far(double a, double b)
{
	return fabs(a - b) > FIGURE_FAR * fmax(a, b);
}

/* What is predicted now is another than what was published with the same choice. */
static bool other_figures(const struct msg_decision *a, const struct msg_decision *b)
{
	const struct msg_predicted *p = &a->predicted, *q = &b->predicted;

	return a->has_predicted &&
	       (!b->has_predicted || is_far(p->ttft_ms, q->ttft_ms) ||
		is_far(p->token_ms, q->token_ms) || is_far(p->up_bytes, q->up_bytes) ||
		is_far((double)p->edge_bytes, (double)q->edge_bytes) ||
		is_far((double)p->worker_bytes, (double)q->worker_bytes));
}

/* Why its worker is another than before, put before the planner's reason. */
static void explain_worker(const struct roster *r, const struct roster_agent *a,
			   struct msg_decision *d)
{
	const struct roster_worker *old = roster_find_worker(r, a->decision.worker);
	char plan[MSG_REASON_MAX];

	if (!a->decision.worker[0] || !d->worker[0] || !strcmp(a->decision.worker, d->worker))
		return;
	memcpy(plan, d->reason, sizeof(plan));
	snprintf(d->reason, sizeof(d->reason), "worker %.64s %s; %.140s", a->decision.worker,
		 old && assign_can_serve(old, a) ? "is busier or farther" : "is gone or leaves",
		 plan);
}

/* Those that stayed have ended: that is no other decision. */
static void keep_stay(const struct roster_agent *a, const struct plan_result *r,
		      struct msg_decision *d)
{
	if (r->n_elsewhere)
		return;
	memcpy(d->stay_codec, a->decision.stay_codec, sizeof(d->stay_codec));
	if (!same_choice(d, &a->decision))
		d->stay_codec[0] = '\0';
}

static void fill(const struct decide *p, const struct roster *r, const struct roster_agent *a,
		 const struct outlook *o, struct msg_decision *d)
{
	struct plan_input in = input_of(p, o);

	*d = (struct msg_decision){ .number = a->decision.number + 1 };
	snprintf(d->agent, sizeof(d->agent), "%s", a->status.agent);
	if (o->worker && o->result->chosen.choice.split < in.agent->n_layers)
		snprintf(d->worker, sizeof(d->worker), "%s", o->worker->status.worker);
	facts_decision(d, &in, o->result);
	keep_stay(a, o->result, d);
	explain_worker(r, a, d);
}

static enum decide_news news_of(const struct roster_agent *a, struct msg_decision *d)
{
	if (!a->decision.number || !same_choice(d, &a->decision))
		return DECIDE_CHOICE;
	d->number = a->decision.number;
	return other_figures(d, &a->decision) ? DECIDE_FIGURES : DECIDE_NOTHING;
}

/* What is new by a plan; -1: there is none. */
static int plan(struct decide *p, const struct roster *r, const struct roster_agent *a,
		const struct roster_wish *wish, struct msg_decision *d, bool *waits)
{
	struct err e = { 0 };
	struct outlook best;
	int news = -1;

	if (!prepare(p, r, a, &e)) {
		if (e.code)
			log_event(LOG_LEVEL_WARN, "plan.failed", "agent=%s reason=%s",
				  a->status.agent, LOG_QUOTED(e.text));
		return -1;
	}
	if (!choose(p, r, a, wish, &best) && is_possible(&best)) {
		fill(p, r, a, &best, d);
		news = news_of(a, d);
		*waits = best.result->verdict == PLAN_KEEP_HANDOVER || best.result->stays;
	}
	facts_agent_finish(&p->agent);
	return news;
}

static bool is_known(const struct roster_agent *a)
{
	return a->profile.n_fronts && a->profile.boot == a->status.boot &&
	       a->telemetry.boot == a->status.boot;
}

/* What was planned before still holds, but for a worker that is gone. */
static bool keep(const struct roster *r, const struct roster_agent *a, struct msg_decision *d)
{
	const struct roster_worker *w = roster_find_worker(r, a->decision.worker);

	if (!a->decision.worker[0] || (w && assign_can_serve(w, a)))
		return false;
	w = assign_least_busy(r, a, NULL);
	if (!w)
		return false; /* it may come back; the agent asks all workers meanwhile */
	*d = a->decision;
	d->number++;
	memcpy(d->worker, w->status.worker, sizeof(d->worker));
	explain_worker(r, a, d);
	return true;
}

/* By what the operator says alone. */
static enum decide_news wished(const struct roster *r, const struct roster_agent *a,
			       const struct roster_wish *wish, struct msg_decision *d)
{
	return roster_decide(r, a, wish, d) ? DECIDE_CHOICE : DECIDE_NOTHING;
}

enum decide_news decide_make(struct decide *p, const struct roster *r, const struct roster_agent *a,
			     struct msg_decision *d, bool *waits)
{
	struct roster_wish wish;
	int news = -1;

	*waits = false;
	if (a->status.state != MSG_READY)
		return DECIDE_NOTHING;
	wish_of(p->conf, a->status.agent, &wish);
	if (!wants_plan(p->conf, a->status.agent))
		return wished(r, a, &wish, d);
	if (is_known(a))
		news = plan(p, r, a, &wish, d, waits);
	if (news >= 0)
		return (enum decide_news)news;
	if (a->decision.objective[0])
		return keep(r, a, d) ? DECIDE_CHOICE : DECIDE_NOTHING;
	return wished(r, a, &wish, d);
}
