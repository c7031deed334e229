/* agent/draft.h - rows that go out before it is known whether their tokens are right. Pure; part of
 * session.c's machine.
 *
 * While the answer to the newest row is due, rows of guessed tokens may follow it as drafts. The
 * worker runs and answers them like any other. When the token that comes is that of the first
 * draft, this simply has become the newest row, and its answer is waited for; if not, all drafts
 * are forgotten, and the true row takes their place at the worker, as it stands at an earlier
 * position than what the worker holds.
 *
 * Drafts lie behind the log, of which they are no part yet. There are none but in OPEN, while an
 * answer is due and no split moves. Source: schema/PROTOCOL.md, "Sessions". */
#ifndef AGENT_DRAFT_H
#define AGENT_DRAFT_H

#include "agent/session.h"

/* A row that may go out as one; it is ignored where it does not follow what is out. */
void draft_on_row(struct session *s, const struct session_event *ev, struct session_effects *fx);

/* The token behind the newest row is id (it is not among the ids yet): true when the first draft is
 * its row. draft_promote makes it the newest one, when the id is. */
bool draft_is_right(const struct session *s, uint32_t id);
void draft_promote(struct session *s, uint64_t now_us);

/* A seq that an answer is due to: of the newest row, or of a draft. */
bool draft_awaits(const struct session *s, uint32_t seq);

/* What the worker needs (its seq is awaited) are drafts at most: then nothing is sent again. Those
 * that it does not have are forgotten. */
bool draft_is_lost(struct session *s, const struct msg_need *need);

/* Positions that the worker has, without those of drafts before the newest row that were wrong. */
uint32_t draft_without(const struct session *s, uint32_t len);

/* Forget them where there must be none. */
void draft_check(struct session *s);

#endif
