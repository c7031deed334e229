/* tests/test_coordinator.c - the coordinator over a bus in memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "coordinator/core.h"
#include "daemon/inbox.h"
#include "daemon/link.h"
#include "tests/statuses.h"
#include "tests/toy.h"

struct office {
	struct bus_mem *broker;
	struct config_coordinator conf, standby_conf;
	struct coordinator_core core, standby;
	bool open, standby_open;
	struct toy_node node, standby_node;
	struct toy_node crowd; /* whoever else publishes, and listens to decisions */
	uint64_t now_ms;
	struct msg_decision heard; /* newest */
	bool heard_retained;
	unsigned n_heard;
	struct msg_coordinator_status status; /* newest that any coordinator said */
	unsigned n_statuses;
};

static struct config_policy nothing_said(void)
{
	return (struct config_policy){ .split = UINT32_MAX,
				       .kv = "auto",
				       .context_tokens = UINT32_MAX };
}

static void open_coordinator(struct office *o, uint64_t boot)
{
	toy_open_node(&o->node, o->broker, "coordinator", 0);
	snprintf(o->conf.coordinator, sizeof(o->conf.coordinator), "coordinator");
	o->core = (struct coordinator_core){ .conf = &o->conf, .boot = boot };
	assert_int_equal(coordinator_core_start(&o->core, o->node.bus), 0);
	o->open = true;
}

static void close_coordinator(struct office *o)
{
	if (!o->open)
		return;
	coordinator_core_finish(&o->core);
	toy_close_node(&o->node);
	o->open = false;
}

static void open_standby(struct office *o)
{
	o->standby_conf = o->conf;
	snprintf(o->standby_conf.coordinator, sizeof(o->standby_conf.coordinator), "standby");
	toy_open_node(&o->standby_node, o->broker, "standby", 0);
	o->standby = (struct coordinator_core){ .conf = &o->standby_conf, .boot = 77 };
	assert_int_equal(coordinator_core_start(&o->standby, o->standby_node.bus), 0);
	o->standby_open = true;
}

static void subscribe_crowd(struct office *o)
{
	assert_int_equal(bus_subscribe(o->crowd.bus, "splitmq/v1/" TOY_FLEET "/decision/+", 1), 0);
	assert_int_equal(
		bus_subscribe(o->crowd.bus, "splitmq/v1/" TOY_FLEET "/coordinator/+/status", 1), 0);
}

static int office_open(void **state)
{
	struct office *o = *state = calloc(1, sizeof(*o));

	assert_non_null(o);
	o->now_ms = 1000;
	o->conf.policy = nothing_said();
	o->conf.lease_ms = 1000; /* settles in 100 */
	snprintf(o->conf.fleet, sizeof(o->conf.fleet), "%s", TOY_FLEET);
	assert_int_equal(bus_mem_create(&o->broker, NULL, NULL), 0);
	toy_open_node(&o->crowd, o->broker, "crowd", 0);
	subscribe_crowd(o);
	bus_mem_pump(o->broker, o->now_ms);
	return 0;
}

static int office_close(void **state)
{
	struct office *o = *state;

	close_coordinator(o);
	if (o->standby_open) {
		coordinator_core_finish(&o->standby);
		toy_close_node(&o->standby_node);
	}
	toy_close_node(&o->crowd);
	bus_mem_destroy(o->broker);
	free(o);
	return 0;
}

static void hear(struct office *o)
{
	struct inbox_item *item;

	while ((item = queue_pop(o->crowd.inbox, 0))) {
		const struct bus_event *ev = &((struct inbox_bus *)item)->ev;
		struct msg m;

		if (ev->kind == BUS_MESSAGE && ev->len) {
			assert_int_equal(msg_parse(&m, (const char *)ev->payload, ev->len,
						   MSG_TYPE_COUNT, NULL),
					 0);
			if (m.type == MSG_COORDINATOR_STATUS) {
				o->status = m.u.coordinator_status;
				o->n_statuses++;
			} else {
				o->heard = m.u.decision;
				o->heard_retained = ev->retained;
				o->n_heard++;
			}
			msg_finish(&m);
		}
		inbox_free(item);
	}
}

