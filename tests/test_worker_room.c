/* tests/test_worker_room.c - whom a worker has room for: places, memory, layers, idle sessions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/log.h"
#include "tests/shop.h"

static void a_full_worker_is_busy_until_a_session_closes(void **state)
{
	static const char text[] =
		"{\"type\":\"close\",\"session\":\"0000000000000001\",\"epoch\":1}";
	struct shop *h = *state;
	struct msg m = shop_msg_open(3, 1);

	shop_open_two(h);
	shop_publish_open(h, &m);
	shop_assert_error(h, 3, 0, ERR_BUSY);
	m = shop_msg_open(1, 1); /* repeated, not new */
	shop_publish_open(h, &m);
	assert_int_equal(shop_last(h)->type, MSG_ACCEPT);
	shop_publish(h, 1, text, strlen(text));
	assert_int_equal(worker_core_sessions(h->core), 1);
	shop_open_session(h, 3);
	shop_assert_other_goes_on(h);
}

static void a_draining_worker_takes_no_new_session(void **state)
{
	struct shop *h = *state;
	struct msg m = shop_msg_open(3, 1);

	shop_open_session(h, 2);
	shop_send_rows(h, 2, 1, 0, 4);
	worker_core_drain(h->core);
	shop_publish_open(h, &m);
	shop_assert_error(h, 3, 0, ERR_BUSY);
	shop_assert_other_goes_on(h);
}

static void an_open_that_does_not_fit_is_refused_with_its_code(void **state)
{
	struct shop *h = *state;
	struct msg m = shop_msg_open(1, 4);

	m.u.open.model[0] = 'f';
	shop_publish_open(h, &m);
	shop_assert_error(h, 1, 0, ERR_MODEL_MISMATCH);
	assert_int_equal(shop_last(h)->u.error.epoch, 4);
	m = shop_msg_open(1, 4);
	m.u.open.split = TOY_LAYERS + 1;
	shop_publish_open(h, &m);
	shop_assert_error(h, 1, 0, ERR_REFUSED);
	assert_int_equal(worker_core_sessions(h->core), 0);
}

static void no_memory_for_a_session_is_busy(void **state)
{
	struct shop *h = *state;
	struct msg m = shop_msg_open(1, 1);

	h->begin_rc = ERR_LIMIT;
	shop_publish_open(h, &m);
	shop_assert_error(h, 1, 0, ERR_BUSY);
	assert_int_equal(worker_core_sessions(h->core), 0);
	h->begin_rc = 0;
	shop_open_session(h, 1);
}

static void a_full_compute_queue_is_busy(void **state)
{
	struct shop *h = *state;

	shop_open_two(h);
	h->refuse_jobs = true;
	shop_send_rows(h, 1, 1, 0, 1);
	shop_assert_error(h, 1, 1, ERR_BUSY);
	h->refuse_jobs = false;
	assert_int_equal(worker_core_jobs(h->core), 0);
	shop_assert_other_goes_on(h);
}

static void a_new_split_gets_a_new_cache(void **state)
{
	struct shop *h = *state;
	struct msg m = shop_msg_open(1, 2);

	shop_open_session(h, 1);
	shop_send_rows(h, 1, 1, 0, 4);
	m.u.open.split = 2;
	m.u.open.context_tokens = 20;
	shop_publish_open(h, &m);
	assert_int_equal(shop_last(h)->type, MSG_ACCEPT);
	assert_int_equal(shop_last(h)->u.accept.context_tokens, 20);
	assert_int_equal(h->kv_tokens, 20);
}

static void a_place_is_kept_until_the_last_job_is_back(void **state)
{
	static const char text[] =
		"{\"type\":\"close\",\"session\":\"0000000000000001\",\"epoch\":1}";
	struct shop *h = *state;
	struct msg m = shop_msg_open(1, 2);

	shop_open_session(h, 1);
	h->hold = true;
	shop_send_rows(h, 1, 1, 0, 4);
	shop_publish(h, 1, text, strlen(text));
	assert_int_equal(worker_core_sessions(h->core), 1);
	shop_publish_open(h, &m);
	shop_assert_error(h, 1, 0, ERR_BUSY);
	h->hold = false;
	shop_settle(h);
	assert_int_equal(worker_core_sessions(h->core), 0);
	assert_int_equal(shop_last(h)->type, MSG_ERROR); /* nobody waits for the answer */
	shop_publish_open(h, &m);
	assert_int_equal(shop_last(h)->type, MSG_ACCEPT);
}

static void an_idle_session_is_given_up(void **state)
{
	struct shop *h = *state;

	shop_open_two(h);
	h->now_us += h->conf.limits.idle_us - 1;
	worker_core_tick(h->core, h->now_us);
	shop_send_rows(h, 2, 2, 4, 1);
	h->now_us += 1;
	worker_core_tick(h->core, h->now_us);
	assert_int_equal(worker_core_sessions(h->core), 1);
	shop_send_rows(h, 1, 1, 0, 1);
	shop_assert_error(h, 1, 1, ERR_NOT_FOUND);
}

