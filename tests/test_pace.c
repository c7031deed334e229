/* tests/test_pace.c - what deadlines ask of a session: levels of coarser rows, in order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "agent/pace.h"

#define MS 1000u

static struct codec_spec spec_of(const char *text)
{
	struct codec_spec spec;

	assert_int_equal(spec_parse(&spec, text, NULL), 0);
	return spec;
}

/* A pace with so long for the answer, beginning at 1 s, and so many levels. */
static struct pace pace_of(uint64_t answer_ms, unsigned levels)
{
	struct pace p;

	pace_init(&p, &(struct pace_conf){ .begun_us = 1000 * MS,
					   .deadline_us = (1000 + answer_ms) * MS,
					   .levels = levels });
	return p;
}

/* n tokens, `ms` apart, from now on. Returns the time then. */
static uint64_t tokens(struct pace *p, uint64_t now_us, unsigned n, uint64_t ms)
{
	for (unsigned i = 0; i < n; i++) {
		now_us += ms * MS;
		pace_token(p, now_us);
	}
	return now_us;
}

static void a_token_takes_what_the_newest_took(void **state)
{
	struct pace p = pace_of(10000, 2);
	uint64_t now;

	(void)state;
	assert_int_equal(pace_token_us(&p), 0);
	now = tokens(&p, 1000 * MS, 1, 500); /* the first one: a prompt, not a token's time */
	assert_int_equal(pace_token_us(&p), 0);
	now = tokens(&p, now, 3, 20);
	assert_int_equal(pace_token_us(&p), 20 * MS);
	now = tokens(&p, now, 1, 900); /* one that was late is not a trend */
	assert_int_equal(pace_token_us(&p), 20 * MS);
	tokens(&p, now, PACE_TOKENS, 50);
	assert_int_equal(pace_token_us(&p), 50 * MS);
}

static void an_answer_that_will_be_in_time_stays_fine(void **state)
{
	struct pace p = pace_of(1000, 2);
	uint64_t now = tokens(&p, 1000 * MS, 5, 20); /* 100 ms are gone */

	(void)state;
	assert_false(pace_coarser(&p, now, 45));
	assert_int_equal(p.level, 0);
	assert_true(pace_coarser(&p, now, 46));
	assert_int_equal(p.level, 1);
}

static void a_level_may_show_what_it_gains(void **state)
{
	struct pace p = pace_of(1000, 2);
	uint64_t now = tokens(&p, 1000 * MS, 5, 20);

	(void)state;
	assert_true(pace_coarser(&p, now, 100));
	assert_int_equal(pace_token_us(&p), 0); /* times of before are forgotten */
	for (unsigned i = 0; i + 1 < PACE_SETTLE; i++) {
		now = tokens(&p, now, 1, 20);
		assert_false(pace_coarser(&p, now, 100));
	}
	now = tokens(&p, now, 1, 20);
	assert_true(pace_coarser(&p, now, 100));
	assert_int_equal(p.level, 2);
	now = tokens(&p, now, 20, 20);
	assert_false(pace_coarser(&p, now, 100)); /* there is no third one */
	assert_int_equal(p.level, 2);
}

static void a_level_that_helps_is_the_last(void **state)
{
	struct pace p = pace_of(1000, 5);
	uint64_t now = tokens(&p, 1000 * MS, 5, 20);

	(void)state;
	assert_true(pace_coarser(&p, now, 60));
	for (unsigned left = 59; left; left--) {
		now = tokens(&p, now, 1, 10);
		assert_false(pace_coarser(&p, now, left));
	}
	assert_int_equal(p.level, 1);
}

static void one_late_token_at_the_beginning_is_not_a_trend(void **state)
{
	struct pace p = pace_of(10000, 2);
	uint64_t now = tokens(&p, 1000 * MS, 1, 20);

	(void)state;
	now = tokens(&p, now, 1, 500);
	assert_false(pace_coarser(&p, now, 100));
	for (unsigned i = 0; i < 10; i++) {
		now = tokens(&p, now, 1, 20);
		assert_false(pace_coarser(&p, now, 100));
	}
	now = tokens(&p, now, 10, 500);
	assert_true(pace_coarser(&p, now, 100));
}