static void run_coordinator(struct office *o, struct coordinator_core *core, struct queue *inbox)
{
	struct inbox_item *item;

	while ((item = queue_pop(inbox, 0))) {
		const struct bus_event *ev = &((struct inbox_bus *)item)->ev;

		if (ev->kind == BUS_MESSAGE)
			coordinator_core_message(core, ev, o->now_ms);
		else
			coordinator_core_link(core, ev->kind == BUS_UP, o->now_ms);
		inbox_free(item);
	}
	coordinator_core_tick(core, o->now_ms);
}

/* Time passes; messages are delivered. */
static void pass(struct office *o, uint64_t ms)
{
	for (uint64_t end = o->now_ms + ms; o->now_ms < end; o->now_ms += 10) {
		bus_mem_pump(o->broker, o->now_ms);
		if (o->open)
			run_coordinator(o, &o->core, o->node.inbox);
		if (o->standby_open)
			run_coordinator(o, &o->standby, o->standby_node.inbox);
		bus_mem_pump(o->broker, o->now_ms);
		hear(o);
	}
}

static void publish_agent_as(struct office *o, const char *topic_name, struct msg_agent_status st)
{
	struct topic t = { .kind = TOPIC_AGENT_STATUS, .fleet = TOY_FLEET };
	struct msg m = { .type = MSG_AGENT_STATUS, .u.agent_status = st };

	snprintf(t.agent, sizeof(t.agent), "%s", topic_name);
	assert_int_equal(link_publish(o->crowd.bus, &t, &m, 1, true, 0), 0);
}

/* It is ready. */
static void publish_agent(struct office *o, const char *name)
{
	publish_agent_as(o, name, agent_of(name, MSG_READY, 1));
}

static void publish_worker(struct office *o, struct msg_worker_status st)
{
	struct topic t = { .kind = TOPIC_WORKER_STATUS, .fleet = TOY_FLEET };
	struct msg m = { .type = MSG_WORKER_STATUS, .u.worker_status = st };

	memcpy(t.worker, st.worker, sizeof(t.worker));
	assert_int_equal(link_publish(o->crowd.bus, &t, &m, 1, true, 0), 0);
}

/* As somebody else would, for gw. */
static void publish_decision(struct office *o, const char *text)
{
	const struct bus_publish p = { .topic = "splitmq/v1/" TOY_FLEET "/decision/gw",
				       .payload = text,
				       .len = strlen(text),
				       .retain = true };

	assert_int_equal(bus_publish(o->crowd.bus, &p), 0);
}

/* A coordinator, and a gateway that it decides for, at this split. */
static void begin_with_gateway(struct office *o, uint32_t split)
{
	o->conf.policy.split = split;
	open_coordinator(o, 1);
	publish_agent(o, "gw");
}

static void an_agent_gets_one_decision_that_is_retained(void **state)
{
	struct office *o = *state;

	begin_with_gateway(o, 2);
	pass(o, 2000);
	assert_int_equal(o->n_heard, 1);
	assert_int_equal(o->heard.number, 1);
	assert_int_equal(o->heard.split, 2);
	toy_close_node(&o->crowd); /* a later subscriber gets it all the same */
	toy_open_node(&o->crowd, o->broker, "crowd", 0);
	subscribe_crowd(o);
	pass(o, 1000);
	assert_int_equal(o->n_heard, 2);
	assert_true(o->heard_retained);
}

static void nothing_is_decided_before_the_retained_messages_are_in(void **state)
{
	struct office *o = *state;

	open_coordinator(o, 1);
	publish_agent(o, "gw");
	pass(o, 290);
	assert_int_equal(o->n_heard, 0);
	pass(o, 50);
	assert_int_equal(o->n_heard, 1);
}

