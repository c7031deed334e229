/* The relay delays, limits and jitters as it says, and loses, doubles and reorders nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "tools/relay.h"

/* A server that sends back whatever comes, one connection after the other. */
struct echo {
	int listener;
	uint16_t port;
	pthread_t thread;
};

static void *serve(void *arg)
{
	const struct echo *s = arg;
	const int one = 1;
	uint8_t buf[65536];
	ssize_t n;
	int fd;

	while ((fd = accept(s->listener, NULL, NULL)) >= 0) {
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		while ((n = recv(fd, buf, sizeof(buf), 0)) > 0)
			assert_int_equal(send(fd, buf, (size_t)n, MSG_NOSIGNAL), n);
		close(fd);
	}
	return NULL;
}

static struct sockaddr_in loopback(uint16_t port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET,
				     .sin_port = htons(port),
				     .sin_addr = { htonl(INADDR_LOOPBACK) } };
}

static void start_echo(struct echo *s)
{
	struct sockaddr_in a = loopback(0);
	socklen_t len = sizeof(a);

	s->listener = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(s->listener, (struct sockaddr *)&a, len), 0);
	assert_int_equal(listen(s->listener, 8), 0);
	assert_int_equal(getsockname(s->listener, (struct sockaddr *)&a, &len), 0);
	s->port = ntohs(a.sin_port);
	assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void stop_echo(struct echo *s)
{
	shutdown(s->listener, SHUT_RDWR);
	pthread_join(s->thread, NULL);
	close(s->listener);
}

