#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/gguf.h"
#include "schema/json.h"
#include "tests/gguf_build.h"
#include "tests/tiny_model.h"
#include "tools/inspect.h"
#include "tools/shares.h"

#define HASH "0123456789abcdef0123456789abcdef"

/* Layers of 64 and 128 bytes, an embedding of 256, RoPE factors of 32, a norm of 32 and, unless
 * tied, a matrix of 512. block_count promises `promised` layers. */
static struct build model(bool tied, uint32_t promised)
{
	static const struct {
		const char *name;
		uint64_t floats;
	} tensors[] = {
		{ "token_embd.weight", 64 }, { "rope_freqs.weight", 8 },
		{ "blk.0.w", 16 },           { "blk.1.w", 16 },
		{ "blk.1.v", 16 },           { "output_norm.weight", 8 },
		{ "output.weight", 128 },
	};
	size_t n = tied ? 6 : 7;
	struct build b = { 0 };
	uint64_t offset = 0;

	build_header(&b, 3, n, 7);
	build_key_str(&b, "general.architecture", "llama");
	build_key_u32(&b, "llama.block_count", promised);
	build_key_str(&b, "name", "two \"words\"\nand a bell \a\xff");
	build_key(&b, "big", GGUF_U64), build_u64(&b, UINT64_MAX);
	build_key_array(&b, "ids", GGUF_I32, 3), build_u32(&b, 1), build_u32(&b, 2),
		build_u32(&b, 3);
	build_key_array(&b, "minus", GGUF_I32, 1), build_u32(&b, UINT32_MAX);
	build_key_array(&b, "words", GGUF_STRING, 20);
	for (int i = 0; i < 20; i++)
		build_str(&b, "w");
	for (size_t i = 0; i < n; i++) {
		build_tensor(&b, tensors[i].name, QUANT_F32, 1, &tensors[i].floats, offset);
		offset += 4 * tensors[i].floats;
	}
	build_pad(&b, 32);
	for (uint64_t i = 0; i < offset; i++)
		build_number(&b, 0, 1);
	return b;
}

static struct gguf *open_ok(const struct build *b, struct shares *s)
{
	struct gguf *g = NULL;
	struct err e;

	if (gguf_open_memory(&g, b->data, b->len, &e) || shares_measure(s, g, &e))
		fail_msg("%s", e.text);
	return g;
}

/* What inspect prints; the caller frees. */
static char *printed(const struct gguf *g, const struct shares *s, bool json)
{
	FILE *to = tmpfile();
	int out = dup(STDOUT_FILENO), rc = 0;
	char *text = calloc(1, 1 << 20);
	struct err e;

	fflush(stdout);
	assert_true(dup2(fileno(to), STDOUT_FILENO) >= 0);
	if (json)
		rc = inspect_json(g, HASH, s, &e);
	else
		inspect_text(g, HASH, s);
	fflush(stdout);
	dup2(out, STDOUT_FILENO);
	close(out);
	assert_int_equal(rc, 0);
	rewind(to);
	assert_true(fread(text, 1, (1 << 20) - 1, to) > 0);
	fclose(to);
	return text;
}

static void each_tensor_counts_for_one_share(void **state)
{
	struct build b = model(false, 2);
	struct shares s;
	struct gguf *g = open_ok(&b, &s);

	(void)state;
	assert_int_equal(s.n_layers, 2);
	assert_int_equal(s.embed.bytes, 256);
	assert_int_equal(s.layers[0].bytes, 64);
	assert_int_equal(s.layers[1].bytes, 128);
	assert_int_equal(s.layers[1].tensors[QUANT_F32], 2);
	assert_int_equal(s.head.bytes, 32 + 512);
	assert_int_equal(s.rest.bytes, 32);
	assert_int_equal(s.tied_bytes, 0);
	assert_int_equal(s.total, 256 + 32 + 64 + 128 + 32 + 512);
	assert_int_equal(shares_agent_min(&s), 256 + 32);
	assert_int_equal(shares_worker_max(&s), s.total - 256);
	shares_finish(&s);
	gguf_close(g);
	free(b.data);
}

