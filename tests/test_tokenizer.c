#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/rng.h"
#include "tests/tok_check.h"

static struct tiny v; /* large: not on the stack */

static void byte_pairs_merge_in_the_order_of_their_ranks(void **state)
{
	struct tokenizer *t;

	(void)state;
	tiny_bpe(&v, "gpt-2");
	t = create(&v);
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
	t = create(&v);
	check(t, " yes", 0, "32 121 101 115");
	tokenizer_destroy(t);
	tiny_bpe(&v, "llama-bpe");
	tiny_add(&v, "\xC4\xA0yes", VOCAB_NORMAL, 0);
	t = create(&v);
	check(t, " yes", 0, "265");
	check(t, " yesh", 0, "32 121 101 115 104");
	tokenizer_destroy(t);
}

static void sentencepiece_merges_by_score_and_falls_back_to_bytes(void **state)
{
	struct tokenizer *t;

	(void)state;
	tiny_spm(&v);
	t = create(&v);
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
	t = create(&v);
	check(t, "hello", 0, "269");
	tokenizer_destroy(t);
}

static void the_higher_score_merges_first_whatever_its_sign(void **state)
{
	static const float scores[][2] = {
		{ 1, 2 }, { -2, -1 }, { -1, 1 }, { 0, 0.5f }, { -1, 0 }
	};
	struct tokenizer *t;

	(void)state;
	for (size_t i = 0; i < sizeof(scores) / sizeof(scores[0]); i++) {
		for (unsigned swap = 0; swap < 2; swap++) {
			tiny_spm(&v);
			tiny_add(&v, "xy", VOCAB_NORMAL, scores[i][swap]);  /* 275 */
			tiny_add(&v, "yz", VOCAB_NORMAL, scores[i][!swap]); /* 276 */
			t = create(&v);
			check(t, "xyz", 0, swap ? "259 275 125" : "259 123 276");
			tokenizer_destroy(t);
		}
	}
	tiny_spm(&v);
	tiny_add(&v, "xy", VOCAB_NORMAL, -0.0f);
	tiny_add(&v, "yz", VOCAB_NORMAL, 0);
	t = create(&v);
	check(t, "xyz", 0, "259 275 125"); /* equal: the leftmost */
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
		t = create(&v);
		check(t, "a", BOTH, cases[i].ids);
		check(t, "a", 0, "97");
		check_back(t, "a", 1, BOTH);
		assert_int_equal(tokenizer_bos(t), 265);
		assert_int_equal(tokenizer_eos(t), 266);
		tokenizer_destroy(t);
	}
	tiny_bpe(&v, "llama-bpe"); /* adds BOS, but there is none */
	t = create(&v);
	check(t, "a", BOTH, "97");
	assert_int_equal(tokenizer_bos(t), TOKENIZER_NONE);
	tokenizer_destroy(t);
	tiny_spm(&v);
	v.add_bos = 0;
	v.add_eos = 1;
	t = create(&v);
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
	t = create(&v);
	check(t, "aa<|im_end|>aa", TOKENIZER_PARSE_SPECIAL, "263 265 263");
	check(t, "<|im_end|><|im_end|>", TOKENIZER_PARSE_SPECIAL, "265 265");
	check(t, "<|im_end|>", 0, "60 124 105 109 95 101 110 100 124 62");
	check(t, "aa<extra word>a", 0, "263 266 97");
	check(t, "aa<extra wor", 0, "263 60 101 120 116 114 97 32 119 111 114");
	check_back(t, "a<|im_end|> b<extra word>", 25, BOTH);
	tokenizer_destroy(t);
	tiny_spm(&v);
	tiny_add(&v, "<x>", VOCAB_USER_DEFINED, 0); /* 275 */
	t = create(&v);
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
	t = create(&v);
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
	t = create(&v);
	for (uint32_t id = 0; id < tokenizer_n_vocab(t); id++)
		assert_int_equal(tokenizer_is_end(t, id), (id >= 265 && id <= 267) || id == 270);
	assert_false(tokenizer_is_end(t, TOKENIZER_NONE));
	check(t, "<|im_end|>", TOKENIZER_PARSE_SPECIAL, "266");
	check(t, "</s>", TOKENIZER_PARSE_SPECIAL, "60 47 115 62");
	tokenizer_destroy(t);
	tiny_spm(&v);
	t = create(&v);
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
	t = create(&v);
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
	t[0] = create(&v);
	tiny_spm(&v);
	t[1] = create(&v);
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
		t = create(&v);
		check(t,
		      "a\xFF"
		      "a",
		      0, with_unknown ? "97 265 97" : "97 239 191 189 97");
		tokenizer_destroy(t);
	}
	tiny_spm(&v);
	memcpy(v.tokens[3 + 0xC3].text, "<gone>", 6);
	t = create(&v);
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
	t = create(&v);
	check(t, "hello", BOTH, "264");
	check(t, " the", BOTH, "32 258");
	tokenizer_destroy(t);
}

static void without_token_types_the_metadata_names_the_control_tokens(void **state)
{
	struct tokenizer *t;

	(void)state;
	tiny_bpe(&v, "gpt-2");
	v.bos = v.eos = tiny_add(&v, "<|endoftext|>", VOCAB_NORMAL, 0);
	v.n_types = 0;
	t = create(&v);
	check(t, "a<|endoftext|>", TOKENIZER_PARSE_SPECIAL, "97 265");
	assert_int_equal(tokenizer_piece(t, 265, false, NULL, 0), 0);
	tokenizer_destroy(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(byte_pairs_merge_in_the_order_of_their_ranks),
		cmocka_unit_test(a_whole_word_needs_no_merges_where_the_rule_says_so),
		cmocka_unit_test(sentencepiece_merges_by_score_and_falls_back_to_bytes),
		cmocka_unit_test(the_higher_score_merges_first_whatever_its_sign),
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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
