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

/* *d is the new decision for a (number counted up) and true, or false when nothing changes or
 * nothing can be said. */
bool decide_make(struct decide *p, const struct roster *r, const struct roster_agent *a,
		 struct msg_decision *d);

#endif
