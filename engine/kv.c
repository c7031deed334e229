#include "engine/kv.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const enum quant_type formats[KV_TYPE_COUNT] = {
	[KV_F16] = QUANT_F16,
	[KV_F32] = QUANT_F32,
	[KV_Q8_0] = QUANT_Q8_0,
	[KV_Q4_0] = QUANT_Q4_0,
};

size_t kv_stored_row(enum kv_type type, uint32_t dim)
{
	size_t block = quant_block_elements(formats[type]);

	return (dim + block - 1) / block * block;
}

static size_t row_bytes(enum kv_type type, uint32_t dim)
{
	return quant_row_bytes(formats[type], kv_stored_row(type, dim));
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

static int check(const struct kv_budget *b, const struct model_hparams *hp, uint32_t first,
		 uint32_t last, uint32_t capacity, size_t bytes)
{
	if (first > last || last > hp->n_layers || capacity < 1)
		return ERR_LIMIT;
	if (bytes > PTRDIFF_MAX)
		return ERR_NOMEM;
	if (b && (b->booked_bytes > b->limit_bytes || bytes > b->limit_bytes - b->booked_bytes))
		return ERR_LIMIT;
	return 0;
}

size_t kv_layer_map_bytes(const struct kv *kv)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return (kv->capacity * kv->position_bytes + page - 1) / page * page;
}

