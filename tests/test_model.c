#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/plain.h"
#include "engine/kern.h"
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

static void check(int rc, const struct err *e)
{
	if (rc)
		fail_msg("%s", e->text);
}

static void given_close(struct given *c)
{
	json_free(c->json);
	free(c->exact);
	memset(c, 0, sizeof(*c));
}

static uint32_t read_ids(const struct json *json, const char *key, uint32_t *ids, uint32_t cap)
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

static bool has_integers(const char *path)
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
static void given_open(struct given *c, const char *folder, const char *name, const char *logits)
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

static void open_segment(struct line *l, struct model **m, struct kv **kv, struct model_conf conf,
			 enum kv_type type)
{
	struct err e;

	check(model_open(m, l->g, &conf, &e), &e);
	l->hp = model_hparams(*m);
	assert_int_equal(kv_create(kv, NULL, l->hp, conf.first, conf.last, 256, type), 0);
}

static void line_open(struct line *l, const char *path, struct how how)
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

static void line_close(struct line *l)
{
	kv_destroy(l->kv_front);
	kv_destroy(l->kv_back);
	model_close(l->front);
	model_close(l->back);
	gguf_close(l->g);
}

/* Through the codec f32 and back, as on the wire. */
static void cross(float *x, size_t dim, uint32_t rows)
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

static void line_run(struct line *l, const uint32_t *ids, uint32_t n, float *logits)
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
static float *logits_of(const struct given *c, struct how how, uint32_t chunk)
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

static uint32_t best(const float *logits, uint32_t n)
{
	uint32_t top = 0;

	for (uint32_t i = 1; i < n; i++)
		top = logits[i] > logits[top] ? i : top;
	return top;
}

/* Every case of models/ in turn. */
static void for_each_case(void (*test)(const struct given *c))
{
	char path[512];
	struct dirent *entry;
	unsigned n = 0;
	DIR *dir;

	conformance_or_skip();
	conformance_path(path, sizeof(path), "models");
	dir = opendir(path);
	assert_non_null(dir);
	while ((entry = readdir(dir)) != NULL) {
		char *dot = strstr(entry->d_name, ".json");
		struct given c;

		if (!dot)
			continue;
		*dot = '\0';
		given_open(&c, "models", entry->d_name, "exact_logits");
		test(&c);
		given_close(&c);
		n++;
	}
	closedir(dir);
	assert_true(n >= 15);
}

/* Nats from the distribution that b's logits mean to that of a. */
static double divergence(const float *a, const float *b, uint32_t n)
{
	double top_a = a[best(a, n)], top_b = b[best(b, n)], sum_a = 0, sum_b = 0, kl = 0;

	for (uint32_t i = 0; i < n; i++) {
		sum_a += exp(a[i] - top_a);
		sum_b += exp(b[i] - top_b);
	}
	for (uint32_t i = 0; i < n; i++) {
		double log_a = a[i] - top_a - log(sum_a), log_b = b[i] - top_b - log(sum_b);

		kl += exp(log_b) * (log_b - log_a);
	}
	return kl;
}

/* Squared error of a row over its variance, as two sums. */
static void add_errors(const float *a, const float *b, uint32_t n, double *error, double *spread)
{
	double mean = 0;

	for (uint32_t i = 0; i < n; i++)
		mean += b[i] / (double)n;
	for (uint32_t i = 0; i < n; i++) {
		*error += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
		*spread += (b[i] - mean) * (b[i] - mean);
	}
}

/* Best minus second best. */
static float margin_of(const float *logits, uint32_t n)
{
	uint32_t top = best(logits, n);
	float second = -INFINITY;

	for (uint32_t i = 0; i < n; i++)
		second = i != top && logits[i] > second ? logits[i] : second;
	return logits[top] - second;
}

static double oracle(const struct given *c, const char *key)
{
	struct err e;
	double v;

	check(json_get_f64(json_get(c->json, "oracle_vs_exact"), key, true, 0, 100, &v, &e), &e);
	return v;
}

