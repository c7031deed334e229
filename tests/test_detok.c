#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "engine/tokenizer.h"
#include "engine/utf8.h"
#include "tests/tok_check.h"

#define BYTE(b) (3u + (unsigned char)(b)) /* of tiny_spm */

static struct tokenizer *create_spm(void)
{
	static struct tiny v;

	tiny_spm(&v);
	return create(&v);
}

/* Push the bytes of `in` one token at a time; the pieces joined by '|' go to out. */
static void stream(const struct tokenizer *t, const char *in, char *out)
{
	char dst[16];
	struct detok d;
	size_t n;

	detok_init(&d, t, false, false);
	for (; *in; in++) {
		n = detok_push(&d, BYTE(*in), dst, sizeof(dst));
		memcpy(out, dst, n);
		out[n] = '|';
		out += n + 1;
	}
	n = detok_flush(&d, dst, sizeof(dst));
	memcpy(out, dst, n);
	out[n] = '\0';
}

static void a_character_comes_out_with_its_last_byte(void **state)
{
	struct tokenizer *t = create_spm();
	char out[128];

	(void)state;
	stream(t, "a\xC3\xA9z", out);
	assert_string_equal(out, "a||\xC3\xA9|z|");
	stream(t, "\xE2\x82\xAC", out);
	assert_string_equal(out, "||\xE2\x82\xAC|");
	stream(t, "\xF0\x9F\xA6\x99!", out);
	assert_string_equal(out, "|||\xF0\x9F\xA6\x99|!|");
	tokenizer_destroy(t);
}

/* The table of Unicode 15, section 3.9, and its neighbours: one U+FFFD for each maximal subpart. */
static void bytes_that_cannot_be_utf8_are_replaced_as_soon_as_it_is_known(void **state)
{
#define R "\xEF\xBF\xBD"
	static const char *const cases[][2] = {
		{ "\xFF", R "|" },
		{ "\x80\x80", R "|" R "|" },
		{ "\xC0\xAF", R "|" R "|" },
		{ "\xC3"
		  "a",
		  "|" R "a|" },
		{ "\xE2\x82"
		  "a",
		  "||" R "a|" },
		{ "\xE2\x82\xC3\xA9", "||" R "|\xC3\xA9|" },
		{ "\xE0\x80\x80", "|" R R "|" R "|" },
		{ "\xED\xA0\x80", "|" R R "|" R "|" },
		{ "\xF0\x80\x80\x80", "|" R R "|" R "|" R "|" },
		{ "\xF4\x90\x80\x80", "|" R R "|" R "|" R "|" },
		{ "\xF0\x9F\xA6", "|||" R },
		{ "\xF0\x9F\xA6\xF0\x9F\xA6\x99", "|||" R "|||\xF0\x9F\xA6\x99|" },
		{ "\xE2", "|" R },
		{ "", "" },
	};
#undef R
	struct tokenizer *t = create_spm();
	char out[128];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		stream(t, cases[i][0], out);
		if (strcmp(out, cases[i][1]) != 0)
			fail_msg("case %zu: %s instead of %s", i, out, cases[i][1]);
	}
	tokenizer_destroy(t);
}

/* Every way to cut a text of all character lengths into two tokens. */
static void a_text_may_be_cut_anywhere(void **state)
{
	static const char text[] = "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\xA6\x99z\xE0\xA4\x85";
	size_t len = sizeof(text) - 1;

	(void)state;
	for (size_t cut = 1; cut < len; cut++) {
		static struct tiny v;
		struct tokenizer *t;
		uint32_t a, b;
		char out[64];
		struct detok d;
		size_t n;

		tiny_spm(&v);
		a = tiny_add_bytes(&v, text, cut, VOCAB_NORMAL, 0);
		b = tiny_add_bytes(&v, text + cut, len - cut, VOCAB_NORMAL, 0);
		t = create(&v);
		detok_init(&d, t, false, false);
		n = detok_push(&d, a, out, cut + 4);
		assert_true(n <= cut && n + d.n_held == cut);
		n += detok_push(&d, b, out + n, len - cut + 4);
		n += detok_flush(&d, out + n, 3);
		assert_int_equal(n, len);
		assert_memory_equal(out, text, len);
		tokenizer_destroy(t);
	}
}

