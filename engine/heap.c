#include "engine/heap.h"

#include <stdlib.h>
#include <string.h>

static int grow(struct heap *h)
{
	size_t cap = h->cap ? 2 * h->cap : 64;
	struct heap_item *bigger = realloc(h->items, cap * sizeof(*bigger));

	if (!bigger)
		return ERR_NOMEM;
	h->items = bigger;
	h->cap = cap;
	return 0;
}

int heap_push(struct heap *h, struct heap_item item)
{
	size_t i = h->n;

	if (h->n == h->cap && grow(h))
		return ERR_NOMEM;
	h->n++;
	while (i && item.order < h->items[(i - 1) / 2].order) {
		h->items[i] = h->items[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	h->items[i] = item;
	return 0;
}

struct heap_item heap_pop(struct heap *h)
{
	struct heap_item top = h->items[0], last = h->items[--h->n];
	size_t i = 0, child;

	while ((child = 2 * i + 1) < h->n) {
		if (child + 1 < h->n && h->items[child + 1].order < h->items[child].order)
			child++;
		if (last.order <= h->items[child].order)
			break;
		h->items[i] = h->items[child];
		i = child;
	}
	h->items[i] = last;
	return top;
}

void heap_finish(struct heap *h)
{
	free(h->items);
	memset(h, 0, sizeof(*h));
}
