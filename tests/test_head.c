/* tests/test_head.c - in which order the agent's compute thread takes jobs (agent/head.h), with the
 * bundled model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/head.h"
#include "agent/move.h"
#include "base/log.h"
#include "engine/kv.h"
#include "tests/bundled.h"

#define ROOM 65536u
#define JOBS 3u

/* A row, and what comes while it is computed: a side job, then the next row. */
struct bench {
	struct head *head;
	struct head_job first, next, side;
	const struct head_job *order[JOBS]; /* as they were done */
	unsigned n;
	sem_t all;
};

static void on_done(void *ctx, struct head_job *job)
{
	struct bench *b = ctx;

	b->order[b->n++] = job;
	if (job == &b->first) {
		assert_true(head_submit(b->head, &b->side));
		assert_true(head_submit(b->head, &b->next));
	}
	if (b->n == JOBS)
		sem_post(&b->all);
}

static void open_head(struct bench *b, uint32_t last)
{
	char path[BUNDLED_PATH];
	const struct segment_conf conf = bundled_conf(path, 0, last);
	struct err e = { 0 };

	log_set_level(LOG_LEVEL_ERROR);
	if (head_create(&b->head, &conf, 0, on_done, b, &e))
		fail_msg("%s", e.text);
}

/* Rows of token 1 through so many layers, of which f32 comes out; or keys and values of two. */
static void make_jobs(struct bench *b, uint32_t last)
{
	static const uint32_t id = 1;
	struct segment *seg = head_segment(b->head);
	struct head_job row = { .rows = 1, .ids = &id, .cap = ROOM };
	struct err e = { 0 };

	assert_int_equal(segment_begin(seg, &row.kv, 0, last, BUNDLED_CONTEXT, KV_F16, &e), 0);
	assert_int_equal(codec_state_create(&row.state, seg->hp.dim, NULL, NULL), 0);
	row.bytes = malloc(ROOM);
	assert_non_null(row.bytes);
	b->first = row;
	b->next = row;
	b->next.pos = 1;
	b->side = (struct head_job){ .rows = 1,
				     .ids = &id,
				     .side = true,
				     .last = 2,
				     .values = row.kv,
				     .bytes = malloc(ROOM),
				     .cap = ROOM };
	assert_non_null(b->side.bytes);
}

/* Runs the first row, and what comes behind it. */
static void run(struct bench *b, uint32_t last)
{
	assert_int_equal(sem_init(&b->all, 0, 0), 0);
	open_head(b, last);
	make_jobs(b, last);
	assert_true(head_submit(b->head, &b->first));
	while (sem_wait(&b->all))
		;
	assert_true(!b->first.rc && !b->side.rc && !b->next.rc);
	head_stop(b->head);
	segment_end(head_segment(b->head), b->first.kv);
	codec_state_destroy(b->first.state);
	free(b->first.bytes);
	free(b->side.bytes);
	head_destroy(b->head);
	sem_destroy(&b->all);
}

static void a_side_job_need_not_wait_for_the_row_that_came_with_it(void **state)
{
	struct bench b = { 0 };

	(void)state;
	run(&b, 2);
	assert_ptr_equal(b.order[0], &b.first);
	assert_ptr_equal(b.order[1], &b.side);
	assert_ptr_equal(b.order[2], &b.next);
	assert_true(b.side.len > 0);
	assert_int_equal(b.next.len, 256 * sizeof(float));
}

/* Those of a prompt's chunks that are not its last one. */
static void rows_behind_the_last_layer_are_not_encoded(void **state)
{
	struct bench b = { 0 };

	(void)state;
	run(&b, BUNDLED_LAYERS);
	assert_int_equal(b.first.len, 0);
	assert_int_equal(b.next.len, 0);
}

#define CONTEXT (2 * KV_PAGE)
#define ROWS    (KV_PAGE + 4u)
#define KEPT    6u /* rows before the last one that ran as those of a session without a worker: */
#define FROM    (ROWS - 1 - KEPT) /* ... from the end of one page of the cache into the next one */
#define LOW     2u                /* layers that they go to a worker behind */

