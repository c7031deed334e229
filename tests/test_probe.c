#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "agent/probe.h"
#include "agent/report.h"

#define SECOND_US 1000000ull

static struct probe begin(void)
{
	return (struct probe){ .every_us = 10 * SECOND_US, .id = 77 };
}

/* The probe that is due comes back after us. */
static uint32_t answer(struct probe *p, uint64_t *now_us, uint64_t us, struct meter_trip *t)
{
	uint8_t bytes[PROBE_LONG];
	const uint32_t len = probe_next(p, PROBE_IDLE, *now_us);

	if (!len)
		return 0;
	probe_put(p, bytes, len);
	*now_us += us;
	assert_true(probe_take(p, bytes, len, *now_us, t));
	assert_true(t->up_bytes == (float)len && t->down_bytes == (float)len);
	return len;
}

static void three_rounds_come_first_one_probe_at_a_time(void **state)
{
	struct probe p = begin();
	uint64_t now_us = SECOND_US;
	struct meter_trip t;

	(void)state;
	for (unsigned i = 0; i < PROBE_ROUNDS; i++) {
		assert_int_equal(answer(&p, &now_us, 40000, &t), PROBE_SHORT);
		assert_true(t.ms == 40);
		assert_int_equal(answer(&p, &now_us, 90000, &t), PROBE_LONG);
		assert_true(t.ms == 90 && t.at_us == now_us);
	}
	assert_int_equal(probe_next(&p, PROBE_IDLE, now_us), 0);
}

/* 250 kbit/s, and then 10 Mbit/s. */
static void long_probes_are_not_so_long_where_the_link_is_slow(void **state)
{
	struct probe p = begin();
	uint64_t now_us = SECOND_US;
	struct meter_trip t;

	(void)state;
	assert_int_equal(answer(&p, &now_us, 60000, &t), PROBE_SHORT);
	assert_int_equal(answer(&p, &now_us, 318000, &t), PROBE_LONG);
	assert_int_equal(answer(&p, &now_us, 60000, &t), PROBE_SHORT);
	assert_int_equal(answer(&p, &now_us, 121000, &t), PROBE_LONG_BESIDE);
	assert_int_equal(answer(&p, &now_us, 60000, &t), PROBE_SHORT);
	assert_int_equal(answer(&p, &now_us, 61500, &t), PROBE_LONG_BESIDE);
	now_us += 20 * SECOND_US;
	assert_int_equal(answer(&p, &now_us, 60000, &t), PROBE_SHORT);
	assert_int_equal(answer(&p, &now_us, 66000, &t), PROBE_LONG);
}

static void rounds_come_later_and_later_while_nothing_happens(void **state)
{
	struct probe p = begin();
	uint64_t now_us = SECOND_US, last_us;
	struct meter_trip t;
	unsigned day = 0;

	(void)state;
	while (answer(&p, &now_us, 1000, &t))
		;
	last_us = now_us;
	while (!answer(&p, &now_us, 0, &t))
		now_us += SECOND_US;
	assert_in_range(now_us - last_us, 9 * SECOND_US, 11 * SECOND_US);
	for (uint64_t end = now_us + 86400 * SECOND_US; now_us < end; now_us += SECOND_US)
		day += answer(&p, &now_us, 0, &t);
	assert_in_range(2 * day, 500000, 2000000); /* bytes, both ways */
}

static void sessions_make_probes_wait(void **state)
{
	struct probe p = begin();
	uint64_t now_us = SECOND_US;
	struct meter_trip t;
	uint8_t bytes[PROBE_SHORT];

	(void)state;
	assert_int_equal(probe_next(&p, PROBE_IDLE, now_us), PROBE_SHORT);
	probe_put(&p, bytes, sizeof(bytes));
	assert_int_equal(probe_next(&p, PROBE_BUSY, now_us + 1), 0);
	assert_false(
		probe_take(&p, bytes, sizeof(bytes), now_us + 2, &t)); /* among other traffic */
	assert_int_equal(probe_next(&p, PROBE_IDLE, now_us + 9 * SECOND_US), 0);
	assert_int_equal(probe_next(&p, PROBE_IDLE, now_us + 11 * SECOND_US), PROBE_SHORT);
}

