/* agent/ahead.h - layers for a token that was guessed, run while the answer is on its way.
 *
 * A gateway has nothing to do between a row and the answer to it. Meanwhile it runs the layers of
 * the next row as if the answer were what the loop guessed (agent/guess.h). If it is, the row goes
 * on from the layer where it was, or goes out at once; if not, nothing is lost but power, and at
 * most a layer's time: the true row overwrites the cache, and gives the same bits as ever.
 *
 * Internal to the head, whose compute thread does all but ahead_drop. The cache of a session is
 * used while no job of it is out: who changes or frees one, a segment or its weights drops this
 * first. */
#ifndef AGENT_AHEAD_H
#define AGENT_AHEAD_H

#include <pthread.h>

#include "agent/head.h"

struct ahead {
	pthread_mutex_t lock; /* over what follows; held while a layer runs */
	bool on;
	const struct segment *seg;
	struct kv *kv;
	uint32_t pos, id;
	uint32_t layer, last; /* next one to run; of all */
	uint32_t took_us;     /* so far, without the embedding */
	float *x;             /* [dim]; lent */
};

void ahead_init(struct ahead *a, float *x);
void ahead_destroy(struct ahead *a);

/* job, which is finished but not yet given back, says which token may follow its rows. */
void ahead_begin(struct ahead *a, const struct segment *seg, const struct head_job *job);

/* There are layers left. */
bool ahead_wants(struct ahead *a);
/* Run the next one, if there still is one. */
void ahead_step(struct ahead *a);

/* Forget it. Any thread; waits for a layer that runs. */
void ahead_drop(struct ahead *a);

/* If it was for the row of this job: the row behind layers [0, n) -> x [dim], how long they took ->
 * job->ahead_us; returns n. Else 0. It is over in any case. */
uint32_t ahead_take(struct ahead *a, const struct segment *seg, struct head_job *job, float *x);

#endif
