#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "codec/spec.h"

static struct codec_spec parsed(const char *text)
{
	struct codec_spec s;
	struct err e = { 0 };

	if (spec_parse(&s, text, &e))
		fail_msg("%s: %s", text, e.text);
	return s;
}

static void refused(const char *text, const char *why)
{
	struct codec_spec s, before;
	struct err e = { 0 };

	memset(&s, 0x5a, sizeof(s));
	before = s;
	if (spec_parse(&s, text, &e) != ERR_CONFIG)
		fail_msg("\"%s\" is taken", text);
	if (!strstr(e.text, why))
		fail_msg("\"%s\": \"%s\" does not say \"%s\"", text, e.text, why);
	assert_memory_equal(&s, &before, sizeof(s));
}

static void the_simple_codecs_are_their_names(void **state)
{
	(void)state;
	for (unsigned id = 0; id < PLAIN_COUNT; id++) {
		struct codec_spec s = parsed(plain_name((enum plain_id)id));
		char text[SPEC_MAX];

		assert_false(s.tabq);
		assert_int_equal(s.plain, id);
		assert_string_equal(spec_print(&s, text), plain_name((enum plain_id)id));
	}
}

static void tabq_alone_has_the_documented_defaults(void **state)
{
	static const char *const texts[] = { "tabq", "tabq:" };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct codec_spec s = parsed(texts[i]);

		assert_true(s.tabq);
		assert_true(s.delta == 0.005f);
		assert_int_equal(s.row.tau_kind, ROW_TAU_AUTO);
		assert_int_equal(s.row.bits_min, 2);
		assert_int_equal(s.row.bits_max, 8);
		assert_int_equal(s.entropy, SPEC_RANS);
		assert_int_equal(s.predict, SPEC_AUTO);
	}
}

static void every_key_is_heard(void **state)
{
	struct codec_spec s =
		parsed("tabq:delta=0.25,tau=off,min=3,max=11,entropy=lz4,predict=rows");

	(void)state;
	assert_true(s.delta == 0.25f);
	assert_int_equal(s.row.tau_kind, ROW_TAU_OFF);
	assert_int_equal(s.row.bits_min, 3);
	assert_int_equal(s.row.bits_max, 11);
	assert_int_equal(s.entropy, SPEC_LZ4);
	assert_int_equal(s.predict, SPEC_ROWS);
	s = parsed("tabq:tau=6.5");
	assert_int_equal(s.row.tau_kind, ROW_TAU_RMS);
	assert_true(s.row.tau == 6.5f);
	s = parsed("tabq:tau=abs:0.125");
	assert_int_equal(s.row.tau_kind, ROW_TAU_ABS);
	assert_true(s.row.tau == 0.125f);
	assert_int_equal(parsed("tabq:tau=off,tau=auto").row.tau_kind, ROW_TAU_AUTO);
	assert_int_equal(parsed("tabq:entropy=none").entropy, SPEC_NONE);
	assert_int_equal(parsed("tabq:entropy=rans").entropy, SPEC_RANS);
	assert_int_equal(parsed("tabq:predict=none").predict, SPEC_PREDICT_NONE);
	assert_int_equal(parsed("tabq:predict=tokens").predict, SPEC_TOKENS);
	assert_int_equal(parsed("tabq:predict=auto").predict, SPEC_AUTO);
}

static void the_ends_of_each_range_are_taken(void **state)
{
	(void)state;
	assert_true(parsed("tabq:delta=0.000001").delta == 1e-6f);
	assert_true(parsed("tabq:delta=0.5").delta == 0.5f);
	assert_true(parsed("tabq:tau=2").row.tau == 2);
	assert_true(parsed("tabq:tau=1e6").row.tau == 1e6f);
	assert_int_equal(parsed("tabq:min=1,max=1").row.bits_max, 1);
	assert_int_equal(parsed("tabq:min=16,max=16").row.bits_min, 16);
}

