/* tools/synth.c - which tensors a shape has, of which types, and their way into the file. */
#include "tools/synth.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/le.h"

#define CHUNK_BYTES (1u << 20)

const struct synth_shape synth_shapes[] = {
	{ .name = "tinyllama-1.1b",
	  .arch = "llama",
	  .layers = 22,
	  .dim = 2048,
	  .heads = 32,
	  .kv_heads = 4,
	  .ff = 5632,
	  .vocab = 32000,
	  .ctx = 2048,
	  .rope_base = 10000,
	  .norm_eps = 1e-5f },
	{ .name = "llama-3.2-1b",
	  .arch = "llama",
	  .layers = 16,
	  .dim = 2048,
	  .heads = 32,
	  .kv_heads = 8,
	  .ff = 8192,
	  .vocab = 128256,
	  .ctx = 131072,
	  .rope_base = 500000,
	  .norm_eps = 1e-5f,
	  .rope_factor = 32,
	  .tied = true,
	  .pre = "llama-bpe" },
	{ .name = "qwen2.5-0.5b",
	  .arch = "qwen2",
	  .layers = 24,
	  .dim = 896,
	  .heads = 14,
	  .kv_heads = 2,
	  .ff = 4864,
	  .vocab = 151936,
	  .ctx = 32768,
	  .rope_base = 1000000,
	  .norm_eps = 1e-6f,
	  .tied = true,
	  .qkv_bias = true,
	  .pre = "qwen2" },
	{ .name = "llama-3.1-8b",
	  .arch = "llama",
	  .layers = 32,
	  .dim = 4096,
	  .heads = 32,
	  .kv_heads = 8,
	  .ff = 14336,
	  .vocab = 128256,
	  .ctx = 131072,
	  .rope_base = 500000,
	  .norm_eps = 1e-5f,
	  .rope_factor = 8,
	  .pre = "llama-bpe" },
	{ .name = "toy",
	  .arch = "llama",
	  .layers = 8,
	  .dim = 256,
	  .heads = 8,
	  .kv_heads = 2,
	  .ff = 512,
	  .vocab = 512,
	  .ctx = 1024,
	  .rope_base = 10000,
	  .norm_eps = 1e-5f },
	{ 0 },
};

const struct synth_shape *synth_find(const char *name)
{
	for (const struct synth_shape *s = synth_shapes; s->name; s++) {
		if (!strcmp(s->name, name))
			return s;
	}
	return NULL;
}

enum kind { MATRIX, NORM, BIAS, FREQUENCIES };

struct tensor {
	char name[48];
	uint64_t cols, rows;
	enum kind kind;
	enum quant_type type;
	float gain; /* of a matrix: standard deviation of its outputs for inputs of 1 */
};

struct list {
	const struct synth_conf *conf;
	struct tensor *tensors;
	unsigned n;
	bool inside; /* of a layer, this one */
	uint32_t layer;
};

#define PER_LAYER 12
#define OUTSIDE   4

static unsigned bits_of(enum quant_type type)
{
	return quant_block_bytes(type) * 256 / quant_block_elements(type);
}

/* Rows that are no whole blocks get what llama.cpp's files have there. */
static enum quant_type fitting(enum quant_type type, uint64_t cols)
{
	static const enum quant_type small[QUANT_TYPE_END] = {
		[QUANT_Q2_K] = QUANT_Q4_0, [QUANT_Q3_K] = QUANT_Q4_0, [QUANT_Q4_K] = QUANT_Q5_0,
		[QUANT_Q5_K] = QUANT_Q5_1, [QUANT_Q6_K] = QUANT_Q8_0,
	};

	return cols % quant_block_elements(type) ? small[type] : type;
}

static void add(struct list *l, const char *name, enum kind kind, enum quant_type type,
		uint64_t cols, uint64_t rows)
{
	struct tensor *t = &l->tensors[l->n++];
	char prefix[20] = "";

	*t = (struct tensor){ .cols = cols, .rows = rows, .kind = kind, .gain = 1 };
	t->type = kind == MATRIX ? fitting(type, cols) : QUANT_F32;
	if (l->inside)
		snprintf(prefix, sizeof(prefix), "blk.%" PRIu32 ".", l->layer);
	snprintf(t->name, sizeof(t->name), "%s%s.%s", prefix, name,
		 kind == BIAS ? "bias" : "weight");
}

