/* What a model computes: logits, rows, texts; and that nothing changes their bits. */
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

#include "engine/kern.h"
#include "engine/model.h"
#include "tests/conformance.h"
#include "tests/model_case.h"

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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
