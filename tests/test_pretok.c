#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "engine/pretok.h"

struct words {
	char text[4096]; /* each word in brackets */
	size_t n, bytes;
};

static int collect(void *ctx, const char *word, size_t len)
{
	struct words *w = ctx;
	size_t used = strlen(w->text);

	assert_true(len > 0);
	w->n++;
	w->bytes += len;
	if (used + len + 3 <= sizeof(w->text)) {
		w->text[used] = '[';
		memcpy(w->text + used + 1, word, len);
		memcpy(w->text + used + 1 + len, "]", 2);
	}
	return 0;
}

static struct pretok *create(const char *name)
{
	struct pretok *p = NULL;
	struct err e = { 0 };

	if (pretok_create(&p, name, strlen(name), &e))
		fail_msg("%s", e.text);
	return p;
}

static void check(const char *name, const char *text, const char *words)
{
	struct pretok *p = create(name);
	struct words w = { .n = 0 };

	assert_int_equal(pretok_split(p, text, strlen(text), collect, &w), 0);
	if (strcmp(w.text, words) != 0)
		fail_msg("%s: \"%s\" gives %s, not %s", name, text, w.text, words);
	pretok_destroy(p);
}

static void gpt2_words_keep_one_space_before_them(void **state)
{
	(void)state;
	check("gpt-2", "Hello  world's 123!\n", "[Hello][ ][ world]['s][ 123][!][\n]");
	check("gpt-2", "a\tb", "[a][\t][b]");
	check("gpt-2", "don't DON'T", "[don]['t][ DON]['][T]");
	check("gpt-2", "\xC3\xA9t\xC3\xA9 12\xC2\xBD", "[\xC3\xA9t\xC3\xA9][ 12\xC2\xBD]");
}

static void gpt2_and_its_relatives_are_one_rule(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++)
		check((const char *const[]){ "phi-2", "mpt", "olmo" }[i], "it's 99  x",
		      "[it]['s][ 99][ ][ x]");
}

static void llama3_numbers_have_up_to_three_digits(void **state)
{
	(void)state;
	check("llama-bpe", "Hello  world'S 12345!\n\nx",
	      "[Hello][ ][ world]['S][ ][123][45][!\n\n][x]");
	check("llama3", "(abc) _x", "[(abc][)][ _][x]");
	check("llama-v3", " \n \nx", "[ \n \n][x]");
	check("smaug-bpe", "1234", "[123][4]");
}

static void qwen2_digits_stand_alone(void **state)
{
	(void)state;
	check("qwen2", "x 123.", "[x][ ][1][2][3][.]");
	check("deepseek-r1-qwen", "I'll, 7", "[I]['ll][,][ ][7]");
}

static void starcoder_cuts_digits_first(void **state)
{
	(void)state;
	check("starcoder", "a 12b", "[a][ ][1][2][b]");
	check("smollm", "it's 3  x", "[it]['s][ ][3][ ][ x]");
}

static void the_default_rule_cuts_signs_first_and_numbers_by_three(void **state)
{
	(void)state;
	check("default", "x+y 1234", "[x][+][y][ ][123][4]");
	check("default", "Hi, you", "[Hi][,][ you]");
}

static void deepseek_knows_lines_cased_letters_signs_and_cjk(void **state)
{
	(void)state;
	check("deepseek-llm", " \n x  \xE6\x88\x91\xE4\xBB\xAC 12",
	      "[ ][\n][ x][  ][\xE6\x88\x91\xE4\xBB\xAC][ ][12]");
	check("deepseek-llm", "a, b  ", "[a][,][ b][  ]");
	/* Letters with case keep the space before them, up to U+1E943; others do not. */
	check("deepseek-llm", "1 \xC3\xA9\xD0\x96 \xF0\x9E\xA5\x83 \xD7\x90\xC3\xA9",
	      "[1][ \xC3\xA9\xD0\x96][ \xF0\x9E\xA5\x83][ \xD7\x90][\xC3\xA9]");
	/* Two oddities of the model's rule: its signs (':' to '~') have the letters of ASCII among
	 * them, and its CJK begins at U+0800. Both cut words that the rules before had made. */
	check("deepseek-llm", "\xC3\xA9x", "[\xC3\xA9][x]");
	check("deepseek-llm", "\xC3\xA9\xE2\x84\xAA", "[\xC3\xA9][\xE2\x84\xAA]");
	check("deepseek-coder", "ab 12 ?", "[ab][ ][1][2][ ?]");
}

