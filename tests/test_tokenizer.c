#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/rng.h"
#include "engine/tok.h"
#include "engine/tokenizer.h"
#include "schema/json.h"
#include "tests/conformance.h"
#include "tests/tiny_vocab.h"

#define BOTH (TOKENIZER_ADD_SPECIAL | TOKENIZER_PARSE_SPECIAL)

static struct tiny v; /* large: not on the stack */

/* A tokenizer of v, which is freed. */
static struct tokenizer *create(void)
{
	struct tokenizer *t = NULL;
	struct err e = { 0 };
	struct gguf *g = tiny_open(&v, &e);

	if (!g || tokenizer_create(&t, g, &e))
		fail_msg("%s", e.text);
	gguf_close(g);
	tiny_free(&v);
	return t;
}

static void encode(const struct tokenizer *t, const char *text, size_t len, unsigned flags,
		   uint32_t **ids, size_t *n)
{
	struct err e = { 0 };

	if (tokenizer_encode(t, text, len, flags, ids, n, &e))
		fail_msg("%s", e.text);
}

/* text gives the ids that are written in `expected`, separated by spaces. */
static void check(const struct tokenizer *t, const char *text, unsigned flags, const char *expected)
{
	char got[1024] = "";
	uint32_t *ids = NULL;
	size_t n, used = 0;

	encode(t, text, strlen(text), flags, &ids, &n);
	for (size_t i = 0; i < n && used < sizeof(got); i++)
		used += (size_t)snprintf(got + used, sizeof(got) - used, i ? " %u" : "%u", ids[i]);
	if (strcmp(got, expected) != 0)
		fail_msg("\"%s\" gives %s, not %s", text, got, expected);
	free(ids);
}

/* decode(encode(text)) is text. */
static void check_back(const struct tokenizer *t, const char *text, size_t len, unsigned flags)
{
	uint32_t *ids = NULL;
	char *back = NULL;
	size_t n, n_back;
	struct err e = { 0 };

	encode(t, text, len, flags, &ids, &n);
	flags |= TOKENIZER_PARSE_SPECIAL;
	assert_int_equal(tokenizer_decode(t, ids, n, flags, &back, &n_back, &e), 0);
	assert_int_equal(n_back, len);
	assert_memory_equal(back, text, len);
	free(back);
	free(ids);
}

static void byte_pairs_merge_in_the_order_of_their_ranks(void **state)
{
	struct tokenizer *t;

	(void)state;
	tiny_bpe(&v, "gpt-2");
	t = create();
	check(t, "the the", 0, "258 32 258");
	check(t, "hello", 0, "264");
	check(t, "aaaaa", 0, "263 263 97");
	check(t, "", BOTH, "");
	/* Only a merge joins: " h" is one, " he" is none although "he" goes before it. */
	check(t, " he", 0, "32 257");
	tokenizer_destroy(t);
}

static void a_whole_word_needs_no_merges_where_the_rule_says_so(void **state)
{
	struct tokenizer *t;

	(void)state;
	tiny_bpe(&v, "gpt-2");
	tiny_add(&v, "\xC4\xA0yes", VOCAB_NORMAL, 0);
	t = create();
	check(t, " yes", 0, "32 121 101 115");
	tokenizer_destroy(t);
	tiny_bpe(&v, "llama-bpe");
	tiny_add(&v, "\xC4\xA0yes", VOCAB_NORMAL, 0);
	t = create();
	check(t, " yes", 0, "265");
	check(t, " yesh", 0, "32 121 101 115 104");
	tokenizer_destroy(t);
}

static void sentencepiece_merges_by_score_and_falls_back_to_bytes(void **state)
{
	struct tokenizer *t;

	(void)state;
	tiny_spm(&v);
	t = create();
	check(t, "hello", BOTH, "1 270");
	check(t, "hello", 0, "270");
	check(t, "", BOTH, "1");
	check(t, "", 0, "");
	check(t, " hello", 0, "259 270");
	check(t, "\xE2\x82\xAC", 0, "259 274");      /* a piece */
	check(t, "\xC3\xA9", 0, "259 198 172");      /* bytes 0xC3 0xA9 */
	check(t, "\xE2\x96\x81hello", 0, "259 270"); /* U+2581 is a space */
	check(t, "aaa", 0, "259 272 273");           /* leftmost of equals */
	tokenizer_destroy(t);
	v = (struct tiny){ 0 };
	tiny_spm(&v);
	v.add_space_prefix = 0;
	t = create();
	check(t, "hello", 0, "269");
	tokenizer_destroy(t);
}

