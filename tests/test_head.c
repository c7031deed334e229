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

#include "agent/head.h"
#include "base/log.h"
#include "engine/kv_layers.h"
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

#define ROWS 5u
#define KEPT 2u /* rows before the last one that ran as one of a session without a worker */
#define LOW  2u /* layers that they go to a worker behind */

/* A head, one job at a time. */
struct one {
	struct head *head;
	struct head_job job;
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
	static const uint32_t ids[ROWS] = { 1, 2, 3, 4, 5 };

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

	segment_end(seg, o->job.kv);
	o->job.kv = NULL;
	assert_int_equal(segment_begin(seg, &o->job.kv, 0, layers, BUNDLED_CONTEXT, KV_F16, &e), 0);
}

/* The last of ROWS with so many before it, after all but that one ran without a worker. */
static void go_back_with_kept(struct one *o)
{
	const uint32_t from = ROWS - 1 - KEPT;

	o->job.kept_rows = 0;
	o->job.keep_at = LOW;
	begin_one(o, BUNDLED_LAYERS);
	for (uint32_t i = 0; i + 1 < ROWS; i++)
		run_one(o, i, 1);
	assert_int_equal(kv_layers_keep(o->job.kv, 0, LOW), 0);
	segment_resized(head_segment(o->head), o->job.kv);
	kv_truncate(o->job.kv, from);
	o->job.kept_rows = KEPT;
}

/* And they are not run again, but encoded as they are there. */
static void rows_that_were_kept_go_before_the_newest_one(void **state)
{
	char path[BUNDLED_PATH];
	const struct segment_conf conf = bundled_conf(path, 0, BUNDLED_LAYERS);
	const uint32_t from = ROWS - 1 - KEPT;
	float expected[ROWS * 256], *got;
	struct err e = { 0 };
	struct one o = { 0 };
	struct head_kept *kept;

	(void)state;
	log_set_level(LOG_LEVEL_ERROR);
	assert_int_equal(sem_init(&o.done, 0, 0), 0);
	assert_int_equal(head_create(&o.head, &conf, 0, on_one, &o, &e), 0);
	kept = calloc(1, sizeof(*kept) + HEAD_KEPT * 256 * sizeof(float));
	o.job = (struct head_job){ .cap = ROOM, .bytes = malloc(ROOM) };
	assert_non_null(kept);
	assert_non_null(o.job.bytes);
	assert_int_equal(codec_state_create(&o.job.state, 256, NULL, NULL), 0);
	begin_one(&o, LOW);
	run_one(&o, 0, ROWS);
	assert_int_equal(o.job.len, sizeof(expected));
	memcpy(expected, o.job.bytes, sizeof(expected));

	got = (float *)o.job.bytes;
	for (unsigned i = 0; i < 2; i++) { /* there; and lost, so that they do run again */
		o.job.kept = i ? NULL : kept;
		go_back_with_kept(&o);
		run_one(&o, from, KEPT + 1);
		assert_int_equal(o.job.len, (KEPT + 1) * 256 * sizeof(float));
		assert_memory_equal(got, expected + from * 256, o.job.len);
	}
	o.job.kept = kept;
	go_back_with_kept(&o);
	kept->x[from * 256] += 1;
	run_one(&o, from, KEPT + 1);
	assert_true(got[0] == kept->x[from * 256]);
	assert_memory_equal(got + 1, expected + from * 256 + 1, o.job.len - sizeof(float));
	segment_end(head_segment(o.head), o.job.kv);
	codec_state_destroy(o.job.state);
	head_destroy(o.head);
	free(o.job.bytes);
	free(kept);
	sem_destroy(&o.done);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_side_job_need_not_wait_for_the_row_that_came_with_it),
		cmocka_unit_test(rows_behind_the_last_layer_are_not_encoded),
		cmocka_unit_test(rows_that_were_kept_go_before_the_newest_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
