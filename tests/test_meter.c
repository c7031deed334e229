#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "agent/meter.h"

#define SECOND_US 1000000ull

/* A link to be found out: ms, kbit/s. */
struct way {
	double base_ms, jitter_ms, up_kbit_s, down_kbit_s;
	uint64_t seed;
};

static double uniform(struct way *w)
{
	w->seed = w->seed * 6364136223846793005ull + 1442695040888963407ull;
	return (double)(w->seed >> 11) * 0x1p-53;
}

static double trip_ms(struct way *w, double up, double down)
{
	return w->base_ms + w->jitter_ms * uniform(w) + up * 8 / w->up_kbit_s +
	       down * 8 / w->down_kbit_s;
}

/* n trips of about that size, one in `bad` held up by 400 ms (0: none). */
static void travel(struct meter *m, struct way *w, uint64_t *now_us, unsigned n, double bytes,
		   unsigned bad)
{
	for (unsigned i = 0; i < n; i++) {
		const double up = bytes * (0.9 + 0.2 * uniform(w)), down = 180 + 10 * uniform(w);
		double ms = trip_ms(w, up, down);

		if (bad && i % bad == bad - 1)
			ms += 400;
		*now_us += SECOND_US / 10;
		meter_trip(m, &(struct meter_trip){ *now_us, (float)up, (float)down, (float)ms });
	}
}

static void probe(struct meter *m, struct way *w, uint64_t *now_us, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		static const float sizes[] = { 64, 4096 };

		for (unsigned k = 0; k < 2; k++) {
			*now_us += SECOND_US;
			meter_probe(m,
				    &(struct meter_trip){ *now_us, sizes[k], sizes[k],
							  (float)trip_ms(w, sizes[k], sizes[k]) });
		}
	}
}

static void assert_near(double got, double want, double share, const char *what)
{
	if (fabs(got - want) > share * want)
		fail_msg("%s is %g, not %g", what, got, want);
}

static void nothing_is_known_of_a_link_that_was_not_used(void **state)
{
	struct meter m = { 0 };
	struct msg_link l = { .samples = 7 };
	struct msg_speed s = { .head_ms = 7 };
	double rtt = 7, high = 7;

	(void)state;
	meter_link(&m, SECOND_US, &l);
	meter_speed(&m, 0, &s);
	meter_broker(&m, &rtt, &high);
	assert_int_equal(l.samples, 0);
	assert_true(l.rtt_ms == 0 && l.up_kbit_s == 0 && rtt == 0 && high == 0);
	assert_true(s.head_ms == 0 && s.layer_token_ms == 0 && s.embed_ms == 0 && s.local_ms == 0);
}

static void base_and_rates_are_found_in_spite_of_jitter_and_stragglers(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 50; seed++) {
		struct way w = { 40, 4, 1000, 500, seed };
		struct meter m = { 0 };
		uint64_t now_us = SECOND_US;
		struct msg_link l;

		probe(&m, &w, &now_us, 3);
		for (unsigned k = 0; k < 4; k++) {
			travel(&m, &w, &now_us, 1, 3000 + 1500 * k, 0);
			travel(&m, &w, &now_us, 40, 140, 9);
		}
		meter_link(&m, now_us, &l);
		assert_near(l.rtt_ms, 42, 0.03, "rtt_ms");
		assert_near(l.up_kbit_s, 1000, 0.1, "up_kbit_s");
		assert_near(l.down_kbit_s, 500, 0.2, "down_kbit_s");
		assert_true(l.rtt_high_ms >= 44 && l.rtt_high_ms < 450);
		assert_true(l.up_low_kbit_s <= l.up_kbit_s && l.up_low_kbit_s > 800);
		assert_true(l.samples > 30);
	}
}

