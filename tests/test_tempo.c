/* tests/test_tempo.c - how long steps take by their rows, as a planner is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "worker/tempo.h"

static void assert_near(double got, double wanted, double share)
{
	if (!(fabs(got - wanted) <= share * wanted))
		fail_msg("%g is not near %g", got, wanted);
}

/* n steps of so many rows of sessions with that split: a layer takes 20 + 5 us a row, all else 50 +
 * 30 us a row. */
static void run(struct tempo *p, unsigned n, uint32_t rows, uint32_t layers)
{
	for (unsigned i = 0; i < n; i++)
		tempo_learn(p, &(struct tempo_step){ .row_layers = (double)rows * layers,
						     .layers = layers,
						     .answers = rows,
						     .layers_us = layers * (20 + 5 * rows),
						     .rest_us = 50 + 30 * rows });
}

static void nothing_is_known_at_first(void **state)
{
	struct msg_batch b[MSG_BATCHES_MAX];
	struct tempo p = { 0 };

	(void)state;
	assert_int_equal(tempo_batches(&p, b), 0);
	tempo_learn(&p, &(struct tempo_step){ .rest_us = 100 }); /* no row ran */
	assert_int_equal(tempo_batches(&p, b), 0);
}

static void only_sizes_that_ran_are_told_by_rows(void **state)
{
	struct msg_batch b[MSG_BATCHES_MAX];
	struct tempo p = { 0 };

	(void)state;
	run(&p, 3, 64, 6);
	run(&p, 3, 1, 6);
	assert_int_equal(tempo_batches(&p, b), 2);
	assert_int_equal(b[0].rows, 1);
	assert_near(b[0].layer_ms, 0.025, 1e-3);
	assert_near(b[0].head_ms, 0.08, 1e-3);
	assert_int_equal(b[1].rows, 64);
	assert_near(b[1].layer_ms, 0.34, 1e-3);
}

static void figures_are_brought_to_the_size_that_is_told(void **state)
{
	struct msg_batch b[MSG_BATCHES_MAX];
	struct tempo p = { 0 };

	(void)state;
	run(&p, 9, 1, 6);
	run(&p, 9, 43, 6); /* prompts of 43 tokens, told as 32 rows */
	assert_int_equal(tempo_batches(&p, b), 2);
	assert_int_equal(b[1].rows, 32);
	assert_near(b[1].layer_ms, 0.18, 0.01);
	assert_near(b[1].head_ms, 1.01, 0.01);
}

/* Prompts of 40 rows, with one answer: decoding takes 14 us a row, all else of the rest 80 us. */
static void decoding_of_prompts_is_told_apart(void **state)
{
	struct msg_batch b[MSG_BATCHES_MAX];
	struct tempo p = { 0 };

	(void)state;
	run(&p, 3, 1, 6);
	assert_true(tempo_decode_ms(&p) == 0);
	for (unsigned i = 0; i < 3 * COST_KEPT; i++)
		tempo_learn(&p, &(struct tempo_step){ .row_layers = 40 * 6,
						      .layers = 6,
						      .answers = i % 2,
						      .layers_us = 6 * 220,
						      .rest_us = 40 * 14 + (i % 2 ? 80 : 0),
						      .decoded = 40,
						      .decode_us = 40 * 14 });
	assert_near(tempo_decode_ms(&p), 0.014, 1e-3);
	assert_int_equal(tempo_batches(&p, b), 2);
	assert_near(b[0].head_ms, 0.08, 0.01);
}

/* Rows of many sessions have an answer each: their decoding is part of the step. */
static void decoding_of_decode_rows_stays_where_it_is(void **state)
{
	struct msg_batch b[MSG_BATCHES_MAX];
	struct tempo p = { 0 };

	(void)state;
	for (unsigned i = 0; i < COST_KEPT; i++)
		tempo_learn(&p, &(struct tempo_step){ .row_layers = 16 * 6,
						      .layers = 6,
						      .answers = 16,
						      .layers_us = 6 * 100,
						      .rest_us = 530,
						      .decoded = 16,
						      .decode_us = 200 });
	assert_true(tempo_decode_ms(&p) == 0);
	assert_int_equal(tempo_batches(&p, b), 1);
	assert_near(b[0].head_ms, 0.53, 0.01);
}

