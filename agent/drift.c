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

double drift_factor(const struct drift *d, const struct depth *newest, double slope)
{
	struct depth_point first, now;
	double ms;

	if (d->n < 2 * DRIFT_ROWS)
		return 1;
	first = depth_newest(&d->first, DRIFT_ROWS);
	now = depth_newest(newest, DRIFT_ROWS);
	ms = first.ms + slope * (now.at - first.at); /* if nothing had changed */
	return ms > first.ms / 4 ? now.ms / ms : 1;
}
