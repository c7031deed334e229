/* tests/test_sim.c - real agent, workers and coordinator (tests/world.h): faults change no token.
 *
 * One row lost, doubled or out of place changes every later token. What must hold: every prompt
 * gets exactly one final reply, with exactly the tokens of an undisturbed run through the same
 * codec, be it one that loses something and predicts rows. Prints its seed when it fails. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "agent/report.h"
#include "base/log.h"
#include "tests/world.h"

static void the_answers_of_a_quiet_world_are_those_of_the_model(void **state)
{
	unsigned decided = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct world *w = world_create(seed);

		w->quiet = true;
		world_run(w, 0, 0, 120000);
		world_check(w);
		/* f16 before the decision comes, which is late in some worlds; then what it says */
		assert_int_equal(w->head_types, w->tail_types);
		decided += w->tail_types >> KV_Q8_0 & 1;
		assert_int_equal(w->tail_types & ~(1u << KV_F16 | 1u << KV_Q8_0), 0);
		world_destroy(w);
	}
	assert_in_range(decided, 10, 20);
}

static void no_row_is_run_twice_when_nothing_is_lost(void **state)
{
	struct world *w = world_create(99);
	uint32_t rows = 0;

	(void)state;
	w->quiet = true;
	world_ask(w, 0, false);
	for (unsigned i = 0; i < 20000 && !w->finished; i++)
		world_advance(w);
	assert_int_equal(w->finals[0], 1);
	rows = w->worker_runs;
	assert_true(rows >= w->n_expected[0] && rows <= w->n_expected[0] + 32);
	w->finished = 0;
	world_destroy(w);
}

static void telemetry_tells_what_is_left_and_how_far_the_worker_is(void **state)
{
	struct world *w = world_create(98);
	struct msg_telemetry t = { 0 };
	uint32_t first;

	(void)state;
	w->quiet = true;
	report_telemetry(w->agent, w->now_us, &t);
	assert_int_equal(t.n_remaining, 0);
	assert_int_equal(t.link.samples, 0);
	world_ask(w, 0, false);
	for (unsigned i = 0; i < 20000 && !t.link.samples; i++) {
		world_advance(w);
		t = (struct msg_telemetry){ 0 };
		report_telemetry(w->agent, w->now_us, &t);
	}
	assert_int_equal(t.n_remaining, 1); /* it has its first token */
	first = t.remaining[0].tokens;
	assert_true(first > 0 && t.remaining[0].kv_tokens > 0 && t.remaining[0].deadline_ms > 0);
	assert_true(t.link.rtt_ms > 0 && t.link.rtt_ms < 1000);
	for (unsigned i = 0; i < 20000 && !w->finished; i++)
		world_advance(w);
	assert_int_equal(w->finals[0], 1);
	t = (struct msg_telemetry){ 0 };
	report_telemetry(w->agent, w->now_us, &t);
	assert_int_equal(t.n_remaining, 0);
	assert_true(t.tokens > 1 && t.link.samples <= t.tokens && t.link.samples > 1);
	w->finished = 0;
	world_destroy(w);
}

static void drops_repetitions_and_reordering_change_no_token(void **state)
{
	(void)state;
	for (uint64_t seed = 100; seed < 160; seed++) {
		struct world *w = world_create(seed);

		w->drop_percent = 10;
		w->double_percent = 10;
		w->max_delay_ms = 30;
		world_run(w, 0, 0, 600000);
		world_check(w);
		world_destroy(w);
	}
}

static void dead_workers_and_cut_links_change_no_token(void **state)
{
	(void)state;
	for (uint64_t seed = 200; seed < 260; seed++) {
		struct world *w = world_create(seed);

		w->drop_percent = 3;
		w->double_percent = 3;
		w->max_delay_ms = 10;
		world_run(w, 6, 4, 600000);
		world_check(w);
		world_destroy(w);
	}
}

static const char *const lossy[] = {
	"tabq:delta=0.01",
	"tabq:delta=0.05,predict=tokens",
	"tabq:delta=0.001,predict=rows,entropy=none",
	"tabq:delta=0.1,entropy=lz4",
	"q4",
};

#define LOSSY (sizeof(lossy) / sizeof(lossy[0]))

static void rows_that_are_predicted_give_the_answers_of_a_quiet_world(void **state)
{
	(void)state;
	for (uint64_t seed = 400; seed < 420; seed++) {
		struct world *w = world_with(seed, lossy[seed % LOSSY], NULL);

		w->quiet = true;
		world_run(w, 0, 0, 120000);
		world_check(w);
		world_destroy(w);
	}
}

static void drops_and_repetitions_do_not_part_the_ends_of_the_codec(void **state)
{
	(void)state;
	for (uint64_t seed = 500; seed < 540; seed++) {
		struct world *w = world_with(seed, lossy[seed % LOSSY], NULL);

		w->drop_percent = 10;
		w->double_percent = 10;
		w->max_delay_ms = 30;
		world_run(w, 0, 0, 600000);
		world_check(w);
		world_destroy(w);
	}
}

static void another_worker_predicts_what_the_dead_one_did(void **state)
{
	(void)state;
	for (uint64_t seed = 600; seed < 640; seed++) {
		struct world *w = world_with(seed, lossy[seed % LOSSY], NULL);

		w->drop_percent = 3;
		w->double_percent = 3;
		w->max_delay_ms = 10;
		world_run(w, 6, 4, 600000);
		world_check(w);
		world_destroy(w);
	}
}

static void without_any_worker_a_session_fails_by_its_deadline(void **state)
{
	struct world *w = world_create(300);
	uint64_t asked_us;

	(void)state;
	w->quiet = true;
	for (unsigned i = 0; i < WORLD_WORKERS; i++) {
		world_kill_worker(w, i);
		w->workers[i].back_us = UINT64_MAX;
	}
	world_ask(w, 0, false);
	asked_us = w->now_us;
	while (!w->finished && w->now_us < asked_us + 200000000)
		world_advance(w);
	assert_int_equal(w->finals[0], 1);
	assert_int_equal(w->errors[0], ERR_TIMEOUT);
	assert_in_range(w->now_us - asked_us, 120000000, 120100000);
	world_destroy(w);
}

static void split_equal_to_the_layers_needs_no_worker(void **state)
{
	struct world *w = world_create(301);

	(void)state;
	w->quiet = true;
	world_ask(w, 0, true);
	for (unsigned i = 0; i < 20000 && !w->finished; i++)
		world_advance(w);
	assert_int_equal(w->finals[0], 1);
	assert_int_equal(w->errors[0], 0);
	assert_int_equal(w->worker_runs, 0);
	world_destroy(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_answers_of_a_quiet_world_are_those_of_the_model),
		cmocka_unit_test(no_row_is_run_twice_when_nothing_is_lost),
		cmocka_unit_test(telemetry_tells_what_is_left_and_how_far_the_worker_is),
		cmocka_unit_test(drops_repetitions_and_reordering_change_no_token),
		cmocka_unit_test(dead_workers_and_cut_links_change_no_token),
		cmocka_unit_test(rows_that_are_predicted_give_the_answers_of_a_quiet_world),
		cmocka_unit_test(drops_and_repetitions_do_not_part_the_ends_of_the_codec),
		cmocka_unit_test(another_worker_predicts_what_the_dead_one_did),
		cmocka_unit_test(without_any_worker_a_session_fails_by_its_deadline),
		cmocka_unit_test(split_equal_to_the_layers_needs_no_worker),
	};

	log_set_level(getenv("SPLITMQ_SIM_LOG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
