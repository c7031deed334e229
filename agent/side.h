/* agent/side.h - the effects of a handover carried out: side jobs, their caches, what is logged.
 *
 * Internal to the agent's core. Loop thread. */
#ifndef AGENT_SIDE_H
#define AGENT_SIDE_H

#include "agent/slot.h"

#define SIDE_FRAME_BYTES 16384u /* of keys and values: what travels well, ... */
#define SIDE_FRAME_MAX   65536u /* ... and the most that one position may take */

/* Rows that a side job may have: its steps (piece.h) take a quarter of a token's time at most, as
 * far as is known. */
uint32_t side_rows(const struct slot *sl);

/* Rows of one that were kept, and run no more here: encoding them takes as long at most. */
uint32_t side_kept_rows(const struct slot *sl);

/* Keys and values of a position that shall go to a worker when the split moves down to `split`, in
 * frames of at most `room` bytes; 0: rows shall (carry.h). */
size_t side_value_bytes(const struct agent_core *c, const struct slot *sl, uint32_t split,
			size_t room);

/* side_end, side_begin and side of the effects. ERR_* when what they want cannot be had. */
MUST_CHECK int side_run(struct agent_core *c, struct slot *sl, const struct session_effects *fx,
			uint64_t now_us, struct err *e);

/* The split has moved: caches and codec states follow; what is left is released by side_leave.
 * kept: positions behind those that are computed, whose rows go with the newest one. */
void side_move(struct agent_core *c, struct slot *sl, uint32_t kept, uint64_t now_us);

/* Release what a handover has. No side job is out. */
void side_release(struct agent_core *c, struct slot *sl);
/* The same with the event after the one in which the split moved. */
void side_leave(struct agent_core *c, struct slot *sl, bool moved);

/* A side job came back; a token came. */
void side_note(struct slot *sl, const struct head_job *job);
void side_note_token(struct slot *sl, uint64_t now_us);

#endif
