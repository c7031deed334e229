/* The MQTT bus and who may do what: passwords, access lists, TLS, sizes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/bus_box.h"

static struct broker *br; /* one for each test, not started; NULL: skip */

static struct broker *need_broker(void)
{
	if (!br) {
		print_message("skipped: %s\n", broker_missing());
		skip();
	}
	return br;
}

static int create(void **state)
{
	(void)state;
	br = broker_missing() ? NULL : broker_create();
	return 0;
}

static int destroy(void **state)
{
	(void)state;
	broker_destroy(br);
	br = NULL;
	return 0;
}

static void a_wrong_password_is_told_and_a_right_one_works(void **state)
{
	struct bus_conf conf;
	struct box a;

	(void)state;
	need_broker();
	broker_add_user(br, "passwords", "gw", "secret");
	broker_start(br, "allow_anonymous false\npassword_file passwords");
	conf = box_conf(br, "a");
	conf.username = "gw";
	conf.password = "wrong";
	box_open(&a, &conf);
	assert_non_null(strstr(box_await(&a, BUS_DOWN)->text,
			       "the broker refuses: Not authorized (user gw)"));
	box_await(&a, BUS_DOWN); /* it keeps trying */
	box_close(&a);
	conf.password = "secret";
	box_open(&a, &conf);
	box_await(&a, BUS_UP);
	box_close(&a);
}

static void what_the_access_list_denies_is_counted_and_a_denied_birth_is_told(void **state)
{
	struct bus_counts n;
	struct bus_conf conf;
	struct box a;

	(void)state;
	need_broker();
	broker_write(br, "acl", "topic readwrite mine/#\n");
	broker_start(br, "allow_anonymous true\nacl_file acl");
	conf = box_conf(br, "a");
	box_open(&a, &conf);
	assert_int_equal(bus_set_birth(a.bus, "theirs/status", "ready"), 0);
	assert_int_equal(bus_subscribe(a.bus, "#", 1), 0); /* granted, but filtered at delivery */
	assert_non_null(
		strstr(box_await(&a, BUS_UP)->text,
		       "but the broker refuses the publish to theirs/status: Not authorized"));
	box_say(&a, "theirs/x", "1", 1);
	box_say(&a, "mine/x", "2", 1);
	box_expect(&a, "mine/x", "2", false);
	do
		bus_get_counts(a.bus, &n);
	while (n.refused < 2);
	assert_int_equal(n.refused, 2);
	assert_true(bus_is_up(a.bus));
	box_close(&a);
}

#define PLUGIN "mosquitto_dynamic_security.so"

/* Mosquitto's plugin that answers SUBSCRIBE by an access list; NULL: it is not where it may be. */
static const char *find_plugin(void)
{
	static const char *const places[] = { "/usr/lib/x86_64-linux-gnu/" PLUGIN,
					      "/usr/lib/aarch64-linux-gnu/" PLUGIN,
					      "/usr/lib/" PLUGIN, "/usr/local/lib/" PLUGIN };

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		if (!access(places[i], R_OK))
			return places[i];
	}
	return NULL;
}

/* Filters go out together; the one that is refused is named, wherever it stands. */
static void a_filter_that_is_refused_is_named(void **state)
{
	static const char rules[] =
		"{\"defaultACLAccess\":{\"publishClientSend\":true,\"publishClientReceive\":true,"
		"\"subscribe\":true,\"unsubscribe\":true},\"anonymousGroup\":\"all\",\"groups\":"
		"[{\"groupname\":\"all\",\"roles\":[{\"rolename\":\"none\"}]}],\"roles\":"
		"[{\"rolename\":\"none\",\"acls\":[{\"acltype\":\"subscribeLiteral\","
		"\"topic\":\"theirs/+\",\"allow\":false}]}],\"clients\":[]}";
	const char *plugin = find_plugin();
	char lines[512], filter[32];

	(void)state;
	need_broker();
	if (!plugin)
		skip();
	broker_write(br, "rules.json", rules);
	snprintf(lines, sizeof(lines), "allow_anonymous true\nplugin %s\nplugin_opt_config_file %s",
		 plugin, broker_path(br, "rules.json"));
	broker_start(br, lines);
	for (unsigned at = 0; at < 20; at += 19) { /* in the first packet, in the second */
		struct bus_conf conf = box_conf(br, "a");
		struct box a;

		box_open(&a, &conf);
		for (unsigned i = 0; i < 20; i++) {
			snprintf(filter, sizeof(filter), i == at ? "theirs/+" : "mine/%u", i);
			assert_int_equal(bus_subscribe(a.bus, filter, 1), 0);
		}
		assert_non_null(
			strstr(box_await(&a, BUS_DOWN)->text,
			       "subscribe to theirs/+: the broker refuses: Not authorized"));
		box_close(&a);
	}
}

