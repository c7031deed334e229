#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <time.h>

#include "daemon/inbox.h"

static const struct bus_event message = { .kind = BUS_MESSAGE, .topic = "a/b", .payload = NULL };
static const struct bus_event down = { .kind = BUS_DOWN, .text = "gone" };

static struct queue *full_inbox(void)
{
	struct queue *q;

	assert_int_equal(inbox_create(&q), 0);
	for (unsigned i = 0; i < INBOX_MESSAGES; i++)
		inbox_bus_handler(q, &message);
	assert_int_equal(queue_length(q), INBOX_MESSAGES);
	return q;
}

static void messages_fill_an_inbox_only_in_part(void **state)
{
	struct queue *q = full_inbox();

	(void)state;
	inbox_bus_handler(q, &message);
	assert_int_equal(queue_length(q), INBOX_MESSAGES);
	inbox_bus_handler(q, &down);
	inbox_push_signal(q, 15);
	assert_int_equal(queue_length(q), INBOX_MESSAGES + 2);
	inbox_destroy(q);
}

static void sleep_ms(long ms)
{
	nanosleep(&(struct timespec){ .tv_nsec = ms * 1000000 }, NULL);
}

static void *read_slowly(void *ctx)
{
	for (int i = 0; i < 20; i++) {
		sleep_ms(2);
		inbox_free(queue_pop(ctx, 0));
	}
	return NULL;
}

static void a_patient_handler_loses_nothing_while_the_loop_reads(void **state)
{
	struct queue *q = full_inbox();
	pthread_t loop;

	(void)state;
	assert_int_equal(pthread_create(&loop, NULL, read_slowly, q), 0);
	for (int i = 0; i < 20; i++)
		inbox_patient_handler(q, &message);
	pthread_join(loop, NULL);
	assert_int_equal(queue_length(q), INBOX_MESSAGES);
	inbox_patient_handler(q, &down); /* does not wait */
	assert_int_equal(queue_length(q), INBOX_MESSAGES + 1);
	inbox_destroy(q);
}

static void its_patience_ends(void **state)
{
	struct queue *q = full_inbox();

	(void)state;
	inbox_patient_handler(q, &message);
	assert_int_equal(queue_length(q), INBOX_MESSAGES);
	inbox_destroy(q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_fill_an_inbox_only_in_part),
		cmocka_unit_test(a_patient_handler_loses_nothing_while_the_loop_reads),
		cmocka_unit_test(its_patience_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
