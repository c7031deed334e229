#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/trace.h"
#include "schema/json.h"

static char path[64];

static int make_path(void **state)
{
	int fd;

	(void)state;
	strcpy(path, "/tmp/splitmq-trace-XXXXXX");
	fd = mkstemp(path);
	return fd < 0 || close(fd);
}

static int remove_path(void **state)
{
	(void)state;
	return unlink(path);
}

/* The file as a tree, for the caller to free; *events is in it. */
static struct json *read_back(const struct json **events)
{
	static char text[16 << 20];
	FILE *f = fopen(path, "r");
	struct err e = { 0 };
	struct json *root;
	size_t n;

	assert_non_null(f);
	n = fread(text, 1, sizeof(text), f);
	fclose(f);
	if (json_parse(&root, text, n, &e))
		fail_msg("%s", e.text);
	*events = json_get(root, "traceEvents");
	assert_true(json_is_array(*events));
	return root;
}

static const char *text_of(const struct json *event, const char *key)
{
	const char *text = json_str(json_get(event, key));

	return text ? text : "";
}

static uint64_t number_of(const struct json *event, const char *key)
{
	uint64_t v = UINT64_MAX;

	assert_int_equal(json_u64(json_get(event, key), UINT64_MAX >> 11, &v), 0);
	return v;
}

/* The tid that the file calls by this name; 0: none. */
static uint64_t tid_of(const struct json *events, const char *name)
{
	for (const struct json *ev = json_array_at(events, 0); ev; ev = json_next(ev)) {
		if (!strcmp(text_of(ev, "name"), "thread_name") &&
		    !strcmp(text_of(json_get(ev, "args"), "name"), name))
			return number_of(ev, "tid");
	}
	return 0;
}

static const struct json *span_of(const struct json *events, const char *name)
{
	for (const struct json *ev = json_array_at(events, 0); ev; ev = json_next(ev)) {
		if (!strcmp(text_of(ev, "ph"), "X") && !strcmp(text_of(ev, "name"), name))
			return ev;
	}
	return NULL;
}

static size_t n_spans(const struct json *events)
{
	size_t n = 0;

	for (const struct json *ev = json_array_at(events, 0); ev; ev = json_next(ev))
		n += !strcmp(text_of(ev, "ph"), "X");
	return n;
}

static void nothing_is_written_while_it_is_off(void **state)
{
	const struct json *events;
	struct json *root;
	struct err e = { 0 };

	(void)state;
	trace_thread("early");
	trace_span("early", 1, 2, 3);
	assert_false(trace_is_on());
	assert_int_equal(trace_now_us(), 0);
	assert_int_equal(trace_close(&e), 0);
	assert_int_equal(trace_open(path, "test", &e), 0);
	assert_int_equal(trace_close(&e), 0);
	trace_span("late", 1, 2, 3);
	root = read_back(&events);
	assert_int_equal(n_spans(events), 0);
	json_free(root);
}

static void a_file_that_cannot_be_made_is_named(void **state)
{
	struct err e = { 0 };

	(void)state;
	assert_int_equal(trace_open("/no/such/folder/t.json", "test", &e), ERR_IO);
	assert_non_null(strstr(e.text, "/no/such/folder/t.json"));
	assert_false(trace_is_on());
}

static void spans_have_names_times_threads_and_tracks(void **state)
{
	const struct json *events, *span;
	struct json *root;
	struct err e = { 0 };
	uint64_t now = clock_now_us();

	(void)state;
	assert_int_equal(trace_open(path, "test a", &e), 0);
	trace_thread("main");
	trace_span("one", now, now + 7, 41);
	trace_span("backwards", now + 9, now + 2, 0);
	trace_track(0, "two", now + 1, now + 3, 42);
	trace_track(3, "three", now + 1, now + 3, 43);
	trace_track_name(3, "means");
	trace_track(TRACE_TRACKS, "nowhere", now, now, 0);
	assert_true(trace_now_us() >= now);
	assert_int_equal(trace_close(&e), 0);

	root = read_back(&events);
	assert_int_equal(n_spans(events), 4);
	span = span_of(events, "one");
	assert_int_equal(number_of(span, "ts"), now);
	assert_int_equal(number_of(span, "dur"), 7);
	assert_int_equal(number_of(span, "tid"), tid_of(events, "main"));
	assert_int_equal(number_of(span, "pid"), getpid());
	assert_int_equal(number_of(json_get(span, "args"), "pos"), 41);
	assert_int_equal(number_of(span_of(events, "backwards"), "dur"), 0);
	assert_int_equal(number_of(span_of(events, "two"), "tid"), tid_of(events, "session 1"));
	assert_int_equal(number_of(span_of(events, "three"), "tid"), tid_of(events, "means"));
	json_free(root);
}

static void *write_spans(void *arg)
{
	trace_thread(arg);
	for (uint32_t i = 0; i < 1000; i++)
		trace_span(arg, i, i + 1, i);
	return NULL;
}

static void threads_do_not_share_a_ring(void **state)
{
	static const char *const names[] = { "a", "b", "c", "d" };
	const struct json *events, *span;
	struct json *root;
	pthread_t threads[4];
	struct err e = { 0 };

	(void)state;
	assert_int_equal(trace_open(path, "test", &e), 0);
	for (unsigned i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, write_spans, (void *)(uintptr_t)names[i]);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(trace_close(&e), 0);
	root = read_back(&events);
	assert_int_equal(n_spans(events), 4000);
	for (unsigned i = 0; i < 4; i++) {
		span = span_of(events, names[i]);
		assert_int_equal(number_of(span, "tid"), tid_of(events, names[i]));
	}
	json_free(root);
}

static void *write_one(void *arg)
{
	trace_span(arg, 1, 2, 0);
	return NULL;
}

static void too_many_threads_are_left_out(void **state)
{
	const struct json *events;
	struct json *root;
	struct err e = { 0 };

	(void)state;
	assert_int_equal(trace_open(path, "test", &e), 0);
	for (unsigned i = 0; i < TRACE_THREADS + 5; i++) {
		pthread_t thread;

		pthread_create(&thread, NULL, write_one, (void *)(uintptr_t) "x");
		pthread_join(thread, NULL);
	}
	assert_int_equal(trace_close(&e), 0);
	root = read_back(&events);
	assert_int_equal(n_spans(events), TRACE_THREADS);
	json_free(root);
}

static void the_newest_spans_are_kept(void **state)
{
	const struct json *events;
	struct json *root;
	struct err e = { 0 };
	uint64_t least = UINT64_MAX;

	(void)state;
	assert_int_equal(trace_open(path, "test", &e), 0);
	for (uint32_t i = 0; i < TRACE_SPANS + 100; i++)
		trace_span("s", i, i + 1, i);
	assert_int_equal(trace_close(&e), 0);
	root = read_back(&events);
	assert_int_equal(n_spans(events), TRACE_SPANS);
	for (const struct json *ev = json_array_at(events, 0); ev; ev = json_next(ev)) {
		if (!strcmp(text_of(ev, "ph"), "X") && number_of(ev, "ts") < least)
			least = number_of(ev, "ts");
	}
	assert_int_equal(least, 100);
	json_free(root);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_written_while_it_is_off),
		cmocka_unit_test(a_file_that_cannot_be_made_is_named),
		cmocka_unit_test(spans_have_names_times_threads_and_tracks),
		cmocka_unit_test(threads_do_not_share_a_ring),
		cmocka_unit_test(too_many_threads_are_left_out),
		cmocka_unit_test(the_newest_spans_are_kept),
	};

	return cmocka_run_group_tests(tests, make_path, remove_path);
}
