#include "coordinator/roster.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AGENT_MOVED   0.1f /* share by which a figure must move to be worth a plan */
#define HOLD_FIRST_MS 4000u
#define WORKER_MOVED  0.25f /* ... of a worker: of all its agents */

static void drop_profile(struct roster_agent *a)
{
	struct msg m = { .type = MSG_AGENT_PROFILE, .u.agent_profile = a->profile };

	msg_finish(&m);
	a->profile = (struct msg_agent_profile){ 0 };
}

void roster_finish(struct roster *r)
{
	for (uint32_t i = 0; i < r->n_agents; i++)
		drop_profile(&r->agents[i]);
	free(r->agents);
	free(r->workers);
	free(r->due);
	names_finish(&r->by_agent);
	names_finish(&r->by_worker);
	*r = (struct roster){ 0 };
}

/* Room for one more item of `size` bytes; *list and *cap follow. */
static int grow(void **list, uint32_t n, uint32_t *cap, size_t size)
{
	uint32_t bigger = *cap ? *cap * 2 : 16;
	void *p;

	if (n < *cap)
		return 0;
	p = realloc(*list, bigger * size);
	if (!p)
		return ERR_NOMEM;
	*list = p;
	*cap = bigger;
	return 0;
}

struct roster_agent *roster_find_agent(struct roster *r, const char *name)
{
	uint32_t i = names_find(&r->by_agent, r->agents, sizeof(*r->agents), name);

	return i == NAMES_NONE ? NULL : &r->agents[i];
}

struct roster_worker *roster_find_worker(const struct roster *r, const char *name)
{
	uint32_t i = names_find(&r->by_worker, r->workers, sizeof(*r->workers), name);

	return i == NAMES_NONE ? NULL : &r->workers[i];
}

/* ---- the list of those to be looked at ---- */

void roster_touch(struct roster *r, struct roster_agent *a)
{
	if (a->due)
		return;
	a->due = true;
	r->due[(r->first_due + r->n_due++) % r->cap_due] = (uint32_t)(a - r->agents);
}

void roster_touch_all(struct roster *r)
{
	for (uint32_t i = 0; i < r->n_agents; i++)
		roster_touch(r, &r->agents[i]);
}

struct roster_agent *roster_next_due(struct roster *r)
{
	struct roster_agent *a;

	if (!r->n_due)
		return NULL;
	a = &r->agents[r->due[r->first_due]];
	r->first_due = (r->first_due + 1) % r->cap_due;
	r->n_due--;
	a->due = false;
	return a;
}

/* A ring for as many as there are agents: each is on it once at most. */
static int grow_due(struct roster *r)
{
	uint32_t *bigger;

	if (r->cap_due == r->cap_agents)
		return 0;
	bigger = malloc(r->cap_agents * sizeof(*bigger));
	if (!bigger)
		return ERR_NOMEM;
	for (uint32_t i = 0; i < r->n_due; i++)
		bigger[i] = r->due[(r->first_due + i) % r->cap_due];
	free(r->due);
	r->due = bigger;
	r->first_due = 0;
	r->cap_due = r->cap_agents;
	return 0;
}

/* ---- agents and workers ---- */

/* Take a out of the counts before it changes, or in again: by is -1 or 1. */
static void count(struct roster *r, const struct roster_agent *a, int by)
{
	struct roster_worker *w;

	if (a->status.state != MSG_READY)
		return;
	r->ready_agents += (uint32_t)by;
	w = a->decision.worker[0] ? roster_find_worker(r, a->decision.worker) : NULL;
	if (w)
		w->n_agents += (uint32_t)by;
}

static int ensure_agent(struct roster *r, const char *name, struct roster_agent **out)
{
	void *list = r->agents;
	int rc;

	*out = roster_find_agent(r, name);
	if (*out)
		return 0;
	rc = grow(&list, r->n_agents, &r->cap_agents, sizeof(*r->agents));
	r->agents = list;
	if (!rc)
		rc = grow_due(r);
	if (rc)
		return rc;
	*out = &r->agents[r->n_agents];
	**out = (struct roster_agent){ .status.state = MSG_OFFLINE };
	snprintf((*out)->status.agent, sizeof((*out)->status.agent), "%s", name);
	rc = names_add(&r->by_agent, r->agents, sizeof(*r->agents), r->n_agents);
	r->n_agents += !rc;
	return rc;
}