static void what_is_out_of_range_is_refused_naming_the_range(void **state)
{
	static const char *const deltas[] = { "0",   "-1", "9e-7", "0.51", "nan",
					      "inf", "",   "x",    "0.1x" };
	static const char *const taus[] = { "",         "1.9",     "1000001", "abs:", "abs:0",
					    "abs:1e19", "abs:nan", "none",    "nan",  "-5" };
	static const char *const bits[] = { "0", "17", "-1", "2.5", "", "x", "1e9", "nan" };
	char text[SPEC_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(deltas) / sizeof(deltas[0]); i++) {
		snprintf(text, sizeof(text), "tabq:delta=%s", deltas[i]);
		refused(text, "0.000001..0.5");
	}
	for (size_t i = 0; i < sizeof(taus) / sizeof(taus[0]); i++) {
		snprintf(text, sizeof(text), "tabq:tau=%s", taus[i]);
		refused(text, "2..1000000");
	}
	for (size_t i = 0; i < sizeof(bits) / sizeof(bits[0]); i++) {
		snprintf(text, sizeof(text), "tabq:min=%s", bits[i]);
		refused(text, "min must be an integer in 1..16");
		snprintf(text, sizeof(text), "tabq:max=%s", bits[i]);
		refused(text, "max must be an integer in 1..16");
	}
	refused("tabq:min=9", "min=9 is above max=8");
	refused("tabq:max=1", "min=2 is above max=1");
	refused("tabq:entropy=zip", "rans, lz4 or none");
	refused("tabq:predict=all", "auto, none, rows or tokens");
}

static void what_is_unknown_is_refused_naming_what_there_is(void **state)
{
	char text[SPEC_MAX + 2];

	(void)state;
	refused("q9", "f32, f16, q8, q4 and tabq");
	refused("", "f32, f16, q8, q4 and tabq");
	refused("F16", "f32, f16, q8, q4 and tabq");
	refused("f16:", "f32, f16, q8, q4 and tabq");
	refused("tabq2", "f32, f16, q8, q4 and tabq");
	refused("tabq:bits=4", "delta, tau, min, max, entropy and predict");
	refused("tabq:delta", "KEY=VALUE");
	refused("tabq: delta=0.1", "delta, tau, min, max, entropy and predict");
	memset(text, '0', sizeof(text));
	memcpy(text, "tabq:delta=0.", 13);
	text[SPEC_MAX] = '\0';
	refused(text, "127");
	text[SPEC_MAX - 1] = '\0';
	refused(text, "delta");
}

static bool same(const struct codec_spec *a, const struct codec_spec *b)
{
	return a->tabq == b->tabq && a->delta == b->delta && a->row.tau_kind == b->row.tau_kind &&
	       a->row.tau == b->row.tau && a->row.bits_min == b->row.bits_min &&
	       a->row.bits_max == b->row.bits_max && a->entropy == b->entropy &&
	       a->predict == b->predict;
}

static void what_is_printed_is_read_as_the_same(void **state)
{
	static const char *const deltas[] = { "1e-6", "0.005", "0.0123456789", "0.3333333333",
					      "0.5" };
	static const char *const taus[] = { "auto",           "off",      "12.3456789",
					    "999999.9",       "abs:1e-9", "abs:123456789012",
					    "abs:0.333333333" };

	(void)state;
	for (size_t d = 0; d < sizeof(deltas) / sizeof(deltas[0]); d++) {
		for (size_t t = 0; t < sizeof(taus) / sizeof(taus[0]); t++) {
			for (unsigned k = 0; k < 12; k++) {
				char text[SPEC_MAX], again[SPEC_MAX];
				struct codec_spec a, b;

				snprintf(text, sizeof(text),
					 "tabq:delta=%s,tau=%s,min=%u,max=%u,entropy=%s,predict=%s",
					 deltas[d], taus[t], 1 + k, 16 - k % 4,
					 spec_entropy_name(k % 3), spec_predict_name(k % 4));
				a = parsed(text);
				b = parsed(spec_print(&a, again));
				if (!same(&a, &b))
					fail_msg("\"%s\" became \"%s\"", text, again);
			}
		}
	}
}

static void names_of_what_is_not_there_are_unknown(void **state)
{
	(void)state;
	assert_string_equal(spec_entropy_name(SPEC_ENTROPIES), "unknown");
	assert_string_equal(spec_predict_name(SPEC_PREDICTS), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_simple_codecs_are_their_names),
		cmocka_unit_test(tabq_alone_has_the_documented_defaults),
		cmocka_unit_test(every_key_is_heard),
		cmocka_unit_test(the_ends_of_each_range_are_taken),
		cmocka_unit_test(what_is_out_of_range_is_refused_naming_the_range),
		cmocka_unit_test(what_is_unknown_is_refused_naming_what_there_is),
		cmocka_unit_test(what_is_printed_is_read_as_the_same),
		cmocka_unit_test(names_of_what_is_not_there_are_unknown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
