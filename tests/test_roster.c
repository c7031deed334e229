/* tests/test_roster.c - who there is: the coordinator's roster, the agent's table of workers, and
 * the coordinator over a bus in memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/workers.h"
#include "base/log.h"
#include "coordinator/core.h"
#include "coordinator/roster.h"
#include "daemon/inbox.h"
#include "daemon/link.h"
#include "tests/toy.h"

#define OTHER_MODEL "ffeeddccbbaa99887766554433221100"

static struct msg_agent_status agent_of(const char *name, enum msg_state state, uint64_t boot)
{
	struct msg_agent_status st = { .state = state,
				       .boot = boot,
				       .model = TOY_MODEL,
				       .model_name = "toy",
				       .n_layers = TOY_LAYERS,
				       .dim = TOY_DIM,
				       .context_tokens = TOY_CONTEXT,
				       .max_sessions = 3,
				       .version = "1" };

	snprintf(st.agent, sizeof(st.agent), "%.64s", name);
	return st;
}

static struct msg_worker_status worker_of(const char *name, enum msg_state state, uint64_t boot,
					  const char *model)
{
	struct msg_worker_status st = { .state = state,
					.boot = boot,
					.model_name = "toy",
					.n_layers = TOY_LAYERS,
					.dim = TOY_DIM,
					.context_tokens = TOY_CONTEXT,
					.max_sessions = 6,
					.version = "1" };

	snprintf(st.worker, sizeof(st.worker), "%s", name);
	snprintf(st.model, sizeof(st.model), "%s", model);
	return st;
}

/* ---- the agent's table of workers ---- */

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

/* ---- the roster ---- */

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

/* ---- the coordinator ---- */

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
}

static struct office *office_create(void)
{
	struct office *o = calloc(1, sizeof(*o));

	assert_non_null(o);
	o->now_ms = 1000;
	o->conf.policy = nothing_said();
	o->conf.lease_ms = 1000; /* settles in 100 */
	snprintf(o->conf.fleet, sizeof(o->conf.fleet), "%s", TOY_FLEET);
	assert_int_equal(bus_mem_create(&o->broker, NULL, NULL), 0);
	toy_open_node(&o->crowd, o->broker, "crowd", 0);
	subscribe_crowd(o);
	bus_mem_pump(o->broker, o->now_ms);
	return o;
}

