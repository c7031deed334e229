/* agent/core.h - the agent without its threads: prompts, sessions, workers, decisions, replies.
 *
 * Everything that happens comes in through a function with the time in it; everything that it does
 * goes out through the bus and the ops. So the whole agent runs on a fake clock over an in-memory
 * bus in tests. Loop thread only. */
#ifndef AGENT_CORE_H
#define AGENT_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/admit.h"
#include "agent/head.h"
#include "base/err.h"
#include "bus/bus.h"
#include "schema/msg.h"

struct agent_core;
struct meter;

struct agent_core_conf {
	char fleet[TOPIC_NAME_MAX + 1];
	char agent[TOPIC_NAME_MAX + 1];
	char model[MSG_HASH_LEN + 1];
	char model_name[TOPIC_NAME_MAX + 1];
	char calibration[MSG_CALIBRATION_LEN + 1];  /* empty: none */
	char fronts[MSG_FRONTS_MAX][MSG_FRONT_MAX]; /* [n_fronts] names; first: its own file */
	unsigned n_fronts;
	uint32_t n_layers, dim;
	uint32_t split; /* while there is no decision */
	struct codec_spec codec;
	enum kv_type kv;                         /* likewise */
	uint32_t kv_elements;                    /* of a position's layer */
	size_t kv_position_bytes[KV_TYPE_COUNT]; /* of the same; 0: they never travel */
	enum msg_class class;                    /* of prompts that do not say */
	uint32_t context_tokens, max_sessions, max_tokens;
	int qos; /* of rows */
	struct msg_sampling sampling;
	uint32_t accept_timeout_ms, reply_timeout_ms, session_deadline_ms;
	uint32_t ttft_ms, tpot_ms; /* wanted; 0: whatever */
	uint32_t offline_after_ms; /* of absence of the fleet; 0: never alone */
	float max_delta;           /* of rows, where a deadline is in danger */
	bool run_ahead;            /* jobs say which tokens may follow */
	uint32_t drafts;           /* most rows of guessed tokens that may be out (draft.h) */
	uint64_t boot;
	char front[MSG_FRONT_MAX]; /* precision of the layers; empty: its speed is not told */
	double head_layers;        /* the head's weights in layers' weights; 0: there is none */
	double attention;          /* meter_shape; 0: not known */
	uint64_t probe_us;         /* without sessions for so long: find out how far the broker is;
				    * 0: never */
	const struct tokenizer *tokenizer; /* NULL: prompts are not text (simulation); ids only */
	const char *prompt_family;
};

/* A split that moves. */
struct agent_move {
	uint32_t from, to;
	bool values;   /* keys and values go, not rows */
	bool same_log; /* what was encoded for it goes on as the session's log */
	uint32_t context_tokens;
	uint64_t log_bytes; /* that the session keeps what is sent for it in */
	enum kv_type type;
};

/* A precision of the layers, which is there (fronts.h). */
struct agent_front {
	unsigned index;  /* as in head_job */
	uint32_t layers; /* it has [0, layers) */
	bool has_head;
	char name[MSG_FRONT_MAX];
};