/* Memory comes page by page; huge ones would take much for little. */
static bool map_layers(struct kv *kv)
{
	const size_t each = kv_layer_map_bytes(kv), n = kv->last - kv->first;
	void *data;

	if (!n)
		return true;
	data = mmap(NULL, n * each, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (data == MAP_FAILED)
		return false;
#ifdef MADV_NOHUGEPAGE
	(void)madvise(data, n * each, MADV_NOHUGEPAGE);
#endif
	for (size_t i = 0; i < n; i++)
		kv->layers[kv->first + i] = (uint8_t *)data + i * each;
	return true;
}

int kv_create(struct kv **out, struct kv_budget *budget, const struct model_hparams *hp,
	      uint32_t first, uint32_t last, uint32_t capacity, enum kv_type type)
{
	const size_t bytes = kv_bytes(hp, last - first, capacity, type);
	int rc = check(budget, hp, first, last, capacity, bytes);
	struct kv *kv;

	if (rc)
		return rc;
	kv = calloc(1, sizeof(*kv) + hp->n_layers * sizeof(kv->layers[0]));
	if (!kv)
		return ERR_NOMEM;
	*kv = (struct kv){ .budget = budget,
			   .first = first,
			   .last = last,
			   .n_layers = hp->n_layers,
			   .capacity = capacity,
			   .n_heads = hp->n_kv_heads,
			   .head_dim = hp->head_dim,
			   .head_dim_v = hp->head_dim_v,
			   .type = type,
			   .format = formats[type],
			   .key_row = kv_stored_row(type, hp->head_dim),
			   .value_row = kv_stored_row(type, hp->head_dim_v),
			   .key_bytes = row_bytes(type, hp->head_dim),
			   .value_bytes = row_bytes(type, hp->head_dim_v),
			   .position_bytes = kv_bytes(hp, 1, 1, type),
			   .booked_bytes = bytes };
	if (!map_layers(kv)) {
		free(kv);
		return ERR_NOMEM;
	}
	if (budget)
		budget->booked_bytes += bytes;
	*out = kv;
	return 0;
}

size_t kv_size_bytes(const struct kv *kv)
{
	return kv->booked_bytes;
}

void kv_destroy(struct kv *kv)
{
	if (!kv)
		return;
	if (kv->budget)
		kv->budget->booked_bytes -= kv->booked_bytes;
	for (uint32_t l = kv->first; l < kv->last && !kv->borrowed; l++)
		munmap(kv->layers[l], kv_layer_map_bytes(kv));
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

static uint8_t *layer_data(const struct kv *kv, uint32_t layer)
{
	assert(layer >= kv->first && layer < kv->last);
	return kv->layers[layer];
}

/* The system's pages that lie wholly in [from, to). */
static void give_back(uint8_t *from, uint8_t *to)
{
	const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	const size_t skip = (page - (uintptr_t)from % page) % page;
	const size_t rest = (uintptr_t)to % page;

	if ((size_t)(to - from) > skip + rest)
		(void)madvise(from + skip, (size_t)(to - from) - skip - rest, MADV_DONTNEED);
}

static size_t page_end(const struct kv *kv, uint32_t length)
{
	uint32_t last = kv->capacity - length < KV_PAGE
				? kv->capacity
				: (length + KV_PAGE - 1) / KV_PAGE * KV_PAGE;

	return last * kv->position_bytes;
}

void kv_truncate(struct kv *kv, uint32_t length)
{
	size_t from, to;

	if (length >= kv->length)
		return;
	if (kv->borrowed) { /* the memory is not its own */
		kv->length = length;
		return;
	}
	from = page_end(kv, length);
	to = page_end(kv, kv->length);
	for (uint32_t l = kv->first; l < kv->last && from < to; l++)
		give_back(layer_data(kv, l) + from, layer_data(kv, l) + to);
	kv->length = length;
}

/* Positions of a page. */
static size_t page_rows(const struct kv *kv, uint32_t page)
{
	uint32_t left = kv->capacity - page * KV_PAGE;

	return left < KV_PAGE ? left : KV_PAGE;
}

uint8_t *kv_keys(const struct kv *kv, uint32_t layer, uint32_t head, uint32_t page)
{
	return layer_data(kv, layer) + (size_t)page * KV_PAGE * kv->position_bytes +
	       head * page_rows(kv, page) * kv->key_bytes;
}

uint8_t *kv_values(const struct kv *kv, uint32_t layer, uint32_t head, uint32_t page)
{
	return kv_keys(kv, layer, kv->n_heads, page) + head * page_rows(kv, page) * kv->value_bytes;
}

/* One value of a head into its row of the cache. */
static void store_value(const struct kern *k, enum kv_type type, const float *src, size_t dim,
			uint8_t *dst)
{
	switch (type) {
	case KV_F32:
		memcpy(dst, src, dim * sizeof(*src));
		break;
	case KV_Q8_0:
		k->to_q8_0(src, dst, dim);
		break;
	case KV_Q4_0:
		k->to_q4_0(src, dst, dim);
		break;
	default:
		k->to_f16(src, (uint16_t *)(void *)dst, dim);
	}
}

/* Likewise a key. */
static void store_key(const struct kern *k, const struct kv *kv, const float *src, uint8_t *dst)
{
	const size_t dim = kv->head_dim;
	float block[KV_BLOCK];

	if (!kv_rotates(kv->type)) {
		store_value(k, kv->type, src, dim, dst);
		return;
	}
	for (size_t i = 0; i < dim; i += KV_BLOCK) {
		k->rotate(block, src + i, KV_KEY_SCALE, dim - i < KV_BLOCK ? dim - i : KV_BLOCK);
		store_value(k, kv->type, block, KV_BLOCK, dst);
		dst += quant_block_bytes(kv->format);
	}
}

void kv_put_head(const struct kv *kv, const struct kern *k, bool key, const float *src,
		 uint8_t *dst)
{
	if (key)
		store_key(k, kv, src, dst);
	else
		store_value(k, kv->type, src, kv->head_dim_v, dst);
}

void kv_put(const struct kv *kv, const struct kern *k, uint32_t layer, uint32_t pos,
	    const float *keys, const float *values)
{
	const uint32_t page = pos / KV_PAGE, row = pos % KV_PAGE;

	for (uint32_t h = 0; h < kv->n_heads; h++) {
		store_key(k, kv, keys + (size_t)h * kv->head_dim,
			  kv_keys(kv, layer, h, page) + row * kv->key_bytes);
		store_value(k, kv->type, values + (size_t)h * kv->head_dim_v, kv->head_dim_v,
			    kv_values(kv, layer, h, page) + row * kv->value_bytes);
	}
}
