/* agent/timeline.h - a session's track of the trace (base/trace.h): where the time of a token goes.
 *
 * One after the other, and inside a span "token": wait (for the compute thread), head, encode,
 * publish, broker, queue, tail, broker, return. What happens at the worker is known by its answer
 * only (queue, tail: decoding, layers, sampling): it is drawn in the middle of the way there and
 * back. A worker's own trace has the true times. Loop thread. */
#ifndef AGENT_TIMELINE_H
#define AGENT_TIMELINE_H

#include <stdint.h>

#include "agent/head.h"
#include "schema/msg.h"

struct timeline {
	uint64_t begun_us;   /* the job was handed over */
	uint64_t encoded_us; /* and done; 0: its rows have been sent already */
	uint64_t sent_us;    /* 0: nothing was sent for it */
	uint32_t pos;
};

/* The job came back, its results are still in it. */
void timeline_computed(struct timeline *t, const struct head_job *job);

/* Rows of position pos were published, from start_us on. */
void timeline_sent(struct timeline *t, unsigned track, uint32_t pos, uint64_t start_us);

/* The token is here and on its way out; what it asked for (text, the next job) is under way.
 * answer: of the worker, received at arrived_us; NULL: sampled here, or asked for twice. */
void timeline_token(struct timeline *t, unsigned track, const struct msg_tokens *answer,
		    uint64_t arrived_us, uint64_t end_us);

#endif
