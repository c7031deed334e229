/* worker/core.h - the worker without its threads: lanes, admission, answers.
 *
 * Events come in through functions with the time in them, everything goes out through the bus and
 * the ops: the whole worker runs on a fake clock over an in-memory bus in tests. Loop thread
 * only. */
#ifndef WORKER_CORE_H
#define WORKER_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "bus/bus.h"
#include "schema/msg.h"
#include "worker/lane.h"
#include "worker/tail.h"

struct worker_core;

/* What a planner wants to know: as in msg_worker_status. */
struct worker_core_facts {
	uint32_t kv_elements, threads;
	uint64_t budget_bytes, weight_bytes, layer_bytes, head_bytes;
};

struct worker_core_conf {
	char fleet[TOPIC_NAME_MAX + 1];
	char model_name[TOPIC_NAME_MAX + 1];
	struct lane_limits limits;
	uint32_t max_sessions;
	uint32_t drafts;   /* most that a session may have out; <= CODEC_MARKS */
	uint64_t evict_us; /* a session without traffic for that long may have to make room */
	enum kv_type kv;   /* of sessions whose OPEN says nothing */
	uint32_t n_vocab;  /* of a LOGITS frame */
	int qos;           /* of tokens */
	uint64_t boot;
	struct worker_core_facts facts;
};

struct worker_ops {
	void *ctx;
	int (*begin)(void *ctx, struct kv **kv, uint32_t split, uint32_t context_tokens,
		     enum kv_type type, struct err *e);
	void (*end)(void *ctx, struct kv *kv, uint32_t split, uint32_t context_tokens);
	/* What rows at this split are predicted with; codec_state_destroy releases it. */
	int (*begin_codec)(void *ctx, struct codec_state **state, uint32_t split, struct err *e);
	/* Run the job and give it back with worker_core_computed, later or at once. */
	bool (*submit)(void *ctx, struct tail_job *job);
	/* Bytes that begin would miss; bytes that end would give back. NULL: there is no limit. */
	uint64_t (*missing)(void *ctx, uint32_t split, uint32_t context_tokens, enum kv_type type);
	uint64_t (*held)(void *ctx, const struct kv *kv);
	/* A cache for layers [first, last) that is filled beside. */
	int (*begin_side)(void *ctx, struct kv **kv, uint32_t first, uint32_t last,
			  uint32_t context_tokens, enum kv_type type, struct err *e);
	void (*end_side)(void *ctx, struct kv *kv);
	/* The budget hears what a cache holds after layers joined or left it. */
	void (*settle)(void *ctx, struct kv *kv);
};

MUST_CHECK int worker_core_create(struct worker_core **out, const struct worker_core_conf *conf,
				  const struct worker_ops *ops);
/* No job may be out. */
void worker_core_destroy(struct worker_core *c);

/* Subscribe and announce: call once after the bus was opened. */
MUST_CHECK int worker_core_start(struct worker_core *c, struct bus *bus);

void worker_core_message(struct worker_core *c, const struct bus_event *ev, uint64_t now_us);
/* Takes the job over. */
void worker_core_computed(struct worker_core *c, struct tail_job *job, uint64_t now_us);
void worker_core_tick(struct worker_core *c, uint64_t now_us);

/* Take no new sessions, say so in the status; sessions go on. */
void worker_core_drain(struct worker_core *c);
/* Hear nothing more: what is out comes back, nothing new begins. */
void worker_core_stop(struct worker_core *c);

/* The last status: offline. */
MUST_CHECK int worker_core_goodbye(struct worker_core *c);
unsigned worker_core_sessions(const struct worker_core *c);
/* Lowest layer of a session, running or begun; the number of layers when there is none. */
uint32_t worker_core_lowest(const struct worker_core *c);
unsigned worker_core_jobs(const struct worker_core *c); /* out on the compute thread */

/* Counters; name, boot, uptime and memory are filled in by the caller. */
void worker_core_telemetry(const struct worker_core *c, struct msg_telemetry *t);

#endif