static void a_decision_that_the_broker_lost_is_said_again(void **state)
{
	struct office *o = *state;

	begin_with_gateway(o, 2);
	pass(o, 1000);
	publish_decision(o, "");
	pass(o, 1000);
	assert_int_equal(o->n_heard, 2);
	assert_int_equal(o->heard.number, 1);
	roster_doubt(&o->core.roster); /* as after a broker that kept nothing */
	pass(o, 1000);
	assert_int_equal(o->n_heard, 3);
}

static void publish_telemetry(struct office *o, double rtt_ms)
{
	struct topic t = { .kind = TOPIC_AGENT_TELEMETRY, .fleet = TOY_FLEET, .agent = "gw" };
	struct msg m = { .type = MSG_AGENT_TELEMETRY };

	m.u.telemetry = (struct msg_telemetry){
		.name = "gw",
		.boot = 1,
		.budget_bytes = 1 << 20,
		.n_speeds = 1,
		.speeds = { { .front = "Q8_0", .layer_token_ms = 1 } },
		.link = { .rtt_ms = rtt_ms, .rtt_high_ms = rtt_ms, .samples = 9 },
	};
	assert_int_equal(link_publish(o->crowd.bus, &t, &m, 0, false, 0), 0);
	pass(o, 100);
}

static void publish_profile(struct office *o)
{
	struct topic t = { .kind = TOPIC_AGENT_PROFILE, .fleet = TOY_FLEET, .agent = "gw" };
	uint64_t layer_bytes[TOY_LAYERS] = { 0 };
	struct msg m = { .type = MSG_AGENT_PROFILE };

	m.u.agent_profile = (struct msg_agent_profile){
		.agent = "gw",
		.boot = 1,
		.model = TOY_MODEL,
		.n_layers = TOY_LAYERS,
		.dim = TOY_DIM,
		.kv_elements = 1,
		.threads = 1,
		.max_sessions = 3,
		.context_tokens = TOY_CONTEXT,
		.prefill_rows = 64,
		.budget_bytes = 1 << 20,
		.n_fronts = 1,
		.fronts = { { .name = "Q8_0", .layers = TOY_LAYERS, .layer_bytes = layer_bytes } },
	};
	assert_int_equal(link_publish(o->crowd.bus, &t, &m, 1, true, 0), 0);
}

/* A round trip that swings between 10 and 20 ms, of a choice that the operator fixed. */
static void predictions_are_told_again_twice_a_minute_at_most(void **state)
{
	struct office *o = *state;
	uint64_t number;
	unsigned told;

	o->conf.policy.split = 1;
	snprintf(o->conf.policy.objective, sizeof(o->conf.policy.objective), "latency");
	snprintf(o->conf.policy.codec, sizeof(o->conf.policy.codec), "f32");
	o->conf.policy.ttft_ms = o->conf.policy.token_ms = UINT32_MAX;
	o->conf.policy.loss = (double)NAN;
	o->conf.policy.context_tokens = TOY_CONTEXT;
	o->conf.expect = (struct config_expect){
		.prompt_tokens = 4, .answer_tokens = 4, .sessions = 1, .epsilon = 0.5
	};
	open_coordinator(o, 1);
	publish_worker(o, worker_of("w0", MSG_READY, 1, TOY_MODEL));
	publish_agent(o, "gw");
	publish_profile(o);
	pass(o, 500);
	publish_telemetry(o, 10);
	pass(o, 1500);
	assert_string_equal(o->heard.objective, "latency");
	assert_true(o->heard.has_predicted);
	number = o->heard.number;
	told = o->n_heard;
	for (unsigned i = 0; i < 90; i++) {
		publish_telemetry(o, i % 2 ? 10 : 20);
		pass(o, 900);
	}
	assert_in_range(o->n_heard - told, 2, 3);
	told = o->n_heard;
	pass(o, 30000);
	publish_telemetry(o, 10);
	pass(o, 31000);
	publish_telemetry(o, 20);
	assert_true(o->heard.predicted.token_ms > 20);
	told = o->n_heard;
	publish_telemetry(o, 10); /* too soon after the last one: */
	pass(o, 5000);
	assert_int_equal(o->n_heard, told);
	pass(o, 30000);
	publish_telemetry(o, 10); /* with the same again, once it is time */
	assert_int_equal(o->n_heard, told + 1);
	assert_true(o->heard.predicted.token_ms < 20);
	assert_int_equal(o->heard.number, number);
	assert_int_equal(o->heard.split, 1);
}

