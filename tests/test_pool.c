#define _GNU_SOURCE /* sched_getaffinity */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "engine/pool.h"

#define ITEMS 1000

struct count {
	atomic_uint per_item[ITEMS];
	atomic_uint wrong_thread;
	unsigned threads;
	unsigned plain[ITEMS]; /* not atomic: pool_run must make it visible */
};

static void touch(void *arg, size_t item, unsigned thread)
{
	struct count *c = arg;

	atomic_fetch_add(&c->per_item[item], 1);
	c->plain[item]++;
	if (thread >= c->threads)
		atomic_fetch_add(&c->wrong_thread, 1);
}

static void every_item_runs_once(void **state)
{
	static const unsigned sizes[] = { 1, 2, 3, 7 };

	(void)state;
	for (unsigned s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		struct count c = { .threads = sizes[s] };
		struct pool *p = NULL;
		unsigned rounds = 0;

		assert_int_equal(pool_create(&p, sizes[s]), 0);
		assert_int_equal(pool_threads(p), sizes[s]);
		for (size_t n = 0; n <= ITEMS; n += 125, rounds++)
			pool_run(p, touch, &c, n);
		for (size_t i = 0; i < ITEMS; i++) {
			unsigned want = (unsigned)(8 - i / 125);

			assert_int_equal(atomic_load(&c.per_item[i]), want);
			assert_int_equal(c.plain[i], want);
		}
		assert_int_equal(atomic_load(&c.wrong_thread), 0);
		pool_destroy(p);
	}
}

static void threads_that_fell_asleep_wake_for_the_next_loop(void **state)
{
	const struct timespec pause = { .tv_nsec = 3000000 };
	struct count c = { .threads = 3 };
	struct pool *p = NULL;

	(void)state;
	assert_int_equal(pool_create(&p, 3), 0);
	for (unsigned i = 0; i < 30; i++) {
		nanosleep(&pause, NULL);
		pool_run(p, touch, &c, ITEMS);
	}
	for (size_t i = 0; i < ITEMS; i++)
		assert_int_equal(c.plain[i], 30);
	pool_destroy(p);
}

static void short_loops_in_quick_succession_lose_nothing(void **state)
{
	struct count c = { .threads = 4 };
	struct pool *p = NULL;

	(void)state;
	assert_int_equal(pool_create(&p, 4), 0);
	for (unsigned i = 0; i < 3000; i++)
		pool_run(p, touch, &c, 5);
	for (size_t i = 0; i < 5; i++)
		assert_int_equal(c.plain[i], 3000);
	pool_destroy(p);
}

struct meeting {
	atomic_uint here;
	cpu_set_t may[2];
};

/* Nobody leaves before both are there: one item for each thread. */
static void meet(void *arg, size_t item, unsigned thread)
{
	struct meeting *m = arg;

	(void)item;
	atomic_fetch_add(&m->here, 1);
	while (atomic_load(&m->here) < 2)
		sched_yield();
	assert_int_equal(sched_getaffinity(0, sizeof(m->may[thread]), &m->may[thread]), 0);
}

/* A thread of its own, since the caller stays where it was put. */
static void *run_pinned(void *arg)
{
	struct meeting *m = arg;
	struct pool *p = NULL;

	assert_int_equal(pool_create(&p, 2), 0);
	pool_run(p, meet, m, 2);
	assert_true(CPU_COUNT(&m->may[0]) > 1 && CPU_COUNT(&m->may[1]) > 1);
	pool_pin(p);
	atomic_store(&m->here, 0);
	pool_run(p, meet, m, 2);
	pool_destroy(p);
	return NULL;
}

static void pinned_threads_have_a_processor_each(void **state)
{
	struct meeting m = { 0 };
	cpu_set_t all, both;
	pthread_t t;

	(void)state;
	assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
	if (CPU_COUNT(&all) < 2)
		skip();
	assert_int_equal(pthread_create(&t, NULL, run_pinned, &m), 0);
	pthread_join(t, NULL);
	assert_int_equal(CPU_COUNT(&m.may[0]), 1);
	assert_int_equal(CPU_COUNT(&m.may[1]), 1);
	CPU_AND(&both, &m.may[0], &m.may[1]);
	assert_int_equal(CPU_COUNT(&both), 0);
}

static void an_impossible_number_of_threads_is_refused(void **state)
{
	struct pool *p = NULL;

	(void)state;
	assert_int_equal(pool_create(&p, 0), ERR_LIMIT);
	assert_int_equal(pool_create(&p, POOL_MAX_THREADS + 1), ERR_LIMIT);
	assert_null(p);
	pool_destroy(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_item_runs_once),
		cmocka_unit_test(threads_that_fell_asleep_wake_for_the_next_loop),
		cmocka_unit_test(short_loops_in_quick_succession_lose_nothing),
		cmocka_unit_test(pinned_threads_have_a_processor_each),
		cmocka_unit_test(an_impossible_number_of_threads_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