static void a_straggling_prompt_does_not_spoil_the_rate(void **state)
{
	struct way w = { 40, 2, 1000, 1000, 7 };
	struct meter m = { 0 };
	uint64_t now_us = SECOND_US;
	struct msg_link l;

	(void)state;
	travel(&m, &w, &now_us, 9, 5000, 4);
	travel(&m, &w, &now_us, 30, 140, 0);
	meter_link(&m, now_us, &l);
	assert_near(l.up_kbit_s, 1000, 0.1, "up_kbit_s");
	assert_true(l.up_low_kbit_s < 500); /* but it shows in the quantile */
}

static void one_prompt_that_straggles_is_not_believed(void **state)
{
	(void)state;
	for (unsigned probed = 0; probed < 2; probed++) {
		struct way w = { 10, 0.5, 1000, 1000, 11 };
		struct meter m = { 0 };
		uint64_t now_us = SECOND_US;
		struct msg_link l;

		if (probed)
			probe(&m, &w, &now_us, 3);
		travel(&m, &w, &now_us, 1, 1500, 1); /* 400 ms late */
		travel(&m, &w, &now_us, 30, 140, 0);
		meter_link(&m, now_us, &l);
		assert_true(l.rtt_ms > 5 && l.rtt_ms < 13);
		if (probed)
			assert_true(l.up_kbit_s > 390);
		travel(&m, &w, &now_us, 4, 1500, 0);
		meter_link(&m, now_us, &l);
		assert_near(l.up_kbit_s, 1000, 0.15, "up_kbit_s");
	}
}

/* Prompts of 1,500 bytes take 4 ms longer than rows, for what the worker does. */
static void what_a_prompt_takes_besides_is_not_put_down_to_its_bytes(void **state)
{
	(void)state;
	for (unsigned probed = 0; probed < 2; probed++) {
		struct way w = { 0.4, 0.1, 1e6, 1e6, 12 }, late = { 4.4, 0.1, 1e6, 1e6, 13 };
		struct meter m = { 0 };
		uint64_t now_us = SECOND_US;
		struct msg_link l;

		if (probed)
			probe(&m, &w, &now_us, 3);
		travel(&m, &late, &now_us, 5, 1500, 0);
		travel(&m, &w, &now_us, 40, 140, 0);
		meter_link(&m, now_us, &l);
		assert_true(l.rtt_ms > 0.02 && l.rtt_ms < 0.5);
		assert_near(l.rtt_ms + 140 * 8 / l.up_kbit_s, 0.45, 0.1, "a row's trip");
		if (probed)
			assert_near(l.rtt_ms, 0.45, 0.1, "rtt_ms");
	}
}

static void trips_of_one_size_tell_no_rate(void **state)
{
	struct way w = { 20, 1, 1000, 1000, 3 };
	struct meter m = { 0 };
	uint64_t now_us = SECOND_US;
	struct msg_link l;

	(void)state;
	travel(&m, &w, &now_us, 50, 140, 0);
	meter_link(&m, now_us, &l);
	assert_true(l.up_kbit_s == 0 && l.down_kbit_s == 0);
	assert_near(l.rtt_ms, 20.5 + (140 + 185) * 8 / 1000.0, 0.03, "rtt_ms"); /* bytes included */
}

/* Rows of two splits: twice the bytes, and a wake-up that took longer, are no slow link. */
static void a_few_bytes_more_tell_no_rate(void **state)
{
	struct meter m = { 0 };
	struct msg_link l;

	(void)state;
	for (unsigned i = 0; i < 40; i++) {
		struct meter_trip t = { .at_us = SECOND_US + i,
					.up_bytes = i % 2 ? 110 : 55,
					.down_bytes = 140,
					.ms = i % 2 ? 0.33f : 0.24f };

		meter_trip(&m, &t);
	}
	meter_link(&m, 2 * SECOND_US, &l);
	assert_true(l.up_kbit_s == 0);
	assert_near(l.rtt_ms, 0.285, 0.01, "rtt_ms");
}

