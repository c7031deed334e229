/* daemon/segment.h - a process' share of a model file, within its memory budget.
 *
 * What the front end (agent/head) and the back end (worker/tail) have in common: map, tokenizer,
 * weights, buffers, KV budget, sampling. Opening, begin and end: loop thread; rows, logits and
 * sampling: compute thread. */
#ifndef DAEMON_SEGMENT_H
#define DAEMON_SEGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "codec/codec.h"
#include "daemon/memory.h"
#include "daemon/room.h"
#include "engine/model.h"
#include "engine/sampler.h"
#include "engine/tokenizer.h"
#include "schema/msg.h"

/* What a session takes besides its KV cache, whatever its length and for each position. */
struct segment_extra {
	uint64_t session_bytes, token_bytes;
};

struct segment_conf {
	const char *path;
	const char *kv; /* of sessions for which nothing else is said: a word of base/kv_type.h */
	const char *calibration; /* path; NULL or empty: beside the model, if it is there */
	uint32_t first,
		last;     /* layers that are expected to run here: what the proof of fit is for */
	const char *first_key;        /* the setting that says first, for errors; NULL: none */
	bool embed, head; /* likewise */
	unsigned threads;
	bool pin_threads;             /* each to a processor of its own */
	bool unprepared; /* weights are left as the file has them: model_prepare_some is next */
	uint32_t max_rows;            /* of one job, or step */
	uint32_t spare_rows;          /* of x beyond them, for what the caller likes */
	uint32_t logit_rows;          /* 0: 1 */
	uint32_t context_tokens;      /* of one session */
	uint64_t memory_budget_bytes; /* of the process; 0: what the machine has available now */
	uint64_t memory_reserve_bytes; /* of what the machine has available: left to others */
	uint64_t other_bytes; /* that the owner will take besides: threads, buffers */
	uint64_t lent_bytes;  /* of what the owner has in the file's place; 0: nothing */
	uint32_t lent_last;   /* as in struct segment */
	bool lent_head;
	/* Of sessions of the expected kind, once the model is known; NULL: nothing. */
	struct segment_extra (*extra)(void *ctx, const struct model_hparams *hp);
	void *extra_ctx;
};

struct segment_range {
	uint32_t first, last;
	bool head;
};

struct segment {
	struct gguf *gguf;
	struct tokenizer *tokenizer;
	struct model *model; /* opened for all layers of the file: only those that are run are ever
			      * mapped in */
	struct model_hparams hp;
	struct model_slice slice; /* what the file holds */
	uint32_t first, last;     /* of the expected segment */
	enum kv_type kv_type;
	char hash[GGUF_HASH_LEN + 1];
	char name[TOPIC_NAME_MAX + 1]; /* general.name, fit for a topic */
	bool embed, head;              /* of the expected segment */
	struct segment_range held;     /* what is booked: those, and any that ran */
	struct segment_range begun;    /* of sessions that began since spare.h looked */
	size_t weight_bytes;           /* of what is held, less an embedding that is only read */
	uint64_t base_bytes;           /* of the process besides all else that is booked */
	uint64_t scratch_bytes;        /* that were booked beside them */
	uint64_t reserve_bytes;
	struct memory_look own_look, *look; /* copies of the segment share it */
	uint64_t sessions_bytes;            /* booked for sessions */
	uint32_t lent_last;        /* layers up to here that the file has not run from weights that
				    * the owner has elsewhere, and booked; 0: none do */
	bool lent_head;            /* likewise */
	bool lent_whole;           /* nor those that the file has */
	uint64_t pack_limit_bytes; /* as in model_conf */
	struct cal *cal;               /* NULL: none */
	struct kv_budget budget; /* process, weights, buffers, predictors are booked in it too */
	float *x;      /* [max_rows + spare_rows][d] */
	float *logits; /* [logit_rows][V] */
	struct sampler *sampler;
};

#define SEGMENT_QUARTER UINT32_MAX       /* last: a quarter of the layers, all of a slice */
#define SEGMENT_ALL     (UINT32_MAX - 1) /* last: all layers */

