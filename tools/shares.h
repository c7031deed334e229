/* tools/shares.h - where the bytes of a model's weights are: embedding, layers, head.
 *
 * By tensor names alone, so that it also works on a file that the engine cannot run. A split after
 * l layers gives the agent the embedding and layers [0, l), the worker layers [l, L) and the head;
 * what belongs to no layer (RoPE factors) goes to both. */
#ifndef TOOLS_SHARES_H
#define TOOLS_SHARES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/gguf.h"

#define SHARES_MAX_LAYERS 65536 /* "blk.N" with a larger N counts as belonging to no layer */

struct shares_part {
	uint64_t bytes;
	unsigned tensors[QUANT_TYPE_END]; /* how many of each type */
};

struct shares {
	struct shares_part embed, head, rest;
	struct shares_part *layers; /* [n_layers] */
	uint32_t n_layers;          /* by block_count or by names, whichever is more */
	uint64_t tied_bytes;        /* of the embedding, when the head has no matrix of its own */
	uint64_t total;
};

/* ERR_NOMEM; *s is written only on 0 and wants shares_finish. */
MUST_CHECK int shares_measure(struct shares *s, const struct gguf *g, struct err *e);
void shares_finish(struct shares *s);

/* Bytes of the sides at split 0; each layer moves its bytes from the worker to the agent. */
uint64_t shares_agent_min(const struct shares *s);
uint64_t shares_worker_max(const struct shares *s);

#endif
