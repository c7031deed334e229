/* The engine against a second, plain and slow implementation in double: every feature of the three
 * architectures, the ones that the conformance pack has no file of included. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model.h"
#include "tests/tiny_model.h"

#define TOKENS 9
#define LONG   70 /* tokens: attention takes blocks of 64 */
#define MOST   64 /* elements of any row below */

static const uint32_t ids[TOKENS] = { 1, 5, 10, 3, 3, 0, 7, 2, 9 };

/* What the double implementation keeps: keys and values of all tokens, by layer. */
struct plain {
	const struct tiny_model *m;
	const struct gguf *g;
	double keys[4][TOKENS][MOST], values[4][TOKENS][MOST];
};

static const float *tensor(const struct plain *p, int layer, const char *name)
{
	const struct gguf_tensor *t;
	char full[64];

	if (layer < 0)
		snprintf(full, sizeof(full), "%s", name);
	else
		snprintf(full, sizeof(full), "blk.%d.%s", layer, name);
	t = gguf_find_tensor(p->g, full);
	return t ? (const float *)(const void *)t->data : NULL;
}

static void multiply(const struct plain *p, int layer, const char *name, const double *x,
		     unsigned cols, double *y, unsigned rows)
{
	char weight[40], bias[40];
	const float *w, *b;

	snprintf(weight, sizeof(weight), "%s.weight", name);
	snprintf(bias, sizeof(bias), "%s.bias", name);
	w = tensor(p, layer, weight);
	b = layer < 0 ? NULL : tensor(p, layer, bias);
	for (unsigned i = 0; i < rows; i++) {
		y[i] = b ? (double)b[i] : 0;
		for (unsigned k = 0; k < cols; k++)
			y[i] += (double)w[i * cols + k] * x[k];
	}
}

static void normalize(const double *x, const float *w, unsigned n, double *y)
{
	double sum = 0;

	for (unsigned i = 0; i < n; i++)
		sum += x[i] * x[i];
	for (unsigned i = 0; i < n; i++)
		y[i] = x[i] / sqrt(sum / n + 1e-5) * (double)w[i];
}

/* Heads of a query or key: norm where the model has one, then rotation. */
static void place(const struct plain *p, int layer, const char *norm, double *x, unsigned heads,
		  unsigned pos)
{
	const struct tiny_model *m = p->m;
	const float *w = tensor(p, layer, norm), *factors = tensor(p, -1, "rope_freqs.weight");
	const bool neox = strcmp(m->arch, "llama") != 0;
	const unsigned half = m->rope_dim / 2;

	for (unsigned h = 0; h < heads; h++, x += m->head_dim) {
		if (w)
			normalize(x, w, m->head_dim, x);
		for (unsigned i = 0; i < half; i++) {
			unsigned a = neox ? i : 2 * i, b = neox ? i + half : 2 * i + 1;
			double angle = pos * pow(1000, -2.0 * i / m->rope_dim), u = x[a], v = x[b];

			angle /= m->rope_scale > 0 ? (double)m->rope_scale : 1;
			angle /= factors ? (double)factors[i] : 1;
			x[a] = u * cos(angle) - v * sin(angle);
			x[b] = u * sin(angle) + v * cos(angle);
		}
	}
}

static void attend_head(const struct plain *p, int layer, unsigned head, const double *q,
			unsigned pos, double *out)
{
	const struct tiny_model *m = p->m;
	const unsigned kv = head / (m->heads / m->kv_heads);
	double weights[TOKENS], sum = 0;

	for (unsigned t = 0; t <= pos; t++) {
		double score = 0;

		for (unsigned i = 0; i < m->head_dim; i++)
			score += q[i] * p->keys[layer][t][kv * m->head_dim + i];
		weights[t] = exp(score / sqrt(m->head_dim));
		sum += weights[t];
	}
	for (unsigned i = 0; i < m->head_dim_v; i++) {
		out[i] = 0;
		for (unsigned t = 0; t <= pos; t++)
			out[i] += weights[t] / sum * p->values[layer][t][kv * m->head_dim_v + i];
	}
}

static void run_layer(struct plain *p, int l, double *x, unsigned pos)
{
	const struct tiny_model *m = p->m;
	double n[MOST], q[MOST], mixed[MOST], gate[MOST], up[MOST], y[MOST];

	normalize(x, tensor(p, l, "attn_norm.weight"), m->dim, n);
	multiply(p, l, "attn_q", n, m->dim, q, m->heads * m->head_dim);
	multiply(p, l, "attn_k", n, m->dim, p->keys[l][pos], m->kv_heads * m->head_dim);
	multiply(p, l, "attn_v", n, m->dim, p->values[l][pos], m->kv_heads * m->head_dim_v);
	place(p, l, "attn_q_norm.weight", q, m->heads, pos);
	place(p, l, "attn_k_norm.weight", p->keys[l][pos], m->kv_heads, pos);
	for (unsigned h = 0; h < m->heads; h++)
		attend_head(p, l, h, q + h * m->head_dim, pos, mixed + h * m->head_dim_v);
	multiply(p, l, "attn_output", mixed, m->heads * m->head_dim_v, y, m->dim);
	for (unsigned i = 0; i < m->dim; i++)
		x[i] += y[i];
	normalize(x, tensor(p, l, "ffn_norm.weight"), m->dim, n);
	multiply(p, l, "ffn_gate", n, m->dim, gate, m->ff);
	multiply(p, l, "ffn_up", n, m->dim, up, m->ff);
	for (unsigned i = 0; i < m->ff; i++)
		gate[i] *= up[i] / (1 + exp(-gate[i]));
	multiply(p, l, "ffn_down", gate, m->ff, y, m->dim);
	for (unsigned i = 0; i < m->dim; i++)
		x[i] += y[i];
}

