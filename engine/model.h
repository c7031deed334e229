/* engine/model.h - layers of a Llama-family transformer over GGUF weights.
 *
 *   d hidden size, L layers, V vocabulary, H heads, H_kv key/value heads, D head size
 *
 * A model is opened for a segment of layers [first, last): only the weights of that segment, and of
 * embedding and head when asked for, are ever touched, so that a process' RSS is its share. Weights
 * are read-only and shared; a kv belongs to one session. Forward functions: compute thread only
 * (one at a time per model, they use its scratch and its thread pool). */
#ifndef ENGINE_MODEL_H
#define ENGINE_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/kv_type.h"
#include "engine/gguf.h"

enum model_arch { MODEL_LLAMA, MODEL_QWEN2, MODEL_QWEN3, MODEL_ARCH_COUNT };

struct model_hparams {
	enum model_arch arch;
	uint32_t n_layers;	 /* L */
	uint32_t dim;		 /* d */
	uint32_t n_vocab;	 /* V */
	uint32_t n_heads;	 /* H */
	uint32_t n_kv_heads;	 /* H_kv, divides H */
	uint32_t head_dim;	 /* D of keys (and queries) */
	uint32_t head_dim_v;	 /* D of values */
	uint32_t ff_dim;
	uint32_t n_ctx_train;	 /* context length of the metadata, tokens */
	uint32_t rope_dim;	 /* rotated elements of a head, even, <= head_dim */
	bool rope_neox;		 /* halves instead of adjacent pairs */
	float rope_base;	 /* freq base */
	float rope_scale;	 /* linear scaling: angles are divided by it; 1 = none */
	float norm_eps;
};

struct model_conf {
	uint32_t first, last;	/* layers [first, last) of this process; last <= L; first <= last */
	bool embed;		/* will call model_embed */
	bool head;		/* will call model_logits */
	unsigned threads;	/* >= 1 */
	bool pin_threads;	/* each to a processor of its own; the caller of model_step too */
	uint32_t max_rows;	/* most rows of one model_step; 0 = 256 */
	bool lazy;		/* prepare no layer at open (model_prepare) */
	uint32_t pack_first;	/* layers from here on are the first to be packed, ... */
	uint64_t pack_limit_bytes; /* ... as many as these addresses hold; 0: all; the others stay
				    * in the map */
};

struct model;
struct kv;
struct imatrix_sums;

/* Read and check the hyper-parameters of g and the shapes of all its tensors (not their bytes).
 * ERR_UNSUPPORTED for another architecture or RoPE scaling, ERR_FORMAT for shapes that disagree. */
MUST_CHECK int model_read_hparams(struct model_hparams *hp, const struct gguf *g, struct err *e);

/* What a file holds when `splitmq quantize --layers` made it: layers [first, last), the embedding
 * when first is 0, the head (and an embedding that is tied to it) when last is L. */
struct model_slice {
	uint32_t first, last; /* [0, L) of a whole file */
};

#define MODEL_SLICE_FIRST "splitmq.slice.first" /* keys, u32 */
#define MODEL_SLICE_LAST  "splitmq.slice.last"

/* ERR_FORMAT when the keys make no range of the model's layers, or one of them is missing. */
MUST_CHECK int model_read_slice(struct model_slice *s, const struct gguf *g,
				const struct model_hparams *hp, struct err *e);
bool model_is_slice(const struct model_slice *s, const struct model_hparams *hp);

/* Layers [first, last), and embedding and head as asked, are in a file that holds *s: 0, or
 * ERR_NOT_FOUND naming the first that is not. */
MUST_CHECK int model_slice_has(const struct model_slice *s, const struct model_hparams *hp,
			       uint32_t first, uint32_t last, bool embed, bool head,
			       struct err *e);

/* Borrow g, which must outlive the model. Allocates scratch for max_rows rows and the threads.
 * ERR_NOT_FOUND names a layer or tensor that the file (a slice, perhaps) does not have. */
MUST_CHECK int model_open(struct model **out, const struct gguf *g, const struct model_conf *conf,
			  struct err *e);
void model_close(struct model *m);

/* Bring the weights of layers [first, last) within the model's, and of the head (where there is
 * one) if `head`, into the form in which they run, for about a second; what is left then, or
 * was not named, is prepared when it first runs. Results do not depend on it. */
void model_prepare(struct model *m, uint32_t first, uint32_t last, bool head);

/* Go on with the same for about `us` microseconds (0: not at all). True when all of it is ready.
 * Compute thread. */
bool model_prepare_some(struct model *m, uint32_t first, uint32_t last, bool head, uint32_t us);

/* The reverse: their memory is given back. What runs all the same is prepared again. Any
 * thread, while no pass through these layers, or the head, is under way. */
void model_release(struct model *m, uint32_t first, uint32_t last, bool head);

const struct model_hparams *model_hparams(const struct model *m);

