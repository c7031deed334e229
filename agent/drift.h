/* agent/drift.h - how much slower or faster the machine has become since a figure was measured.
 *
 * Sessions with a worker and sessions without one tell different times of a layer, and while the
 * ones run nothing is heard of the others. But a machine that is shared, hot or throttled is slow
 * for both. So what the rows of one kind took at first, when the other kind had just ended, and
 * what they take now, tells what has become of the figures of that other kind.
 *
 * Pure. One thread. All 0: nothing has run. */
#ifndef AGENT_DRIFT_H
#define AGENT_DRIFT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/depth.h"

#define DRIFT_ROWS 128u /* the first ones, and the newest */

struct drift {
	bool local; /* the kind that runs, or ran last: without a worker */
	struct depth first; /* its first DRIFT_ROWS rows since the other kind ran */
	uint32_t n; /* rows since then, at most 2 * DRIFT_ROWS */
};

/* Whether a row of this kind would be the first one since the other kind ran. Figures of this kind
 * are to be brought up to date then, by drift_factor, before drift_row. */
bool drift_turns(const struct drift *d, bool local);

/* A row of this kind is there. */
void drift_row(struct drift *d, bool local, double at, double ms);

/* What figures of the kind that does not run are to be multiplied by. newest: rows of the one that
 * does. 1 while there are too few of them. */
double drift_factor(const struct drift *d, const struct depth *newest,
		    const struct depth_slopes *slopes);

#endif
