/* tests/toy.h - a model whose next token is a hash of all rows so far, and a node on a bus in
 * memory.
 *
 * One row that is lost, doubled or out of place changes every later token, so that comparing
 * answers finds it. The agent's head and the worker's tail run it through their ops. */
#ifndef TESTS_TOY_H
#define TESTS_TOY_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/core.h"
#include "base/queue.h"
#include "bus/bus.h"
#include "worker/core.h"

#define TOY_DIM     8u
#define TOY_LAYERS  4u
#define TOY_VOCAB   64u
#define TOY_END_ID  63u /* this token ends an answer */
#define TOY_CONTEXT 96u
#define TOY_FLEET   "sim"
#define TOY_MODEL   "00112233445566778899aabbccddeeff"

/* The answer of an undisturbed run to prompt[n]: at most max_new ids, and no more positions than
 * the context has. Returns their number (the end token counted). */
uint32_t toy_answer(const uint32_t *prompt, uint32_t n, uint32_t max_new, uint64_t seed,
		    uint32_t *out);

/* How rows cross: by the calibration of the toy, which has all its splits. */
struct toy_codec {
	uint32_t split;
	const char *spec;
	uint32_t change;   /* from this position on: */
	const char *later; /* NULL: no change */
};

/* The same where rows lose what the codec takes from them. */
uint32_t toy_answer_in(const struct toy_codec *codec, const uint32_t *prompt, uint32_t n,
		       uint32_t max_new, uint64_t seed, uint32_t *out);

/* Rows of these ids from position pos on: x [n][TOY_DIM]. */
void toy_rows(const uint32_t *ids, uint32_t n, uint32_t pos, float *x);

/* begin and end of struct agent_ops and struct worker_ops; ctx is not looked at. */
int toy_begin_head(void *ctx, struct head_job *job, uint32_t split, uint32_t context,
		   enum kv_type type, struct err *e);
void toy_end_head(void *ctx, struct head_job *job, uint32_t split, uint32_t context);
int toy_begin_tail(void *ctx, struct kv **kv, uint32_t split, uint32_t context, enum kv_type type,
		   struct err *e);
int toy_begin_codec(void *ctx, struct codec_state **state, uint32_t split, struct err *e);
void toy_end_tail(void *ctx, struct kv *kv, uint32_t split, uint32_t context);
int toy_begin_side(void *ctx, struct kv **kv, uint32_t first, uint32_t last, uint32_t context,
		   enum kv_type type, struct err *e);
void toy_end_side(void *ctx, struct kv *kv);
void toy_settle(void *ctx, struct kv *kv);

int toy_side_begin(void *ctx, const struct head_job *job, struct head_job *side,
		   const struct agent_move *m, struct err *e);
void toy_side_moved(void *ctx, struct head_job *job, struct head_job *side,
		    const struct agent_move *m, uint32_t len);
void toy_side_end(void *ctx, struct head_job *side);
#define TOY_SIDE toy_side_begin, toy_side_moved, toy_side_end

/* The row of token d->id at d->pos, behind those of the job: as a draft, its bytes in dst. False:
 * the job's cache does not end there. */
bool toy_draft(struct head_job *job, struct head_draft *d, uint8_t *dst, size_t cap);

/* Run a job. The tail's returns how many rows it ran: none when they cannot be decoded. */
void toy_run_head(struct head_job *job);
uint32_t toy_run_tail(struct tail_job *job);

/* Configurations that fit the model; the caller changes what it wants to. */
struct agent_core_conf toy_agent_conf(void);
struct worker_core_conf toy_worker_conf(const char *name, uint64_t boot);

/* A client of the bus, and its inbox. */
struct toy_node {
	char name[TOPIC_NAME_MAX + 1];
	struct bus *bus;
	struct queue *inbox;
};

/* The Last Will is that of worker `name` in its life `boot`; boot 0: none. */
void toy_open_node(struct toy_node *n, struct bus_mem *broker, const char *name, uint64_t boot);
void toy_close_node(struct toy_node *n);

#endif
