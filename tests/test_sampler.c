#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "engine/sampler.h"

#define VOCAB 5

/* Softmax of these: 0.636, 0.234, 0.086, 0.032, 0.012 for ids 3, 0, 4, 1, 2. */
static const float logits[VOCAB] = { 1, -1, -2, 2, 0 };

static struct sampler *make(uint32_t n)
{
	struct sampler *s = NULL;

	assert_int_equal(sampler_create(&s, n), 0);
	return s;
}

static uint32_t pick(struct sampler *s, struct sampler_params p, const float *x, uint32_t position)
{
	uint32_t id = UINT32_MAX;

	assert_int_equal(sampler_pick(s, &p, x, NULL, 0, position, &id), 0);
	return id;
}

/* How often each id is drawn in `draws` positions, as a share. */
static void shares(struct sampler_params p, unsigned draws, double share[VOCAB])
{
	struct sampler *s = make(VOCAB);

	memset(share, 0, VOCAB * sizeof(*share));
	for (unsigned i = 0; i < draws; i++)
		share[pick(s, p, logits, i)] += 1.0 / draws;
	sampler_destroy(s);
}

static void greedy_takes_the_lowest_id_of_a_tie(void **state)
{
	const float tie[VOCAB] = { 0, 7, -1, 7, 7 };
	struct sampler *s = make(VOCAB);

	(void)state;
	assert_int_equal(pick(s, SAMPLER_DEFAULTS, tie, 0), 1);
	assert_int_equal(pick(s, SAMPLER_DEFAULTS, logits, 0), 3);
	sampler_destroy(s);
}

/* Blocks, their ends, ties across them, both zeros, and what a temperature would do. */
static void greedy_is_the_first_of_the_largest_wherever_it_is(void **state)
{
	enum { N = 5000 };
	static const float few[] = { -2, -1, -0.0f, 0.0f, -INFINITY };
	struct sampler *s = make(N);
	float *x = malloc(N * sizeof(*x));

	(void)state;
	assert_non_null(x);
	for (uint32_t round = 0; round < 300; round++) {
		const uint64_t seed = round + 1;
		uint32_t first = 0;

		for (uint32_t i = 0; i < N; i++)
			x[i] = round % 2 ? few[rng_u64(seed, i) % (2 + round % 4)]
					 : (float)rng_unit(seed, i) - 2;
		for (uint32_t i = 0; i < 3; i++)
			x[rng_u64(seed, N + i) % N] = round % 2 ? 0.0f : round % 4 ? 7.5f : -0.5f;
		for (uint32_t i = 1; i < N; i++)
			first = x[i] > x[first] ? i : first;
		assert_int_equal(pick(s, SAMPLER_DEFAULTS, x, 0), first);
	}
	free(x);
	sampler_destroy(s);
}

static void greedy_refuses_nonsense_wherever_it_is(void **state)
{
	enum { N = 2500 };
	static const uint32_t places[] = { 0, 1023, 1024, N - 1 };
	static const float nonsense[] = { NAN, -NAN, INFINITY };
	const struct sampler_params p = SAMPLER_DEFAULTS;
	struct sampler *s = make(N);
	float *x = calloc(N, sizeof(*x));
	uint32_t id = 42;

	(void)state;
	assert_non_null(x);
	for (unsigned i = 0; i < 4; i++) {
		for (unsigned k = 0; k < 3; k++) {
			x[places[i]] = nonsense[k];
			assert_int_equal(sampler_pick(s, &p, x, NULL, 0, 0, &id), ERR_NOT_FINITE);
		}
		x[places[i]] = -INFINITY; /* never this one */
		assert_int_equal(pick(s, p, x, 0), 1);
	}
	for (uint32_t i = 0; i < N; i++)
		x[i] = -INFINITY;
	assert_int_equal(sampler_pick(s, &p, x, NULL, 0, 0, &id), ERR_NOT_FINITE);
	assert_int_equal(id, 42);
	free(x);
	sampler_destroy(s);
}

static void draws_follow_the_softmax(void **state)
{
	struct sampler_params p = SAMPLER_DEFAULTS;
	double share[VOCAB], sum = 0;

	(void)state;
	p.temperature = 0.7f;
	p.seed = 11;
	shares(p, 40000, share);
	for (unsigned i = 0; i < VOCAB; i++)
		sum += exp((double)logits[i] / (double)p.temperature);
	for (unsigned i = 0; i < VOCAB; i++) {
		double want = exp((double)logits[i] / (double)p.temperature) / sum;

		/* four standard deviations of a share of 40000 draws */
		assert_true(fabs(share[i] - want) <= 4 * sqrt(want * (1 - want) / 40000));
	}
}

