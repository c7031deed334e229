/* tests/test_roster.c - who there is, as the coordinator knows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "coordinator/assign.h"
#include "coordinator/roster.h"
#include "tests/statuses.h"

#define OTHER_MODEL "ffeeddccbbaa99887766554433221100"

static void add_agent(struct roster *r, const char *name, enum msg_state state, uint64_t boot)
{
	struct msg_agent_status st = agent_of(name, state, boot);

	assert_int_equal(roster_agent(r, &st, false), 0);
}

static void add_worker(struct roster *r, const char *name, enum msg_state state, uint64_t boot,
		       const char *model)
{
	struct msg_worker_status st = worker_of(name, state, boot, model);

	assert_int_equal(roster_worker(r, &st, false), 0);
}

static bool decide(struct roster *r, const struct roster_wish *w, struct msg_decision *d)
{
	return roster_decide(r, roster_find_agent(r, "gw"), w, d);
}

static void ready_ones_are_counted(void **state)
{
	struct roster r = { 0 };
	char name[16];

	(void)state;
	for (unsigned i = 0; i < 40; i++) { /* more than the list begins with */
		snprintf(name, sizeof(name), "n%u", i);
		add_agent(&r, name, i % 2 ? MSG_READY : MSG_DRAINING, 1);
		add_worker(&r, name, i % 4 ? MSG_LOST : MSG_READY, 1, TOY_MODEL);
	}
	assert_int_equal(roster_ready_agents(&r), 20);
	assert_int_equal(roster_ready_workers(&r), 10);
	assert_string_equal(roster_find_agent(&r, "n39")->status.agent, "n39");
	assert_null(roster_find_agent(&r, "n40"));
	roster_finish(&r);
}

static void a_status_of_an_earlier_life_is_ignored_unless_it_lives(void **state)
{
	struct roster r = { 0 };

	(void)state;
	add_agent(&r, "gw", MSG_READY, 2);
	add_agent(&r, "gw", MSG_LOST, 1);
	add_agent(&r, "gw", MSG_OFFLINE, 1);
	add_worker(&r, "w1", MSG_READY, 2, TOY_MODEL);
	add_worker(&r, "w1", MSG_LOST, 1, TOY_MODEL);
	assert_int_equal(roster_ready_agents(&r), 1);
	assert_int_equal(roster_ready_workers(&r), 1);
	add_agent(&r, "gw", MSG_LOST, 2);
	add_worker(&r, "w1", MSG_LOST, 2, TOY_MODEL);
	assert_int_equal(roster_ready_agents(&r), 0);
	assert_int_equal(roster_ready_workers(&r), 0);
	roster_finish(&r);
}

static void the_first_decision_is_number_1_and_is_made_once(void **state)
{
	struct roster_wish w = { .has_split = true, .split = 2, .codec = "q8" };
	struct roster r = { 0 };
	struct msg_decision d;

	(void)state;
	add_agent(&r, "gw", MSG_READY, 1);
	assert_true(decide(&r, &w, &d));
	assert_string_equal(d.agent, "gw");
	assert_int_equal(d.number, 1);
	assert_int_equal(d.split, 2);
	assert_string_equal(d.codec, "q8");
	assert_string_equal(d.worker, "");
	assert_string_equal(d.reason, "policy");
	assert_int_equal(roster_decided(&r, &d), 0);
	assert_false(decide(&r, &w, &d));
	w.split = 3;
	assert_true(decide(&r, &w, &d));
	assert_int_equal(d.number, 2);
	roster_finish(&r);
}

static void every_part_of_a_decision_counts_as_a_change(void **state)
{
	const struct roster_wish w = { .has_split = true, .split = 2, .codec = "q8" };
	struct roster_wish changed[5] = { w, w, w, w, w };
	struct roster r = { 0 };
	struct msg_decision d;

	(void)state;
	changed[0].split = 1;
	memcpy(changed[1].codec, "f32", 4);
	memcpy(changed[2].worker, "w1", 3);
	changed[3].context_tokens = 64;
	memcpy(changed[4].kv, "q8_0", 5);
	add_agent(&r, "gw", MSG_READY, 1);
	add_worker(&r, "w1", MSG_READY, 1, TOY_MODEL);
	assert_true(decide(&r, &w, &d));
	assert_int_equal(roster_decided(&r, &d), 0);
	for (unsigned i = 0; i < 5; i++)
		assert_true(decide(&r, &changed[i], &d));
	assert_string_equal(d.kv, "q8_0");
	assert_false(decide(&r, &w, &d));
	roster_finish(&r);
}

static void nothing_is_decided_for_an_agent_that_is_not_ready(void **state)
{
	static const enum msg_state not_ready[] = { MSG_INIT, MSG_DRAINING, MSG_OFFLINE, MSG_LOST };
	struct roster_wish w = { .has_split = true, .split = 2 };
	struct roster r = { 0 };
	struct msg_decision d;

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		add_agent(&r, "gw", not_ready[i], 1);
		assert_false(decide(&r, &w, &d));
	}
	roster_finish(&r);
}