/* From now on add the input rows of every matrix that runs to s (imatrix.h), which must outlive the
 * model or be taken away with NULL. The rows of model_embed are no input. */
void model_observe(struct model *m, struct imatrix_sums *s);

/* From now on, behind each layer of a step, this is called, so that others have the processor
 * before a step ends that nobody waits for. NULL: nothing is. */
void model_pause(struct model *m, void (*between)(void));

/* "avx512": the kernels in use, for a log line at start-up. A constant string. */
const char *model_isa(const struct model *m);

/* Bytes of weights that this configuration touches, before opening anything: "does it fit?". */
size_t model_weight_bytes(const struct gguf *g, const struct model_hparams *hp,
			  const struct model_conf *conf);
/* Bytes of weights of one layer (by the file's types). */
size_t model_layer_bytes(const struct gguf *g, const struct model_hparams *hp, uint32_t layer);
/* Bytes of scratch that model_open will allocate. */
size_t model_scratch_bytes(const struct model_hparams *hp, const struct model_conf *conf);

/* What the caches of a process may take together, booked when they are created: a cache that was
 * made has its whole capacity promised. Other memory that lives by the same limit may be added to
 * booked_bytes. One thread at a time. */
struct kv_budget {
	uint64_t limit_bytes, booked_bytes;
};

/* KV cache of layers [first, last) for up to capacity tokens. Q8_0 and Q4_0 store each head in
 * blocks of 32 elements, the last one filled up. Address space is taken here, memory by the pages
 * that forward functions fill. kv_bytes of it are booked in *budget (NULL: no limit), which must
 * outlive it. ERR_LIMIT when they would pass the limit, and for what no cache can be. */
MUST_CHECK int kv_create(struct kv **out, struct kv_budget *budget, const struct model_hparams *hp,
			 uint32_t first, uint32_t last, uint32_t capacity, enum kv_type type);
void kv_destroy(struct kv *kv); /* the thread of the budget; no forward function may have it */
size_t kv_bytes(const struct model_hparams *hp, uint32_t n_layers, uint32_t capacity,
		enum kv_type type);
size_t kv_size_bytes(const struct kv *kv); /* kv_bytes of this cache */
uint32_t kv_length(const struct kv *kv);   /* positions [0, length) are filled, in every layer */
uint32_t kv_capacity(const struct kv *kv); /* tokens */
/* Forget positions >= length, and give the system the memory of those that lie 64 and more behind
 * the last one kept; no-op when there are fewer. Compute thread. */
void kv_truncate(struct kv *kv, uint32_t length);

/* ids [n] -> x [n][d] f32. ERR_LIMIT when an id >= V, ERR_IO when the file cannot be read (x
 * undefined). Any thread. */
MUST_CHECK int model_embed(const struct model *m, const uint32_t *ids, uint32_t n, float *x);

/* One session's rows in a step. */
struct model_part {
	struct kv *kv; /* says which layers, and from which position on */
	float *x;      /* [rows][d], overwritten in place */
	uint32_t rows; /* >= 1 */
	float *tap;         /* [rows][d], where they are copied to as they come to ... */
	uint32_t tap_layer; /* ... this one of the kv's layers, or leave the one before; or NULL */
	/* Of those layers, only [from, until) in this step; until 0: all. Rows that stop on their
	 * way go on in a later step, with x as it was left, and until then nothing else may run on
	 * the kv. */
	uint32_t from, until;
};

/* Run each part's rows at positions kv_length(kv) .. + rows through the layers that its kv and the
 * model both have; at each layer the rows of all parts that have it share the weights. A kv is in
 * one part only, and grows by the part's rows when they have left its last layer; rows of all parts
 * are at most max_rows. A row's
 * result does not depend on the other parts, nor on how rows were cut into steps: not one bit.
 * Returns 0, or ERR_CONTEXT when a cache would overflow (nothing touched).
 * Source: arXiv 2302.13971 (block), 1910.07467 (RMSNorm), 2104.09864 (RoPE), 2305.13245 (GQA). */
MUST_CHECK int model_step(struct model *m, const struct model_part *parts, uint32_t n_parts);

/* The same for one session and any number of rows: cut into steps where they exceed max_rows. */
MUST_CHECK int model_forward(struct model *m, struct kv *kv, float *x, uint32_t rows);

/* Of at most max_rows rows, with a tap. */
MUST_CHECK int model_forward_tapped(struct model *m, struct kv *kv, float *x, uint32_t rows,
				    uint32_t tap_layer, float *tap);

/* Final norm and head: x [rows][d] (not modified) -> logits [rows][V]. */
void model_logits(struct model *m, const float *x, uint32_t rows, float *logits);
/* The same for at most max_rows rows that do not lie together: x [rows] pointers to [d]. */
void model_logits_of(struct model *m, const float *const *x, uint32_t rows, float *logits);

#endif
