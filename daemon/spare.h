/* daemon/spare.h - weights that nobody has needed for a while are given back.
 *
 * What sessions and decisions need is looked at now and then. Layers that none of these looks
 * found needed for `after_us`, and in which no session began meanwhile, go: at most some 64 MiB
 * a look, or a layer that is larger, so that what waits for the loop does not wait long. What runs
 * all the same is booked and prepared again, as before its first run. Loop thread. */
#ifndef DAEMON_SPARE_H
#define DAEMON_SPARE_H

#include "daemon/segment.h"

struct spare {
	uint64_t after_us; /* 0: never */
	size_t step_bytes; /* no further layer goes at a look once so much has gone: 64 MiB */
	uint64_t since_us; /* nothing but `used` has been needed since then; 0: all is needed */
	struct segment_range used, last; /* last: at the newest look */
	uint64_t due_us;                 /* of the next look */
};

/* All that is held is needed, for now. */
void spare_init(struct spare *sp, const struct segment *seg, uint64_t after_us);

/* What is needed now; NULL: nobody says, and what was last goes on. No job that runs other layers
 * may be out. May be called at any time; looks ten times a second. */
void spare_look(struct spare *sp, struct segment *seg, const struct segment_range *need,
		uint64_t now_us);

#endif