static void sessions_that_stay_here_leave_the_link_to_be_probed(void **state)
{
	struct probe p = begin();
	uint64_t now_us = SECOND_US, last_us = 0;
	struct meter_trip t;
	uint8_t bytes[PROBE_LONG];
	unsigned n = 0;

	(void)state;
	for (uint64_t end = now_us + 86400 * SECOND_US; now_us < end; now_us += SECOND_US)
		answer(&p, &now_us, 0, &t); /* a day of idleness */
	for (uint64_t end = now_us + 200 * SECOND_US; now_us < end; now_us += SECOND_US) {
		uint32_t len = probe_next(&p, PROBE_LOCAL, now_us);

		if (!len)
			continue;
		probe_put(&p, bytes, len);
		assert_true(probe_take(&p, bytes, len, now_us, &t));
		assert_true(!last_us || now_us - last_us <= 11 * SECOND_US);
		last_us = now_us;
		n++;
	}
	assert_in_range(n, 34, 44); /* two each ten seconds */
}

/* Two rounds, then none before every_us, however long it stays so; a known rate ends a round. */
static void a_link_that_changed_under_sessions_is_probed_once(void **state)
{
	struct probe p = begin();
	uint64_t now_us = SECOND_US, end;
	struct meter_trip t;
	uint8_t bytes[PROBE_LONG];
	unsigned n = 0, total = 0;

	(void)state;
	assert_int_equal(probe_next(&p, PROBE_BUSY, now_us), 0);
	for (end = now_us + 35 * SECOND_US; now_us < end; now_us += SECOND_US / 10) {
		uint32_t len = probe_next(&p, PROBE_UNSURE, now_us);

		if (!len)
			continue;
		assert_int_equal(len, n % 2 ? PROBE_LONG_BESIDE : PROBE_SHORT);
		probe_put(&p, bytes, len);
		assert_true(probe_take(&p, bytes, len, now_us + 50000, &t));
		n++;
		total += len;
	}
	assert_int_equal(n, 16); /* every 10 s */
	assert_int_equal(total, 8 * (PROBE_SHORT + PROBE_LONG_BESIDE));
	now_us += 10 * SECOND_US;
	assert_int_equal(probe_next(&p, PROBE_UNSURE, now_us), PROBE_SHORT);
	assert_int_equal(probe_next(&p, PROBE_BUSY, now_us + 1), 0);
	assert_int_equal(probe_next(&p, PROBE_BUSY, now_us + 11 * SECOND_US), 0);
}

static void what_was_not_expected_is_asked_again_at_once(void **state)
{
	struct probe p = begin();
	uint64_t now_us = SECOND_US;
	struct meter_trip t;

	(void)state;
	while (answer(&p, &now_us, 1000, &t))
		;
	now_us += 10 * SECOND_US;
	assert_int_equal(answer(&p, &now_us, 1000, &t), PROBE_SHORT);
	probe_confirm(&p); /* not before the round is over */
	assert_int_equal(answer(&p, &now_us, 1000, &t), PROBE_LONG);
	assert_int_equal(answer(&p, &now_us, 1000, &t), 0);
	for (unsigned i = 0; i < PROBE_CONFIRMS; i++) {
		probe_confirm(&p);
		assert_int_equal(answer(&p, &now_us, 1000, &t), PROBE_SHORT);
		assert_int_equal(answer(&p, &now_us, 1000, &t), PROBE_LONG);
	}
	probe_confirm(&p); /* whatever comes back, the link is not flooded */
	assert_int_equal(answer(&p, &now_us, 1000, &t), 0);
	now_us += 20 * SECOND_US;
	assert_int_equal(answer(&p, &now_us, 1000, &t), PROBE_SHORT);
	assert_int_equal(answer(&p, &now_us, 1000, &t), PROBE_LONG);
	probe_confirm(&p);
	assert_int_equal(answer(&p, &now_us, 1000, &t), PROBE_SHORT);
}

