/* tests/test_agent_workers.c - the agent over a bus in memory: workers that come and go. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "tests/hall.h"

static void another_model_everywhere_is_told_at_once(void **state)
{
	struct hall *h = *state;

	hall_ask(h, "before", "");
	hall_pass(h, 5);
	hall_tell_status(h, "w8", "ready", HALL_OTHER_MODEL);
	hall_pass(h, 2);
	hall_assert_refused(h, "before", ERR_MODEL_MISMATCH);
	assert_non_null(strstr(hall_final(h, "before")->reason, HALL_OTHER_MODEL));
	assert_non_null(strstr(hall_final(h, "before")->reason, "w8"));
	hall_ask(h, "after", "");
	hall_pass(h, 2);
	hall_assert_refused(h, "after", ERR_MODEL_MISMATCH);
	hall_ask(h, "local", "\"split\":4");
	hall_pass(h, 100);
	hall_assert_answered(h, "local");
	hall_open_worker(h, 0);
	hall_pass(h, 5);
	hall_ask(h, "a", "");
	hall_pass(h, 100);
	hall_assert_answered(h, "a");
}

static void waiting_prompts_hear_of_the_mismatch_too(void **state)
{
	struct hall *h = *state;
	char id[16];

	for (unsigned i = 0; i < 7; i++) {
		snprintf(id, sizeof(id), "n%u", i);
		hall_ask(h, id, "");
	}
	hall_pass(h, 5);
	hall_tell_status(h, "w8", "ready", HALL_OTHER_MODEL);
	hall_pass(h, 1000);
	for (unsigned i = 0; i < 7; i++) {
		snprintf(id, sizeof(id), "n%u", i);
		hall_assert_refused(h, id, ERR_MODEL_MISMATCH);
	}
}

static void a_mismatch_is_not_believed_before_all_statuses_are_in(void **state)
{
	struct hall *h = *state;

	bus_mem_cut(h->broker, "gw");
	hall_pass(h, 5);
	hall_tell_status(h, "w8", "ready", HALL_OTHER_MODEL);
	bus_mem_restore(h->broker, "gw");
	hall_ask(h, "a", "");
	hall_pass(h, 5);
	assert_int_equal(hall_n_finals(h, "a"), 0);
	hall_open_worker(h, 0); /* a little later */
	hall_pass(h, 400);
	hall_assert_answered(h, "a");
}

static void an_accept_for_an_unknown_session_is_closed(void **state)
{
	static const char accept[] =
		"{\"type\":\"accept\",\"session\":\"00000000000000aa\",\"epoch\":3,"
		"\"worker\":\"w0\",\"context_tokens\":96,\"max_packet_bytes\":65536}";
	struct hall *h = *state;
	const struct hall_heard *x;

	hall_publish(h, "splitmq/v1/sim/session/w1/gw/00000000000000aa/down", accept, false);
	hall_pass(h, 5);
	assert_int_equal(hall_n_of_type(h, MSG_CLOSE), 0); /* w1 cannot speak for w0 */
	hall_publish(h, "splitmq/v1/sim/session/w0/gw/00000000000000aa/down", accept, false);
	hall_pass(h, 5);
	x = hall_last_of_type(h, MSG_CLOSE);
	assert_int_equal(hall_n_of_type(h, MSG_CLOSE), 1);
	assert_string_equal(x->topic.worker, "w0");
	assert_true(x->m.u.close.session == 0xaa);
	assert_int_equal(x->m.u.close.epoch, 3);
}

static void a_draining_worker_hands_its_sessions_over(void **state)
{
	struct hall *h = *state;

	hall_open_worker(h, 0);
	h->hold_tails = true;
	hall_ask(h, "a", "");
	hall_pass(h, 5);
	assert_int_equal(worker_core_sessions(h->desks[0].core), 1);
	worker_core_drain(h->desks[0].core);
	hall_pass(h, 50);
	assert_int_equal(worker_core_sessions(h->desks[0].core), 1); /* no other is there */
	hall_open_worker(h, 1);
	hall_pass(h, 5);
	worker_core_drain(h->desks[0].core);
	hall_pass(h, 5);
	h->hold_tails = false;
	hall_pass(h, 5);
	assert_int_equal(worker_core_sessions(h->desks[0].core), 0); /* it was told */
	hall_pass(h, 200);
	hall_assert_answered(h, "a");
	assert_string_equal(hall_final(h, "a")->stats.worker, "w1");
	assert_int_equal(hall_final(h, "a")->stats.epochs, 2);
}

static void a_dead_worker_is_replaced_at_once(void **state)
{
	struct hall *h = *state;

	hall_open_worker(h, 0);
	h->hold_tails = true;
	hall_ask(h, "a", "");
	hall_pass(h, 5);
	hall_open_worker(h, 1);
	hall_pass(h, 5);
	bus_mem_cut(h->broker, "w0");
	hall_close_desk(&h->desks[0]);
	h->hold_tails = false;
	hall_pass(h, 100);
	hall_assert_answered(h, "a");
	assert_string_equal(hall_final(h, "a")->stats.worker, "w1");
}