static void numbers_count_on_from_a_retained_decision(void **state)
{
	struct roster_wish w = { .has_split = true, .split = 3 };
	struct msg_decision d = { .agent = "gw", .number = 41, .split = 2, .reason = "policy" };
	struct msg_decision older = { .agent = "gw", .number = 7, .split = 3, .reason = "policy" };
	struct roster r = { 0 };

	(void)state;
	assert_int_equal(roster_decided(&r, &d), 0); /* before the agent's status */
	assert_int_equal(roster_decided(&r, &older), 0);
	assert_int_equal(roster_ready_agents(&r), 0);
	add_agent(&r, "gw", MSG_READY, 1);
	assert_true(decide(&r, &w, &d));
	assert_int_equal(d.number, 42);
	roster_finish(&r);
}

static void without_a_wish_the_split_is_a_quarter(void **state)
{
	struct roster_wish w = { 0 };
	struct roster r = { 0 };
	struct msg_decision d;

	(void)state;
	add_agent(&r, "gw", MSG_READY, 1);
	assert_true(decide(&r, &w, &d));
	assert_int_equal(d.split, TOY_LAYERS / 4);
	roster_finish(&r);
}

static void a_split_beyond_the_model_becomes_all_of_it(void **state)
{
	struct roster_wish w = { .has_split = true, .split = 9 };
	struct roster r = { 0 };
	struct msg_decision d;

	(void)state;
	add_agent(&r, "gw", MSG_READY, 1);
	assert_true(decide(&r, &w, &d));
	assert_int_equal(d.split, TOY_LAYERS);
	assert_string_equal(d.reason, "policy; split 9 is beyond the model's 4 layers");
	roster_finish(&r);
}

static void a_named_worker_must_be_ready_and_have_the_model(void **state)
{
	struct roster_wish w = { .has_split = true, .split = 2, .worker = "w1" };
	struct roster r = { 0 };
	struct msg_decision d;

	(void)state;
	add_agent(&r, "gw", MSG_READY, 1);
	assert_true(decide(&r, &w, &d));
	assert_string_equal(d.worker, "");
	assert_string_equal(d.reason, "policy; worker w1 is not ready: any");
	add_worker(&r, "w1", MSG_DRAINING, 1, TOY_MODEL);
	assert_true(decide(&r, &w, &d));
	assert_string_equal(d.worker, "");
	add_worker(&r, "w1", MSG_READY, 2, OTHER_MODEL);
	assert_true(decide(&r, &w, &d));
	assert_string_equal(d.worker, "");
	assert_string_equal(d.reason, "policy; worker w1 serves another model: any");
	add_worker(&r, "w1", MSG_READY, 3, TOY_MODEL);
	assert_true(decide(&r, &w, &d));
	assert_string_equal(d.worker, "w1");
	assert_string_equal(d.reason, "policy");
	r.workers[0].status.first_layer = TOY_LAYERS;
	assert_true(decide(&r, &w, &d));
	assert_string_equal(d.worker, "");
	assert_string_equal(d.reason, "policy; worker w1 has no layers below 4: any");
	roster_finish(&r);
}

static void ten_thousand_agents_are_found_at_once(void **state)
{
	static char names[10000][8];
	struct roster r = { 0 };
	uint32_t found = 0;

	(void)state;
	for (unsigned i = 0; i < 10000; i++) {
		snprintf(names[i], sizeof(names[i]), "g%u", i);
		add_agent(&r, names[i], MSG_READY, 1);
	}
	for (unsigned i = 0; i < 10000; i++)
		found += roster_find_agent(&r, names[i]) == &r.agents[i];
	assert_int_equal(found, 10000);
	assert_int_equal(r.n_due, 10000);
	for (unsigned i = 0; i < 10000; i++) {
		assert_ptr_equal(roster_next_due(&r), &r.agents[i]);
		if (i < 100)
			roster_touch(&r, &r.agents[i]); /* again, at the end */
	}
	assert_ptr_equal(roster_next_due(&r), &r.agents[0]);
	assert_int_equal(r.n_due, 99);
	assert_true(sizeof(r.agents[0]) < 8192); /* 10,000 of them: docs/decisions.md */
	roster_finish(&r);
}

