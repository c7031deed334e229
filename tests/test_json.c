#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "schema/json.h"
#include "schema/utf8.h"

static int parse(struct json **root, const char *text, size_t len, struct err *e)
{
	char *copy = malloc(len ? len : 1); /* a sanitizer sees any read beyond */
	int rc;

	assert_non_null(copy);
	memcpy(copy, text, len);
	rc = json_parse(root, copy, len, e);
	free(copy);
	return rc;
}

static struct json *parsed(const char *text)
{
	struct json *root = NULL;
	struct err e;

	if (parse(&root, text, strlen(text), &e))
		fail_msg("%s: %s", text, e.text);
	return root;
}

static void refused(const char *text, const char *why)
{
	struct json *root;
	struct err e = { 0 };

	if (parse(&root, text, strlen(text), &e) != ERR_FORMAT)
		fail_msg("%s was taken", text);
	if (!strstr(e.text, why))
		fail_msg("%s: \"%s\" does not say \"%s\"", text, e.text, why);
}

static void values_are_read_by_key(void **state)
{
	struct json *o =
		parsed(" { \"n\" : 7 , \"x\":-1.5e1, \"b\":true, \"s\":\"\\u00e4\\ud83c\\udf31/\", "
		       "\"z\":null, \"a\":[1,2,[3]], \"o\":{} }\r\n\t");
	uint64_t n = 0;
	uint32_t n32 = 0;
	double x = 0;
	bool b = false;
	const char *s = NULL;
	struct err e;

	(void)state;
	assert_true(json_is_object(o) && !json_is_array(o));
	assert_int_equal(json_get_u64(o, "n", true, 7, 7, &n, &e), 0);
	assert_int_equal(json_get_u32(o, "n", true, 0, UINT32_MAX, &n32, &e), 0);
	assert_int_equal(json_get_f64(o, "x", true, -15, 0, &x, &e), 0);
	assert_int_equal(json_get_bool(o, "b", true, &b, &e), 0);
	assert_int_equal(json_get_str(o, "s", true, 7, &s, &e), 0);
	assert_true(n == 7 && n32 == 7 && x == -15 && b);
	assert_string_equal(s, "\xc3\xa4\xf0\x9f\x8c\xb1/");
	assert_int_equal(json_array_len(json_get(o, "a")), 3);
	assert_int_equal(json_array_len(json_get(json_get(o, "a"), "a")), 0);
	assert_int_equal(json_u64(json_array_at(json_get(o, "a"), 1), 2, &n), 0);
	assert_int_equal(n, 2);
	assert_null(json_array_at(json_get(o, "a"), 3));
	assert_null(json_get(o, "N"));
	assert_null(json_get(o, "z"));
	assert_null(json_str(json_get(o, "n")));
	json_free(o);
}

static void a_missing_value_is_an_error_only_where_it_is_needed(void **state)
{
	struct json *o = parsed("{\"null\":null}");
	uint32_t n = 5;
	double x = 6;
	bool b = true;
	const char *s = "as it was";
	struct err e;

	(void)state;
	for (int i = 0; i < 2; i++) {
		const char *key = i ? "null" : "none";

		assert_int_equal(json_get_u32(o, key, false, 0, 1, &n, &e), 0);
		assert_int_equal(json_get_f64(o, key, false, 0, 1, &x, &e), 0);
		assert_int_equal(json_get_bool(o, key, false, &b, &e), 0);
		assert_int_equal(json_get_str(o, key, false, 1, &s, &e), 0);
		assert_int_equal(json_get_u32(o, key, true, 0, 1, &n, &e), ERR_FORMAT);
		assert_non_null(strstr(e.text, key));
		assert_int_equal(json_get_str(o, key, true, 1, &s, &e), ERR_FORMAT);
	}
	assert_true(n == 5 && x == 6 && b);
	assert_string_equal(s, "as it was");
	json_free(o);
}

