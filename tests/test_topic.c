#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "schema/topic.h"

#define LONG_NAME "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_."

static const struct {
	const char *text;
	struct topic t;
} rows[] = {
	{ "splitmq/v1/site1/agent/gw1/status",
	  { .kind = TOPIC_AGENT_STATUS, .fleet = "site1", .agent = "gw1" } },
	{ "splitmq/v1/site1/agent/gw1/telemetry",
	  { .kind = TOPIC_AGENT_TELEMETRY, .fleet = "site1", .agent = "gw1" } },
	{ "splitmq/v1/site1/agent/gw1/profile",
	  { .kind = TOPIC_AGENT_PROFILE, .fleet = "site1", .agent = "gw1" } },
	{ "splitmq/v1/site1/agent/gw1/answer",
	  { .kind = TOPIC_AGENT_ANSWER, .fleet = "site1", .agent = "gw1" } },
	{ "splitmq/v1/site1/agent/gw1/probe",
	  { .kind = TOPIC_AGENT_PROBE, .fleet = "site1", .agent = "gw1" } },
	{ "splitmq/v1/site1/agent/gw1/prompt",
	  { .kind = TOPIC_AGENT_PROMPT, .fleet = "site1", .agent = "gw1" } },
	{ "splitmq/v1/site1/agent/gw1/reply/q-7",
	  { .kind = TOPIC_AGENT_REPLY, .fleet = "site1", .agent = "gw1", .reply = "q-7" } },
	{ "splitmq/v1/site1/worker/w.2/status",
	  { .kind = TOPIC_WORKER_STATUS, .fleet = "site1", .worker = "w.2" } },
	{ "splitmq/v1/site1/worker/w.2/telemetry",
	  { .kind = TOPIC_WORKER_TELEMETRY, .fleet = "site1", .worker = "w.2" } },
	{ "splitmq/v1/site1/coordinator/main/status",
	  { .kind = TOPIC_COORDINATOR_STATUS, .fleet = "site1", .coordinator = "main" } },
	{ "splitmq/v1/site1/coordinator/lease",
	  { .kind = TOPIC_COORDINATOR_LEASE, .fleet = "site1" } },
	{ "splitmq/v1/site1/decision/gw1",
	  { .kind = TOPIC_DECISION, .fleet = "site1", .agent = "gw1" } },
	{ "splitmq/v1/site1/open/0f0e/gw1",
	  { .kind = TOPIC_OPEN, .fleet = "site1", .model = "0f0e", .agent = "gw1" } },
	{ "splitmq/v1/site1/session/w2/gw1/00000000000000ff/up",
	  { .kind = TOPIC_UP, .fleet = "site1", .worker = "w2", .agent = "gw1", .session = 255 } },
	{ "splitmq/v1/site1/session/w2/gw1/fedcba9876543210/down",
	  { .kind = TOPIC_DOWN,
	    .fleet = "site1",
	    .worker = "w2",
	    .agent = "gw1",
	    .session = 0xfedcba9876543210u } },
};

#define N_ROWS (sizeof(rows) / sizeof(rows[0]))

_Static_assert(N_ROWS == TOPIC_KIND_COUNT, "one row per kind");

static void every_kind_is_written_as_the_protocol_says(void **state)
{
	char text[TOPIC_MAX];

	(void)state;
	for (size_t i = 0; i < N_ROWS; i++) {
		topic_put(text, &rows[i].t);
		assert_string_equal(text, rows[i].text);
	}
}

static void every_kind_is_read_back(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_ROWS; i++) {
		struct topic t;

		memset(&t, 0xff, sizeof(t));
		assert_int_equal(topic_get(&t, rows[i].text, strlen(rows[i].text)), 0);
		assert_int_equal(t.kind, rows[i].t.kind);
		assert_string_equal(t.fleet, rows[i].t.fleet);
		assert_string_equal(t.agent, rows[i].t.agent);
		assert_string_equal(t.worker, rows[i].t.worker);
		assert_string_equal(t.coordinator, rows[i].t.coordinator);
		assert_string_equal(t.model, rows[i].t.model);
		assert_string_equal(t.reply, rows[i].t.reply);
		assert_true(t.session == rows[i].t.session);
	}
}

static void a_prefix_is_no_topic_unless_its_last_name_was_only_cut(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_ROWS; i++) {
		size_t full = strlen(rows[i].text);
		const char *slash = strrchr(rows[i].text, '/');
		enum topic_kind kind = rows[i].t.kind;
		bool name_last =
			kind == TOPIC_AGENT_REPLY || kind == TOPIC_DECISION || kind == TOPIC_OPEN;

		for (size_t len = 0; len < full; len++) {
			char *copy = malloc(len ? len : 1);
			struct topic t;
			int rc;

			assert_non_null(copy);
			memcpy(copy, rows[i].text, len);
			rc = topic_get(&t, copy, len);
			free(copy);
			if (name_last && len > (size_t)(slash - rows[i].text) + 1)
				assert_int_equal(rc, 0);
			else
				assert_int_equal(rc, ERR_FORMAT);
		}
	}
}

