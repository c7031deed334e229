/* The MQTT bus against a real mosquitto that behaves: what is published arrives. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/bus_box.h"

static void what_is_published_arrives_at_either_qos(void **state)
{
	struct box a, b;

	(void)state;
	box_need_broker();
	box_open_up(&a, box_broker, "a");
	box_open_up(&b, box_broker, "b");
	assert_int_equal(bus_subscribe(b.bus, "t/+", 1), 0);
	/* Once its own echo is there, the subscription stands. */
	box_say(&b, "t/ready", "?", 0);
	box_expect(&b, "t/ready", "?", false);
	box_say(&a, "t/0", "zero", 0);
	box_expect(&b, "t/0", "zero", false);
	box_say(&a, "t/1", "one", 1);
	box_expect(&b, "t/1", "one", false);
	box_say(&a, "t/empty", "", 1);
	box_expect(&b, "t/empty", "", false);
	box_close(&a);
	box_close(&b);
}

static void retained_messages_wait_for_those_who_come_later(void **state)
{
	struct bus_publish p = {
		.topic = "kept/x", .payload = "k", .len = 1, .qos = 1, .retain = true
	};
	struct box a, b;

	(void)state;
	box_need_broker();
	box_open_up(&a, box_broker, "a");
	assert_int_equal(bus_publish(a.bus, &p), 0);
	box_close(&a); /* sends what is queued first */
	box_open_up(&b, box_broker, "b");
	assert_int_equal(bus_subscribe(b.bus, "kept/#", 0), 0);
	box_expect(&b, "kept/x", "k", true);
	p.len = 0;
	assert_int_equal(bus_publish(b.bus, &p), 0);
	box_expect(&b, "kept/x", "", false);
	box_close(&b);
}

static void an_expired_message_is_not_delivered(void **state)
{
	struct bus_publish p = {
		.topic = "old/x", .payload = "x", .len = 1, .qos = 1, .retain = true, .expiry_s = 1
	};
	struct box a, b;

	(void)state;
	box_need_broker();
	box_open_up(&a, box_broker, "a");
	assert_int_equal(bus_publish(a.bus, &p), 0);
	p.topic = "old/y";
	p.expiry_s = 100;
	assert_int_equal(bus_publish(a.bus, &p), 0);
	assert_null(box_find(&a, BUS_MESSAGE, 2500));
	box_open_up(&b, box_broker, "b");
	assert_int_equal(bus_subscribe(b.bus, "old/#", 0), 0);
	box_expect(&b, "old/y", "x", true);
	assert_null(box_find(&b, BUS_MESSAGE, 200));
	p.len = 0;
	assert_int_equal(bus_publish(a.bus, &p), 0);
	box_close(&a);
	box_close(&b);
}

static void subscriptions_and_birth_made_before_the_connection_hold(void **state)
{
	struct bus_conf conf;
	struct box a;

	(void)state;
	conf = box_conf(box_need_broker(), "a");
	box_open(&a, &conf);
	assert_int_equal(bus_subscribe(a.bus, "self/#", 1), 0);
	assert_int_equal(bus_set_birth(a.bus, "self/status", "ready"), 0);
	box_expect(&a, "self/status", "ready", false);
	while (!bus_is_up(a.bus)) /* the birth may arrive before its acknowledgement */
		;
	assert_int_equal(bus_set_birth(a.bus, "self/status", "draining"), 0);
	box_expect(&a, "self/status", "draining", false);
	box_say(&a, "self/x", "1", 0);
	box_expect(&a, "self/x", "1", false);
	box_close(&a);
}

static void say_each(struct box *a)
{
	char topic[300];

	for (unsigned i = 0; i < 40; i++) {
		snprintf(topic, sizeof(topic), "%0200u/x", i);
		box_say(a, topic, "1", 1);
		box_expect(a, topic, "1", false);
	}
}

/* More than go into one packet, by number and by bytes. */
static void many_filters_hold_after_each_connect(void **state)
{
	struct broker *small;
	char filter[300];
	struct bus_conf conf;
	struct box a;

	(void)state;
	box_need_broker();
	small = broker_create();
	broker_start(small, "allow_anonymous true\nmax_packet_size 2048");
	conf = box_conf(small, "a");
	box_open(&a, &conf);
	for (unsigned i = 0; i < 40; i++) {
		snprintf(filter, sizeof(filter), "%0200u/+", i);
		assert_int_equal(bus_subscribe(a.bus, filter, 1), 0);
	}
	box_await(&a, BUS_UP);
	say_each(&a);
	broker_kill(small);
	box_await(&a, BUS_DOWN);
	broker_restart(small);
	box_await(&a, BUS_UP);
	say_each(&a);
	box_close(&a);
	broker_destroy(small);
}

