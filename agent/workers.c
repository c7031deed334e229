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

/* Who went says no more than that: what it served is kept. */
static void take(struct msg_worker_status *known, const struct msg_worker_status *st)
{
	if (st->model[0]) {
		*known = *st;
		return;
	}
	known->state = st->state;
	known->boot = st->boot;
}

bool workers_update(struct workers *w, const struct msg_worker_status *st, bool retained)
{
	struct msg_worker_status *known = find(w, st->worker);
	bool lost;

	if (!known) {
		known = room(w);
		if (known)
			*known = *st;
		return false;
	}
	if (!retained && !is_alive(st->state) && st->boot != known->boot)
		return false; /* the late Last Will of an earlier life */
	lost = is_alive(known->state) && (!is_alive(st->state) || st->boot != known->boot);
	take(known, st);
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
		if (!strcmp(w->list[i].model, model))
			return NULL; /* it may be back any moment */
		if (w->list[i].state == MSG_READY)
			other = &w->list[i];
	}
	return other;
}

enum workers_calibrated workers_calibrated(const struct workers *w, const char *model,
					   const char *calibration, const char *worker)
{
	enum workers_calibrated found = WORKERS_UNKNOWN;

	for (unsigned i = 0; i < w->n; i++) {
		const struct msg_worker_status *st = &w->list[i];

		if (st->state != MSG_READY || strcmp(st->model, model) ||
		    (worker[0] && strcmp(st->worker, worker)))
			continue;
		if (strcmp(st->calibration, calibration))
			return WORKERS_LACK;
		found = WORKERS_HAVE;
	}
	return found;
}

bool workers_can_serve(const struct workers *w, const char *model, uint32_t split,
		       const char *calibration)
{
	for (unsigned i = 0; i < w->n; i++) {
		const struct msg_worker_status *st = &w->list[i];

		if (st->state == MSG_READY && !strcmp(st->model, model) &&
		    st->first_layer <= split &&
		    (!calibration[0] || !strcmp(st->calibration, calibration)))
			return true;
	}
	return false;
}