static void one_size_alone_is_never_told_cheaper_than_its_rows(void **state)
{
	struct msg_batch b[MSG_BATCHES_MAX];
	struct tempo p = { 0 };

	(void)state;
	run(&p, 3, 7, 6);
	assert_int_equal(tempo_batches(&p, b), 1);
	assert_int_equal(b[0].rows, 4);
	assert_near(b[0].layer_ms, 0.055 * 4 / 7, 0.01);
}

static void layers_are_those_of_the_step_rows_parts_of_rows(void **state)
{
	struct msg_batch b[MSG_BATCHES_MAX];
	struct tempo p = { 0 };

	(void)state;
	/* one row through 8 layers and one through 4: a step of 1.5 rows */
	tempo_learn(&p, &(struct tempo_step){ .row_layers = 12,
					      .layers = 8,
					      .answers = 2,
					      .layers_us = 800,
					      .rest_us = 100 });
	assert_int_equal(tempo_batches(&p, b), 1);
	assert_int_equal(b[0].rows, 1);
	assert_near(b[0].layer_ms, 0.1 / 1.5, 0.01);
}

static void a_prompt_has_one_answer_however_long_it_is(void **state)
{
	struct msg_batch b[MSG_BATCHES_MAX];
	struct tempo p = { 0 };

	(void)state;
	run(&p, 9, 1, 6);
	run(&p, 9, 8, 6);
	for (unsigned i = 0; i < 9; i++) {
		tempo_learn(&p, &(struct tempo_step){ .row_layers = 14 * 6,
						      .layers = 6,
						      .answers = 1,
						      .layers_us = 6 * 90,
						      .rest_us = 80 });
		tempo_learn(&p, &(struct tempo_step){ .row_layers = 64 * 6, /* not its last chunk */
						      .layers = 6,
						      .layers_us = 6 * 340,
						      .rest_us = 5 });
	}
	assert_int_equal(tempo_batches(&p, b), 3);
	assert_near(b[0].head_ms, 0.08, 0.01);
	assert_near(b[1].head_ms, 0.29, 0.01);
	assert_int_equal(b[2].rows, 64);
	assert_near(b[2].head_ms, 1.97, 0.01); /* if 64 sessions decoded */
}

static void all_sizes_fit_a_message(void **state)
{
	struct msg_batch b[MSG_BATCHES_MAX];
	struct tempo p = { 0 };

	(void)state;
	for (uint32_t rows = 1; rows <= 256; rows *= 2)
		run(&p, 2, rows, 4);
	assert_int_equal(tempo_batches(&p, b), MSG_BATCHES_MAX);
	assert_int_equal(b[6].rows, 64);
	assert_int_equal(b[7].rows, 256);
	for (unsigned i = 0; i < MSG_BATCHES_MAX; i++)
		assert_near(b[i].layer_ms, (20 + 5.0 * b[i].rows) / 1000, 1e-3);
}

/* One in eight takes three times as long, and one stands still for a second. */
static void steps_of_one_row_are_told_as_what_they_add_up_to(void **state)
{
	struct msg_batch b[MSG_BATCHES_MAX];
	struct tempo p = { 0 };

	(void)state;
	for (unsigned i = 0; i < 512; i++) {
		const uint32_t us = i == 450 ? 1000000 : i % 8 ? 100 : 300;

		tempo_learn(&p, &(struct tempo_step){ .row_layers = 4,
						      .layers = 4,
						      .answers = 1,
						      .layers_us = 4 * us,
						      .rest_us = us });
	}
	assert_int_equal(tempo_batches(&p, b), 1);
	assert_near(b[0].layer_ms, 0.125, 0.02);
	assert_near(b[0].head_ms, 0.125, 0.02);
}

/* 64 rows ran once, at the start, while others had the machine; prompts have 40. */
static void what_ran_once_is_dearer_for_each_row_by_nothing(void **state)
{
	struct msg_batch b[MSG_BATCHES_MAX];
	struct tempo p = { 0 };
	struct tempo_step slow = { .row_layers = 64 * 6,
				   .layers = 6,
				   .row_layer_positions = 64 * 6 * 32,
				   .layers_us = 6 * 2000 };

	(void)state;
	tempo_learn(&p, &slow);
	run(&p, 5, 40, 6);
	assert_int_equal(tempo_batches(&p, b), 2);
	assert_near(b[1].layer_ms, 2 * b[0].layer_ms, 1e-3);
	for (unsigned i = 0; i < COST_KEPT; i++) /* so it is */
		tempo_learn(&p, &slow);
	assert_int_equal(tempo_batches(&p, b), 2);
	assert_near(b[1].layer_ms, 2, 0.01);
}

