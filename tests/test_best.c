#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "engine/best.h"

#define MOST 6000u

static float x[MOST];
static uint32_t order[MOST], scratch[MOST], plain[MOST];
static uint64_t counter;

static uint32_t below(uint32_t n)
{
	return (uint32_t)(rng_u64(5, counter++) % n);
}

/* Numbers of one kind or another: spread, few values, both zeros, most of them -inf, in order. */
static void fill(uint32_t n, uint32_t kind)
{
	static const float few[] = { -0.0f, 0.0f, 1, -1, 3e38f, -3e38f, -INFINITY, 1e-42f };

	for (uint32_t i = 0; i < n; i++) {
		const float u = (float)rng_unit(5, counter++) * 8 - 4;

		x[i] = kind == 0   ? u
		       : kind == 1 ? few[below(8)]
		       : kind == 2 ? (below(8) ? -INFINITY : u)
		       : kind == 3 ? (float)i - 100
		       : kind == 4 ? -(float)(i / 3)
				   : few[below(2)];
	}
}

static int by_rank(const void *a, const void *b)
{
	const uint32_t i = *(const uint32_t *)a, k = *(const uint32_t *)b;

	if (x[i] != x[k])
		return x[i] > x[k] ? -1 : 1;
	return i < k ? -1 : i > k;
}

/* Ids of those that are at least that, by the plainest means. */
static uint32_t plainly(uint32_t n, float least)
{
	uint32_t m = 0;

	for (uint32_t i = 0; i < n; i++) {
		if (x[i] >= least)
			plain[m++] = i;
	}
	qsort(plain, m, sizeof(plain[0]), by_rank);
	return m;
}

static uint32_t some_size(void)
{
	return 1 + below(below(3) ? 100 : MOST);
}

static void the_best_come_in_order_whatever_they_are(void **state)
{
	(void)state;
	for (uint32_t round = 0; round < 1000; round++) {
		const uint32_t n = some_size();
		uint32_t m, id;
		float least;

		fill(n, round % 6);
		least = below(4) ? x[below(n)] : -INFINITY;
		m = best_of(x, n, least, order, scratch);
		assert_int_equal(m, plainly(n, least));
		assert_memory_equal(order, plain, m * sizeof(order[0]));
		if (x[plain[0]] == -INFINITY) {
			assert_int_equal(best_one(x, n, &id), ERR_NOT_FINITE);
		} else {
			assert_int_equal(best_one(x, n, &id), 0);
			assert_int_equal(id, plain[0]);
		}
	}
}

/* First the last one that is kept, as who cuts a list does. */
static void classes_come_in_order_and_can_be_settled(void **state)
{
	(void)state;
	for (uint32_t round = 0; round < 1000; round++) {
		const uint32_t n = some_size();
		uint32_t m, last, from = 0, to = 0;
		struct best_rough r;
		float least;

		fill(n, round % 6);
		least = below(4) ? x[below(n)] : -INFINITY;
		m = plainly(n, least);
		last = below(m);
		assert_int_equal(best_roughly(x, n, x[plain[0]], least, order, scratch, &r), m);
		if (best_settle(x, &r, order, m, last, scratch, &from, &to))
			assert_true(from <= last && last < to && to <= m);
		assert_int_equal(order[last], plain[last]);
		for (uint32_t at = 0; at <= last; at++) {
			(void)best_settle(x, &r, order, last + 1, at, scratch, &from, &to);
			assert_false(best_settle(x, &r, order, last + 1, at, scratch, &from, &to));
			if (round % 8) /* a few: that is slow */
				at += below(last + 1 - at);
		}
		if (round % 8 == 0)
			assert_memory_equal(order, plain, (last + 1) * sizeof(order[0]));
	}
}

static void what_is_reached_is_reached_by_k_and_few_more(void **state)
{
	static float maxima[MOST];

	(void)state;
	for (uint32_t round = 0; round < 1000; round++) {
		const uint32_t n = some_size(), k = 1 + below(below(2) ? n : n / 8 + 1);
		const uint32_t kind = round % 6;
		uint32_t m;

		fill(n, kind);
		m = plainly(n, best_reached(x, n, k, maxima));
		assert_in_range(m, k, n);
		if (kind == 0 && k <= n / 8 && n >= 16) /* lanes are short for few */
			assert_true(m <= 3 * k + 40);
	}
}

static void nonsense_is_found_wherever_it_is(void **state)
{
	static const float nonsense[] = { NAN, -NAN, INFINITY };
	uint32_t id;

	(void)state;
	for (uint32_t n = 1; n < 70; n++) {
		for (uint32_t at = 0; at < n; at++) {
			fill(n, 0);
			x[at] = nonsense[(n + at) % 3];
			assert_int_equal(best_one(x, n, &id), ERR_NOT_FINITE);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_best_come_in_order_whatever_they_are),
		cmocka_unit_test(classes_come_in_order_and_can_be_settled),
		cmocka_unit_test(what_is_reached_is_reached_by_k_and_few_more),
		cmocka_unit_test(nonsense_is_found_wherever_it_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