static void two_coordinators_do_not_flood_the_broker(void **state)
{
	struct office *o = *state;
	static const char theirs[] = "{\"type\":\"decision\",\"agent\":\"gw\",\"number\":10,"
				     "\"split\":3}";

	begin_with_gateway(o, 2);
	pass(o, 500);
	assert_int_equal(o->heard.number, 1);
	publish_decision(o, theirs);
	pass(o, 100);
	assert_int_equal(o->heard.number, 10);
	pass(o, 1500);
	assert_int_equal(o->heard.number, 11);
	assert_int_equal(o->heard.split, 2);
}

static void while_messages_wait_they_are_read_before_much_is_decided(void **state)
{
	struct office *o = *state;

	open_coordinator(o, 1);
	o->core.behind = true;
	for (unsigned i = 0; i < 200; i++) {
		char name[16];

		snprintf(name, sizeof(name), "gw%u", i);
		publish_agent(o, name);
	}
	while (!o->n_heard && o->now_ms < 5000)
		pass(o, 10);
	pass(o, 150);
	assert_int_equal(o->n_heard, 64);
	o->core.behind = false;
	pass(o, 50);
	assert_int_equal(o->n_heard, 200);
}

static void the_number_counts_on_over_a_restart(void **state)
{
	struct office *o = *state;

	begin_with_gateway(o, 2);
	pass(o, 1000);
	close_coordinator(o);
	open_coordinator(o, 2); /* the same policy: nothing new to say */
	pass(o, 1000);
	assert_int_equal(o->n_heard, 1);
	close_coordinator(o);
	o->conf.policy.split = 3;
	open_coordinator(o, 3);
	pass(o, 1000);
	assert_int_equal(o->n_heard, 2);
	assert_int_equal(o->heard.number, 2);
	assert_int_equal(o->heard.split, 3);
}

static void an_override_speaks_where_it_says_something(void **state)
{
	struct office *o = *state;

	o->conf.policy = (struct config_policy){
		.split = 2, .codec = "q8", .kv = "q8_0", .context_tokens = 64
	};
	o->conf.agents[0] = nothing_said();
	snprintf(o->conf.agents[0].agent, sizeof(o->conf.agents[0].agent), "gw2");
	o->conf.agents[0].split = 0;
	snprintf(o->conf.agents[0].codec, sizeof(o->conf.agents[0].codec), "f16");
	snprintf(o->conf.agents[0].kv, sizeof(o->conf.agents[0].kv), "q4_0");
	o->conf.n_agents = 1;
	open_coordinator(o, 1);
	publish_agent(o, "gw2");
	pass(o, 1000);
	assert_string_equal(o->heard.agent, "gw2");
	assert_int_equal(o->heard.split, 0);
	assert_string_equal(o->heard.codec, "f16");
	assert_string_equal(o->heard.kv, "q4_0");
	assert_int_equal(o->heard.context_tokens, 64);
	publish_agent(o, "gw");
	pass(o, 1000);
	assert_string_equal(o->heard.agent, "gw");
	assert_int_equal(o->heard.split, 2);
	assert_string_equal(o->heard.codec, "q8");
	assert_string_equal(o->heard.kv, "q8_0");
	assert_int_equal(o->n_heard, 2);
}