static void agents_of_a_worker_are_counted(void **state)
{
	struct msg_decision d = { .agent = "gw", .number = 3, .worker = "w1" };
	struct roster r = { 0 };

	(void)state;
	assert_int_equal(roster_decided(&r, &d), 0);
	add_agent(&r, "gw", MSG_READY, 1);
	add_agent(&r, "gw2", MSG_READY, 1);
	add_worker(&r, "w1", MSG_READY, 1, TOY_MODEL);
	add_worker(&r, "w2", MSG_READY, 1, TOY_MODEL);
	assert_int_equal(roster_find_worker(&r, "w1")->n_agents, 1);
	d.worker[1] = '2';
	roster_publish(&r, roster_find_agent(&r, "gw2"), &d, 5);
	assert_int_equal(roster_find_worker(&r, "w2")->n_agents, 1);
	roster_publish(&r, roster_find_agent(&r, "gw"), &d, 5);
	assert_int_equal(roster_find_worker(&r, "w1")->n_agents, 0);
	assert_int_equal(roster_find_worker(&r, "w2")->n_agents, 2);
	add_agent(&r, "gw", MSG_LOST, 1);
	assert_int_equal(roster_find_worker(&r, "w2")->n_agents, 1);
	roster_finish(&r);
}

static void decisions_that_go_back_and_forth_pause_longer_and_longer(void **state)
{
	struct msg_decision d = { .agent = "gw", .number = 1, .split = 8 };
	struct roster_agent *a;
	struct roster r = { 0 };
	uint64_t now_ms = 1000;

	(void)state;
	add_agent(&r, "gw", MSG_READY, 1);
	a = roster_find_agent(&r, "gw");
	roster_publish(&r, a, &d, now_ms);
	for (unsigned i = 0; i < 8; i++) {
		static const uint32_t wanted[] = {
			0, 4000, 8000, 16000, 32000, 60000, 60000, 60000
		};

		now_ms += 1000 + a->hold_ms / 2;
		d.number++;
		d.split = 8 - d.split;
		roster_publish(&r, a, &d, now_ms);
		assert_int_equal(a->hold_ms, wanted[i]);
	}
	d.number++;
	memcpy(d.codec, "q8", 3); /* not a matter of the split */
	roster_publish(&r, a, &d, now_ms += 1000);
	assert_int_equal(a->hold_ms, 60000);
	d.number++;
	d.split = 8 - d.split;
	roster_publish(&r, a, &d, now_ms += ROSTER_HOLD_MS + 1);
	assert_int_equal(a->hold_ms, 4000);
	roster_finish(&r);
}

static void telemetry_is_worth_a_look_when_it_moved(void **state)
{
	struct msg_telemetry t = { .name = "gw", .boot = 1, .link = { .rtt_ms = 10 } };
	struct roster r = { 0 };

	(void)state;
	add_agent(&r, "gw", MSG_READY, 1);
	roster_next_due(&r);
	roster_agent_telemetry(&r, &t);
	assert_non_null(roster_next_due(&r)); /* the first one */
	for (unsigned i = 0; i < 3; i++) {
		t.link.rtt_ms += 0.4; /* 12 % in the end */
		roster_agent_telemetry(&r, &t);
		assert_int_equal(r.n_due, i == 2);
	}
	roster_next_due(&r);
	roster_find_agent(&r, "gw")->again = true;
	for (unsigned i = 0; i < 2; i++) { /* once, though nothing moved */
		roster_agent_telemetry(&r, &t);
		assert_int_equal(roster_next_due(&r) != NULL, !i);
	}
	t.boot = 2;
	t.link.rtt_ms = 99;
	roster_agent_telemetry(&r, &t); /* of a life that is not there yet */
	assert_int_equal(r.n_due, 0);
	roster_finish(&r);
}

/* gw is with that worker, and has measured it. */
static void measure(struct roster *r, const char *worker, double rtt_ms)
{
	struct msg_telemetry t = { .name = "gw",
				   .boot = 1,
				   .link = { .rtt_ms = rtt_ms, .samples = 9 } };
	struct msg_decision d = { .agent = "gw" };
	struct roster_agent *a = roster_find_agent(r, "gw");

	d.number = a->decision.number + 1;
	snprintf(d.worker, sizeof(d.worker), "%s", worker);
	roster_publish(r, a, &d, 1);
	roster_agent_telemetry(r, &t);
}

static double rtt_to(struct roster *r, const char *worker)
{
	return assign_rtt_ms(r, roster_find_agent(r, "gw"), roster_find_worker(r, worker));
}

