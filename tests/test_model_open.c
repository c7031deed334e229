/* What a model is opened from, which memory that takes, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model.h"
#include "tests/conformance.h"
#include "tests/model_case.h"

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
		cmocka_unit_test(what_does_not_fit_is_refused_untouched),
		cmocka_unit_test(a_segment_maps_in_only_its_share),
		cmocka_unit_test(weights_that_run_in_another_form_are_not_in_memory_twice),
		cmocka_unit_test(when_weights_are_prepared_changes_nothing),
		cmocka_unit_test(models_of_other_kinds_are_refused_by_name),
		cmocka_unit_test(a_wrong_request_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
