/* worker/drafts.h - drafts that need not run: the compute thread knows it before the loop does.
 *
 * Of each lane the newest token that was sampled, and whether drafts have been found void since the
 * last row that was none: what follows on them is void, too. Internal to the tail. Compute
 * thread. */
#ifndef WORKER_DRAFTS_H
#define WORKER_DRAFTS_H

#include "worker/tail.h"

struct drafts_lane {
	bool known, end; /* a token was sampled; it ends the answer */
	uint32_t pos, id;
	bool over; /* the newest draft was void */
};

/* Of the next job of a lane, when it comes, and again whenever more may be known: is it void? */
bool drafts_void(struct drafts_lane *l, const struct tail_job *job);

/* What was sampled after the last row of a job that is not void. */
void drafts_sampled(struct drafts_lane *l, const struct tail_job *job);

#endif
