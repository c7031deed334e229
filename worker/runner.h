/* worker/runner.h - one compute step: rows of many jobs through their layers, together.
 *
 * Chunks are decoded when their first row is taken (the codec's state belongs to the session and
 * moves chunk by chunk); what is left of one that is taken in part waits here, and so do the rows
 * of a wave between two steps. Then all rows run layer by layer, the last rows of those that want
 * a token go through the head together, and each is sampled by itself. Whatever else is in the
 * step, a row's result is the same. Internal to the tail. Compute thread. */
#ifndef WORKER_RUNNER_H
#define WORKER_RUNNER_H

#include "worker/drafts.h"
#include "worker/tail.h"
#include "worker/tempo.h"

#define RUNNER_SPARE_ROWS (2u * TAIL_MAX_ROWS) /* of the segment's x: rest of a chunk per class */
#define RUNNER_LOGITS     16u                  /* rows of logits: so many jobs share the head */

struct runner;

/* Borrows the segment, opened with those sizes and TAIL_MAX_ROWS, and what is known of each lane's
 * drafts. done: called for each job that
 * ended, as soon as it has, with its results; from then on it is no longer looked at. */
MUST_CHECK int runner_create(struct runner **out, struct segment *seg,
			     struct drafts_lane *lanes,
			     void (*done)(void *ctx, struct tail_job *job), void *ctx);
void runner_destroy(struct runner *r);

/* Run a step. A job whose rows cannot be run has rc and err set, and ends; so do those behind it in
 * the step. Those of them that were to go on are passed to dropped first. */
void runner_run(struct runner *r, const struct sched_step *step,
		void (*dropped)(void *ctx, struct tail_job *job));

/* What the last step took; layers 0 when none of its rows ran. */
struct tempo_step runner_took(const struct runner *r);

#endif
