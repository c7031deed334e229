/* tests/test_depth.c - what positions take is learned from sessions that get there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "base/depth.h"
#include "base/rng.h"

#define INTERRUPTED 10
#define MEAN_SHARE  1.3 /* a tenth of the rows takes four times as long */

struct bench {
	struct depth d;
	struct depth_slopes slopes;
	double base_ms, position_ms, noise;
	uint64_t n;
};

static void assert_near(double got, double wanted, double share)
{
	if (!(fabs(got - wanted) <= share * fabs(wanted)))
		fail_msg("%g is not near %g", got, wanted);
}

/* What a position takes now, where rows are now. */
static double slope_of(const struct bench *b)
{
	return depth_slope(&b->slopes, (struct depth_point){ depth_at(&b->d), depth_ms(&b->d) });
}

/* A row took so long at position 0, and so long so many later. */
static void note(struct depth_slopes *s, double positions, double ms, double later_ms)
{
	depth_note(s, (struct depth_point){ 0, ms }, (struct depth_point){ positions, later_ms });
}

/* A session's tokens at positions [from, to); a tenth of them is interrupted. */
static void session(struct bench *b, unsigned from, unsigned to)
{
	for (unsigned at = from; at < to; at++) {
		const double noise = 1 + b->noise * (2 * rng_unit(7, b->n) - 1);
		const double ms = (b->base_ms + b->position_ms * at) * noise;

		depth_learn(&b->d, &b->slopes, at, b->n++ % INTERRUPTED ? ms : 4 * ms);
	}
}

static void nothing_is_known_at_first(void **state)
{
	struct bench b = { .base_ms = 1 };

	(void)state;
	assert_true(depth_ms(&b.d) == 0 && depth_at(&b.d) == 0 && slope_of(&b) == 0);
}

static void a_long_session_tells_what_a_position_takes(void **state)
{
	struct bench b = { .base_ms = 1.6, .position_ms = 0.0004, .noise = 0.05 };

	(void)state;
	session(&b, 40, 500);
	assert_near(slope_of(&b), MEAN_SHARE * 0.0004, 0.25);
	assert_near(depth_ms(&b.d), MEAN_SHARE * (1.6 + 0.0004 * depth_at(&b.d)), 0.02);
	assert_near(depth_at(&b.d), 371.5, 0.01); /* the newest: 244 .. 499 */
}

static void short_sessions_leave_the_slope_as_it_was(void **state)
{
	struct bench b = { .base_ms = 1.6, .position_ms = 0.0004, .noise = 0.05 };

	(void)state;
	for (unsigned i = 0; i < 50; i++)
		session(&b, 40, 72);
	assert_true(slope_of(&b) == 0);
	note(&b.slopes, DEPTH_DISTANCE - 1, 1, 2); /* too near */
	assert_true(slope_of(&b) == 0);
	note(&b.slopes, 500, 1.6, 1.8);
	for (unsigned i = 0; i < 50; i++)
		session(&b, 40, 72);
	assert_near(slope_of(&b), MEAN_SHARE * 0.0004, 0.02);
	assert_near(depth_at(&b.d), 56, 0.02);
}

static void a_machine_that_was_busy_for_a_while_does_not_look_like_depth(void **state)
{
	struct bench b = { .base_ms = 1.6, .position_ms = 0.0004, .noise = 0.05 };

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		session(&b, 40, 240);
	b.base_ms = 3.2; /* from here on everything takes twice as long */
	session(&b, 240, 300);
	assert_near(slope_of(&b), MEAN_SHARE * 0.0004, 0.5);
}

/* Long sessions of a fast hour, and short ones of a slow hour: early positions are those of the
 * slow one, late ones of the fast one. */
static void sessions_of_another_hour_do_not_look_like_depth(void **state)
{
	struct bench b = { .base_ms = 1.6, .position_ms = 0.0004, .noise = 0.05 };

	(void)state;
	for (unsigned i = 0; i < 20; i++) {
		b.base_ms = 1.6;
		session(&b, 10, 210);
		b.base_ms = 2;
		session(&b, 10, 60);
	}
	assert_near(slope_of(&b), MEAN_SHARE * 0.0004, 0.5);
}