/* Logits of all tokens [TOKENS][vocab]. */
static void plain_logits(const struct tiny_model *m, const struct gguf *g, double *logits)
{
	struct plain *p = calloc(1, sizeof(*p));

	assert_non_null(p);
	p->m = m;
	p->g = g;
	for (unsigned t = 0; t < TOKENS; t++) {
		double x[MOST];

		for (unsigned i = 0; i < m->dim; i++)
			x[i] = (double)tensor(p, -1, "token_embd.weight")[ids[t] * m->dim + i];
		for (unsigned l = 0; l < m->layers; l++)
			run_layer(p, (int)l, x, t);
		normalize(x, tensor(p, -1, "output_norm.weight"), m->dim, x);
		multiply(p, -1, m->tied ? "token_embd" : "output", x, m->dim, logits + t * m->vocab,
			 m->vocab);
	}
	free(p);
}

/* With a cache of that type: ids again and again, n (<= LONG) of them, `chunk` rows at a time. */
static void engine_logits(const struct gguf *g, const struct tiny_model *tiny, enum kv_type type,
			  uint32_t n, uint32_t chunk, float *logits)
{
	struct model_conf conf = {
		.last = tiny->layers, .embed = true, .head = true, .threads = 2
	};
	static float x[LONG * MOST];
	struct model *m = NULL;
	struct kv *kv = NULL;
	struct err e;

	if (model_open(&m, g, &conf, &e))
		fail_msg("%s", e.text);
	assert_int_equal(kv_create(&kv, NULL, model_hparams(m), 0, conf.last, n, type), 0);
	for (uint32_t i = 0; i < n; i++)
		assert_int_equal(model_embed(m, &ids[i % TOKENS], 1, x + (size_t)i * tiny->dim), 0);
	for (uint32_t at = 0; at < n; at += chunk)
		assert_int_equal(model_forward(m, kv, x + (size_t)at * tiny->dim,
					       n - at < chunk ? n - at : chunk),
				 0);
	model_logits(m, x, n, logits);
	kv_destroy(kv);
	model_close(m);
}

static void compare(const struct tiny_model *m)
{
	struct build b = tiny_build(m);
	double want[TOKENS * MOST];
	float got[TOKENS * MOST];
	struct gguf *g = NULL;
	struct err e;

	if (gguf_open_memory(&g, b.data, b.len, &e))
		fail_msg("%s", e.text);
	plain_logits(m, g, want);
	engine_logits(g, m, KV_F32, TOKENS, TOKENS, got);
	for (unsigned i = 0; i < TOKENS * m->vocab; i++) {
		if (!(fabs((double)got[i] - want[i]) <= 1e-4))
			fail_msg("logit %u is %g, not %g", i, (double)got[i], want[i]);
	}
	gguf_close(g);
	free(b.data);
}

static void llama_with_nothing_special(void **state)
{
	struct tiny_model m = TINY_MODEL;

	(void)state;
	compare(&m);
	m.tied = true;
	m.kv_heads = 4;
	compare(&m);
	m.kv_heads = 1;
	compare(&m);
}

static void llama_with_biases_everywhere(void **state)
{
	struct tiny_model m = TINY_MODEL;

	(void)state;
	m.qkv_bias = m.other_bias = true;
	compare(&m);
}

static void keys_and_values_of_different_sizes(void **state)
{
	struct tiny_model m = TINY_MODEL;

	(void)state;
	m.head_dim = m.rope_dim = 10;
	m.head_dim_v = 6;
	compare(&m);
}

/* How far the logits of a cache of that type are from those of f32, however the rows come. */
static double off_by(const struct tiny_model *m, enum kv_type type)
{
	static float want[LONG * MOST], got[LONG * MOST], again[LONG * MOST];
	struct build b = tiny_build(m);
	struct gguf *g = NULL;
	double worst = 0;
	struct err e;

	if (gguf_open_memory(&g, b.data, b.len, &e))
		fail_msg("%s", e.text);
	engine_logits(g, m, KV_F32, LONG, LONG, want);
	engine_logits(g, m, type, LONG, LONG, got);
	engine_logits(g, m, type, LONG, 1, again);
	assert_memory_equal(got, again, LONG * m->vocab * sizeof(*got));
	for (unsigned i = 0; i < LONG * m->vocab; i++) {
		double off = fabs((double)got[i] - want[i]);

		worst = off > worst ? off : worst;
	}
	gguf_close(g);
	free(b.data);
	return worst;
}