static void a_rate_beyond_measure_has_a_bound(void **state)
{
	struct way w = { 0.3, 0.05, 1e9, 1e9, 5 };
	struct meter m = { 0 };
	uint64_t now_us = SECOND_US;
	struct msg_link l;

	(void)state;
	travel(&m, &w, &now_us, 30, 140, 0);
	travel(&m, &w, &now_us, 5, 5000, 0);
	probe(&m, &w, &now_us, 3);
	meter_link(&m, now_us, &l);
	assert_true(l.up_kbit_s > 1e5 && l.up_kbit_s <= 1e6 && l.down_kbit_s <= 1e6);
	assert_near(l.rtt_ms, 0.325, 0.1, "rtt_ms");
}

static void what_the_link_was_long_ago_does_not_count(void **state)
{
	struct way old = { 300, 2, 100, 100, 1 }, now = { 30, 2, 2000, 2000, 2 };
	struct meter m = { 0 };
	uint64_t now_us = SECOND_US;
	struct msg_link l;

	(void)state;
	travel(&m, &old, &now_us, 30, 140, 0);
	travel(&m, &old, &now_us, 30, 6000, 0);
	now_us += METER_STALE_US;
	travel(&m, &now, &now_us, 6, 140, 0);
	travel(&m, &now, &now_us, 6, 6000, 0);
	meter_link(&m, now_us + 5 * SECOND_US, &l);
	assert_near(l.rtt_ms, 31.7, 0.05, "rtt_ms");
	assert_near(l.up_kbit_s, 2000, 0.1, "up_kbit_s");
	assert_int_equal(l.samples, 12);
	assert_near(l.idle_ms, 5000, 0.01, "idle_ms");
}

/* What the link's figures say a trip takes. */
static double said_ms(struct meter *m, uint64_t now_us, double up, double down)
{
	struct msg_link l;

	meter_link(m, now_us, &l);
	return l.rtt_ms + 8 * (up / l.up_kbit_s + down / l.down_kbit_s);
}

static void a_burst_of_trips_is_one_moment(void **state)
{
	struct way w = { .base_ms = 1, .up_kbit_s = 1e6, .down_kbit_s = 1e6 };
	struct meter m = { 0 };
	struct msg_link l;
	uint64_t now_us = 0;

	(void)state;
	travel(&m, &w, &now_us, METER_TRIPS, 60, 0);
	for (unsigned i = 0; i < 2 * METER_TRIPS; i++) {
		now_us += 1000;
		meter_trip(&m, &(struct meter_trip){ now_us, 60, 180, 1.9F });
	}
	meter_link(&m, now_us, &l);
	assert_near(l.rtt_ms, 1, 0.05, "rtt_ms");
}

/* Sessions of 25 ms; threads have to wake up for the first trip of each. */
static void trips_of_a_session_count_as_its_first_one_does(void **state)
{
	struct meter m = { 0 };
	struct msg_link l;
	uint64_t now_us = SECOND_US;

	(void)state;
	for (unsigned session = 0; session < 200; session++) {
		for (unsigned i = 0; i < 50; i++) {
			now_us += 500;
			meter_trip(&m, &(struct meter_trip){ now_us, 60, 180, i ? 0.2F : 0.4F });
		}
		now_us += SECOND_US / 10;
	}
	meter_link(&m, now_us, &l);
	assert_near(l.rtt_ms, 0.204, 0.02, "rtt_ms");
}

static void a_link_that_gets_slow_is_known_after_a_few_trips(void **state)
{
	struct way fast = { 5, 1, 10000, 10000, 1 }, slow = { 5, 1, 250, 250, 2 };
	static struct meter m;
	uint64_t now_us = SECOND_US;

	(void)state;
	m = (struct meter){ 0 };
	probe(&m, &fast, &now_us, 3);
	for (unsigned i = 0; i < 4; i++) {
		travel(&m, &fast, &now_us, 2, 800, 0);
		travel(&m, &fast, &now_us, 60, 100, 0);
		assert_near(said_ms(&m, now_us, 100, 185), trip_ms(&fast, 100, 185), 0.2, "fast");
	}
	travel(&m, &slow, &now_us, 8, 100, 0);
	assert_near(said_ms(&m, now_us, 100, 185), trip_ms(&slow, 100, 185), 0.2, "slow");
	travel(&m, &slow, &now_us, 2, 800, 0);
	travel(&m, &slow, &now_us, 60, 100, 0);
	assert_near(said_ms(&m, now_us, 100, 185), trip_ms(&slow, 100, 185), 0.2, "later");
	probe(&m, &fast, &now_us, 3); /* no session crosses it any more */
	assert_true(said_ms(&m, now_us, 100, 185) < 1.5 * trip_ms(&fast, 100, 185));
}