static void the_same_seed_and_position_draw_the_same_token(void **state)
{
	struct sampler_params p = SAMPLER_DEFAULTS;
	struct sampler *a = make(VOCAB), *b = make(VOCAB);
	unsigned differ = 0;

	(void)state;
	p.temperature = 1;
	for (uint32_t i = 0; i < 200; i++) {
		uint32_t id = pick(a, p, logits, 199 - i);

		assert_int_equal(pick(b, p, logits, 199 - i), id);
		p.seed++;
		differ += pick(b, p, logits, 199 - i) != id;
		p.seed--;
	}
	assert_true(differ > 40); /* another seed is another story */
	sampler_destroy(a);
	sampler_destroy(b);
}

static void top_k_keeps_k_tokens(void **state)
{
	struct sampler_params p = SAMPLER_DEFAULTS;
	double share[VOCAB];

	(void)state;
	p.temperature = 5;
	p.top_k = 2;
	shares(p, 3000, share);
	assert_true(share[3] > 0 && share[0] > 0);
	assert_true(share[1] + share[2] + share[4] == 0);
	p.top_k = 1;
	shares(p, 100, share);
	assert_true(share[3] > 0.999);
	p.top_k = 4000000;
	shares(p, 3000, share);
	assert_true(share[2] > 0);
}

static void top_p_keeps_the_fewest_tokens_that_reach_it(void **state)
{
	struct sampler_params p = SAMPLER_DEFAULTS;
	double share[VOCAB];

	(void)state;
	p.temperature = 1;
	p.top_p = 0.63f;
	shares(p, 3000, share);
	assert_true(share[3] > 0.999);
	p.top_p = 0.65f;
	shares(p, 3000, share);
	assert_true(share[0] > 0 && share[4] + share[1] + share[2] == 0);
	p.top_p = 0.9f;
	shares(p, 3000, share);
	assert_true(share[4] > 0 && share[1] + share[2] == 0);
	p.top_k = 2; /* top-p is taken of what top-k left: 0.731 and 0.269 */
	p.top_p = 0.7f;
	shares(p, 3000, share);
	assert_true(share[3] > 0.999);
}

static void min_p_drops_tokens_far_below_the_best(void **state)
{
	struct sampler_params p = SAMPLER_DEFAULTS;
	double share[VOCAB];

	(void)state;
	p.temperature = 1;
	p.min_p = 0.13f; /* e^-2 = 0.135 */
	shares(p, 3000, share);
	assert_true(share[4] > 0 && share[1] + share[2] == 0);
	p.top_p = 0.99f;
	shares(p, 3000, share);
	assert_true(share[4] > 0 && share[1] + share[2] == 0);
}

static void the_nucleus_of_a_large_vocabulary_is_found_whatever_its_size(void **state)
{
	const uint32_t n = 5000;
	struct sampler_params p = SAMPLER_DEFAULTS;
	struct sampler *s = make(n);
	float *flat = calloc(n, sizeof(*flat));
	uint32_t largest = 0;

	(void)state;
	assert_non_null(flat);
	p.temperature = 1;
	p.top_p = 0.5f; /* of equal tokens: the first half of them */
	for (uint32_t i = 0; i < 3000; i++) {
		uint32_t id = pick(s, p, flat, i);

		largest = id > largest ? id : largest;
	}
	assert_in_range(largest, 2400, 2499);
	free(flat);
	sampler_destroy(s);
}

static void the_penalty_moves_recent_tokens_down_and_is_then_forgotten(void **state)
{
	const uint32_t history[] = { 0, 3 };
	struct sampler_params p = SAMPLER_DEFAULTS;
	struct sampler *s = make(VOCAB);
	uint32_t id;

	(void)state;
	p.repeat_penalty = 3; /* 2 -> 0.67, 1 -> 0.33: still above 0, then below */
	p.repeat_last = 1;
	assert_int_equal(sampler_pick(s, &p, logits, history, 2, 0, &id), 0);
	assert_int_equal(id, 0);
	p.repeat_last = 2;
	assert_int_equal(sampler_pick(s, &p, logits, history, 2, 0, &id), 0);
	assert_int_equal(id, 3);
	assert_int_equal(sampler_pick(s, &p, logits, history, 1, 0, &id), 0);
	assert_int_equal(id, 3);
	p.repeat_last = 0;
	assert_int_equal(sampler_pick(s, &p, logits, history, 2, 0, &id), 0);
	assert_int_equal(id, 3);
	sampler_destroy(s);
}

