#include "engine/special.h"

#include <stdlib.h>
#include <string.h>

#include "engine/heap.h"

#define NO_MATCH UINT32_MAX

struct name {
	const char *bytes;
	uint32_t len, id;
};

static int by_bytes(const void *a, const void *b)
{
	const struct name *x = a, *y = b;
	uint32_t shorter = x->len < y->len ? x->len : y->len;
	int c = memcmp(x->bytes, y->bytes, shorter);

	if (c)
		return c;
	if (x->len != y->len)
		return x->len < y->len ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id;
}

static bool wanted(const struct vocab_token *t, bool control)
{
	if (!t->len)
		return false;
	if (t->type == VOCAB_USER_DEFINED)
		return true;
	return control && (t->type == VOCAB_CONTROL || t->type == VOCAB_UNKNOWN);
}

/* Fill ids and first from the sorted names; of equal names the lowest id stays. */
static void index_names(struct special *s, const struct name *names, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		if (i && names[i].len == names[i - 1].len &&
		    !memcmp(names[i].bytes, names[i - 1].bytes, names[i].len))
			continue;
		s->ids[s->n++] = names[i].id;
		s->first[(unsigned char)names[i].bytes[0] + 1]++;
	}
	for (unsigned c = 0; c < 256; c++)
		s->first[c + 1] += s->first[c];
}

int special_load(struct special *s, const struct vocab *v, bool control)
{
	struct name *names;
	uint32_t n = 0;

	memset(s, 0, sizeof(*s));
	s->v = v;
	for (uint32_t id = 0; id < v->n; id++)
		n += wanted(&v->tokens[id], control);
	if (!n)
		return 0;
	names = malloc(n * sizeof(*names));
	s->ids = malloc(n * sizeof(*s->ids));
	if (!names || !s->ids) {
		free(names);
		special_finish(s);
		return ERR_NOMEM;
	}
	n = 0;
	for (uint32_t id = 0; id < v->n; id++) {
		if (wanted(&v->tokens[id], control))
			names[n++] = (struct name){ vocab_bytes(v, id), v->tokens[id].len, id };
	}
	qsort(names, n, sizeof(*names), by_bytes);
	index_names(s, names, n);
	free(names);
	return 0;
}

void special_finish(struct special *s)
{
	free(s->ids);
	memset(s, 0, sizeof(*s));
}

static uint32_t len_of(const struct special *s, uint32_t index)
{
	return s->v->tokens[s->ids[index]].len;
}

/* First index in [lo, hi) whose byte at `depth` is at least c. All are longer than depth. */
static uint32_t lower_bound(const struct special *s, uint32_t lo, uint32_t hi, uint32_t depth,
			    unsigned c)
{
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if ((unsigned char)vocab_bytes(s->v, s->ids[mid])[depth] < c)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* The longest token of at most max bytes with which text begins (max >= 1 bytes are there). */
static uint32_t longest(const struct special *s, const char *text, size_t max)
{
	uint32_t lo = s->first[(unsigned char)text[0]];
	uint32_t hi = s->first[(unsigned char)text[0] + 1];
	uint32_t best = NO_MATCH;

	for (uint32_t depth = 1; lo < hi; depth++) {
		unsigned c;

		if (len_of(s, lo) == depth)
			best = lo++;
		if (depth == max)
			break;
		c = (unsigned char)text[depth];
		lo = lower_bound(s, lo, hi, depth, c);
		hi = lower_bound(s, lo, hi, depth, c + 1);
	}
	return best;
}

static int offer(struct heap *h, const struct special *s, uint32_t start, uint32_t index)
{
	uint32_t len = len_of(s, index);

	return heap_push(h, (struct heap_item){ .order = (uint64_t)(UINT32_MAX - len) << 32 | start,
						.len = len,
						.id = index });
}

/* The longest match at every position where one begins. */
static int find_all(const struct special *s, const char *text, size_t len, struct heap *h)
{
	for (size_t i = 0; i < len; i++) {
		unsigned c = (unsigned char)text[i];
		uint32_t index;

		if (s->first[c] == s->first[c + 1])
			continue;
		index = longest(s, text + i, len - i);
		if (index != NO_MATCH && offer(h, s, (uint32_t)i, index))
			return ERR_NOMEM;
	}
	return 0;
}

static int by_start(const void *a, const void *b)
{
	const struct special_hit *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

/* Take matches, longest first, where all bytes are free. Those taken before are no shorter, so that
 * looking at both ends is enough. One that does not fit tries again with a shorter token. */
static int take(const struct special *s, const char *text, struct heap *h, uint8_t *taken,
		struct special_hit *hits, size_t *n)
{
	while (h->n) {
		struct heap_item m = heap_pop(h);
		uint32_t start = (uint32_t)m.order;

		if (taken[start])
			continue;
		if (taken[start + m.len - 1]) {
			uint32_t shorter = longest(s, text + start, m.len - 1);

			if (shorter != NO_MATCH && offer(h, s, start, shorter))
				return ERR_NOMEM;
			continue;
		}
		memset(taken + start, 1, m.len);
		hits[(*n)++] = (struct special_hit){ .start = start, .index = m.id };
	}
	return 0;
}

int special_find(const struct special *s, const char *text, size_t len, struct special_hit **hits,
		 size_t *n)
{
	struct heap h = { 0 };
	struct special_hit *found = NULL;
	uint8_t *taken = NULL;
	size_t n_found = 0;
	int rc = 0;

	if (s->n)
		rc = find_all(s, text, len, &h);
	if (!rc && h.n) {
		taken = calloc(len, 1);
		found = malloc(h.n * sizeof(*found));
		rc = taken && found ? take(s, text, &h, taken, found, &n_found) : ERR_NOMEM;
	}
	if (!rc) {
		if (n_found)
			qsort(found, n_found, sizeof(*found), by_start);
		*hits = found;
		*n = n_found;
		found = NULL; /* handed over */
	}
	free(found);
	free(taken);
	heap_finish(&h);
	return rc;
}
