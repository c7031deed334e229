/* engine/rope.h - rotary position embedding. Source: arXiv 2104.09864.
 *
 * Pair i of a head turns by position * base^(-2i / dim), divided by the model's linear scale and by
 * element i of rope_freqs.weight if there is one. Angles are double: long contexts stay exact. */
#ifndef ENGINE_ROPE_H
#define ENGINE_ROPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/model.h"

struct rope {
	uint32_t pairs;
	bool neox;    /* element i with i + pairs; else 2i with 2i + 1 */
	double *freq; /* [pairs] radians per position */
};

/* factors [rope_dim / 2] or NULL. Returns 0 or ERR_NOMEM. */
MUST_CHECK int rope_init(struct rope *r, const struct model_hparams *hp, const float *factors);
void rope_finish(struct rope *r);

/* Cosines, then sines, of one position -> turn [2 * pairs]. */
void rope_turn(const struct rope *r, uint32_t position, float *turn);

/* Rotate the first 2 * pairs elements of a head in place. */
void rope_apply(const struct rope *r, const float *turn, float *head);

#endif