static void only_the_first_word_of_a_text_loses_its_space(void **state)
{
	struct tokenizer *t = create_spm();
	uint32_t hello = 259 + 11; /* " hello" */
	struct detok d;
	char out[64];
	size_t n;

	(void)state;
	detok_init(&d, t, false, true);
	n = detok_push(&d, 1, out, sizeof(out)); /* <s> writes nothing */
	n += detok_push(&d, hello, out + n, sizeof(out) - n);
	n += detok_push(&d, hello, out + n, sizeof(out) - n);
	assert_int_equal(n, 11);
	assert_memory_equal(out, "hello hello", n);
	detok_init(&d, t, false, false);
	assert_int_equal(detok_push(&d, hello, out, sizeof(out)), 6);
	detok_init(&d, t, true, true);
	n = detok_push(&d, 1, out, sizeof(out));
	n += detok_push(&d, hello, out + n, sizeof(out) - n);
	assert_int_equal(n, 8);
	assert_memory_equal(out, "<s>hello", n);
	tokenizer_destroy(t);
}

static void pieces_tell_their_length_and_unknown_ids_are_nothing(void **state)
{
	struct tokenizer *t = create_spm();
	char out[8];
	struct detok d;

	(void)state;
	assert_int_equal(tokenizer_piece(t, 1, false, out, sizeof(out)), 0);
	assert_int_equal(tokenizer_piece(t, 1, true, out, sizeof(out)), 3);
	assert_memory_equal(out, "<s>", 3);
	out[0] = 'x';
	assert_int_equal(tokenizer_piece(t, 1, true, out, 2), 3);
	assert_int_equal(out[0], 'x');
	assert_int_equal(tokenizer_piece(t, BYTE(0), false, out, sizeof(out)), 1);
	assert_int_equal(out[0], '\0');
	assert_int_equal(tokenizer_piece(t, tokenizer_n_vocab(t), true, out, sizeof(out)), 0);
	detok_init(&d, t, true, true);
	assert_int_equal(detok_push(&d, UINT32_MAX, out, sizeof(out)), 0);
	tokenizer_destroy(t);
}

static void what_does_not_fit_is_dropped_never_written(void **state)
{
	struct tokenizer *t = create_spm();
	char out[8];
	struct detok d;

	(void)state;
	memset(out, 'x', sizeof(out));
	detok_init(&d, t, false, false);
	assert_int_equal(detok_push(&d, 259 + 10, out, 3), 3); /* "hello" */
	assert_memory_equal(out, "helxxxxx", 8);
	assert_int_equal(detok_push(&d, BYTE(0xFF), out, 2), 0);
	assert_memory_equal(out, "helxxxxx", 8);
	tokenizer_destroy(t);
}

/* Random bytes: what comes out is UTF-8, within the bound, and the whole equals any chunking. */
static void any_bytes_become_utf8_within_the_bound(void **state)
{
	struct tokenizer *t = create_spm();
	size_t bound = detok_bound(t);
	char *dst = malloc(bound);
	struct detok d;

	(void)state;
	assert_non_null(dst);
	detok_init(&d, t, false, false);
	for (uint64_t i = 0; i < 200000; i++) {
		uint64_t r = rng_u64(7, i);
		/* Mostly bytes around the borders of the UTF-8 ranges. */
		static const unsigned char edges[] = { 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0,
						       0xBF, 0xC2, 0xDF, 0xE0, 0xED, 0xEF,
						       0xF0, 0xF4, 0xF5, 0x20 };
		unsigned char b = r & 1 ? edges[r >> 8 & 15] : (unsigned char)(r >> 16);
		size_t n = detok_push(&d, BYTE(b), dst, bound);

		assert_true(n <= bound);
		for (size_t k = 0; k < n;) {
			int len = utf8_check(dst + k, n - k);

			assert_true(len > 0);
			k += (size_t)len;
		}
	}
	free(dst);
	tokenizer_destroy(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_character_comes_out_with_its_last_byte),
		cmocka_unit_test(bytes_that_cannot_be_utf8_are_replaced_as_soon_as_it_is_known),
		cmocka_unit_test(a_text_may_be_cut_anywhere),
		cmocka_unit_test(only_the_first_word_of_a_text_loses_its_space),
		cmocka_unit_test(pieces_tell_their_length_and_unknown_ids_are_nothing),
		cmocka_unit_test(what_does_not_fit_is_dropped_never_written),
		cmocka_unit_test(any_bytes_become_utf8_within_the_bound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