static void the_session_that_is_idle_longest_makes_room(void **state)
{
	struct msg_telemetry t = { 0 };
	struct shop *h = *state;

	shop_open_two(h); /* of 1 nothing was heard but its OPEN */
	h->now_us += 1000;
	shop_send_rows(h, 1, 1, 0, 4);
	h->now_us += SHOP_EVICT_US;
	shop_open_session(h, 3); /* 2 is older */
	shop_send_rows(h, 2, 2, 4, 1);
	shop_assert_error(h, 2, 2, ERR_NOT_FOUND);
	shop_send_rows(h, 1, 2, 4, 1);
	shop_assert_tokens(h, 1, 2, 5);
	worker_core_telemetry(h->core, &t);
	assert_int_equal(t.evictions, 1);
}

static void a_session_that_is_not_idle_or_has_a_job_out_stays(void **state)
{
	struct shop *h = *state;
	struct msg m = shop_msg_open(3, 1);

	shop_open_two(h);
	h->now_us += SHOP_EVICT_US - 1;
	shop_publish_open(h, &m);
	shop_assert_error(h, 3, 0, ERR_BUSY);
	shop_send_rows(h, 1, 1, 0, 4); /* not idle any more */
	h->hold = true;
	shop_send_rows(h, 2, 2, 4, 1); /* and this one has a job out */
	h->now_us += SHOP_EVICT_US - 1;
	shop_send_rows(h, 1, 1, 0, 4);
	h->now_us += 10;
	shop_publish_open(h, &m);
	shop_assert_error(h, 3, 0, ERR_BUSY);
	h->hold = false;
	shop_settle(h);
	assert_int_equal(worker_core_sessions(h->core), 2);
}

static void idle_sessions_give_memory_to_a_new_one_if_that_is_enough(void **state)
{
	struct shop *h = *state;
	struct msg m = shop_msg_open(3, 1);

	h->kv_budget = TOY_CONTEXT;
	shop_open_session(h, 1);
	shop_publish_open(h, &m);
	shop_assert_error(h, 3, 0, ERR_BUSY);
	h->now_us += SHOP_EVICT_US;
	h->kv_budget = TOY_CONTEXT - 1; /* nobody would be helped */
	shop_publish_open(h, &m);
	shop_assert_error(h, 3, 0, ERR_BUSY);
	shop_send_rows(h, 1, 1, 0, 4);
	shop_assert_tokens(h, 1, 1, 4);
	h->kv_budget = TOY_CONTEXT;
	h->now_us += SHOP_EVICT_US;
	shop_open_session(h, 3);
	assert_int_equal(h->kv_tokens, TOY_CONTEXT);
	assert_int_equal(worker_core_sessions(h->core), 1);
}

/* Until no job that may run them is out. */
static void layers_are_needed_from_the_lowest_split_on(void **state)
{
	struct wire_hdr hdr = shop_hdr(1, 1, 0, 2);
	struct shop *h = *state;

	assert_int_equal(worker_core_lowest(h->core), TOY_LAYERS);
	shop_open_session(h, 1);
	assert_int_equal(worker_core_lowest(h->core), 1);
	shop_send_frame(h, 1, &hdr);
	h->hold = true;
	hdr = shop_hdr(1, 2, 2, 1);
	hdr.split = 2;
	shop_send_frame(h, 1, &hdr);
	assert_int_equal(worker_core_lowest(h->core), 1);
	h->hold = false;
	shop_settle(h);
	assert_int_equal(worker_core_lowest(h->core), 2);
	h->hold = true;
	hdr = shop_hdr(1, 1u << 16, 0, 1);
	hdr.split = 0;
	hdr.flags = WIRE_FILL;
	shop_send_frame(h, 1, &hdr);
	assert_int_equal(h->n_jobs, 1);
	assert_int_equal(worker_core_lowest(h->core), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, shop_open, shop_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_full_worker_is_busy_until_a_session_closes),
		TEST(a_draining_worker_takes_no_new_session),
		TEST(an_open_that_does_not_fit_is_refused_with_its_code),
		TEST(no_memory_for_a_session_is_busy),
		TEST(a_full_compute_queue_is_busy),
		TEST(a_new_split_gets_a_new_cache),
		TEST(layers_are_needed_from_the_lowest_split_on),
		TEST(a_place_is_kept_until_the_last_job_is_back),
		TEST(an_idle_session_is_given_up),
		TEST(the_session_that_is_idle_longest_makes_room),
		TEST(a_session_that_is_not_idle_or_has_a_job_out_stays),
		TEST(idle_sessions_give_memory_to_a_new_one_if_that_is_enough),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
