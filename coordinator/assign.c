#include "coordinator/assign.h"

#include <string.h>

#define MUCH    (2.0 / 3) /* what another worker's load or round trip must be below */
#define NEAR_MS 5.0

bool assign_can_serve(const struct roster_worker *w, const struct roster_agent *a)
{
	return w->status.state == MSG_READY && !w->telemetry.draining &&
	       !strcmp(w->status.model, a->status.model);
}

/* Rows that a layer of this worker takes in a millisecond, at best; 0: not known. */
static double speed_of(const struct roster_worker *w)
{
	double best = 0;

	for (uint32_t i = 0; i < w->telemetry.n_batches; i++) {
		const struct msg_batch *b = &w->telemetry.batches[i];
		double speed = b->layer_ms > 0 ? b->rows / b->layer_ms : 0;

		best = speed > best ? speed : best;
	}
	return best;
}

static bool all_speeds_known(const struct roster *r, const struct roster_agent *a)
{
	for (uint32_t i = 0; i < r->n_workers; i++) {
		if (assign_can_serve(&r->workers[i], a) && !(speed_of(&r->workers[i]) > 0))
			return false;
	}
	return true;
}

static uint32_t agents_with(const struct roster_worker *w, const struct roster_agent *a)
{
	return w->n_agents + !!strcmp(a->decision.worker, w->status.worker);
}

static double load_of(const struct roster_worker *w, const struct roster_agent *a, bool by_speed)
{
	double can = by_speed ? speed_of(w) : w->status.max_sessions;

	return agents_with(w, a) / (can > 0 ? can : 1);
}

double assign_load(const struct roster *r, const struct roster_worker *w,
		   const struct roster_agent *a)
{
	return load_of(w, a, all_speeds_known(r, a));
}

const struct roster_worker *assign_least_busy(const struct roster *r, const struct roster_agent *a,
					      const struct roster_worker *than)
{
	const struct roster_worker *best = NULL;
	bool by_speed = all_speeds_known(r, a);

	for (uint32_t i = 0; i < r->n_workers; i++) {
		const struct roster_worker *w = &r->workers[i];

		if (w != than && assign_can_serve(w, a) &&
		    (!best || load_of(w, a, by_speed) < load_of(best, a, by_speed)))
			best = w;
	}
	return best;
}

bool assign_is_lighter(const struct roster *r, const struct roster_agent *a,
		       const struct roster_worker *present, const struct roster_worker *other)
{
	return all_speeds_known(r, a) && load_of(other, a, true) < MUCH * load_of(present, a, true);
}

bool assign_is_much_busier(const struct roster *r, const struct roster_agent *a,
			   const struct roster_worker *present, const struct roster_worker *other)
{
	bool by_speed = all_speeds_known(r, a);

	return agents_with(present, a) >= agents_with(other, a) + 1 &&
	       load_of(other, a, by_speed) < MUCH * load_of(present, a, by_speed);
}

double assign_rtt_ms(const struct roster *r, const struct roster_agent *a,
		     const struct roster_worker *w)
{
	uint32_t place = (uint32_t)(w - r->workers);

	for (uint32_t i = 0; i < ROSTER_NEAR; i++) {
		if (a->near[i].rtt_ms > 0 && a->near[i].worker == place)
			return a->near[i].rtt_ms;
	}
	return 0;
}

const struct roster_worker *assign_nearer(const struct roster *r, const struct roster_agent *a,
					  const struct roster_worker *present)
{
	double now_ms = assign_rtt_ms(r, a, present), best_ms = MUCH * now_ms;
	const struct roster_worker *best = NULL;

	for (uint32_t i = 0; i < ROSTER_NEAR; i++) {
		const struct roster_worker *w = &r->workers[a->near[i].worker];

		if (a->near[i].rtt_ms > 0 && a->near[i].rtt_ms < best_ms &&
		    a->near[i].rtt_ms + NEAR_MS < now_ms && assign_can_serve(w, a)) {
			best = w;
			best_ms = a->near[i].rtt_ms;
		}
	}
	return best;
}
