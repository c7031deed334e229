/* engine/heap.h - a binary heap of small items, least order first. Zeroed is empty; one thread. */
#ifndef ENGINE_HEAP_H
#define ENGINE_HEAP_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct heap_item {
	uint64_t order;
	uint32_t len, id; /* the caller's */
};

struct heap {
	struct heap_item *items;
	size_t n, cap;
};

/* O(log n), and O(1) when items come in their order. ERR_NOMEM. */
MUST_CHECK int heap_push(struct heap *h, struct heap_item item);

/* The item of least order; n >= 1. */
struct heap_item heap_pop(struct heap *h);

void heap_finish(struct heap *h);

#endif
