/* tools/drive.h - a worker's compute side in this process, and sessions that keep it busy.
 *
 * The real scheduler, steps and sampling (worker/tail), without a broker: the caller's thread plays
 * the loop of the worker and all the agents, which send f32 rows. For measurements and tests. One
 * thread calls. */
#ifndef TOOLS_DRIVE_H
#define TOOLS_DRIVE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/kv_type.h"
#include "engine/model.h"
#include "engine/sampler.h"
#include "worker/tail.h"

struct drive_conf {
	const char *model;
	unsigned threads;
	uint32_t sessions; /* most at once */
	uint32_t context_tokens;
	double share; /* as in sched_conf */
	bool fronts;  /* sessions with a split > 0 will come: their layers run here, too */
};

struct drive_token {
	uint32_t id;
	uint64_t asked_us, at_us; /* when its row was sent, when it came back */
};

/* A prompt and its continuation. */
struct drive_session {
	/* wanted */
	const uint32_t *prompt;
	uint32_t n_prompt;   /* + max_new <= context_tokens */
	uint32_t chunk_rows; /* of a chunk of the prompt, 1..TAIL_MAX_ROWS */
	uint32_t max_new;    /* the answer goes on beyond what would end it */
	uint32_t split;
	enum kv_type kv;
	bool bulk;
	bool fills;   /* goes on only while others are not done */
	bool spoil;   /* its second chunk is too short to be decoded */
	bool values;  /* its second chunk claims to be keys and values, and has none */
	uint64_t away_us;    /* from an answer to the next row */
	uint32_t begin_after; /* begins when session 0 has so many tokens */
	struct sampler_params sampling;
	const uint32_t *guesses; /* [max_new] of its tokens, sent as drafts; or NULL */
	uint32_t drafts;         /* most that are out beyond the row whose answer is due */
	/* got */
	struct drive_token *tokens; /* [max_new], of the caller */
	uint32_t n_tokens;
	float *logits; /* [V] of the last one, of the caller; or NULL */
	uint32_t skipped; /* drafts that were void and have not run */
	uint64_t begun_us;
	int rc;
	struct err err;
};

struct drive;

MUST_CHECK int drive_open(struct drive **out, const struct drive_conf *conf, struct err *e);
void drive_close(struct drive *d);

const struct model_hparams *drive_hparams(struct drive *d);
void drive_count(struct drive *d, struct tail_counts *counts); /* since it was opened */

/* All sessions at once, to the end of each. What goes wrong in a session is told there; ERR_* is
 * for what stops all of them. */
MUST_CHECK int drive_run(struct drive *d, struct drive_session *sessions, unsigned n,
			 struct err *e);

#endif
