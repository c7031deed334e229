#include "engine/kv.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *name;
	size_t bytes;
} types[KV_TYPE_COUNT] = {
	[KV_F16] = { "f16", 2 },
	[KV_F32] = { "f32", 4 },
};

int kv_type_parse(enum kv_type *type, const char *word)
{
	for (unsigned i = 0; i < KV_TYPE_COUNT; i++) {
		if (!strcmp(types[i].name, word)) {
			*type = (enum kv_type)i;
			return 0;
		}
	}
	return ERR_CONFIG;
}

const char *kv_type_name(enum kv_type type)
{
	return types[type].name;
}

size_t kv_bytes(const struct model_hparams *hp, uint32_t n_layers, uint32_t capacity,
		enum kv_type type)
{
	size_t bytes = (size_t)hp->head_dim + hp->head_dim_v;

	/* Saturates: nobody can allocate SIZE_MAX, and "does it fit?" is answered right. */
	if (__builtin_mul_overflow(bytes, types[type].bytes, &bytes) ||
	    __builtin_mul_overflow(bytes, hp->n_kv_heads, &bytes) ||
	    __builtin_mul_overflow(bytes, capacity, &bytes) ||
	    __builtin_mul_overflow(bytes, n_layers, &bytes))
		return SIZE_MAX;
	return bytes;
}

int kv_create(struct kv **out, const struct model_hparams *hp, uint32_t first, uint32_t last,
	      uint32_t capacity, enum kv_type type)
{
	struct kv *kv;
	size_t bytes;

	if (first > last || last > hp->n_layers || capacity < 1)
		return ERR_LIMIT;
	bytes = kv_bytes(hp, last - first, capacity, type);
	if (bytes > PTRDIFF_MAX)
		return ERR_NOMEM;
	kv = calloc(1, sizeof(*kv));
	if (!kv)
		return ERR_NOMEM;
	*kv = (struct kv){ .first = first,
			   .last = last,
			   .capacity = capacity,
			   .n_heads = hp->n_kv_heads,
			   .head_dim = hp->head_dim,
			   .head_dim_v = hp->head_dim_v,
			   .type = type,
			   .element_bytes = types[type].bytes,
			   .layer_bytes = kv_bytes(hp, 1, capacity, type) };
	kv->data = calloc(1, bytes ? bytes : 1);
	if (!kv->data) {
		free(kv);
		return ERR_NOMEM;
	}
	*out = kv;
	return 0;
}

void kv_destroy(struct kv *kv)
{
	if (!kv)
		return;
	free(kv->data);
	free(kv);
}

uint32_t kv_length(const struct kv *kv)
{
	return kv->length;
}

uint32_t kv_capacity(const struct kv *kv)
{
	return kv->capacity;
}

void kv_truncate(struct kv *kv, uint32_t length)
{
	if (length < kv->length)
		kv->length = length;
}

static uint8_t *layer_data(const struct kv *kv, uint32_t layer)
{
	assert(layer >= kv->first && layer < kv->last);
	return kv->data + (size_t)(layer - kv->first) * kv->layer_bytes;
}

uint8_t *kv_keys(const struct kv *kv, uint32_t layer, uint32_t head)
{
	return layer_data(kv, layer) +
	       (size_t)head * kv->capacity * kv->head_dim * kv->element_bytes;
}

uint8_t *kv_values(const struct kv *kv, uint32_t layer, uint32_t head)
{
	size_t all_keys = (size_t)kv->n_heads * kv->capacity * kv->head_dim * kv->element_bytes;

	return layer_data(kv, layer) + all_keys +
	       (size_t)head * kv->capacity * kv->head_dim_v * kv->element_bytes;
}
