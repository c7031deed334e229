/* tests/test_head_drafts.c - rows of guessed tokens, made by the agent's compute thread while it
 * waits (agent/ahead.h), have the bytes that the rows themselves have. With the bundled model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/head.h"
#include "base/log.h"
#include "base/rng.h"
#include "tests/bundled.h"

#define LAYERS 5u
#define TOKENS 60u
#define ROOM   4096u

struct sent_row {
	size_t len;
	uint8_t bytes[ROOM];
	uint8_t codec;
	uint16_t state;
};

/* A head, one session. */
struct bench {
	struct head *head;
	struct head_job job;
	uint32_t ids[TOKENS + HEAD_GUESSES];
	struct sent_row expected[TOKENS + HEAD_GUESSES];
	sem_t done, any;
	pthread_mutex_t lock; /* over what follows */
	uint32_t right_until; /* guesses of positions before are right */
	uint32_t made;        /* drafts since the newest job; they follow each other */
	bool over;            /* later ones come too late, as the next row is known */
	unsigned right;       /* ever */
	unsigned slow;        /* pauses are 2^slow times as long */
	bool learns;          /* the head guesses itself: any of them may be wrong */
	uint64_t rolls;
};

static uint32_t roll(struct bench *b, uint32_t below)
{
	return (uint32_t)(rng_u64(3, b->rolls++) % below);
}

static void on_done(void *ctx, struct head_job *job)
{
	struct bench *b = ctx;

	assert_ptr_equal(job, &b->job);
	pthread_mutex_lock(&b->lock);
	b->made = 0;
	b->over = false;
	pthread_mutex_unlock(&b->lock);
	sem_post(&b->done);
}

static void check(const struct sent_row *expected, const struct sent_row *got)
{
	assert_int_equal(got->len, expected->len);
	assert_memory_equal(got->bytes, expected->bytes, got->len);
	assert_int_equal(got->codec, expected->codec);
	assert_int_equal(got->state, expected->state);
}

static struct sent_row row_of(const uint8_t *bytes, size_t len, uint8_t codec, uint16_t state)
{
	struct sent_row r = { .len = len, .codec = codec, .state = state };

	assert_true(len <= ROOM);
	memcpy(r.bytes, bytes, len);
	return r;
}

static void take(struct bench *b, const struct head_draft *d, const struct sent_row *got)
{
	assert_int_equal(d->pos, b->job.pos + 1 + b->made);
	b->made++;
	if (b->learns && d->pos < b->right_until && d->id != b->ids[d->pos])
		b->right_until = d->pos;
	if (d->pos >= b->right_until)
		return;
	assert_int_equal(d->id, b->ids[d->pos]);
	check(&b->expected[d->pos], got);
	b->right++;
}

/* Those of the head are wanted, as soon as they seem likely. */
static struct head_guesses wishes(uint32_t known)
{
	return (struct head_guesses){
		.wanted = true, .known = known, .end = TOKENS, .most = 4, .wait_us = 1e6f
	};
}

static void on_draft(void *ctx)
{
	struct bench *b = ctx;
	struct head_draft d;
	struct sent_row got;
	bool follows;

	if (!head_take_draft(b->head, &d)) {
		head_go_on(b->head);
		return;
	}
	pthread_mutex_lock(&b->lock);
	got = row_of(d.bytes, d.len, d.codec_id, d.state_hash);
	if (!b->over)
		take(b, &d, &got);
	follows = b->learns && !b->over && d.pos < b->right_until;
	pthread_mutex_unlock(&b->lock);
	if (follows) { /* the head is told that it was right */
		const struct head_guesses g = wishes(d.pos + 1);

		head_guess(b->head, &b->job, d.pos + 1, &g);
	}
	head_go_on(b->head);
	sem_post(&b->any);
}

static void wait_for(sem_t *s)
{
	while (sem_wait(s))
		;
}

