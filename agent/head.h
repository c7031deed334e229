/* agent/head.h - the gateway's share of the model: embedding, layers [0, split), encoding.
 *
 * Side jobs run while there is nothing else to do, in steps (piece.h); where there always is, they
 * get half of the time that the others take. Where there are none, layers for tokens that were
 * guessed run while an answer is on its way (ahead.h).
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

#define HEAD_SPARE_ROWS 16u /* of the segment's x, for side jobs: most rows that one may have */
#define HEAD_KEPT       256u

/* The newest rows of a session as they were behind some of the layers, one after the other in
 * position. Compute thread. */
struct head_kept {
	uint32_t split;    /* layers that they had gone through */
	uint32_t from, to; /* positions */
	float x[];         /* [HEAD_KEPT][dim], by position modulo HEAD_KEPT */
};

#define HEAD_GUESSES (CODEC_MARKS + 1)

/* Tokens that may follow; rows of the first n_send of them are to go out as drafts. */
struct head_guesses {
	uint32_t n, n_send;
	uint32_t ids[HEAD_GUESSES];
	/* For guesses of the head itself (lens.h): */
	bool wanted;
	uint32_t known, end; /* tokens of positions before known are known, behind end not wanted */
	uint32_t most;       /* rows from known on that may be out as drafts */
	float wait_us;       /* what one that is right saves, ... */
	float vain_us;       /* ... and what one that is wrong takes */
};

/* A row of a guessed token, encoded like that of a job. */
struct head_draft {
	unsigned slot;
	uint32_t pos, id;
	const uint8_t *bytes; /* [len]; until head_go_on */
	size_t len;
	uint8_t codec_id;
	uint16_t state_hash;
};

struct head_job {
	struct inbox_item item;
	unsigned slot;      /* of the session, for the loop thread */
	unsigned front;     /* precision of the layers: 0, or one that was set (head_set_front) */
	uint32_t pos, rows; /* rows of positions [pos, pos + rows) */
	const uint32_t
		*ids; /* [rows], the session's own array (not written while the job is out) */
	struct codec_spec codec;
	bool tell_ids;             /* the worker knows, or will be told, the tokens of the rows */
	bool draft;                /* it is a row of a token that was guessed */
	struct codec_state *state; /* of the session */
	bool sample; /* split = L and these are the newest rows: sample the next token here */
	struct sampler_params sampling;
	const uint32_t *history; /* [n_history] tokens generated so far */
	uint32_t n_history;
	struct kv *kv;             /* layers [0, split); of the session */
	struct head_kept *kept;    /* rows behind layers [0, keep_at) go there as well; or NULL. */
	uint32_t keep_at;          /* side: lent, rows that are there need not run below `first` */
	uint32_t kept_rows;        /* the first ones of the rows are there, behind layers [0, split)
				    * (else they run again), and precede the others */
	bool side;                 /* rows that ran before, for a handover, when there is time: */
	uint32_t first, last;      /* through [0, first) by way of `again`, [first, last) of `kv` */
	struct kv *again;          /* side: a view of the session's cache */
	struct kv *beside;         /* side: a view of kv, if there is one */
	bool encode;               /* side: what comes out is wanted */
	const struct kv *values;   /* side: nothing runs; [first, last) of this cache is wanted, */
	bool recast;               /* ... in kv, which is like it but for its type */
	struct codec_state *later; /* side: of the session's rows once the split has moved */
	uint8_t *bytes;            /* [cap] encoded rows; of the session */
	size_t cap;
	uint64_t booked_bytes; /* for the session, besides kv */
	struct head_guesses guesses; /* of the tokens behind these rows (ahead.h) */
	struct head_job *next; /* the head's */
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
	uint32_t ahead_us; /* layers that had run ahead took so long, which is not in layers_us */
	uint32_t step_us;                        /* side: longest step */
	bool ran;                                /* side: through layers, not only encoded */
};

struct head;

/* Called on the compute thread with a job that is finished. */
typedef void head_done(void *ctx, struct head_job *job);

/* A draft is ready: head_take_draft gets it, if it is still wanted then, where nobody else uses the
 * sessions; and head_go_on must follow. Compute thread. */
typedef void head_drafted(void *ctx);

/* Open the segment, start the thread. spin_us: how long it may look for a job that is due before it
 * sleeps (queue_pop_due). */
MUST_CHECK int head_create(struct head **out, const struct segment_conf *conf, uint32_t spin_us,
			   head_done *done, void *ctx, struct err *e);
/* Jobs that are queued are finished first; none may be submitted any more. */
void head_stop(struct head *h);
void head_destroy(struct head *h);

/* For begin and end, and to read: loop thread. */
struct segment *head_segment(struct head *h);

/* What runs ahead of the jobs is forgotten: to be called before a session's cache, or weights, are
 * changed or freed. Waits for a layer that runs. */
void head_recall(struct head *h);

/* Layers of jobs with this front (1..MSG_FRONTS_MAX - 1), in another precision; NULL takes it away,
 * when no job with it is out. */
void head_set_front(struct head *h, unsigned front, struct segment *seg);

/* To be called before the first job with guesses that are to go out; with head_create's ctx. */
void head_on_draft(struct head *h, head_drafted *drafted);
bool head_take_draft(struct head *h, struct head_draft *draft);
/* Any thread. Until the next draft is ready, the one that was taken stays where it is. */
void head_go_on(struct head *h);

/* Guess from the rows themselves as well, where that is right more often. Before any job.
 * ERR_NOMEM. */
MUST_CHECK int head_learn(struct head *h, struct err *e);

/* A draft was right: what may follow the tokens that are known now, those of the drafts that are
 * out included. job is that of the session, and not out; guesses are for positions from pos on. */
void head_guess(struct head *h, const struct head_job *job, uint32_t pos,
		const struct head_guesses *guesses);

/* Rows x [job->rows][d] -> job->bytes and what goes with them. For the head's thread, and tests. */
MUST_CHECK int head_encode(struct head_job *job, struct codec_work *work, const float *x);

/* False when the queue is full: the caller keeps the job. */
MUST_CHECK bool head_submit(struct head *h, struct head_job *job);

#endif