static void a_value_of_the_wrong_kind_or_range_is_named(void **state)
{
	struct json *o =
		parsed("{\"f\":1.5,\"neg\":-1,\"big\":9007199254740994,\"s\":\"1\",\"n\":40}");
	uint64_t n = 3;
	double x = 3;
	bool b;
	const char *s;
	struct err e;

	(void)state;
	assert_int_equal(json_get_u64(o, "n", true, 0, 32, &n, &e), ERR_FORMAT);
	assert_string_equal(e.text, "key \"n\" must be an integer in 0..32, not 40");
	assert_int_equal(json_get_u64(o, "f", true, 0, 32, &n, &e), ERR_FORMAT);
	assert_string_equal(e.text, "key \"f\" must be an integer in 0..32, not 1.5");
	assert_int_equal(json_get_u64(o, "neg", true, 0, UINT64_MAX, &n, &e), ERR_FORMAT);
	assert_int_equal(json_get_u64(o, "big", true, 0, UINT64_MAX, &n, &e), ERR_FORMAT);
	assert_int_equal(json_get_u64(o, "s", true, 0, 32, &n, &e), ERR_FORMAT);
	assert_int_equal(json_get_f64(o, "n", true, 0, 1, &x, &e), ERR_FORMAT);
	assert_int_equal(json_get_bool(o, "n", true, &b, &e), ERR_FORMAT);
	assert_int_equal(json_get_str(o, "n", true, 9, &s, &e), ERR_FORMAT);
	assert_int_equal(json_get_str(o, "s", true, 0, &s, &e), ERR_FORMAT);
	assert_true(n == 3 && x == 3);
	json_free(o);
}

static void what_is_not_json_is_refused_with_its_place(void **state)
{
	(void)state;
	refused("", "empty");
	refused("{", "ends inside an object");
	refused("[1,2", "ends inside");
	refused("]", "closes nothing");
	refused("[1}", "not JSON");
	refused("{\"a\":1,}", "not JSON at offset");
	refused("[1 2]", "not JSON at offset");
	refused("{} {}", "more text");
	refused("{}x", "more text");
	refused("\xef\xbb\xbf{}", "offset 0");
	refused("{\"a\":tru}", "not JSON");
	refused("{\"a\":NaN}", "\"a\"");
	refused("{\"a\":+1}", "\"a\"");
	refused("{a:1}", "not JSON");
	refused("{'a':1}", "offset 1");
	refused("{\"a\":1\v}", "not JSON");
	refused("// no comments\n{}", "offset 0");
	for (const char *n = "01|1.|.5|-|1e|1e+|0x1|--1|1.e1|-01|"; *n; n = strchr(n, '|') + 1) {
		char text[32];

		snprintf(text, sizeof(text), "{\"a\":%.*s}", (int)strcspn(n, "|"), n);
		refused(text, "");
	}
}

static void bad_strings_are_refused(void **state)
{
	(void)state;
	refused("{\"a\\u0000b\":1}", "NUL");
	refused("[\"\x01\"]", "control character");
	refused("[\"\t\"]", "control character");
	refused("[\"\\x41\"]", "unknown escape");
	refused("[\"\\u12g4\"]", "four hex digits");
	refused("[\"\\u12", "four hex digits");
	refused("[\"\\", "ends inside a string");
	refused("[\"abc", "ends inside a string");
	refused("[\"\\ud800\"]", "surrogate");
	refused("[\"\\ud800\\ud800\"]", "surrogate");
	refused("[\"\\udc00\"]", "surrogate");
	refused("[\"\\ud800\\u0041\"]", "surrogate");
	refused("[\"\x80\"]", "UTF-8");
	refused("[\"\xc0\xaf\"]", "UTF-8");
	refused("[\"\xe0\x80\xaf\"]", "UTF-8");
	refused("[\"\xed\xa0\x80\"]", "UTF-8");
	refused("[\"\xf4\x90\x80\x80\"]", "UTF-8");
	refused("[\"\xe2\x82", "UTF-8");
	refused("{\"k1\":1,\"k2\":\"\xff\"}", "value of key \"k2\"");
	refused("[1,\"\xff\"]", "offset 4");
}

static void a_nul_in_a_string_is_carried(void **state)
{
	static const char src[] = "{\"s\":\"\\u0000a\\\\u0000\\u0000\",\"t\":\"t\"}";
	struct json *o = parsed(src);
	const char *s = NULL;
	char *text, *v = NULL;
	size_t len = 0;
	struct err e = { 0 };

	(void)state;
	assert_int_equal(json_get_text(o, "s", 9, &v, &len, &e), 0);
	assert_int_equal(len, 9);
	assert_memory_equal(v, "\0a\\u0000\0", 10);
	free(v);
	assert_int_equal(json_get_text(o, "s", 8, &v, &len, &e), ERR_FORMAT);
	assert_string_equal(e.text, "key \"s\" is longer than 8 bytes");
	assert_int_equal(json_get_text(o, "u", 8, &v, &len, &e), ERR_FORMAT);
	assert_int_equal(json_get_text(o, "t", 8, &v, &len, &e), 0);
	assert_string_equal(v, "t");
	free(v);
	assert_int_equal(json_get_str(o, "s", true, 99, &s, &e), ERR_FORMAT);
	assert_string_equal(e.text, "key \"s\" must not have a NUL character (\\u0000)");
	assert_null(json_str(json_get(o, "s")));
	assert_int_equal(json_print(o, &text, &len), 0);
	assert_string_equal(text, src);
	assert_int_equal(len, strlen(src));
	free(text);
	json_free(o);
	refused("[\"\\u0000\",1}", "offset 11"); /* of what was given */
	refused("[\"\\u0000\"] 1", "offset 10");
}