/* A matrix whose outputs are added to the stream: those of all layers together add up to 1. */
static void add_into_stream(struct list *l, const char *name, enum quant_type type, uint64_t cols)
{
	add(l, name, MATRIX, type, cols, l->conf->shape->dim);
	l->tensors[l->n - 1].gain = 1 / sqrtf(2 * (float)l->conf->shape->layers);
}

/* The layers whose attn_v and ffn_down a mixture keeps finer: the first and the last eighth, and
 * every third between. Source: llama.cpp, rule of its *_M mixtures. */
static bool is_finer_layer(uint32_t layer, uint32_t layers)
{
	return layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2;
}

static void add_layer(struct list *l, uint32_t layer)
{
	const struct synth_shape *s = l->conf->shape;
	const bool finer = l->conf->mixture && is_finer_layer(layer, s->layers);
	const enum quant_type type = l->conf->type, most = finer ? QUANT_Q6_K : type;
	const uint64_t head_dim = s->dim / s->heads, kv = s->kv_heads * head_dim;

	l->layer = layer;
	l->inside = true;
	add(l, "attn_norm", NORM, QUANT_F32, s->dim, 1);
	add(l, "attn_q", MATRIX, type, s->dim, s->dim);
	add(l, "attn_k", MATRIX, type, s->dim, kv);
	add(l, "attn_v", MATRIX, most, s->dim, kv);
	add_into_stream(l, "attn_output", type, s->dim);
	if (s->qkv_bias) {
		add(l, "attn_q", BIAS, QUANT_F32, s->dim, 1);
		add(l, "attn_k", BIAS, QUANT_F32, kv, 1);
		add(l, "attn_v", BIAS, QUANT_F32, kv, 1);
	}
	add(l, "ffn_norm", NORM, QUANT_F32, s->dim, 1);
	add(l, "ffn_gate", MATRIX, type, s->dim, s->ff);
	add(l, "ffn_up", MATRIX, type, s->dim, s->ff);
	add_into_stream(l, "ffn_down", most, s->ff);
	l->inside = false;
}

static void add_all(struct list *l)
{
	const struct synth_shape *s = l->conf->shape;
	const enum quant_type type = l->conf->type;
	const enum quant_type head = bits_of(type) < bits_of(QUANT_Q6_K) ? QUANT_Q6_K : type;

	add(l, "token_embd", MATRIX, s->tied ? head : type, s->dim, s->vocab);
	if (s->rope_factor > 0)
		add(l, "rope_freqs", FREQUENCIES, QUANT_F32, s->dim / s->heads / 2, 1);
	for (uint32_t i = 0; i < s->layers; i++)
		add_layer(l, i);
	add(l, "output_norm", NORM, QUANT_F32, s->dim, 1);
	if (!s->tied)
		add(l, "output", MATRIX, head, s->dim, s->vocab);
}

static void put_f32(struct gguf_write *w, const char *key, float v)
{
	uint8_t number[4];
	uint32_t bits;

	memcpy(&bits, &v, sizeof(bits));
	le_put32(number, bits);
	gguf_write_copy(w, &(struct gguf_kv){ .key = { key, strlen(key) },
					      .type = GGUF_F32,
					      .item_type = GGUF_F32,
					      .count = 1,
					      .data = number });
}

static void put_keys(struct gguf_write *w, const struct synth_conf *conf)
{
	const struct synth_shape *s = conf->shape;
	const struct {
		const char *suffix;
		uint32_t v;
	} numbers[] = {
		{ "vocab_size", s->vocab },
		{ "context_length", s->ctx },
		{ "embedding_length", s->dim },
		{ "block_count", s->layers },
		{ "feed_forward_length", s->ff },
		{ "attention.head_count", s->heads },
		{ "attention.head_count_kv", s->kv_heads },
		{ "rope.dimension_count", s->dim / s->heads },
	};
	char key[96];

	gguf_write_str(w, "general.architecture", s->arch);
	gguf_write_str(w, "general.name", s->name);
	gguf_write_str(w, "general.description", "random weights");
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		snprintf(key, sizeof(key), "%s.%s", s->arch, numbers[i].suffix);
		gguf_write_u32(w, key, numbers[i].v);
	}
	snprintf(key, sizeof(key), "%s.rope.freq_base", s->arch);
	put_f32(w, key, s->rope_base);
	snprintf(key, sizeof(key), "%s.attention.layer_norm_rms_epsilon", s->arch);
	put_f32(w, key, s->norm_eps);
}