static void a_probe_that_is_lost_is_not_repeated_at_once(void **state)
{
	struct probe p = begin();
	uint64_t now_us = SECOND_US;
	uint8_t bytes[PROBE_SHORT];
	struct meter_trip t;

	(void)state;
	assert_int_equal(probe_next(&p, PROBE_IDLE, now_us), PROBE_SHORT);
	probe_put(&p, bytes, sizeof(bytes));
	assert_int_equal(probe_next(&p, PROBE_IDLE, now_us + 5 * SECOND_US), 0);
	now_us += PROBE_PATIENCE_US;
	assert_int_equal(probe_next(&p, PROBE_IDLE, now_us), PROBE_SHORT); /* the next round */
	assert_false(probe_take(&p, bytes, sizeof(bytes), now_us, &t));    /* late */
	assert_int_equal(probe_next(&p, PROBE_IDLE, now_us + PROBE_PATIENCE_US), 0);
}

static void only_our_own_probe_counts(void **state)
{
	struct probe p = begin(), other = { .every_us = 1, .id = 78 };
	uint8_t bytes[PROBE_SHORT];
	struct meter_trip t;

	(void)state;
	(void)!probe_next(&p, PROBE_IDLE, SECOND_US);
	(void)!probe_next(&other, PROBE_IDLE, SECOND_US);
	probe_put(&other, bytes, sizeof(bytes));
	assert_false(probe_take(&p, bytes, sizeof(bytes), SECOND_US, &t));
	probe_put(&p, bytes, sizeof(bytes));
	assert_false(probe_take(&p, bytes, 15, SECOND_US, &t));
	assert_true(probe_take(&p, bytes, sizeof(bytes), SECOND_US, &t));
	assert_false(probe_take(&p, bytes, sizeof(bytes), SECOND_US, &t)); /* repeated */
}

static void never_is_never(void **state)
{
	struct probe p = { .id = 1 };

	(void)state;
	assert_int_equal(probe_next(&p, PROBE_IDLE, 1000000 * SECOND_US), 0);
}

static void a_costly_link_hears_only_of_changes(void **state)
{
	struct msg_telemetry a = { .sessions_done = 3,
				   .link = { .rtt_ms = 40 },
				   .n_speeds = 1,
				   .speeds = { { .layer_token_ms = 1 } } };
	struct msg_telemetry b = a;

	(void)state;
	b.uptime_ms = 60000;
	b.mem_available_bytes = 5;
	b.link.rtt_ms = 45;
	b.speeds[0].layer_token_ms = 1.2;
	assert_false(report_differs(&b, &a));
	b.link.rtt_ms = 60;
	assert_true(report_differs(&b, &a));
	b = a;
	b.sessions_done++;
	assert_true(report_differs(&b, &a));
	b = a;
	b.has = MSG_HAS_THROTTLED;
	assert_true(report_differs(&b, &a));
	b = a;
	b.speeds[0].layer_token_ms = 2;
	assert_true(report_differs(&b, &a));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(three_rounds_come_first_one_probe_at_a_time),
		cmocka_unit_test(long_probes_are_not_so_long_where_the_link_is_slow),
		cmocka_unit_test(rounds_come_later_and_later_while_nothing_happens),
		cmocka_unit_test(sessions_make_probes_wait),
		cmocka_unit_test(sessions_that_stay_here_leave_the_link_to_be_probed),
		cmocka_unit_test(a_link_that_changed_under_sessions_is_probed_once),
		cmocka_unit_test(what_was_not_expected_is_asked_again_at_once),
		cmocka_unit_test(a_probe_that_is_lost_is_not_repeated_at_once),
		cmocka_unit_test(only_our_own_probe_counts),
		cmocka_unit_test(never_is_never),
		cmocka_unit_test(a_costly_link_hears_only_of_changes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
