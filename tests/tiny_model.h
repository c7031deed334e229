/* tests/tiny_model.h - a whole model in a few kilobytes, with any feature of the architectures.
 *
 * Weights are random F32, made from a seed; names and shapes follow tiny_model. For tests only. */
#ifndef TESTS_TINY_MODEL_H
#define TESTS_TINY_MODEL_H

#include <stdbool.h>
#include <stdio.h>

#include "base/rng.h"
#include "tests/gguf_build.h"

struct tiny_model {
	const char *arch; /* "llama", "qwen2", "qwen3" */
	uint32_t layers, dim, heads, kv_heads, head_dim, head_dim_v, rope_dim, ff, vocab;
	bool qkv_bias, other_bias, qk_norm, tied, rope_freqs;
	float rope_scale; /* 0: no key */
	uint64_t seed;
};

#define TINY_MODEL                                                                                 \
	((struct tiny_model){ .arch = "llama",                                                     \
			      .layers = 2,                                                         \
			      .dim = 24,                                                           \
			      .heads = 4,                                                          \
			      .kv_heads = 2,                                                       \
			      .head_dim = 8,                                                       \
			      .head_dim_v = 8,                                                     \
			      .rope_dim = 8,                                                       \
			      .ff = 40,                                                            \
			      .vocab = 11,                                                         \
			      .seed = 1 })

struct tiny_tensor {
	char name[40];
	uint64_t cols, rows;
};

#define TINY_MAX_TENSORS 64

static inline void tiny_add(struct tiny_tensor *list, unsigned *n, const char *name, uint64_t cols,
			    uint64_t rows)
{
	struct tiny_tensor *t = &list[(*n)++];

	snprintf(t->name, sizeof(t->name), "%s", name);
	t->cols = cols;
	t->rows = rows;
}

static inline void tiny_add_layer(const struct tiny_model *m, unsigned layer,
				  struct tiny_tensor *list, unsigned *n)
{
	const uint64_t q = m->heads * m->head_dim, k = m->kv_heads * m->head_dim;
	const uint64_t v = m->kv_heads * m->head_dim_v, o = m->heads * m->head_dim_v;
	const struct {
		const char *name;
		uint64_t cols, rows;
		bool there;
	} all[] = {
		{ "attn_norm.weight", m->dim, 1, true },
		{ "attn_q.weight", m->dim, q, true },
		{ "attn_k.weight", m->dim, k, true },
		{ "attn_v.weight", m->dim, v, true },
		{ "attn_q.bias", q, 1, m->qkv_bias },
		{ "attn_k.bias", k, 1, m->qkv_bias },
		{ "attn_v.bias", v, 1, m->qkv_bias },
		{ "attn_q_norm.weight", m->head_dim, 1, m->qk_norm },
		{ "attn_k_norm.weight", m->head_dim, 1, m->qk_norm },
		{ "attn_output.weight", o, m->dim, true },
		{ "attn_output.bias", m->dim, 1, m->other_bias },
		{ "ffn_norm.weight", m->dim, 1, true },
		{ "ffn_gate.weight", m->dim, m->ff, true },
		{ "ffn_up.weight", m->dim, m->ff, true },
		{ "ffn_down.weight", m->ff, m->dim, true },
		{ "ffn_gate.bias", m->ff, 1, m->other_bias },
		{ "ffn_up.bias", m->ff, 1, m->other_bias },
		{ "ffn_down.bias", m->dim, 1, m->other_bias },
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		char name[40];

		snprintf(name, sizeof(name), "blk.%u.%s", layer, all[i].name);
		if (all[i].there)
			tiny_add(list, n, name, all[i].cols, all[i].rows);
	}
}

static inline unsigned tiny_list(const struct tiny_model *m, struct tiny_tensor *list)
{
	unsigned n = 0;

	tiny_add(list, &n, "token_embd.weight", m->dim, m->vocab);
	for (unsigned i = 0; i < m->layers; i++)
		tiny_add_layer(m, i, list, &n);
	tiny_add(list, &n, "output_norm.weight", m->dim, 1);
	if (!m->tied)
		tiny_add(list, &n, "output.weight", m->dim, m->vocab);
	if (m->rope_freqs)
		tiny_add(list, &n, "rope_freqs.weight", m->rope_dim / 2, 1);
	return n;
}

static inline void tiny_key(struct build *b, const struct tiny_model *m, const char *suffix,
			    uint32_t v)
{
	char key[80];

	snprintf(key, sizeof(key), "%s.%s", m->arch, suffix);
	build_key_u32(b, key, v);
}

static inline void tiny_keys(struct build *b, const struct tiny_model *m)
{
	char key[80];

	build_key_str(b, "general.architecture", m->arch);
	tiny_key(b, m, "block_count", m->layers);
	tiny_key(b, m, "context_length", 64);
	tiny_key(b, m, "embedding_length", m->dim);
	tiny_key(b, m, "feed_forward_length", m->ff);
	tiny_key(b, m, "attention.head_count", m->heads);
	tiny_key(b, m, "attention.head_count_kv", m->kv_heads);
	tiny_key(b, m, "attention.key_length", m->head_dim);
	tiny_key(b, m, "attention.value_length", m->head_dim_v);
	tiny_key(b, m, "rope.dimension_count", m->rope_dim);
	snprintf(key, sizeof(key), "%s.attention.layer_norm_rms_epsilon", m->arch);
	build_key_f32(b, key, 1e-5f);
	snprintf(key, sizeof(key), "%s.rope.freq_base", m->arch);
	build_key_f32(b, key, 1000);
	if (m->rope_scale > 0) {
		snprintf(key, sizeof(key), "%s.rope.scaling.type", m->arch);
		build_key_str(b, key, "linear");
		snprintf(key, sizeof(key), "%s.rope.scaling.factor", m->arch);
		build_key_f32(b, key, m->rope_scale);
	}
}

/* Vectors are near 1 (they are norms, biases and frequency factors), matrices around 0. */
static inline void tiny_weights(struct build *b, const struct tiny_tensor *t, uint64_t seed,
				uint64_t *counter)
{
	for (uint64_t i = 0; i < t->cols * t->rows; i++) {
		float u = (float)rng_unit(seed, (*counter)++) - 0.5f;

		build_f32(b, t->rows == 1 ? 1 + u : u * 0.8f);
	}
}

/* The bytes of the file; the caller frees b.data. */
static inline struct build tiny_build(const struct tiny_model *m)
{
	struct tiny_tensor list[TINY_MAX_TENSORS];
	struct build b = { 0 };
	unsigned n = tiny_list(m, list);
	uint64_t offset = 0, counter = 0;

	build_header(&b, 3, n, 12 + (m->rope_scale > 0 ? 2 : 0));
	tiny_keys(&b, m);
	for (unsigned i = 0; i < n; i++) {
		build_tensor(&b, list[i].name, QUANT_F32, list[i].rows == 1 ? 1 : 2,
			     (uint64_t[]){ list[i].cols, list[i].rows }, offset);
		offset += (list[i].cols * list[i].rows * sizeof(float) + 31) / 32 * 32;
	}
	for (unsigned i = 0; i < n; i++) {
		build_pad(&b, 32);
		tiny_weights(&b, &list[i], m->seed, &counter);
	}
	build_pad(&b, 32);
	return b;
}

#endif