static void every_kind_has_its_own_default_for_bos_and_eos(void **state)
{
	static const struct {
		const char *pre;
		int bos, eos;
		const char *ids;
	} cases[] = {
		{ "gpt-2", -1, -1, "97" },       { "gpt-2", 1, -1, "265 97" },
		{ "gpt-2", 1, 1, "265 97 266" }, { "llama-bpe", -1, -1, "265 97" },
		{ "llama-bpe", 0, 1, "97 266" }, { "qwen2", -1, -1, "97" },
	};
	struct tokenizer *t;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		tiny_bpe(&v, cases[i].pre);
		v.bos = tiny_add(&v, "<|begin|>", VOCAB_CONTROL, 0);
		v.eos = tiny_add(&v, "<|stop|>", VOCAB_CONTROL, 0);
		v.add_bos = cases[i].bos;
		v.add_eos = cases[i].eos;
		t = create();
		check(t, "a", BOTH, cases[i].ids);
		check(t, "a", 0, "97");
		check_back(t, "a", 1, BOTH);
		assert_int_equal(tokenizer_bos(t), 265);
		assert_int_equal(tokenizer_eos(t), 266);
		tokenizer_destroy(t);
	}
	tiny_bpe(&v, "llama-bpe"); /* adds BOS, but there is none */
	t = create();
	check(t, "a", BOTH, "97");
	assert_int_equal(tokenizer_bos(t), TOKENIZER_NONE);
	tokenizer_destroy(t);
	tiny_spm(&v);
	v.add_bos = 0;
	v.add_eos = 1;
	t = create();
	check(t, "hello", BOTH, "270 2");
	tokenizer_destroy(t);
}

static void control_tokens_are_parsed_when_asked_for_and_user_defined_ones_always(void **state)
{
	struct tokenizer *t;

	(void)state;
	tiny_bpe(&v, "gpt-2");
	tiny_add(&v, "<|im_end|>", VOCAB_CONTROL, 0);        /* 265 */
	tiny_add(&v, "<extra word>", VOCAB_USER_DEFINED, 0); /* 266 */
	t = create();
	check(t, "aa<|im_end|>aa", TOKENIZER_PARSE_SPECIAL, "263 265 263");
	check(t, "<|im_end|><|im_end|>", TOKENIZER_PARSE_SPECIAL, "265 265");
	check(t, "<|im_end|>", 0, "60 124 105 109 95 101 110 100 124 62");
	check(t, "aa<extra word>a", 0, "263 266 97");
	check(t, "aa<extra wor", 0, "263 60 101 120 116 114 97 32 119 111 114");
	check_back(t, "a<|im_end|> b<extra word>", 25, BOTH);
	tokenizer_destroy(t);
	tiny_spm(&v);
	tiny_add(&v, "<x>", VOCAB_USER_DEFINED, 0); /* 275 */
	t = create();
	check(t, "hello<x>hello", 0, "270 275 270"); /* a first word again */
	check(t, "</s>hello", TOKENIZER_PARSE_SPECIAL, "2 270");
	check_back(t, "hello<x>hello</s>hello", 22, BOTH);
	check_back(t, "<x> hello", 9, BOTH);
	tokenizer_destroy(t);
}

static void the_longest_special_token_wins_then_the_leftmost(void **state)
{
	struct tokenizer *t;

	(void)state;
	tiny_bpe(&v, "gpt-2");
	tiny_add(&v, "<a>", VOCAB_USER_DEFINED, 0);      /* 265 */
	tiny_add(&v, "<a><b>", VOCAB_USER_DEFINED, 0);   /* 266 */
	tiny_add(&v, "zx<a>", VOCAB_USER_DEFINED, 0);    /* 267 */
	tiny_add(&v, "b>q", VOCAB_USER_DEFINED, 0);      /* 268 */
	tiny_add(&v, "zx", VOCAB_USER_DEFINED, 0);       /* 269 */
	tiny_add(&v, "\n\n", VOCAB_USER_DEFINED, 0);     /* 270 */
	tiny_add(&v, "\n\n\n\n", VOCAB_USER_DEFINED, 0); /* 271 */
	t = create();
	check(t, "<a><b>", 0, "266");
	check(t, "<a><b", 0, "265 60 98");
	check(t, "zx<a><b>", 0, "269 266"); /* the longer one to the right cuts the one before */
	check(t, "zx<a>c", 0, "267 99");
	check(t, "<a><b>q", 0, "266 113");
	check(t, "b>q<a>", 0, "268 265");
	check(t, "\n\n\n\n\n\n\n", 0, "271 270 10");
	tokenizer_destroy(t);
}

