/* agent/reply.h - what a prompt's sender gets back. Internal to the agent's core. Loop thread. */
#ifndef AGENT_REPLY_H
#define AGENT_REPLY_H

#include "agent/slot.h"
#include "daemon/inbox.h"

/* One piece of text [n] while streaming; piece is only read. */
void reply_piece(struct agent_core *c, struct slot *sl, char *piece, size_t n);

/* The session ended: whole text, reason, statistics. */
void reply_final(struct agent_core *c, struct slot *sl, uint64_t now_us);

/* The broker is back: final replies that wait go out. */
void reply_flush(struct agent_core *c);
void reply_drop_kept(struct agent_core *c);

/* On its way to the loop thread, which may print it: no other thread shall wait for that. */
struct reply_item {
	struct inbox_item item;
	struct msg_reply reply; /* text and ids are in what follows */
	uint32_t data[];
};

/* For the inbox, which frees it. NULL when memory is out. */
struct reply_item *reply_copy(const struct msg_reply *r);

#endif
