/* engine/weights.h - the tensors of a model, found by name and checked by shape.
 *
 * Matrices are found in the file's map. Those of Q4_0, Q8_0, Q4_K and Q6_K are copied into strips
 * (pack.h) before they first run, into one arena of private memory, and their pages of the map let
 * go: what is resident are the weights that run, once. Others stay in the map. The small vectors
 * (norms, biases) are copied as f32. One table says which tensors a layer has; anything that the
 * table does not know would change the result, so it is refused. */
#ifndef ENGINE_WEIGHTS_H
#define ENGINE_WEIGHTS_H

#include "base/err.h"
#include "engine/gguf.h"
#include "engine/kern.h"
#include "engine/model.h"
#include "engine/pool.h"

#define WEIGHTS_NO_ROOM SIZE_MAX

/* y = W x + bias */
struct weight {
	struct kern_rows rows; /* [n_rows][cols], in the map */
	const struct gguf_tensor *tensor;
	struct kern_strips strips; /* the same, once packed; data NULL before */
	size_t room;               /* bytes into the arena for strips; WEIGHTS_NO_ROOM: none */
	size_t n_items;            /* of packing that are done */
	size_t cols;
	float *bias; /* [n_rows] or NULL; owned */
};

struct layer {
	float *attn_norm, *ffn_norm; /* [d], owned */
	float *q_norm, *k_norm;      /* [D] or NULL, owned */
	struct weight q, k, v, o, gate, up, down;
	bool packed; /* as far as it can be */
};

struct weights {
	uint32_t first, last;
	struct layer *layers;            /* [last - first] */
	const struct gguf_tensor *embed; /* [V][d], or NULL without model_conf.embed */
	float *norm;                     /* [d] before the head, or NULL without model_conf.head */
	struct weight head;              /* [V][d] */
	bool head_packed;
	float *rope_factors;             /* [rope_dim / 2] or NULL */
	const struct gguf *gguf;
	uint8_t *arena; /* address space for all matrices that can be packed; or NULL */
	size_t arena_bytes;
};

/* Every tensor of the file has a known name and the shape that hp implies. */
MUST_CHECK int weights_check(const struct gguf *g, const struct model_hparams *hp, struct err *e);

/* Find what conf needs; ERR_NOT_FOUND names a tensor that is missing. weights_finish also undoes a
 * failed init, and takes zeroed memory. */
MUST_CHECK int weights_init(struct weights *w, const struct gguf *g, const struct model_hparams *hp,
			    const struct model_conf *conf, struct err *e);
void weights_finish(struct weights *w);

#define WEIGHTS_ALL UINT64_MAX /* until_us: however long it takes */

/* Go on to pack what can be packed of layer `layer` (of first..last), or of the head, until
 * clock_now_us() is until_us, or a little later (64 rows for each thread at a time); 0: not at all.
 * True when it is done. Compute thread, or before there is one. */
bool weights_pack_layer(struct weights *w, uint32_t layer, struct pool *pool, uint64_t until_us);
bool weights_pack_head(struct weights *w, struct pool *pool, uint64_t until_us);

/* Give the memory of a layer's matrices, or of the head's, back: as they were before they were
 * packed. While nothing runs them, or packs them. */
void weights_release_layer(struct weights *w, uint32_t layer);
void weights_release_head(struct weights *w);

#endif
