/* worker/sched.h - which rows make the next compute step: a pure scheduler, time comes in events.
 *
 * Jobs (chunks of rows) wait in flows, one for each session, and run in order there. A step takes
 *
 *   1. the urgent ones: the next row or few of interactive sessions, each to be answered, through
 *      all their layers; and drafts that follow right on them, where there is room;
 *   2. others (prompts, bulk sessions), earliest deadline first, as a wave: rows of which each step
 *      takes as many layers as it may grow by, one at least, until they have had all. A job may be
 *      taken in parts. The next wave begins when that one has ended.
 *
 * A wave has as many rows as may run through a layer at a time; where nobody waits it is all
 * layers. How far a step may grow, so that no token of an interactive session takes longer by more
 * than `share`:
 *
 *   rows of such sessions are in it   by `share` of their time, less what they waited already for a
 *                                     step of others
 *   they are away, answered           until the first one is due; for one that is overdue, `share`
 *                                     of the time since its answer and of its next step: the longer
 *                                     it is silent the less it is waited for
 *   none has been here for 2 s        as far as it gets more efficient
 *
 * When rows are expected so soon that waiting for them costs those that are here less time than it
 * saves the others, the step waits.
 *
 * Times are predicted by a cost learned from the steps before (cost.h), returns by how long a
 * session took between an answer and its next row. Sees base and schema only. Compute thread. */
#ifndef WORKER_SCHED_H
#define WORKER_SCHED_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "schema/msg.h"

#define SCHED_DECODE_ROWS 8u   /* most rows of a request that counts as decoding */
#define SCHED_MAX_ROWS    256u /* of a step: most that conf.max_rows may be */
#define SCHED_CALM_ROWS   16u  /* most of a step that chunks of patient jobs are joined to */
#define SCHED_WAVE_ROWS   128u /* most of a wave that takes more than a step */

/* Member of whatever the caller queues. */
struct sched_job {
	/* the caller's, constant while it is queued */
	void *owner;
	uint32_t flow; /* below conf.flows */
	uint32_t pos, rows;
	bool bulk, sample; /* sample: it is answered when its last row has run */
	bool draft;   /* one row that follows on the job before it, sampled or not: see step 1 */
	bool patient; /* nobody waits for it: its session goes on without, and shall move here */
	uint32_t from, until; /* layers of the model that its rows run through; the same: none */
	uint32_t after;    /* 1 + a flow whose jobs it must not overtake; 0: none */
	uint64_t arrived_us;
	/* the scheduler's */
	uint32_t done; /* rows that were taken by steps so far */
	bool decodes;  /* few rows, to be answered, and not the end of a prompt */
	float layers;  /* share of all layers */
	uint64_t deadline_us;
	struct sched_job *next;
};

struct sched_conf {
	uint32_t flows;
	uint32_t max_rows;                /* of a step, 1..SCHED_MAX_ROWS; >= rows of any job */
	uint32_t layers;                  /* of the model */
	uint64_t interactive_us, bulk_us; /* from arrival to deadline */
	double share;     /* what other rows may add to the time of urgent ones, such as 0.15 */
	double answer;    /* what head and sampling take, in rows through all layers */
	double attention; /* what it takes for each position before a row, likewise */
};

/* Rows [first, first + rows) of a job; `last`: its last ones, the job has left the scheduler. */
struct sched_part {
	struct sched_job *job;
	uint32_t flow; /* of the job, which may be gone when the step has run */
	uint32_t first, rows;
	bool last, answers;
};

struct sched_step {
	struct sched_part parts[SCHED_MAX_ROWS]; /* those of one flow lie together, in order */
	unsigned n, urgent;                      /* urgent: the first ones */
	/* The others run through layers [from, until) in this step. begins: the first one that has
	 * them; ends: the last one, in which those that want it are answered. */
	uint32_t from, until;
	bool begins, ends;
	uint32_t rows; /* sum, without a wave that has begun before */
	bool patient;  /* all that is in it */
	double work;   /* rows * share of the layers, and of those that are answered the head */
};

struct sched;

MUST_CHECK int sched_create(struct sched **out, const struct sched_conf *conf);
/* Jobs that wait are forgotten: they are the caller's. */
void sched_destroy(struct sched *s);

/* Queue a job at the end of its flow. One that comes after another flow's waits until that is
 * empty; it is not run in one go with those before it. A job at position 0 begins a new life of the
 * flow. */
void sched_add(struct sched *s, struct sched_job *job);

/* Form the next step. False: none now, and *wake_us says when to ask again if nothing is added
 * before (UINT64_MAX: never). At most one job of each class is ever taken in part and not yet
 * ended. */
bool sched_form(struct sched *s, uint64_t now_us, struct sched_step *step, uint64_t *wake_us);

/* A step that was formed has been run and answered, at now_us, and took so long. Jobs that
 * ended in it may be gone. */
void sched_ran(struct sched *s, const struct sched_step *step, uint64_t now_us, uint64_t took_us);

/* Take out a job that waits, or one that a step took and that was to go on (it failed). */
void sched_drop(struct sched *s, struct sched_job *job);

/* The next job of a flow, if it is a draft that no step has taken; else NULL. */
struct sched_job *sched_waiting_draft(const struct sched *s, uint32_t flow);

/* Take out any job, oldest of its flow first; NULL when none is left. */
struct sched_job *sched_take_any(struct sched *s);

#endif
