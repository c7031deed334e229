/* tests/test_sim_drafts.c - real agent, workers and coordinator (tests/world.h): rows of guessed
 * tokens go out as drafts, right or wrong, and change no token. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "base/log.h"
#include "tests/world.h"

static const char *const codecs[] = {
	NULL, /* f32 */
	"tabq:delta=0.01",
	"tabq:delta=0.05,predict=tokens",
	"tabq:delta=0.001,predict=rows,entropy=none",
	"tabq:delta=0.1,entropy=lz4",
	"q4",
};

#define CODECS (sizeof(codecs) / sizeof(codecs[0]))

static struct world *drafting(uint64_t seed)
{
	struct world *w = world_with(seed, codecs[seed % CODECS], NULL);

	w->draft_percent = 50;
	return w;
}

static unsigned finish(struct world *w, unsigned kills, unsigned cuts)
{
	const unsigned drafts = (world_run(w, kills, cuts, 600000), w->drafts);

	world_check(w);
	world_destroy(w);
	return drafts;
}

static void guesses_change_no_token(void **state)
{
	unsigned drafts = 0;

	(void)state;
	for (uint64_t seed = 1000; seed < 1060; seed++) {
		struct world *w = drafting(seed);

		w->quiet = true;
		w->max_delay_ms = seed % 2 * 5;
		drafts += finish(w, 0, 0);
	}
	assert_true(drafts > 1000);
}

static void drops_repetitions_and_reordering_of_drafts_change_no_token(void **state)
{
	(void)state;
	for (uint64_t seed = 1100; seed < 1220; seed++) {
		struct world *w = drafting(seed);

		w->drop_percent = 10;
		w->double_percent = 10;
		w->max_delay_ms = 30;
		assert_true(finish(w, 0, 0) > 0);
	}
}

static void dead_workers_and_cut_links_change_no_token(void **state)
{
	(void)state;
	for (uint64_t seed = 1300; seed < 1420; seed++) {
		struct world *w = drafting(seed);

		w->drop_percent = 3;
		w->double_percent = 3;
		w->max_delay_ms = 10;
		finish(w, 6, 4);
	}
}

/* Up, down, to no worker at all and back. */
static void splits_move_behind_drafts(void **state)
{
	unsigned raised = 0, lowered = 0;

	(void)state;
	for (uint64_t seed = 1500; seed < 1600; seed++) {
		struct world *w = world_create(seed);

		w->draft_percent = 50;
		w->splits_move = true;
		w->quiet = seed < 1540;
		w->drop_percent = w->double_percent = 5;
		w->max_delay_ms = w->quiet ? 0 : 20;
		world_run(w, seed % 4, seed % 3, 600000);
		world_check(w);
		raised += w->raised;
		lowered += w->lowered;
		world_destroy(w);
	}
	assert_true(raised > 200 && lowered > 200);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(guesses_change_no_token),
		cmocka_unit_test(drops_repetitions_and_reordering_of_drafts_change_no_token),
		cmocka_unit_test(dead_workers_and_cut_links_change_no_token),
		cmocka_unit_test(splits_move_behind_drafts),
	};

	log_set_level(getenv("SPLITMQ_SIM_LOG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
