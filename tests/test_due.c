#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "base/clock.h"
#include "base/due.h"
#include "base/queue.h"

#define SPIN_US 1000

static void learn(struct due *d, uint32_t us, unsigned times)
{
	while (times--)
		due_learn(d, us, false);
}

static void short_waits_are_awaited_from_their_beginning(void **state)
{
	struct due_window w;
	struct due d = { 0 };

	(void)state;
	learn(&d, 500, DUE_KEPT - 1);
	assert_false(due_window(&d, SPIN_US, &w)); /* too little is known */
	learn(&d, 20000000, 1);                    /* a pause between sessions is no matter */
	assert_true(due_window(&d, SPIN_US, &w));
	assert_int_equal(w.from_us, 0);
	assert_int_equal(w.to_us, SPIN_US);
	assert_false(due_window(&d, 0, &w));
}

static void long_waits_are_slept_through_until_just_before_their_end(void **state)
{
	struct due_window w;
	struct due d = { 0 };

	(void)state;
	for (uint32_t i = 0; i < DUE_KEPT; i++)
		due_learn(&d, 18000 + 100 * i, false);
	assert_true(due_window(&d, SPIN_US, &w));
	assert_in_range(w.from_us, 17800, 17999);
	assert_int_equal(w.to_us, w.from_us + SPIN_US);
	learn(&d, 30, 2); /* two others do not hide them */
	assert_true(due_window(&d, SPIN_US, &w));
	assert_in_range(w.from_us, 17800, 18199);
}

static void waits_of_all_lengths_are_slept_through(void **state)
{
	struct due_window w;
	struct due d = { 0 };

	(void)state;
	for (uint32_t i = 0; i < DUE_KEPT; i++)
		due_learn(&d, 2000 + 700 * i, false);
	assert_false(due_window(&d, SPIN_US, &w));
	due_learn(&d, UINT64_MAX, false);
	assert_false(due_window(&d, SPIN_US, &w));
}

/* Waits that are slept through before the next one is not. */
static unsigned shy_waits(struct due *d)
{
	struct due_window w;
	unsigned n = 0;

	for (; !due_window(d, SPIN_US, &w); n++)
		due_learn(d, 500, false);
	return n;
}

static void who_was_in_the_way_of_others_stays_away_longer_each_time(void **state)
{
	struct due d = { 0 };
	unsigned last = 0;

	(void)state;
	learn(&d, 500, DUE_KEPT);
	for (int i = 0; i < 20; i++) {
		unsigned n;

		due_learn(&d, 500, true);
		n = shy_waits(&d);
		assert_true(n > last || n > 255);
		assert_true(n < 1000);
		last = n;
	}
	learn(&d, 500, 5); /* looked for, and in nobody's way: that may be chance */
	due_learn(&d, 500, true);
	assert_int_equal(shy_waits(&d), last);
}

/* One wait in five that others disturb would cost more than the other four gain. */
static void who_is_in_the_way_now_and_then_stays_away_too(void **state)
{
	struct due_window w;
	struct due d = { 0 };
	unsigned looked = 0;

	(void)state;
	learn(&d, 500, DUE_KEPT);
	for (unsigned i = 0; i < 4000; i++) {
		const bool looks = due_window(&d, SPIN_US, &w);

		due_learn(&d, 500, looks && looked % 5 == 0);
		looked += looks;
	}
	assert_in_range(looked, 20, 400);
	learn(&d, 500, 2000); /* alone again */
	due_learn(&d, 500, true);
	assert_in_range(shy_waits(&d), 1, 15);
}

/* ---- with a queue ---- */

static void *push_later(void *arg)
{
	const struct timespec t = { .tv_nsec = 300000 };

	nanosleep(&t, NULL);
	assert_true(queue_push(arg, arg));
	return NULL;
}

static void *push_often(void *arg)
{
	for (int i = 0; i < 200; i++)
		push_later(arg);
	queue_close(arg);
	return NULL;
}

static void items_that_are_due_all_arrive_and_then_the_end(void **state)
{
	const uint32_t spins[] = { 0, 200, 2000 };
	struct queue *q;
	pthread_t t;

	(void)state;
	for (unsigned i = 0; i < sizeof(spins) / sizeof(spins[0]); i++) {
		struct due d = { 0 };
		unsigned n = 0;

		assert_int_equal(queue_create(&q, 256), 0);
		pthread_create(&t, NULL, push_often, q);
		while (queue_pop_due(q, &d, clock_now_us(), spins[i]))
			n++;
		assert_int_equal(n, 200);
		assert_true(d.n > 8); /* most of them were waited for */
		pthread_join(t, NULL);
		queue_destroy(q, NULL);
	}
}

static uint64_t processor_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void *push_much_later(void *arg)
{
	const struct timespec t = { .tv_nsec = 400000000 };

	nanosleep(&t, NULL);
	assert_true(queue_push(arg, arg));
	return NULL;
}

/* What was foreseen does not come. */
static void looking_for_an_item_has_an_end(void **state)
{
	struct due d = { 0 };
	struct queue *q;
	pthread_t t;
	uint64_t used_us;

	(void)state;
	learn(&d, 500, DUE_KEPT);
	assert_int_equal(queue_create(&q, 1), 0);
	pthread_create(&t, NULL, push_much_later, q);
	used_us = processor_us();
	assert_ptr_equal(queue_pop_due(q, &d, clock_now_us(), 10000), q);
	assert_true(processor_us() - used_us < 100000); /* of 400000 */
	pthread_join(t, NULL);
	queue_destroy(q, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(short_waits_are_awaited_from_their_beginning),
		cmocka_unit_test(long_waits_are_slept_through_until_just_before_their_end),
		cmocka_unit_test(waits_of_all_lengths_are_slept_through),
		cmocka_unit_test(who_was_in_the_way_of_others_stays_away_longer_each_time),
		cmocka_unit_test(who_is_in_the_way_now_and_then_stays_away_too),
		cmocka_unit_test(items_that_are_due_all_arrive_and_then_the_end),
		cmocka_unit_test(looking_for_an_item_has_an_end),
	};

	return cmocka_run_group_tests_name("due", tests, NULL, NULL);
}
