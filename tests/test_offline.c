/* tests/test_offline.c - when an agent goes on alone, and when it returns. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "agent/offline.h"

#define MODEL  "0123456789abcdef0123456789abcdef"
#define AFTER  500000u /* us */
#define SETTLE 300000u

static struct agent_core core;
static bool room;        /* the whole model fits, ... */
static const char *only; /* ... with this front alone; NULL: with any */
static unsigned n_asked; /* how often that was asked */
static char wanted[MSG_FRONT_MAX];
static unsigned n_wanted; /* how often a front was asked for, `wanted` the last time */

static int fits(void *ctx, const struct admit_ask *ask, struct room_answer *a, struct err *e)
{
	(void)ctx;
	(void)a;
	n_asked++;
	assert_int_equal(ask->split, core.conf.n_layers);
	assert_true(ask->alone);
	return room && (!only || !strcmp(only, ask->front)) ? 0
							    : err_set(e, ERR_LIMIT, "too large");
}

static void want(void *ctx, const char *name)
{
	(void)ctx;
	n_wanted++;
	snprintf(wanted, sizeof(wanted), "%s", name);
}

static void say_worker(enum msg_state state, uint32_t first_layer)
{
	struct msg_worker_status st = {
		.worker = "w1", .state = state, .boot = 1, .model = MODEL, .n_layers = 8
	};

	st.first_layer = first_layer;
	workers_update(&core.workers, &st, true);
}

/* Connected, with a worker, at 1 s. */
static int set_up(void **state)
{
	(void)state;
	core = (struct agent_core){
		.conf = { .n_layers = 8,
			  .split = 2,
			  .context_tokens = 64,
			  .offline_after_ms = 500 },
		.ops = { .fits = fits },
		.up = true,
		.settled_us = 1000000,
	};
	snprintf(core.conf.model, sizeof(core.conf.model), "%s", MODEL);
	room = true;
	only = NULL;
	n_asked = n_wanted = 0;
	say_worker(MSG_READY, 0);
	assert_false(offline_look(&core, 1000000));
	return 0;
}

static void with_a_fleet_nothing_is_waited_for(void **state)
{
	(void)state;
	assert_int_equal(core.offline_due_us, 0);
	assert_false(core.alone);
	assert_false(offline_look(&core, 100000000));
	assert_false(core.alone);
}

static void without_a_broker_it_goes_on_alone_after_a_while(void **state)
{
	(void)state;
	core.up = false;
	assert_false(offline_look(&core, 2000000));
	assert_int_equal(core.offline_due_us, 2000000 + AFTER);
	assert_false(offline_look(&core, 2000000 + AFTER - 1));
	assert_false(core.alone);
	assert_int_equal(n_asked, 0);
	assert_true(offline_look(&core, 2000000 + AFTER));
	assert_true(core.alone);
	assert_int_equal(core.offline_due_us, 0);
	assert_false(offline_look(&core, 9000000)); /* that was known */
	assert_true(core.alone);
}

static void without_a_worker_for_its_layers_likewise(void **state)
{
	(void)state;
	say_worker(MSG_READY, 3); /* this one begins behind our split */
	assert_false(offline_look(&core, 2000000));
	assert_true(offline_look(&core, 2000000 + AFTER));
	say_worker(MSG_READY, 2);
	assert_false(offline_look(&core, 3000000));
	assert_false(core.alone);
	say_worker(MSG_LOST, 2);
	assert_false(offline_look(&core, 4000000));
	assert_true(offline_look(&core, 4000000 + AFTER));
}

static void a_short_absence_changes_nothing(void **state)
{
	(void)state;
	core.up = false;
	assert_false(offline_look(&core, 2000000));
	core.up = true;
	core.settled_us = 2000000;
	assert_false(offline_look(&core, 2000000 + AFTER / 2));
	assert_int_equal(core.offline_due_us, 0);
	core.up = false; /* it is counted anew */
	assert_false(offline_look(&core, 2000000 + AFTER));
	assert_false(core.alone);
	assert_int_equal(core.offline_due_us, 2000000 + 2 * AFTER);
}

/* A broker without its workers is no fleet: their statuses decide, which come after the connect. */
static void what_is_retained_is_waited_for(void **state)
{
	(void)state;
	core.up = false;
	offline_look(&core, 2000000);
	assert_true(offline_look(&core, 2000000 + AFTER));
	core.up = true;
	core.settled_us = 3000000 + SETTLE;
	assert_false(offline_look(&core, 3000000));
	assert_true(core.alone);
	assert_int_equal(core.offline_due_us, 3000000 + SETTLE);
	assert_false(offline_look(&core, 3000000 + SETTLE));
	assert_false(core.alone);
}

