/* worker/wave.h - rows that go through the layers together, some layers a step.
 *
 * What prompts and bulk sessions bring may add little to a step that others wait for. A few rows
 * through all layers are dear: each layer's weights are unpacked for them once more, or nearly so.
 * Many rows through one layer cost the same time and get further. Pure. One thread. */
#ifndef WORKER_WAVE_H
#define WORKER_WAVE_H

#include "worker/sched.h"

struct wave {
	struct sched_part parts[SCHED_MAX_ROWS]; /* those of one flow lie together, in order */
	unsigned n;
	uint32_t rows;      /* sum */
	uint32_t at, until; /* layers: the next one, and behind the last one */
	bool begun;
};

/* Only before it begins. */
void wave_put(struct wave *w, const struct sched_part *part);

/* All parts of a job. */
void wave_drop(struct wave *w, const struct sched_job *job);

/* Rows times layers of [from, until), each counting 1 + attention * position. */
double wave_row_layers(const struct wave *w, uint32_t from, uint32_t until, double attention);

#endif
