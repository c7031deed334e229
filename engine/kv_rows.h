/* engine/kv_rows.h - keys and values of a range of layers and positions as bytes, and in another
 * type.
 *
 * The bytes: layer by layer, in it position by position: the key of each head, then the value of
 * each, as a cache of that type stores them (schema/PROTOCOL.md, "Keys and values"). What is
 * brought to another type is first what the stored numbers mean, f32 (keys rotated back), and then
 * stored as if it had just been computed. Compute thread, unless nothing runs on the cache. */
#ifndef ENGINE_KV_ROWS_H
#define ENGINE_KV_ROWS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/kv_type.h"
#include "engine/model.h"

struct kv_rows_range {
	uint32_t first, last; /* layers, of the cache */
	uint32_t pos, rows;
};

/* Bytes of one position of one layer in that type. */
size_t kv_rows_position_bytes(const struct model_hparams *hp, enum kv_type type);

/* The same of a cache, and its type. */
size_t kv_rows_bytes(const struct kv *kv);
enum kv_type kv_rows_type(const struct kv *kv);

/* Rows of a cache -> dst, in its own type. ERR_LIMIT: not within its layers, its length or cap. */
MUST_CHECK int kv_rows_get(const struct kv *kv, const struct kv_rows_range *r, uint8_t *dst,
			   size_t cap);

/* The reverse, from bytes of type `type`: into all layers of the cache, from where it ends on; it
 * then ends behind them. ERR_STATE: other layers, or another place; ERR_CONTEXT: no room;
 * ERR_FORMAT: not that many bytes; ERR_NOT_FINITE: a number that is none. Then the length stays. */
MUST_CHECK int kv_rows_put(struct kv *kv, enum kv_type type, const struct kv_rows_range *r,
			   const uint8_t *src, size_t len);

/* Keys and values that mean nothing into all layers, `rows` positions from where the cache ends on:
 * to find out what attention to so many takes. ERR_CONTEXT: no room, nothing is written. */
MUST_CHECK int kv_rows_make_up(struct kv *kv, uint32_t rows);

/* An empty cache of the same layers and capacity, but of `type`. As kv_create; the budget is
 * `of`'s. */
MUST_CHECK int kv_rows_like(struct kv **out, const struct kv *of, const struct model_hparams *hp,
			    enum kv_type type);

/* Rows of `of` -> the same layers and positions of a cache like it, in that one's type. Its length
 * stays (kv_layers_reach). ERR_LIMIT: not within their layers, the length of `of`, the capacity;
 * ERR_NOT_FINITE: a number that is none. */
MUST_CHECK int kv_rows_copy(struct kv *kv, const struct kv *of, const struct kv_rows_range *r);

#endif