/* A head, one job at a time. */
struct one {
	struct head *head;
	struct head_job job;
	struct head_kept *kept;
	sem_t done;
};

static void on_one(void *ctx, struct head_job *job)
{
	struct one *o = ctx;

	assert_ptr_equal(job, &o->job);
	sem_post(&o->done);
}

static void run_one(struct one *o, uint32_t pos, uint32_t rows)
{
	uint32_t ids[ROWS];

	for (uint32_t i = 0; i < ROWS; i++)
		ids[i] = 1 + i * 7 % 500;
	o->job.pos = pos;
	o->job.rows = rows;
	o->job.ids = ids + pos;
	assert_true(head_submit(o->head, &o->job));
	while (sem_wait(&o->done))
		;
	assert_int_equal(o->job.rc, 0);
}

static void begin_one(struct one *o, uint32_t layers)
{
	struct segment *seg = head_segment(o->head);
	struct err e = { 0 };

	head_recall(o->head);
	segment_end(seg, o->job.kv);
	o->job.kv = NULL;
	assert_int_equal(segment_begin(seg, &o->job.kv, 0, layers, CONTEXT, KV_F16, &e), 0);
}

/* All of them, as they should be. */
static void run_below(struct one *o, float expected[static ROWS * 256])
{
	begin_one(o, LOW);
	for (uint32_t i = 0; i < ROWS; i++) {
		run_one(o, i, 1);
		assert_int_equal(o->job.len, 256 * sizeof(float));
		memcpy(expected + i * 256, o->job.bytes, o->job.len);
	}
}

/* The split moves back when all but the last one ran without a worker. */
static void go_back(struct one *o)
{
	struct segment *seg = head_segment(o->head);
	const struct agent_move m = { .from = BUNDLED_LAYERS,
				      .to = LOW,
				      .same_log = true,
				      .context_tokens = CONTEXT,
				      .type = KV_F16 };
	struct head_job side = { .kept = o->kept };
	struct err e = { 0 };

	o->job.kept_rows = 0;
	o->job.keep_at = LOW;
	begin_one(o, BUNDLED_LAYERS);
	for (uint32_t i = 0; i + 1 < ROWS; i++)
		run_one(o, i, 1);
	assert_int_equal(move_begin(seg, &o->job, &side, &m, &e), 0);
	move_done(seg, &o->job, &side, &m, FROM + KEPT);
	move_end(seg, &side);
	o->job.kept_rows = KEPT;
}

/* And they are not run again, but encoded as they are there. */
static void rows_that_were_kept_go_before_the_newest_one(void **state)
{
	char path[BUNDLED_PATH];
	const struct segment_conf conf = bundled_conf(path, 0, BUNDLED_LAYERS);
	static float expected[ROWS * 256];
	struct err e = { 0 };
	struct one o = { 0 };
	float *got;

	(void)state;
	log_set_level(LOG_LEVEL_ERROR);
	assert_int_equal(sem_init(&o.done, 0, 0), 0);
	assert_int_equal(head_create(&o.head, &conf, 0, on_one, &o, &e), 0);
	o.kept = calloc(1, sizeof(*o.kept) + HEAD_KEPT * 256 * sizeof(float));
	o.job = (struct head_job){ .cap = ROOM, .bytes = malloc(ROOM) };
	assert_non_null(o.kept);
	assert_non_null(o.job.bytes);
	assert_int_equal(codec_state_create(&o.job.state, 256, NULL, NULL), 0);
	run_below(&o, expected);

	got = (float *)o.job.bytes;
	for (unsigned i = 0; i < 3; i++) { /* there; and lost, so that they do run again */
		o.job.kept = i == 1 ? NULL : o.kept;
		go_back(&o);
		if (i == 2) /* their keys and values are lost */
			kv_truncate(o.job.kv, FROM);
		run_one(&o, FROM, KEPT + 1);
		assert_int_equal(o.job.len, (KEPT + 1) * 256 * sizeof(float));
		assert_memory_equal(got, expected + FROM * 256, o.job.len);
	}
	o.job.kept = o.kept;
	go_back(&o);
	o.kept->x[FROM * 256] += 1;
	run_one(&o, FROM, KEPT + 1);
	assert_true(got[0] == o.kept->x[FROM * 256]);
	assert_memory_equal(got + 1, expected + FROM * 256 + 1, o.job.len - sizeof(float));
	segment_end(head_segment(o.head), o.job.kv);
	codec_state_destroy(o.job.state);
	head_destroy(o.head);
	free(o.job.bytes);
	free(o.kept);
	sem_destroy(&o.done);
}

