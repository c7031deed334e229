#include "coordinator/roster.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void roster_finish(struct roster *r)
{
	free(r->agents);
	free(r->workers);
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
	for (uint32_t i = 0; i < r->n_agents; i++) {
		if (!strcmp(r->agents[i].status.agent, name))
			return &r->agents[i];
	}
	return NULL;
}

static int ensure_agent(struct roster *r, const char *name, struct roster_agent **out)
{
	void *list = r->agents;
	int rc;

	*out = roster_find_agent(r, name);
	if (*out)
		return 0;
	rc = grow(&list, r->n_agents, &r->cap_agents, sizeof(*r->agents));
	if (rc)
		return rc;
	r->agents = list;
	*out = &r->agents[r->n_agents++];
	**out = (struct roster_agent){ .status.state = MSG_OFFLINE };
	snprintf((*out)->status.agent, sizeof((*out)->status.agent), "%s", name);
	return 0;
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

	if (!rc && !is_late(st->state, st->boot, a->status.boot, retained))
		a->status = *st;
	return rc;
}

static struct msg_worker_status *find_worker(const struct roster *r, const char *name)
{
	for (uint32_t i = 0; i < r->n_workers; i++) {
		if (!strcmp(r->workers[i].worker, name))
			return &r->workers[i];
	}
	return NULL;
}

int roster_worker(struct roster *r, const struct msg_worker_status *st, bool retained)
{
	struct msg_worker_status *w = find_worker(r, st->worker);
	void *list = r->workers;
	int rc;

	if (w) {
		if (!is_late(st->state, st->boot, w->boot, retained))
			*w = *st;
		return 0;
	}
	rc = grow(&list, r->n_workers, &r->cap_workers, sizeof(*r->workers));
	if (rc)
		return rc;
	r->workers = list;
	r->workers[r->n_workers++] = *st;
	return 0;
}

int roster_decided(struct roster *r, const struct msg_decision *d)
{
	struct roster_agent *a;
	int rc = ensure_agent(r, d->agent, &a);

	if (rc)
		return rc;
	if (d->number < a->decision.number) { /* somebody else's: ours must be said again */
		a->retained = false;
		return 0;
	}
	a->decision = *d;
	a->retained = true;
	return 0;
}

void roster_doubt(struct roster *r)
{
	for (uint32_t i = 0; i < r->n_agents; i++)
		r->agents[i].retained = false;
}

/* The worker to name, or why none is named. */
static void choose_worker(const struct roster *r, const struct roster_agent *a,
			  const struct roster_wish *w, struct msg_decision *d)
{
	const struct msg_worker_status *st = find_worker(r, w->worker);

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

static bool same(const struct msg_decision *a, const struct msg_decision *b)
{
	return a->split == b->split && a->context_tokens == b->context_tokens &&
	       !strcmp(a->worker, b->worker) && !strcmp(a->codec, b->codec) &&
	       !strcmp(a->kv, b->kv) && !strcmp(a->reason, b->reason);
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
	uint32_t n = 0;

	for (uint32_t i = 0; i < r->n_agents; i++)
		n += r->agents[i].status.state == MSG_READY;
	return n;
}

uint32_t roster_ready_workers(const struct roster *r)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < r->n_workers; i++)
		n += r->workers[i].state == MSG_READY;
	return n;
}