static void coarse_caches_of_heads_of_any_size(void **state)
{
	static const uint32_t sizes[][2] = {
		{ 8, 8 }, { 32, 32 }, { 34, 65 }, { 64, 40 }, { 96, 8 }, { 130, 128 },
	};
	struct tiny_model m = TINY_MODEL;

	(void)state;
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		double q8_0, q4_0;

		m.head_dim = m.rope_dim = sizes[i][0];
		m.head_dim_v = sizes[i][1];
		q8_0 = off_by(&m, KV_Q8_0);
		q4_0 = off_by(&m, KV_Q4_0);
		print_message("  %3u, %3u: q8_0 %.2g, q4_0 %.2g\n", sizes[i][0], sizes[i][1], q8_0,
			      q4_0);
		assert_true(q8_0 > 0 && q8_0 <= 0.1);
		assert_true(q4_0 > q8_0 && q4_0 <= 1.5);
	}
}

static void rotation_of_a_part_scaled_and_with_factors(void **state)
{
	struct tiny_model m = TINY_MODEL;

	(void)state;
	m.rope_dim = 6;
	compare(&m);
	m.rope_scale = 4;
	compare(&m);
	m.rope_freqs = true;
	compare(&m);
	m.arch = "qwen2"; /* halves */
	m.qkv_bias = true;
	compare(&m);
}

static void qwen2_with_its_biases(void **state)
{
	struct tiny_model m = TINY_MODEL;

	(void)state;
	m.arch = "qwen2";
	m.qkv_bias = true;
	compare(&m);
	m.tied = true;
	compare(&m);
}

static void qwen3_with_norms_of_queries_and_keys(void **state)
{
	struct tiny_model m = TINY_MODEL;

	(void)state;
	m.arch = "qwen3";
	m.qk_norm = true;
	compare(&m);
	m.head_dim = m.head_dim_v = m.rope_dim = 12; /* not dim / heads, as in the real ones */
	m.tied = true;
	compare(&m);
}

/* Open what differs from a good model in one way; the code, the reason in e. */
static int open_broken(const struct tiny_model *m, struct err *e)
{
	struct model_conf conf = { .last = m->layers, .embed = true, .head = true, .threads = 1 };
	struct build b = tiny_build(m);
	struct model *model = NULL;
	struct gguf *g = NULL;
	int rc = gguf_open_memory(&g, b.data, b.len, e);

	if (!rc)
		rc = model_open(&model, g, &conf, e);
	model_close(model);
	gguf_close(g);
	free(b.data);
	return rc;
}

static void tensors_of_another_architecture_are_refused(void **state)
{
	struct tiny_model m = TINY_MODEL;
	struct err e;

	(void)state;
	m.qk_norm = true;
	assert_int_equal(open_broken(&m, &e), ERR_UNSUPPORTED);
	assert_non_null(strstr(e.text, "blk.0.attn_q_norm.weight"));
	m = TINY_MODEL;
	m.arch = "qwen2";
	assert_int_equal(open_broken(&m, &e), ERR_NOT_FOUND);
	assert_non_null(strstr(e.text, "blk.0.attn_q.bias"));
	m.arch = "qwen3";
	assert_int_equal(open_broken(&m, &e), ERR_NOT_FOUND);
	assert_non_null(strstr(e.text, "blk.0.attn_q_norm.weight"));
	m.arch = "gemma";
	assert_int_equal(open_broken(&m, &e), ERR_UNSUPPORTED);
	assert_non_null(strstr(e.text, "gemma"));
}

static void impossible_sizes_are_refused(void **state)
{
	struct tiny_model m = TINY_MODEL;
	struct err e;

	(void)state;
	m.kv_heads = 3;
	assert_int_equal(open_broken(&m, &e), ERR_FORMAT);
	m = TINY_MODEL;
	m.rope_dim = 7;
	assert_int_equal(open_broken(&m, &e), ERR_FORMAT);
	m.rope_dim = 16; /* more than a head has */
	assert_int_equal(open_broken(&m, &e), ERR_FORMAT);
	assert_non_null(strstr(e.text, "rope.dimension_count"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(llama_with_nothing_special),
		cmocka_unit_test(llama_with_biases_everywhere),
		cmocka_unit_test(keys_and_values_of_different_sizes),
		cmocka_unit_test(coarse_caches_of_heads_of_any_size),
		cmocka_unit_test(rotation_of_a_part_scaled_and_with_factors),
		cmocka_unit_test(qwen2_with_its_biases),
		cmocka_unit_test(qwen3_with_norms_of_queries_and_keys),
		cmocka_unit_test(tensors_of_another_architecture_are_refused),
		cmocka_unit_test(impossible_sizes_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
