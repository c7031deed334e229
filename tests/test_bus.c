#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "bus/bus.h"
#include "bus/bus_retry.h"

#define SEEN_MAX 32

/* What one client saw, in order, one line each: "up", "down", "topic=payload", "*topic=payload"
 * (retained). */
struct seen {
	char line[SEEN_MAX][80];
	size_t n;
};

static void note(void *ctx, const struct bus_event *ev)
{
	struct seen *s = ctx;

	assert_true(s->n < SEEN_MAX);
	if (ev->kind == BUS_MESSAGE)
		snprintf(s->line[s->n++], sizeof(s->line[0]), "%s%s=%.*s", ev->retained ? "*" : "",
			 ev->topic, (int)ev->len, (const char *)ev->payload);
	else
		snprintf(s->line[s->n++], sizeof(s->line[0]), "%s",
			 ev->kind == BUS_UP ? "up" : "down");
}

/* Everything seen since the last call, joined by blanks. */
static const char *take(struct seen *s)
{
	static char text[SEEN_MAX * 81];
	size_t used = 0;

	text[0] = '\0';
	for (size_t i = 0; i < s->n; i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s", i ? " " : "",
					 s->line[i]);
	s->n = 0;
	return text;
}

static struct bus *join(struct bus_mem *m, const char *id, struct seen *s)
{
	struct bus_conf conf = { .client_id = id };
	struct bus *b;

	assert_int_equal(bus_mem_open(&b, m, &conf, note, s), 0);
	return b;
}

static int say(struct bus *b, const char *topic, const char *text)
{
	struct bus_publish p = { .topic = topic, .payload = text, .len = strlen(text) };

	return bus_publish(b, &p);
}