static void ends_are_known_by_id_and_by_text(void **state)
{
	struct tokenizer *t;

	(void)state;
	tiny_bpe(&v, "qwen2");
	v.eos = tiny_add(&v, "<stop>", VOCAB_CONTROL, 0); /* 265 */
	tiny_add(&v, "<|im_end|>", VOCAB_NORMAL, 0);      /* 266: the file forgot its type */
	tiny_add(&v, "<|endoftext|>", VOCAB_CONTROL, 0);  /* 267 */
	tiny_add(&v, "</s>", VOCAB_NORMAL, 0);            /* 268: an HTML tag */
	tiny_add(&v, "<|im_start|>", VOCAB_CONTROL, 0);   /* 269 */
	tiny_add(&v,
		 "<\xEF\xBD\x9C"
		 "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>",
		 VOCAB_CONTROL, 0); /* 270 */
	t = create();
	for (uint32_t id = 0; id < tokenizer_n_vocab(t); id++)
		assert_int_equal(tokenizer_is_end(t, id), (id >= 265 && id <= 267) || id == 270);
	assert_false(tokenizer_is_end(t, TOKENIZER_NONE));
	check(t, "<|im_end|>", TOKENIZER_PARSE_SPECIAL, "266");
	check(t, "</s>", TOKENIZER_PARSE_SPECIAL, "60 47 115 62");
	tokenizer_destroy(t);
	tiny_spm(&v);
	t = create();
	assert_true(tokenizer_is_end(t, 2));
	assert_false(tokenizer_is_end(t, 1));
	tokenizer_destroy(t);
}

static void text_cannot_become_a_control_token_by_merging(void **state)
{
	struct tokenizer *t;

	(void)state;
	tiny_spm(&v);
	tiny_add(&v, "</", VOCAB_NORMAL, 0);
	tiny_add(&v, "s>", VOCAB_NORMAL, 0);
	t = create();
	check(t, "</s>", 0, "259 275 276");
	check(t, "<0x41>", 0, "259 63 51 123 55 52 65");
	tokenizer_destroy(t);
}

static void bytes_that_are_no_utf8_survive(void **state)
{
	struct tokenizer *t[2];
	char text[300];

	(void)state;
	tiny_bpe(&v, "llama-bpe");
	t[0] = create();
	tiny_spm(&v);
	t[1] = create();
	for (int k = 0; k < 2; k++) {
		for (unsigned b = 0; b < 256; b++)
			text[b] = (char)b;
		check_back(t[k], text, 256, 0);
		for (uint64_t round = 0; round < 2000; round++) {
			size_t len = rng_u64(1, round) % sizeof(text);

			for (size_t i = 0; i < len; i++) {
				uint64_t r = rng_u64(round, i);

				text[i] = r & 256 ? "helot \xE2\x82\xAC"[r % 9] : (char)r;
			}
			check_back(t[k], text, len, (unsigned)(round & 3));
		}
		tokenizer_destroy(t[k]);
	}
}

static void a_byte_without_a_token_becomes_the_unknown_or_the_replacement_character(void **state)
{
	struct tokenizer *t;

	(void)state;
	for (int with_unknown = 0; with_unknown < 2; with_unknown++) {
		tiny_bpe(&v, "gpt-2");
		tiny_add_bytes(&v, v.tokens[0xFF].text, 0, VOCAB_NORMAL, 0);
		v.tokens[0xFF].text[0] = 'q'; /* no longer spells 0xFF */
		v.tokens[0xFF].text[1] = 'q';
		if (with_unknown)
			v.unk = 265;
		t = create();
		check(t,
		      "a\xFF"
		      "a",
		      0, with_unknown ? "97 265 97" : "97 239 191 189 97");
		tokenizer_destroy(t);
	}
	tiny_spm(&v);
	memcpy(v.tokens[3 + 0xC3].text, "<gone>", 6);
	t = create();
	check(t, "\xC3\xA9t", 0, "259 0 264");
	tokenizer_destroy(t);
}