static void a_tied_head_needs_the_embedding_too(void **state)
{
	struct build b = model(true, 2);
	struct shares s;
	struct gguf *g = open_ok(&b, &s);

	(void)state;
	assert_int_equal(s.tied_bytes, 256);
	assert_int_equal(shares_agent_min(&s), 256 + 32);
	assert_int_equal(shares_worker_max(&s), s.total);
	shares_finish(&s);
	gguf_close(g);
	free(b.data);
}

static void layers_are_counted_by_promise_and_by_name(void **state)
{
	static const struct {
		uint32_t promised, counted;
	} cases[] = { { 0, 2 },         { 2, 2 },     { 5, 5 },
		      { 65536, 65536 }, { 65537, 2 }, { UINT32_MAX, 2 } };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct build b = model(false, cases[i].promised);
		struct shares s;
		struct gguf *g = open_ok(&b, &s);

		assert_int_equal(s.n_layers, cases[i].counted);
		shares_finish(&s);
		gguf_close(g);
		free(b.data);
	}
}

static void odd_layer_names_belong_to_no_layer(void **state)
{
	static const char *const names[] = { "blk.65536.w", "blk.99999999999999999999.w",
					     "blk.-1.w",    "blk.0",
					     "blk.0x.w",    "blk..w",
					     "block.0.w" };
	struct build b = { 0 };
	struct shares s;
	struct gguf *g;

	(void)state;
	build_header(&b, 3, 7, 0);
	for (size_t i = 0; i < 7; i++)
		build_tensor(&b, names[i], QUANT_F32, 1, (uint64_t[]){ 8 }, 32 * i);
	build_pad(&b, 32);
	for (size_t i = 0; i < 7 * 4; i++)
		build_u64(&b, 0);
	g = open_ok(&b, &s);
	assert_int_equal(s.n_layers, 0);
	assert_int_equal(s.rest.bytes, 7 * 32);
	assert_int_equal(s.total, 7 * 32);
	free(printed(g, &s, false));
	free(printed(g, &s, true));
	shares_finish(&s);
	gguf_close(g);
	free(b.data);
}

static uint64_t number(const struct json *obj, const char *key)
{
	uint64_t v = 0;
	struct err e;

	if (json_get_u64(obj, key, true, 0, UINT64_MAX, &v, &e))
		fail_msg("%s", e.text);
	return v;
}

static void the_json_holds_what_other_programs_rely_on(void **state)
{
	struct build b = model(false, 2);
	const struct json *meta, *list, *last;
	struct json *root = NULL;
	struct shares s;
	struct gguf *g = open_ok(&b, &s);
	char *text = printed(g, &s, true);
	const char *word;
	struct err e;

	(void)state;
	assert_non_null(strstr(text, "18446744073709551615")); /* exact, though no double */
	if (json_parse(&root, text, strlen(text), &e))
		fail_msg("%s", e.text);
	assert_string_equal(json_str(json_get(root, "path")), "(memory)");
	assert_string_equal(json_str(json_get(root, "hash")), HASH);
	assert_int_equal(number(root, "version"), 3);
	assert_int_equal(number(root, "file_bytes"), b.len);
	assert_int_equal(number(root, "embed_bytes"), 256);
	assert_int_equal(number(root, "head_bytes"), 544);
	assert_int_equal(json_array_len(json_get(root, "layers")), 2);
	list = json_get(root, "tensors");
	assert_int_equal(json_array_len(list), 7);
	assert_string_equal(json_str(json_get(json_array_at(list, 2), "name")), "blk.0.w");
	assert_string_equal(json_str(json_get(json_array_at(list, 2), "type")), "F32");
	assert_int_equal(json_array_len(json_get(json_array_at(list, 2), "shape")), 1);
	assert_int_equal(number(json_array_at(list, 2), "bytes"), 64);
	list = json_get(root, "segments");
	assert_int_equal(json_array_len(list), 3);
	last = json_array_at(list, 2);
	assert_int_equal(number(last, "split"), 2);
	assert_int_equal(number(last, "agent_bytes"), 256 + 32 + 64 + 128);
	assert_int_equal(number(last, "worker_bytes"), 32 + 544);
	meta = json_get(root, "metadata");
	assert_int_equal(json_get_str(meta, "name", true, 100, &word, &e), 0);
	assert_string_equal(word, "two \"words\"\nand a bell \a\xef\xbf\xbd");
	assert_int_equal(number(json_get(meta, "words"), "count"), 20);
	assert_int_equal(json_array_len(json_get(json_get(meta, "words"), "first")), 16);
	assert_int_equal(json_array_len(json_get(json_get(meta, "ids"), "first")), 3);
	assert_null(json_get(json_get(meta, "minus"), "first"));
	json_free(root);
	free(text);
	shares_finish(&s);
	gguf_close(g);
	free(b.data);
}