static void a_status_in_anothers_name_is_refused(void **state)
{
	struct hall *h = *state;

	hall_open_worker(h, 0);
	hall_open_worker(h, 1);
	h->hold_tails = true;
	hall_ask(h, "a", "");
	hall_pass(h, 5);
	hall_publish(h, "splitmq/v1/sim/worker/evil/status",
		     "{\"type\":\"worker.status\",\"worker\":\"w0\",\"state\":\"lost\","
		     "\"boot\":\"000000000000000a\"}",
		     false);
	hall_publish(h, "splitmq/v1/sim/worker/evil/status",
		     "{\"type\":\"worker.status\",\"worker\":\"w1\",\"state\":\"lost\","
		     "\"boot\":\"000000000000000b\"}",
		     false);
	hall_pass(h, 5);
	h->hold_tails = false;
	hall_pass(h, 100);
	hall_assert_answered(h, "a");
	assert_int_equal(hall_final(h, "a")->stats.epochs, 1);
}

static void a_shorter_context_of_the_worker_ends_the_answer_earlier(void **state)
{
	struct worker_core_conf wc = toy_worker_conf("w0", 10);
	struct hall *h = *state;

	wc.limits.context_tokens = 9;
	hall_open_desk(h, 0, &wc);
	hall_ask(h, "a", "");
	hall_pass(h, 100);
	assert_string_equal(hall_final(h, "a")->finish_reason, "context");
	assert_int_equal(hall_final(h, "a")->n_ids, 5);
	assert_int_equal(h->kv_tokens, 0);
}

static void a_full_worker_is_passed_over(void **state)
{
	struct worker_core_conf wc = toy_worker_conf("w0", 10);
	struct hall *h = *state;

	wc.max_sessions = 1;
	hall_open_desk(h, 0, &wc);
	h->hold_tails = true;
	hall_ask(h, "a", "");
	hall_pass(h, 5);
	hall_ask(h, "b", "");
	hall_pass(h, 5);
	assert_int_equal(hall_last_of_type(h, MSG_ERROR)->m.u.error.code, ERR_BUSY);
	h->hold_tails = false;
	hall_pass(h, 1000);
	hall_assert_answered(h, "a");
	hall_assert_answered(h, "b"); /* at the next try */
}

static void answers_about_another_session_than_their_topics_are_dropped(void **state)
{
	static const char *const forged[] = {
		"{\"type\":\"error\",\"session\":\"00000000000000aa\",\"epoch\":1,\"seq\":0,"
		"\"code\":\"refused\",\"reason\":\"forged\"}",
		"{\"type\":\"tokens\",\"session\":\"00000000000000aa\",\"epoch\":1,\"seq\":1,"
		"\"pos\":4,\"ids\":[1],\"end\":false,\"queue_us\":0,\"compute_us\":0}",
		"{\"type\":\"need\",\"session\":\"00000000000000aa\",\"epoch\":1,\"seq\":1,"
		"\"kv_len\":1}",
		"{\"type\":\"accept\",\"session\":\"00000000000000aa\",\"epoch\":1,"
		"\"worker\":\"w0\",\"context_tokens\":1,\"max_packet_bytes\":65536}",
		"{\"type\":",
	};
	struct hall *h = *state;
	struct topic t = { .kind = TOPIC_DOWN, .fleet = TOY_FLEET, .agent = "gw", .worker = "w0" };
	char topic[TOPIC_MAX];

	hall_open_worker(h, 0);
	h->hold_tails = true;
	hall_ask(h, "a", "");
	hall_pass(h, 5);
	t.session = hall_last_of_type(h, MSG_OPEN)->m.u.open.session;
	topic_put(topic, &t);
	for (unsigned i = 0; i < sizeof(forged) / sizeof(forged[0]); i++)
		hall_publish(h, topic, forged[i], false);
	hall_pass(h, 5);
	h->hold_tails = false;
	hall_pass(h, 100);
	hall_assert_answered(h, "a");
	assert_int_equal(hall_final(h, "a")->stats.epochs, 1);
}

static void our_workers_death_is_no_mismatch(void **state)
{
	struct hall *h = *state;

	hall_open_worker(h, 0);
	hall_tell_status(h, "w8", "ready", HALL_OTHER_MODEL);
	hall_pass(h, 400);
	h->hold_tails = true;
	hall_ask(h, "a", "");
	hall_pass(h, 5);
	bus_mem_cut(h->broker, "w0");
	hall_close_desk(&h->desks[0]);
	h->hold_tails = false;
	hall_pass(h, 50);
	assert_int_equal(hall_n_finals(h, "a"), 0);
	hall_open_worker(h, 0);
	hall_pass(h, 1000);
	hall_assert_answered(h, "a");
}

/* The agent goes alone after so long. */
static void reopen(struct hall *h, uint32_t offline_after_ms)
{
	struct agent_core_conf conf = toy_agent_conf();

	toy_close_node(&h->agent_node);
	agent_core_destroy(h->agent);
	conf.tokenizer = h->tokenizer;
	conf.offline_after_ms = offline_after_ms;
	hall_open_agent(h, &conf, 0);
	hall_pass(h, 400);
}