static void of_equal_tokens_the_first_is_used_and_empty_ones_never(void **state)
{
	struct tokenizer *t;

	(void)state;
	tiny_bpe(&v, "gpt-2");
	tiny_add(&v, "hello", VOCAB_NORMAL, 0);
	tiny_add(&v, "", VOCAB_NORMAL, 0);
	tiny_add(&v, "", VOCAB_CONTROL, 0);
	tiny_add(&v, "", VOCAB_USER_DEFINED, 0);
	tiny_merge(&v, "h e"); /* repeated: the first rank counts */
	t = create();
	check(t, "hello", BOTH, "264");
	tokenizer_destroy(t);
}

static void without_token_types_the_metadata_names_the_control_tokens(void **state)
{
	struct tokenizer *t;

	(void)state;
	tiny_bpe(&v, "gpt-2");
	v.bos = v.eos = tiny_add(&v, "<|endoftext|>", VOCAB_NORMAL, 0);
	v.n_types = 0;
	t = create();
	check(t, "a<|endoftext|>", TOKENIZER_PARSE_SPECIAL, "97 265");
	assert_int_equal(tokenizer_piece(t, 265, false, NULL, 0), 0);
	tokenizer_destroy(t);
}

static int refused(struct err *e)
{
	struct gguf *g = tiny_open(&v, e);
	struct tokenizer *t = NULL;
	int rc;

	assert_non_null(g);
	rc = tokenizer_create(&t, g, e);
	gguf_close(g);
	tiny_free(&v);
	assert_null(t);
	return rc;
}

#define REFUSED(code, word)                                                                        \
	do {                                                                                       \
		assert_int_equal(refused(&e), code);                                               \
		if (!strstr(e.text, word))                                                         \
			fail_msg("\"%s\" does not name %s", e.text, word);                         \
	} while (0)

static void a_vocabulary_that_does_not_fit_together_is_refused_by_name(void **state)
{
	struct err e = { 0 };

	(void)state;
	tiny_bpe(&v, "klingon");
	REFUSED(ERR_UNSUPPORTED, "klingon");
	tiny_bpe(&v, "gpt-2");
	v.model = "bert";
	REFUSED(ERR_UNSUPPORTED, "bert");
	v.model = NULL;
	REFUSED(ERR_FORMAT, "tokenizer.ggml.model");
	tiny_init(&v, "llama", NULL);
	v.n_types = v.n_scores = 0;
	REFUSED(ERR_FORMAT, "tokenizer.ggml.tokens");
	tiny_bpe(&v, "gpt-2");
	v.n_types = 100;
	REFUSED(ERR_FORMAT, "tokenizer.ggml.token_type");
	tiny_spm(&v);
	v.n_scores = v.n + 1;
	REFUSED(ERR_FORMAT, "tokenizer.ggml.scores");
	tiny_spm(&v);
	v.tokens[7].score = (float)(1e300 * 1e300 * 0.0);
	REFUSED(ERR_FORMAT, "token 7");
	tiny_bpe(&v, "gpt-2");
	tiny_merge(&v, "x y");
	REFUSED(ERR_FORMAT, "merge 9");
	tiny_bpe(&v, "gpt-2");
	tiny_merge(&v, "nospace");
	REFUSED(ERR_FORMAT, "nospace");
	tiny_bpe(&v, "gpt-2");
	tiny_merge(&v, "\xE6\x88\x91 a");
	REFUSED(ERR_FORMAT, "merge 9");
	tiny_bpe(&v, "gpt-2");
	v.n_merges = 0;
	REFUSED(ERR_FORMAT, "tokenizer.ggml.merges");
	tiny_spm(&v);
	v.eos = v.n;
	REFUSED(ERR_FORMAT, "tokenizer.ggml.eos_token_id");
	tiny_init(&v, "llama", NULL);
	tiny_add(&v, "a", VOCAB_NORMAL, 0);
	REFUSED(ERR_FORMAT, "<0x00>");
}

static void a_text_over_16_mebibytes_is_refused(void **state)
{
	size_t len = ((size_t)16 << 20) + 1, n = 0;
	char *text = calloc(len, 1);
	struct err e = { 0 };
	uint32_t *ids = NULL;
	struct tokenizer *t;

	(void)state;
	assert_non_null(text);
	tiny_bpe(&v, "gpt-2");
	t = create();
	assert_int_equal(tokenizer_encode(t, text, len, 0, &ids, &n, &e), ERR_LIMIT);
	assert_null(ids);
	tokenizer_destroy(t);
	free(text);
}

