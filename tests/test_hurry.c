/* tests/test_hurry.c - telemetry after a change of the link (agent/hurry.h), trip by trip. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "agent/hurry.h"

#define MS 1000ull

struct world {
	struct meter meter;
	struct probe probe;
	struct hurry hurry;
	uint64_t now_us, due_us;
};

static void look(struct world *w)
{
	w->due_us = hurry_due(&w->hurry, &w->meter, &w->probe, w->due_us, w->now_us);
}

/* An answer to bytes that went up. */
static void answer(struct world *w, double ms)
{
	w->now_us += 100 * MS;
	meter_trip(&w->meter, &(struct meter_trip){ w->now_us, 100, 100, (float)ms });
}

/* A probe goes out and comes back; its bytes, 0: none is due. */
static uint32_t probe(struct world *w, enum probe_need need, uint64_t us)
{
	uint8_t bytes[PROBE_LONG];
	const uint32_t len = probe_next(&w->probe, need, w->now_us);
	struct meter_trip t;

	if (!len)
		return 0;
	probe_put(&w->probe, bytes, len);
	w->now_us += us;
	assert_true(probe_take(&w->probe, bytes, len, w->now_us, &t));
	meter_probe(&w->meter, &t);
	return len;
}

/* A link of 10 ms and 100 bytes a millisecond that is known by probes and trips. */
static void known(struct world *w)
{
	struct msg_link l;

	memset(w, 0, sizeof(*w));
	w->now_us = 1000 * MS;
	w->due_us = 60000 * MS;
	w->probe = (struct probe){ .every_us = 10000 * MS, .id = 5 };
	while (probe(w, PROBE_IDLE, 10 * MS + (w->probe.left % 2 ? 1280 : 81920)))
		;
	meter_link(&w->meter, w->now_us, &l);
	assert_true(l.up_kbit_s > 0);
	look(w);
	assert_int_equal(w->due_us, 60000 * MS);
	assert_false(hurry_calls(&w->hurry, &w->meter, &w->probe));
}

/* Trips say it: then the probes that are sent beside say what it is now. */
static void telemetry_comes_when_the_probes_are_back(void **state)
{
	struct world w;
	struct msg_link l;

	(void)state;
	known(&w);
	for (unsigned i = 0; i < 40; i++)
		answer(&w, 12);
	meter_link(&w.meter, w.now_us, &l);
	for (unsigned i = 0; !hurry_calls(&w.hurry, &w.meter, &w.probe) && i < 20; i++)
		answer(&w, 40);
	assert_true(hurry_calls(&w.hurry, &w.meter, &w.probe));
	look(&w);
	assert_int_equal(w.due_us, w.now_us + HURRY_US);
	assert_false(hurry_calls(&w.hurry, &w.meter, &w.probe));
	for (unsigned i = 0; i < 4; i++) {
		assert_false(hurry_calls(&w.hurry, &w.meter, &w.probe));
		assert_int_not_equal(probe(&w, PROBE_UNSURE, 50 * MS), 0);
	}
	assert_true(hurry_calls(&w.hurry, &w.meter, &w.probe));
	look(&w);
	assert_int_equal(w.due_us, w.now_us);
	w.due_us = 60000 * MS;
	look(&w); /* once */
	assert_int_equal(w.due_us, 60000 * MS);
}

/* Probes say it themselves. */
static void what_probes_noticed_is_told_at_once(void **state)
{
	struct world w;

	(void)state;
	known(&w);
	w.now_us += 20000 * MS;
	while (!hurry_calls(&w.hurry, &w.meter, &w.probe)) {
		assert_int_not_equal(probe(&w, PROBE_IDLE, 200 * MS), 0);
		if (w.meter.odd)
			probe_confirm(&w.probe);
	}
	look(&w);
	assert_int_equal(w.due_us, w.now_us);
}

/* The last of a round is still out: what it tells is waited for. */
static void a_probe_that_is_out_is_waited_for(void **state)
{
	struct world w;

	(void)state;
	known(&w);
	w.meter.changes++;
	w.meter.changed_us = w.now_us + 1;
	look(&w);
	w.probe.sent_us = w.now_us;
	w.meter.probes.newest_us = w.meter.changed_us;
	assert_false(hurry_calls(&w.hurry, &w.meter, &w.probe));
	w.probe.sent_us = 0;
	assert_true(hurry_calls(&w.hurry, &w.meter, &w.probe));
}

static void who_is_due_earlier_is_not_put_off(void **state)
{
	struct world w;

	(void)state;
	known(&w);
	w.meter.changes++;
	w.meter.changed_us = w.now_us + 1;
	w.due_us = w.now_us + 5;
	look(&w);
	assert_int_equal(w.due_us, w.now_us + 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(telemetry_comes_when_the_probes_are_back),
		cmocka_unit_test(what_probes_noticed_is_told_at_once),
		cmocka_unit_test(a_probe_that_is_out_is_waited_for),
		cmocka_unit_test(who_is_due_earlier_is_not_put_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