/* What the pack accepts of 8-bit activations: twice what another implementation loses by them. */
static void near_enough(const struct given *c)
{
	float *logits = logits_of(c, PLAIN, 48);
	double error = 0, spread = 0, kl = 0;

	for (uint32_t r = 0; r < c->n_tokens; r++) {
		const float *a = logits + (size_t)r * 512, *b = c->exact + (size_t)r * 512;

		add_errors(a, b, 512, &error, &spread);
		kl += divergence(a, b, 512) / c->n_tokens;
		if (best(a, 512) != best(b, 512))
			assert_true(margin_of(b, 512) <= 0.5f);
	}
	print_message("  %-24s nmse %.2g (%.2f of the oracle's), kl %.2g (%.2f)\n", c->name,
		      error / spread, error / spread / oracle(c, "nmse"), kl,
		      kl / oracle(c, "kl_mean"));
	assert_true(error / spread <= fmin(2 * oracle(c, "nmse"), 5e-3));
	assert_true(kl <= fmin(2 * oracle(c, "kl_mean"), 1.5e-2));
	free(logits);
}

/* The pack accepts 1e-3 with float activations; sums of f32 rounded once per product stay far
 * below, so a mistake in one block of one layer cannot hide. */
static void near_exact(const struct given *c)
{
	const double limit = 1e-4;
	float *logits;
	double worst = 0;

	if (c->rounds) {
		near_enough(c);
		return;
	}
	logits = logits_of(c, PLAIN, 48);

	for (size_t i = 0; i < (size_t)c->n_tokens * 512; i++) {
		double off = fabs((double)logits[i] - c->exact[i]);

		worst = off <= worst ? worst : off; /* NaN becomes the worst */
	}
	print_message("  %-24s max abs %.2g\n", c->name, worst);
	assert_true(worst <= limit);
	free(logits);
}

static void logits_are_near_the_exact_ones(void **state)
{
	(void)state;
	for_each_case(near_exact);
}

static double greedy_margin(const struct given *c, uint32_t i)
{
	double v;

	assert_int_equal(json_f64(json_array_at(json_get(c->json, "greedy_margin"), i), &v), 0);
	return v;
}

static void follow(const struct given *c, const char *path, enum kv_type kv)
{
	struct how how = { .split = 1, .threads = 2, .kv = kv };
	struct line l;
	float *logits;
	uint32_t id;

	line_open(&l, path, how);
	logits = malloc((size_t)c->n_tokens * l.hp->n_vocab * sizeof(*logits));
	assert_non_null(logits);
	line_run(&l, c->tokens, c->n_tokens, logits);
	id = best(logits + (size_t)(c->n_tokens - 1) * l.hp->n_vocab, l.hp->n_vocab);
	for (uint32_t i = 0; i < c->n_greedy; i++) {
		if (id != c->greedy[i] && c->rounds && greedy_margin(c, i) < 0.3)
			break; /* a near tie, and from there on another text */
		if (id != c->greedy[i])
			fail_msg("%s, kv %s: token %u is %u, not %u", c->name, kv_type_name(kv), i,
				 id, c->greedy[i]);
		line_run(&l, &id, 1, logits);
		id = best(logits, l.hp->n_vocab);
	}
	free(logits);
	line_close(&l);
}

static void follow_both(const struct given *c)
{
	follow(c, c->gguf, KV_F32);
	follow(c, c->gguf, KV_F16);
}

static void greedy_continuations_are_those_given(void **state)
{
	(void)state;
	for_each_case(follow_both);
}

static void assert_same_bits(const struct given *c, const float *a, float *b, const char *what)
{
	if (memcmp(a, b, (size_t)c->n_tokens * 512 * sizeof(*a)))
		fail_msg("%s: %s changes the logits", c->name, what);
	free(b);
}

static void same_anyhow(const struct given *c)
{
	float *whole = logits_of(c, PLAIN, 48);
	struct how how = PLAIN;

	assert_same_bits(c, whole, logits_of(c, how, 1), "one row at a time");
	assert_same_bits(c, whole, logits_of(c, how, 2), "two rows at a time");
	assert_same_bits(c, whole, logits_of(c, how, 7), "seven rows at a time");
	how.max_rows = 5;
	assert_same_bits(c, whole, logits_of(c, how, 48), "a pass of five rows");
	how.threads = 2;
	assert_same_bits(c, whole, logits_of(c, how, 48), "a second thread");
	how.threads = 5;
	how.max_rows = 0;
	assert_same_bits(c, whole, logits_of(c, how, 3), "more threads");
	for (how.split = 0; how.split <= 2; how.split++)
		assert_same_bits(c, whole, logits_of(c, how, 13), "a split");
	free(whole);
}

static void rows_do_not_depend_on_chunks_threads_or_splits(void **state)
{
	(void)state;
	for_each_case(same_anyhow);
}

