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
	uint32_t max_rows;	/* most rows of one model_forward call; 0 = 256 */
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

const struct model_hparams *model_hparams(const struct model *m);

/* From now on add the input rows of every matrix that runs to s (imatrix.h), which must outlive the
 * model or be taken away with NULL. The rows of model_embed are no input. */
void model_observe(struct model *m, struct imatrix_sums *s);

/* "avx512": the kernels in use, for a log line at start-up. A constant string. */
const char *model_isa(const struct model *m);

/* Bytes of weights that this configuration touches, before opening anything: "does it fit?". */
size_t model_weight_bytes(const struct gguf *g, const struct model_hparams *hp,
			  const struct model_conf *conf);
/* Bytes of weights of one layer (by the file's types). */
size_t model_layer_bytes(const struct gguf *g, const struct model_hparams *hp, uint32_t layer);
/* Bytes of scratch that model_open will allocate. */
size_t model_scratch_bytes(const struct model_hparams *hp, const struct model_conf *conf);

/* KV cache of layers [first, last) for up to capacity tokens; all memory allocated here. Q8_0 and
 * Q4_0 store each head in blocks of 32 elements, the last one filled up. */
MUST_CHECK int kv_create(struct kv **out, const struct model_hparams *hp, uint32_t first,
			 uint32_t last, uint32_t capacity, enum kv_type type);
void kv_destroy(struct kv *kv);
size_t kv_bytes(const struct model_hparams *hp, uint32_t n_layers, uint32_t capacity,
		enum kv_type type);
size_t kv_size_bytes(const struct kv *kv); /* kv_bytes of this cache */
uint32_t kv_length(const struct kv *kv);   /* positions [0, length) are filled, in every layer */
uint32_t kv_capacity(const struct kv *kv); /* tokens */
/* Forget positions >= length; no-op when there are fewer. */
void kv_truncate(struct kv *kv, uint32_t length);

/* ids [n] -> x [n][d] f32. ERR_LIMIT when an id >= V (x undefined). */
MUST_CHECK int model_embed(const struct model *m, const uint32_t *ids, uint32_t n, float *x);

/* Run layers [first, last) of kv's range, clipped to the model's, over `rows` tokens at positions
 * kv_length(kv) .. + rows.
 *   x   [rows][d] f32, row-major; overwritten in place
 *   kv  grows by rows
 * rows may exceed max_rows: it is cut into several passes. Returns 0, or ERR_CONTEXT when the
 * cache would overflow (nothing touched).
 * Source: arXiv 2302.13971 (block), 1910.07467 (RMSNorm), 2104.09864 (RoPE), 2305.13245 (GQA). */
MUST_CHECK int model_forward(struct model *m, struct kv *kv, float *x, uint32_t rows);

/* Final norm and head: x [rows][d] (not modified) -> logits [rows][V]. */
void model_logits(struct model *m, const float *x, uint32_t rows, float *logits);

#endif
