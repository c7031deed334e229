/* agent/head.h - the gateway's share of the model: embedding, layers [0, split), encoding.
 *
 * Owns the segment and the compute thread. Everything but the run of a job is the loop thread's;
 * a job belongs to the compute thread from head_submit until it is given back through `done`. One
 * job per session at a time. */
#ifndef AGENT_HEAD_H
#define AGENT_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "codec/codec.h"
#include "daemon/inbox.h"
#include "daemon/segment.h"

struct head_job {
	struct inbox_item item;
	unsigned slot;      /* of the session, for the loop thread */
	unsigned front;     /* precision of the layers: 0, or one that was set (head_set_front) */
	uint32_t pos, rows; /* rows of positions [pos, pos + rows) */
	const uint32_t
		*ids; /* [rows], the session's own array (not written while the job is out) */
	struct codec_spec codec;
	bool tell_ids;             /* the worker knows, or will be told, the tokens of the rows */
	struct codec_state *state; /* of the session */
	bool sample; /* split = L and these are the newest rows: sample the next token here */
	struct sampler_params sampling;
	const uint32_t *history; /* [n_history] tokens generated so far */
	uint32_t n_history;
	struct kv *kv; /* layers [0, split); of the session */
	bool side;     /* rows that ran before, for a handover: through `again`, then `kv` if any */
	struct kv *again;          /* side: a view of the session's cache */
	bool encode;               /* side: what comes out is wanted */
	const struct kv *values;   /* side: nothing runs; keys and values of layers ... */
	uint32_t first, last;      /* ... [first, last) of this cache are wanted */
	struct codec_state *later; /* side: of the session's rows once the split has moved */
	uint8_t *bytes;            /* [cap] encoded rows; of the session */
	size_t cap;
	uint64_t booked_bytes; /* for the session, besides kv */
	uint64_t queued_us;
	/* results */
	int rc;
	struct err err;
	size_t len;
	uint8_t codec_id;
	uint16_t state_hash; /* before these rows */
	uint32_t id;
	bool end;
	uint32_t queue_us, layers_us, encode_us; /* layers: embedding and head included, that is: */
	uint32_t embed_us, head_us;              /* head: final norm, output matrix, sampling */
};

struct head;

/* Called on the compute thread with a job that is finished. */
typedef void head_done(void *ctx, struct head_job *job);

/* Open the segment, start the thread. spin_us: how long it may look for a job that is due before it
 * sleeps (queue_pop_due). */
MUST_CHECK int head_create(struct head **out, const struct segment_conf *conf, uint32_t spin_us,
			   head_done *done, void *ctx, struct err *e);
/* Jobs that are queued are finished first; none may be submitted any more. */
void head_stop(struct head *h);
void head_destroy(struct head *h);

/* For begin and end, and to read: loop thread. */
struct segment *head_segment(struct head *h);

/* Layers of jobs with this front (1..MSG_FRONTS_MAX - 1), in another precision; NULL takes it away,
 * when no job with it is out. */
void head_set_front(struct head *h, unsigned front, struct segment *seg);

/* Rows x [job->rows][d] -> job->bytes and what goes with them. For the head's thread, and tests. */
MUST_CHECK int head_encode(struct head_job *job, struct codec_work *work, const float *x);

/* False when the queue is full: the caller keeps the job. */
MUST_CHECK bool head_submit(struct head *h, struct head_job *job);

#endif