static void open_bench(struct bench *b)
{
	char path[BUNDLED_PATH];
	struct segment_conf conf = bundled_conf(path, 0, BUNDLED_LAYERS);
	struct err e = { 0 };

	conf.spare_rows = HEAD_SPARE_ROWS;
	log_set_level(LOG_LEVEL_ERROR);
	assert_int_equal(sem_init(&b->done, 0, 0), 0);
	assert_int_equal(sem_init(&b->any, 0, 0), 0);
	assert_int_equal(pthread_mutex_init(&b->lock, NULL), 0);
	if (head_create(&b->head, &conf, 0, on_done, b, &e))
		fail_msg("%s", e.text);
	head_on_draft(b->head, on_draft);
	b->job = (struct head_job){ .rows = 1, .tell_ids = true, .cap = ROOM };
	b->job.bytes = malloc(ROOM);
	assert_non_null(b->job.bytes);
	assert_int_equal(spec_parse(&b->job.codec, "tabq", &e), 0);
	assert_int_equal(segment_begin(head_segment(b->head), &b->job.kv, 0, LAYERS,
				       BUNDLED_CONTEXT, KV_F16, &e),
			 0);
	assert_int_equal(segment_begin_codec(head_segment(b->head), &b->job.state, LAYERS, &e), 0);
	for (uint32_t i = 0; i < TOKENS + HEAD_GUESSES; i++)
		b->ids[i] = 1 + i * 7 % 500;
}

static void close_bench(struct bench *b)
{
	head_recall(b->head);
	segment_end(head_segment(b->head), b->job.kv);
	codec_state_destroy(b->job.state);
	head_destroy(b->head);
	free(b->job.bytes);
	sem_destroy(&b->done);
	sem_destroy(&b->any);
	pthread_mutex_destroy(&b->lock);
}

static struct sent_row run(struct bench *b, uint32_t pos)
{
	b->job.pos = pos;
	b->job.ids = b->ids + pos;
	assert_true(head_submit(b->head, &b->job));
	wait_for(&b->done);
	assert_int_equal(b->job.rc, 0);
	return row_of(b->job.bytes, b->job.len, b->job.codec_id, b->job.state_hash);
}

/* For positions from pos on, some of which are to go out; from one of them on they are wrong. */
static struct head_guesses guesses(struct bench *b, uint32_t pos)
{
	struct head_guesses g = { .n = roll(b, HEAD_GUESSES + 1) };
	const uint32_t wrong = roll(b, HEAD_GUESSES + 2);

	g.n_send = g.n ? roll(b, g.n < CODEC_MARKS ? g.n + 1 : CODEC_MARKS + 1) : 0;
	for (uint32_t i = 0; i < g.n; i++)
		g.ids[i] = b->ids[pos + i] + (i == wrong);
	pthread_mutex_lock(&b->lock);
	b->right_until = pos + wrong;
	pthread_mutex_unlock(&b->lock);
	return g;
}

/* Those that are to go out, or some of them, or as many as there are by chance. Returns how many of
 * the first ones are right. */
static uint32_t let_drafts_come(struct bench *b, uint32_t n)
{
	const struct timespec pause = { .tv_nsec = 100000 * (long)(roll(b, 20) << b->slow) };
	uint32_t right;

	for (uint32_t want = roll(b, 2) ? n : roll(b, n + 1); want; want--)
		wait_for(&b->any);
	nanosleep(&pause, NULL);
	pthread_mutex_lock(&b->lock);
	right = b->right_until - (b->job.pos + 1);
	right = right < b->made ? right : b->made;
	b->over = true;
	pthread_mutex_unlock(&b->lock);
	while (!sem_trywait(&b->any))
		;
	return right;
}

/* As the loop does: what was right is the session's, and the true row follows it. */
static void drafts_have_the_bytes_of_rows(void **state)
{
	static struct bench b;

	(void)state;
	open_bench(&b);
	for (uint32_t pos = 0; pos < TOKENS; pos++)
		b.expected[pos] = run(&b, pos);
	for (unsigned round = 0; round < 20; round++) {
		for (uint32_t pos = 0; pos + HEAD_GUESSES < TOKENS;) {
			struct sent_row got;

			b.job.guesses = guesses(&b, pos + 1);
			got = run(&b, pos);
			check(&b.expected[pos], &got);
			pos += 1 + let_drafts_come(&b, b.job.guesses.n_send);
		}
	}
	pthread_mutex_lock(&b.lock); /* the last ones still come */
	assert_true(b.right > 300);
	print_message("%u drafts were right\n", b.right);
	pthread_mutex_unlock(&b.lock);
	close_bench(&b);
}

