/* tests/test_workers.c - the agent's table of workers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "agent/workers.h"
#include "base/log.h"
#include "tests/statuses.h"

#define OTHER_MODEL "ffeeddccbbaa99887766554433221100"

static bool update(struct workers *w, const char *name, enum msg_state state, uint64_t boot)
{
	struct msg_worker_status st = worker_of(name, state, boot, TOY_MODEL);

	return workers_update(w, &st, false);
}

static void a_worker_is_lost_when_it_goes_or_comes_back(void **state)
{
	static struct workers w;

	(void)state;
	w.n = 0;
	assert_false(update(&w, "w1", MSG_READY, 1));
	assert_false(update(&w, "w1", MSG_READY, 1));
	assert_false(update(&w, "w1", MSG_DRAINING, 1));
	assert_true(update(&w, "w1", MSG_OFFLINE, 1));
	assert_false(update(&w, "w1", MSG_LOST, 1)); /* lost already */
	assert_false(update(&w, "w1", MSG_READY, 2));
	assert_true(update(&w, "w1", MSG_READY, 3)); /* a new life: the sessions are gone */
	assert_true(update(&w, "w1", MSG_LOST, 3));
	assert_int_equal(w.n, 1);
	assert_false(update(&w, "w2", MSG_INIT, 1));
	assert_true(update(&w, "w2", MSG_LOST, 1)); /* it was about to be ready */
}

static void the_late_last_will_of_an_earlier_life_is_ignored(void **state)
{
	static struct workers w;

	(void)state;
	w.n = 0;
	assert_false(update(&w, "w1", MSG_READY, 2));
	assert_false(update(&w, "w1", MSG_LOST, 1));
	assert_int_equal(w.list[0].state, MSG_READY);
	assert_int_equal(w.list[0].boot, 2);
}

static void a_worker_that_is_not_ready_does_not_count(void **state)
{
	static struct workers w;
	struct msg_worker_status other = worker_of("w2", MSG_READY, 1, OTHER_MODEL);

	(void)state;
	w.n = 0;
	assert_null(workers_mismatch(&w, TOY_MODEL));
	assert_false(workers_update(&w, &other, false));
	assert_string_equal(workers_mismatch(&w, TOY_MODEL)->worker, "w2");
	assert_false(workers_other_ready(&w, TOY_MODEL, "w1"));
	update(&w, "w3", MSG_INIT, 1);
	assert_null(workers_mismatch(&w, TOY_MODEL)); /* ours is on its way */
	assert_false(workers_other_ready(&w, TOY_MODEL, "w1"));
	assert_false(workers_can_serve(&w, TOY_MODEL, 1, ""));
	update(&w, "w3", MSG_READY, 1);
	assert_null(workers_mismatch(&w, TOY_MODEL));
	assert_true(workers_other_ready(&w, TOY_MODEL, "w1"));
	assert_false(workers_other_ready(&w, TOY_MODEL, "w3"));
	assert_true(workers_can_serve(&w, TOY_MODEL, 0, ""));
	w.list[1].first_layer = 2;
	assert_false(workers_can_serve(&w, TOY_MODEL, 1, ""));
}

static void calibrations_of_ready_workers_decide_whether_rows_are_predicted(void **state)
{
	static const char ours[] = "0123456789abcdef", others[] = "fedcba9876543210";
	static struct workers w;

	(void)state;
	w.n = 0;
	assert_int_equal(workers_calibrated(&w, TOY_MODEL, ours, ""), WORKERS_UNKNOWN);
	update(&w, "w1", MSG_READY, 1);
	assert_int_equal(workers_calibrated(&w, TOY_MODEL, ours, ""), WORKERS_LACK);
	assert_false(workers_can_serve(&w, TOY_MODEL, 1, ours));
	memcpy(w.list[0].calibration, ours, sizeof(ours));
	assert_int_equal(workers_calibrated(&w, TOY_MODEL, ours, ""), WORKERS_HAVE);
	assert_true(workers_can_serve(&w, TOY_MODEL, 1, ours));
	assert_int_equal(workers_calibrated(&w, OTHER_MODEL, ours, ""), WORKERS_UNKNOWN);
	update(&w, "w2", MSG_READY, 1);
	memcpy(w.list[1].calibration, others, sizeof(others));
	assert_int_equal(workers_calibrated(&w, TOY_MODEL, ours, ""), WORKERS_LACK);
	assert_int_equal(workers_calibrated(&w, TOY_MODEL, ours, "w1"), WORKERS_HAVE);
	assert_int_equal(workers_calibrated(&w, TOY_MODEL, ours, "w2"), WORKERS_LACK);
	assert_int_equal(workers_calibrated(&w, TOY_MODEL, ours, "w3"), WORKERS_UNKNOWN);
	assert_true(workers_can_serve(&w, TOY_MODEL, 1, ours));
	w.list[1].state = MSG_LOST;
	assert_int_equal(workers_calibrated(&w, TOY_MODEL, ours, ""), WORKERS_HAVE);
}

static void a_worker_that_went_is_known_by_what_it_served(void **state)
{
	static struct workers w;
	struct msg_worker_status will = { .worker = "w1", .state = MSG_LOST, .boot = 1 };
	struct msg_worker_status other = worker_of("w2", MSG_READY, 1, OTHER_MODEL);

	(void)state;
	w.n = 0;
	assert_false(update(&w, "w1", MSG_READY, 1));
	assert_false(workers_update(&w, &other, false));
	assert_true(workers_update(&w, &will, false));
	assert_string_equal(w.list[0].model, TOY_MODEL);
	assert_null(workers_mismatch(&w, TOY_MODEL));
}

static void a_retained_status_is_the_newest_truth(void **state)
{
	static struct workers w;
	struct msg_worker_status will = { .worker = "w1", .state = MSG_LOST, .boot = 2 };

	(void)state;
	w.n = 0;
	assert_false(update(&w, "w1", MSG_READY, 1));
	assert_false(workers_update(&w, &will, false)); /* of another life: late */
	assert_int_equal(w.list[0].state, MSG_READY);
	assert_true(workers_update(&w, &will, true)); /* it came and died unseen */
	assert_int_equal(w.list[0].state, MSG_LOST);
}

static void a_full_table_forgets_those_who_went(void **state)
{
	static struct workers w;
	char name[16];

	(void)state;
	w.n = 0;
	for (unsigned i = 0; i < WORKERS_MAX; i++) {
		snprintf(name, sizeof(name), "w%u", i);
		update(&w, name, i == 7 ? MSG_OFFLINE : MSG_READY, 1);
	}
	update(&w, "new", MSG_READY, 1);
	assert_string_equal(w.list[7].worker, "new");
	update(&w, "newer", MSG_READY, 1); /* no room: it is done without */
	assert_int_equal(w.n, WORKERS_MAX);
	assert_true(update(&w, "new", MSG_LOST, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_worker_is_lost_when_it_goes_or_comes_back),
		cmocka_unit_test(the_late_last_will_of_an_earlier_life_is_ignored),
		cmocka_unit_test(a_worker_that_is_not_ready_does_not_count),
		cmocka_unit_test(calibrations_of_ready_workers_decide_whether_rows_are_predicted),
		cmocka_unit_test(a_worker_that_went_is_known_by_what_it_served),
		cmocka_unit_test(a_retained_status_is_the_newest_truth),
		cmocka_unit_test(a_full_table_forgets_those_who_went),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
