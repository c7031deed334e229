/* engine/kv_layers.h - layers of a KV cache change hands: a split moves while a session runs.
 *
 * A cache of layers [a, b) can be joined with one of [b, c), and give layers up. Only pointers
 * move. Both leave the budget alone, since it lives on another thread: kv_layers_settle tells it
 * afterwards. Compute thread, unless nothing runs on the caches. */
#ifndef ENGINE_KV_LAYERS_H
#define ENGINE_KV_LAYERS_H

#include <stdint.h>

#include "engine/model.h"

/* A second cursor over layers [first, last) of a cache, which must outlive it: same memory, a
 * length of its own, 0 to begin with. Rows that are run again through it write what is there
 * already. Books nothing; kv_destroy ends it. The one function here that may be called while
 * something runs on `of`. ERR_LIMIT: not layers of `of`. */
MUST_CHECK int kv_layers_view(struct kv **out, const struct kv *of, uint32_t first, uint32_t last);

/* The view is of layers [first, last) from now on, of those it was made for, and `length` long. */
void kv_layers_aim(struct kv *view, uint32_t first, uint32_t last, uint32_t length);

/* Positions below `length` were written in all layers of kv, by views: it is that long now. */
void kv_layers_reach(struct kv *kv, uint32_t length);

/* kv takes the layers of `other`, which end where its own begin or the other way round, and leaves
 * it without any. ERR_STATE, and nothing moved: they do not meet, have not the same length,
 * capacity or type, or one of them is a view. */
MUST_CHECK int kv_layers_join(struct kv *kv, struct kv *other);

/* Layers outside [first, last) give their memory back. ERR_LIMIT, and nothing given: that is not
 * within the cache's layers. */
MUST_CHECK int kv_layers_keep(struct kv *kv, uint32_t first, uint32_t last);

/* *out takes layers [at, last) of kv, which keeps the others: so that who waits for kv need not
 * wait until their memory is given back. ERR_LIMIT: not within its layers; ERR_STATE: it is a view;
 * ERR_NOMEM. Nothing moved then. */
MUST_CHECK int kv_layers_cut(struct kv **out, struct kv *kv, uint32_t at);
/* The same with layers [first, at). */
MUST_CHECK int kv_layers_cut_below(struct kv **out, struct kv *kv, uint32_t at);

/* The budget hears what the cache holds now. The budget's thread; nothing runs on the cache. */
void kv_layers_settle(struct kv *kv);

/* First layer, and the one after the last. */
uint32_t kv_layers_first(const struct kv *kv);
uint32_t kv_layers_last(const struct kv *kv);

#endif
