#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/background.h"

struct seen {
	int before, after;
	bool short_slices;
	uint64_t slice_ns;
};

/* Of the calling thread: Linux tells it in the word behind the priorities of sched_getattr. */
static uint64_t slice_ns(void)
{
	struct {
		uint32_t size, policy;
		uint64_t flags;
		int32_t nice;
		uint32_t priority;
		uint64_t runtime, deadline, period;
	} a = { .size = sizeof(a) };

	return syscall(SYS_sched_getattr, 0, &a, sizeof(a), 0u) ? 0 : a.runtime;
}

static void *stand_back(void *arg)
{
	struct seen *s = arg;

	s->before = getpriority(PRIO_PROCESS, 0);
	s->short_slices = background_enter();
	s->after = getpriority(PRIO_PROCESS, 0);
	s->slice_ns = slice_ns();
	return NULL;
}

static void a_thread_stands_back_and_the_others_do_not(void **state)
{
	const int own = getpriority(PRIO_PROCESS, 0);
	struct seen s = { 0 };
	pthread_t t;

	(void)state;
	assert_int_equal(pthread_create(&t, NULL, stand_back, &s), 0);
	assert_int_equal(pthread_join(t, NULL), 0);
	assert_int_equal(s.before, own);
	assert_true(s.after >= 10 && s.after >= own);
	assert_int_equal(getpriority(PRIO_PROCESS, 0), own);
	if (!s.short_slices) /* Linux before 6.12, or a sandbox that forbids it */
		skip();
	assert_true(s.slice_ns && s.slice_ns < 1000000);
	assert_true(slice_ns() != s.slice_ns);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_thread_stands_back_and_the_others_do_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