static void a_nul_that_is_written_is_an_escape(void **state)
{
	struct json *o = json_object();
	char *text;
	size_t len;

	(void)state;
	json_add_text(o, "s", "a\0\xff", 3);
	json_add_text(o, "none", NULL, 0);
	assert_int_equal(json_print(o, &text, &len), 0);
	assert_string_equal(text, "{\"s\":\"a\\u0000\xef\xbf\xbd\",\"none\":\"\"}");
	free(text);
	json_free(o);
}

static void nesting_ends_at_32(void **state)
{
	char text[200];
	struct json *o;
	struct err e;

	(void)state;
	memset(text, '[', 33);
	memset(text + 33, ']', 33);
	assert_int_equal(parse(&o, text + 1, 64, &e), 0);
	json_free(o);
	assert_int_equal(parse(&o, text, 66, &e), ERR_FORMAT);
	assert_non_null(strstr(e.text, "32 deep"));
}

static void numbers_beyond_a_double_are_refused(void **state)
{
	struct json *o = parsed("[1e308,-1e308,1e-400,0.1]");

	(void)state;
	json_free(o);
	refused("[1e309]", "too large");
	refused("[{\"a\":-1e999}]", "too large");
	refused("[1000000000000000000000000000000000000000000000000000000000000000000000]", "63");
}

static void a_key_stands_once_and_there_are_at_most_256(void **state)
{
	char text[4096] = "{\"k0\":0";
	size_t len = strlen(text);
	struct json *o;

	(void)state;
	refused("{\"a\":1,\"b\":2,\"a\":3}", "\"a\" appears twice");
	refused("[{\"x\":{\"a\":1,\"\\u0061\":2}}]", "\"a\" appears twice");
	json_free(parsed("{\"a\":{\"a\":1},\"A\":2}"));
	for (unsigned i = 1; i < 256; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, ",\"k%u\":0", i);
	memcpy(text + len, "}", 2);
	o = parsed(text);
	json_free(o);
	memcpy(text + len, ",\"k\":0}", 8);
	refused(text, "more than 256 keys");
}

static void members_come_in_their_order(void **state)
{
	struct json *o = parsed("{\"b\":1,\"a\":2}");
	const char *key = NULL;

	(void)state;
	assert_non_null(json_member_at(o, 0, &key));
	assert_string_equal(key, "b");
	assert_non_null(json_member_at(o, 1, &key));
	assert_string_equal(key, "a");
	assert_null(json_member_at(o, 2, &key));
	json_free(o);
}

static void a_tree_is_printed_on_one_line(void **state)
{
	struct json *o = json_object(), *a;
	char *text;
	size_t len;

	(void)state;
	json_add_str(o, "s", "a\"\\\n\x01\xc3\xa4");
	json_add_u64(o, "n", UINT64_MAX);
	json_add_f64(o, "x", 0.1);
	json_add_f64(o, "nan", NAN);
	json_add_bool(o, "b", false);
	a = json_add_array(o, "a");
	json_push_u64(a, 9007199254740993);
	json_push_str(a, "");
	json_add_bool(json_push_object(a), "deep", true);
	json_add_object(o, "o");
	assert_int_equal(json_print(o, &text, &len), 0);
	assert_string_equal(text,
			    "{\"s\":\"a\\\"\\\\\\n\\u0001\xc3\xa4\",\"n\":18446744073709551615,"
			    "\"x\":0.1,\"b\":false,\"a\":[9007199254740993,\"\",{\"deep\":true}],"
			    "\"o\":{}}");
	assert_int_equal(len, strlen(text));
	free(text);
	assert_int_equal(json_print_indented(o, &text, &len), 0);
	assert_non_null(strchr(text, '\n'));
	free(text);
	json_free(o);
	assert_int_equal(json_print(NULL, &text, &len), ERR_NOMEM);
}