static void what_does_not_fit_waits(void **state)
{
	(void)state;
	room = false;
	core.up = false;
	offline_look(&core, 2000000);
	assert_false(offline_look(&core, 2000000 + AFTER));
	assert_false(core.alone);
	assert_int_equal(n_asked, 1);
	assert_int_equal(core.offline_due_us, 0);
	assert_false(offline_look(&core, 8000000)); /* it is asked once */
	assert_int_equal(n_asked, 1);
	core.up = true;
	offline_look(&core, 9000000);
	core.up = false;
	offline_look(&core, 10000000);
	room = true;
	assert_true(offline_look(&core, 10000000 + AFTER));
}

static void who_needs_no_fleet_is_not_alone_without_it(void **state)
{
	(void)state;
	core.conf.split = 8;
	core.up = false;
	offline_look(&core, 2000000);
	assert_false(offline_look(&core, 2000000 + AFTER));
	assert_false(core.alone);
}

static void zero_means_never(void **state)
{
	(void)state;
	core.conf.offline_after_ms = 0;
	core.up = false;
	offline_look(&core, 2000000);
	assert_int_equal(core.offline_due_us, 0);
	assert_false(offline_look(&core, UINT64_MAX / 2));
	assert_false(core.alone);
}

/* Its own file has two layers; a front with all of them is wanted by now. */
static void want_whole(void)
{
	core.conf.n_fronts = 2;
	snprintf(core.conf.front, sizeof(core.conf.front), "own");
	snprintf(core.conf.fronts[0], sizeof(core.conf.fronts[0]), "own");
	snprintf(core.conf.fronts[1], sizeof(core.conf.fronts[1]), "whole");
	core.front.layers = 2;
	core.ops.front = want;
	only = "whole";
	core.up = false;
	assert_false(offline_look(&core, 2000000));
	assert_false(offline_look(&core, 2000000 + AFTER));
	assert_false(core.alone);
	assert_int_equal(n_wanted, 1);
	assert_string_equal(wanted, "whole");
}

static void give_front(uint32_t layers, bool has_head)
{
	core.front = (struct agent_front){ .index = 1, .layers = layers, .has_head = has_head };
	snprintf(core.front.name, sizeof(core.front.name), "whole");
	offline_front(&core);
}

static void a_front_with_all_layers_is_loaded_before_it_goes_alone(void **state)
{
	(void)state;
	want_whole();
	assert_false(offline_look(&core, 3000000)); /* it takes its time */
	assert_false(core.alone);
	give_front(8, true);
	assert_int_equal(core.offline_due_us, 1);
	assert_true(offline_look(&core, 4000000));
	assert_true(core.alone);
	assert_int_equal(n_wanted, 1);
	say_worker(MSG_READY, 0);
	core.up = true;
	assert_false(offline_look(&core, 5000000));
	assert_false(core.alone);
	assert_int_equal(n_wanted, 2);
	assert_string_equal(wanted, ""); /* no decision names one */
}

static void a_front_that_is_there_is_not_loaded_again(void **state)
{
	(void)state;
	want_whole();
	core.up = true;
	assert_false(offline_look(&core, 3000000));
	core.front = (struct agent_front){ .index = 1, .layers = 8, .has_head = true };
	snprintf(core.front.name, sizeof(core.front.name), "whole");
	n_wanted = 0;
	core.up = false;
	assert_false(offline_look(&core, 4000000));
	assert_true(offline_look(&core, 4000000 + AFTER));
	assert_int_equal(n_wanted, 0);
}

static void another_front_than_it_waits_for_does_not_do(void **state)
{
	(void)state;
	want_whole();
	give_front(7, true);
	assert_false(offline_look(&core, 3000000));
	assert_false(core.alone);
	set_up(state); /* a later absence */
	want_whole();
	give_front(8, false);
	assert_false(offline_look(&core, 3000000));
	assert_false(core.alone);
	assert_false(offline_look(&core, 4000000)); /* nor is it tried again */
	assert_int_equal(n_wanted, 1);
}

static void a_front_that_comes_too_late_changes_nothing(void **state)
{
	(void)state;
	want_whole();
	core.up = true;
	assert_false(offline_look(&core, 3000000));
	assert_int_equal(n_wanted, 2);
	assert_string_equal(wanted, "");
	core.offline_due_us = 0;
	give_front(8, true);
	assert_int_equal(core.offline_due_us, 0);
	core.up = false;
	assert_false(offline_look(&core, 4000000)); /* it is a short absence */
	assert_false(core.alone);
}

#define TEST(name) cmocka_unit_test_setup(name, set_up)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(with_a_fleet_nothing_is_waited_for),
		TEST(without_a_broker_it_goes_on_alone_after_a_while),
		TEST(without_a_worker_for_its_layers_likewise),
		TEST(a_short_absence_changes_nothing),
		TEST(what_is_retained_is_waited_for),
		TEST(what_does_not_fit_waits),
		TEST(who_needs_no_fleet_is_not_alone_without_it),
		TEST(zero_means_never),
		TEST(a_front_with_all_layers_is_loaded_before_it_goes_alone),
		TEST(a_front_that_is_there_is_not_loaded_again),
		TEST(another_front_than_it_waits_for_does_not_do),
		TEST(a_front_that_comes_too_late_changes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
