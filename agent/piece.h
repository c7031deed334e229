/* agent/piece.h - a side job in steps so short that a token can come in between.
 *
 * A step brings a little of the weights that it needs into their running form, or runs its rows
 * through one layer; the last one encodes. Or it brings a few rows of a cache to another type.
 * Internal to the head. Compute thread. */
#ifndef AGENT_PIECE_H
#define AGENT_PIECE_H

#include "agent/head.h"

struct piece {
	struct head_job *job;
	const struct segment *seg; /* whose layers run */
	float *x;                  /* [HEAD_SPARE_ROWS][dim]; of this piece until it has ended */
	bool begun;
	uint32_t layer; /* that its rows go through next */
	uint32_t block; /* of rows that are recast next, layer by layer */
};

/* Rows [pos, pos + rows) are there, as they were behind layers [0, split). */
bool piece_has_kept(const struct head_kept *k, uint32_t split, uint32_t pos, uint32_t rows);
/* Those -> x [rows][dim]. */
void piece_get_kept(const struct head_kept *k, uint32_t pos, uint32_t rows, uint32_t dim, float *x);

/* It has a single step, in which no layer runs: its rows were kept. */
bool piece_is_short(const struct head_job *job);

/* Go on. True when the job is done, its results are set then. */
MUST_CHECK bool piece_step(struct piece *p, struct codec_work *work);

#endif
