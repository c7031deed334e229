/* tests/test_agent_pace.c - the agent over a bus in memory: rows become coarser where a deadline is
 * in danger, and only then. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "tests/hall.h"

/* No token comes as fast: one takes a millisecond at least. */
#define TOO_FAST "\"tpot_ms\":0.1"

/* An agent whose rows may be as coarse as delta, with a worker. */
static struct hall *open_pair(void **state, float max_delta, uint32_t tpot_ms)
{
	struct hall *h = *state;
	struct agent_core_conf conf = toy_agent_conf();

	toy_close_node(&h->agent_node);
	agent_core_destroy(h->agent);
	conf.tokenizer = h->tokenizer;
	conf.max_delta = max_delta;
	conf.tpot_ms = tpot_ms;
	hall_open_agent(h, &conf, 0);
	hall_open_worker(h, 0);
	hall_pass(h, 400);
	return h;
}

static const struct msg_stats *ask(struct hall *h, const char *keys)
{
	hall_forget(h);
	hall_ask(h, "a", keys);
	hall_pass(h, 200);
	assert_int_equal(hall_final(h, "a")->error, 0);
	return &hall_final(h, "a")->stats;
}

static void a_session_whose_tokens_are_late_gets_coarser_rows(void **state)
{
	struct hall *h = open_pair(state, 0.02f, 0);
	const struct msg_stats *st = ask(h, "");

	assert_int_equal(st->levels_down, 0); /* nothing was wanted */
	assert_string_equal(st->codec, "f32");
	st = ask(h, TOO_FAST);
	assert_true(st->levels_down > 0);
	assert_non_null(strstr(st->codec, "tabq"));
	st = ask(h, "\"tpot_ms\":1000");
	assert_int_equal(st->levels_down, 0);
	assert_string_equal(st->codec, "f32");
}

static void what_the_configuration_wants_holds_where_the_prompt_is_silent(void **state)
{
	struct hall *h = open_pair(state, 0.02f, 1);

	h->hold_tails = true;
	hall_ask(h, "a", "");
	for (unsigned i = 0; i < 40; i++) { /* a token takes 10 ms */
		h->hold_tails = false;
		hall_pass(h, 1);
		h->hold_tails = true;
		hall_pass(h, 9);
	}
	assert_true(hall_final(h, "a")->stats.levels_down > 0);
	h->hold_tails = false;
	assert_int_equal(ask(h, "\"tpot_ms\":1000")->levels_down, 0);
}

static void a_codec_that_the_prompt_named_stays(void **state)
{
	struct hall *h = open_pair(state, 0.02f, 0);
	const struct msg_stats *st = ask(h, "\"codec\":\"q8\"," TOO_FAST);

	assert_int_equal(st->levels_down, 0);
	assert_string_equal(st->codec, "q8");
}

static void nothing_is_lost_where_nothing_may_be(void **state)
{
	struct hall *h = open_pair(state, 0, 0);

	ask(h, TOO_FAST);
	hall_assert_answered(h, "a");
	assert_int_equal(hall_final(h, "a")->stats.levels_down, 0);
}

static void who_sends_no_rows_has_none_to_make_coarser(void **state)
{
	struct hall *h = open_pair(state, 0.02f, 0);
	const struct msg_stats *st = ask(h, "\"split\":4," TOO_FAST);

	assert_int_equal(st->levels_down, 0);
	hall_assert_answered(h, "a");
}

/* Of two chunks, the second one; its only token comes too late to be the reason. */
static void a_prompt_that_takes_too_long_gets_coarser_before_its_first_token(void **state)
{
	struct hall *h = open_pair(state, 0.02f, 0);
	char text[256];

	for (unsigned hurries = 0; hurries < 2; hurries++) {
		snprintf(text, sizeof(text),
			 "{\"prompt\":\"%080d\",\"id\":\"a\",\"max_tokens\":1,\"ttft_ms\":%s}", 0,
			 hurries ? "20" : "10000");
		hall_forget(h);
		h->hold_heads = true;
		hall_publish(h, "splitmq/v1/sim/agent/gw/prompt", text, false);
		hall_pass(h, 30);
		h->hold_heads = false;
		hall_pass(h, 200);
		assert_int_equal(hall_final(h, "a")->error, 0);
		assert_int_equal(hall_final(h, "a")->stats.levels_down, hurries);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, hall_open, hall_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_session_whose_tokens_are_late_gets_coarser_rows),
		TEST(what_the_configuration_wants_holds_where_the_prompt_is_silent),
		TEST(a_codec_that_the_prompt_named_stays),
		TEST(nothing_is_lost_where_nothing_may_be),
		TEST(who_sends_no_rows_has_none_to_make_coarser),
		TEST(a_prompt_that_takes_too_long_gets_coarser_before_its_first_token),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
