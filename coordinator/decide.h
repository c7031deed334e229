/* coordinator/decide.h - what an agent shall do: the operator's word where it has one, else the
 * planner's. Loop thread.
 *
 * An agent is planned for once its profile and telemetry of this life are known. Until then it
 * keeps what was planned for it before (a coordinator or an agent that starts again changes
 * nothing), or gets what YAML says alone. */
#ifndef COORDINATOR_DECIDE_H
#define COORDINATOR_DECIDE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "codec/cal.h"
#include "config/config.h"
#include "coordinator/roster.h"

struct decide;

/* conf is borrowed. ERR_NOMEM, or what is wrong with the calibration that it names. */
MUST_CHECK int decide_create(struct decide **out, const struct config_coordinator *conf,
			     struct err *e);
void decide_destroy(struct decide *p);

enum decide_news {
	DECIDE_NOTHING, /* nothing changes, or nothing can be said */
	DECIDE_FIGURES, /* the same choice, but what was predicted of it is far from what is now */
	DECIDE_CHOICE,
};

/* *d is what to publish for a, unless DECIDE_NOTHING: with the number counted up for another
 * choice. *waits: a better one does not pay for the sessions that run now: it is to be seen
 * whether it does for the next ones. */
enum decide_news decide_make(struct decide *p, const struct roster *r,
			     const struct roster_agent *a, struct msg_decision *d, bool *waits);

#endif
