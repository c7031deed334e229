#include "coordinator/names.h"

#include <stdlib.h>
#include <string.h>

/* FNV-1a, 32 bits (Fowler, Noll, Vo). Names are of the operator's making: no need for a key. */
static uint32_t hash(const char *name)
{
	uint32_t h = 2166136261u;

	for (; *name; name++)
		h = (h ^ (uint8_t)*name) * 16777619u;
	return h;
}

static const char *name_at(const void *list, size_t stride, uint32_t i)
{
	return (const char *)list + i * stride;
}

uint32_t names_find(const struct names *x, const void *list, size_t stride, const char *name)
{
	if (!x->cap)
		return NAMES_NONE;
	for (uint32_t i = hash(name);; i++) {
		uint32_t place = x->slots[i & (x->cap - 1)];

		if (!place)
			return NAMES_NONE;
		if (!strcmp(name_at(list, stride, place - 1), name))
			return place - 1;
	}
}

static void put(struct names *x, const char *name, uint32_t place)
{
	uint32_t i = hash(name);

	while (x->slots[i & (x->cap - 1)])
		i++;
	x->slots[i & (x->cap - 1)] = place + 1;
}

int names_add(struct names *x, const void *list, size_t stride, uint32_t n)
{
	struct names bigger = { .cap = x->cap ? 2 * x->cap : 32 };

	if (2 * (n + 1) <= x->cap) {
		put(x, name_at(list, stride, n), n);
		return 0;
	}
	bigger.slots = calloc(bigger.cap, sizeof(*bigger.slots));
	if (!bigger.slots)
		return ERR_NOMEM;
	for (uint32_t i = 0; i <= n; i++)
		put(&bigger, name_at(list, stride, i), i);
	free(x->slots);
	*x = bigger;
	return 0;
}

void names_finish(struct names *x)
{
	free(x->slots);
	*x = (struct names){ 0 };
}
