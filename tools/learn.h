/* tools/learn.h - rows of a split -> what predicts them (codec/cal.h).
 *
 *   T  rows    d  elements of a row    V  vocabulary
 *
 * The values of tokens are the means of what a linear map of their embeddings leaves, drawn towards
 * 0 where a token is rare; components are the principal axes of what is then left. docs/codec.md
 * tells why. Any thread, one call at a time. */
#ifndef TOOLS_LEARN_H
#define TOOLS_LEARN_H

#include <stdint.h>

#include "base/err.h"
#include "codec/cal.h"

struct learn_rows {
	const float *x;       /* [T][d] */
	const uint32_t *ids;  /* [T] their tokens */
	const uint8_t *first; /* [T] 1 at position 0 of a sequence */
	size_t n;             /* T */
	uint32_t dim, n_vocab;
	const float *embed;  /* [V][e] of every token */
	uint32_t n_embed;    /* e */
	const double *sense; /* [d][d] symmetric: how much an error weighs; NULL: all alike */
};

/* -> *s, whose arrays are owned by *s: learn_finish. c: dim, n_vocab, n_features (0) are read.
 * ERR_NOMEM, ERR_INTERNAL (the rows do not span enough), ERR_LIMIT (too few rows). */
MUST_CHECK int learn_split(struct cal_split *s, const struct cal *c, const struct learn_rows *rows,
			   struct err *e);
void learn_finish(struct cal_split *s);

/* embed [n][d] -> features [n][f]: its f largest principal components, each filling a byte.
 * ERR_NOMEM, ERR_INTERNAL. */
MUST_CHECK int learn_features(const float *embed, size_t n, size_t d, size_t f, int8_t *features);

#endif