/* Row by row of each: what is early and late is of the same time. */
static void sessions_that_take_turns_tell_what_a_position_takes(void **state)
{
	struct bench b = { .base_ms = 1.6, .position_ms = 0.0004, .noise = 0.05 };

	(void)state;
	for (unsigned at = 0; at < 400; at++) {
		session(&b, 600 + at, 601 + at);
		session(&b, at, at + 1);
	}
	assert_near(slope_of(&b), MEAN_SHARE * 0.0004, 0.25);
}

static void what_takes_less_at_late_positions_is_noise(void **state)
{
	struct depth_slopes s = { 0 };

	(void)state;
	note(&s, 500, 2, 1);
	assert_true(depth_slope(&s, (struct depth_point){ 0, 2 }) == 0);
}

static void attention_that_became_faster_is_believed(void **state)
{
	struct bench b = { .base_ms = 1, .position_ms = 0.001 };

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		session(&b, 0, 400);
	assert_near(slope_of(&b), MEAN_SHARE * 0.001, 0.1);
	b.position_ms = 0.0002;
	for (unsigned i = 0; i < 3; i++)
		session(&b, 0, 400);
	assert_near(slope_of(&b), MEAN_SHARE * 0.0002, 0.1);
}

static void before_any_was_seen_the_models_shape_tells(void **state)
{
	struct depth_slopes s = { .shape = 0.001 / DEPTH_DEAR };
	const struct depth_point now = { 200, 1.2 };

	(void)state;
	assert_near(depth_slope(&s, now), 0.001, 1e-6);
	assert_near(depth_moved(&s, now, 700), 1.7, 1e-6);
	assert_near(depth_moved(&s, now, 0), 1, 1e-6);
	note(&s, 500, 1, 1.4); /* what one says counts as much */
	assert_near(depth_moved(&s, now, 700), 1.2 * 1.63 / 1.18, 1e-6);
}

/* A large model, where attention to 512 positions is a twentieth of what a row takes. */
static void what_one_says_is_believed_as_far_as_the_shape_lets_it(void **state)
{
	struct depth_slopes slow = { .shape = 0.0001 }, fast = { .shape = 0.0001 };
	const struct depth_point now = { 0, 40 };

	(void)state;
	note(&slow, 512, 40, 60);
	note(&fast, 512, 40, 30);
	assert_near(depth_moved(&slow, now, 512),
		    40 * (1 + (DEPTH_DEAREST + DEPTH_DEAR) / 2 * 0.0512), 1e-6);
	assert_near(depth_moved(&fast, now, 512),
		    40 * (1 + (DEPTH_CHEAPEST + DEPTH_DEAR) / 2 * 0.0512), 1e-6);
	note(&slow, 512, 40, 60);
	note(&slow, 512, 40, 60);
	assert_near(depth_moved(&slow, now, 512), 60, 1e-6); /* so it is */
}

static void on_a_machine_that_became_slower_attention_is_slower_too(void **state)
{
	struct depth_slopes s = { 0 };

	(void)state;
	depth_note(&s, (struct depth_point){ 100, 1.2 }, (struct depth_point){ 600, 2.2 });
	assert_near(depth_slope(&s, (struct depth_point){ 100, 1.2 }), 0.002, 1e-6);
	assert_near(depth_slope(&s, (struct depth_point){ 100, 2.4 }), 0.004, 1e-6);
	assert_near(depth_slope(&s, (struct depth_point){ 600, 2.2 }), 0.002, 1e-6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_known_at_first),
		cmocka_unit_test(a_long_session_tells_what_a_position_takes),
		cmocka_unit_test(short_sessions_leave_the_slope_as_it_was),
		cmocka_unit_test(a_machine_that_was_busy_for_a_while_does_not_look_like_depth),
		cmocka_unit_test(sessions_of_another_hour_do_not_look_like_depth),
		cmocka_unit_test(sessions_that_take_turns_tell_what_a_position_takes),
		cmocka_unit_test(what_takes_less_at_late_positions_is_noise),
		cmocka_unit_test(attention_that_became_faster_is_believed),
		cmocka_unit_test(before_any_was_seen_the_models_shape_tells),
		cmocka_unit_test(what_one_says_is_believed_as_far_as_the_shape_lets_it),
		cmocka_unit_test(on_a_machine_that_became_slower_attention_is_slower_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
