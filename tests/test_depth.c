/* tests/test_depth.c - what positions take is learned from sessions that get there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "base/depth.h"
#include "base/rng.h"

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

/* A session's tokens at positions [from, to); a tenth of them is interrupted. */
static void session(struct bench *b, unsigned from, unsigned to)
{
	for (unsigned at = from; at < to; at++) {
		const double noise = 1 + b->noise * (2 * rng_unit(7, b->n) - 1);
		const double ms = (b->base_ms + b->position_ms * at) * noise;

		depth_learn(&b->d, &b->slopes, at, b->n++ % 10 ? ms : 4 * ms);
	}
}

static void nothing_is_known_at_first(void **state)
{
	struct bench b = { .base_ms = 1 };

	(void)state;
	assert_true(depth_ms(&b.d) == 0 && depth_at(&b.d) == 0 && depth_slope(&b.slopes) == 0);
}

static void a_long_session_tells_what_a_position_takes(void **state)
{
	struct bench b = { .base_ms = 1.6, .position_ms = 0.0004, .noise = 0.05 };

	(void)state;
	session(&b, 40, 500);
	assert_near(depth_slope(&b.slopes), 0.0004, 0.25);
	assert_near(depth_ms(&b.d), 1.6 + 0.0004 * depth_at(&b.d), 0.02);
	assert_near(depth_at(&b.d), 371.5, 0.01); /* the newest: 244 .. 499 */
}

static void short_sessions_leave_the_slope_as_it_was(void **state)
{
	struct bench b = { .base_ms = 1.6, .position_ms = 0.0004, .noise = 0.05 };

	(void)state;
	for (unsigned i = 0; i < 50; i++)
		session(&b, 40, 72);
	assert_true(depth_slope(&b.slopes) == 0);
	depth_note(&b.slopes, DEPTH_DISTANCE - 1, 1, 2); /* too near */
	assert_true(depth_slope(&b.slopes) == 0);
	depth_note(&b.slopes, 500, 1.6, 1.8);
	for (unsigned i = 0; i < 50; i++)
		session(&b, 40, 72);
	assert_near(depth_slope(&b.slopes), 0.0004, 1e-4);
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
	assert_near(depth_slope(&b.slopes), 0.0004, 0.5);
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
	assert_near(depth_slope(&b.slopes), 0.0004, 0.5);
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
	assert_near(depth_slope(&b.slopes), 0.0004, 0.25);
}

static void what_takes_less_at_late_positions_is_noise(void **state)
{
	struct depth_slopes s = { 0 };

	(void)state;
	depth_note(&s, 500, 2, 1);
	assert_true(depth_slope(&s) == 0);
}

static void attention_that_became_faster_is_believed(void **state)
{
	struct bench b = { .base_ms = 1, .position_ms = 0.001 };

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		session(&b, 0, 400);
	assert_near(depth_slope(&b.slopes), 0.001, 0.1);
	b.position_ms = 0.0002;
	for (unsigned i = 0; i < 3; i++)
		session(&b, 0, 400);
	assert_near(depth_slope(&b.slopes), 0.0002, 0.1);
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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