static void a_named_worker_is_named_once_it_is_ready_and_left_out_when_it_goes(void **state)
{
	struct office *o = *state;

	o->conf.policy.split = 2;
	snprintf(o->conf.policy.worker, sizeof(o->conf.policy.worker), "w1");
	open_coordinator(o, 1);
	publish_agent(o, "gw");
	pass(o, 1000);
	assert_string_equal(o->heard.worker, "");
	publish_worker(o, worker_of("w1", MSG_READY, 5, TOY_MODEL));
	pass(o, 1000);
	assert_int_equal(o->n_heard, 2);
	assert_string_equal(o->heard.worker, "w1");
	publish_worker(o, worker_of("w1", MSG_LOST, 4, "")); /* a late Last Will */
	pass(o, 1000);
	assert_int_equal(o->n_heard, 2);
	publish_worker(o, worker_of("w1", MSG_LOST, 5, ""));
	pass(o, 1000);
	assert_int_equal(o->n_heard, 3);
	assert_int_equal(o->heard.number, 3);
	assert_string_equal(o->heard.worker, "");
}

/* A decision of gw that went back and forth: the next one has to wait for half a minute. */
static void hold(struct office *o)
{
	struct roster_agent *a;

	o->conf.policy.split = 2;
	snprintf(o->conf.policy.worker, sizeof(o->conf.policy.worker), "w1");
	open_coordinator(o, 1);
	publish_worker(o, worker_of("w1", MSG_READY, 5, TOY_MODEL));
	publish_agent(o, "gw");
	pass(o, 2000);
	assert_int_equal(o->n_heard, 1);
	assert_string_equal(o->heard.worker, "w1");
	a = roster_find_agent(&o->core.roster, "gw");
	a->hold_ms = 30000;
	o->conf.policy.split = 3;
	roster_touch(&o->core.roster, a);
	pass(o, 5000);
	assert_int_equal(o->n_heard, 1);
}

static void a_decision_that_holds_is_followed_by_the_next_one_in_its_time(void **state)
{
	struct office *o = *state;

	hold(o);
	pass(o, 26000);
	assert_int_equal(o->n_heard, 2);
	assert_int_equal(o->heard.split, 3);
}

/* What nobody can follow does not hold. */
static void a_decision_whose_worker_is_gone_does_not_hold(void **state)
{
	struct office *o = *state;

	hold(o);
	publish_worker(o, worker_of("w1", MSG_LOST, 5, ""));
	pass(o, 1000);
	assert_int_equal(o->n_heard, 2);
	assert_string_equal(o->heard.worker, "");
}

static void publish_answer(struct office *o, uint64_t number, bool taken)
{
	struct topic t = { .kind = TOPIC_AGENT_ANSWER, .fleet = TOY_FLEET, .agent = "gw" };
	struct msg m = { .type = MSG_DECISION_ANSWER,
			 .u.decision_answer = { .agent = "gw",
						.number = number,
						.taken = taken,
						.code = taken ? 0 : ERR_LIMIT,
						.reason = "r" } };

	assert_int_equal(link_publish(o->crowd.bus, &t, &m, 1, true, 0), 0);
	pass(o, 1000);
}

static void a_decision_that_is_refused_does_not_hold_and_one_that_is_taken_does(void **state)
{
	struct office *o = *state;

	hold(o);
	publish_answer(o, 1, true);
	publish_answer(o, 7, false); /* of somebody else's */
	assert_int_equal(o->n_heard, 1);
	publish_answer(o, 1, false);
	assert_int_equal(o->n_heard, 2);
	assert_int_equal(o->heard.split, 3);
}