/* A megabyte without a seam takes milliseconds with a heap, and hours without. */
static void a_megabyte_without_spaces_is_no_matter(void **state)
{
	size_t len = 1 << 20, n;
	char *text = malloc(len);
	uint64_t start = clock_now_ms();

	(void)state;
	assert_non_null(text);
	memset(text, 'a', len);
	for (int k = 0; k < 2; k++) {
		struct tokenizer *t;
		uint32_t *ids;

		if (k)
			tiny_spm(&v);
		else
			tiny_bpe(&v, "llama-bpe");
		t = create();
		encode(t, text, len, 0, &ids, &n);
		assert_int_equal(n, len / 2 + (size_t)k); /* SPM puts a space before it */
		free(ids);
		tokenizer_destroy(t);
	}
	assert_in_range(clock_now_ms() - start, 0, 20000);
	free(text);
}

static void decoding_refuses_an_id_outside_the_vocabulary(void **state)
{
	struct err e = { 0 };
	struct tokenizer *t;
	char *text = NULL;
	size_t len;

	(void)state;
	tiny_bpe(&v, "gpt-2");
	t = create();
	assert_int_equal(tokenizer_decode(t, (uint32_t[]){ 1, 9999 }, 2, 0, &text, &len, &e),
			 ERR_LIMIT);
	assert_non_null(strstr(e.text, "9999"));
	tokenizer_destroy(t);
}

/* Allocations of the code under test fail one after the other. */
static long fail_after = LONG_MAX;

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);

static bool fails(void)
{
	return fail_after != LONG_MAX && fail_after-- == 0;
}

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
	return fails() ? NULL : __real_realloc(p, size);
}

static int create_and_encode(const struct gguf *g, struct err *e)
{
	static const char text[] =
		"hello the <x> hello\xFF aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
		"<x><x>ccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc";
	struct tokenizer *t = NULL;
	uint32_t *ids = NULL;
	size_t n;
	int rc = tokenizer_create(&t, g, e);

	if (!rc)
		rc = tokenizer_encode(t, text, sizeof(text) - 1, BOTH, &ids, &n, e);
	free(ids);
	tokenizer_destroy(t);
	return rc;
}

static void every_allocation_may_fail(void **state)
{
	(void)state;
	for (int k = 0; k < 2; k++) {
		struct err e = { 0 };
		struct gguf *g;
		long n = -1;
		int rc;

		if (k)
			tiny_spm(&v);
		else
			tiny_bpe(&v, "llama-bpe");
		tiny_add(&v, "<x>", VOCAB_USER_DEFINED, 0);
		g = tiny_open(&v, &e);
		assert_non_null(g);
		do {
			fail_after = ++n;
			rc = create_and_encode(g, &e);
			fail_after = LONG_MAX;
			assert_true(!rc || rc == ERR_NOMEM);
		} while (rc);
		assert_in_range(n, 12, 200);
		gguf_close(g);
		tiny_free(&v);
	}
}

/* Conformance pack. */

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
	t = create();
	assert_false(t->words_apart);
	tokenizer_destroy(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(byte_pairs_merge_in_the_order_of_their_ranks),
		cmocka_unit_test(a_whole_word_needs_no_merges_where_the_rule_says_so),
		cmocka_unit_test(sentencepiece_merges_by_score_and_falls_back_to_bytes),
		cmocka_unit_test(every_kind_has_its_own_default_for_bos_and_eos),
		cmocka_unit_test(
			control_tokens_are_parsed_when_asked_for_and_user_defined_ones_always),
		cmocka_unit_test(the_longest_special_token_wins_then_the_leftmost),
		cmocka_unit_test(ends_are_known_by_id_and_by_text),
		cmocka_unit_test(text_cannot_become_a_control_token_by_merging),
		cmocka_unit_test(bytes_that_are_no_utf8_survive),
		cmocka_unit_test(
			a_byte_without_a_token_becomes_the_unknown_or_the_replacement_character),
		cmocka_unit_test(of_equal_tokens_the_first_is_used_and_empty_ones_never),
		cmocka_unit_test(without_token_types_the_metadata_names_the_control_tokens),
		cmocka_unit_test(a_vocabulary_that_does_not_fit_together_is_refused_by_name),
		cmocka_unit_test(a_text_over_16_mebibytes_is_refused),
		cmocka_unit_test(a_megabyte_without_spaces_is_no_matter),
		cmocka_unit_test(decoding_refuses_an_id_outside_the_vocabulary),
		cmocka_unit_test(every_allocation_may_fail),
		cmocka_unit_test(every_given_vocabulary_gives_the_reference_ids),
		cmocka_unit_test(words_encoded_apart_equal_the_whole_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