static int connect_to(uint16_t port)
{
	struct sockaddr_in a = loopback(port);
	const int one = 1;
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

static struct relay *relay_to(const struct echo *s, struct relay_conf conf)
{
	struct relay *r = NULL;
	struct err e;

	conf.to_host = "127.0.0.1";
	conf.to_port = s->port;
	if (relay_start(&r, &conf, &e))
		fail_msg("%s", e.text);
	return r;
}

/* There and back; what comes back is what went. */
static double round_trip_us(int fd, const uint8_t *bytes, size_t n)
{
	uint8_t *got = malloc(n);
	const uint64_t start = clock_now_us();
	uint64_t end;

	assert_int_equal(send(fd, bytes, n, 0), n);
	assert_int_equal(recv(fd, got, n, MSG_WAITALL), n);
	end = clock_now_us();
	assert_memory_equal(bytes, got, n);
	free(got);
	return (double)(end - start);
}

/* The fastest of some tries, fewer when one takes at most good_us: other programs may run. */
static double best_us(int fd, size_t n, unsigned tries, double good_us)
{
	uint8_t *bytes = malloc(n);
	double best = 1e12;

	for (size_t i = 0; i < n; i++)
		bytes[i] = (uint8_t)(i * 31 + i / 251);
	for (unsigned i = 0; i < tries && best > good_us; i++) {
		const double us = round_trip_us(fd, bytes, n);

		best = us < best ? us : best;
	}
	free(bytes);
	return best;
}

static void a_delay_is_kept_to_a_third_of_a_millisecond(void **state)
{
	struct echo s;
	struct relay *r;
	double us;
	int fd;

	(void)state;
	start_echo(&s);
	r = relay_to(&s, (struct relay_conf){ .delay_us = 7000 });
	fd = connect_to(relay_port(r));
	us = best_us(fd, 100, 200, 14600);
	assert_true(us >= 14000 && us <= 14600);
	close(fd);
	relay_stop(r);
	stop_echo(&s);
}

static void bytes_take_as_long_as_the_rate_says(void **state)
{
	struct echo s;
	struct relay *r;
	double us;
	int fd;

	(void)state;
	start_echo(&s);
	/* 50 kB at 8 Mbit/s are 50 ms; the way back begins when the first packet has arrived */
	r = relay_to(&s, (struct relay_conf){ .rate_bit_s = 8000000 });
	fd = connect_to(relay_port(r));
	us = best_us(fd, 50000, 60, 65000);
	assert_true(us >= 50000 && us <= 65000);
	close(fd);
	relay_stop(r);
	stop_echo(&s);
}

static void another_rate_holds_at_once(void **state)
{
	struct echo s;
	struct relay *r;
	double us;
	int fd;

	(void)state;
	start_echo(&s);
	r = relay_to(&s, (struct relay_conf){ 0 });
	fd = connect_to(relay_port(r));
	assert_true(best_us(fd, 50000, 60, 30000) < 30000);
	relay_set_rate(r, 8000000);
	us = best_us(fd, 50000, 60, 65000);
	assert_true(us >= 50000 && us <= 65000);
	relay_set_rate(r, 0);
	assert_true(best_us(fd, 50000, 60, 30000) < 30000);
	close(fd);
	relay_stop(r);
	stop_echo(&s);
}

static void bytes_are_counted(void **state)
{
	const uint64_t until = clock_now_ms() + 5000;
	uint64_t up = 0, down = 0;
	struct echo s;
	struct relay *r;
	int fd;

	(void)state;
	start_echo(&s);
	r = relay_to(&s, (struct relay_conf){ 0 });
	fd = connect_to(relay_port(r));
	(void)best_us(fd, 50000, 1, 0);
	while (up + down < 100000 && clock_now_ms() < until) /* those passed on last may be late */
		relay_get_bytes(r, &up, &down);
	assert_int_equal(up, 50000);
	assert_int_equal(down, 50000);
	close(fd);
	relay_stop(r);
	stop_echo(&s);
}

static void jitter_spreads_and_does_not_reorder(void **state)
{
	struct echo s;
	struct relay *r;
	uint8_t bytes[16] = { 1, 2, 3 };
	double least = 1e12, most = 0;
	int fd;

	(void)state;
	start_echo(&s);
	r = relay_to(&s, (struct relay_conf){ .delay_us = 1000, .jitter_us = 4000, .seed = 3 });
	fd = connect_to(relay_port(r));
	for (unsigned i = 0; i < 60; i++) {
		const double us = round_trip_us(fd, bytes, sizeof(bytes));

		least = us < least ? us : least;
		most = us > most ? us : most;
	}
	assert_true(least >= 2000 && least < 5500);
	assert_true(most > 6500);
	/* many packets, each with a jitter of its own: round_trip_us compares them */
	(void)best_us(fd, 200000, 1, 0);
	close(fd);
	relay_stop(r);
	stop_echo(&s);
}

static void the_end_of_a_stream_comes_after_its_last_byte(void **state)
{
	struct echo s;
	struct relay *r;
	uint8_t byte = 7, got = 0;
	int fd;

	(void)state;
	start_echo(&s);
	r = relay_to(&s, (struct relay_conf){ .delay_us = 3000 });
	fd = connect_to(relay_port(r));
	assert_int_equal(send(fd, &byte, 1, 0), 1);
	shutdown(fd, SHUT_WR);
	assert_int_equal(recv(fd, &got, 1, 0), 1);
	assert_int_equal(got, 7);
	assert_int_equal(recv(fd, &got, 1, 0), 0);
	close(fd);
	relay_stop(r);
	stop_echo(&s);
}

static void more_connections_than_there_is_room_for_are_turned_away(void **state)
{
	int fds[RELAY_MAX_CONNECTIONS + 1];
	struct echo s;
	struct relay *r;
	uint8_t byte;

	(void)state;
	start_echo(&s);
	r = relay_to(&s, (struct relay_conf){ 0 });
	for (unsigned i = 0; i <= RELAY_MAX_CONNECTIONS; i++)
		fds[i] = connect_to(relay_port(r));
	assert_true(recv(fds[RELAY_MAX_CONNECTIONS], &byte, 1, 0) <= 0);
	(void)best_us(fds[0], 100, 1, 0);
	for (unsigned i = 0; i <= RELAY_MAX_CONNECTIONS; i++)
		close(fds[i]);
	relay_stop(r);
	stop_echo(&s);
}

static void a_target_that_is_not_there_closes_the_connection(void **state)
{
	struct echo s;
	struct relay *r = NULL;
	struct err e;
	uint8_t byte;
	int fd;

	(void)state;
	start_echo(&s);
	stop_echo(&s); /* its port is free now */
	r = relay_to(&s, (struct relay_conf){ 0 });
	fd = connect_to(relay_port(r));
	assert_true(recv(fd, &byte, 1, 0) <= 0);
	close(fd);
	assert_int_equal(relay_start(&(struct relay *){ NULL },
				     &(struct relay_conf){ .listen_port = relay_port(r),
							   .to_host = "127.0.0.1",
							   .to_port = 1 },
				     &e),
			 ERR_IO);
	relay_stop(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_delay_is_kept_to_a_third_of_a_millisecond),
		cmocka_unit_test(bytes_take_as_long_as_the_rate_says),
		cmocka_unit_test(another_rate_holds_at_once),
		cmocka_unit_test(bytes_are_counted),
		cmocka_unit_test(jitter_spreads_and_does_not_reorder),
		cmocka_unit_test(the_end_of_a_stream_comes_after_its_last_byte),
		cmocka_unit_test(more_connections_than_there_is_room_for_are_turned_away),
		cmocka_unit_test(a_target_that_is_not_there_closes_the_connection),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
