/* agent/ahead.h - layers for tokens that were guessed, run while an answer is on its way.
 *
 * A gateway has nothing to do between a row and the answer to it. Meanwhile it runs the layers of
 * the next rows as if the answers were what the loop guessed (agent/guess.h), or what a lens finds
 * in the rows themselves (agent/lens.h), whichever is right more often. A row that has had
 * all layers before its turn is encoded and may go out as a draft (agent/draft.h), where the loop
 * wants that; else it waits for its job, which goes on from the layer where it was. A guess that
 * was wrong costs power, and at most a layer's time: the true row overwrites the cache, the codec's
 * state is taken back to its position, and it gives the same bits as ever.
 *
 * Internal to the head, whose compute thread does all but what any thread may. The cache and
 * the codec's state of a session are used while no job of it is out: who changes or frees one, a
 * segment or its weights drops this first. */
#ifndef AGENT_AHEAD_H
#define AGENT_AHEAD_H

#include <pthread.h>

#include "agent/head.h"
#include "agent/lens.h"

struct ahead {
	pthread_mutex_t lock; /* over all but `more`; held while a layer runs */
	bool on;
	const struct segment *seg;
	struct kv *kv;
	struct codec_state *state;
	struct codec_spec codec;
	unsigned slot;
	uint32_t ids[HEAD_GUESSES]; /* by position modulo HEAD_GUESSES */
	uint32_t pos;               /* of the row that is run */
	uint32_t until, send_until; /* behind the last guess; those before are to go out */
	uint32_t layer, last;       /* next one to run; of all */
	uint32_t took_us;           /* so far, without the embedding */
	struct lens *lens;          /* lent; or NULL */
	bool by_lens;               /* it says ids, row by row, under these conditions: */
	struct head_guesses terms;
	bool asks;                  /* that of pos is to be found */
	bool foresees;              /* no row runs; what is to be known for the next one is */
	double p[HEAD_GUESSES];     /* how likely they seem; by position, too */
	float *x;                   /* [dim]; lent */
	/* What the loop says of guesses meanwhile: it need not wait for a layer. */
	struct {
		pthread_mutex_t lock;
		bool any;
		const struct kv *kv;
		uint32_t pos;
		struct head_guesses guesses;
	} more;
	bool ready;                 /* it is encoded: */
	bool offered;               /* the loop knows, or has it; nothing runs until ahead_go_on */
	struct head_draft draft;
	uint8_t *bytes; /* [cap] of draft; owned */
	size_t cap;
	struct codec_work *work; /* lent */
};

/* Rows of dim elements. ERR_NOMEM. */
MUST_CHECK int ahead_init(struct ahead *a, float *x, size_t dim, struct codec_work *work);
void ahead_destroy(struct ahead *a);

/* Guess by it from now on, where it is better. */
void ahead_use_lens(struct ahead *a, struct lens *lens);

/* job, which is finished but not yet given back, says which tokens may follow its rows. */
void ahead_begin(struct ahead *a, const struct segment *seg, const struct head_job *job);

/* Positions from pos on may have these tokens, if it still runs rows of this cache. Any thread;
 * never waits. */
void ahead_more(struct ahead *a, const struct kv *kv, uint32_t pos,
		const struct head_guesses *guesses);

/* There is something to do, or a draft to offer. */
bool ahead_wants(struct ahead *a);
/* A draft is ready, and the loop has not been told: it will be. */
bool ahead_offer(struct ahead *a);
/* Run the next layer, or encode, if there still is something to do. */
void ahead_step(struct ahead *a);

/* The row that is ready; then the next one may begin. False: there is none. Any thread. */
bool ahead_take_draft(struct ahead *a, struct head_draft *draft);
void ahead_go_on(struct ahead *a);

/* Forget it. Any thread; waits for a layer that runs. */
void ahead_drop(struct ahead *a);

/* If it was for the row of this job: the row behind layers [0, n) -> x [dim], how long they took ->
 * job->ahead_us; returns n. Else 0. It is over in any case. */
uint32_t ahead_take(struct ahead *a, const struct segment *seg, struct head_job *job, float *x);

#endif
