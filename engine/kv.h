/* engine/kv.h - the inside of a KV cache, for the attention code. Contract: model.h.
 *
 * A layer is a row of pages of KV_PAGE positions (the last one may be cut short). In a page the
 * keys of each key/value head lie together, then the values of each: attention reads one head at a
 * time, page by page. Values are rows, [positions][D_v]; keys are columns, [D][positions], so that
 * the scores of neighbouring positions are neighbours in a register. In a type with blocks that is
 * so block by block, each with its steps [positions] before its codes. A row of such a type is
 * filled up to whole blocks, and keys are rotated before (kern.h), as queries must be then: an
 * outlier in one channel, usual in keys, would take all of its block's few steps. Source: arXiv
 * 2404.00456 (rotations), 2402.02750 (outliers of keys).
 *
 * Layers are private mappings: the kernel gives memory where a page is first written, and
 * takes back what kv_truncate forgets. So filling a cache needs no list of free pages and no lock,
 * and cannot fail once the mappings stand; and a layer can change hands (kv_layers.h). */
#ifndef ENGINE_KV_H
#define ENGINE_KV_H

#include "engine/kern.h"
#include "engine/model.h"
#include "engine/quant.h"

#define KV_PAGE 64 /* positions */

struct kv {
	uint32_t length;          /* what runs on the cache changes this, and only this */
	struct kv_budget *budget; /* NULL: none */
	uint32_t first, last;     /* layers */
	uint32_t n_layers;        /* L of the model */
	uint32_t capacity;
	uint32_t n_heads, head_dim, head_dim_v;
	enum kv_type type;
	enum quant_type format;        /* the same for kern.h */
	size_t key_row, value_row;     /* elements of a stored row */
	size_t key_bytes, value_bytes; /* of a stored row */
	size_t position_bytes;         /* of all heads, keys and values */
	size_t booked_bytes;           /* in the budget; the budget's thread */
	bool borrowed;                 /* the layers are another cache's */
	uint8_t *layers[];             /* [L] of first .. last - 1: [capacity] positions */
};

/* Factors of the rotations: together 1/32, and apart they keep keys near their size. */
#define KV_KEY_SCALE   0.25f
#define KV_QUERY_SCALE 0.125f

/* Then keys are stored rotated, too. */
static inline bool kv_has_blocks(enum kv_type type)
{
	return type == KV_Q8_0 || type == KV_Q4_0;
}

#define KV_BLOCK 32 /* elements of a block, in the types that have them */

/* Elements of a stored row of dim elements, whatever the type: at most this many. */
#define KV_ROW_MAX(dim) (((size_t)(dim) + KV_BLOCK - 1) / KV_BLOCK * KV_BLOCK)

/* Bytes of the mapping of a layer: whole pages of the system. */
size_t kv_layer_map_bytes(const struct kv *kv);

/* Keys (values) of a head in a page, in kv->format. layer is in [first, last). */
uint8_t *kv_keys(const struct kv *kv, uint32_t layer, uint32_t head, uint32_t page);
uint8_t *kv_values(const struct kv *kv, uint32_t layer, uint32_t head, uint32_t page);

/* Positions of a page, whether they are filled or not. */
uint32_t kv_page_rows(const struct kv *kv, uint32_t page);

/* Elements of a stored row of dim elements: whole blocks. */
size_t kv_stored_row(enum kv_type type, uint32_t dim);

/* One head's key or value at a position. */
struct kv_place {
	uint32_t layer, head, pos;
	bool key;
};

/* Its numbers, [D] or [D_v], into the cache. */
void kv_put_head(const struct kv *kv, const struct kern *k, const struct kv_place *at,
		 const float *src);

/* The same as a row of the cache's type: kv->key_bytes or value_bytes, block after block. */
void kv_get_row(const struct kv *kv, const struct kv_place *at, uint8_t *dst);
void kv_put_row(const struct kv *kv, const struct kv_place *at, const uint8_t *src);

/* Keys [n_heads][D] and values [n_heads][D_v] of one position of a layer into the cache. */
void kv_put(const struct kv *kv, const struct kern *k, uint32_t layer, uint32_t pos,
	    const float *keys, const float *values);

#endif
