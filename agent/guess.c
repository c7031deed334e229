#include "agent/guess.h"

#include <stddef.h>

/* Of the last `length` of n tokens; never 0. Source: FNV-1a, by words. */
static uint32_t hash_of(const uint32_t *ids, uint32_t n, uint32_t length)
{
	uint32_t h = 2166136261u ^ length;

	for (uint32_t i = n - length; i < n; i++) {
		h = (h ^ ids[i]) * 16777619u;
		h ^= h >> 15;
	}
	return h ? h : 1;
}

static void learn(struct guess_entry *e, const struct guess_entry *now)
{
	if (e->context == now->context && e->id == now->id) {
		e->sure += e->sure < GUESS_SURE_MAX;
		e->said |= now->said;
	} else if (e->sure) {
		e->sure--;
	} else {
		*e = *now;
	}
}

void guess_learn(struct guess *g, const uint32_t *ids, uint32_t n, bool said)
{
	for (uint32_t length = 1; length <= GUESS_CONTEXT && length < n; length++) {
		const struct guess_entry now = { .context = hash_of(ids, n - 1, length),
						 .id = ids[n - 1],
						 .length = (uint8_t)length,
						 .said = said };

		learn(&g->entries[now.context % GUESS_ENTRIES], &now);
	}
}

const struct guess_entry *guess_next(const struct guess *g, const uint32_t *ids, uint32_t n)
{
	for (uint32_t length = n < GUESS_CONTEXT ? n : GUESS_CONTEXT; length; length--) {
		const uint32_t context = hash_of(ids, n, length);
		const struct guess_entry *e = &g->entries[context % GUESS_ENTRIES];

		if (e->context == context)
			return e;
	}
	return NULL;
}
