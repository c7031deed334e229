/* tests/test_sim_moves.c - real agent, workers and coordinator (tests/world.h): decisions change
 * codec and split while sessions run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "tests/world.h"

static void decide(struct world *w, const char *spec)
{
	char text[256];

	snprintf(text, sizeof(text),
		 "{\"type\":\"decision\",\"agent\":\"gw\",\"number\":99999,\"split\":2,"
		 "\"codec\":\"%s\"}",
		 spec);
	world_tell(w, text);
}

static bool is_tabq(const char *spec)
{
	return !strncmp(spec, "tabq", 4);
}

/* A prompt whose codec changes after a few tokens. False when the answer was shorter. */
static bool change_codec(struct world *w)
{
	uint32_t n;

	for (unsigned i = 0; i < 3000; i++) /* the decision about the first codec is out */
		world_advance(w);
	world_ask(w, 0, false);
	for (unsigned i = 0; i < 60000 && !w->finished && !w->codecs[w->n_asked + 2]; i++)
		world_advance(w);
	decide(w, w->codec.later);
	for (unsigned i = 0; i < 600000 && !w->finished; i++)
		world_advance(w);
	assert_int_equal(w->finals[0], 1);
	assert_int_equal(w->errors[0], 0);
	for (n = w->n_asked; n < TOY_CONTEXT && w->codecs[n]; n++) {
		if ((w->codecs[n] > CODEC_TABQ) == is_tabq(w->codec.later))
			break;
	}
	if (n == TOY_CONTEXT || !w->codecs[n])
		return false;
	w->codec.change = n;
	for (; n < TOY_CONTEXT && w->codecs[n]; n++)
		assert_true((w->codecs[n] > CODEC_TABQ) == is_tabq(w->codec.later));
	n = toy_answer_in(&w->codec, w->asked, w->n_asked, w->n_got, 7, w->expected[0]);
	assert_int_equal(n, w->n_got);
	assert_memory_equal(w->got, w->expected[0], n * sizeof(w->got[0]));
	return true;
}

static void a_codec_that_a_decision_changes_is_followed_between_two_tokens(void **state)
{
	static const char *const pairs[][2] = { { "f32", "tabq:delta=0.01" },
						{ "tabq:delta=0.01", "q8" },
						{ "q4", "tabq:delta=0.05,predict=rows" },
						{ "tabq:predict=tokens", "f16" } };
	unsigned changed = 0;

	(void)state;
	for (uint64_t seed = 700; seed < 740; seed++) {
		struct world *w = world_with(seed, pairs[seed % 4][0], pairs[seed % 4][1]);

		w->quiet = seed < 720;
		w->drop_percent = w->double_percent = 5;
		w->max_delay_ms = w->quiet ? 0 : 10;
		changed += change_codec(w);
		world_destroy(w);
	}
	assert_in_range(changed, 15, 40);
}

/* Up, down, to no worker at all and back. */
static void splits_move_while_sessions_run(void **state)
{
	unsigned raised = 0, lowered = 0, fills = 0, values = 0;

	(void)state;
	for (uint64_t seed = 800; seed < 840; seed++) {
		struct world *w = world_create(seed);

		w->splits_move = true;
		w->quiet = seed < 820;
		w->drop_percent = w->double_percent = 5;
		w->max_delay_ms = w->quiet ? 0 : 20;
		world_run(w, 0, 0, 600000);
		world_check(w);
		raised += w->raised;
		lowered += w->lowered;
		fills += w->fills;
		values += w->values;
		world_destroy(w);
	}
	print_message("%u up, %u down, %u frames of rows and %u of values\n", raised, lowered,
		      fills, values);
	assert_true(raised > 100 && lowered > 100 && fills > 5 && values > 100);
}

static void dead_workers_and_cut_links_do_not_harm_a_move(void **state)
{
	(void)state;
	for (uint64_t seed = 900; seed < 980; seed++) {
		struct world *w = world_create(seed);

		w->splits_move = true;
		w->drop_percent = 3;
		w->double_percent = 3;
		w->max_delay_ms = 10;
		world_run(w, 6, 4, 600000);
		world_check(w);
		world_destroy(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_codec_that_a_decision_changes_is_followed_between_two_tokens),
		cmocka_unit_test(splits_move_while_sessions_run),
		cmocka_unit_test(dead_workers_and_cut_links_do_not_harm_a_move),
	};

	log_set_level(getenv("SPLITMQ_SIM_LOG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