/* Rows of 600 bytes take twice as long at 1 Mbit/s as at 10: with the base less than a factor of
 * two, and what prompts took before must not keep the rate up. */
static void a_link_that_gets_somewhat_slow_is_known_with_a_probe_or_two(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 50; seed++) {
		struct way fast = { 4, 1, 10000, 10000, seed }, slow = { 4, 1, 1000, 1000, seed };
		static struct meter m;
		uint64_t now_us = SECOND_US;
		struct msg_link l;

		m = (struct meter){ 0 };
		probe(&m, &fast, &now_us, 3);
		for (unsigned i = 0; i < 6; i++) {
			travel(&m, &fast, &now_us, 1, 3000, 0);
			travel(&m, &fast, &now_us, 40, 600, 0);
			meter_link(&m, now_us, &l);
		}
		assert_int_equal(m.changes, 0);
		travel(&m, &slow, &now_us, 10, 600, 0);
		meter_link(&m, now_us, &l); /* telemetry in between must not make it the rule */
		travel(&m, &slow, &now_us, 10, 600, 0);
		assert_true(m.unsure && m.changes == 1);
		probe(&m, &slow, &now_us, 2);
		meter_link(&m, now_us, &l);
		assert_false(m.unsure);
		assert_near(l.up_kbit_s, 1000, 0.2, "up_kbit_s");
		assert_near(said_ms(&m, now_us, 600, 185), trip_ms(&slow, 600, 185), 0.15, "slow");
		assert_near(said_ms(&m, now_us, 100, 185), trip_ms(&slow, 100, 185), 0.25, "small");
	}
}

/* Probes that queue behind rows make a byte too dear: nothing is left of the trips for the base. It
 * is known nevertheless, and that the link changes again is seen. */
static void a_rate_that_leaves_nothing_of_a_trip_is_no_unknown_link(void **state)
{
	struct way fast = { 4, 0, 10000, 10000, 1 }, slow = { 4, 0, 250, 250, 2 };
	static struct meter m;
	uint64_t now_us = SECOND_US;
	struct msg_link l;

	(void)state;
	m = (struct meter){ 0 };
	probe(&m, &fast, &now_us, 3);
	travel(&m, &fast, &now_us, 60, 1100, 0);
	meter_link(&m, now_us, &l);
	travel(&m, &slow, &now_us, 20, 1100, 0);
	assert_int_equal(m.changes, 1);
	for (unsigned i = 0; i < 2; i++, now_us += SECOND_US) {
		meter_probe(&m, &(struct meter_trip){ now_us, 64, 64, 8 });
		meter_probe(&m, &(struct meter_trip){ now_us, 1024, 1024, 90 });
	}
	meter_link(&m, now_us, &l);
	assert_true(l.rtt_ms > 0 && l.rtt_ms < 1 && l.rtt_high_ms >= l.rtt_ms);
	assert_near(l.up_kbit_s, 250, 0.4, "up_kbit_s");
	probe(&m, &fast, &now_us, 2);
	assert_int_equal(m.changes, 2);
}

