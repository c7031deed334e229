/* agent/profile.h - what an agent is made of, by the figures that its admission books by.
 *
 * The embedding counts as nothing: its rows are read from the file (daemon/segment.h). Loop
 * thread. */
#ifndef AGENT_PROFILE_H
#define AGENT_PROFILE_H

#include "config/config.h"
#include "daemon/segment.h"
#include "schema/msg.h"

/* The type that most bytes of the layers are of: "Q4_0". */
void profile_front_name(const struct segment *s, char dst[static MSG_FRONT_MAX]);

/* The head's weights in weights of a mean layer; 0 when the file has no head. */
double profile_head_layers(const struct segment *s);

/* Configuration, model and memory of *s into p, but for its boot and fronts (fronts.h). An error is
 * that of the codec. */
MUST_CHECK int profile_fill(struct msg_agent_profile *p, const struct config_agent *conf,
			    const struct segment *s);

#endif