static void negative_logits_are_penalized_downwards(void **state)
{
	const float negative[VOCAB] = { -1, -1.5f, -9, -9, -9 };
	const uint32_t history[] = { 0, 77 }; /* 77: not in this vocabulary */
	struct sampler_params p = SAMPLER_DEFAULTS;
	struct sampler *s = make(VOCAB);
	uint32_t id;

	(void)state;
	p.repeat_penalty = 2;
	assert_int_equal(sampler_pick(s, &p, negative, history, 2, 0, &id), 0);
	assert_int_equal(id, 1);
	sampler_destroy(s);
}

static void nonsense_is_refused_and_leaves_no_trace(void **state)
{
	float bad[VOCAB];
	const uint32_t history[] = { 3 };
	struct sampler_params p = SAMPLER_DEFAULTS;
	struct sampler *s = make(VOCAB);
	uint32_t id = 42;

	(void)state;
	p.repeat_penalty = 10;
	memcpy(bad, logits, sizeof(bad));
	bad[4] = NAN;
	assert_int_equal(sampler_pick(s, &p, bad, history, 1, 0, &id), ERR_NOT_FINITE);
	bad[4] = INFINITY;
	assert_int_equal(sampler_pick(s, &p, bad, history, 1, 0, &id), ERR_NOT_FINITE);
	for (unsigned i = 0; i < VOCAB; i++)
		bad[i] = -INFINITY;
	assert_int_equal(sampler_pick(s, &p, bad, history, 1, 0, &id), ERR_NOT_FINITE);
	assert_int_equal(id, 42);
	assert_int_equal(pick(s, p, logits, 0), 3); /* nobody remembers the penalty */
	bad[2] = -3;                                /* the only possible token */
	p.temperature = 1;
	assert_int_equal(pick(s, p, bad, 0), 2);
	sampler_destroy(s);
}

static void a_tiny_temperature_is_greedy_and_never_overflows(void **state)
{
	struct sampler_params p = SAMPLER_DEFAULTS;
	struct sampler *s = make(VOCAB);

	(void)state;
	p.temperature = 1e-38f;
	for (uint32_t i = 0; i < 100; i++)
		assert_int_equal(pick(s, p, logits, i), 3);
	sampler_destroy(s);
}

static void parameters_out_of_range_are_named(void **state)
{
	static const struct {
		struct sampler_params p;
		const char *name;
	} cases[] = {
		{ { .temperature = -1, .top_p = 1, .repeat_penalty = 1 }, "temperature" },
		{ { .temperature = NAN, .top_p = 1, .repeat_penalty = 1 }, "temperature" },
		{ { .temperature = 11, .top_p = 1, .repeat_penalty = 1 }, "temperature" },
		{ { .top_p = 0, .repeat_penalty = 1 }, "top_p" },
		{ { .top_p = 1.01f, .repeat_penalty = 1 }, "top_p" },
		{ { .top_p = 1, .min_p = 1, .repeat_penalty = 1 }, "min_p" },
		{ { .top_p = 1, .min_p = NAN, .repeat_penalty = 1 }, "min_p" },
		{ { .top_p = 1, .repeat_penalty = 0 }, "repeat_penalty" },
		{ { .top_p = 1, .repeat_penalty = 1, .repeat_last = 4097 }, "repeat_last" },
	};
	struct sampler_params fine = SAMPLER_DEFAULTS;
	struct err e;

	(void)state;
	assert_int_equal(sampler_check(&fine, &e), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(sampler_check(&cases[i].p, &e), ERR_LIMIT);
		assert_non_null(strstr(e.text, cases[i].name));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(greedy_takes_the_lowest_id_of_a_tie),
		cmocka_unit_test(greedy_is_the_first_of_the_largest_wherever_it_is),
		cmocka_unit_test(greedy_refuses_nonsense_wherever_it_is),
		cmocka_unit_test(draws_follow_the_softmax),
		cmocka_unit_test(the_same_seed_and_position_draw_the_same_token),
		cmocka_unit_test(top_k_keeps_k_tokens),
		cmocka_unit_test(top_p_keeps_the_fewest_tokens_that_reach_it),
		cmocka_unit_test(min_p_drops_tokens_far_below_the_best),
		cmocka_unit_test(the_nucleus_of_a_large_vocabulary_is_found_whatever_its_size),
		cmocka_unit_test(the_penalty_moves_recent_tokens_down_and_is_then_forgotten),
		cmocka_unit_test(negative_logits_are_penalized_downwards),
		cmocka_unit_test(nonsense_is_refused_and_leaves_no_trace),
		cmocka_unit_test(a_tiny_temperature_is_greedy_and_never_overflows),
		cmocka_unit_test(parameters_out_of_range_are_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
