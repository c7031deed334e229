/* agent/rehearsal.h - jobs that no session asked for, so that speeds are known before the first.
 *
 * Decode rows and chunks of a prompt through some layers and the codec, on the head's thread as
 * ever; then again behind positions that were made up, which shows what attention to them takes.
 * REHEARSAL_US at most, the first pass over the weights not counted. */
#ifndef AGENT_REHEARSAL_H
#define AGENT_REHEARSAL_H

#include "agent/head.h"
#include "agent/meter.h"

#define REHEARSAL_US   300000u
#define REHEARSAL_ROWS 12u  /* decode rows */
#define REHEARSAL_DEEP 512u /* made up positions, if there is room */

/* Positions of a rehearsal, without those that are made up. */
#define REHEARSAL_POSITIONS(chunk_rows) (2 * REHEARSAL_ROWS + 1 + 3 * (chunk_rows))

struct rehearsal {
	struct head *head;
	struct queue *done;   /* where the head's jobs come back: nothing else may be in it */
	struct head_job *job; /* codec, kv and state are made; room for REHEARSAL_POSITIONS and
			       * `deep` */
	uint32_t deep;        /* positions to make up; 0: none */
	uint32_t layers;      /* of kv */
	uint32_t chunk_rows;
	uint32_t n_vocab;
};

/* Fills front 0 of m as far as time allows. ERR_NOMEM, or what a job failed with. */
MUST_CHECK int rehearsal_run(const struct rehearsal *r, struct meter *m);

#endif
