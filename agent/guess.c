#include "agent/guess.h"

#define SURE_MAX 3u

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

static void learn(struct guess_entry *e, uint32_t context, uint32_t id)
{
	if (e->context == context && e->id == id) {
		e->sure += e->sure < SURE_MAX;
	} else if (e->sure) {
		e->sure--;
	} else {
		*e = (struct guess_entry){ .context = context, .id = id };
	}
}

void guess_learn(struct guess *g, const uint32_t *ids, uint32_t n)
{
	for (uint32_t length = 1; length <= GUESS_CONTEXT && length < n; length++) {
		const uint32_t context = hash_of(ids, n - 1, length);

		learn(&g->entries[context % GUESS_ENTRIES], context, ids[n - 1]);
	}
}

bool guess_next(const struct guess *g, const uint32_t *ids, uint32_t n, uint32_t *id)
{
	for (uint32_t length = n < GUESS_CONTEXT ? n : GUESS_CONTEXT; length; length--) {
		const uint32_t context = hash_of(ids, n, length);
		const struct guess_entry *e = &g->entries[context % GUESS_ENTRIES];

		if (e->context == context) {
			*id = e->id;
			return true;
		}
	}
	return false;
}
