/* agent/workers.h - which workers there are, from their retained statuses. Pure. Loop thread. */
#ifndef AGENT_WORKERS_H
#define AGENT_WORKERS_H

#include <stdbool.h>
#include <stdint.h>

#include "schema/msg.h"

#define WORKERS_MAX 256

struct workers {
	struct msg_worker_status list[WORKERS_MAX];
	unsigned n;
};

/* Take a status over. True when that worker's sessions are lost by it: it went away (and the
 * notice is of the life that we knew), or it is back in a new life. A
 * status from the broker's store is the newest truth; another one may be the late Last Will of an
 * earlier life, and is then ignored. */
bool workers_update(struct workers *w, const struct msg_worker_status *st, bool retained);

/* A ready worker of this model that runs layers from `split` on, and has this calibration (empty:
 * any, or none). */
bool workers_can_serve(const struct workers *w, const char *model, uint32_t split,
		       const char *calibration);

enum workers_calibrated {
	WORKERS_LACK,    /* one that is ready has it not */
	WORKERS_UNKNOWN, /* none is ready */
	WORKERS_HAVE,    /* all that are ready have it */
};

/* Whether the workers of this model have this calibration; `worker` alone, when it is not empty. */
enum workers_calibrated workers_calibrated(const struct workers *w, const char *model,
					   const char *calibration, const char *worker);

/* Another ready worker than `than` serves this model. */
bool workers_other_ready(const struct workers *w, const char *model, const char *than);

/* A ready worker that serves another model, when none that we know of has ours, ready or not; NULL
 * otherwise. */
const struct msg_worker_status *workers_mismatch(const struct workers *w, const char *model);

#endif