static void a_decision_that_the_broker_lost_does_not_hold(void **state)
{
	struct office *o = *state;

	hold(o);
	publish_decision(o, "");
	pass(o, 1000);
	assert_int_equal(o->n_heard, 2);
	assert_int_equal(o->heard.split, 3);
}

static void who_decides_and_how_many_there_are_is_told_when_it_changes(void **state)
{
	struct office *o = *state;
	unsigned n;

	open_coordinator(o, 1);
	pass(o, 2000);
	assert_true(o->status.active && o->status.state == MSG_READY);
	assert_int_equal(o->status.term, 1);
	n = o->n_statuses;
	for (unsigned i = 0; i < 4; i++)
		publish_agent(o, i % 2 ? i / 2 ? "a" : "b" : i / 2 ? "c" : "d");
	publish_worker(o, worker_of("w1", MSG_READY, 5, TOY_MODEL));
	pass(o, 3000);
	assert_in_range(o->n_statuses, n + 1, n + 2); /* once a second at most */
	assert_int_equal(o->status.agents, 4);
	assert_int_equal(o->status.workers, 1);
	n = o->n_statuses;
	pass(o, 5000);
	assert_int_equal(o->n_statuses, n);
	bus_mem_cut(o->broker, "coordinator");
	pass(o, 100);
	bus_mem_restore(o->broker, "coordinator");
	pass(o, 5000);
	assert_true(o->status.active);
	assert_int_equal(o->status.term, 2);
}

static void what_somebody_else_decides_is_overruled(void **state)
{
	struct topic t = { .kind = TOPIC_DECISION, .fleet = TOY_FLEET, .agent = "gw" };
	struct msg m = { .type = MSG_DECISION,
			 .u.decision = { .agent = "gw", .number = 9, .split = 1, .reason = "me" } };
	struct office *o = *state;

	begin_with_gateway(o, 2);
	pass(o, 1000);
	assert_int_equal(link_publish(o->crowd.bus, &t, &m, 1, true, 0), 0);
	pass(o, 1000);
	assert_int_equal(o->heard.number, 10);
	assert_int_equal(o->heard.split, 2);
}

static void a_standby_follows_and_decides_nothing(void **state)
{
	struct office *o = *state;

	o->conf.policy.split = 2;
	open_coordinator(o, 1);
	pass(o, 500);
	o->conf.policy.split = 3; /* the standby would decide otherwise */
	open_standby(o);
	o->conf.policy.split = 2;
	publish_agent(o, "gw");
	pass(o, 5000);
	assert_int_equal(o->n_heard, 1);
	assert_int_equal(o->heard.split, 2);
	assert_string_equal(o->heard.coordinator, "coordinator");
	assert_int_equal(o->heard.term, 1);
	assert_false(lease_is_active(&o->standby.lease, o->now_ms));
	assert_int_equal(roster_ready_agents(&o->standby.roster), 1);
	assert_int_equal(roster_find_agent(&o->standby.roster, "gw")->decision.number, 1);
}

static void a_standby_takes_over_within_the_timeout(void **state)
{
	struct office *o = *state;

	o->conf.policy.split = 2;
	open_coordinator(o, 1);
	open_standby(o);
	publish_agent(o, "gw");
	pass(o, 1000);
	assert_true(lease_is_active(&o->core.lease, o->now_ms));
	close_coordinator(o); /* without a word */
	publish_agent(o, "gw2");
	pass(o, o->conf.lease_ms + 200);
	assert_int_equal(o->n_heard, 2); /* what was right is not said again */
	assert_string_equal(o->heard.agent, "gw2");
	assert_string_equal(o->heard.coordinator, "standby");
	assert_int_equal(o->heard.term, 2);
}

