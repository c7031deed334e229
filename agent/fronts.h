/* agent/fronts.h - further precisions of the front layers, loaded when a decision wants them.
 *
 * The first front is the agent's model itself (head.h): its tokenizer, its cache, its memory budget
 * and its identity stay. A further one is a file or slice that `splitmq quantize` made of the same
 * source (gguf_source), and may have layers, or the head, that the agent's own file lacks. It is
 * booked whole in that budget, loaded on a thread of its own, and used
 * from the next job of each session on. Caches that the old weights filled are kept. It is let go
 * when no decision wants it and no job has it.
 *
 * Where two do not fit beside each other, the new one takes the old one's place while no session
 * runs: what it replaces is given back first, prompts wait for the load, and what was there comes
 * back if that fails. Loop thread. */
#ifndef AGENT_FRONTS_H
#define AGENT_FRONTS_H

#include "agent/core.h"
#include "config/config.h"

struct fronts;

/* Look at the files of conf->fronts. The item of a finished load goes to inbox. ERR_MODEL_MISMATCH
 * for another source or shape, ERR_CONFIG, errors of gguf_open. All lent until destroy. */
MUST_CHECK int fronts_create(struct fronts **out, const struct config_agent *conf,
			     struct head *head, struct queue *inbox, struct err *e);

/* Front `at` has the first one's place (fallback.h), now and when none is wished for: load it.
 * Errors of segment_open. */
MUST_CHECK int fronts_start(struct fronts *f, unsigned at, struct err *e);

/* core uses what was started. */
void fronts_tell(const struct fronts *f, struct agent_core *core);

/* Index of the one in use. */
unsigned fronts_used(const struct fronts *f);

/* Waits for a load. After it no job may run. */
void fronts_destroy(struct fronts *f);

/* What a profile tells of them, the first one too. ERR_NOMEM. */
MUST_CHECK int fronts_fill(const struct fronts *f, struct msg_agent_profile *p);

/* Their names, into cc. */
void fronts_names(const struct fronts *f, struct agent_core_conf *cc);

/* Whether a session as *ask would fit with the front of that name (empty: what was started with),
 * its weights included where they are not there; idle: in place of those that are. ERR_NOT_FOUND
 * for a name or layers that are not there. */
MUST_CHECK int fronts_judge(struct fronts *f, const char *name, struct segment_ask *ask, bool alone,
			    bool idle, struct room_answer *a, struct err *e);

/* A decision wants it (empty: what was started with). Tells core when it is there, which may be at
 * once. */
void fronts_want(struct fronts *f, struct agent_core *core, const char *name);

/* The item INBOX_FRONT has come. */
void fronts_loaded(struct fronts *f, struct agent_core *core);

/* Use what had to wait, let go what nobody uses. */
void fronts_tidy(struct fronts *f, struct agent_core *core);

#endif