static void count_assigned(const struct roster *r, struct roster_worker *w)
{
	w->n_agents = 0;
	for (uint32_t i = 0; i < r->n_agents; i++)
		w->n_agents += r->agents[i].status.state == MSG_READY &&
			       !strcmp(r->agents[i].decision.worker, w->status.worker);
}

static int ensure_worker(struct roster *r, const char *name, struct roster_worker **out)
{
	void *list = r->workers;
	int rc;

	*out = roster_find_worker(r, name);
	if (*out)
		return 0;
	rc = grow(&list, r->n_workers, &r->cap_workers, sizeof(*r->workers));
	if (rc)
		return rc;
	r->workers = list;
	*out = &r->workers[r->n_workers];
	**out = (struct roster_worker){ .status.state = MSG_OFFLINE };
	snprintf((*out)->status.worker, sizeof((*out)->status.worker), "%s", name);
	rc = names_add(&r->by_worker, r->workers, sizeof(*r->workers), r->n_workers);
	r->n_workers += !rc;
	if (!rc)
		count_assigned(r, *out);
	return rc;
}

/* "gone" said by a life that is over already. */
static bool is_late(enum msg_state state, uint64_t boot, uint64_t known, bool retained)
{
	return !retained && (state == MSG_LOST || state == MSG_OFFLINE) && known && boot != known;
}

int roster_agent(struct roster *r, const struct msg_agent_status *st, bool retained)
{
	struct roster_agent *a;
	int rc = ensure_agent(r, st->agent, &a);

	if (rc || is_late(st->state, st->boot, a->status.boot, retained))
		return rc;
	if (a->telemetry.boot != st->boot)
		a->telemetry.boot = 0;
	count(r, a, -1);
	a->status = *st;
	count(r, a, 1);
	roster_touch(r, a);
	return 0;
}

int roster_worker(struct roster *r, const struct msg_worker_status *st, bool retained)
{
	struct roster_worker *w;
	int rc = ensure_worker(r, st->worker, &w);

	if (rc || is_late(st->state, st->boot, w->status.boot, retained))
		return rc;
	if (w->telemetry.boot != st->boot)
		w->telemetry.boot = 0;
	r->ready_workers -= w->status.state == MSG_READY;
	w->status = *st;
	r->ready_workers += w->status.state == MSG_READY;
	roster_touch_all(r);
	return 0;
}

/* ---- what they tell of themselves ---- */

/* The newest decision was refused: what of it must not be tried again. */
static void learn(struct roster_agent *a)
{
	const struct msg_decision *d = &a->decision;
	const struct msg_decision_answer *an = &a->answer;
	struct roster_lesson *l = &a->lesson;

	if (!d->number || an->number != d->number || an->taken || !d->has_predicted)
		return;
	if (an->missing_bytes && an->missing_bytes < d->predicted.edge_bytes) {
		l->budget_bytes = d->predicted.edge_bytes - an->missing_bytes;
		l->said_bytes = a->telemetry.budget_bytes;
	} else if (an->code == ERR_NOT_FOUND || an->code == ERR_UNSUPPORTED) {
		memcpy(l->front, d->front, sizeof(l->front));
	} else {
		memcpy(l->codec, d->codec, sizeof(l->codec));
	}
}

static void unlearn(struct roster_agent *a)
{
	a->lesson = (struct roster_lesson){ 0 };
}

int roster_profile(struct roster *r, struct msg_agent_profile *p)
{
	struct msg none = { .type = MSG_AGENT_PROFILE };
	struct roster_agent *a;
	int rc = ensure_agent(r, p->agent, &a);

	if (!rc) {
		if (a->profile.boot && a->profile.boot != p->boot)
			unlearn(a);
		drop_profile(a);
		a->profile = *p;
		*p = none.u.agent_profile; /* handed over */
		roster_touch(r, a);
	}
	return rc;
}

static void figures_of_agent(const struct msg_telemetry *t, float f[ROSTER_FIGURES])
{
	const struct msg_speed *s = &t->speeds[0];
	const struct msg_link *l = &t->link;
	const double all[ROSTER_FIGURES] = {
		l->rtt_ms,
		l->rtt_high_ms,
		l->up_kbit_s,
		l->up_low_kbit_s,
		l->down_kbit_s,
		l->down_low_kbit_s,
		s->layer_token_ms,
		s->layer_row_ms,
		s->embed_ms,
		s->head_ms,
		(double)(t->budget_bytes >> 20),
		t->throttled,
	};

	for (uint32_t i = 0; i < ROSTER_FIGURES; i++)
		f[i] = (float)all[i];
}

