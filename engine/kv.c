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

uint32_t kv_page_rows(const struct kv *kv, uint32_t page)
{
	uint32_t left = kv->capacity - page * KV_PAGE;

	return left < KV_PAGE ? left : KV_PAGE;
}

uint8_t *kv_keys(const struct kv *kv, uint32_t layer, uint32_t head, uint32_t page)
{
	return layer_data(kv, layer) + (size_t)page * KV_PAGE * kv->position_bytes +
	       head * kv_page_rows(kv, page) * kv->key_bytes;
}

uint8_t *kv_values(const struct kv *kv, uint32_t layer, uint32_t head, uint32_t page)
{
	return kv_keys(kv, layer, kv->n_heads, page) +
	       head * kv_page_rows(kv, page) * kv->value_bytes;
}

/* What stored rows consist of: a step for each block, where there are blocks, and units. */
static const struct {
	uint8_t step_bytes, unit_bytes;
} forms[KV_TYPE_COUNT] = {
	[KV_F16] = { 0, 2 },
	[KV_F32] = { 0, 4 },
	[KV_Q8_0] = { 2, 1 },
	[KV_Q4_0] = { 2, 1 },
};

/* Where a piece of a row lies. */
struct piece {
	uint8_t *step; /* NULL: none */
	uint8_t *units;
	size_t n, unit_bytes, apart; /* bytes from one unit to the next */
};

/* Bytes [from, from + n) of a row: a block, or units where there are no blocks. */
static struct piece piece_at(const struct kv *kv, const struct kv_place *at, size_t from, size_t n)
{
	const uint32_t page = at->pos / KV_PAGE, nth = at->pos % KV_PAGE;
	const size_t rows = kv_page_rows(kv, page), step = forms[kv->type].step_bytes;
	const size_t unit = forms[kv->type].unit_bytes;
	uint8_t *all = at->key ? kv_keys(kv, at->layer, at->head, page)
			       : kv_values(kv, at->layer, at->head, page);

	all += from * rows;
	return (struct piece){ .step = step ? all + nth * step : NULL,
			       .units = all + rows * step + nth * (at->key ? unit : n - step),
			       .n = (n - step) / unit,
			       .unit_bytes = unit,
			       .apart = at->key ? rows * unit : unit };
}

static inline void copy(uint8_t *dst, size_t dst_apart, const uint8_t *src, size_t src_apart,
			size_t n, size_t unit_bytes)
{
	for (size_t i = 0; i < n; i++)
		memcpy(dst + i * dst_apart, src + i * src_apart, unit_bytes);
}

/* The sizes as constants; values lie as in a row. */
static void copy_units(uint8_t *dst, size_t dst_apart, const uint8_t *src, size_t src_apart,
		       size_t n, size_t unit_bytes)
{
	if (dst_apart == src_apart)
		memcpy(dst, src, n * unit_bytes);
	else if (unit_bytes == 1)
		copy(dst, dst_apart, src, src_apart, n, 1);
	else if (unit_bytes == 2)
		copy(dst, dst_apart, src, src_apart, n, 2);
	else
		copy(dst, dst_apart, src, src_apart, n, 4);
}

static void put_piece(const struct piece *p, const uint8_t *src)
{
	if (p->step) {
		memcpy(p->step, src, 2);
		src += 2;
	}
	copy_units(p->units, p->apart, src, p->unit_bytes, p->n, p->unit_bytes);
}

static void get_piece(const struct piece *p, uint8_t *dst)
{
	if (p->step) {
		memcpy(dst, p->step, 2);
		dst += 2;
	}
	copy_units(dst, p->unit_bytes, p->units, p->apart, p->n, p->unit_bytes);
}

/* Bytes of a row, and of a piece of it. */
static size_t stored_bytes(const struct kv *kv, bool key)
{
	return key ? kv->key_bytes : kv->value_bytes;
}

static size_t piece_bytes(const struct kv *kv, bool key)
{
	return kv_has_blocks(kv->type) ? quant_block_bytes(kv->format) : stored_bytes(kv, key);
}

void kv_get_row(const struct kv *kv, const struct kv_place *at, uint8_t *dst)
{
	const size_t n = piece_bytes(kv, at->key);

	for (size_t i = 0; i < stored_bytes(kv, at->key); i += n) {
		const struct piece p = piece_at(kv, at, i, n);

		get_piece(&p, dst + i);
	}
}

void kv_put_row(const struct kv *kv, const struct kv_place *at, const uint8_t *src)
{
	const size_t n = piece_bytes(kv, at->key);

	for (size_t i = 0; i < stored_bytes(kv, at->key); i += n) {
		const struct piece p = piece_at(kv, at, i, n);

		put_piece(&p, src + i);
	}
}

/* Numbers as the cache's type stores them. */
static void encode(const struct kern *k, enum kv_type type, const float *src, size_t dim,
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

/* n <= KV_BLOCK elements -> their bytes. Returns how many. */
static size_t encode_piece(const struct kv *kv, const struct kern *k, bool key, const float *src,
			   size_t n, uint8_t *dst)
{
	float block[KV_BLOCK];

	if (!kv_has_blocks(kv->type)) {
		encode(k, kv->type, src, n, dst);
		return n * forms[kv->type].unit_bytes;
	}
	if (key) {
		k->rotate(block, src, KV_KEY_SCALE, n);
		encode(k, kv->type, block, KV_BLOCK, dst);
	} else {
		encode(k, kv->type, src, n, dst);
	}
	return quant_block_bytes(kv->format);
}

static void put_pieces(const struct kv *kv, const struct kern *k, const struct kv_place *at,
		       const float *src)
{
	const size_t dim = at->key ? kv->head_dim : kv->head_dim_v;
	size_t from = 0;

	for (size_t i = 0; i < dim; i += KV_BLOCK) {
		const size_t n = dim - i < KV_BLOCK ? dim - i : KV_BLOCK;
		_Alignas(float) uint8_t bytes[KV_BLOCK * sizeof(float)];
		const size_t n_bytes = encode_piece(kv, k, at->key, src + i, n, bytes);
		const struct piece p = piece_at(kv, at, from, n_bytes);

		put_piece(&p, bytes);
		from += n_bytes;
	}
}

void kv_put_head(const struct kv *kv, const struct kern *k, const struct kv_place *at,
		 const float *src)
{
	if (at->key || kv_has_blocks(kv->type))
		put_pieces(kv, k, at, src);
	else
		encode(k, kv->type, src, kv->head_dim_v,
		       piece_at(kv, at, 0, kv->value_bytes).units);
}

void kv_put(const struct kv *kv, const struct kern *k, uint32_t layer, uint32_t pos,
	    const float *keys, const float *values)
{
	for (uint32_t h = 0; h < kv->n_heads; h++) {
		struct kv_place at = { layer, h, pos, true };

		kv_put_head(kv, k, &at, keys + (size_t)h * kv->head_dim);
		at.key = false;
		kv_put_head(kv, k, &at, values + (size_t)h * kv->head_dim_v);
	}
}