#define STEPS 12u

/* Rows one after the other; of those that are guessed each third guess is wrong, and each other one
 * has time to come to its end. Returns how many had run ahead. */
static unsigned run_guessed(struct one *o, bool guesses, float *got)
{
	const struct timespec pause = { .tv_nsec = 20000000 };
	unsigned n = 0;

	begin_one(o, BUNDLED_LAYERS - 1);
	for (uint32_t i = 0; i < STEPS; i++) {
		const uint32_t next = 1 + (i + 1) * 7 % 500;

		o->job.guesses = (struct head_guesses){ .n = guesses,
							.ids = { i % 3 == 2 ? next + 1 : next } };
		run_one(o, i, 1);
		assert_int_equal(o->job.len, 256 * sizeof(float));
		memcpy(got + i * 256, o->job.bytes, o->job.len);
		n += o->job.ahead_us > 0;
		assert_true(!o->job.ahead_us || (guesses && (i - 1) % 3 != 2));
		if (i % 2)
			nanosleep(&pause, NULL);
	}
	return n;
}

static void open_one(struct one *o)
{
	char path[BUNDLED_PATH];
	struct segment_conf conf = bundled_conf(path, 0, BUNDLED_LAYERS);
	struct err e = { 0 };

	conf.spare_rows = HEAD_SPARE_ROWS;
	log_set_level(LOG_LEVEL_ERROR);
	assert_int_equal(sem_init(&o->done, 0, 0), 0);
	assert_int_equal(head_create(&o->head, &conf, 0, on_one, o, &e), 0);
	o->job = (struct head_job){ .cap = ROOM, .bytes = malloc(ROOM) };
	assert_non_null(o->job.bytes);
	assert_int_equal(codec_state_create(&o->job.state, 256, NULL, NULL), 0);
}

static void close_one(struct one *o)
{
	head_recall(o->head);
	segment_end(head_segment(o->head), o->job.kv);
	codec_state_destroy(o->job.state);
	head_destroy(o->head);
	free(o->job.bytes);
	sem_destroy(&o->done);
}

static void rows_that_ran_ahead_have_the_same_bits(void **state)
{
	static float expected[STEPS * 256], got[STEPS * 256];
	struct one o = { 0 };

	(void)state;
	open_one(&o);
	assert_int_equal(run_guessed(&o, false, expected), 0);
	assert_true(run_guessed(&o, true, got) > 0);
	assert_memory_equal(got, expected, sizeof(got));
	close_one(&o);
}

/* The session ends, its cache is freed, and another one has the same memory. */
static void what_runs_ahead_of_a_session_ends_with_it(void **state)
{
	static float expected[256];
	struct one o = { 0 };

	(void)state;
	open_one(&o);
	for (unsigned i = 0; i < 50; i++) {
		begin_one(&o, BUNDLED_LAYERS - 1);
		/* the first token of the next session */
		o.job.guesses = (struct head_guesses){ .n = 1, .ids = { 1 } };
		run_one(&o, 0, 1);
		assert_int_equal(o.job.ahead_us, 0);
		if (!i)
			memcpy(expected, o.job.bytes, sizeof(expected));
		assert_memory_equal(o.job.bytes, expected, sizeof(expected));
	}
	close_one(&o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_that_ran_ahead_have_the_same_bits),
		cmocka_unit_test(what_runs_ahead_of_a_session_ends_with_it),
		cmocka_unit_test(a_side_job_need_not_wait_for_the_row_that_came_with_it),
		cmocka_unit_test(rows_behind_the_last_layer_are_not_encoded),
		cmocka_unit_test(rows_that_were_kept_go_before_the_newest_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