/* Open and prove that the expected segment and one session fit, before any weight is read.
 * ERR_LIMIT names the missing bytes and the longest context that fits, ERR_NOT_FOUND the first
 * layer that a slice does not hold; otherwise as gguf_open, model_open, tokenizer_create. */
MUST_CHECK int segment_open(struct segment *s, const struct segment_conf *conf, struct err *e);
void segment_close(struct segment *s);

/* Bytes of the weights of layers [first, last), with embedding and head as asked. */
size_t segment_weight_bytes(const struct segment *s, uint32_t first, uint32_t last, bool embed,
			    bool head);

/* Multiply-adds of attention for each position before a row, as a share of those of a row through
 * all matrices of a layer. */
double segment_attention_work(const struct model_hparams *hp);

/* Weigh the process again, once all that it has without a session has run: libraries, threads and
 * files take pages when they are first used, huge pages are taken whole. What is in memory beyond
 * what is booked is booked, and counts in base_bytes. Reads the system's state: not per token. */
void segment_settle(struct segment *s);

struct segment_ask {
	uint32_t first, last, context_tokens;
	enum kv_type kv;
	struct segment_extra extra;
	uint64_t other_bytes; /* that must be had as well */
	uint64_t freed_bytes; /* of what is booked: given back before */
	bool predict; /* with the predictors of the front's split */
	uint32_t split;
};

/* Whether a session would fit now; alone: if no other one had anything. Reads the system's state:
 * not per token. */
void segment_judge(const struct segment *s, const struct segment_ask *ask, bool alone,
		   struct room_answer *a);

/* ERR_LIMIT: the session that was judged, its missing bytes, the longest context that fits. */
int segment_refuse(const struct segment_ask *ask, const struct room_answer *a, struct err *e);

/* The layers of both, and those between them. */
struct segment_range segment_join(struct segment_range a, struct segment_range b);

/* Give the memory of weights outside `keep` back: of layers, and the head. No job that runs them is
 * out. */
void segment_release(struct segment *s, struct segment_range keep);

/* Promise bytes to a session, or take them back. */
void segment_book(struct segment *s, uint64_t bytes);
void segment_unbook(struct segment *s, uint64_t bytes);

/* KV cache of a session. ERR_LIMIT names missing bytes and the longest context that fits now,
 * ERR_NOT_FOUND the first layer that is not in the file. */
MUST_CHECK int segment_begin(struct segment *s, struct kv **kv, uint32_t first, uint32_t last,
			     uint32_t context_tokens, enum kv_type type, struct err *e);
/* kv is destroyed: no job of it may be out. NULL is fine. */
void segment_end(struct segment *s, struct kv *kv);

/* Layers have joined kv or left it: book what it takes now. */
void segment_resized(struct segment *s, struct kv *kv);

/* kv, which was booked when it was made, but not by segment_begin, is a session's too. */
void segment_added(struct segment *s, const struct kv *kv);

/* What a session at this split predicts rows with. ERR_NOMEM. */
MUST_CHECK int segment_begin_codec(struct segment *s, struct codec_state **state, uint32_t split,
				   struct err *e);

/* s->x [rows][d] through kv's layers, at position pos exactly: what the cache holds beyond is
 * forgotten. tap [rows][d]: they are copied there as they come to tap_layer, or leave the one
 * before; NULL: nowhere. */
MUST_CHECK int segment_forward(struct segment *s, struct kv *kv, uint32_t pos, uint32_t rows,
			       uint32_t tap_layer, float *tap, struct err *e);

/* The sampler's view of what travels. */
struct sampler_params segment_sampling(const struct msg_sampling *s);

/* What logits [V] give for position pos; *end: the last token. */
MUST_CHECK int segment_pick(struct segment *s, const struct sampler_params *p, const float *logits,
			    const uint32_t *history, uint32_t n_history, uint32_t pos, uint32_t *id,
			    bool *end, struct err *e);

/* Logits of row `row` of s->x, and the token that follows position pos; *end: the last one. */
MUST_CHECK int segment_sample(struct segment *s, const struct sampler_params *p, uint32_t row,
			      const uint32_t *history, uint32_t n_history, uint32_t pos,
			      uint32_t *id, bool *end, struct err *e);

#endif
