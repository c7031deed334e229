/* agent/agent.h - the agent with its threads: net (bus), loop (the caller), compute (head). Net and
 * compute do the loop's work where that saves waking it: one at a time, in the loop's turn.
 *
 * Used by splitmq-agent, and by `splitmq run` when no agent daemon is there. */
#ifndef AGENT_AGENT_H
#define AGENT_AGENT_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "config/config.h"
#include "schema/msg.h"

struct agent;

/* Called on the loop thread for replies to agent_prompt. */
typedef void agent_reply_fn(void *ctx, const struct msg_reply *reply);
/* Called on the loop thread as time goes by, once a second at least, with the same ctx. */
typedef void agent_tick_fn(void *ctx);

/* Load the model, connect in the background. conf must outlive the agent; on_reply may be NULL. */
MUST_CHECK int agent_create(struct agent **out, const struct config_agent *conf,
			    agent_reply_fn *on_reply, void *ctx, struct err *e);
void agent_destroy(struct agent *a);

/* Loop until agent_stop, or until a signal has been obeyed: the first drains, the second ends at
 * once. on_tick may be NULL. Returns 0, or ERR_* when the bus gave up for good. */
MUST_CHECK int agent_run(struct agent *a, agent_tick_fn *on_tick, struct err *e);

/* From a reply handler: leave agent_run once no job is out. */
void agent_stop(struct agent *a);

/* Any thread: deliver a signal (SIGINT, SIGTERM) to the loop. */
void agent_signal(void *agent, int signal);

/* Before agent_run, or on the loop thread. m is moved from. */
void agent_prompt(struct agent *a, struct msg_prompt *m);

/* Loop thread: what a prompt may be waiting for, "broker" or "worker"; NULL: neither. *why: what
 * the connection failed of, or the empty text. */
const char *agent_waits_for(const struct agent *a, const char **why);

struct agent_facts {
	uint32_t n_layers, split; /* split: without a decision */
	size_t weight_bytes;      /* of embedding and these layers */
};
void agent_get_facts(const struct agent *a, struct agent_facts *f);

/* --check: model, tokenizer and memory, without connecting. *front: the one that would be used, of
 * conf, where the model's own layers do not fit; NULL: those. */
MUST_CHECK int agent_check(const struct config_agent *conf, const char **front, struct err *e);

#endif