static void tokens_slower_than_wanted_are_a_danger_too(void **state)
{
	struct pace p = pace_of(1000000, 1);
	uint64_t now;

	(void)state;
	p.conf.tpot_us = 30 * MS;
	now = tokens(&p, 1000 * MS, 5, 30);
	assert_false(pace_coarser(&p, now, 10));
	now = tokens(&p, now, PACE_TOKENS, 31);
	assert_true(pace_coarser(&p, now, 10));
}

static void a_prompt_that_takes_too_long_is_sent_coarser(void **state)
{
	struct pace p = pace_of(1000000, 2);

	(void)state;
	p.conf.ttft_us = 100 * MS;
	assert_false(pace_prompt_coarser(&p, 1000 * MS, 0, 64)); /* nothing is known */
	assert_false(pace_prompt_coarser(&p, 1020 * MS, 16, 64));
	assert_true(pace_prompt_coarser(&p, 1042 * MS, 32, 48));
	p = pace_of(100, 2); /* without a wish it is the answer's deadline */
	assert_true(pace_prompt_coarser(&p, 1080 * MS, 16, 16));
	p = pace_of(100, 0);
	assert_false(pace_prompt_coarser(&p, 1080 * MS, 16, 16));
}

static void each_level_has_twice_the_error(void **state)
{
	const struct codec_spec base = spec_of("tabq:delta=0.005,min=3");
	struct codec_spec c;

	(void)state;
	assert_int_equal(pace_levels(&base, 0.03f), 3);
	c = pace_codec(&base, 0.03f, 0);
	assert_float_equal(c.delta, 0.005f, 1e-9f);
	c = pace_codec(&base, 0.03f, 1);
	assert_float_equal(c.delta, 0.01f, 1e-9f);
	assert_int_equal(c.row.bits_min, base.row.bits_min);
	c = pace_codec(&base, 0.03f, 3); /* not beyond what is allowed */
	assert_float_equal(c.delta, 0.03f, 1e-9f);
	c = pace_codec(&base, 0.03f, 9);
	assert_float_equal(c.delta, 0.03f, 1e-9f);
}

static void without_leave_nothing_is_coarser(void **state)
{
	const struct codec_spec base = spec_of("tabq:delta=0.05"), q8 = spec_of("q8");
	struct codec_spec c;

	(void)state;
	assert_int_equal(pace_levels(&base, 0.02f), 0);
	assert_int_equal(pace_levels(&q8, 0), 0);
	c = pace_codec(&base, 0.02f, 3);
	assert_float_equal(c.delta, 0.05f, 1e-9f);
}

static void a_plain_codec_gives_way_to_tabq(void **state)
{
	const struct codec_spec f16 = spec_of("f16"), tabq = spec_of("tabq");
	struct codec_spec c;

	(void)state;
	assert_int_equal(pace_levels(&f16, 0.02f), 3);
	c = pace_codec(&f16, 0.02f, 1);
	assert_true(c.tabq);
	assert_float_equal(c.delta, tabq.delta, 1e-9f);
	c = pace_codec(&f16, 0.02f, 3);
	assert_float_equal(c.delta, 0.02f, 1e-9f);
	c = pace_codec(&f16, 0.001f, 1); /* less than tabq's own */
	assert_float_equal(c.delta, 0.001f, 1e-9f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_token_takes_what_the_newest_took),
		cmocka_unit_test(an_answer_that_will_be_in_time_stays_fine),
		cmocka_unit_test(a_level_may_show_what_it_gains),
		cmocka_unit_test(a_level_that_helps_is_the_last),
		cmocka_unit_test(one_late_token_at_the_beginning_is_not_a_trend),
		cmocka_unit_test(tokens_slower_than_wanted_are_a_danger_too),
		cmocka_unit_test(a_prompt_that_takes_too_long_is_sent_coarser),
		cmocka_unit_test(each_level_has_twice_the_error),
		cmocka_unit_test(without_leave_nothing_is_coarser),
		cmocka_unit_test(a_plain_codec_gives_way_to_tabq),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
