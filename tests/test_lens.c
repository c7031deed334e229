/* tests/test_lens.c - tokens guessed from rows (agent/lens.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "agent/lens.h"
#include "base/rng.h"

#define DIM   64u
#define KINDS 20u /* of rows; each is followed by a token of its own */

static int no_embedding(void *ctx, uint32_t id, float *x)
{
	(void)ctx;
	(void)id;
	(void)x;
	return -1;
}

static struct lens *open_lens(size_t dim)
{
	struct lens *l;

	assert_int_equal(lens_create(&l, dim, no_embedding, NULL), 0);
	return l;
}

static float uniform(uint64_t stream, uint64_t i)
{
	return (float)(rng_u64(stream, i) % 2001) / 1000 - 1;
}

/* A row of this kind: its own direction, any length, and noise that is new each time. */
static void make_row(float x[DIM], uint32_t kind, uint64_t time)
{
	for (uint32_t i = 0; i < DIM; i++)
		x[i] = (float)(1 + time % 7) *
		       (uniform(1 + kind, i) + 0.3f * uniform(100 + time, i));
}

static uint32_t token_of(uint32_t kind)
{
	return 3 * kind + 1;
}

/* One more row, and what came behind it. Returns whether that was guessed. */
static bool step(struct lens *l, uint32_t split, uint32_t time, const uint32_t *rival)
{
	const uint32_t kind = (uint32_t)(rng_u64(9, time) % KINDS);
	float x[DIM];
	uint32_t id;
	double p;
	bool right;

	make_row(x, kind, time);
	lens_keep(l, 0, split, time, x, rival);
	right = lens_guess(l, 0, time, &id, &p) && id == token_of(kind);
	lens_told(l, 0, time, token_of(kind));
	while (lens_wants(l))
		lens_learn(l);
	return right;
}

static void it_learns_what_follows_on_rows(void **state)
{
	const uint32_t rival = 1; /* right once in twenty tokens */
	struct lens *l = open_lens(DIM);
	unsigned right = 0;
	uint32_t time = 0;

	(void)state;
	assert_false(lens_is_better(l));
	for (; time < 500; time++)
		(void)step(l, 4, time, &rival);
	for (; time < 700; time++)
		right += step(l, 4, time, &rival);
	assert_true(right > 180);
	assert_true(lens_is_better(l));
	right = 0;
	for (; time < 720; time++)
		right += step(l, 5, time, &rival); /* of another split: nothing is known of it */
	assert_true(right < 15);
	lens_destroy(l);
}

static void probabilities_say_how_often_it_is_right(void **state)
{
	struct lens *l = open_lens(DIM);
	double sum = 0;
	unsigned right = 0;
	float x[DIM];

	(void)state;
	for (uint32_t time = 0; time < 4000; time++) {
		const uint32_t coin = rng_u64(7, time) % 4 == 0; /* what comes is one of two */
		uint32_t id;
		double p;

		make_row(x, 0, time);
		lens_keep(l, 0, 4, time, x, NULL);
		if (lens_guess(l, 0, time, &id, &p) && time >= 1000) {
			right += id == coin;
			sum += p;
		}
		lens_told(l, 0, time, coin);
		lens_learn(l);
	}
	assert_true(right > 3000 * 0.6);
	assert_true(sum > right * 0.8 && sum < right * 1.2);
	lens_destroy(l);
}

/* The rival is always right, or only where it does not count. */
static void it_must_be_better_than_what_else_guesses(void **state)
{
	struct lens *l = open_lens(DIM);

	(void)state;
	for (uint32_t time = 0; time < 600; time++) {
		const uint32_t truth = token_of((uint32_t)(rng_u64(9, time) % KINDS));

		(void)step(l, 4, time, &truth);
		assert_false(lens_is_better(l));
	}
	for (uint32_t time = 600; time < 800; time++)
		(void)step(l, 4, time, NULL);
	assert_false(lens_is_better(l));
	lens_destroy(l);
}

/* Rows are those of their sessions and positions, and nothing is learned that was not told. */
static void rows_are_kept_apart(void **state)
{
	struct lens *l = open_lens(DIM);
	uint32_t id;
	float x[DIM];
	double p;

	(void)state;
	make_row(x, 1, 0);
	lens_keep(l, 1, 4, 10, x, NULL);
	make_row(x, 2, 0);
	lens_keep(l, 2, 4, 10, x, NULL);
	assert_false(lens_wants(l));
	assert_false(lens_guess(l, 1, 10, &id, &p)); /* nothing is known */
	lens_told(l, 3, 10, 5);
	lens_told(l, 1, 11, 5);
	assert_false(lens_wants(l));
	for (unsigned i = 0; i < 50; i++) {
		lens_told(l, 1, 10, 100);
		lens_learn(l);
		lens_told(l, 2, 10, 200);
		lens_learn(l);
	}
	assert_true(lens_guess(l, 1, 10, &id, &p) && id == 100);
	assert_true(lens_guess(l, 2, 10, &id, &p) && id == 200);
	assert_false(lens_guess(l, 1, 9, &id, &p));
	lens_destroy(l);
}

/* Where there is room for four tokens, the fifth one takes the place of the oldest. */
static void the_token_that_was_not_seen_for_longest_gives_way(void **state)
{
	const size_t dim = LENS_BYTES_MAX / sizeof(float) / 4;
	float *x = calloc(dim, sizeof(*x));
	struct lens *l = open_lens(dim);
	uint32_t id;
	double p;

	(void)state;
	assert_non_null(x);
	for (uint32_t i = 0; i < 5; i++) {
		memset(x, 0, dim * sizeof(*x));
		x[i] = 1;
		lens_keep(l, 0, 4, i, x, NULL);
		for (unsigned k = 0; k < 20; k++) {
			lens_told(l, 0, i, 10 + i);
			lens_learn(l);
		}
	}
	for (uint32_t i = 0; i < 5; i++) {
		assert_true(lens_guess(l, 0, i, &id, &p));
		assert_int_equal(id == 10 + i, i > 0);
	}
	lens_destroy(l);
	free(x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_learns_what_follows_on_rows),
		cmocka_unit_test(probabilities_say_how_often_it_is_right),
		cmocka_unit_test(it_must_be_better_than_what_else_guesses),
		cmocka_unit_test(rows_are_kept_apart),
		cmocka_unit_test(the_token_that_was_not_seen_for_longest_gives_way),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
