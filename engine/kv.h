/* engine/kv.h - the inside of a KV cache, for the attention code. Contract: model.h.
 *
 * Per layer and key/value head the keys of all positions lie together, [capacity][D], and likewise
 * the values, [capacity][D_v]: attention reads one head at a time, front to back. */
#ifndef ENGINE_KV_H
#define ENGINE_KV_H

#include "engine/model.h"

struct kv {
	uint32_t first, last; /* layers */
	uint32_t capacity, length;
	uint32_t n_heads, head_dim, head_dim_v;
	enum kv_type type;
	size_t element_bytes;
	size_t layer_bytes; /* keys, then values */
	uint8_t *data;      /* [last - first][layer_bytes] */
};

/* First key (value) of a head; f16 or f32 by kv->type. layer is in [first, last). */
uint8_t *kv_keys(const struct kv *kv, uint32_t layer, uint32_t head);
uint8_t *kv_values(const struct kv *kv, uint32_t layer, uint32_t head);

#endif