/* What angles are divided by: nothing for short waves, the factor for long ones.
 * Source: The Llama 3 Herd of Models, arXiv 2407.21783, and its published configuration. */
static float frequency_factor(const struct synth_shape *s, uint64_t i, uint64_t n)
{
	const double trained = 8192, low = 1, high = 4;
	const double wave = 6.283185307179586 * pow(s->rope_base, (double)i / (double)n);
	const double between = (trained / wave - low) / (high - low);

	if (wave < trained / high)
		return 1;
	if (wave > trained / low)
		return s->rope_factor;
	return (float)(1 / ((1 - between) / s->rope_factor + between));
}

/* Elements of a vector; norms lie around 1. */
static void fill_vector(const struct synth_shape *s, const struct tensor *t, struct synth_random *r,
			float *x)
{
	for (uint64_t i = 0; i < t->cols; i++) {
		const float u = (float)rng_unit(r->seed, r->counter++) - 0.5f;

		x[i] = t->kind == NORM   ? 1 + 0.2f * u
		       : t->kind == BIAS ? 0.2f * u
					 : frequency_factor(s, i, t->cols);
	}
}

/* Bytes on their way: what is in the file, and where random numbers come from. */
struct output {
	const struct synth_conf *conf;
	struct gguf_write *w;
	uint8_t *chunk; /* [CHUNK_BYTES] */
	struct progress *progress;
	bool (*stop)(void); /* or NULL */
	uint64_t bytes;
};

static int put_bytes(struct output *o, size_t n, struct err *e)
{
	if (o->stop && o->stop())
		return err_set(e, ERR_CANCELLED, "interrupted");
	o->bytes += n;
	progress_show(o->progress, o->bytes >> 10);
	return gguf_write_data(o->w, o->chunk, n, e);
}

static int put_tensor(struct output *o, const struct tensor *t, struct synth_random r,
		      struct err *e)
{
	const size_t block = quant_block_bytes(t->type);
	uint64_t left = t->cols / quant_block_elements(t->type) * t->rows;
	int rc = 0;

	if (t->kind != MATRIX) {
		fill_vector(o->conf->shape, t, &r, (float *)(void *)o->chunk);
		return put_bytes(o, t->cols * sizeof(float), e);
	}
	while (left && !rc) {
		const uint64_t fit = CHUNK_BYTES / block;
		const size_t n = (size_t)(left < fit ? left : fit);

		synth_fill(&r, t->type, t->gain / sqrtf((float)t->cols), o->chunk, n);
		rc = put_bytes(o, n * block, e);
		left -= n;
	}
	return rc;
}

static int put_all(struct output *o, const struct list *l, struct err *e)
{
	int rc;

	put_keys(o->w, o->conf);
	if (synth_vocab(o->conf->shape, o->w))
		return err_set(e, ERR_NOMEM, "vocabulary: out of memory");
	for (unsigned i = 0; i < l->n; i++) {
		const struct tensor *t = &l->tensors[i];
		const uint64_t dims[] = { t->cols, t->rows };

		gguf_write_tensor(o->w, t->name, t->type, t->rows == 1 ? 1 : 2, dims);
		o->progress->total += quant_row_bytes(t->type, t->cols) * t->rows >> 10;
	}
	for (unsigned i = 0; i < l->n; i++) {
		const struct synth_random r = { o->conf->seed, (uint64_t)i << 40 };

		rc = put_tensor(o, &l->tensors[i], r, e);
		if (rc)
			return rc;
	}
	return gguf_write_commit(o->w, e);
}

int synth_write(const struct synth_conf *conf, const char *path, struct progress *p,
		bool (*stop)(void), struct err *e)
{
	struct output o = { .conf = conf, .progress = p, .stop = stop };
	struct list l = { .conf = conf };
	int rc;

	o.chunk = malloc(CHUNK_BYTES);
	l.tensors = calloc(conf->shape->layers * PER_LAYER + OUTSIDE, sizeof(*l.tensors));
	rc = o.chunk && l.tensors ? gguf_write_open(&o.w, path, e)
				  : err_set(e, ERR_NOMEM, "out of memory");
	if (!rc) {
		add_all(&l);
		rc = put_all(&o, &l, e);
	}
	progress_clear(p);
	gguf_write_close(o.w);
	free(o.chunk);
	free(l.tensors);
	return rc;
}
