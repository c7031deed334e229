/* worker/tail.h - the worker's share of the model: decoding, layers [split, L), head, sampling.
 *
 * Owns the segment and the compute thread, which runs steps of rows from many jobs (sched.h,
 * runner.h). Everything but that is the loop thread's. A job belongs to the compute thread from
 * tail_submit until it is given back through `done`. Jobs of a lane run, and come back, in the
 * order they were submitted. */
#ifndef WORKER_TAIL_H
#define WORKER_TAIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "codec/codec.h"
#include "daemon/inbox.h"
#include "daemon/segment.h"
#include "schema/msg.h"
#include "schema/wire.h"
#include "worker/sched.h"

#define TAIL_MAX_ROWS SCHED_MAX_ROWS /* of one frame, and of one step */

struct tail_job {
	struct inbox_item item;
	struct sched_job sched; /* of the tail */
	unsigned lane;
	bool bulk;                 /* class of the session */
	struct wire_hdr hdr;       /* hdr.rows <= TAIL_MAX_ROWS */
	struct kv *kv;             /* of the lane: layers [split, L); of a fill: the cache beside */
	struct kv *join;           /* cache beside whose layers kv takes first; or NULL */
	bool changes;              /* the rows are at another split than those before */
	struct codec_state *codec; /* of the lane, or of the fill */
	bool has_token;
	uint32_t token; /* of the only row, where the lane knows it */
	struct sampler_params sampling;
	uint32_t history[MSG_IDS_MAX]; /* tokens before, when a penalty needs them */
	uint32_t n_history;
	float *logits; /* [V], when hdr asks for them; of the job's owner */
	uint64_t queued_us;
	/* results */
	uint64_t begun_us; /* when its first rows were taken */
	bool skipped;      /* a draft that is void: nothing was sampled, it may not have run */
	int rc;
	struct err err;
	uint32_t id;
	bool end;
	uint32_t queue_us, compute_us;
	struct kv *rest; /* layers below the split that kv had before, or NULL; of the owner */
	uint8_t body[]; /* [hdr.body_len] tokens (with WIRE_IDS), encoded rows */
};

struct tail;

struct tail_conf {
	const char *model, *kv, *calibration; /* as in segment_conf */
	uint32_t first_layer;
	unsigned threads;
	bool pin_threads;
	uint32_t spin_us;        /* how long to look for a job that is due before sleeping */
	uint32_t context_tokens; /* of one session */
	uint64_t memory_budget_bytes, memory_reserve_bytes, other_bytes;
	uint32_t max_sessions;            /* lanes are below */
	uint64_t interactive_us, bulk_us; /* as in sched_conf, like the next */
	double share;
	bool warm_up; /* so that its pace is known before the first job: worker/warmup.h */
};

/* What the compute thread did since it began. */
struct tail_counts {
	uint64_t steps, rows; /* steps that took rows */
	uint64_t jobs, queue_us; /* that came back, and what they waited together */
	uint32_t queue_high_us;  /* 95 % of those of late waited no longer */
	double decode_ms;        /* tempo_decode_ms */
	uint32_t n_batches;
	struct msg_batch batches[MSG_BATCHES_MAX];
};

/* What a session takes besides its KV cache: the codec's state, and a frame that waits. */
struct segment_extra tail_extra(const struct model_hparams *hp);

/* Called on the compute thread with a job that is finished. */
typedef void tail_done(void *ctx, struct tail_job *job);

MUST_CHECK int tail_create(struct tail **out, const struct tail_conf *conf, tail_done *done,
			   void *ctx, struct err *e);
/* Jobs that are queued are finished first. */
void tail_destroy(struct tail *t);

/* For begin and end, and to read: loop thread. */
struct segment *tail_segment(struct tail *t);

/* Jobs that are queued come back as cancelled, without being run. */
void tail_abandon(struct tail *t);

/* The body of a job -> x [hdr.rows][hdr.dim]; for the tail's thread, and tests. */
MUST_CHECK int tail_decode(struct tail_job *job, struct codec_work *work, float *x);

/* False when the queue is full: the caller keeps the job. */
MUST_CHECK bool tail_submit(struct tail *t, struct tail_job *job);

void tail_count(struct tail *t, struct tail_counts *counts);

#endif