/* How often the broker logged it. */
static unsigned logged(const struct broker *b, const char *what)
{
	FILE *f = fopen(broker_path(b, "broker.log"), "r");
	char line[512];
	unsigned n = 0;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		n += strstr(line, what) != NULL;
	(void)fclose(f);
	return n;
}

/* On a slow link each packet would be a round trip. */
static void filters_go_out_in_one_packet(void **state)
{
	static const char *const filters[] = { "a", "b/+", "c/#", "d", "e" };
	struct broker *b;
	struct box a;
	unsigned before;

	(void)state;
	box_need_broker();
	b = broker_create();
	broker_start(b, "allow_anonymous true\nlog_type all");
	box_open_up(&a, b, "a");
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(bus_subscribe(a.bus, filters[i], 1), 0);
	box_say(&a, "e", "1", 1);
	box_expect(&a, "e", "1", false);
	broker_kill(b);
	box_await(&a, BUS_DOWN);
	before = logged(b, "Received SUBSCRIBE from a");
	assert_int_equal(before, 5); /* each when it was wanted */
	broker_restart(b);
	box_await(&a, BUS_UP);
	assert_int_equal(logged(b, "Received SUBSCRIBE from a"), before + 1);
	box_close(&a);
	broker_destroy(b);
}

static void payloads_up_to_256_kib_arrive_whole(void **state)
{
	static const size_t sizes[] = { 1, 127, 16383, 16384, 65536, 262144 };
	struct bus_conf conf;
	struct bus_publish p = { .topic = "big", .qos = 1 };
	uint8_t *bytes = malloc(262144);
	struct box a;

	(void)state;
	conf = box_conf(box_need_broker(), "a");
	conf.max_packet_bytes = 300000;
	box_open(&a, &conf);
	assert_int_equal(bus_subscribe(a.bus, "big", 1), 0);
	box_await(&a, BUS_UP);
	for (size_t i = 0; i < 262144; i++)
		bytes[i] = (uint8_t)(i * 2654435761u >> 13);
	p.payload = bytes;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		const struct box_event *ev;

		p.len = sizes[i];
		p.qos = (int)i & 1;
		assert_int_equal(bus_publish(a.bus, &p), 0);
		ev = box_await(&a, BUS_MESSAGE);
		assert_int_equal(ev->len, sizes[i]);
		assert_memory_equal(ev->payload, bytes, sizes[i]);
	}
	box_close(&a);
	free(bytes);
}

/* Publish n numbered messages of 100 bytes as fast as the queue takes them, see all come in
 * order. */
static void burst(int qos, unsigned n)
{
	struct bus_conf conf = box_conf(box_broker, "a");
	unsigned char bytes[100] = { 0 };
	struct bus_publish p = {
		.topic = "burst", .payload = bytes, .len = sizeof(bytes), .qos = qos
	};
	struct box a;

	conf.queue_messages = n;
	box_open(&a, &conf);
	assert_int_equal(bus_subscribe(a.bus, "burst", qos), 0);
	box_await(&a, BUS_UP);
	for (unsigned i = 0; i < n; i++) {
		memcpy(bytes, &i, sizeof(i));
		assert_int_equal(bus_publish(a.bus, &p), 0);
	}
	for (unsigned i = 0; i < n; i++)
		assert_memory_equal(box_await(&a, BUS_MESSAGE)->payload, &i, sizeof(i));
	box_close(&a);
}

static void a_burst_of_20000_messages_arrives_in_order(void **state)
{
	(void)state;
	box_need_broker();
	burst(0, 20000);
}

/* What is written at once does not overtake what waits in the queue. */
static void both_qualities_of_service_keep_one_order(void **state)
{
	struct bus_conf conf = box_conf(box_need_broker(), "a");
	struct bus_publish p = { .topic = "x", .len = sizeof(unsigned) };
	struct box a;

	(void)state;
	conf.queue_messages = 3000;
	box_open(&a, &conf);
	assert_int_equal(bus_subscribe(a.bus, "x", 0), 0);
	box_await(&a, BUS_UP);
	for (unsigned i = 0; i < 3000; i++) {
		p.payload = &i;
		p.qos = i % 7 == 0;
		assert_int_equal(bus_publish(a.bus, &p), 0);
	}
	for (unsigned i = 0; i < 3000; i++)
		assert_memory_equal(box_await(&a, BUS_MESSAGE)->payload, &i, sizeof(i));
	box_close(&a);
}

/* Mosquitto's receive maximum is 20 here: the window must move without pauses. */
static void a_burst_at_qos_1_does_not_stall(void **state)
{
	uint64_t start_ms = clock_now_ms();

	(void)state;
	box_need_broker();
	burst(1, 2000);
	assert_true(clock_now_ms() - start_ms < 5000); /* 100 ms per 20 messages would be 10 s */
}

