/* worker/tempo.h - how long steps take by their rows: one layer, and all else.
 *
 * Learned from steps that ran, by the classes of cost.h (medians of the newest few of each); steps
 * of one row, of which tokens of a session are made, by the mean of many (base/window.h). Rows that
 * run through some of the layers count as part of a row. All else goes by answers: a prompt
 * has one, however long, a step of decode rows as many as rows; decoding a prompt's rows is apart.
 * What a row takes more at late
 * positions is learned from steps of one row, and from those of TEMPO_CHUNK_ROWS or more
 * (base/depth.h). Pure. One thread. */
#ifndef WORKER_TEMPO_H
#define WORKER_TEMPO_H

#include "base/depth.h"
#include "schema/msg.h"
#include "worker/cost.h"

#define TEMPO_CHUNK_ROWS 8u

struct tempo_step {
	double row_layers;           /* sum over rows of the layers that they ran through */
	double layers;               /* that the step ran through */
	double row_layer_positions;  /* sum over row_layers of the rows' positions */
	uint32_t answers;            /* rows that were sampled from */
	uint32_t layers_us, rest_us; /* rest: decoding, final norm, head, sampling */
	uint32_t decoded, decode_us; /* rows that were decoded, and what that took of the rest */
};

/* All 0: nothing is known. */
struct tempo {
	struct cost layer, rest;
	float at[COST_CLASSES][COST_KEPT]; /* mean positions of the steps in `layer` */
	struct depth one, chunk;           /* a layer, per row: ms */
	struct window one_rest;            /* of steps of one row and its answer: ms */
	struct depth_slopes one_slopes, chunk_slopes;
	float decode_ms[COST_KEPT]; /* ring: of a row of a prompt */
	uint32_t n_decoded;         /* ever */
};

/* What attention takes for each position before a row, as a share of all matrices of a layer
 * (segment_attention_work): while positions have told nothing else. */
void tempo_shape(struct tempo *p, double attention);

/* Nothing to learn from a step without layers. */
void tempo_learn(struct tempo *p, const struct tempo_step *s);

/* Two steps of as many rows, at once one after the other, the latter much deeper. */
void tempo_deeper(struct tempo *p, const struct tempo_step *early, const struct tempo_step *late);

/* Decoding of a row of a prompt, median of late; 0: not known. */
double tempo_decode_ms(const struct tempo *p);

/* What is known, at 1, 2, 4 ... 64 and 256 decode rows, -> batches, by rows; returns how many. */
uint32_t tempo_batches(const struct tempo *p, struct msg_batch batches[static MSG_BATCHES_MAX]);

#endif
