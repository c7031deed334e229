/* engine/gguf_index.c - finding by name, and what sorting reveals: O(n log n) for n entries. */
#include "engine/gguf_file.h"

#include <stdlib.h>
#include <string.h>

static int compare_str(struct gguf_str a, struct gguf_str b)
{
	int order = memcmp(a.text, b.text, a.len < b.len ? a.len : b.len);

	return order ? order : (a.len > b.len) - (a.len < b.len);
}

static int by_key(const void *a, const void *b)
{
	const struct gguf_kv *const *x = a, *const *y = b;

	return compare_str((*x)->key, (*y)->key);
}

static int by_name(const void *a, const void *b)
{
	const struct gguf_tensor *const *x = a, *const *y = b;

	return strcmp((*x)->name, (*y)->name);
}

static int by_offset(const void *a, const void *b)
{
	const struct gguf_tensor *const *x = a, *const *y = b;

	return ((*x)->offset > (*y)->offset) - ((*x)->offset < (*y)->offset);
}

int gguf_index_keys(struct gguf *g, struct err *e)
{
	const struct gguf_kv **list = g->kv_by_key;

	for (size_t i = 0; i < g->n_kv; i++)
		list[i] = &g->kv[i];
	qsort(list, g->n_kv, sizeof(*list), by_key);
	for (size_t i = 1; i < g->n_kv; i++) {
		if (!by_key(&list[i - 1], &list[i]))
			return err_set(e, ERR_FORMAT,
				       "key %.*s is there twice, at offsets %zu and %zu",
				       (int)list[i]->key.len, list[i]->key.text,
				       (size_t)((const uint8_t *)list[i - 1]->key.text - g->data),
				       (size_t)((const uint8_t *)list[i]->key.text - g->data));
	}
	return 0;
}

int gguf_index_tensors(struct gguf *g, struct err *e)
{
	const struct gguf_tensor **list = g->tensor_by_name;

	for (size_t i = 0; i < g->n_tensors; i++)
		list[i] = &g->tensors[i];
	qsort(list, g->n_tensors, sizeof(*list), by_offset);
	for (size_t i = 1; i < g->n_tensors; i++) {
		const struct gguf_tensor *a = list[i - 1], *b = list[i];

		if (b->offset - a->offset < a->bytes)
			return err_set(e, ERR_FORMAT,
				       "tensor %s at offset %llu overlaps %s at offset %llu",
				       b->name, (unsigned long long)b->offset, a->name,
				       (unsigned long long)a->offset);
	}
	qsort(list, g->n_tensors, sizeof(*list), by_name);
	for (size_t i = 1; i < g->n_tensors; i++) {
		if (!by_name(&list[i - 1], &list[i]))
			return err_set(e, ERR_FORMAT,
				       "tensor %s is there twice, at offsets %llu and %llu",
				       list[i]->name, (unsigned long long)list[i - 1]->offset,
				       (unsigned long long)list[i]->offset);
	}
	return 0;
}

const struct gguf_kv *gguf_find(const struct gguf *g, const char *key)
{
	struct gguf_kv wanted = { .key = { key, strlen(key) } };
	const struct gguf_kv *w = &wanted, **hit;

	hit = bsearch(&w, g->kv_by_key, g->n_kv, sizeof(*g->kv_by_key), by_key);
	return hit ? *hit : NULL;
}

const struct gguf_tensor *gguf_find_tensor(const struct gguf *g, const char *name)
{
	struct gguf_tensor wanted = { .name = name };
	const struct gguf_tensor *w = &wanted, **hit;

	hit = bsearch(&w, g->tensor_by_name, g->n_tensors, sizeof(*g->tensor_by_name), by_name);
	return hit ? *hit : NULL;
}
