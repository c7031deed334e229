/* engine/attention.h - causal attention of rows over one layer of their caches.
 *
 * Softmax runs in one pass over blocks of ATTENTION_BLOCK positions, each block's sum joined to the
 * earlier ones in order. Every ATTENTION_SEGMENT positions, counted from 0, a new sum begins, and
 * the sums of segments are joined in order: so threads share the positions of a long context, and
 * a row's result depends on its position and the cache alone, not on the rows that came with it,
 * nor on the threads. No scratch grows with the context. Source: arXiv 2305.13245 (GQA); 1805.02867
 * (online softmax); 2205.14135 (joining partial sums). */
#ifndef ENGINE_ATTENTION_H
#define ENGINE_ATTENTION_H

#include "engine/kern.h"
#include "engine/kv.h"
#include "engine/pool.h"

#define ATTENTION_BLOCK   KV_PAGE
#define ATTENTION_SEGMENT 1024 /* positions; whole blocks */
#define ATTENTION_ROWS    8    /* rows that read the cache together */

struct attention {
	const struct kern *kern;
	struct pool *pool;
	float *scratch; /* attention_scratch() floats */
	uint32_t n_heads;
};

/* Floats of scratch for so many threads. */
size_t attention_scratch(const struct model_hparams *hp, unsigned threads);

/* Rows [row, row + rows) of a batch are at positions pos .. pos + rows of kv, which has their keys
 * and values already. rows is in 1..ATTENTION_ROWS. */
struct attention_span {
	struct kv *kv;
	uint32_t row, rows, pos;
};

/*   q    [rows of the batch][H][D], with position applied
 *   out  [rows of the batch][H][D_v]
 * Caches may differ in type and length. */
void attention_run(const struct attention *a, const struct attention_span *spans, size_t n_spans,
		   uint32_t layer, const float *q, float *out);

#endif