static void what_was_parsed_is_printed_with_every_digit(void **state)
{
	static const char same[] = "{\"a\":[9007199254740991,0.1,{\"b\":-1.7976931348623157e+308}],"
				   "\"c\":null,\"d\":\"x\",\"e\":0.30000000000000004}";
	struct json *o = parsed(same);
	char *text;
	size_t len;

	(void)state;
	assert_int_equal(json_print(o, &text, &len), 0);
	assert_string_equal(text, same);
	free(text);
	json_free(o);
}

static void bytes_that_are_not_utf8_become_replacement_characters(void **state)
{
	struct json *o = json_object();
	char *text;
	size_t len;

	(void)state;
	json_add_str(o, "s", "a\xff\xe2\x82z\xf0\x9f\x8c\xb1");
	assert_int_equal(json_print(o, &text, &len), 0);
	assert_string_equal(text,
			    "{\"s\":\"a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz\xf0\x9f\x8c\xb1\"}");
	free(text);
	json_free(o);
}

static void every_double_reads_back_the_same(void **state)
{
	(void)state;
	for (uint64_t i = 0; i < 20000; i++) {
		uint64_t bits = rng_u64(11, i);
		double v, back = 0;
		struct json *o;
		char *text;
		size_t len;

		memcpy(&v, &bits, sizeof(v));
		if (!isfinite(v))
			continue;
		o = json_object();
		json_add_f64(o, "v", v);
		assert_int_equal(json_print(o, &text, &len), 0);
		json_free(o);
		o = parsed(text);
		assert_int_equal(json_get_f64(o, "v", true, -INFINITY, INFINITY, &back, NULL), 0);
		assert_memory_equal(&v, &back, sizeof(v));
		json_free(o);
		free(text);
	}
}

/* The definition, by way of the code point. */
static size_t slow_char_len(const unsigned char *s, size_t len)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t n = s[0] < 0x80 ? 1 : (s[0] & 0xe0) == 0xc0 ? 2 : (s[0] & 0xf0) == 0xe0 ? 3 : 4;
	uint32_t code = n == 1 ? s[0] : s[0] & (0x7fu >> n);

	if ((n == 4 && (s[0] & 0xf8) != 0xf0) || n > len)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (s[i] & 0x3fu);
	}
	if (code < least[n] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
		return 0;
	return n;
}

static void utf8_is_what_its_definition_says(void **state)
{
	static const unsigned char edges[] = { 0x00, 0x7f, 0x80, 0x8f, 0x90,
					       0x9f, 0xa0, 0xbf, 0xc0, 0xff };
	unsigned char s[4] = { 0, 0, 0x80, 0xbf };

	(void)state;
	for (unsigned first = 0; first < 256; first++) {
		for (unsigned second = 0; second < 256; second++) {
			for (size_t k = 0; k < sizeof(edges); k++) {
				s[0] = (unsigned char)first;
				s[1] = (unsigned char)second;
				s[2] = edges[k];
				for (size_t len = 1; len <= 4; len++)
					assert_int_equal(utf8_char_len((char *)s, len),
							 slow_char_len(s, len));
			}
		}
	}
	assert_int_equal(utf8_char_len("", 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_are_read_by_key),
		cmocka_unit_test(a_missing_value_is_an_error_only_where_it_is_needed),
		cmocka_unit_test(a_value_of_the_wrong_kind_or_range_is_named),
		cmocka_unit_test(what_is_not_json_is_refused_with_its_place),
		cmocka_unit_test(bad_strings_are_refused),
		cmocka_unit_test(a_nul_in_a_string_is_carried),
		cmocka_unit_test(a_nul_that_is_written_is_an_escape),
		cmocka_unit_test(nesting_ends_at_32),
		cmocka_unit_test(numbers_beyond_a_double_are_refused),
		cmocka_unit_test(a_key_stands_once_and_there_are_at_most_256),
		cmocka_unit_test(members_come_in_their_order),
		cmocka_unit_test(a_tree_is_printed_on_one_line),
		cmocka_unit_test(what_was_parsed_is_printed_with_every_digit),
		cmocka_unit_test(bytes_that_are_not_utf8_become_replacement_characters),
		cmocka_unit_test(every_double_reads_back_the_same),
		cmocka_unit_test(utf8_is_what_its_definition_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