static void what_is_not_ours_is_refused(void **state)
{
	static const char *const bad[] = {
		"",
		"/",
		"splitmq",
		"splitmq/v1",
		"splitmq/v1/f",
		"splitmq/v1//agent/a/status",
		"splitmq/v2/f/agent/a/status",
		"Splitmq/v1/f/agent/a/status",
		"/splitmq/v1/f/agent/a/status",
		"splitmq/v1/f/agent/a/status/",
		"splitmq/v1/f/agent/a/statu",
		"splitmq/v1/f/agent//status",
		"splitmq/v1/f/agent/a b/status",
		"splitmq/v1/f/agent/+/status",
		"splitmq/v1/f/agent/#",
		"splitmq/v1/+/agent/a/status",
		"splitmq/v1/f/agent/\xc3\xa4/status",
		"splitmq/v1/f/agent/a/reply",
		"splitmq/v1/f/agent/a/reply/",
		"splitmq/v1/f/agent/a/reply/1/2",
		"splitmq/v1/f/worker/w/prompt",
		"splitmq/v1/f/worker/w/reply/1",
		"splitmq/v1/f/worker/w/profile",
		"splitmq/v1/f/worker/w/probe",
		"splitmq/v1/f/coordinator/status",
		"splitmq/v1/f/coordinator/telemetry",
		"splitmq/v1/f/coordinator//status",
		"splitmq/v1/f/coordinator/x/lease",
		"splitmq/v1/f/coordinator/x/y/status",
		"splitmq/v1/f/decision",
		"splitmq/v1/f/decision/a/b",
		"splitmq/v1/f/open/h",
		"splitmq/v1/f/open/h/a/b",
		"splitmq/v1/f/session/w/a/00000000000000ff",
		"splitmq/v1/f/session/w/a/00000000000000ff/sideways",
		"splitmq/v1/f/session/w/a/00000000000000ff/up/x",
		"splitmq/v1/f/session/w/a/0000000000000000/up",
		"splitmq/v1/f/session/w/a/00000000000000FF/up",
		"splitmq/v1/f/session/w/a/ff/up",
		"splitmq/v1/f/session/w/a/000000000000000ff/up",
		"splitmq/v1/f/session/w/a/0x000000000000ff/up",
		"splitmq/v1/f/agent/" LONG_NAME "x/status",
		"$share/g/splitmq/v1/f/agent/a/status",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct topic t;

		if (topic_get(&t, bad[i], strlen(bad[i])) != ERR_FORMAT)
			fail_msg("\"%s\" was taken for a topic", bad[i]);
	}
	assert_int_equal(topic_get(&(struct topic){ 0 }, "splitmq/v1/f/decision/a\0b", 25),
			 ERR_FORMAT);
}

static void an_empty_name_matches_any(void **state)
{
	char text[TOPIC_MAX];

	(void)state;
	topic_put(text, &(struct topic){ .kind = TOPIC_UP, .fleet = "f", .worker = "w1" });
	assert_string_equal(text, "splitmq/v1/f/session/w1/+/+/up");
	topic_put(text, &(struct topic){ .kind = TOPIC_DOWN, .fleet = "f", .agent = "gw1" });
	assert_string_equal(text, "splitmq/v1/f/session/+/gw1/+/down");
	topic_put(text, &(struct topic){ .kind = TOPIC_AGENT_STATUS, .fleet = "f" });
	assert_string_equal(text, "splitmq/v1/f/agent/+/status");
	topic_put(text, &(struct topic){ .kind = TOPIC_AGENT_REPLY, .fleet = "f", .agent = "a" });
	assert_string_equal(text, "splitmq/v1/f/agent/a/reply/+");
	topic_put_shared(text, "workers",
			 &(struct topic){ .kind = TOPIC_OPEN, .fleet = "f", .model = "00ff" });
	assert_string_equal(text, "$share/workers/splitmq/v1/f/open/00ff/+");
}

static void the_longest_names_fit(void **state)
{
	char text[TOPIC_MAX], shared[TOPIC_MAX];
	struct topic t, got;

	(void)state;
	assert_int_equal(strlen(LONG_NAME), TOPIC_NAME_MAX);
	assert_true(topic_name_ok(LONG_NAME));
	for (unsigned kind = 0; kind < TOPIC_KIND_COUNT; kind++) {
		t = (struct topic){ .kind = (enum topic_kind)kind,
				    .fleet = LONG_NAME,
				    .agent = LONG_NAME,
				    .worker = LONG_NAME,
				    .coordinator = LONG_NAME,
				    .model = LONG_NAME,
				    .reply = LONG_NAME,
				    .session = UINT64_MAX };
		topic_put(text, &t);
		assert_int_equal(topic_get(&got, text, strlen(text)), 0);
		assert_int_equal(got.kind, kind);
		topic_put_shared(shared, LONG_NAME, &t);
		assert_string_equal(shared + strlen("$share//") + TOPIC_NAME_MAX, text);
	}
}

static void a_name_is_one_level_of_plain_characters(void **state)
{
	(void)state;
	assert_true(topic_name_ok("a"));
	assert_true(topic_name_ok("Gate_way.7-b"));
	assert_false(topic_name_ok(""));
	assert_false(topic_name_ok("a/b"));
	assert_false(topic_name_ok("+"));
	assert_false(topic_name_ok("#"));
	assert_false(topic_name_ok("$SYS"));
	assert_false(topic_name_ok("a\n"));
	assert_false(topic_name_ok(LONG_NAME "x"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind_is_written_as_the_protocol_says),
		cmocka_unit_test(every_kind_is_read_back),
		cmocka_unit_test(a_prefix_is_no_topic_unless_its_last_name_was_only_cut),
		cmocka_unit_test(what_is_not_ours_is_refused),
		cmocka_unit_test(an_empty_name_matches_any),
		cmocka_unit_test(the_longest_names_fit),
		cmocka_unit_test(a_name_is_one_level_of_plain_characters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