/* A step whose rows take 25 us a layer, and 0.1 us more for each position. */
static struct tempo_step deep_step(uint32_t rows, double at)
{
	return (struct tempo_step){ .row_layers = rows * 6,
				    .layers = 6,
				    .row_layer_positions = rows * 6 * at,
				    .answers = 1,
				    .layers_us = (uint32_t)(rows * 6 * (25 + 0.1 * at)) };
}

static void what_positions_take_is_learned(void **state)
{
	struct msg_batch b[MSG_BATCHES_MAX];
	struct tempo p = { 0 };
	struct tempo_step s, late;

	(void)state;
	for (unsigned at = 0; at < 300; at++) {
		s = deep_step(1, at);
		tempo_learn(&p, &s);
		s = deep_step(4, 10);
		tempo_learn(&p, &s);
	}
	assert_int_equal(tempo_batches(&p, b), 2);
	assert_near(b[0].at, 171.5, 0.01); /* the newest steps', as the time */
	assert_near(b[0].layer_ms, 0.04215, 0.01);
	assert_near(b[0].deeper_ms, 0.1, 0.05); /* 1000 positions */
	assert_int_equal(b[1].rows, 4);
	assert_near(b[1].at, 10, 0.01);
	assert_near(b[1].deeper_ms, 0.1, 0.05); /* for each of its rows */
	s = deep_step(64, 32);
	tempo_learn(&p, &s);
	late = deep_step(64, 500);
	late.layers_us += 64 * 6 * 30;
	tempo_deeper(&p, &s, &late);
	assert_int_equal(tempo_batches(&p, b), 3);
	assert_near(b[2].deeper_ms, 0.1 + 1000 * 0.03 / 468, 0.05);
	assert_near(b[0].deeper_ms, 0.1, 0.05);
	tempo_deeper(&p, &(struct tempo_step){ 0 }, &late); /* there was no time for one */
	assert_near(b[2].deeper_ms, 0.1 + 1000 * 0.03 / 468, 0.05);
}

/* Of steps of more rows, each has attention of its own; of a chunk, as long as it has not told. */
static void before_positions_told_what_they_take_the_models_shape_does(void **state)
{
	struct msg_batch b[MSG_BATCHES_MAX];
	struct tempo p = { 0 };
	struct tempo_step s;

	(void)state;
	tempo_shape(&p, 0.002 / DEPTH_DEAR);
	for (unsigned i = 0; i < 3; i++) {
		s = deep_step(1u << 3 * i, 40);
		tempo_learn(&p, &s);
	}
	assert_int_equal(tempo_batches(&p, b), 3);
	for (unsigned i = 0; i < 3; i++)
		assert_near(b[i].deeper_ms, 1000 * 0.002 * 0.029 / 1.08, 0.01);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_known_at_first),
		cmocka_unit_test(only_sizes_that_ran_are_told_by_rows),
		cmocka_unit_test(figures_are_brought_to_the_size_that_is_told),
		cmocka_unit_test(decoding_of_prompts_is_told_apart),
		cmocka_unit_test(decoding_of_decode_rows_stays_where_it_is),
		cmocka_unit_test(one_size_alone_is_never_told_cheaper_than_its_rows),
		cmocka_unit_test(layers_are_those_of_the_step_rows_parts_of_rows),
		cmocka_unit_test(a_prompt_has_one_answer_however_long_it_is),
		cmocka_unit_test(all_sizes_fit_a_message),
		cmocka_unit_test(steps_of_one_row_are_told_as_what_they_add_up_to),
		cmocka_unit_test(what_ran_once_is_dearer_for_each_row_by_nothing),
		cmocka_unit_test(what_positions_take_is_learned),
		cmocka_unit_test(before_positions_told_what_they_take_the_models_shape_does),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