static void same_with_any_cache(const struct given *c)
{
	for (unsigned type = 0; type < KV_TYPE_COUNT; type++) {
		struct how how = { .split = -1, .threads = 1, .kv = (enum kv_type)type };
		float *whole = logits_of(c, how, 48);

		assert_same_bits(c, whole, logits_of(c, how, 1), "one row at a time");
		how.split = 1;
		how.threads = 2;
		assert_same_bits(c, whole, logits_of(c, how, 11), "a split");
		free(whole);
	}
}

static void nor_with_any_type_of_cache(void **state)
{
	(void)state;
	for_each_case(same_with_any_cache);
}

static void same_everywhere(const struct given *c)
{
	const struct kern *k;
	float *whole;

	for (unsigned type = 0; type < KV_TYPE_COUNT; type++) {
		struct how how = { .split = -1, .threads = 1, .kv = (enum kv_type)type };

		assert_int_equal(setenv("SPLITMQ_ISA", "ref", 1), 0);
		whole = logits_of(c, how, 48);
		for (unsigned i = 1; (k = kern_at(i)) != NULL; i++) {
			assert_int_equal(setenv("SPLITMQ_ISA", k->name, 1), 0);
			assert_same_bits(c, whole, logits_of(c, how, 48), k->name);
		}
		assert_int_equal(unsetenv("SPLITMQ_ISA"), 0);
		free(whole);
	}
}

static void every_instruction_set_gives_the_same_bits(void **state)
{
	(void)state;
	for_each_case(same_everywhere);
}

static void hidden_rows_after_each_layer_are_those_given(void **state)
{
	struct given c;
	float *want, *x;
	size_t bytes, n;

	(void)state;
	conformance_or_skip();
	given_open(&c, "models", "llama-f32", "exact_logits");
	want = conformance_floats("models/llama-f32.hidden.f32", &bytes);
	n = (size_t)c.n_tokens * 128;
	assert_int_equal(bytes, 5 * n * sizeof(float));
	x = malloc(n * sizeof(*x));
	assert_non_null(x);
	for (int split = 0; split <= 4; split++) {
		struct line l;

		line_open(&l, c.gguf, (struct how){ .split = split, .threads = 1, .kv = KV_F32 });
		assert_int_equal(model_embed(l.front, c.tokens, c.n_tokens, x), 0);
		assert_int_equal(model_forward(l.front, l.kv_front, x, c.n_tokens), 0);
		for (size_t i = 0; i < n; i++) {
			float w = want[(size_t)split * n + i];

			assert_true(fabsf(x[i] - w) <= 1e-4f + 1e-4f * fabsf(w));
		}
		line_close(&l);
	}
	free(x);
	free(want);
	given_close(&c);
}

static void a_trained_model_continues_its_story(void **state)
{
	struct given c;
	float *logits;

	(void)state;
	conformance_or_skip();
	given_open(&c, "stories260K", "once", "logits");
	logits = logits_of(&c, PLAIN, 48);
	for (size_t i = 0; i < (size_t)c.n_tokens * 512; i++)
		assert_true(fabsf(logits[i] - c.exact[i]) <= 1e-3f);
	free(logits);
	follow_both(&c);
	given_close(&c);
}

static double nll(const float *logits, uint32_t n, uint32_t id)
{
	double sum = 0, top = logits[best(logits, n)];

	for (uint32_t i = 0; i < n; i++)
		sum += exp(logits[i] - top);
	return top + log(sum) - logits[id];
}

static double mean_nll(const char *path, enum kv_type kv, const uint32_t *ids, uint32_t n)
{
	double sum = 0;
	float *logits;
	struct line l;

	line_open(&l, path, (struct how){ .split = 2, .threads = 2, .kv = kv });
	logits = malloc((size_t)n * l.hp->n_vocab * sizeof(*logits));
	assert_non_null(logits);
	line_run(&l, ids, n, logits);
	for (uint32_t i = 0; i + 1 < n; i++)
		sum += nll(logits + (size_t)i * l.hp->n_vocab, l.hp->n_vocab, ids[i + 1]);
	free(logits);
	line_close(&l);
	return sum / (n - 1);
}

/* Nats that a cache may cost. Heads of 8 elements are hard for few bits: what q4_0 loses here is
 * not what it loses elsewhere (docs/decisions.md). */