static void a_split_that_was_asked_for_is_waited_for_that_long(void **state)
{
	struct hall *h = *state;

	hall_open_worker(h, 0);
	reopen(h, 500);
	h->hold_tails = true;
	hall_ask(h, "pinned", "\"split\":1");
	hall_ask(h, "free", "");
	hall_pass(h, 5);
	bus_mem_cut(h->broker, "w0");
	hall_close_desk(&h->desks[0]);
	h->hold_tails = false;
	hall_pass(h, 450);
	assert_int_equal(hall_n_finals(h, "pinned"), 0);
	hall_pass(h, 150);
	hall_assert_refused(h, "pinned", ERR_OFFLINE);
	assert_non_null(strstr(hall_final(h, "pinned")->reason, "no worker"));
	hall_assert_answered(h, "free");
	assert_true(hall_final(h, "free")->degraded);
	hall_ask(h, "late", "\"split\":1");
	hall_ask(h, "local", "\"split\":4");
	hall_ask(h, "beyond", "\"split\":5");
	hall_pass(h, 10);
	hall_assert_refused(h, "late", ERR_OFFLINE);
	hall_assert_answered(h, "local");
	hall_assert_refused(h, "beyond", ERR_LIMIT);
	hall_open_worker(h, 0);
	hall_pass(h, 10);
	hall_ask(h, "again", "\"split\":1");
	hall_pass(h, 100);
	hall_assert_answered(h, "again");
}

/* A prompt that runs here anyway is what it would have been: not degraded, nothing handed over. */
static void what_runs_here_anyway_does_not_notice(void **state)
{
	struct hall *h = *state;

	hall_open_worker(h, 0);
	reopen(h, 500);
	h->hold_heads = true;
	hall_ask(h, "local", "\"split\":4");
	hall_pass(h, 5);
	bus_mem_cut(h->broker, "w0");
	hall_close_desk(&h->desks[0]);
	hall_pass(h, 600);
	h->hold_heads = false;
	hall_pass(h, 100);
	hall_assert_answered(h, "local");
	assert_false(hall_final(h, "local")->degraded);
	assert_int_equal(hall_final(h, "local")->stats.handovers, 0);
}

static void it_is_waited_for_without_a_broker_too(void **state)
{
	struct msg_prompt m = { .id = "a", .prompt_len = 1, .has_split = true, .split = 1 };
	struct hall *h = *state;

	reopen(h, 500);
	hall_open_worker(h, 0);
	hall_pass(h, 5);
	bus_mem_cut(h->broker, "gw");
	hall_pass(h, 5);
	m.prompt = strdup("x");
	agent_core_prompt(h->agent, &m, h->now_us);
	hall_pass(h, 450);
	assert_int_equal(h->n_in_process, 0);
	hall_pass(h, 100);
	assert_int_equal(h->n_in_process, 1);
	assert_int_equal(h->in_process.error, ERR_OFFLINE);
	assert_non_null(strstr(h->in_process.reason, "no broker"));
}

/* Those that wait for the broker do not keep a prompt waiting that needs none. */
static void without_a_broker_what_needs_none_is_answered_first(void **state)
{
	struct msg_prompt m = { .prompt_len = 1, .has_split = true, .max_tokens = 3 };
	struct hall *h = *state;

	hall_open_worker(h, 0);
	hall_pass(h, 5);
	bus_mem_cut(h->broker, "gw");
	hall_pass(h, 5);
	for (unsigned i = 0; i < 4; i++) {
		snprintf(m.id, sizeof(m.id), "p%u", i);
		m.split = i == 3 ? TOY_LAYERS : 1;
		m.prompt = strdup("x");
		agent_core_prompt(h->agent, &m, h->now_us);
	}
	hall_pass(h, 50);
	assert_int_equal(h->n_in_process, 1);
	assert_string_equal(h->in_process.id, "p3");
	bus_mem_restore(h->broker, "gw");
	hall_pass(h, 1000);
	assert_int_equal(h->n_in_process, 4);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, hall_open, hall_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(another_model_everywhere_is_told_at_once),
		TEST(waiting_prompts_hear_of_the_mismatch_too),
		TEST(a_mismatch_is_not_believed_before_all_statuses_are_in),
		TEST(an_accept_for_an_unknown_session_is_closed),
		TEST(a_draining_worker_hands_its_sessions_over),
		TEST(a_dead_worker_is_replaced_at_once),
		TEST(a_status_in_anothers_name_is_refused),
		TEST(a_shorter_context_of_the_worker_ends_the_answer_earlier),
		TEST(a_full_worker_is_passed_over),
		TEST(answers_about_another_session_than_their_topics_are_dropped),
		TEST(our_workers_death_is_no_mismatch),
		TEST(a_split_that_was_asked_for_is_waited_for_that_long),
		TEST(what_runs_here_anyway_does_not_notice),
		TEST(it_is_waited_for_without_a_broker_too),
		TEST(without_a_broker_what_needs_none_is_answered_first),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
