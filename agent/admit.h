/* agent/admit.h - what a session of the agent takes, and whether one fits. Pure but for
 * admit_decision, which asks the driver for the state of the machine. Loop thread. */
#ifndef AGENT_ADMIT_H
#define AGENT_ADMIT_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "codec/codec.h"
#include "daemon/segment.h"
#include "schema/msg.h"

struct agent_core;

/* A session that is asked about. */
struct admit_ask {
	const char *front; /* precision of the front layers; empty: the present one */
	uint32_t split;
	uint32_t context_tokens;
	enum kv_type kv;
	const struct codec_spec *codec;
	bool alone; /* as if there were no other sessions */
};

/* Bytes of the log for a row, whatever codec a decision may change to. */
size_t admit_row_bytes(const struct codec_spec *codec, size_t dim);

/* What a session takes besides its KV cache; local: it keeps no log. */
struct segment_extra admit_extra(const struct codec_spec *codec, size_t dim, bool local);

/* Layers that sessions, the decision or an absence of the fleet need here; the head behind the last
 * one. */
struct segment_range admit_need(const struct agent_core *c);

/* Whether sessions as d wants them would fit if there were no others: weights of the split, KV and
 * log of d's context, everything. 0, or ERR_LIMIT with the sentence in e; *a says the missing bytes
 * and the longest context that fits, in both cases. ERR_FORMAT for words of d that are none. */
MUST_CHECK int admit_decision(const struct agent_core *c, const struct msg_decision *d,
			      struct room_answer *a, struct err *e);

#endif
