#include "agent/drift.h"

bool drift_turns(const struct drift *d, bool local)
{
	return d->n && d->local != local;
}

void drift_row(struct drift *d, bool local, double at, double ms)
{
	if (drift_turns(d, local))
		d->n = d->first.n = 0;
	d->local = local;
	if (d->n < DRIFT_ROWS)
		depth_add(&d->first, at, ms);
	d->n += d->n < 2 * DRIFT_ROWS;
}

double drift_factor(const struct drift *d, const struct depth *newest,
		    const struct depth_slopes *slopes)
{
	struct depth_point first, now;

	if (d->n < 2 * DRIFT_ROWS)
		return 1;
	first = depth_newest(&d->first, DRIFT_ROWS);
	now = depth_newest(newest, DRIFT_ROWS);
	return first.ms > 0 ? now.ms / depth_moved(slopes, first, now.at) : 1;
}
