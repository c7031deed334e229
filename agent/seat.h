/* agent/seat.h - what a session takes of the agent's segment: judged, taken, given back. Loop
 * thread. */
#ifndef AGENT_SEAT_H
#define AGENT_SEAT_H

#include "agent/head.h"

/* With layers [0, split), rows predicted as at this split. */
struct segment_ask seat_ask(const struct segment *seg, uint32_t split, uint32_t context_tokens,
			    enum kv_type kv, const struct codec_spec *codec);

/* Cache, state of the codec, and what is booked besides -> *job. Otherwise nothing is taken:
 * ERR_LIMIT names the missing bytes; or as segment_begin and segment_begin_codec. */
MUST_CHECK int seat_take(struct segment *seg, struct head_job *job, const struct segment_ask *ask,
			 struct err *e);
void seat_give_back(struct segment *seg, struct head_job *job);

#endif
