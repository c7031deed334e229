/* agent/move.h - caches and codec states of a split that moves, on a real segment. Contracts:
 * struct agent_ops (core.h). Loop thread; no job of the session is out when its split has
 * moved. */
#ifndef AGENT_MOVE_H
#define AGENT_MOVE_H

#include "agent/core.h"

MUST_CHECK int move_begin(struct segment *seg, const struct head_job *job, struct head_job *side,
			  const struct agent_move *m, struct err *e);
/* What is not needed any more is left to move_end: giving it back takes time. */
void move_done(struct segment *seg, struct head_job *job, struct head_job *side,
	       const struct agent_move *m, uint32_t len);
void move_end(struct segment *seg, struct head_job *side);

/* Rows that a move had kept, and what they take. NULL is fine. */
void move_forget(struct segment *seg, struct head_kept *kept);
uint64_t move_kept_bytes(const struct segment *seg);

#endif
