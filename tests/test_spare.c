/* tests/test_spare.c - weights of the bundled model that nobody needs any more. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/log.h"
#include "daemon/spare.h"
#include "tests/bundled.h"

#define AFTER_US 10000000u
#define TICK_US  1000000u

/* A segment of layers [first, last) of 8, and the time. */
struct place {
	struct segment seg;
	struct spare spare;
	uint64_t now_us;
};

static void open_place(struct place *p, uint32_t first, uint32_t last, uint64_t after_us)
{
	char path[BUNDLED_PATH];
	const struct segment_conf conf = bundled_conf(path, first, last);
	struct err e = { 0 };

	log_set_level(LOG_LEVEL_ERROR);
	if (segment_open(&p->seg, &conf, &e))
		fail_msg("%s", e.text);
	p->now_us = 1;
	spare_init(&p->spare, &p->seg, after_us);
}

/* A session with layers [first, last) comes and goes. */
static void run_session(struct place *p, uint32_t first, uint32_t last)
{
	struct kv *kv;

	assert_int_equal(segment_begin(&p->seg, &kv, first, last, BUNDLED_CONTEXT, KV_F16, NULL),
			 0);
	segment_end(&p->seg, kv);
}

static void look(struct place *p, const struct segment_range *need)
{
	spare_look(&p->spare, &p->seg, need, p->now_us);
}

/* The same need, once a second, for so long. */
static void wait(struct place *p, const struct segment_range *need, uint64_t us)
{
	for (const uint64_t end = p->now_us + us; p->now_us < end; look(p, need))
		p->now_us += TICK_US;
}

static void assert_held(const struct place *p, uint32_t first, uint32_t last, bool head)
{
	const struct segment *s = &p->seg;

	assert_int_equal(s->held.first, first);
	assert_int_equal(s->held.last, last);
	assert_int_equal(s->held.head, head);
	assert_int_equal(s->weight_bytes, segment_weight_bytes(s, first, last, false, head));
	assert_int_equal(s->budget.booked_bytes,
			 s->base_bytes + s->scratch_bytes + s->weight_bytes);
}

static void what_ran_once_goes_after_its_time(void **state)
{
	const struct segment_range all = { 0, 8, true }, part = { 0, 2, false };
	struct place p;

	(void)state;
	open_place(&p, 0, 2, AFTER_US);
	look(&p, &part);
	run_session(&p, 0, 8);
	wait(&p, &all, 2 * AFTER_US);
	assert_held(&p, 0, 8, true);
	wait(&p, &part, AFTER_US);
	assert_held(&p, 0, 8, true);
	wait(&p, &part, TICK_US);
	assert_held(&p, 0, 2, false);
	wait(&p, &part, 2 * AFTER_US);
	assert_held(&p, 0, 2, false);
	segment_close(&p.seg);
}

/* Also one that began and ended between two looks. */
static void what_is_used_again_in_time_stays(void **state)
{
	const struct segment_range six = { 0, 6, false }, part = { 0, 2, false };
	struct place p;

	(void)state;
	open_place(&p, 0, 2, AFTER_US);
	run_session(&p, 0, 8);
	wait(&p, &part, AFTER_US - TICK_US);
	wait(&p, &six, TICK_US);
	run_session(&p, 0, 5);
	wait(&p, &part, 2 * TICK_US);
	assert_held(&p, 0, 6, false);
	wait(&p, &part, AFTER_US - 2 * TICK_US);
	run_session(&p, 0, 8);
	assert_held(&p, 0, 8, true);
	wait(&p, &part, AFTER_US - TICK_US);
	assert_held(&p, 0, 8, true);
	segment_close(&p.seg);
}

static void all_may_go_and_nothing_may_go(void **state)
{
	const struct segment_range none = { 0 };
	struct place p;

	(void)state;
	open_place(&p, 0, 3, AFTER_US);
	wait(&p, &none, 2 * AFTER_US);
	assert_held(&p, 0, 0, false);
	run_session(&p, 0, 1);
	assert_held(&p, 0, 1, false);
	segment_close(&p.seg);
	open_place(&p, 0, 3, 0);
	wait(&p, &none, 10 * AFTER_US);
	assert_held(&p, 0, 3, false);
	segment_close(&p.seg);
}

/* A back end without sessions keeps what the last ones had; before the first one, all. */
static void who_says_nothing_keeps_what_was_needed_last(void **state)
{
	const struct segment_range high = { 5, 8, true };
	struct place p;

	(void)state;
	open_place(&p, 1, 8, AFTER_US);
	wait(&p, NULL, 3 * AFTER_US);
	assert_held(&p, 1, 8, true);
	wait(&p, &high, 3 * TICK_US);
	wait(&p, NULL, 2 * AFTER_US);
	assert_held(&p, 5, 8, true);
	run_session(&p, 3, 8);
	wait(&p, NULL, 3 * AFTER_US);
	assert_held(&p, 3, 8, true);
	run_session(&p, 6, 8);
	wait(&p, NULL, 3 * AFTER_US);
	assert_held(&p, 6, 8, true);
	segment_close(&p.seg);
}

/* What waits for the loop waits for a step, not for all of it. */
static void much_goes_in_steps(void **state)
{
	const struct segment_range part = { 3, 5, false };
	struct place p;
	size_t layer;

	(void)state;
	open_place(&p, 0, 8, AFTER_US);
	layer = segment_weight_bytes(&p.seg, 3, 4, false, false);
	assert_int_equal(p.spare.step_bytes, 64u << 20);
	p.spare.step_bytes = 2 * layer;
	wait(&p, &part, AFTER_US);
	assert_held(&p, 0, 8, true);
	wait(&p, &part, TICK_US);
	assert_held(&p, 0, 6, false);
	look(&p, &part); /* at the same time */
	assert_held(&p, 0, 6, false);
	wait(&p, &part, TICK_US);
	assert_held(&p, 1, 5, false);
	p.spare.step_bytes = layer / 2; /* a layer at least */
	run_session(&p, 0, 5);
	wait(&p, &part, AFTER_US + 2 * TICK_US);
	assert_held(&p, 1, 5, false);
	wait(&p, &part, 9 * TICK_US);
	assert_held(&p, 3, 5, false);
	segment_close(&p.seg);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_ran_once_goes_after_its_time),
		cmocka_unit_test(what_is_used_again_in_time_stays),
		cmocka_unit_test(all_may_go_and_nothing_may_go),
		cmocka_unit_test(much_goes_in_steps),
		cmocka_unit_test(who_says_nothing_keeps_what_was_needed_last),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
