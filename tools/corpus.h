/* tools/corpus.h - a text as windows of tokens, and its rows layer by layer.
 *
 * Windows are those of `splitmq perplexity`: consecutive, of at most ctx tokens, each beginning
 * with BOS where the vocabulary adds one. One thread. */
#ifndef TOOLS_CORPUS_H
#define TOOLS_CORPUS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/imatrix.h"
#include "engine/model.h"

struct corpus_window {
	size_t at, n; /* tokens [at, at + n) of ids */
};

struct corpus {
	uint32_t *ids;  /* [n] of all windows, one after another */
	uint8_t *first; /* [n] 1 at the first token of a window */
	size_t n;
	struct corpus_window *windows;
	size_t n_windows;
	uint64_t hash; /* of ids and windows */
};

/* The text at path, by the vocabulary of g. ERR_USAGE when it is too short. */
MUST_CHECK int corpus_open(struct corpus *c, const struct gguf *g, const char *path, uint32_t ctx,
			   struct err *e);
void corpus_close(struct corpus *c);

/* Every `of`th window -> *held, the others -> *rest; both are copies. of >= 2. */
MUST_CHECK int corpus_divide(const struct corpus *c, unsigned of, struct corpus *rest,
			     struct corpus *held);

/* x [n][d] = embeddings of all tokens. */
MUST_CHECK int corpus_embed(const struct corpus *c, const struct gguf *g, unsigned threads,
			    float *x, struct err *e);

/* x [n][d]: rows before layer `layer` -> rows after it. sums: told of the inputs of its matrices;
 * or NULL. */
MUST_CHECK int corpus_layer(const struct corpus *c, const struct gguf *g, uint32_t layer,
			    unsigned threads, struct imatrix_sums *sums, float *x, struct err *e);

/* The head over x [n][d], for sums alone. */
MUST_CHECK int corpus_head(const struct corpus *c, const struct gguf *g, unsigned threads,
			   struct imatrix_sums *sums, const float *x, struct err *e);

#endif