/* Probes take both ways for alike: rows over a link that is slow one way are no change. */
static void the_first_rows_are_no_change(void **state)
{
	struct way w = { 40, 0.1, 1000, 50000, 1 };
	static struct meter m;
	uint64_t now_us = SECOND_US;
	struct msg_link l;

	(void)state;
	m = (struct meter){ 0 };
	probe(&m, &w, &now_us, 3);
	meter_link(&m, now_us, &l);
	for (unsigned i = 0; i < 200; i++) {
		travel(&m, &w, &now_us, 1, 4060, 0);
		if (i % 100 == 99)
			meter_link(&m, now_us, &l);
	}
	assert_int_equal(m.changes, 0);
}

/* Waits that are long by chance change nothing. */
static void jitter_is_no_change(void **state)
{
	static struct meter m;
	uint64_t now_us = SECOND_US;
	struct way w = { 5, 0, 1000, 1000, 1 };
	struct msg_link l;

	(void)state;
	m = (struct meter){ 0 };
	probe(&m, &w, &now_us, 3);
	for (unsigned i = 0; i < 20000; i++) {
		w.jitter_ms = uniform(&w) < 0.05 ? 80 : -log(1 - uniform(&w)) * 8;
		travel(&m, &w, &now_us, 1, i % 64 ? 120 : 2000, 0);
		if (i % 50 == 49)
			meter_link(&m, now_us, &l);
	}
	assert_int_equal(m.changes, 0);
}

static void probes_alone_speak_of_the_broker(void **state)
{
	struct way w = { 10, 0.5, 1000, 1000, 9 };
	struct meter m = { 0 };
	uint64_t now_us = SECOND_US;
	double rtt, high;
	struct msg_link l;

	(void)state;
	probe(&m, &w, &now_us, 5);
	meter_broker(&m, &rtt, &high);
	assert_near(rtt, 10.25, 0.05, "broker_rtt_ms");
	assert_true(high >= rtt && high < 12);
	meter_link(&m, now_us, &l); /* until the worker answers, that is the best guess */
	assert_near(l.rtt_ms, 10.25, 0.05, "rtt_ms");
	assert_near(l.up_kbit_s, 1000, 0.1, "up_kbit_s");
	assert_near(l.down_kbit_s, 1000, 0.1, "down_kbit_s");
}

static void a_chunk_behind_another_one_is_not_worth_measuring(void **state)
{
	struct meter m = { 0 };

	(void)state;
	assert_true(meter_sent(&m, 8000, SECOND_US));
	assert_false(meter_sent(&m, 8000, SECOND_US + 20000)); /* a second at 64 kbit/s */
	assert_false(meter_sent(&m, 100, SECOND_US + 40000));
	meter_answered(&m, 2, SECOND_US + 60000); /* not the last one */
	assert_false(meter_sent(&m, 100, SECOND_US + 80000));
	meter_answered(&m, 4, SECOND_US + 100000);
	assert_true(meter_sent(&m, 100, SECOND_US + 100000));
	assert_true(meter_sent(&m, 100, 5 * SECOND_US));
	m.up_ms = 0.008; /* 1 Mbit/s */
	assert_true(meter_sent(&m, 1000, 6 * SECOND_US));
	assert_false(meter_sent(&m, 1000, 6 * SECOND_US + 7000));
	assert_true(meter_sent(&m, 1000, 6 * SECOND_US + 17000));
}

static void a_beginning_is_what_it_takes_beside_its_trip(void **state)
{
	struct meter m = { 0 };
	struct msg_link l;

	(void)state;
	meter_begin(&m, false, 700);
	meter_begin(&m, false, 900);
	assert_near(meter_begin_ms(&m), 0.8, 1e-6, "begin_ms");
	meter_begin(&m, true, 300);
	assert_near(meter_begin_ms(&m), 0.3, 1e-6, "begin_ms");
	meter_open(&m, 5000); /* no trip is known: nothing to learn */
	meter_trip(&m, &(struct meter_trip){ .at_us = 1, .up_bytes = 100, .ms = 20 });
	meter_link(&m, 1, &l);
	assert_true(l.open_ms == 0);
	m.expected.up_ms = m.up_ms = 0.008;
	meter_open(&m, 20000 + 8 * MSG_OPEN_BYTES + 3000);
	meter_open(&m, 1000); /* sooner than a trip: a beginning that takes nothing */
	meter_open(&m, 20000 + 8 * MSG_OPEN_BYTES + 2000);
	meter_link(&m, 1, &l);
	assert_near(l.open_ms, 2, 0.3, "open_ms");
}

