/* tests/test_ahead.c - what of the rows that run ahead goes out, and what is left of them when
 * their turn comes (agent/ahead.h): step by step, in one thread. With the bundled model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "agent/ahead.h"
#include "base/log.h"
#include "engine/kv.h"
#include "tests/bundled.h"

#define LAYERS 3u
#define ROOM   4096u
#define FIRST  7u  /* token of position 0 */
#define LIKELY 11u /* guessed for position 1 */
#define OTHER  12u

/* A session whose first row has run. */
struct rig {
	struct segment seg;
	struct codec_work *work;
	struct ahead ahead;
	uint32_t id;
	struct head_job job;
	float *x; /* [dim] of rows that run ahead */
};

static void open_rig(struct rig *r)
{
	char path[BUNDLED_PATH];
	struct segment_conf conf = bundled_conf(path, 0, BUNDLED_LAYERS);
	struct err e = { 0 };

	*r = (struct rig){ .id = FIRST, .job = { .rows = 1, .tell_ids = true } };
	log_set_level(LOG_LEVEL_ERROR);
	conf.spare_rows = HEAD_SPARE_ROWS;
	if (segment_open(&r->seg, &conf, &e))
		fail_msg("%s", e.text);
	r->x = r->seg.x + conf.max_rows * r->seg.hp.dim;
	assert_int_equal(codec_work_create(&r->work, r->seg.hp.dim, conf.max_rows), 0);
	assert_int_equal(ahead_init(&r->ahead, r->x, r->seg.hp.dim, r->work), 0);
	assert_int_equal(spec_parse(&r->job.codec, "tabq", &e), 0);
	assert_int_equal(segment_begin(&r->seg, &r->job.kv, 0, LAYERS, BUNDLED_CONTEXT, KV_F16, &e),
			 0);
	assert_int_equal(segment_begin_codec(&r->seg, &r->job.state, LAYERS, &e), 0);
	r->job.ids = &r->id;
	assert_int_equal(model_embed(r->seg.model, r->job.ids, 1, r->seg.x), 0);
	assert_int_equal(segment_forward(&r->seg, r->job.kv, 0, 1, 0, NULL, &e), 0);
}

static void close_rig(struct rig *r)
{
	ahead_drop(&r->ahead);
	segment_end(&r->seg, r->job.kv);
	codec_state_destroy(r->job.state);
	ahead_destroy(&r->ahead);
	codec_work_destroy(r->work);
	segment_close(&r->seg);
}

/* id comes at position 1; its row is to go out, or to wait for its turn. */
static struct head_guesses guess(uint32_t id, bool send)
{
	return (struct head_guesses){ .n = 1, .n_send = send, .ids = { id } };
}

static void begin(struct rig *r, uint32_t id, bool send)
{
	kv_truncate(r->job.kv, 1); /* what ran ahead before is none of it */
	r->job.guesses = guess(id, send);
	ahead_begin(&r->ahead, &r->seg, &r->job);
}

/* All that there is to do; what goes out is told. */
static bool run(struct rig *r, struct head_draft *draft)
{
	while (ahead_wants(&r->ahead)) {
		if (ahead_offer(&r->ahead))
			return ahead_take_draft(&r->ahead, draft);
		ahead_step(&r->ahead);
	}
	return false;
}

/* How many layers of the row of id, whose turn it is, had run. */
static uint32_t had_run(struct rig *r, uint32_t id)
{
	struct head_job job = r->job;

	job.pos = 1;
	job.ids = &id;
	return ahead_take(&r->ahead, &r->seg, &job, r->seg.x);
}

static void what_is_to_go_out_does(void **state)
{
	struct head_draft d;
	struct rig r;

	(void)state;
	open_rig(&r);
	begin(&r, LIKELY, true);
	assert_true(run(&r, &d));
	assert_int_equal(d.pos, 1);
	assert_int_equal(d.id, LIKELY);
	close_rig(&r);
}

static void what_is_to_wait_does(void **state)
{
	struct head_draft d;
	struct rig r;

	(void)state;
	open_rig(&r);
	begin(&r, LIKELY, false);
	assert_false(run(&r, &d));
	assert_int_equal(had_run(&r, LIKELY), LAYERS);
	assert_int_equal(had_run(&r, LIKELY), 0); /* once */
	begin(&r, LIKELY, false);
	assert_false(run(&r, &d));
	assert_int_equal(had_run(&r, OTHER), 0);
	close_rig(&r);
}

/* The row of LIKELY, which is to wait, has had some steps when id is said to go out. */
static bool run_told(struct rig *r, unsigned steps, uint32_t id, struct head_draft *draft)
{
	const struct head_guesses told = guess(id, true);

	begin(r, LIKELY, false);
	while (steps--)
		ahead_step(&r->ahead);
	ahead_more(&r->ahead, r->job.kv, 1, &told);
	return run(r, draft);
}

/* One that has begun keeps its token: it does not go for another one, and waits. */
static void what_is_said_later_may_let_it_go(void **state)
{
	struct head_draft d;
	struct rig r;

	(void)state;
	open_rig(&r);
	for (unsigned steps = 0; steps <= LAYERS; steps++) {
		assert_true(run_told(&r, steps, LIKELY, &d));
		assert_int_equal(d.id, LIKELY);
		ahead_go_on(&r.ahead);
	}
	assert_true(run_told(&r, 0, OTHER, &d));
	assert_int_equal(d.id, OTHER);
	ahead_go_on(&r.ahead);
	for (unsigned steps = 1; steps <= LAYERS; steps++) {
		assert_false(run_told(&r, steps, OTHER, &d));
		assert_int_equal(had_run(&r, LIKELY), LAYERS);
	}
	close_rig(&r);
}

/* What is said of another cache, or of what was before, is not for this row. */
static void what_is_said_of_others_is_not_heard(void **state)
{
	const struct head_guesses other = guess(OTHER, true);
	struct head_draft d;
	struct rig r;

	(void)state;
	open_rig(&r);
	begin(&r, LIKELY, false);
	ahead_more(&r.ahead, NULL, 1, &other);
	assert_false(run(&r, &d));
	assert_int_equal(had_run(&r, LIKELY), LAYERS);
	ahead_more(&r.ahead, r.job.kv, 1, &other);
	begin(&r, LIKELY, false);
	assert_false(run(&r, &d));
	assert_int_equal(had_run(&r, LIKELY), LAYERS);
	close_rig(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_to_go_out_does),
		cmocka_unit_test(what_is_to_wait_does),
		cmocka_unit_test(what_is_said_later_may_let_it_go),
		cmocka_unit_test(what_is_said_of_others_is_not_heard),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
