/* engine/batch.h - rows of several sessions in one buffer, while they go through the layers.
 *
 * Sessions are split at different layers, so at a layer some parts of a step have come in and
 * others have left; those that are there lie together. */
#ifndef ENGINE_BATCH_H
#define ENGINE_BATCH_H

#include "engine/attention.h"
#include "engine/model.h"
#include "engine/rope.h"

struct batch {
	float *x;     /* [rows][d] */
	float *turns; /* [rows][rope_dim], of the rows' positions */
	uint32_t rows;
	struct attention_span *spans; /* [n_spans], of all rows in order */
	uint32_t n_spans;

	const struct model_part **there; /* [n_there] */
	uint32_t n_there;
	uint32_t first, last; /* layers of the model */
	size_t dim;
	const struct rope *rope;
};

/* x and turns, for max_rows rows, and rope are the caller's. Returns 0 or ERR_NOMEM. */
MUST_CHECK int batch_init(struct batch *b, uint32_t max_rows);
void batch_finish(struct batch *b);

/* Layers [batch_first, batch_last) are those that p's rows run through in a step. */
uint32_t batch_first(const struct batch *b, const struct model_part *p);
uint32_t batch_last(const struct batch *b, const struct model_part *p);
/* Of all layers of the model that p's kv has, they have the last one. */
bool batch_ends(const struct batch *b, const struct model_part *p);

/* Before `layer`: rows of parts that end there go back to their x, those of parts that begin come
 * in. The parts are the same for all layers first..last of a step, and all have left after last. */
void batch_move(struct batch *b, const struct model_part *parts, uint32_t n_parts, uint32_t layer);

/* Behind batch_move: what parts want to have of their rows as they come to `layer`. */
void batch_tap(const struct batch *b, const struct model_part *parts, uint32_t n_parts,
	       uint32_t layer);

#endif
