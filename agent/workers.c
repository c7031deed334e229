#include "agent/workers.h"

#include <string.h>

static struct msg_worker_status *find(struct workers *w, const char *name)
{
	for (unsigned i = 0; i < w->n; i++) {
		if (!strcmp(w->list[i].worker, name))
			return &w->list[i];
	}
	return NULL;
}

static bool is_alive(enum msg_state s)
{
	return s == MSG_INIT || s == MSG_READY || s == MSG_DRAINING;
}

/* For one more: the place of one that went, when the table is full; NULL when all are there. */
static struct msg_worker_status *room(struct workers *w)
{
	if (w->n < WORKERS_MAX)
		return &w->list[w->n++];
	for (unsigned i = 0; i < w->n; i++) {
		if (!is_alive(w->list[i].state))
			return &w->list[i];
	}
	return NULL;
}

bool workers_update(struct workers *w, const struct msg_worker_status *st)
{
	struct msg_worker_status *known = find(w, st->worker);
	bool lost;

	if (!known) {
		known = room(w);
		if (known)
			*known = *st;
		return false;
	}
	if (!is_alive(st->state) && st->boot != known->boot)
		return false; /* the late Last Will of an earlier life */
	lost = is_alive(known->state) && (!is_alive(st->state) || st->boot != known->boot);
	*known = *st;
	return lost;
}

bool workers_other_ready(const struct workers *w, const char *model, const char *than)
{
	for (unsigned i = 0; i < w->n; i++) {
		if (w->list[i].state == MSG_READY && !strcmp(w->list[i].model, model) &&
		    strcmp(w->list[i].worker, than))
			return true;
	}
	return false;
}

const struct msg_worker_status *workers_mismatch(const struct workers *w, const char *model)
{
	const struct msg_worker_status *other = NULL;

	for (unsigned i = 0; i < w->n; i++) {
		if (w->list[i].state != MSG_READY)
			continue;
		if (!strcmp(w->list[i].model, model))
			return NULL;
		other = &w->list[i];
	}
	return other;
}