static void round_trips_to_the_newest_workers_are_remembered(void **state)
{
	struct roster r = { 0 };
	char name[8];

	(void)state;
	add_agent(&r, "gw", MSG_READY, 1);
	for (unsigned i = 0; i <= ROSTER_NEAR; i++) {
		snprintf(name, sizeof(name), "w%u", i);
		add_worker(&r, name, MSG_READY, 1, TOY_MODEL);
		assert_true(rtt_to(&r, name) == 0);
	}
	measure(&r, "w0", 10);
	measure(&r, "w1", 20);
	measure(&r, "w0", 12); /* the newest figure, in the place of the one before */
	measure(&r, "w1", 0);  /* nothing was measured */
	assert_true(rtt_to(&r, "w0") == 12 && rtt_to(&r, "w1") == 20);
	for (unsigned i = 2; i < ROSTER_NEAR; i++) {
		snprintf(name, sizeof(name), "w%u", i);
		measure(&r, name, 10 + i);
		assert_true(rtt_to(&r, "w0") == 12 && rtt_to(&r, name) == 10 + i);
	}
	snprintf(name, sizeof(name), "w%u", ROSTER_NEAR);
	measure(&r, name, 99);
	assert_true(rtt_to(&r, name) == 99);
	assert_true(rtt_to(&r, "w0") == 0); /* the oldest had to go */
	assert_true(rtt_to(&r, "w1") == 20);
	roster_finish(&r);
}

static void the_nearest_of_those_that_are_nearer_is_meant(void **state)
{
	static const double rtt_ms[ROSTER_NEAR] = { 100, 50, 20, 30 };
	struct roster_agent *a;
	struct roster r = { 0 };
	char name[8];

	(void)state;
	add_agent(&r, "gw", MSG_READY, 1);
	a = roster_find_agent(&r, "gw");
	for (unsigned i = 0; i < ROSTER_NEAR; i++) {
		snprintf(name, sizeof(name), "w%u", i);
		add_worker(&r, name, MSG_READY, 1, TOY_MODEL);
		measure(&r, name, rtt_ms[i]);
	}
	assert_ptr_equal(assign_nearer(&r, a, roster_find_worker(&r, "w0")), &r.workers[2]);
	assert_null(assign_nearer(&r, a, roster_find_worker(&r, "w3"))); /* 2/3 of 30 are 20 */
	add_worker(&r, "w2", MSG_DRAINING, 1, TOY_MODEL);
	assert_ptr_equal(assign_nearer(&r, a, roster_find_worker(&r, "w0")), &r.workers[3]);
	measure(&r, "w3", 6);
	measure(&r, "w1", 10); /* no more than a few milliseconds */
	assert_null(assign_nearer(&r, a, roster_find_worker(&r, "w1")));
	measure(&r, "w1", 12);
	assert_ptr_equal(assign_nearer(&r, a, roster_find_worker(&r, "w1")), &r.workers[3]);
	roster_finish(&r);
}

static void a_worker_whose_queue_grows_is_a_reason_to_look_at_its_agents(void **state)
{
	struct msg_telemetry t = { .name = "w1", .boot = 1, .queue_ms = 10 };
	struct msg_decision d = { .agent = "gw", .number = 1, .worker = "w1" };
	struct roster r = { 0 };

	(void)state;
	add_agent(&r, "gw", MSG_READY, 1);
	add_agent(&r, "elsewhere", MSG_READY, 1);
	add_worker(&r, "w1", MSG_READY, 1, TOY_MODEL);
	roster_publish(&r, roster_find_agent(&r, "gw"), &d, 5);
	roster_worker_telemetry(&r, &t);
	while (roster_next_due(&r))
		;
	t.queue_ms = 12;
	roster_worker_telemetry(&r, &t);
	assert_int_equal(r.n_due, 0);
	t.queue_ms = 20;
	roster_worker_telemetry(&r, &t);
	assert_ptr_equal(roster_next_due(&r), roster_find_agent(&r, "gw"));
	assert_int_equal(r.n_due, 0);
	t.queue_high_ms = 1;
	roster_worker_telemetry(&r, &t);
	assert_int_equal(r.n_due, 1);
	roster_finish(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ready_ones_are_counted),
		cmocka_unit_test(a_status_of_an_earlier_life_is_ignored_unless_it_lives),
		cmocka_unit_test(the_first_decision_is_number_1_and_is_made_once),
		cmocka_unit_test(every_part_of_a_decision_counts_as_a_change),
		cmocka_unit_test(nothing_is_decided_for_an_agent_that_is_not_ready),
		cmocka_unit_test(numbers_count_on_from_a_retained_decision),
		cmocka_unit_test(without_a_wish_the_split_is_a_quarter),
		cmocka_unit_test(a_split_beyond_the_model_becomes_all_of_it),
		cmocka_unit_test(a_named_worker_must_be_ready_and_have_the_model),
		cmocka_unit_test(ten_thousand_agents_are_found_at_once),
		cmocka_unit_test(agents_of_a_worker_are_counted),
		cmocka_unit_test(decisions_that_go_back_and_forth_pause_longer_and_longer),
		cmocka_unit_test(telemetry_is_worth_a_look_when_it_moved),
		cmocka_unit_test(round_trips_to_the_newest_workers_are_remembered),
		cmocka_unit_test(the_nearest_of_those_that_are_nearer_is_meant),
		cmocka_unit_test(a_worker_whose_queue_grows_is_a_reason_to_look_at_its_agents),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