static void the_tables_show_every_part_and_no_control_character(void **state)
{
	static const char *const wanted[] = {
		"hash          0123456789abcdef0123456789abcdef",
		"llama, layers 2",
		"name                  string",
		"\"two \\\"words\\\"\\nand a bell \\x07",
		"string[20]",
		"1, 2, 3\n",
		"-1\n",
		"18446744073709551615",
		"embedding          256 B",
		"layer 0             64 B",
		"layer 1            128 B",
		"2 F32",
		"head               544 B",
		"l = 0          288 B          768 B",
		"l = 2          480 B          576 B",
		"no split    1.00 KiB",
	};
	struct build b = model(false, 2);
	struct shares s;
	struct gguf *g = open_ok(&b, &s);
	char *text = printed(g, &s, false);

	(void)state;
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		if (!strstr(text, wanted[i]))
			fail_msg("no \"%s\" in\n%s", wanted[i], text);
	}
	for (const char *c = text; *c; c++)
		assert_true((uint8_t)*c >= 0x20 || *c == '\n');
	free(text);
	shares_finish(&s);
	gguf_close(g);
	free(b.data);
}

static void the_caches_of_a_model_that_runs_are_told(void **state)
{
	struct tiny_model m = TINY_MODEL; /* 2 key/value heads of 8 and 8 elements */
	struct build b = tiny_build(&m);
	struct json *root = NULL;
	const struct json *caches;
	struct shares s;
	struct gguf *g = open_ok(&b, &s);
	char *text = printed(g, &s, false), *json = printed(g, &s, true);
	struct err e;

	(void)state;
	assert_non_null(strstr(text, "  f16             64 B\n"));
	assert_non_null(strstr(text, "  q4_0            72 B\n"));
	if (json_parse(&root, json, strlen(json), &e))
		fail_msg("%s", e.text);
	caches = json_get(root, "kv_bytes_per_token_layer");
	assert_int_equal(number(caches, "f16"), 2 * (8 + 8) * 2);
	assert_int_equal(number(caches, "f32"), 2 * (8 + 8) * 4);
	assert_int_equal(number(caches, "q8_0"), 2 * (34 + 34));
	assert_int_equal(number(caches, "q4_0"), 2 * (18 + 18));
	json_free(root);
	free(text);
	free(json);
	shares_finish(&s);
	gguf_close(g);
	free(b.data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_tensor_counts_for_one_share),
		cmocka_unit_test(a_tied_head_needs_the_embedding_too),
		cmocka_unit_test(layers_are_counted_by_promise_and_by_name),
		cmocka_unit_test(odd_layer_names_belong_to_no_layer),
		cmocka_unit_test(the_json_holds_what_other_programs_rely_on),
		cmocka_unit_test(the_caches_of_a_model_that_runs_are_told),
		cmocka_unit_test(the_tables_show_every_part_and_no_control_character),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
