/* worker/answer.h - what a worker publishes on a session's down topic. Internal. Loop thread. */
#ifndef WORKER_ANSWER_H
#define WORKER_ANSWER_H

#include "worker/core.h"

struct place {
	struct lane lane;
	struct kv *kv; /* layers [kv_split, L) for kv_context tokens; NULL when free */
	uint32_t kv_split, kv_context;
	struct codec_state *codec; /* of kv_split; lives and dies with kv */
	enum kv_type kv_type;
	struct kv *side; /* layers [lane.fill_split, kv_split) that are filled beside; or NULL */
	struct codec_state *side_codec;  /* of its rows */
	struct codec_state *later_codec; /* of a split that a job which is out moves to */
};

struct worker_core {
	struct worker_core_conf conf;
	struct worker_ops ops;
	struct bus *bus;
	struct place *places; /* [conf.max_sessions] */
	unsigned jobs;        /* out */
	bool draining, stopped;
	uint64_t sessions_done, sessions_failed, tokens, rows, bytes_up, bytes_down, retries,
		evictions;
	double token_ms;
};

/* A topic of this worker; agent and session stay wildcards. */
struct topic answer_topic(const struct worker_core *c, enum topic_kind kind);

void answer_error(struct worker_core *c, const char *agent, uint64_t session, uint32_t epoch,
		  uint32_t seq, int code, const char *reason);
/* The same, but the session goes on: only a fill is over. */
void answer_fill_error(struct worker_core *c, const struct lane *l, uint32_t seq, int code,
		       const char *reason);
void answer_accept(struct worker_core *c, const struct lane *l);
void answer_need(struct worker_core *c, const struct lane *l, const struct lane_effects *fx);

/* The lane's stored answer. */
void answer_tokens(struct worker_core *c, const struct lane *l);

/* The logits that a request asked for, before its answer; exact if a packet takes them, else in
 * f16. */
void answer_logits(struct worker_core *c, const struct tail_job *job);

#endif
