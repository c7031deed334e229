/* agent/recast.h - a session's cache in another type, on a real segment. Contracts: struct
 * agent_ops (core.h). Loop thread. */
#ifndef AGENT_RECAST_H
#define AGENT_RECAST_H

#include "agent/core.h"

MUST_CHECK int recast_begin(struct segment *seg, const struct head_job *job,
			    struct head_job *recast, enum kv_type type, struct err *e);
MUST_CHECK int recast_done(struct head_job *job, struct head_job *recast, uint32_t from,
			   uint32_t len, struct err *e);
/* The end is move_end's. */

#endif
