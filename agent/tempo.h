/* agent/tempo.h - the pace of a slot: deadlines of its prompt, codec of its rows. Internal to the
 * agent's core. Loop thread. */
#ifndef AGENT_TEMPO_H
#define AGENT_TEMPO_H

#include "agent/slot.h"

/* The session was prepared: its deadlines are m's, or the configured ones. A codec that the prompt
 * named stays. */
void tempo_begin(const struct agent_core *c, struct slot *sl, const struct msg_prompt *m,
		 uint64_t now_us);

/* A token is there, or rows of the prompt are encoded: rows become coarser where a deadline is in
 * danger. */
void tempo_keep(const struct agent_core *c, struct slot *sl, bool token, uint64_t now_us);

/* From the next job on rows go by sl->base_codec, or as much coarser as the pace is. */
void tempo_set_codec(const struct agent_core *c, struct slot *sl);

/* Whether this worker (empty: any) can decode predicted rows of sl. Where none is known yet those
 * of a codec that wants to be predicted are: it will refuse if it cannot. */
bool tempo_predicts(const struct agent_core *c, const struct slot *sl, const char *worker);

/* A session that was alone is opened: its rows are what a new one's would be. */
void tempo_meet(const struct agent_core *c, struct slot *sl);

#endif
