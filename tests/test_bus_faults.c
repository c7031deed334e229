/* The MQTT bus when things go wrong: a broker that is away, dies, freezes; clients that vanish or
 * fight for an id. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/bus_box.h"

static void a_killed_broker_that_comes_back_finds_us_as_before(void **state)
{
	struct box a, b;

	(void)state;
	box_need_broker();
	box_open_up(&a, box_broker, "a");
	assert_int_equal(bus_subscribe(a.bus, "in/#", 1), 0);
	assert_int_equal(bus_set_birth(a.bus, "status/a", "ready"), 0);
	box_say(&a, "in/x", "1", 0);
	box_expect(&a, "in/x", "1", false);
	broker_kill(box_broker);
	box_await(&a, BUS_DOWN);
	assert_false(bus_is_up(a.bus));
	assert_int_equal(bus_publish(a.bus, &(struct bus_publish){ .topic = "in/x" }), ERR_OFFLINE);
	assert_int_equal(bus_subscribe(a.bus, "later", 1), 0); /* made while the broker is away */
	broker_restart(box_broker);
	box_await(&a, BUS_UP);
	box_say(&a, "in/x", "2", 0);
	box_expect(&a, "in/x", "2", false);
	box_say(&a, "later", "3", 1);
	box_expect(&a, "later", "3", false);
	box_open_up(&b, box_broker, "b");
	assert_int_equal(bus_subscribe(b.bus, "status/+", 1), 0);
	box_expect(&b, "status/a", "ready", true);
	box_close(&a);
	box_close(&b);
}

static void nothing_stale_is_sent_after_a_reconnect(void **state)
{
	struct bus_publish p = { .topic = "row", .payload = "stale", .len = 5 };
	struct bus_conf conf;
	struct bus_counts n;
	struct box a;

	(void)state;
	conf = box_conf(box_need_broker(), "a");
	conf.keepalive_s = 1;
	box_open(&a, &conf);
	assert_int_equal(bus_subscribe(a.bus, "row", 1), 0);
	box_await(&a, BUS_UP);
	broker_freeze(box_broker);
	p.qos = 1;
	while (bus_publish(a.bus, &p) == 0) /* until the window and the queue are full */
		;
	box_await(&a, BUS_DOWN);
	broker_kill(box_broker);
	broker_restart(box_broker);
	box_await(&a, BUS_UP);
	box_say(&a, "row", "fresh", 1);
	box_expect(&a, "row", "fresh", false);
	bus_get_counts(a.bus, &n);
	assert_true(n.dropped > 0);
	assert_int_equal(n.connects, 2);
	box_close(&a);
}

static void a_broker_that_starts_late_is_found(void **state)
{
	struct bus_conf conf;
	struct box a;

	(void)state;
	conf = box_conf(box_need_broker(), "a");
	broker_stop(box_broker);
	box_open(&a, &conf);
	assert_int_equal(bus_subscribe(a.bus, "x", 0), 0);
	assert_non_null(strstr(box_await(&a, BUS_DOWN)->text, "connect to 127.0.0.1:"));
	assert_non_null(strstr(box_await(&a, BUS_DOWN)->text, "Connection refused"));
	broker_restart(box_broker);
	box_await(&a, BUS_UP);
	box_say(&a, "x", "1", 0);
	box_expect(&a, "x", "1", false);
	box_close(&a);
}

static void closing_is_quick_while_the_broker_is_down(void **state)
{
	struct bus_conf conf;
	uint64_t start_ms;
	struct box a;

	(void)state;
	conf = box_conf(box_need_broker(), "a");
	conf.backoff_min_ms = 20000;
	conf.backoff_max_ms = 20000;
	broker_stop(box_broker);
	box_open(&a, &conf);
	box_await(&a, BUS_DOWN);
	start_ms = clock_now_ms();
	box_close(&a);
	assert_in_range(clock_now_ms() - start_ms, 0, 500);
}

static void a_frozen_broker_is_noticed_within_two_and_a_half_keepalives(void **state)
{
	struct bus_conf conf;
	uint64_t start_ms;
	struct box a;

	(void)state;
	conf = box_conf(box_need_broker(), "a");
	conf.keepalive_s = 1;
	box_open(&a, &conf);
	box_await(&a, BUS_UP);
	broker_freeze(box_broker);
	start_ms = clock_now_ms();
	box_await(&a, BUS_DOWN);
	assert_in_range(clock_now_ms() - start_ms, 0, 2900); /* 2500, and the tick of the check */
	broker_thaw(box_broker);
	box_await(&a, BUS_UP);
	box_close(&a);
}

/* Paho would make the caller wait in steps of 100 ms once a packet is written in part. */
static void a_full_socket_is_the_business_of_net_out(void **state)
{
	static unsigned char bytes[1000];
	struct bus_publish p = { .topic = "x", .payload = bytes, .len = sizeof(bytes) };
	uint64_t start_ms;
	struct box a;
	unsigned n = 0;

	(void)state;
	box_need_broker();
	box_open_up(&a, box_broker, "a");
	assert_int_equal(bus_subscribe(a.bus, "x", 0), 0);
	box_say(&a, "x", "subscribed", 1);
	box_expect(&a, "x", "subscribed", false);
	broker_freeze(box_broker);
	start_ms = clock_now_ms();
	do
		memcpy(bytes, &n, sizeof(n));
	while (bus_publish(a.bus, &p) == 0 && ++n);
	assert_in_range(clock_now_ms() - start_ms, 0, 4000);
	assert_in_range(n, 1024, 1000000); /* the queue, and what the socket took */
	broker_thaw(box_broker);
	for (unsigned i = 0; i < n; i++)
		assert_memory_equal(box_await(&a, BUS_MESSAGE)->payload, &i, sizeof(i));
	box_close(&a);
}