static void unicode_white_space_is_space_and_the_mongolian_separator_is_not(void **state)
{
	(void)state;
	/* U+0085 and U+3000 are White_Space, U+180E has not been since Unicode 6.3. */
	check("qwen2", "\xC2\x85\xE3\x80\x80\n", "[\xC2\x85\xE3\x80\x80\n]");
	check("qwen2", "\xE1\xA0\x8E\n", "[\xE1\xA0\x8E\n]");
	check("qwen2", " \xE1\xA0\x8E!", "[ \xE1\xA0\x8E!]");
}

static void bytes_that_are_not_utf8_are_words_of_their_own(void **state)
{
	(void)state;
	check("gpt-2",
	      "ab\xFF\xFE\x80"
	      "cd",
	      "[ab][\xFF\xFE\x80][cd]");
	check("llama-bpe", "x \xE2\x82", "[x][ ][\xE2\x82]");
	check("gpt-2", "\xED\xA0\x80\xC0\xAF", "[\xED\xA0\x80\xC0\xAF]");
}

static void an_unknown_rule_is_refused_by_name(void **state)
{
	struct pretok *p = NULL;
	struct err e = { 0 };

	(void)state;
	assert_int_equal(pretok_create(&p, "klingon", 7, &e), ERR_UNSUPPORTED);
	assert_non_null(strstr(e.text, "\"klingon\""));
	assert_int_equal(pretok_create(&p, "gpt-", 4, &e), ERR_UNSUPPORTED);
	assert_int_equal(pretok_create(&p, "", 0, &e), ERR_UNSUPPORTED);
	assert_null(p);
}

static void beyond_the_match_limit_the_rest_is_one_word(void **state)
{
	struct pretok *p = create("llama-bpe");
	struct words w = { .n = 0 };

	(void)state;
	pretok_set_limit(p, 0);
	assert_int_equal(pretok_split(p, "two words", 9, collect, &w), 0);
	assert_string_equal(w.text, "[two words]");
	pretok_destroy(p);
}

static int stop_at_two(void *ctx, const char *word, size_t len)
{
	unsigned *n = ctx;

	(void)word;
	(void)len;
	return ++*n == 2 ? ERR_NOMEM : 0;
}

static void splitting_stops_with_the_callers_error(void **state)
{
	struct pretok *p = create("qwen2");
	unsigned n = 0;

	(void)state;
	assert_int_equal(pretok_split(p, "a b c d", 7, stop_at_two, &n), ERR_NOMEM);
	assert_int_equal(n, 2);
	pretok_destroy(p);
}

static const char *const rules[] = { "default", "gpt-2",        "llama-bpe",     "qwen2",
				     "smollm",  "deepseek-llm", "deepseek-coder" };

/* Runs that would be quadratic, or deep, for a matcher that is careless. */
static void megabytes_of_one_kind_are_split_in_linear_time(void **state)
{
	static const char *const kinds[] = {
		" ", "a", "7", "\n", "!", "\xE6\x88\x91", " \t", "\xFF"
	};
	size_t len = 1 << 20, third = len / 3;
	char *text = malloc(len);

	(void)state;
	assert_non_null(text);
	for (size_t r = 0; r < sizeof(rules) / sizeof(rules[0]); r++) {
		struct pretok *p = create(rules[r]);

		for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
			uint64_t start = clock_now_ms();
			struct words w = { .n = 0 };

			for (size_t i = 0; i < len; i++)
				text[i] = kinds[k][i % strlen(kinds[k])];
			/* What comes before this is not trailing. */
			memcpy(text + third * 2, "\xE6\x88\x91", 3);
			assert_int_equal(pretok_split(p, text, len, collect, &w), 0);
			assert_int_equal(w.bytes, len);
			if (clock_now_ms() - start > 10000)
				fail_msg("%s, kind %zu: %d ms", rules[r], k,
					 (int)(clock_now_ms() - start));
		}
		pretok_destroy(p);
	}
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gpt2_words_keep_one_space_before_them),
		cmocka_unit_test(gpt2_and_its_relatives_are_one_rule),
		cmocka_unit_test(llama3_numbers_have_up_to_three_digits),
		cmocka_unit_test(qwen2_digits_stand_alone),
		cmocka_unit_test(starcoder_cuts_digits_first),
		cmocka_unit_test(the_default_rule_cuts_signs_first_and_numbers_by_three),
		cmocka_unit_test(deepseek_knows_lines_cased_letters_signs_and_cjk),
		cmocka_unit_test(unicode_white_space_is_space_and_the_mongolian_separator_is_not),
		cmocka_unit_test(bytes_that_are_not_utf8_are_words_of_their_own),
		cmocka_unit_test(an_unknown_rule_is_refused_by_name),
		cmocka_unit_test(beyond_the_match_limit_the_rest_is_one_word),
		cmocka_unit_test(splitting_stops_with_the_callers_error),
		cmocka_unit_test(megabytes_of_one_kind_are_split_in_linear_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
