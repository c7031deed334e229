/* agent/reply.h - what a prompt's sender gets back. Internal to the agent's core. Loop thread. */
#ifndef AGENT_REPLY_H
#define AGENT_REPLY_H

#include "agent/slot.h"

/* Tokens of the answer's text: the one that ends it does not count. */
uint32_t reply_n_answer(const struct session *s);

/* One piece of text while streaming; piece is only read. */
void reply_piece(struct agent_core *c, struct slot *sl, char *piece);

/* The session ended: whole text, reason, statistics. */
void reply_final(struct agent_core *c, struct slot *sl, uint64_t now_us);

#endif
