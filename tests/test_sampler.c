#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "engine/kern.h"
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

/* Of equal tokens: the first half of them, be it whole blocks of sums or not. */
static void the_nucleus_of_a_large_vocabulary_is_found_whatever_its_size(void **state)
{
	static const uint32_t sizes[] = { 1024, 5000 };
	struct sampler_params p = SAMPLER_DEFAULTS;

	(void)state;
	p.temperature = 1;
	p.top_p = 0.5f;
	for (unsigned k = 0; k < 2; k++) {
		struct sampler *s = make(sizes[k]);
		float *flat = calloc(sizes[k], sizeof(*flat));
		uint32_t largest = 0;

		assert_non_null(flat);
		for (uint32_t i = 0; i < 9000; i++) {
			uint32_t id = pick(s, p, flat, i);

			largest = id > largest ? id : largest;
		}
		assert_in_range(largest, sizes[k] / 2 - 20, sizes[k] / 2 - 1);
		free(flat);
		sampler_destroy(s);
	}
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

/* ---- the definition, by the plainest means -------------------------------------------------- */

#define MOST_TOKENS 3000u
#define MOST_TABLES 8u

struct token {
	float logit, weight;
	uint32_t id;
};

static int by_rank(const void *a, const void *b)
{
	const struct token *x = a, *y = b;

	if (x->logit != y->logit)
		return x->logit > y->logit ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id;
}

static double weight_of(const struct token *t, uint32_t n)
{
	double sum = 0;

	for (uint32_t i = 0; i < n; i++)
		sum += (double)t[i].weight;
	return sum;
}

/* The first of n tokens with which their sum is beyond that, or reaches it; the last at most. */
static uint32_t until(const struct token *t, uint32_t n, double enough, bool beyond)
{
	double sum = 0;

	for (uint32_t i = 0; i < n; i++) {
		sum += (double)t[i].weight;
		if (beyond ? sum > enough : sum >= enough)
			return i;
	}
	return n - 1;
}

static uint32_t plain_pick(struct token *t, uint32_t n, const struct sampler_params *p,
			   uint32_t position)
{
	const uint32_t all = n;
	float top = -INFINITY;
	uint32_t kept = 0;

	for (uint32_t i = 0; i < n; i++)
		top = t[i].logit > top ? t[i].logit : top;
	for (uint32_t i = 0; i < n; i++)
		t[i].weight = kern_exp((t[i].logit - top) / p->temperature);
	n = p->top_k && p->top_k < n ? p->top_k : n;
	if (n < all || p->top_p < 1 || p->temperature <= 0)
		qsort(t, all, sizeof(*t), by_rank);
	if (p->temperature <= 0)
		return t[0].id;
	if (p->top_p < 1)
		n = until(t, n, (double)p->top_p * weight_of(t, n), false) + 1;
	for (uint32_t i = 0; i < n; i++) {
		if (t[i].weight >= p->min_p)
			t[kept++] = t[i];
	}
	return t[until(t, kept, rng_unit(p->seed, position) * weight_of(t, kept), true)].id;
}

static uint32_t below(uint64_t *counter, uint32_t n)
{
	return (uint32_t)(rng_u64(9, (*counter)++) % n);
}

/* Logits of a kind: bell-shaped; that with some that are likely; few values; one or a few that can
 * come; equal; ascending; much alike with some far away; extremes. */
static void fill_kind(uint64_t *counter, float *x, uint32_t n, uint32_t kind)
{
	static const float few[] = { -0.0f, 0.0f, 1, -1, -INFINITY, 3e38f, -3e38f, 2 };

	for (uint32_t i = 0; i < n; i++) {
		float u = -5;

		for (uint32_t k = 0; k < 10; k++)
			u += (float)rng_unit(9, (*counter)++);
		x[i] = kind == 0   ? u * 2.5f
		       : kind == 1 ? u * 2.5f + (below(counter, 50) ? 0 : 9)
		       : kind == 2 ? few[below(counter, 5)]
		       : kind == 3 ? (below(counter, 30) ? -INFINITY : u)
		       : kind == 4 ? -INFINITY
		       : kind == 5 ? 3.25f
		       : kind == 6 ? (float)i / 64
		       : kind == 7 ? (below(counter, 40) ? u * 0.01f : -30)
				   : few[below(counter, 8)];
	}
	x[below(counter, n)] = kind == 5 ? 3.25f : 4;
}

static struct sampler_params some_params(uint64_t *counter, uint32_t n)
{
	static const float temperatures[] = { 0, 1e-30f, 1e-3f, 0.3f, 1, 1, 2, 10 };
	static const float top_ps[] = { 1, 1, 1e-6f, 0.1f, 0.5f, 0.95f, 0.9999f, 0.99999994f };
	static const float min_ps[] = { 0, 0, 0, 0, 1e-6f, 0.05f, 0.5f, 0.999f };
	static const float penalties[] = { 1, 1, 1, 1.1f, 3, 10, 0.5f, 0.9f };
	const uint32_t top_ks[] = { 0, 0, 1, 2, 40, n / 16 + 1, n - n / 8, n + below(counter, 2) };

	return (struct sampler_params){
		.temperature = temperatures[below(counter, 8)],
		.top_k = top_ks[below(counter, 8)],
		.top_p = top_ps[below(counter, 8)],
		.min_p = min_ps[below(counter, 8)],
		.repeat_penalty = penalties[below(counter, 8)],
		.repeat_last = below(counter, 20),
		.seed = rng_u64(9, (*counter)++),
	};
}

/* Tokens with their logits, less what the last ones of 10 have to pay. */
static void pay(struct token *t, const float *x, uint32_t n, const struct sampler_params *p,
		const uint32_t history[10])
{
	for (uint32_t i = 0; i < n; i++) {
		bool repeated = false;

		for (uint32_t k = p->repeat_last < 10 ? 10 - p->repeat_last : 0; k < 10; k++)
			repeated = repeated || history[k] == i;
		t[i] = (struct token){ x[i], 0, i };
		if (repeated)
			t[i].logit = x[i] > 0 ? x[i] / p->repeat_penalty : x[i] * p->repeat_penalty;
		if (t[i].logit > FLT_MAX)
			t[i].logit = FLT_MAX;
	}
}

/* One sampler for each table of this machine. */
static void make_all(struct sampler *s[MOST_TABLES], uint32_t n)
{
	for (unsigned k = 0; k < MOST_TABLES; k++) {
		s[k] = NULL;
		if (!kern_at(k))
			continue;
		assert_int_equal(setenv("SPLITMQ_ISA", kern_at(k)->name, 1), 0);
		s[k] = make(n);
	}
	assert_int_equal(unsetenv("SPLITMQ_ISA"), 0);
}

static void every_pick_is_that_of_the_definition(void **state)
{
	static const uint32_t sizes[] = { 1, 2, 15, 17, 64, 511, 512, 513, 1100, MOST_TOKENS };
	static float x[MOST_TOKENS];
	static struct token t[MOST_TOKENS];
	struct sampler *s[MOST_TABLES];
	uint64_t counter = 0;

	(void)state;
	for (uint32_t round = 0; round < 400; round++) {
		const uint32_t n = sizes[round % 10];

		make_all(s, n);
		for (uint32_t i = 0; i < 10; i++) {
			const struct sampler_params p = some_params(&counter, n);
			uint32_t history[10], id = 0, want;

			fill_kind(&counter, x, n, below(&counter, 9));
			for (uint32_t k = 0; k < 10; k++)
				history[k] = below(&counter, n + 2);
			pay(t, x, n, &p, history);
			want = plain_pick(t, n, &p, i);
			for (uint32_t k = 0; k < MOST_TABLES && s[k]; k++) {
				assert_int_equal(sampler_pick(s[k], &p, x, history, 10, i, &id), 0);
				if (id != want)
					fail_msg("round %u.%u, %s: %u of %u, not %u", round, i,
						 kern_at(k)->name, id, n, want);
			}
		}
		for (uint32_t k = 0; k < MOST_TABLES; k++)
			sampler_destroy(s[k]);
	}
}

/* Logits that are much alike, beside some far away: many candidates that are sorted late. */
static void a_crowd_is_drawn_from_in_its_order(void **state)
{
	static float x[MOST_TOKENS];
	static struct token t[MOST_TOKENS];
	struct sampler_params p = SAMPLER_DEFAULTS;
	struct sampler *s = make(MOST_TOKENS);
	uint64_t counter = 0;
	uint32_t n;

	(void)state;
	p.temperature = 1;
	p.top_p = 0.9999f;
	for (uint32_t i = 0; i < MOST_TOKENS; i++) {
		x[i] = 0.02f * (float)rng_unit(4, counter++) - (i % 40 ? 0 : 15);
		t[i] = (struct token){ x[i], kern_exp(x[i] - 4), i };
	}
	x[77] = 4;
	t[77] = (struct token){ 4, 1, 77 };
	qsort(t, MOST_TOKENS, sizeof(*t), by_rank);
	n = until(t, MOST_TOKENS, (double)p.top_p * weight_of(t, MOST_TOKENS), false) + 1;
	for (uint32_t i = 0; i < 3000; i++) {
		const double u = rng_unit(p.seed, i);

		assert_int_equal(pick(s, p, x, i), t[until(t, n, u * weight_of(t, n), true)].id);
	}
	sampler_destroy(s);
}

static void what_is_finite_stays_so_with_a_penalty(void **state)
{
	const float x[] = { 1, 3e38f, -3e38f };
	const uint32_t history[] = { 1, 2 };
	struct sampler_params p = SAMPLER_DEFAULTS;
	struct sampler *s = make(3);
	uint32_t id = 0;

	(void)state;
	p.repeat_penalty = 0.1f;
	p.temperature = 1;
	assert_int_equal(sampler_pick(s, &p, x, history, 2, 0, &id), 0);
	assert_int_equal(id, 1);
	p.repeat_penalty = 10;
	p.repeat_last = 1;
	assert_int_equal(sampler_pick(s, &p, x, history, 2, 0, &id), 0);
	assert_int_equal(id, 1);
	sampler_destroy(s);
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
		cmocka_unit_test(every_pick_is_that_of_the_definition),
		cmocka_unit_test(a_crowd_is_drawn_from_in_its_order),
		cmocka_unit_test(what_is_finite_stays_so_with_a_penalty),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
