#include "engine/kv.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static const enum quant_type formats[KV_TYPE_COUNT] = {
	[KV_F16] = QUANT_F16,
	[KV_F32] = QUANT_F32,
	[KV_Q8_0] = QUANT_Q8_0,
	[KV_Q4_0] = QUANT_Q4_0,
};

/* Elements of a stored row: whole blocks. */
static size_t stored(enum kv_type type, uint32_t dim)
{
	size_t block = quant_block_elements(formats[type]);

	return (dim + block - 1) / block * block;
}

static size_t row_bytes(enum kv_type type, uint32_t dim)
{
	return quant_row_bytes(formats[type], stored(type, dim));
}

size_t kv_bytes(const struct model_hparams *hp, uint32_t n_layers, uint32_t capacity,
		enum kv_type type)
{
	size_t bytes = row_bytes(type, hp->head_dim) + row_bytes(type, hp->head_dim_v);

	/* Saturates: nobody can allocate SIZE_MAX, and "does it fit?" is answered right. */
	if (__builtin_mul_overflow(bytes, hp->n_kv_heads, &bytes) ||
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
			   .format = formats[type],
			   .key_row = stored(type, hp->head_dim),
			   .value_row = stored(type, hp->head_dim_v),
			   .key_bytes = row_bytes(type, hp->head_dim),
			   .value_bytes = row_bytes(type, hp->head_dim_v),
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

size_t kv_size_bytes(const struct kv *kv)
{
	return kv->layer_bytes * (kv->last - kv->first);
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
	return layer_data(kv, layer) + (size_t)head * kv->capacity * kv->key_bytes;
}

uint8_t *kv_values(const struct kv *kv, uint32_t layer, uint32_t head)
{
	size_t all_keys = (size_t)kv->n_heads * kv->capacity * kv->key_bytes;

	return layer_data(kv, layer) + all_keys + (size_t)head * kv->capacity * kv->value_bytes;
}
