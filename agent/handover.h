/* agent/handover.h - the split of a session moves while it goes on. Pure; part of session.c's
 * machine.
 *
 * Layers change sides beside the decoding, in small pieces (a "side" effect each), and the split
 * moves at a token boundary, when the side work has caught up with the rows:
 *
 *   UP    l -> l': rows of all ids so far run again here, now through [l, l') as well, into a cache
 *         that then joins. To l' = L the session goes on alone (LOCAL), and needs no worker.
 *   DOWN  l -> l': they run through [0, l') again and go to the worker as FILL frames, which builds
 *         [l', l) beside; when it has said that all are there, the next rows are at l'.
 *   BACK  from LOCAL to a worker: it is opened, and the same rows are its prefill. Those that are
 *         new meanwhile were kept at l' and follow, a frame at a time, until it lacks a few; those
 *         that it was not sent by then go in the frame of the first token that it samples.
 *
 * At most one token waits for the last piece (`holding`). On the way UP tokens also wait for a
 * piece, where new rows come faster than half of those that are run again: so it ends before there
 * are twice as many as when it began. On the way BACK they wait likewise for the worker, when it
 * has had the time of 128 tokens: one that is slower than the agent would never catch up else. Any
 * trouble ends the handover, not the session; the next decision may begin another. What a replay
 * needs is in the log: each chunk has its split, and FILL frames that were joined are sent before
 * the chunk that joined them. */
#ifndef AGENT_HANDOVER_H
#define AGENT_HANDOVER_H

#include "agent/session.h"

/* Side work that is due now, or a handover that shall begin. */
void handover_go_on(struct session *s, uint64_t now_us, struct session_effects *fx);

/* Rows shall be computed: true when they must wait for the handover's last piece. Moves the split
 * when it is time. */
bool handover_holds(struct session *s, struct session_effects *fx);

/* `alone`: no answer is waited for. True when the session has just become LOCAL. */
bool handover_parts(struct session *s, struct session_effects *fx);

/* The side effect is done: what it gave goes to where it belongs. */
void handover_on_side(struct session *s, const struct session_event *ev,
		      struct session_effects *fx);

/* How far the worker is with what it has been sent. */
void handover_on_need(struct session *s, const struct msg_need *n, uint64_t now_us);

/* A worker accepted: true when it is the one that BACK has asked. */
bool handover_on_accept(struct session *s, const struct msg_accept *a, uint64_t now_us,
			struct session_effects *fx);

/* End it, if there is one; why: for the log. */
void handover_abandon(struct session *s, const char *why, struct session_effects *fx);

/* Its own wait is over. */
void handover_on_due(struct session *s, uint64_t now_us, struct session_effects *fx);

void handover_finish(struct session *s);

#endif