struct agent_ops {
	void *ctx;
	/* Make the KV cache of a session (job->kv) for split and context. */
	int (*begin)(void *ctx, struct head_job *job, uint32_t split, uint32_t context_tokens,
		     enum kv_type type, struct err *e);
	void (*end)(void *ctx, struct head_job *job, uint32_t split, uint32_t context_tokens);
	/* Run the job and give it back with agent_core_computed, later or at once. */
	bool (*submit)(void *ctx, struct head_job *job);
	/* What a handover needs, in side: caches (as long as job's, of its type) and codec states
	 * to move job's session from one split to another. */
	int (*side_begin)(void *ctx, const struct head_job *job, struct head_job *side,
			  const struct agent_move *m, struct err *e);
	/* The split has moved: job's cache is that of the new one, `len` positions long; side_end
	 * follows, when the next job is done. No job of the session is out. */
	void (*side_moved)(void *ctx, struct head_job *job, struct head_job *side,
			   const struct agent_move *m, uint32_t len);
	void (*side_end)(void *ctx, struct head_job *side);
	/* Replies to prompts that came through agent_core_prompt. */
	void (*reply)(void *ctx, const struct msg_reply *reply);
	/* 0, or why a session of this kind does not fit (*a: missing bytes, longest context), or
	 * cannot be. NULL: all fit. */
	int (*fits)(void *ctx, const struct admit_ask *ask, struct room_answer *a, struct err *e);
	/* A decision names a front (empty: the first); agent_core_use_front when it is there. NULL:
	 * there is one. */
	void (*front)(void *ctx, const char *name);
	/* Have an empty cache like job's, but of `type`: recast->kv, and what a job that brings
	 * rows there needs. NULL: it cannot be done. */
	int (*recast_begin)(void *ctx, const struct head_job *job, struct head_job *recast,
			    enum kv_type type, struct err *e);
	/* Positions [from, len) as well; then job and recast have changed caches. On an error they
	 * have not. No job of the session is out. */
	int (*recast_done)(void *ctx, struct head_job *job, struct head_job *recast, uint32_t from,
			   uint32_t len, struct err *e);
	/* recast's cache ends. */
	void (*recast_end)(void *ctx, struct head_job *recast);
	/* Tokens from position pos on may be these, as with job->guesses, while no job is out.
	 * NULL: no drafts. */
	void (*guess)(void *ctx, const struct head_job *job, uint32_t pos,
		      const struct head_guesses *guesses);
};

#define AGENT_CHUNK_ROWS 64u /* most rows of one job */

MUST_CHECK int agent_core_create(struct agent_core **out, const struct agent_core_conf *conf,
				 const struct agent_ops *ops);
/* No job may be out. */
void agent_core_destroy(struct agent_core *c);

/* Subscribe and announce: call once after the bus was opened. */
MUST_CHECK int agent_core_start(struct agent_core *c, struct bus *bus);

/* Jobs that can have it run with this front from now on. */
void agent_core_use_front(struct agent_core *c, const struct agent_front *front);
/* The front that was wished for cannot be had: when the decision names it, its answer is corrected.
 * missing_bytes 0: memory was not the matter. */
void agent_core_front_lost(struct agent_core *c, const char *name, uint64_t missing_bytes,
			   const char *reason);
/* All sessions have only layers that this front has. */
bool agent_core_can_use(const struct agent_core *c, const struct agent_front *front);
bool agent_core_uses_front(const struct agent_core *c, unsigned index); /* a job with it is out */

void agent_core_link(struct agent_core *c, bool up, uint64_t now_us);
void agent_core_message(struct agent_core *c, const struct bus_event *ev, uint64_t now_us);
void agent_core_computed(struct agent_core *c, struct head_job *job, uint64_t now_us);
/* A row of guesses[0..n_send) is ready, while no job of its session is out. */
void agent_core_drafted(struct agent_core *c, const struct head_draft *d, uint64_t now_us);
void agent_core_tick(struct agent_core *c, uint64_t now_us);
uint64_t agent_core_due_us(const struct agent_core *c);

/* A prompt from this process; its replies go to ops.reply. m is moved from (its text is taken
 * over). */
void agent_core_prompt(struct agent_core *c, struct msg_prompt *m, uint64_t now_us);
/* The same with ids instead of text (no tokenizer involved): simulation. */
void agent_core_prompt_ids(struct agent_core *c, const struct msg_prompt *m, const uint32_t *ids,
			   uint32_t n, uint64_t now_us);
void agent_core_cancel(struct agent_core *c, const char *id, uint64_t now_us);

/* Refuse new prompts, say so in the status; sessions go on. */
void agent_core_drain(struct agent_core *c);
unsigned agent_core_sessions(const struct agent_core *c); /* running or waiting */
bool agent_core_busy(const struct agent_core *c);         /* a job is out on the compute thread */

/* No session has anything: none runs, none has a job out. */
bool agent_core_idle(const struct agent_core *c);

/* The weights are changed: no session begins before they are not any more; prompts wait. */
void agent_core_hold(struct agent_core *c, bool hold, uint64_t now_us);

/* The last status: offline. */
MUST_CHECK int agent_core_goodbye(struct agent_core *c);

/* End all sessions now: reason in their replies. */
void agent_core_cancel_all(struct agent_core *c, uint64_t now_us);

/* What the agent measured so far; jobs that are no session's may add to it. */
struct meter *agent_core_meter(struct agent_core *c);

#endif