static void figures_of_worker(const struct msg_telemetry *t, float f[ROSTER_FIGURES])
{
	f[0] = (float)t->queue_ms;
	f[1] = (float)t->queue_high_ms;
	f[2] = (float)t->batch_rows;
	f[3] = t->draining;
	for (uint32_t i = 4; i < ROSTER_FIGURES; i++)
		f[i] = i - 4 < t->n_batches ? (float)t->batches[i - 4].layer_ms : 0;
}

/* Take f over as seen when a figure moved by more than share, or came or went. */
static bool moved(float seen[ROSTER_FIGURES], const float f[ROSTER_FIGURES], float share)
{
	bool any = false;

	for (uint32_t i = 0; i < ROSTER_FIGURES; i++) {
		float high = seen[i] > f[i] ? seen[i] : f[i], low = seen[i] + f[i] - high;

		any |= high - low > share * high;
	}
	if (any)
		memcpy(seen, f, ROSTER_FIGURES * sizeof(f[0]));
	return any;
}

/* An agent that has got more memory may be asked again. */
static void note_lesson_budget(struct roster_agent *a)
{
	struct roster_lesson *l = &a->lesson;

	if (!l->said_bytes)
		l->said_bytes = a->telemetry.budget_bytes;
	else if (a->telemetry.budget_bytes > l->said_bytes + l->said_bytes / 16)
		unlearn(a);
}

/* Its link is that to the worker that it was told: remember how far that is. */
static void note_near(struct roster *r, struct roster_agent *a)
{
	const struct msg_link *l = &a->telemetry.link;
	const struct roster_worker *w = roster_find_worker(r, a->decision.worker);
	struct roster_near *n = &a->near[0];
	uint32_t place = w ? (uint32_t)(w - r->workers) : 0;

	if (!w || !l->samples || !(l->rtt_ms > 0))
		return;
	for (uint32_t i = 0; i < ROSTER_NEAR; i++) {
		if (a->near[i].worker == place || !(a->near[i].rtt_ms > 0)) {
			a->near[i] = (struct roster_near){ place, (float)l->rtt_ms };
			return;
		}
	}
	memmove(n, n + 1, (ROSTER_NEAR - 1) * sizeof(*n));
	a->near[ROSTER_NEAR - 1] = (struct roster_near){ place, (float)l->rtt_ms };
}

void roster_agent_telemetry(struct roster *r, const struct msg_telemetry *t)
{
	struct roster_agent *a = roster_find_agent(r, t->name);
	float f[ROSTER_FIGURES];

	if (!a || a->status.boot != t->boot)
		return;
	if (!a->telemetry.boot)
		roster_touch(r, a);
	a->telemetry = *t;
	note_lesson_budget(a);
	note_near(r, a);
	figures_of_agent(t, f);
	if (moved(a->seen, f, AGENT_MOVED) || a->again)
		roster_touch(r, a);
	a->again = false;
}

static void touch_agents_of(struct roster *r, const char *worker)
{
	for (uint32_t i = 0; i < r->n_agents; i++) {
		if (!strcmp(r->agents[i].decision.worker, worker))
			roster_touch(r, &r->agents[i]);
	}
}

void roster_worker_telemetry(struct roster *r, const struct msg_telemetry *t)
{
	struct roster_worker *w = roster_find_worker(r, t->name);
	float f[ROSTER_FIGURES];

	if (!w || w->status.boot != t->boot)
		return;
	w->telemetry = *t;
	figures_of_worker(t, f);
	if (moved(w->seen, f, WORKER_MOVED))
		touch_agents_of(r, t->name);
}

int roster_answer(struct roster *r, const struct msg_decision_answer *an)
{
	struct roster_agent *a;
	int rc = ensure_agent(r, an->agent, &a);

	if (rc)
		return rc;
	a->answer = *an;
	learn(a);
	if (!an->taken)
		roster_touch(r, a);
	return 0;
}

/* ---- decisions ---- */