static void closing_is_quick_while_the_broker_is_frozen(void **state)
{
	struct bus_publish p = { .topic = "x", .qos = 0 };
	static char bytes[65536];
	uint64_t start_ms;
	struct box a;

	(void)state;
	box_need_broker();
	box_open_up(&a, box_broker, "a");
	broker_freeze(box_broker);
	p.payload = bytes;
	p.len = sizeof(bytes);
	while (bus_publish(a.bus, &p) == 0) /* until the socket and the queue are full */
		;
	start_ms = clock_now_ms();
	bus_close(a.bus, 200);
	assert_in_range(clock_now_ms() - start_ms, 0, 2500);
	a.bus = NULL;
	box_close(&a);
}

static void closing_is_quick_while_a_connection_is_being_made(void **state)
{
	struct timespec a_while = { .tv_nsec = 300000000 };
	struct bus_conf conf;
	uint64_t start_ms;
	struct box a;

	(void)state;
	conf = box_conf(box_need_broker(), "a");
	broker_freeze(box_broker); /* the kernel accepts for it, but no CONNACK will come */
	box_open(&a, &conf);
	nanosleep(&a_while, NULL);
	start_ms = clock_now_ms();
	box_close(&a);
	assert_in_range(clock_now_ms() - start_ms, 0, 4500);
	broker_thaw(box_broker);
	box_open(&a, &conf); /* after the attempt that was left alone */
	box_await(&a, BUS_UP);
	box_close(&a);
}

/* In a child: connect with a Last Will, say so through the broker, and wait for SIGKILL. */
static void live_with_a_will(const struct broker *b)
{
	struct bus_conf conf = box_conf(b, "mortal");
	struct box a;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	conf.will_topic = "status/mortal";
	conf.will_payload = "lost";
	box_open(&a, &conf);
	if (bus_set_birth(a.bus, "status/mortal", "ready"))
		_exit(1);
	for (;;)
		pause();
}

static void a_killed_process_leaves_its_last_will(void **state)
{
	struct box a, b;
	pid_t child;

	(void)state;
	box_need_broker();
	child = fork(); /* before any thread is there */
	if (child == 0)
		live_with_a_will(box_broker);
	box_open_up(&a, box_broker, "a");
	assert_int_equal(bus_subscribe(a.bus, "status/+", 1), 0);
	assert_string_equal((const char *)box_await(&a, BUS_MESSAGE)->payload, "ready");
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	box_expect(&a, "status/mortal", "lost", false);
	box_open_up(&b, box_broker, "b");
	assert_int_equal(bus_subscribe(b.bus, "status/+", 1), 0);
	box_expect(&b, "status/mortal", "lost", true);
	box_close(&a);
	box_close(&b);
}

static void a_goodbye_leaves_no_last_will(void **state)
{
	struct bus_conf conf;
	struct box a, b;

	(void)state;
	box_need_broker();
	box_open_up(&a, box_broker, "a");
	assert_int_equal(bus_subscribe(a.bus, "status/+", 1), 0);
	conf = box_conf(box_broker, "b");
	conf.will_topic = "status/b";
	conf.will_payload = "lost";
	box_open(&b, &conf);
	assert_int_equal(bus_set_birth(b.bus, "status/b", "ready"), 0);
	box_expect(&a, "status/b", "ready", false);
	assert_int_equal(bus_set_birth(b.bus, "status/b", "offline"), 0);
	box_close(&b);
	box_expect(&a, "status/b", "offline", false);
	assert_null(box_find(&a, BUS_MESSAGE, 300));
	box_close(&a);
}

/* Nor is it a reason to give up. */
static void a_broker_that_dies_again_and_again_is_not_another_client(void **state)
{
	struct box a;

	(void)state;
	box_need_broker();
	box_open_up(&a, box_broker, "solo");
	for (unsigned i = 0; i < 8; i++) {
		broker_kill(box_broker);
		broker_restart(box_broker);
		box_await(&a, BUS_UP);
	}
	box_close(&a);
}

static void two_clients_with_one_id_are_told_so(void **state)
{
	const struct box_event *ev;
	struct box a, b;

	(void)state;
	box_need_broker();
	box_open_up(&a, box_broker, "twin");
	box_open_up(&b, box_broker, "twin");
	ev = box_find(&a, BUS_FATAL, 20000);
	if (!ev)
		ev = box_find(&b, BUS_FATAL, 20000);
	assert_non_null(ev);
	assert_non_null(strstr(ev->text, "another client is using the id twin"));
	print_message("%s\n", ev->text);
	box_close(&a);
	box_close(&b);
}

#define IN_EACH(f) cmocka_unit_test_setup_teardown(f, box_start_broker, box_stop_broker)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_EACH(a_killed_process_leaves_its_last_will),
		IN_EACH(a_goodbye_leaves_no_last_will),
		IN_EACH(a_killed_broker_that_comes_back_finds_us_as_before),
		IN_EACH(nothing_stale_is_sent_after_a_reconnect),
		IN_EACH(a_broker_that_starts_late_is_found),
		IN_EACH(closing_is_quick_while_the_broker_is_down),
		IN_EACH(a_frozen_broker_is_noticed_within_two_and_a_half_keepalives),
		IN_EACH(a_full_socket_is_the_business_of_net_out),
		IN_EACH(closing_is_quick_while_the_broker_is_frozen),
		IN_EACH(closing_is_quick_while_a_connection_is_being_made),
		IN_EACH(a_broker_that_dies_again_and_again_is_not_another_client),
		IN_EACH(two_clients_with_one_id_are_told_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