static const double nll_limits[KV_TYPE_COUNT] = {
	[KV_F16] = 2e-4,
	[KV_F32] = 1e-4,
	[KV_Q8_0] = 1e-2,
	[KV_Q4_0] = 0.25,
};

static void its_perplexity_is_the_one_given(void **state)
{
	struct json *json;
	uint32_t ids[256], n;
	double want;
	char path[512];
	struct err e;

	(void)state;
	conformance_or_skip();
	json = conformance_json("stories260K/ppl.json");
	n = read_ids(json, "tokens", ids, 256);
	check(json_get_f64(json, "mean_nll", true, 0, 100, &want, &e), &e);
	conformance_path(path, sizeof(path), "stories260K/stories260K-f32.gguf");
	for (unsigned i = 0; i < KV_TYPE_COUNT; i++) {
		double found = mean_nll(path, (enum kv_type)i, ids, n);

		print_message("  %-5s %+.5f nats\n", kv_type_name((enum kv_type)i), found - want);
		assert_true(fabs(found - want) <= nll_limits[i]);
	}
	json_free(json);
}

static void a_truncated_cache_can_be_filled_again(void **state)
{
	float first[512], again[512], other[512];
	struct given c;
	struct line l;

	(void)state;
	conformance_or_skip();
	given_open(&c, "models", "llama-q4_k_m", "exact_logits");
	line_open(&l, c.gguf, (struct how){ .split = 2, .threads = 1, .kv = KV_F16 });
	for (uint32_t i = 0; i < 20; i++)
		line_run(&l, c.tokens + i, 1, first);
	for (uint32_t i = 30; i < 40; i++) /* another continuation, to be forgotten */
		line_run(&l, c.tokens + i, 1, other);
	kv_truncate(l.kv_front, 15);
	kv_truncate(l.kv_back, 15);
	kv_truncate(l.kv_back, 200);
	assert_int_equal(kv_length(l.kv_back), 15);
	for (uint32_t i = 15; i < 20; i++)
		line_run(&l, c.tokens + i, 1, again);
	assert_memory_equal(first, again, sizeof(first));
	line_close(&l);
	given_close(&c);
}

static void what_does_not_fit_is_refused_untouched(void **state)
{
	uint32_t ids[2] = { 5, 512 };
	struct given c;
	struct line l;
	float *x, *y;

	(void)state;
	conformance_or_skip();
	given_open(&c, "models", "llama-f32", "exact_logits");
	line_open(&l, c.gguf, PLAIN);
	x = calloc(300 * 128, sizeof(*x));
	y = calloc(300 * 128, sizeof(*y));
	assert_true(x && y);
	assert_int_equal(model_forward(l.front, l.kv_front, x, 257), ERR_CONTEXT);
	assert_int_equal(kv_length(l.kv_front), 0);
	assert_memory_equal(x, y, 300 * 128 * sizeof(*x));
	assert_int_equal(model_forward(l.front, l.kv_front, x, 256), 0);
	assert_int_equal(kv_length(l.kv_front), 256);
	assert_int_equal(model_forward(l.front, l.kv_front, x, 1), ERR_CONTEXT);
	assert_int_equal(model_embed(l.front, ids, 2, x), ERR_LIMIT);
	free(x);
	free(y);
	line_close(&l);
	given_close(&c);
}

/* Resident bytes of the mappings of path, from /proc/self/smaps; 0 when there is no such file. */
static size_t resident(const char *path)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	const char *name = strrchr(path, '/');
	bool here = false;
	size_t sum = 0;
	char line[1024];

	while (f && fgets(line, sizeof(line), f)) {
		unsigned long from, to, kb;

		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			here = strstr(line, name) != NULL;
		else if (here && sscanf(line, "Rss: %lu", &kb) == 1)
			sum += kb * 1024;
	}
	if (f)
		fclose(f);
	return sum;
}

static void a_segment_maps_in_only_its_share(void **state)
{
	struct model_hparams hp;
	struct model_conf conf = { .embed = true, .last = 1, .threads = 1 };
	size_t share, used;
	struct given c;
	struct line l;
	float x[128];
	struct err e;

	(void)state;
	conformance_or_skip();
	given_open(&c, "models", "llama-f32", "exact_logits");
	memset(&l, 0, sizeof(l));
	check(gguf_open(&l.g, c.gguf, &e), &e);
	check(model_read_hparams(&hp, l.g, &e), &e);
	share = model_weight_bytes(l.g, &hp, &conf);
	open_segment(&l, &l.front, &l.kv_front, conf, KV_F32);
	assert_int_equal(model_embed(l.front, c.tokens, 1, x), 0);
	assert_int_equal(model_forward(l.front, l.kv_front, x, 1), 0);
	used = resident(c.gguf);
	print_message("  layer 0 of 4 and embedding: %zu KiB of weights, %zu KiB of %zu resident\n",
		      share / 1024, used / 1024, gguf_file_bytes(l.g) / 1024);
	/* the kernel maps neighbours of a touched page in units of 64 KiB, and there is the
	 * metadata */
	assert_true(used <= share + 256 * 1024);
	line_close(&l);
	given_close(&c);
}