static void a_full_queue_refuses(void **state)
{
	struct bus_conf conf;
	unsigned taken = 0, refused = 0;
	/* at QoS 0 it would be written at once */
	struct bus_publish p = { .topic = "x", .payload = "y", .len = 1, .qos = 1 };
	struct bus_counts n;
	struct box a;

	(void)state;
	conf = box_conf(box_need_broker(), "a");
	conf.queue_messages = 4;
	box_open(&a, &conf);
	box_await(&a, BUS_UP);
	while (!refused && taken < 1000000) {
		int rc = bus_publish(a.bus, &p);

		assert_true(rc == 0 || rc == ERR_LIMIT);
		taken += rc == 0;
		refused += rc == ERR_LIMIT;
	}
	assert_int_equal(refused, 1);
	do
		bus_get_counts(a.bus, &n);
	while (n.published < taken);
	assert_int_equal(n.published, taken);
	assert_int_equal(bus_publish(a.bus, &p), 0);
	box_close(&a);
}

static void two_workers_share_the_open_requests(void **state)
{
	struct box a, b, c;
	int n = 0;

	(void)state;
	box_need_broker();
	box_open_up(&a, box_broker, "a");
	box_open_up(&b, box_broker, "b");
	box_open_up(&c, box_broker, "c");
	assert_int_equal(bus_subscribe(a.bus, "$share/w/open/#", 1), 0);
	assert_int_equal(bus_subscribe(b.bus, "$share/w/open/#", 1), 0);
	assert_int_equal(bus_subscribe(a.bus, "mark/a", 1), 0);
	assert_int_equal(bus_subscribe(b.bus, "mark/b", 1), 0);
	box_say(&a, "mark/a", "", 1);
	box_say(&b, "mark/b", "", 1);
	box_expect(&a, "mark/a", "", false);
	box_expect(&b, "mark/b", "", false);
	for (int i = 0; i < 10; i++)
		box_say(&c, "open/m/gw", "o", 1);
	while (box_find(&a, BUS_MESSAGE, 300))
		n++;
	assert_int_equal(n, 5);
	while (box_find(&b, BUS_MESSAGE, 300))
		n++;
	assert_int_equal(n, 10);
	box_close(&a);
	box_close(&b);
	box_close(&c);
}

static void the_socket_has_tcp_nodelay(void **state)
{
	struct sockaddr_in peer;
	unsigned found = 0;
	struct box a;

	(void)state;
	box_need_broker();
	box_open_up(&a, box_broker, "a");
	for (int fd = 0; fd < 256; fd++) {
		socklen_t len = sizeof(peer), n = sizeof(int);
		int on = 0;

		if (getpeername(fd, (struct sockaddr *)&peer, &len) || peer.sin_family != AF_INET ||
		    peer.sin_port != htons(broker_port(box_broker)))
			continue;
		assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, &n), 0);
		assert_true(on);
		found++;
	}
	assert_int_equal(found, 1);
	box_close(&a);
}

static bool has_ipv6(void)
{
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	int fd = socket(AF_INET6, SOCK_STREAM, 0);
	bool yes = fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0;

	if (fd >= 0)
		close(fd);
	return yes;
}

static void an_ipv6_broker_is_reached_without_delay(void **state)
{
	struct bus_conf conf;
	struct broker *six;
	char lines[128];
	struct box a;

	(void)state;
	box_need_broker();
	if (!has_ipv6()) {
		print_message("skipped: no IPv6 on this machine\n");
		skip();
	}
	six = broker_create();
	snprintf(lines, sizeof(lines),
		 "allow_anonymous true\nlistener %u 127.0.0.1\nlistener %u ::1", broker_port(six),
		 broker_port(six));
	broker_start(six, lines);
	conf = box_conf(six, "a");
	conf.host = "::1";
	box_open(&a, &conf);
	assert_null(strstr(box_await(&a, BUS_UP)->text, "slowly"));
	box_close(&a);
	broker_destroy(six);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_published_arrives_at_either_qos),
		cmocka_unit_test(retained_messages_wait_for_those_who_come_later),
		cmocka_unit_test(an_expired_message_is_not_delivered),
		cmocka_unit_test(subscriptions_and_birth_made_before_the_connection_hold),
		cmocka_unit_test(many_filters_hold_after_each_connect),
		cmocka_unit_test(filters_go_out_in_one_packet),
		cmocka_unit_test(payloads_up_to_256_kib_arrive_whole),
		cmocka_unit_test(a_burst_of_20000_messages_arrives_in_order),
		cmocka_unit_test(a_burst_at_qos_1_does_not_stall),
		cmocka_unit_test(both_qualities_of_service_keep_one_order),
		cmocka_unit_test(a_full_queue_refuses),
		cmocka_unit_test(two_workers_share_the_open_requests),
		cmocka_unit_test(the_socket_has_tcp_nodelay),
		cmocka_unit_test(an_ipv6_broker_is_reached_without_delay),
	};

	return cmocka_run_group_tests(tests, box_start_broker, box_stop_broker);
}