static void filters_match_as_the_standard_says(void **state)
{
	static const struct {
		const char *filter, *topic;
		bool match;
	} rows[] = {
		{ "a/b", "a/b", true },
		{ "a/b", "a/c", false },
		{ "a/b", "a/b/c", false },
		{ "a/b/c", "a/b", false },
		{ "a/+", "a/b", true },
		{ "a/+", "a", false },
		{ "a/+", "a/", true },
		{ "a/+", "a/b/c", false },
		{ "+/+", "/b", true },
		{ "+", "/b", false },
		{ "+/b/+", "a/b/c", true },
		{ "a/#", "a", true },
		{ "a/#", "a/b/c", true },
		{ "a/#", "ab", false },
		{ "#", "a/b", true },
		{ "a/+/#", "a/b", true },
		{ "a/+/#", "a", false },
		{ "a/b", "a/bc", false },
		{ "a/bc", "a/b", false },
		{ "#", "$SYS/x", false },
		{ "+/x", "$SYS/x", false },
		{ "$SYS/#", "$SYS/x", true },
		{ "$share/g/a/+", "a/b", true },
		{ "$share/g/a/+", "b/b", false },
		{ "$share/g/#", "a/b", true },
		{ "a//b", "a//b", true },
		{ "a/+/b", "a//b", true },
		{ "a/", "a", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (bus_filter_match(rows[i].filter, rows[i].topic) != rows[i].match)
			fail_msg("filter %s, topic %s", rows[i].filter, rows[i].topic);
	}
}

static void malformed_filters_and_topics_are_refused(void **state)
{
	static const char *const filters[] = {
		"",          "a/#/b",      "a#",          "#a",       "a+",
		"+a",        "a/b+/c",     "$share/",     "$share/g", "$share//a",
		"$share/g/", "$share/+/a", "$share/g/a#",
	};
	static const char *const topics[] = { "", "a/+", "#", "a/#" };
	struct seen s = { 0 };
	struct bus_mem *m;
	struct bus *b;

	(void)state;
	assert_int_equal(bus_mem_create(&m, NULL, NULL), 0);
	b = join(m, "a", &s);
	bus_mem_pump(m, 0);
	for (size_t i = 0; i < sizeof(filters) / sizeof(filters[0]); i++)
		assert_int_equal(bus_subscribe(b, filters[i], 0), ERR_USAGE);
	for (size_t i = 0; i < sizeof(topics) / sizeof(topics[0]); i++)
		assert_int_equal(say(b, topics[i], "x"), ERR_USAGE);
	assert_int_equal(bus_subscribe(b, "a", 2), ERR_USAGE);
	assert_int_equal(bus_subscribe(b, "$share/g/a/+/#", 1), 0);
	bus_close(b, 0);
	bus_mem_destroy(m);
}

static void messages_arrive_in_order_at_the_next_pump(void **state)
{
	struct seen sa = { 0 }, sb = { 0 };
	struct bus_mem *m;
	struct bus *a, *b;

	(void)state;
	assert_int_equal(bus_mem_create(&m, NULL, NULL), 0);
	a = join(m, "a", &sa);
	b = join(m, "b", &sb);
	assert_int_equal(say(a, "x/1", "early"), ERR_OFFLINE);
	assert_int_equal(bus_subscribe(b, "x/+", 0), 0);
	bus_mem_pump(m, 5);
	assert_string_equal(take(&sb), "up");
	assert_int_equal(say(a, "x/1", "one"), 0);
	assert_int_equal(say(a, "y/1", "elsewhere"), 0);
	assert_int_equal(say(a, "x/2", "two"), 0);
	assert_string_equal(take(&sb), "");
	assert_int_equal(bus_mem_next_ms(m), 5);
	assert_int_equal(bus_mem_pump(m, 5), 2);
	assert_string_equal(take(&sb), "x/1=one x/2=two");
	assert_true(bus_mem_next_ms(m) == UINT64_MAX);
	bus_close(a, 0);
	bus_close(b, 0);
	bus_mem_destroy(m);
}

static void a_shared_filter_goes_round_its_members(void **state)
{
	struct seen sa = { 0 }, sb = { 0 }, sc = { 0 };
	struct bus_mem *m;
	struct bus *a, *b, *c;

	(void)state;
	assert_int_equal(bus_mem_create(&m, NULL, NULL), 0);
	a = join(m, "a", &sa);
	b = join(m, "b", &sb);
	c = join(m, "c", &sc);
	assert_int_equal(bus_subscribe(a, "$share/g/open/+", 1), 0);
	assert_int_equal(bus_subscribe(b, "$share/g/open/+", 1), 0);
	bus_mem_pump(m, 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(say(c, "open/x", "o"), 0);
	bus_mem_pump(m, 0);
	assert_string_equal(take(&sa), "up open/x=o open/x=o");
	assert_string_equal(take(&sb), "up open/x=o open/x=o");
	bus_mem_cut(m, "a");
	assert_int_equal(say(c, "open/x", "p"), 0);
	assert_int_equal(say(c, "open/x", "q"), 0);
	bus_mem_pump(m, 1);
	assert_string_equal(take(&sa), "down");
	assert_string_equal(take(&sb), "open/x=p open/x=q");
	bus_close(a, 0);
	bus_close(b, 0);
	bus_close(c, 0);
	bus_mem_destroy(m);
}

static void a_cut_client_leaves_its_will_and_is_born_again(void **state)
{
	struct bus_conf conf = { .client_id = "w",
				 .will_topic = "w/status",
				 .will_payload = "lost" };
	struct seen sw = { 0 }, so = { 0 };
	struct bus_mem *m;
	struct bus *w, *o;

	(void)state;
	assert_int_equal(bus_mem_create(&m, NULL, NULL), 0);
	o = join(m, "o", &so);
	assert_int_equal(bus_subscribe(o, "+/status", 1), 0);
	assert_int_equal(bus_mem_open(&w, m, &conf, note, &sw), 0);
	assert_int_equal(bus_subscribe(w, "work", 0), 0);
	assert_int_equal(bus_set_birth(w, "w/status", "ready"), 0);
	bus_mem_pump(m, 0);
	assert_string_equal(take(&so), "up w/status=ready");
	assert_int_equal(say(o, "work", "lost on the way"), 0);
	bus_mem_cut(m, "w");
	assert_false(bus_is_up(w));
	assert_int_equal(say(w, "x", "y"), ERR_OFFLINE);
	bus_mem_pump(m, 1);
	assert_string_equal(take(&so), "w/status=lost");
	assert_string_equal(take(&sw), "up down");
	bus_mem_restore(m, "w");
	bus_mem_pump(m, 2);
	assert_int_equal(say(o, "work", "again"), 0);
	bus_mem_pump(m, 3);
	assert_string_equal(take(&so), "w/status=ready");
	assert_string_equal(take(&sw), "up work=again");
	bus_close(w, 0); /* a goodbye leaves no will */
	bus_mem_pump(m, 4);
	assert_string_equal(take(&so), "");
	bus_close(o, 0);
	bus_mem_destroy(m);
}

static void retained_messages_meet_new_subscribers(void **state)
{
	struct bus_publish p = { .topic = "s", .payload = "1", .len = 1, .retain = true };
	struct seen sa = { 0 };
	struct bus_mem *m;
	struct bus *a;

	(void)state;
	assert_int_equal(bus_mem_create(&m, NULL, NULL), 0);
	a = join(m, "a", &sa);
	bus_mem_pump(m, 0);
	assert_int_equal(bus_publish(a, &p), 0);
	bus_mem_pump(m, 0);
	assert_int_equal(bus_subscribe(a, "s", 0), 0);
	bus_mem_pump(m, 0);
	assert_string_equal(take(&sa), "up *s=1");
	p.payload = "2";
	assert_int_equal(bus_publish(a, &p), 0);
	p.len = 0; /* erases */
	assert_int_equal(bus_publish(a, &p), 0);
	assert_int_equal(bus_subscribe(a, "#", 0), 0);
	bus_mem_pump(m, 0);
	assert_string_equal(take(&sa), "s=2 s=");
	assert_int_equal(bus_subscribe(a, "+", 0), 0);
	bus_mem_pump(m, 0);
	assert_string_equal(take(&sa), "");
	bus_close(a, 0);
	bus_mem_destroy(m);
}

struct faults {
	unsigned copies;
	uint32_t delay_ms;
	char id[8];
};

static unsigned fault(void *ctx, const char *client_id, const struct bus_publish *p,
		      uint32_t *delay_ms)
{
	struct faults *f = ctx;

	(void)p;
	snprintf(f->id, sizeof(f->id), "%s", client_id);
	*delay_ms = f->delay_ms;
	return f->copies;
}

static void the_hook_drops_duplicates_and_holds_back(void **state)
{
	struct bus_publish stale = { .topic = "t", .payload = "s", .len = 1, .expiry_s = 1 };
	struct faults f = { .copies = 0 };
	struct seen sa = { 0 };
	struct bus_mem *m;
	struct bus *a;

	(void)state;
	assert_int_equal(bus_mem_create(&m, fault, &f), 0);
	a = join(m, "a", &sa);
	assert_int_equal(bus_subscribe(a, "t", 0), 0);
	bus_mem_pump(m, 100);
	assert_int_equal(say(a, "t", "dropped"), 0);
	assert_string_equal(f.id, "a");
	f = (struct faults){ .copies = 1, .delay_ms = 20 };
	assert_int_equal(say(a, "t", "late"), 0);
	f = (struct faults){ .copies = 2, .delay_ms = 0 };
	assert_int_equal(say(a, "t", "twice"), 0);
	f = (struct faults){ .copies = 1, .delay_ms = 1000 };
	assert_int_equal(bus_publish(a, &stale), 0);
	bus_mem_pump(m, 119);
	assert_string_equal(take(&sa), "up t=twice t=twice");
	assert_int_equal(bus_mem_next_ms(m), 120);
	bus_mem_pump(m, 120);
	assert_string_equal(take(&sa), "t=late");
	bus_mem_pump(m, 5000);
	assert_string_equal(take(&sa), "");
	bus_close(a, 0);
	bus_mem_destroy(m);
}

static void a_packet_above_the_maximum_is_refused(void **state)
{
	struct bus_conf conf = { .client_id = "a", .max_packet_bytes = 100 };
	struct bus_publish p = { .topic = "t" };
	static const char bytes[100];
	struct seen sa = { 0 };
	struct bus_mem *m;
	struct bus *a;

	(void)state;
	assert_int_equal(bus_mem_create(&m, NULL, NULL), 0);
	assert_int_equal(bus_mem_open(&a, m, &conf, note, &sa), 0);
	bus_mem_pump(m, 0);
	p.payload = bytes;
	p.len = bus_max_payload(a, "t");
	assert_in_range(p.len, 80, 99);
	assert_int_equal(bus_publish(a, &p), 0);
	p.len++;
	assert_int_equal(bus_publish(a, &p), ERR_LIMIT);
	assert_int_equal(bus_max_payload(a, "a topic that does not leave any room for a payload "
					    "because it is itself longer than the packet may be"),
			 0);
	bus_close(a, 0);
	bus_mem_destroy(m);
}

static void the_backoff_doubles_up_to_its_maximum_and_starts_anew(void **state)
{
	static const uint64_t caps[] = { 500, 1000, 2000, 4000, 8000, 16000, 30000, 30000 };
	struct bus_retry r = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(caps) / sizeof(caps[0]); i++) {
		struct bus_retry same = r;

		assert_int_equal(bus_retry_delay_ms(&same, 500, 30000, 0.0), 0);
		assert_int_equal(bus_retry_delay_ms(&r, 500, 30000, 0.5), caps[i] / 2);
	}
	assert_false(bus_retry_lost(&r, RETRY_STABLE_MS - 1, false));
	assert_int_equal(bus_retry_delay_ms(&r, 500, 30000, 0.5), 15000);
	assert_false(bus_retry_lost(&r, RETRY_STABLE_MS, false));
	assert_int_equal(bus_retry_delay_ms(&r, 500, 30000, 0.5), 250);
}

static void short_connections_in_a_row_are_hopeless_refusals_are_not(void **state)
{
	struct bus_retry r = { 0 };

	(void)state;
	for (int i = 1; i < RETRY_SHORT_IN_A_ROW; i++)
		assert_false(bus_retry_lost(&r, 3, false));
	bus_retry_refused(&r); /* a broker that restarts again and again */
	for (int i = 1; i < RETRY_SHORT_IN_A_ROW; i++)
		assert_false(bus_retry_lost(&r, 3, false));
	assert_false(bus_retry_lost(&r, RETRY_SHORT_MS, false));
	for (int i = 1; i < RETRY_SHORT_IN_A_ROW; i++)
		assert_false(bus_retry_lost(&r, RETRY_STABLE_MS - 1, true));
	assert_true(bus_retry_lost(&r, RETRY_SHORT_MS - 1, false));
}

/* Each is thrown out when the other one connects. */
static void of_two_with_one_id_the_one_that_came_later_gives_up(void **state)
{
	struct bus_retry first = { 0 }, later = { 0 };

	(void)state;
	assert_false(bus_retry_lost(&first, RETRY_STABLE_MS, false));
	for (int i = 1; i < RETRY_SHORT_IN_A_ROW; i++) {
		assert_false(bus_retry_lost(&later, 300, true));
		assert_false(bus_retry_lost(&first, 300, true));
		if (i == 2) /* both had to wait for a while */
			assert_false(bus_retry_lost(&later, RETRY_SHORT_MS, false));
	}
	for (int i = 0; i < 3; i++)
		assert_false(bus_retry_lost(&first, 300, true));
	assert_false(bus_retry_lost(&later, 300, true));
	assert_false(bus_retry_lost(&later, 300, true));
	assert_true(bus_retry_lost(&later, 300, true));
	assert_false(bus_retry_lost(&first, 300, true)); /* the later one is started again */
	bus_retry_refused(&first); /* and this one was away: nobody knows who is the later one */
	for (int i = 1; i < RETRY_SHORT_IN_A_ROW; i++)
		assert_false(bus_retry_lost(&first, 300, false));
	assert_true(bus_retry_lost(&first, 300, false));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(filters_match_as_the_standard_says),
		cmocka_unit_test(malformed_filters_and_topics_are_refused),
		cmocka_unit_test(messages_arrive_in_order_at_the_next_pump),
		cmocka_unit_test(a_shared_filter_goes_round_its_members),
		cmocka_unit_test(a_cut_client_leaves_its_will_and_is_born_again),
		cmocka_unit_test(retained_messages_meet_new_subscribers),
		cmocka_unit_test(the_hook_drops_duplicates_and_holds_back),
		cmocka_unit_test(a_packet_above_the_maximum_is_refused),
		cmocka_unit_test(the_backoff_doubles_up_to_its_maximum_and_starts_anew),
		cmocka_unit_test(short_connections_in_a_row_are_hopeless_refusals_are_not),
		cmocka_unit_test(of_two_with_one_id_the_one_that_came_later_gives_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
