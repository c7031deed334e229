#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/tok.h"
#include "schema/json.h"
#include "tests/conformance.h"
#include "tests/tok_check.h"

static struct tokenizer *create_given(const char *name)
{
	struct tokenizer *t = NULL;
	struct gguf *g = NULL;
	struct err e = { 0 };
	char path[512], rel[128];

	snprintf(rel, sizeof(rel), "tokenizer/%s.gguf", name);
	conformance_path(path, sizeof(path), rel);
	if (gguf_open(&g, path, &e) || tokenizer_create(&t, g, &e))
		fail_msg("%s", e.text);
	gguf_close(g);
	return t;
}

/* The bytes of ids, a token at a time. */
static void check_stream(const struct tokenizer *t, const uint32_t *ids, size_t n, const char *text,
			 size_t len)
{
	size_t cap = detok_bound(t) + len, used = 0;
	char *out = malloc(cap);
	struct detok d;

	assert_non_null(out);
	detok_init(&d, t, true, true);
	for (size_t i = 0; i < n; i++)
		used += detok_push(&d, ids[i], out + used, cap - used);
	used += detok_flush(&d, out + used, cap - used);
	assert_int_equal(used, len);
	assert_memory_equal(out, text, len);
	free(out);
}

static void check_given(const struct tokenizer *t, const char *name, const char *text, size_t len,
			const uint32_t *expected, size_t n_expected)
{
	uint32_t *ids;
	size_t n;

	encode(t, text, len, 0, &ids, &n);
	if (n != n_expected || (n && memcmp(ids, expected, n * sizeof(*ids)) != 0))
		fail_msg("%s: \"%.*s\" gives %zu other ids", name, (int)len, text, n);
	check_stream(t, ids, n, text, len);
	check_back(t, text, len, 0);
	free(ids);
}

/* Texts of X.gguf.inp, each followed by a separator, and one line of ids per text in X.gguf.out. */
static void check_files(const char *name)
{
	static const char separator[] = "\n__ggml_vocab_test__\n";
	struct tokenizer *t = create_given(name);
	char rel[128], *texts, *lines, *text, *line, *end;
	size_t n_texts, n_lines, cases = 0;

	snprintf(rel, sizeof(rel), "tokenizer/%s.gguf.inp", name);
	texts = conformance_file(rel, &n_texts);
	snprintf(rel, sizeof(rel), "tokenizer/%s.gguf.out", name);
	lines = conformance_file(rel, &n_lines);
	text = texts;
	line = lines;
	while ((end = strstr(text, separator))) {
		uint32_t ids[4096];
		size_t n = 0;

		while (*line && *line != '\n') {
			ids[n++] = (uint32_t)strtoul(line, &line, 10);
			while (*line == ' ')
				line++;
		}
		line += *line == '\n';
		check_given(t, name, text, (size_t)(end - text), ids, n);
		text = end + strlen(separator);
		cases++;
	}
	assert_true(cases > 40);
	free(texts);
	free(lines);
	tokenizer_destroy(t);
}

static void check_json(const char *name)
{
	struct tokenizer *t = create_given(name);
	const struct json *cases;
	struct json *root;
	char rel[128];

	snprintf(rel, sizeof(rel), "tokenizer/%s.json", name);
	root = conformance_json(rel);
	cases = json_get(root, "cases");
	assert_true(json_array_len(cases) > 40);
	for (size_t i = 0; i < json_array_len(cases); i++) {
		const struct json *c = json_array_at(cases, i), *list = json_get(c, "ids");
		const char *text = json_str(json_get(c, "text"));
		uint32_t ids[4096];
		size_t n = json_array_len(list);

		assert_non_null(text);
		assert_in_range(n, 0, 4096);
		for (size_t k = 0; k < n; k++) {
			uint64_t id;

			assert_int_equal(json_u64(json_array_at(list, k), UINT32_MAX, &id), 0);
			ids[k] = (uint32_t)id;
		}
		check_given(t, name, text, strlen(text), ids, n);
	}
	json_free(root);
	tokenizer_destroy(t);
}

static void every_given_vocabulary_gives_the_reference_ids(void **state)
{
	static const char *const files[] = { "llama-spm", "phi-3", "gpt-2", "deepseek-llm",
					     "starcoder" };
	static const char *const jsons[] = { "synth-llama-bpe", "synth-qwen2", "synth-smollm" };

	(void)state;
	conformance_or_skip();
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		check_files(files[i]);
	for (size_t i = 0; i < sizeof(jsons) / sizeof(jsons[0]); i++)
		check_json(jsons[i]);
}

static void words_encoded_apart_equal_the_whole_text(void **state)
{
	uint32_t *apart, *whole;
	size_t len, n_apart, n_whole;
	static struct tiny v;
	struct tokenizer *t;
	char *text;

	(void)state;
	conformance_or_skip();
	t = create_given("llama-spm");
	text = conformance_file("stories260K/calibration.txt", &len);
	assert_true(t->words_apart);
	encode(t, text, len, 0, &apart, &n_apart);
	t->words_apart = false;
	encode(t, text, len, 0, &whole, &n_whole);
	assert_int_equal(n_apart, n_whole);
	assert_memory_equal(apart, whole, n_whole * sizeof(*whole));
	free(apart);
	free(whole);
	free(text);
	tokenizer_destroy(t);
	tiny_spm(&v);
	tiny_add(&v, "o\xE2\x96\x81", VOCAB_NORMAL, 0);
	t = create(&v);
	assert_false(t->words_apart);
	tokenizer_destroy(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_given_vocabulary_gives_the_reference_ids),
		cmocka_unit_test(words_encoded_apart_equal_the_whole_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