static void a_packet_above_the_brokers_maximum_is_refused_here(void **state)
{
	static char bytes[8192];
	struct bus_publish p = { .topic = "x", .payload = bytes };
	struct box a;

	(void)state;
	need_broker();
	broker_start(br, "allow_anonymous true\nmax_packet_size 4096");
	box_open_up(&a, br, "a");
	assert_int_equal(bus_subscribe(a.bus, "x", 0), 0);
	p.len = bus_max_payload(a.bus, "x");
	assert_in_range(p.len, 4096 - 20, 4096);
	p.expiry_s = 100;
	p.qos = 1;
	assert_int_equal(bus_publish(a.bus, &p), 0);
	assert_int_equal(box_await(&a, BUS_MESSAGE)->len, p.len);
	p.len++;
	assert_int_equal(bus_publish(a.bus, &p), ERR_LIMIT);
	assert_true(bus_is_up(a.bus));
	box_close(&a);
}

static void a_message_above_our_maximum_does_not_reach_us(void **state)
{
	static char bytes[8192];
	struct bus_publish p = { .topic = "x", .payload = bytes, .len = 5000, .qos = 1 };
	struct bus_conf conf;
	struct box a, b;

	(void)state;
	need_broker();
	broker_start(br, NULL);
	conf = box_conf(br, "a");
	conf.max_packet_bytes = 4096;
	box_open(&a, &conf);
	assert_int_equal(bus_subscribe(a.bus, "x", 1), 0);
	box_await(&a, BUS_UP);
	box_open_up(&b, br, "b");
	assert_int_equal(bus_publish(b.bus, &p), 0);
	box_say(&b, "x", "small", 1);
	box_expect(&a, "x", "small", false);
	assert_int_equal(bus_publish(a.bus, &p), ERR_LIMIT); /* nor do we send such */
	box_close(&a);
	box_close(&b);
}

/* A listener with TLS; clients must show a certificate when `mutual`. */
static void start_tls(bool mutual)
{
	char lines[512];

	broker_make_certificates(br);
	snprintf(lines, sizeof(lines),
		 "allow_anonymous true\nlistener %u 127.0.0.1\ncafile ca.crt\n"
		 "certfile server.crt\nkeyfile server.key\nrequire_certificate %s\n",
		 broker_port(br), mutual ? "true" : "false");
	broker_start(br, lines);
}

static void tls_with_a_client_certificate_works(void **state)
{
	struct bus_conf conf;
	struct box a;

	(void)state;
	need_broker();
	start_tls(true);
	conf = box_conf(br, "a");
	conf.ca_file = broker_path(br, "ca.crt");
	conf.cert_file = broker_path(br, "client.crt");
	conf.key_file = broker_path(br, "client.key");
	box_open(&a, &conf);
	assert_int_equal(bus_subscribe(a.bus, "x", 1), 0);
	assert_null(strstr(box_await(&a, BUS_UP)->text, "slowly"));
	box_say(&a, "x", "1", 1);
	box_expect(&a, "x", "1", false);
	broker_kill(br);
	box_await(&a, BUS_DOWN);
	broker_restart(br);
	box_await(&a, BUS_UP);
	box_say(&a, "x", "2", 0);
	box_expect(&a, "x", "2", false);
	box_close(&a);
	conf.cert_file = conf.key_file = NULL;
	box_open(&a, &conf);
	assert_non_null(strstr(box_await(&a, BUS_DOWN)->text, "it wants a certificate of ours"));
	assert_null(box_find(&a, BUS_UP, 300));
	box_close(&a);
}

