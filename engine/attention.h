/* engine/attention.h - causal attention of rows over one layer of their caches.
 *
 * Softmax runs in one pass over blocks of ATTENTION_BLOCK positions counted from 0, each block's
 * sum joined to the earlier ones in order, so a row's result depends on its position and the cache
 * alone, not on the rows that came with it; and no scratch grows with the context. Source: arXiv
 * 2305.13245 (GQA); 1805.02867 (online softmax). */
#ifndef ENGINE_ATTENTION_H
#define ENGINE_ATTENTION_H

#include "engine/kern.h"
#include "engine/kv.h"
#include "engine/pool.h"

#define ATTENTION_BLOCK KV_PAGE
#define ATTENTION_ROWS  8 /* rows that share a converted block of the cache */

struct attention {
	const struct kern *kern;
	struct pool *pool;
	float *scratch; /* [threads][attention_scratch()] */
	uint32_t n_heads;
};

/* Floats of scratch per thread. */
size_t attention_scratch(const struct model_hparams *hp);

/* Rows [row, row + rows) of a batch are at positions pos .. pos + rows of kv, which has their keys
 * and values already. rows is in 1..ATTENTION_ROWS. */
struct attention_span {
	struct kv *kv;
	uint32_t row, rows, pos;
};

/*   q    [rows of the batch][H][D], with position applied
 *   out  [rows of the batch][H][D_v] */
void attention_run(const struct attention *a, const struct attention_span *spans, size_t n_spans,
		   uint32_t layer, const float *q, float *out);

#endif
