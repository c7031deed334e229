/* tests/test_head.c - in which order the agent's compute thread takes jobs (agent/head.h), with the
 * bundled model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <semaphore.h>
#include <stdlib.h>

#include "agent/head.h"
#include "base/log.h"
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_side_job_need_not_wait_for_the_row_that_came_with_it),
		cmocka_unit_test(rows_behind_the_last_layer_are_not_encoded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