static void a_broker_of_another_authority_is_not_trusted(void **state)
{
	struct bus_conf conf;
	struct box a;

	(void)state;
	need_broker();
	start_tls(false);
	conf = box_conf(br, "a");
	conf.ca_file = broker_path(br, "other.crt");
	box_open(&a, &conf);
	assert_non_null(strstr(box_await(&a, BUS_DOWN)->text, "certificate verify failed"));
	assert_null(box_find(&a, BUS_UP, 300));
	box_close(&a);
}

static void a_certificate_for_another_host_is_not_trusted(void **state)
{
	struct bus_conf conf;
	struct box a;

	(void)state;
	need_broker();
	start_tls(false);
	conf = box_conf(br, "a");
	conf.ca_file = broker_path(br, "ca.crt");
	conf.host = "127.1"; /* the same address by another name */
	box_open(&a, &conf);
	assert_non_null(strstr(box_await(&a, BUS_DOWN)->text, "is for another host name"));
	box_close(&a);
	conf.tls_insecure_hostname = true;
	box_open(&a, &conf);
	box_await(&a, BUS_UP);
	box_close(&a);
	conf.tls_insecure_hostname = false;
	conf.host = "localhost";
	box_open(&a, &conf);
	box_await(&a, BUS_UP);
	box_close(&a);
}

static void nothing(void *ctx, const struct bus_event *ev)
{
	(void)ctx;
	(void)ev;
}

static void a_bad_configuration_is_refused_at_open(void **state)
{
	static const struct {
		struct bus_conf conf;
		const char *says;
	} rows[] = {
		{ { .host = "h", .port = 1, .client_id = "a", .ca_file = "/no/such/ca.crt" },
		  "CA file /no/such/ca.crt: No such file or directory" },
		{ { .host = "h", .port = 1, .client_id = "a", .ca_file = "/dev/null" },
		  "CA file /dev/null: not a PEM file" },
		{ { .host = "h", .port = 1, .client_id = "a", .ca_file = "/" },
		  "CA file /: Is a directory" },
		{ { .host = "h", .port = 1, .client_id = "a", .cert_file = "x" },
		  "a client certificate needs a CA file too" },
		{ { .host = "h", .client_id = "a" }, "the broker's host or port is missing" },
		{ { .port = 1, .client_id = "a" }, "the broker's host or port is missing" },
		{ { .host = "h", .port = 1 }, "the client id is missing" },
		{ { .host = "h",
		    .port = 1,
		    .client_id = "a",
		    .will_topic = "a/#",
		    .will_payload = "x" },
		  "the Last Will is not complete" },
		{ { .host = "h", .port = 1, .client_id = "\xff" },
		  "client id \"\xff\" is not possible" },
	};
	struct bus *b;
	struct err e;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(bus_mqtt_open(&b, &rows[i].conf, nothing, NULL, &e), ERR_CONFIG);
		assert_string_equal(e.text, rows[i].says);
	}
}

#define IN_EACH(f) cmocka_unit_test_setup_teardown(f, create, destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_bad_configuration_is_refused_at_open),
		IN_EACH(a_wrong_password_is_told_and_a_right_one_works),
		IN_EACH(what_the_access_list_denies_is_counted_and_a_denied_birth_is_told),
		IN_EACH(a_filter_that_is_refused_is_named),
		IN_EACH(a_packet_above_the_brokers_maximum_is_refused_here),
		IN_EACH(a_message_above_our_maximum_does_not_reach_us),
		IN_EACH(tls_with_a_client_certificate_works),
		IN_EACH(a_broker_of_another_authority_is_not_trusted),
		IN_EACH(a_certificate_for_another_host_is_not_trusted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
