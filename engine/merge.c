#include "engine/merge.h"

#include <stdlib.h>
#include <string.h>

/* Queue the pair of symbol `left` and its right neighbour, if the rule allows it. */
static int offer(struct merge *m, uint32_t left, merge_rule *rule, const void *ctx)
{
	const struct merge_symbol *a, *b;
	uint32_t rank, id;

	if (left == MERGE_END || m->symbols[left].next == MERGE_END)
		return 0;
	a = &m->symbols[left];
	b = &m->symbols[a->next];
	if (!rule(ctx, a, b, &rank, &id))
		return 0;
	return heap_push(&m->pairs, (struct heap_item){ .order = (uint64_t)rank << 32 | left,
							.len = a->len + b->len,
							.id = id });
}

int merge_begin(struct merge *m, size_t max_symbols)
{
	m->n_symbols = 0;
	m->pairs.n = 0;
	if (max_symbols >= MERGE_END)
		return ERR_LIMIT;
	if (max_symbols > m->cap_symbols) {
		/* Nothing in the old array is worth copying. */
		free(m->symbols);
		m->cap_symbols = 0;
		m->symbols = malloc(max_symbols * sizeof(*m->symbols));
		if (!m->symbols)
			return ERR_NOMEM;
		m->cap_symbols = max_symbols;
	}
	return 0;
}

void merge_add(struct merge *m, uint32_t len, uint32_t id)
{
	uint32_t i = (uint32_t)m->n_symbols++;
	struct merge_symbol *s = &m->symbols[i];

	*s = (struct merge_symbol){ .prev = MERGE_END, .next = MERGE_END, .len = len, .id = id };
	if (i) {
		s->prev = i - 1;
		s->start = s[-1].start + s[-1].len;
		s[-1].next = i;
	}
}

/* Merge a popped pair, unless it is stale. Symbols only grow, or end: equal length means
 * unchanged. */
static int apply(struct merge *m, struct heap_item p, merge_rule *rule, const void *ctx)
{
	uint32_t left = (uint32_t)p.order, right;
	struct merge_symbol *a = &m->symbols[left], *b;
	int rc;

	right = a->next;
	if (!a->len || right == MERGE_END)
		return 0;
	b = &m->symbols[right];
	if (a->len + b->len != p.len)
		return 0;
	a->len = p.len;
	a->id = p.id;
	a->next = b->next;
	if (b->next != MERGE_END)
		m->symbols[b->next].prev = left;
	b->len = 0;
	rc = offer(m, a->prev, rule, ctx);
	return rc ? rc : offer(m, left, rule, ctx);
}

int merge_run(struct merge *m, merge_rule *rule, const void *ctx)
{
	int rc = 0;

	for (uint32_t i = 0; !rc && i < m->n_symbols; i++)
		rc = offer(m, i, rule, ctx);
	while (!rc && m->pairs.n)
		rc = apply(m, heap_pop(&m->pairs), rule, ctx);
	return rc;
}

void merge_finish(struct merge *m)
{
	free(m->symbols);
	heap_finish(&m->pairs);
	memset(m, 0, sizeof(*m));
}