static void speeds_are_told_by_each_job_that_can_tell(void **state)
{
	struct meter m = { 0 };
	struct msg_speed s, other = { 0 };

	(void)state;
	for (uint32_t i = 0; i < 9; i++) {
		meter_job(&m, &(struct meter_job){ .layers = 4,
						   .rows = 1,
						   .encoded = true,
						   .layers_us = i == 4 ? 90000 : 396 + i,
						   .encode_us = 20 + i });
		meter_beside(&m, 0, false, i == 7 ? -5.0 : 100.0 + i);
		meter_beside(&m, 0, true, 50.0 + i);
	}
	meter_job(&m, &(struct meter_job){
			      .layers = 4, .rows = 64, .encoded = true, .layers_us = 6400 });
	meter_job(&m, &(struct meter_job){ .layers = 4, .rows = 64, .layers_us = 6400 });
	meter_job(&m, &(struct meter_job){ .layers = 4, .rows = 64, .layers_us = 8000 });
	meter_job(&m, &(struct meter_job){ .layers = 4, .rows = 64, .layers_us = 9000 });
	meter_job(&m, &(struct meter_job){ .layers = 4, .rows = 64, .layers_us = 6400 });
	meter_job(&m, &(struct meter_job){ .layers = 4, .rows = 7, .layers_us = 90000 });
	meter_job(&m, &(struct meter_job){ .layers = 8,
					   .rows = 1,
					   .sampled = true,
					   .local = true,
					   .layers_us = 500,
					   .head_us = 1500 });
	meter_job(&m,
		  &(struct meter_job){ .front = 1, .rows = 1, .encoded = true, .encode_us = 7 });
	meter_speed(&m, 0, &s);
	assert_near(s.layer_token_ms, 0.1, 0.02, "layer_token_ms");
	assert_near(s.layer_row_ms, 0.025, 1e-6, "layer_row_ms");
	assert_near(s.encode_ms, 0.024, 1e-6, "encode_ms");
	assert_near(s.head_ms, 1.5, 1e-6, "head_ms");
	assert_near(s.embed_ms, 0.103, 0.01, "embed_ms");
	assert_near(s.local_ms, 0.054, 0.01, "local_ms");
	assert_near(s.local_layer_ms, 0.0625, 1e-6, "local_layer_ms");
	meter_speed(&m, 1, &other);
	assert_true(other.layer_token_ms == 0); /* no layers: nothing to tell */
	assert_near(other.encode_ms, 0.007, 1e-6, "encode_ms");
}

/* Without a worker; each part has a tail of its own, and once the machine stands still. */
static void parts_of_a_token_add_up_to_its_mean(void **state)
{
	struct way w = { .seed = 5 };
	struct meter m = { 0 };
	struct msg_speed s;
	double sum = 0;

	(void)state;
	for (uint32_t i = 0; i < 256; i++) {
		const double layers = 260 - 20 * log(1 - uniform(&w));
		const double head = 13 - 5 * log(1 - uniform(&w));
		const double beside = 5 - 10 * log(1 - uniform(&w));

		meter_job(&m,
			  &(struct meter_job){ .layers = 8,
					       .rows = 1,
					       .pos = 40 + i % 32,
					       .sampled = true,
					       .local = true,
					       .layers_us = (uint32_t)(i == 200 ? 28000 : layers),
					       .head_us = (uint32_t)head });
		meter_beside(&m, 0, true, beside);
		sum += (uint32_t)layers + (uint32_t)head + beside;
	}
	meter_speed(&m, 0, &s);
	assert_near(s.local_ms + 8 * s.local_layer_ms + s.head_ms, sum / 256 / 1000, 0.015,
		    "token");
}