static bool same(const struct msg_decision *a, const struct msg_decision *b)
{
	return a->split == b->split && a->context_tokens == b->context_tokens &&
	       !strcmp(a->worker, b->worker) && !strcmp(a->codec, b->codec) &&
	       !strcmp(a->kv, b->kv) && !strcmp(a->front, b->front) &&
	       !strcmp(a->reason, b->reason);
}

int roster_decided(struct roster *r, const struct msg_decision *d)
{
	struct roster_agent *a;
	int rc = ensure_agent(r, d->agent, &a);

	if (rc)
		return rc;
	if (d->number == a->decision.number && d->term == a->decision.term && a->retained &&
	    same(d, &a->decision))
		return 0;                     /* ours, as it comes back to us */
	if (d->number < a->decision.number) { /* somebody else's: ours must be said again */
		a->retained = false;
	} else {
		count(r, a, -1);
		a->decision = *d;
		count(r, a, 1);
		a->retained = true;
		learn(a);
	}
	roster_touch(r, a);
	return 0;
}

static void hold(struct roster_agent *a, const struct msg_decision *d, uint64_t now_ms)
{
	if (!a->decided_ms || now_ms > a->decided_ms + ROSTER_HOLD_MS)
		a->hold_ms = 0;
	if (d->split == a->decision.split || d->number == a->decision.number)
		return;
	if (a->decision.number && d->split == a->before_split)
		a->hold_ms = a->hold_ms ? 2 * a->hold_ms : HOLD_FIRST_MS;
	if (a->hold_ms > ROSTER_HOLD_MS)
		a->hold_ms = ROSTER_HOLD_MS;
	a->before_split = a->decision.number ? a->decision.split : UINT32_MAX;
}

void roster_publish(struct roster *r, struct roster_agent *a, const struct msg_decision *d,
		    uint64_t now_ms)
{
	const bool new_choice = d->number != a->decision.number;

	hold(a, d, now_ms);
	count(r, a, -1);
	a->decision = *d;
	count(r, a, 1);
	a->retained = true;
	a->told_ms = now_ms;
	if (new_choice || !a->decided_ms)
		a->decided_ms = now_ms;
}

void roster_doubt(struct roster *r)
{
	for (uint32_t i = 0; i < r->n_agents; i++)
		r->agents[i].retained = false;
	roster_touch_all(r);
}

/* The worker to name, or why none is named. */
static void choose_worker(const struct roster *r, const struct roster_agent *a,
			  const struct roster_wish *w, struct msg_decision *d)
{
	const struct roster_worker *known = roster_find_worker(r, w->worker);
	const struct msg_worker_status *st = known ? &known->status : NULL;

	if (!w->worker[0])
		return;
	if (!st || st->state != MSG_READY)
		snprintf(d->reason, sizeof(d->reason), "policy; worker %s is not ready: any",
			 w->worker);
	else if (strcmp(st->model, a->status.model))
		snprintf(d->reason, sizeof(d->reason),
			 "policy; worker %s serves another model: any", w->worker);
	else if (st->first_layer > d->split)
		snprintf(d->reason, sizeof(d->reason),
			 "policy; worker %s has no layers below %u: any", w->worker,
			 st->first_layer);
	else
		memcpy(d->worker, w->worker, sizeof(d->worker));
}

bool roster_decide(const struct roster *r, const struct roster_agent *a,
		   const struct roster_wish *w, struct msg_decision *d)
{
	uint32_t n_layers = a->status.n_layers;

	if (a->status.state != MSG_READY)
		return false;
	*d = (struct msg_decision){
		.number = a->decision.number + 1,
		.split = w->has_split ? w->split : n_layers / 4,
		.context_tokens = w->context_tokens,
	};
	snprintf(d->agent, sizeof(d->agent), "%s", a->status.agent);
	snprintf(d->codec, sizeof(d->codec), "%s", w->codec);
	snprintf(d->kv, sizeof(d->kv), "%s", w->kv);
	snprintf(d->reason, sizeof(d->reason), "policy");
	choose_worker(r, a, w, d);
	if (d->split > n_layers) {
		snprintf(d->reason, sizeof(d->reason),
			 "policy; split %u is beyond the model's %u layers", d->split, n_layers);
		d->split = n_layers;
	}
	return !a->decision.number || !same(d, &a->decision);
}

uint32_t roster_ready_agents(const struct roster *r)
{
	return r->ready_agents;
}

uint32_t roster_ready_workers(const struct roster *r)
{
	return r->ready_workers;
}