/* Each token is guessed: one job, and guesses for ever. */
static void guesses_that_come_later_go_on(void **state)
{
	static struct bench b;

	(void)state;
	open_bench(&b);
	for (uint32_t pos = 0; pos < TOKENS; pos++)
		b.expected[pos] = run(&b, pos);
	b.right_until = TOKENS;
	b.job.guesses = (struct head_guesses){ .n = 1, .n_send = 1, .ids = { b.ids[1] } };
	(void)run(&b, 0);
	for (uint32_t pos = 1; pos + 1 < TOKENS; pos++) {
		const struct head_guesses next = { .n = 1, .n_send = 1, .ids = { b.ids[pos + 1] } };

		wait_for(&b.any);
		head_guess(b.head, &b.job, pos + 1, &next);
	}
	wait_for(&b.any);
	assert_int_equal(b.right, TOKENS - 1);
	close_bench(&b);
}

/* The same tokens again and again: what follows on a row is learned, and rows that follow on it
 * have the bytes that they have. */
static void rows_tell_what_follows(void **state)
{
	static struct bench b;
	struct err e = { 0 };

	(void)state;
	open_bench(&b);
	if (head_learn(b.head, &e))
		fail_msg("%s", e.text);
	for (uint32_t pos = 0; pos < TOKENS; pos++)
		b.expected[pos] = run(&b, pos);
	b.learns = true;
	for (unsigned right = 0; right < 100;) {
		for (uint32_t pos = 0; pos + HEAD_GUESSES < TOKENS;) {
			struct sent_row got;

			pthread_mutex_lock(&b.lock);
			b.right_until = TOKENS;
			pthread_mutex_unlock(&b.lock);
			b.job.guesses = wishes(pos + 1);
			got = run(&b, pos);
			check(&b.expected[pos], &got);
			pos += 1 + let_drafts_come(&b, 0);
		}
		pthread_mutex_lock(&b.lock);
		b.slow += b.right == right && b.slow < 6; /* rows do not come to their end */
		right = b.right;
		pthread_mutex_unlock(&b.lock);
	}
	pthread_mutex_lock(&b.lock);
	print_message("%u drafts were right\n", b.right);
	pthread_mutex_unlock(&b.lock);
	close_bench(&b);
}

static uint32_t made(struct bench *b)
{
	uint32_t n;

	pthread_mutex_lock(&b->lock);
	n = b->made;
	pthread_mutex_unlock(&b->lock);
	return n;
}

/* Within a while: otherwise later ones come too late. */
static bool a_draft_comes(struct bench *b, unsigned ms)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	bool any;

	for (; ms && !made(b); ms--)
		nanosleep(&pause, NULL);
	pthread_mutex_lock(&b->lock);
	any = b->made;
	b->over = !any;
	pthread_mutex_unlock(&b->lock);
	return any;
}

/* There is nothing to be wrong about: once it is known, one job is enough for all rows, though only
 * four drafts may be out, since it is told which were right. */
static void rows_that_are_right_go_on_for_ever(void **state)
{
	static struct bench b;
	struct err e = { 0 };
	unsigned ms = 10; /* twice as long each time: a row's layers may be slow */
	bool any = false;
	uint32_t pos = 0;

	(void)state;
	open_bench(&b);
	if (head_learn(b.head, &e))
		fail_msg("%s", e.text);
	for (uint32_t i = 0; i < TOKENS; i++)
		b.ids[i] = 7;
	for (uint32_t i = 0; i < TOKENS; i++)
		b.expected[i] = run(&b, i);
	b.learns = true;
	b.right_until = TOKENS;
	for (; !any && pos < TOKENS / 2; pos++) {
		b.job.guesses = wishes(pos + 1);
		(void)run(&b, pos);
		any = a_draft_comes(&b, ms);
		ms = ms < 5000 ? 2 * ms : ms;
	}
	assert_true(any);
	while (made(&b) < TOKENS - pos)
		wait_for(&b.any);
	assert_int_equal(made(&b), TOKENS - pos);
	close_bench(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(drafts_have_the_bytes_of_rows),
		cmocka_unit_test(guesses_that_come_later_go_on),
		cmocka_unit_test(rows_tell_what_follows),
		cmocka_unit_test(rows_that_are_right_go_on_for_ever),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