/* A session's tokens [from, to) on a machine that is so slow: a layer takes (200 + pos / 4) us, the
 * head 600; without a worker layers take 3/4. */
static void tokens(struct meter *m, bool local, uint32_t from, uint32_t to, double slow)
{
	for (uint32_t pos = from; pos < to; pos++) {
		const double us = slow * (200 + pos / 4.0) * (local ? 0.75 : 1);

		meter_job(m, &(struct meter_job){ .layers = 4,
						  .rows = 1,
						  .pos = pos,
						  .sampled = local,
						  .local = local,
						  .layers_us = (uint32_t)(4 * us + 0.5),
						  .head_us = (uint32_t)(600 * slow) });
	}
}

/* What is not measured now follows what is. */
static void figures_of_sessions_that_do_not_run_follow_the_machines_pace(void **state)
{
	struct meter m = { 0 };
	struct msg_speed s;

	(void)state;
	tokens(&m, true, 0, 256, 1);
	tokens(&m, false, 0, 256, 1);
	meter_speed(&m, 0, &s); /* DRIFT_ROWS early, as many late */
	assert_near(s.layer_token_ms, 0.232, 0.02, "layer_token_ms");
	assert_near(s.local_layer_ms, 0.174, 0.05, "local_layer_ms");
	assert_near(s.head_ms, 0.6, 0.05, "head_ms");
	tokens(&m, false, 0, 256, 1.4);
	meter_speed(&m, 0, &s);
	assert_near(s.layer_token_ms, 1.4 * 0.232, 0.02, "layer_token_ms");
	assert_near(s.local_layer_ms, 1.4 * 0.174, 0.08, "local_layer_ms");
	assert_near(s.head_ms, 1.4 * 0.6, 0.08, "head_ms");
	tokens(&m, true, 0, 128, 1.4); /* too few to tell a pace; those before were slow as well */
	meter_speed(&m, 0, &s);
	assert_near(s.layer_token_ms, 1.4 * 0.232, 0.02, "layer_token_ms");
	assert_near(s.local_layer_ms, 1.4 * 0.174, 0.1, "local_layer_ms");
	tokens(&m, true, 0, 256, 1); /* fast again, for both */
	meter_speed(&m, 0, &s);
	assert_near(s.layer_token_ms, 0.232, 0.05, "layer_token_ms");
	assert_near(s.local_layer_ms, 0.174, 0.05, "local_layer_ms");
}

static void positions_of_jobs_tell_what_a_position_takes(void **state)
{
	struct meter m = { 0 };
	struct meter_job early = { .layers = 4, .rows = 16, .layers_us = 4 * 16 * 50, .pos = 0 },
			 late = { .layers = 4, .rows = 16, .layers_us = 4 * 16 * 60, .pos = 200 };
	struct msg_speed s;

	(void)state;
	for (uint32_t i = 0; i < 400; i++)
		meter_job(&m, &(struct meter_job){
				      .layers = 4, .rows = 1, .pos = i, .layers_us = 400 + i });
	meter_job(&m, &(struct meter_job){
			      .layers = 4, .rows = 1, .pos = 7, .local = true, .layers_us = 400 });
	meter_job(&m, &early);
	meter_speed(&m, 0, &s);
	assert_near(s.deeper_row_ms, 0.25, 0.01, "deeper_row_ms"); /* as decode rows do */
	meter_deeper(&m, &early, &late);
	meter_speed(&m, 0, &s);
	assert_near(s.layer_token_at, 271.5, 0.01, "layer_token_at");
	assert_near(s.layer_token_ms, 0.1 + 271.5 / 4000, 0.01, "layer_token_ms");
	assert_near(s.deeper_token_ms, 0.25, 0.01, "deeper_token_ms");
	assert_near(s.local_layer_at, 7, 1e-6, "local_layer_at");
	assert_near(s.layer_row_at, 8, 1e-6, "layer_row_at");
	assert_near(s.deeper_row_ms, 0.05, 0.01, "deeper_row_ms");
}

