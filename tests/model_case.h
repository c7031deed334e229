/* tests/model_case.h - cases of the conformance pack, and a model that runs them: whole, or as two
 * segments with rows crossing as f32 in between. */
#ifndef TESTS_MODEL_CASE_H
#define TESTS_MODEL_CASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/plain.h"
#include "engine/model.h"
#include "schema/json.h"
#include "tests/conformance.h"

/* One case of the conformance pack. */
struct given {
	char name[64];
	char gguf[512];
	struct json *json;
	uint32_t tokens[64], n_tokens;
	uint32_t greedy[64], n_greedy;
	bool rounds;  /* some weights are of a quantized type: activations are rounded to 8 bits */
	float *exact; /* logits [n_tokens][V] */
};

/* A model as one or two segments with rows crossing as f32 in between. */
struct line {
	struct gguf *g;
	const struct model_hparams *hp;
	struct model *front, *back; /* back: NULL without a split */
	struct kv *kv_front, *kv_back;
};

struct how {
	int split; /* -1: one segment */
	unsigned threads;
	enum kv_type kv;
	uint32_t max_rows;
};

#define PLAIN ((struct how){ .split = -1, .threads = 1, .kv = KV_F32 })

static inline void check(int rc, const struct err *e)
{
	if (rc)
		fail_msg("%s", e->text);
}

static inline void given_close(struct given *c)
{
	json_free(c->json);
	free(c->exact);
	memset(c, 0, sizeof(*c));
}

static inline uint32_t read_ids(const struct json *json, const char *key, uint32_t *ids,
				uint32_t cap)
{
	const struct json *arr = json_get(json, key);
	uint32_t n = (uint32_t)json_array_len(arr);

	assert_in_range(n, 1, cap);
	for (uint32_t i = 0; i < n; i++) {
		uint64_t v;

		assert_int_equal(json_u64(json_array_at(arr, i), UINT32_MAX, &v), 0);
		ids[i] = (uint32_t)v;
	}
	return n;
}

static inline bool has_integers(const char *path)
{
	struct gguf *g = NULL;
	bool found = false;
	struct err e;

	check(gguf_open(&g, path, &e), &e);
	for (size_t i = 0; i < gguf_n_tensors(g); i++)
		found = found || quant_block_elements(gguf_tensor_at(g, i)->type) > 1;
	gguf_close(g);
	return found;
}

/* folder/name.json and what it names. */
static inline void given_open(struct given *c, const char *folder, const char *name,
			      const char *logits)
{
	const char *file;
	char rel[256];
	size_t bytes;
	struct err e;

	memset(c, 0, sizeof(*c));
	snprintf(c->name, sizeof(c->name), "%s", name);
	snprintf(rel, sizeof(rel), "%s/%s.json", folder, name);
	c->json = conformance_json(rel);
	c->n_tokens = read_ids(c->json, "tokens", c->tokens, 64);
	c->n_greedy = read_ids(c->json, "greedy", c->greedy, 64);
	check(json_get_str(c->json, "model", true, 200, &file, &e), &e);
	snprintf(rel, sizeof(rel), "%s/%s", folder, file);
	conformance_path(c->gguf, sizeof(c->gguf), rel);
	check(json_get_str(c->json, logits, true, 200, &file, &e), &e);
	snprintf(rel, sizeof(rel), "%s/%s", folder, file);
	c->exact = conformance_floats(rel, &bytes);
	c->rounds = has_integers(c->gguf);
}

static inline void open_segment(struct line *l, struct model **m, struct kv **kv,
				struct model_conf conf, enum kv_type type)
{
	struct err e;

	check(model_open(m, l->g, &conf, &e), &e);
	l->hp = model_hparams(*m);
	assert_int_equal(kv_create(kv, NULL, l->hp, conf.first, conf.last, 256, type), 0);
}

static inline void line_open(struct line *l, const char *path, struct how how)
{
	struct model_hparams hp;
	struct model_conf conf = { .embed = true,
				   .threads = how.threads,
				   .max_rows = how.max_rows };
	struct err e;

	memset(l, 0, sizeof(*l));
	check(gguf_open(&l->g, path, &e), &e);
	check(model_read_hparams(&hp, l->g, &e), &e);
	conf.head = how.split < 0;
	conf.last = how.split < 0 ? hp.n_layers : (uint32_t)how.split;
	open_segment(l, &l->front, &l->kv_front, conf, how.kv);
	if (how.split >= 0) {
		conf.first = conf.last;
		conf.last = hp.n_layers;
		conf.embed = false;
		conf.head = true;
		open_segment(l, &l->back, &l->kv_back, conf, how.kv);
	}
}

static inline void line_close(struct line *l)
{
	kv_destroy(l->kv_front);
	kv_destroy(l->kv_back);
	model_close(l->front);
	model_close(l->back);
	gguf_close(l->g);
}

/* Through the codec f32 and back, as on the wire. */
static inline void cross(float *x, size_t dim, uint32_t rows)
{
	size_t cap, len;
	uint8_t *wire;
	struct err e;

	cap = plain_bound(PLAIN_F32, dim, rows);
	wire = malloc(cap);
	assert_non_null(wire);
	check(plain_encode(PLAIN_F32, x, dim, rows, wire, cap, &len, &e), &e);
	memset(x, 0, dim * rows * sizeof(*x));
	check(plain_decode(PLAIN_F32, wire, len, dim, rows, x, &e), &e);
	free(wire);
}

static inline void line_run(struct line *l, const uint32_t *ids, uint32_t n, float *logits)
{
	float *x = malloc((size_t)n * l->hp->dim * sizeof(*x));

	assert_non_null(x);
	assert_int_equal(model_embed(l->front, ids, n, x), 0);
	assert_int_equal(model_forward(l->front, l->kv_front, x, n), 0);
	if (l->back) {
		cross(x, l->hp->dim, n);
		assert_int_equal(model_forward(l->back, l->kv_back, x, n), 0);
	}
	model_logits(l->back ? l->back : l->front, x, n, logits);
	free(x);
}

/* All logits of a case, its tokens cut into calls of `chunk`. The caller frees. */
static inline float *logits_of(const struct given *c, struct how how, uint32_t chunk)
{
	struct line l;
	float *logits;

	line_open(&l, c->gguf, how);
	logits = malloc((size_t)c->n_tokens * l.hp->n_vocab * sizeof(*logits));
	assert_non_null(logits);
	for (uint32_t at = 0; at < c->n_tokens; at += chunk) {
		uint32_t n = c->n_tokens - at < chunk ? c->n_tokens - at : chunk;

		line_run(&l, c->tokens + at, n, logits + (size_t)at * l.hp->n_vocab);
	}
	line_close(&l);
	return logits;
}

static inline void assert_same_bits(const struct given *c, const float *a, float *b,
				    const char *what)
{
	if (memcmp(a, b, (size_t)c->n_tokens * 512 * sizeof(*a)))
		fail_msg("%s: %s changes the logits", c->name, what);
	free(b);
}

#endif
