#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "tests/tok_check.h"

static struct tiny v; /* large: not on the stack */

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
	t = create(&v);
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
		t = create(&v);
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
	t = create(&v);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_vocabulary_that_does_not_fit_together_is_refused_by_name),
		cmocka_unit_test(a_text_over_16_mebibytes_is_refused),
		cmocka_unit_test(a_megabyte_without_spaces_is_no_matter),
		cmocka_unit_test(decoding_refuses_an_id_outside_the_vocabulary),
		cmocka_unit_test(every_allocation_may_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