/* Sessions so short that none tells a slope; the machine is slow. */
static void before_positions_told_what_they_take_the_models_shape_does(void **state)
{
	struct meter m = { 0 };
	struct msg_speed s;

	(void)state;
	meter_shape(&m, 0.001 / DEPTH_DEAR);
	for (uint32_t i = 0; i < 400; i++)
		meter_job(&m,
			  &(struct meter_job){ .layers = 4,
					       .rows = 1,
					       .pos = 30 + i % 40,
					       .layers_us = i % 50 ? 800 : 20000 }); /* stalls */
	meter_speed(&m, 0, &s);
	assert_near(s.layer_token_at, 50, 0.05, "layer_token_at");
	assert_near(s.layer_token_ms, 0.2, 1e-6, "layer_token_ms");
	assert_near(s.deeper_token_ms, 0.2 / 1.05, 0.01, "deeper_token_ms");
	assert_near(s.deeper_row_ms, 0.2 / 1.05, 0.01, "deeper_row_ms");
}

static void rings_go_on_for_ever(void **state)
{
	struct way w = { 20, 1, 1000, 1000, 3 };
	struct meter m = { 0 };
	uint64_t now_us = SECOND_US;
	struct msg_speed s;
	struct msg_link l;

	(void)state;
	for (uint32_t i = 0; i < 100000; i++)
		meter_job(&m, &(struct meter_job){ .layers = 1,
						   .rows = 1,
						   .layers_us = i < 99700 ? 9000 : 500 });
	travel(&m, &w, &now_us, 5000, 140, 0);
	meter_speed(&m, 0, &s);
	assert_near(s.layer_token_ms, 0.5, 1e-6, "layer_token_ms");
	meter_link(&m, now_us, &l);
	assert_int_equal(l.samples, 2 * METER_TRIPS); /* two magnitudes: 126..154 bytes */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_known_of_a_link_that_was_not_used),
		cmocka_unit_test(base_and_rates_are_found_in_spite_of_jitter_and_stragglers),
		cmocka_unit_test(a_straggling_prompt_does_not_spoil_the_rate),
		cmocka_unit_test(one_prompt_that_straggles_is_not_believed),
		cmocka_unit_test(what_a_prompt_takes_besides_is_not_put_down_to_its_bytes),
		cmocka_unit_test(trips_of_one_size_tell_no_rate),
		cmocka_unit_test(a_few_bytes_more_tell_no_rate),
		cmocka_unit_test(a_rate_beyond_measure_has_a_bound),
		cmocka_unit_test(what_the_link_was_long_ago_does_not_count),
		cmocka_unit_test(a_burst_of_trips_is_one_moment),
		cmocka_unit_test(trips_of_a_session_count_as_its_first_one_does),
		cmocka_unit_test(a_link_that_gets_slow_is_known_after_a_few_trips),
		cmocka_unit_test(a_link_that_gets_somewhat_slow_is_known_with_a_probe_or_two),
		cmocka_unit_test(a_rate_that_leaves_nothing_of_a_trip_is_no_unknown_link),
		cmocka_unit_test(the_first_rows_are_no_change),
		cmocka_unit_test(jitter_is_no_change),
		cmocka_unit_test(probes_alone_speak_of_the_broker),
		cmocka_unit_test(a_chunk_behind_another_one_is_not_worth_measuring),
		cmocka_unit_test(a_beginning_is_what_it_takes_beside_its_trip),
		cmocka_unit_test(speeds_are_told_by_each_job_that_can_tell),
		cmocka_unit_test(parts_of_a_token_add_up_to_its_mean),
		cmocka_unit_test(figures_of_sessions_that_do_not_run_follow_the_machines_pace),
		cmocka_unit_test(positions_of_jobs_tell_what_a_position_takes),
		cmocka_unit_test(before_positions_told_what_they_take_the_models_shape_does),
		cmocka_unit_test(rings_go_on_for_ever),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