/* Packed weights are in private memory, their pages of the file's map let go; the embedding is read
 * without being mapped. */
static void weights_that_run_in_another_form_are_not_in_memory_twice(void **state)
{
	struct given c;
	struct line l;
	float *logits;
	size_t used;

	(void)state;
	conformance_or_skip();
	given_open(&c, "models", "llama-q4_0", "exact_logits");
	line_open(&l, c.gguf, PLAIN);
	logits = malloc((size_t)c.n_tokens * 512 * sizeof(*logits));
	assert_non_null(logits);
	line_run(&l, c.tokens, c.n_tokens, logits);
	used = resident(c.gguf);
	print_message("  %zu KiB of %zu resident\n", used / 1024, gguf_file_bytes(l.g) / 1024);
	assert_true(used <= gguf_file_bytes(l.g) / 2);
	free(logits);
	line_close(&l);
	given_close(&c);
}

/* Weights by and by: the model is ready after more than one go, and not before. */
static void prepare_slowly(struct model *m, uint32_t last)
{
	unsigned n = 1;

	assert_false(model_prepare_some(m, 0, last, true, 0));
	while (!model_prepare_some(m, 0, last, true, 1))
		n++;
	assert_true(n > last && model_prepare_some(m, 0, last, true, 0));
}

static float *logits_when_lazy(const struct given *c, uint32_t first, uint32_t last, bool head)
{
	struct model_conf conf = { .embed = true, .head = true, .threads = 2, .lazy = true };
	struct model_hparams hp;
	float *logits = malloc((size_t)c->n_tokens * 512 * sizeof(*logits));
	struct line l = { 0 };
	struct err e;

	assert_non_null(logits);
	check(gguf_open(&l.g, c->gguf, &e), &e);
	check(model_read_hparams(&hp, l.g, &e), &e);
	conf.last = hp.n_layers;
	open_segment(&l, &l.front, &l.kv_front, conf, KV_F32);
	if (first == last && head)
		prepare_slowly(l.front, hp.n_layers);
	else
		model_prepare(l.front, first, last, head);
	line_run(&l, c->tokens, c->n_tokens, logits);
	line_close(&l);
	return logits;
}

static void when_weights_are_prepared_changes_nothing(void **state)
{
	struct given c;
	float *whole;

	(void)state;
	conformance_or_skip();
	given_open(&c, "models", "llama-q4_k_m", "exact_logits");
	whole = logits_of(&c, PLAIN, 48);
	assert_same_bits(&c, whole, logits_when_lazy(&c, 0, 0, false), "no preparation");
	assert_same_bits(&c, whole, logits_when_lazy(&c, 0, 0, true), "little by little");
	assert_same_bits(&c, whole, logits_when_lazy(&c, 1, 3, false), "some preparation");
	assert_same_bits(&c, whole, logits_when_lazy(&c, 0, 99, true), "preparation twice");
	free(whole);
	given_close(&c);
}

/* Replace `what` by `by` (of the same length) once, open from memory: the code, the reason in e. */
static int open_altered(const char *path, const char *what, const char *by, size_t len,
			struct err *e)
{
	struct model_conf conf = { .embed = true, .head = true, .threads = 1 };
	struct model_hparams hp;
	struct model *m = NULL;
	struct gguf *g = NULL;
	size_t bytes;
	char *data = conformance_file(path, &bytes), *at = NULL;
	int rc;

	for (size_t i = 0; !at && i + len <= bytes; i++) {
		if (!memcmp(data + i, what, len))
			at = data + i;
	}
	assert_non_null(at);
	memcpy(at, by, len);
	rc = gguf_open_memory(&g, data, bytes, e);
	if (!rc)
		rc = model_read_hparams(&hp, g, e);
	if (!rc) {
		conf.last = hp.n_layers;
		rc = model_open(&m, g, &conf, e);
	}
	model_close(m);
	gguf_close(g);
	free(data);
	return rc;
}

