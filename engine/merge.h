/* engine/merge.h - the loop that both kinds of BPE share: symbols in a row, the best neighbouring
 * pair becomes one, until no pair is left.
 *
 * A heap keeps it O(n log n) for n symbols however long the text. A struct merge is scratch of one
 * thread, reused from word to word; zeroed is empty. */
#ifndef ENGINE_MERGE_H
#define ENGINE_MERGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/heap.h"

#define MERGE_END UINT32_MAX

struct merge_symbol {
	uint32_t prev, next; /* MERGE_END at the ends */
	uint32_t start, len; /* bytes of the text; len 0: merged into the symbol on its left */
	uint32_t id;	     /* token, or VOCAB_NONE */
};

struct merge {
	struct merge_symbol *symbols;
	size_t n_symbols, cap_symbols;
	/* Pairs that may merge. order: rank << 32 | left symbol; len: of both together, so that a
	 * pair of which one side has grown since is known as stale; id: the token they become. */
	struct heap pairs;
};

/* May a and b, neighbours, become one? Then its rank (lower is better) and token. */
typedef bool merge_rule(const void *ctx, const struct merge_symbol *a, const struct merge_symbol *b,
			uint32_t *rank, uint32_t *id);

/* Begin a row of at most max_symbols symbols. ERR_NOMEM. */
MUST_CHECK int merge_begin(struct merge *m, size_t max_symbols);

/* Append a symbol of len >= 1 bytes on the right. */
void merge_add(struct merge *m, uint32_t len, uint32_t id);

/* Merge all that can be. What is left is read by following `next` from symbol 0. ERR_NOMEM. */
MUST_CHECK int merge_run(struct merge *m, merge_rule *rule, const void *ctx);

void merge_finish(struct merge *m);

#endif