static void a_coordinator_that_stops_hands_over_at_once(void **state)
{
	struct office *o = *state;

	o->conf.lease_ms = 60000;
	open_coordinator(o, 1);
	open_standby(o);
	pass(o, 2000);
	assert_true(lease_is_active(&o->core.lease, o->now_ms));
	assert_int_equal(coordinator_core_goodbye(&o->core, o->now_ms), 0);
	bus_mem_pump(o->broker, o->now_ms);
	close_coordinator(o);
	pass(o, 700); /* two settle times of 300 */
	assert_true(lease_is_active(&o->standby.lease, o->now_ms));
}

static void a_deposed_coordinator_is_silent_and_overruled(void **state)
{
	struct topic t = { .kind = TOPIC_COORDINATOR_LEASE, .fleet = TOY_FLEET };
	struct msg m = { .type = MSG_COORDINATOR_LEASE,
			 .u.coordinator_lease = {
				 .coordinator = "other", .boot = 5, .term = 9, .lease_ms = 1000 } };
	struct office *o = *state;

	open_coordinator(o, 1);
	pass(o, 1000);
	assert_int_equal(link_publish(o->crowd.bus, &t, &m, 1, true, 0), 0);
	publish_agent(o, "gw");
	pass(o, 900);
	assert_int_equal(o->n_heard, 0);
	pass(o, 400); /* the other one is never heard of again */
	assert_int_equal(o->n_heard, 1);
	assert_int_equal(o->heard.term, 10);
}

static void a_status_under_another_name_and_malformed_ones_are_refused(void **state)
{
	static const char *const texts[] = { "", "{", "null", "{\"type\":\"agent.status\"}" };
	struct office *o = *state;

	open_coordinator(o, 1);
	publish_agent_as(o, "gw2", agent_of("gw", MSG_READY, 1));
	for (unsigned i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		assert_int_equal(bus_publish(o->crowd.bus,
					     &(struct bus_publish){
						     .topic = "splitmq/v1/sim/agent/gw/status",
						     .payload = texts[i],
						     .len = strlen(texts[i]) }),
				 0);
	pass(o, 1000);
	assert_int_equal(o->n_heard, 0);
	assert_int_equal(o->core.roster.n_agents, 0);
}

static void an_unpublished_decision_is_tried_again(void **state)
{
	struct office *o = *state;

	open_coordinator(o, 1);
	publish_agent(o, "gw");
	pass(o, 200);
	bus_mem_cut(o->broker, "coordinator");
	pass(o, 1000);
	assert_int_equal(o->n_heard, 0);
	bus_mem_restore(o->broker, "coordinator");
	pass(o, 1000);
	assert_int_equal(o->n_heard, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, office_open, office_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_agent_gets_one_decision_that_is_retained),
		TEST(a_decision_that_the_broker_lost_is_said_again),
		TEST(predictions_are_told_again_twice_a_minute_at_most),
		TEST(two_coordinators_do_not_flood_the_broker),
		TEST(nothing_is_decided_before_the_retained_messages_are_in),
		TEST(while_messages_wait_they_are_read_before_much_is_decided),
		TEST(the_number_counts_on_over_a_restart),
		TEST(an_override_speaks_where_it_says_something),
		TEST(a_named_worker_is_named_once_it_is_ready_and_left_out_when_it_goes),
		TEST(a_decision_that_holds_is_followed_by_the_next_one_in_its_time),
		TEST(a_decision_whose_worker_is_gone_does_not_hold),
		TEST(a_decision_that_is_refused_does_not_hold_and_one_that_is_taken_does),
		TEST(a_decision_that_the_broker_lost_does_not_hold),
		TEST(who_decides_and_how_many_there_are_is_told_when_it_changes),
		TEST(what_somebody_else_decides_is_overruled),
		TEST(a_standby_follows_and_decides_nothing),
		TEST(a_standby_takes_over_within_the_timeout),
		TEST(a_coordinator_that_stops_hands_over_at_once),
		TEST(a_deposed_coordinator_is_silent_and_overruled),
		TEST(a_status_under_another_name_and_malformed_ones_are_refused),
		TEST(an_unpublished_decision_is_tried_again),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