static void models_of_other_kinds_are_refused_by_name(void **state)
{
	static const struct {
		const char *file, *what, *by;
		size_t len; /* 0: strlen */
		int code;
		const char *says;
	} cases[] = {
		{ "llama-f32", "\5\0\0\0\0\0\0\0llama", "\5\0\0\0\0\0\0\0mamba", 13,
		  ERR_UNSUPPORTED, "mamba" },
		{ "llama-f32", "blk.1.attn_q.weight", "blk.1.attn_z.weight", 0, ERR_UNSUPPORTED,
		  "blk.1.attn_z.weight" },
		{ "llama-f32", "blk.3.ffn_up.weight", "blk.9.ffn_up.weight", 0, ERR_UNSUPPORTED,
		  "blk.9.ffn_up.weight" },
		{ "llama-f32", "llama.block_count", "llama.block_bount", 0, ERR_NOT_FOUND,
		  "llama.block_count" },
		{ "llama-f32", "llama.feed_forward_length\4\0\0\0\0\1",
		  "llama.feed_forward_length\4\0\0\0\0\2", 31, ERR_FORMAT, "ffn_" },
		{ "llama-f32", "llama.attention.head_count_kv\4\0\0\0\2",
		  "llama.attention.head_count_kv\4\0\0\0\3", 34, ERR_FORMAT, "heads" },
		{ "llama-f32-headdim24", "llama.attention.value_length",
		  "llama.attention.value_l_ngth", 0, ERR_FORMAT, "attn_v.weight" },
		{ "llama-f32", "output_norm.weight", "output_Norm.weight", 0, ERR_UNSUPPORTED,
		  "output_Norm.weight" },
		{ "qwen2-f32", "blk.0.attn_q.bias", "blk.0.attn_Q.bias", 0, ERR_UNSUPPORTED,
		  "blk.0.attn_Q.bias" },
	};

	(void)state;
	conformance_or_skip();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t len = cases[i].len ? cases[i].len : strlen(cases[i].what);
		struct err e = { 0 };
		char rel[128];
		int rc;

		snprintf(rel, sizeof(rel), "models/%s.gguf", cases[i].file);
		rc = open_altered(rel, cases[i].what, cases[i].by, len, &e);
		if (rc != cases[i].code || !strstr(e.text, cases[i].says))
			fail_msg("case %zu: %d \"%s\", not %d about %s", i, rc, e.text,
				 cases[i].code, cases[i].says);
	}
}

static void a_wrong_request_is_refused(void **state)
{
	static const struct model_conf wrong[] = {
		{ .first = 2, .last = 1, .threads = 1 },
		{ .last = 5, .threads = 1 },
		{ .last = 4, .threads = 0 },
		{ .last = 4, .threads = 100000 },
		{ .last = 4, .threads = 1, .max_rows = 1 << 30 },
	};
	struct gguf *g;
	struct model *m = NULL;
	char path[512];
	struct err e;

	(void)state;
	conformance_or_skip();
	conformance_path(path, sizeof(path), "models/llama-f32.gguf");
	check(gguf_open(&g, path, &e), &e);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(model_open(&m, g, &wrong[i], &e), ERR_LIMIT);
		assert_null(m);
	}
	gguf_close(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(logits_are_near_the_exact_ones),
		cmocka_unit_test(hidden_rows_after_each_layer_are_those_given),
		cmocka_unit_test(greedy_continuations_are_those_given),
		cmocka_unit_test(rows_do_not_depend_on_chunks_threads_or_splits),
		cmocka_unit_test(nor_with_any_type_of_cache),
		cmocka_unit_test(every_instruction_set_gives_the_same_bits),
		cmocka_unit_test(a_trained_model_continues_its_story),
		cmocka_unit_test(its_perplexity_is_the_one_given),
		cmocka_unit_test(a_truncated_cache_can_be_filled_again),
		cmocka_unit_test(what_does_not_fit_is_refused_untouched),
		cmocka_unit_test(a_segment_maps_in_only_its_share),
		cmocka_unit_test(weights_that_run_in_another_form_are_not_in_memory_twice),
		cmocka_unit_test(when_weights_are_prepared_changes_nothing),
		cmocka_unit_test(models_of_other_kinds_are_refused_by_name),
		cmocka_unit_test(a_wrong_request_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
