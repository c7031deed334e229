#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crc32c.h"
#include "base/err.h"
#include "base/log.h"
#include "base/near.h"
#include "base/queue.h"
#include "base/rng.h"

static void an_error_reads_from_the_outside_in(void **state)
{
	struct err e;

	(void)state;
	assert_int_equal(err_set(&e, ERR_LIMIT, "%d bytes short", 12), ERR_LIMIT);
	assert_int_equal(err_wrap(&e, "tensor %s", "x"), ERR_LIMIT);
	assert_string_equal(e.text, "tensor x: 12 bytes short");
	assert_int_equal(err_set(NULL, ERR_IO, "nobody reads this"), ERR_IO);
}

static void text_that_was_cut_says_so(void **state)
{
	char longer[600];
	struct err e;

	(void)state;
	memset(longer, 'a', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	err_set(&e, ERR_IO, "%s", longer);
	assert_int_equal(strlen(e.text), sizeof(e.text) - 1);
	assert_string_equal(e.text + strlen(e.text) - 3, "...");
	err_wrap(&e, "%s", longer);
	assert_int_equal(strlen(e.text), sizeof(e.text) - 1);
	assert_string_equal(e.text + strlen(e.text) - 3, "...");
}

static void every_code_has_a_word_and_the_word_leads_back(void **state)
{
	(void)state;
#define CHECK(name, number, phrase)                                                                \
	assert_int_equal(err_code_of(err_name(ERR_##name)), ERR_##name);                           \
	assert_string_equal(err_phrase(-(number)), phrase);
	ERR_LIST(CHECK)
#undef CHECK
	assert_string_equal(err_name(ERR_NOT_FINITE), "not_finite");
	assert_string_equal(err_name(-9999), "unknown");
	assert_int_equal(err_code_of("no such word"), ERR_INTERNAL);
}

static void crc32c_equals_the_vectors_of_rfc_3720(void **state)
{
	uint8_t buf[32];

	(void)state;
	memset(buf, 0, sizeof(buf));
	assert_int_equal(crc32c(0, buf, 32), 0x8a9136aau);
	memset(buf, 0xff, sizeof(buf));
	assert_int_equal(crc32c(0, buf, 32), 0x62a8ab43u);
	for (unsigned i = 0; i < 32; i++)
		buf[i] = (uint8_t)i;
	assert_int_equal(crc32c(0, buf, 32), 0x46dd794eu);
	assert_int_equal(crc32c(crc32c(0, buf, 13), buf + 13, 19), 0x46dd794eu);
}

static void a_full_or_closed_queue_refuses_and_counts(void **state)
{
	struct queue *q;
	int a, b, c;

	(void)state;
	assert_int_equal(queue_create(&q, 2), 0);
	assert_null(queue_pop(q, 0));
	assert_true(queue_push(q, &a));
	assert_true(queue_push(q, &b));
	assert_false(queue_push(q, &c));
	assert_ptr_equal(queue_pop(q, -1), &a);
	assert_true(queue_push(q, &c));
	queue_close(q);
	assert_false(queue_push(q, &a));
	assert_false(queue_done(q));
	assert_ptr_equal(queue_pop(q, -1), &b);
	assert_ptr_equal(queue_pop(q, -1), &c);
	assert_null(queue_pop(q, -1));
	assert_true(queue_done(q));
	assert_int_equal(queue_refused(q), 2);
	queue_destroy(q, NULL);
}

#define MANY 20000

static void *push_many(void *arg)
{
	for (uintptr_t i = 1; i <= MANY; i++) {
		while (!queue_push(arg, (void *)i))
			;
	}
	return NULL;
}

static void items_of_two_producers_all_arrive_in_their_order(void **state)
{
	struct queue *q;
	pthread_t a, b;
	uintptr_t sum = 0;

	(void)state;
	assert_int_equal(queue_create(&q, 64), 0);
	pthread_create(&a, NULL, push_many, q);
	pthread_create(&b, NULL, push_many, q);
	for (int i = 0; i < 2 * MANY; i++)
		sum += (uintptr_t)queue_pop(q, -1);
	pthread_join(a, NULL);
	pthread_join(b, NULL);
	assert_int_equal(sum, (uintptr_t)MANY * (MANY + 1));
	assert_int_equal(queue_length(q), 0);
	queue_destroy(q, NULL);
}

static void a_pop_waits_no_longer_than_told(void **state)
{
	struct queue *q;
	uint64_t t0;

	(void)state;
	assert_int_equal(queue_create(&q, 1), 0);
	t0 = clock_now_ms();
	assert_null(queue_pop(q, 30));
	assert_in_range(clock_now_ms() - t0, 29, 5000);
	queue_destroy(q, NULL);
}

static void random_numbers_depend_on_seed_and_position_alone(void **state)
{
	double mean = 0;

	(void)state;
	assert_true(rng_u64(1, 2) == rng_u64(1, 2));
	assert_true(rng_u64(1, 2) != rng_u64(2, 1));
	assert_true(rng_u64(1, 2) != rng_u64(1, 3));
	for (unsigned i = 0; i < 10000; i++) {
		double u = rng_unit(7, i);

		assert_true(u >= 0 && u < 1);
		mean += u / 10000;
	}
	assert_true(mean > 0.49 && mean < 0.51); /* 3.5 sigma of a uniform mean is 0.0101 */
}

/* What only who has the turn may touch. */
static struct turn {
	struct queue *q;
	unsigned long n;
	unsigned long visits;
} turn;

static void *own_for_a_while(void *arg)
{
	void *item = queue_pop_lending(turn.q, *(long *)arg);

	turn.n++;
	return item;
}

static void enter_soon(void)
{
	uint64_t until = clock_now_ms() + 10000;

	while (!queue_enter(turn.q))
		assert_true(clock_now_ms() < until);
}

static void a_turn_is_lent_while_the_owner_waits(void **state)
{
	long ever = -1;
	pthread_t owner;
	void *got;
	int a;

	(void)state;
	assert_int_equal(queue_create(&turn.q, 4), 0);
	assert_false(queue_enter(turn.q)); /* the owner is elsewhere */
	turn.n = 0;
	pthread_create(&owner, NULL, own_for_a_while, &ever);
	enter_soon();
	assert_false(queue_enter(turn.q));
	assert_true(queue_push(turn.q, &a));
	turn.n += 10; /* the item must wait for us */
	assert_int_equal(turn.n, 10);
	queue_leave(turn.q, false);
	assert_false(queue_enter(turn.q)); /* the item comes first, and then the owner is away */
	pthread_join(owner, &got);
	assert_ptr_equal(got, &a);
	assert_int_equal(turn.n, 11);
	assert_false(queue_enter(turn.q));
	queue_destroy(turn.q, NULL);
}

static void an_owner_comes_when_called_or_in_time(void **state)
{
	long ever = -1, soon = 1000;
	uint64_t start_ms;
	pthread_t owner;
	void *got = &soon;

	(void)state;
	assert_int_equal(queue_create(&turn.q, 4), 0);
	turn.n = 0;
	pthread_create(&owner, NULL, own_for_a_while, &ever);
	enter_soon();
	queue_leave(turn.q, true);
	pthread_join(owner, &got);
	assert_null(got);

	pthread_create(&owner, NULL, own_for_a_while, &soon);
	enter_soon();
	for (uint64_t until = clock_now_ms() + 1100; clock_now_ms() < until;)
		; /* its time is over, but not ours */
	assert_int_equal(turn.n, 1);
	queue_leave(turn.q, false);
	pthread_join(owner, &got);
	assert_null(got);
	assert_int_equal(turn.n, 2);
	start_ms = clock_now_ms();
	assert_null(queue_pop_lending(turn.q, 30));
	assert_in_range(clock_now_ms() - start_ms, 29, 10000);
	queue_destroy(turn.q, NULL);
}

#define VISITS 20000

static void *visit_or_push(void *arg)
{
	for (unsigned i = 0; i < VISITS; i++) {
		if (queue_enter(turn.q)) {
			turn.n++;
			turn.visits++;
			queue_leave(turn.q, i % 64 == 0);
		} else {
			while (!queue_push(turn.q, arg))
				sched_yield();
		}
	}
	return NULL;
}

static void one_thread_at_a_time_has_the_turn(void **state)
{
	pthread_t visitors[3];
	int something;

	(void)state;
	assert_int_equal(queue_create(&turn.q, 16), 0);
	turn.n = turn.visits = 0;
	for (unsigned i = 0; i < 3; i++)
		pthread_create(&visitors[i], NULL, visit_or_push, &something);
	while (turn.n < 3 * VISITS) {
		if (queue_pop_lending(turn.q, 1000))
			turn.n++;
	}
	for (unsigned i = 0; i < 3; i++)
		pthread_join(visitors[i], NULL);
	assert_int_equal(turn.n, 3 * VISITS);
	assert_int_equal(queue_length(turn.q), 0);
	queue_destroy(turn.q, NULL);
}

static void a_file_that_cannot_be_created_is_named_with_its_folder(void **state)
{
	struct err e;

	(void)state;
	assert_int_equal(err_create(&e, "out/new/a.gguf", ENOENT), ERR_IO);
	assert_string_equal(e.text, "out/new/a.gguf: there is no folder out/new");
	assert_int_equal(err_create(&e, "out/a.gguf", EACCES), ERR_IO);
	assert_string_equal(e.text, "out/a.gguf: Permission denied");
	assert_int_equal(err_create(&e, "a.gguf", ENOSPC), ERR_IO);
	assert_string_equal(e.text, "a.gguf: No space left on device");
}

/* What the event writes to the standard error -> text. */
static void log_to(char text[static 256], const char *words)
{
	FILE *f = tmpfile();
	const int old = dup(STDERR_FILENO);
	size_t n;

	assert_non_null(f);
	fflush(stderr);
	assert_true(old >= 0 && dup2(fileno(f), STDERR_FILENO) >= 0);
	log_event(LOG_LEVEL_ERROR, "session.failed", "reason=%s tokens=1", LOG_QUOTED(words));
	fflush(stderr);
	assert_true(dup2(old, STDERR_FILENO) >= 0);
	close(old);
	rewind(f);
	n = fread(text, 1, 255, f);
	text[n] = '\0';
	fclose(f);
}

static void an_event_is_one_line_whatever_a_peer_says(void **state)
{
	char text[256];

	(void)state;
	log_to(text, "gone\n2026-11-26T00:00:00.000Z info  all.fine\x1b[2J\x7f");
	assert_non_null(strstr(text, "session.failed reason=\"gone?2026"));
	assert_non_null(strstr(text, "all.fine?[2J?\" tokens=1\n"));
	assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
	log_to(text, "gr\xc3\xbc\xc3\x9f");
	assert_non_null(strstr(text, "\"gr\xc3\xbc\xc3\x9f\" tokens"));
}

static void a_quote_in_a_value_does_not_end_it(void **state)
{
	char text[256], most[LOG_QUOTED_MAX], quotes[LOG_QUOTED_MAX];

	(void)state;
	log_to(text, "no \"a\" in C:\\");
	assert_non_null(strstr(text, "failed reason=\"no \\\"a\\\" in C:\\\\\" tokens=1\n"));
	log_to(text, "");
	assert_non_null(strstr(text, "failed reason=\"\" tokens=1\n"));
	memset(quotes, '"', sizeof(quotes) - 1); /* cut, but not within a pair */
	quotes[sizeof(quotes) - 1] = '\0';
	assert_ptr_equal(log_quoted(most, quotes), most);
	assert_int_equal(strlen(most) % 2, 0);
	assert_true(strlen(most) >= sizeof(most) - 4);
	assert_string_equal(most + strlen(most) - 3, "\\\"\"");
}

static void a_word_is_meant_when_most_of_its_letters_are_right(void **state)
{
	static const struct {
		const char *word, *known;
		unsigned distance;
		bool meant;
	} cases[] = {
		{ "port", "port", 0, true },
		{ "prot", "port", 1, true },
		{ "PORT", "port", 0, true },
		{ "nope", "type", 2, false },
		{ "jsno", "json", 1, true },
		{ "thraeds", "threads", 1, true },
		{ "gerenate", "generate", 2, true },
		{ "wonder", "model", 3, false },
		{ "broker.hots", "broker.host", 1, true },
		{ "a", "b", 1, false },
		{ "", "abc", 3, false },
		{ "memory_memory_", "memory_budget", 7, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *known = cases[i].known;
		const unsigned d = near_distance(cases[i].word, known, strlen(known));

		assert_int_equal(d, cases[i].distance);
		assert_int_equal(d < near_limit(cases[i].word), cases[i].meant);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_file_that_cannot_be_created_is_named_with_its_folder),
		cmocka_unit_test(an_event_is_one_line_whatever_a_peer_says),
		cmocka_unit_test(a_quote_in_a_value_does_not_end_it),
		cmocka_unit_test(a_word_is_meant_when_most_of_its_letters_are_right),
		cmocka_unit_test(an_error_reads_from_the_outside_in),
		cmocka_unit_test(text_that_was_cut_says_so),
		cmocka_unit_test(every_code_has_a_word_and_the_word_leads_back),
		cmocka_unit_test(crc32c_equals_the_vectors_of_rfc_3720),
		cmocka_unit_test(a_full_or_closed_queue_refuses_and_counts),
		cmocka_unit_test(a_turn_is_lent_while_the_owner_waits),
		cmocka_unit_test(an_owner_comes_when_called_or_in_time),
		cmocka_unit_test(one_thread_at_a_time_has_the_turn),
		cmocka_unit_test(items_of_two_producers_all_arrive_in_their_order),
		cmocka_unit_test(a_pop_waits_no_longer_than_told),
		cmocka_unit_test(random_numbers_depend_on_seed_and_position_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