static void office_destroy(struct office *o)
{
	close_coordinator(o);
	if (o->standby_open) {
		coordinator_core_finish(&o->standby);
		toy_close_node(&o->standby_node);
	}
	toy_close_node(&o->crowd);
	bus_mem_destroy(o->broker);
	free(o);
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
			o->heard = m.u.decision;
			o->heard_retained = ev->retained;
			o->n_heard++;
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

static void publish_agent(struct office *o, const char *topic_name, struct msg_agent_status st)
{
	struct topic t = { .kind = TOPIC_AGENT_STATUS, .fleet = TOY_FLEET };
	struct msg m = { .type = MSG_AGENT_STATUS, .u.agent_status = st };

	snprintf(t.agent, sizeof(t.agent), "%s", topic_name);
	assert_int_equal(link_publish(o->crowd.bus, &t, &m, 1, true, 0), 0);
}

static void publish_worker(struct office *o, struct msg_worker_status st)
{
	struct topic t = { .kind = TOPIC_WORKER_STATUS, .fleet = TOY_FLEET };
	struct msg m = { .type = MSG_WORKER_STATUS, .u.worker_status = st };

	memcpy(t.worker, st.worker, sizeof(t.worker));
	assert_int_equal(link_publish(o->crowd.bus, &t, &m, 1, true, 0), 0);
}

static void an_agent_gets_one_decision_that_is_retained(void **state)
{
	struct office *o = office_create();

	(void)state;
	o->conf.policy.split = 2;
	open_coordinator(o, 1);
	publish_agent(o, "gw", agent_of("gw", MSG_READY, 1));
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
	office_destroy(o);
}

static void nothing_is_decided_before_the_retained_messages_are_in(void **state)
{
	struct office *o = office_create();

	(void)state;
	open_coordinator(o, 1);
	publish_agent(o, "gw", agent_of("gw", MSG_READY, 1));
	pass(o, 290);
	assert_int_equal(o->n_heard, 0);
	pass(o, 50);
	assert_int_equal(o->n_heard, 1);
	office_destroy(o);
}

static void a_decision_that_the_broker_lost_is_said_again(void **state)
{
	struct office *o = office_create();

	(void)state;
	o->conf.policy.split = 2;
	open_coordinator(o, 1);
	publish_agent(o, "gw", agent_of("gw", MSG_READY, 1));
	pass(o, 1000);
	assert_int_equal(
		bus_publish(o->crowd.bus,
			    &(struct bus_publish){ .topic = "splitmq/v1/" TOY_FLEET "/decision/gw",
						   .payload = "",
						   .retain = true }),
		0);
	pass(o, 1000);
	assert_int_equal(o->n_heard, 2);
	assert_int_equal(o->heard.number, 1);
	roster_doubt(&o->core.roster); /* as after a broker that kept nothing */
	pass(o, 1000);
	assert_int_equal(o->n_heard, 3);
	office_destroy(o);
}

static void two_coordinators_do_not_flood_the_broker(void **state)
{
	struct office *o = office_create();
	static const char theirs[] = "{\"type\":\"decision\",\"agent\":\"gw\",\"number\":10,"
				     "\"split\":3}";

	(void)state;
	o->conf.policy.split = 2;
	open_coordinator(o, 1);
	publish_agent(o, "gw", agent_of("gw", MSG_READY, 1));
	pass(o, 500);
	assert_int_equal(o->heard.number, 1);
	assert_int_equal(
		bus_publish(o->crowd.bus,
			    &(struct bus_publish){ .topic = "splitmq/v1/" TOY_FLEET "/decision/gw",
						   .payload = theirs,
						   .len = strlen(theirs),
						   .retain = true }),
		0);
	pass(o, 100);
	assert_int_equal(o->heard.number, 10);
	pass(o, 1500);
	assert_int_equal(o->heard.number, 11);
	assert_int_equal(o->heard.split, 2);
	office_destroy(o);
}

static void while_messages_wait_they_are_read_before_much_is_decided(void **state)
{
	struct office *o = office_create();

	(void)state;
	open_coordinator(o, 1);
	o->core.behind = true;
	for (unsigned i = 0; i < 200; i++) {
		char name[16];

		snprintf(name, sizeof(name), "gw%u", i);
		publish_agent(o, name, agent_of(name, MSG_READY, 1));
	}
	while (!o->n_heard && o->now_ms < 5000)
		pass(o, 10);
	pass(o, 150);
	assert_int_equal(o->n_heard, 64);
	o->core.behind = false;
	pass(o, 50);
	assert_int_equal(o->n_heard, 200);
	office_destroy(o);
}

static void the_number_counts_on_over_a_restart(void **state)
{
	struct office *o = office_create();

	(void)state;
	o->conf.policy.split = 2;
	open_coordinator(o, 1);
	publish_agent(o, "gw", agent_of("gw", MSG_READY, 1));
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
	office_destroy(o);
}

static void an_override_speaks_where_it_says_something(void **state)
{
	struct office *o = office_create();

	(void)state;
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
	publish_agent(o, "gw2", agent_of("gw2", MSG_READY, 1));
	pass(o, 1000);
	assert_string_equal(o->heard.agent, "gw2");
	assert_int_equal(o->heard.split, 0);
	assert_string_equal(o->heard.codec, "f16");
	assert_string_equal(o->heard.kv, "q4_0");
	assert_int_equal(o->heard.context_tokens, 64);
	publish_agent(o, "gw", agent_of("gw", MSG_READY, 1));
	pass(o, 1000);
	assert_string_equal(o->heard.agent, "gw");
	assert_int_equal(o->heard.split, 2);
	assert_string_equal(o->heard.codec, "q8");
	assert_string_equal(o->heard.kv, "q8_0");
	assert_int_equal(o->n_heard, 2);
	office_destroy(o);
}

static void a_named_worker_is_named_once_it_is_ready_and_left_out_when_it_goes(void **state)
{
	struct office *o = office_create();

	(void)state;
	o->conf.policy.split = 2;
	snprintf(o->conf.policy.worker, sizeof(o->conf.policy.worker), "w1");
	open_coordinator(o, 1);
	publish_agent(o, "gw", agent_of("gw", MSG_READY, 1));
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
	office_destroy(o);
}

static void what_somebody_else_decides_is_overruled(void **state)
{
	struct topic t = { .kind = TOPIC_DECISION, .fleet = TOY_FLEET, .agent = "gw" };
	struct msg m = { .type = MSG_DECISION,
			 .u.decision = { .agent = "gw", .number = 9, .split = 1, .reason = "me" } };
	struct office *o = office_create();

	(void)state;
	o->conf.policy.split = 2;
	open_coordinator(o, 1);
	publish_agent(o, "gw", agent_of("gw", MSG_READY, 1));
	pass(o, 1000);
	assert_int_equal(link_publish(o->crowd.bus, &t, &m, 1, true, 0), 0);
	pass(o, 1000);
	assert_int_equal(o->heard.number, 10);
	assert_int_equal(o->heard.split, 2);
	office_destroy(o);
}

static void a_standby_follows_and_decides_nothing(void **state)
{
	struct office *o = office_create();

	(void)state;
	o->conf.policy.split = 2;
	open_coordinator(o, 1);
	pass(o, 500);
	o->conf.policy.split = 3; /* the standby would decide otherwise */
	open_standby(o);
	o->conf.policy.split = 2;
	publish_agent(o, "gw", agent_of("gw", MSG_READY, 1));
	pass(o, 5000);
	assert_int_equal(o->n_heard, 1);
	assert_int_equal(o->heard.split, 2);
	assert_string_equal(o->heard.coordinator, "coordinator");
	assert_int_equal(o->heard.term, 1);
	assert_false(lease_is_active(&o->standby.lease, o->now_ms));
	assert_int_equal(roster_ready_agents(&o->standby.roster), 1);
	assert_int_equal(roster_find_agent(&o->standby.roster, "gw")->decision.number, 1);
	office_destroy(o);
}

static void a_standby_takes_over_within_the_timeout(void **state)
{
	struct office *o = office_create();

	(void)state;
	o->conf.policy.split = 2;
	open_coordinator(o, 1);
	open_standby(o);
	publish_agent(o, "gw", agent_of("gw", MSG_READY, 1));
	pass(o, 1000);
	assert_true(lease_is_active(&o->core.lease, o->now_ms));
	close_coordinator(o); /* without a word */
	publish_agent(o, "gw2", agent_of("gw2", MSG_READY, 1));
	pass(o, o->conf.lease_ms + 200);
	assert_int_equal(o->n_heard, 2); /* what was right is not said again */
	assert_string_equal(o->heard.agent, "gw2");
	assert_string_equal(o->heard.coordinator, "standby");
	assert_int_equal(o->heard.term, 2);
	office_destroy(o);
}

static void a_coordinator_that_stops_hands_over_at_once(void **state)
{
	struct office *o = office_create();

	(void)state;
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
	office_destroy(o);
}

static void a_deposed_coordinator_is_silent_and_overruled(void **state)
{
	struct topic t = { .kind = TOPIC_COORDINATOR_LEASE, .fleet = TOY_FLEET };
	struct msg m = { .type = MSG_COORDINATOR_LEASE,
			 .u.coordinator_lease = {
				 .coordinator = "other", .boot = 5, .term = 9, .lease_ms = 1000 } };
	struct office *o = office_create();

	(void)state;
	open_coordinator(o, 1);
	pass(o, 1000);
	assert_int_equal(link_publish(o->crowd.bus, &t, &m, 1, true, 0), 0);
	publish_agent(o, "gw", agent_of("gw", MSG_READY, 1));
	pass(o, 900);
	assert_int_equal(o->n_heard, 0);
	pass(o, 400); /* the other one is never heard of again */
	assert_int_equal(o->n_heard, 1);
	assert_int_equal(o->heard.term, 10);
	office_destroy(o);
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
	t.boot = 2;
	t.link.rtt_ms = 99;
	roster_agent_telemetry(&r, &t); /* of a life that is not there yet */
	assert_int_equal(r.n_due, 0);
	roster_finish(&r);
}

static void a_status_under_another_name_and_malformed_ones_are_refused(void **state)
{
	static const char *const texts[] = { "", "{", "null", "{\"type\":\"agent.status\"}" };
	struct office *o = office_create();

	(void)state;
	open_coordinator(o, 1);
	publish_agent(o, "gw2", agent_of("gw", MSG_READY, 1));
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
	office_destroy(o);
}

static void an_unpublished_decision_is_tried_again(void **state)
{
	struct office *o = office_create();

	(void)state;
	open_coordinator(o, 1);
	publish_agent(o, "gw", agent_of("gw", MSG_READY, 1));
	pass(o, 200);
	bus_mem_cut(o->broker, "coordinator");
	pass(o, 1000);
	assert_int_equal(o->n_heard, 0);
	bus_mem_restore(o->broker, "coordinator");
	pass(o, 1000);
	assert_int_equal(o->n_heard, 1);
	office_destroy(o);
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
		cmocka_unit_test(ready_ones_are_counted),
		cmocka_unit_test(a_status_of_an_earlier_life_is_ignored_unless_it_lives),
		cmocka_unit_test(the_first_decision_is_number_1_and_is_made_once),
		cmocka_unit_test(every_part_of_a_decision_counts_as_a_change),
		cmocka_unit_test(nothing_is_decided_for_an_agent_that_is_not_ready),
		cmocka_unit_test(numbers_count_on_from_a_retained_decision),
		cmocka_unit_test(without_a_wish_the_split_is_a_quarter),
		cmocka_unit_test(a_split_beyond_the_model_becomes_all_of_it),
		cmocka_unit_test(a_named_worker_must_be_ready_and_have_the_model),
		cmocka_unit_test(an_agent_gets_one_decision_that_is_retained),
		cmocka_unit_test(a_decision_that_the_broker_lost_is_said_again),
		cmocka_unit_test(two_coordinators_do_not_flood_the_broker),
		cmocka_unit_test(nothing_is_decided_before_the_retained_messages_are_in),
		cmocka_unit_test(while_messages_wait_they_are_read_before_much_is_decided),
		cmocka_unit_test(the_number_counts_on_over_a_restart),
		cmocka_unit_test(an_override_speaks_where_it_says_something),
		cmocka_unit_test(
			a_named_worker_is_named_once_it_is_ready_and_left_out_when_it_goes),
		cmocka_unit_test(what_somebody_else_decides_is_overruled),
		cmocka_unit_test(a_standby_follows_and_decides_nothing),
		cmocka_unit_test(a_standby_takes_over_within_the_timeout),
		cmocka_unit_test(a_coordinator_that_stops_hands_over_at_once),
		cmocka_unit_test(a_deposed_coordinator_is_silent_and_overruled),
		cmocka_unit_test(ten_thousand_agents_are_found_at_once),
		cmocka_unit_test(agents_of_a_worker_are_counted),
		cmocka_unit_test(decisions_that_go_back_and_forth_pause_longer_and_longer),
		cmocka_unit_test(telemetry_is_worth_a_look_when_it_moved),
		cmocka_unit_test(a_status_under_another_name_and_malformed_ones_are_refused),
		cmocka_unit_test(an_unpublished_decision_is_tried_again),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
