/* engine/attention.h - causal attention of some rows over one layer's cache.
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

#define ATTENTION_BLOCK 64
#define ATTENTION_ROWS  8 /* rows that share a converted block of the cache */

struct attention {
	const struct kern *kern;
	struct pool *pool;
	float *scratch; /* [threads][attention_scratch()] */
	uint32_t n_heads;
};

/* Floats of scratch per thread. */
size_t attention_scratch(const struct model_hparams *hp);

/* Rows at positions pos .. pos + rows, whose keys and values are in kv already.
 *   q    [rows][H][D], with position applied
 *   out  [rows][H][D_v] */
void attention_run(const struct attention *a, const struct kv *kv, uint32_t layer, uint32_t pos,
		   uint32_t rows, const float *q, float *out);

#endif
