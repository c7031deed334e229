/* tests/test_agent_core.c - the agent over a bus in memory: prompts and their answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/meter.h"
#include "agent/slot.h"
#include "agent/sounding.h"
#include "base/log.h"
#include "tests/hall.h"

static void a_prompt_is_answered_on_its_reply_topic(void **state)
{
	struct hall *h = *state;
	const struct msg_stats *st;

	hall_open_worker(h, 0);
	hall_ask(h, "a", "");
	hall_pass(h, 100);
	hall_assert_answered(h, "a");
	st = &hall_final(h, "a")->stats;
	assert_int_equal(st->prompt_tokens, 4);
	assert_int_equal(st->split, 1);
	assert_int_equal(st->epochs, 1);
	assert_int_equal(st->retries, 0);
	assert_string_equal(st->worker, "w0");
	assert_string_equal(st->codec, "f32");
	assert_true(st->bytes_up > 0 && st->bytes_down > 0);
	assert_int_equal(worker_core_sessions(h->desks[0].core), 0); /* it was closed */
}

static void streamed_pieces_make_up_the_text(void **state)
{
	struct hall *h = *state;
	char whole[4096] = "";
	size_t len = 0;

	hall_open_worker(h, 0);
	hall_ask(h, "a", "\"stream\":true");
	hall_pass(h, 100);
	hall_assert_answered(h, "a");
	for (unsigned i = 0; i < h->n_heard; i++) {
		const struct msg_reply *r = &h->heard[i].m.u.reply;

		if (h->heard[i].m.type == MSG_REPLY && !r->done)
			len += (size_t)snprintf(whole + len, sizeof(whole) - len, "%s", r->text);
	}
	assert_true(len > 0);
	assert_string_equal(whole, hall_final(h, "a")->text);
}

/* The pieces of an answer so far, one behind the other. */
static size_t gather(const struct hall *h, const char *id, char dst[static 64])
{
	size_t len = 0;

	for (unsigned i = 0; i < h->n_heard; i++) {
		const struct msg_reply *r = &h->heard[i].m.u.reply;

		if (h->heard[i].m.type != MSG_REPLY || r->done || strcmp(r->id, id))
			continue;
		assert_in_range(len + r->text_len, 0, 64);
		memcpy(dst + len, r->text, r->text_len);
		len += r->text_len;
	}
	return len;
}

/* The toy's ids are the bytes of their text, and one of them is NUL. */
static void a_nul_does_not_end_the_text(void **state)
{
	struct hall *h = *state;
	unsigned nuls = 0;

	hall_open_worker(h, 0);
	for (unsigned seed = 0; seed < 16; seed++) {
		char prompt[96], id[8], whole[64];
		const struct msg_reply *r;
		size_t len;

		snprintf(id, sizeof(id), "s%u", seed);
		snprintf(prompt, sizeof(prompt),
			 "{\"prompt\":\"a\\u0000b\",\"id\":\"%s\",\"seed\":%u,\"max_tokens\":12,"
			 "\"stream\":true}",
			 id, seed);
		hall_publish(h, "splitmq/v1/sim/agent/gw/prompt", prompt, false);
		hall_pass(h, 100);
		r = hall_final(h, id);
		len = gather(h, id, whole);
		assert_int_equal(r->stats.prompt_tokens, 3);
		assert_int_equal(len, r->n_ids - (r->ids[r->n_ids - 1] == TOY_END_ID));
		assert_int_equal(len, r->text_len);
		assert_memory_equal(whole, r->text, len);
		for (size_t i = 0; i < len; i++)
			assert_int_equal(whole[i], r->ids[i]);
		nuls += memchr(whole, '\0', len) != NULL;
		hall_forget(h);
	}
	assert_true(nuls > 0);
}

static void all_layers_here_need_no_worker(void **state)
{
	struct hall *h = *state;

	hall_ask(h, "a", "\"split\":4");
	hall_pass(h, 100);
	hall_assert_answered(h, "a");
	assert_string_equal(hall_final(h, "a")->stats.worker, "");
}

/* Not of the one that took its place meanwhile. */
static void the_front_of_a_reply_is_that_of_its_newest_rows(void **state)
{
	static const struct agent_front own = { .layers = 1, .name = "own" };
	static const struct agent_front fine = {
		.index = 1, .layers = TOY_LAYERS, .has_head = true, .name = "fine"
	};
	struct agent_core_conf conf = toy_agent_conf();
	struct hall *h = *state;

	agent_core_destroy(h->agent);
	toy_close_node(&h->agent_node);
	conf.tokenizer = h->tokenizer;
	conf.n_fronts = 2;
	snprintf(conf.fronts[0], sizeof(conf.fronts[0]), "own");
	snprintf(conf.fronts[1], sizeof(conf.fronts[1]), "fine");
	hall_open_agent(h, &conf, 0);
	for (unsigned i = 0; i < 2; i++) {
		const char *id = i ? "b" : "a";

		agent_core_use_front(h->agent, i ? &own : &fine);
		h->hold_heads = true;
		hall_ask(h, id, "\"split\":4");
		hall_pass(h, 5);
		agent_core_use_front(h->agent, i ? &fine : &own);
		hall_cancel(h, id);
		hall_pass(h, 5);
		assert_string_equal(hall_final(h, id)->stats.front, i ? "own" : "fine");
		h->hold_heads = false;
		hall_pass(h, 5);
	}
}

/* The model says the same on the same prompt: once is enough to know what comes. */
static void what_was_said_before_is_guessed(void **state)
{
	struct hall *h = *state;
	struct agent_core_conf conf = toy_agent_conf();

	for (unsigned ahead = 0; ahead < 2; ahead++) {
		toy_close_node(&h->agent_node);
		agent_core_destroy(h->agent);
		conf.tokenizer = h->tokenizer;
		conf.run_ahead = ahead;
		hall_open_agent(h, &conf, 0);
		if (!ahead)
			hall_open_worker(h, 0);
		hall_pass(h, 1000);
		for (unsigned i = 0; i < 2; i++) {
			h->guesses = h->right = 0;
			hall_forget(h);
			hall_ask(h, "a", "");
			hall_pass(h, 400);
			hall_assert_answered(h, "a");
		}
		/* nothing is computed for the last token of an answer */
		assert_int_equal(h->guesses, ahead ? 11 : 0);
		assert_int_equal(h->right, ahead ? 11 : 0);
	}
	hall_ask(h, "b", "\"split\":4");
	h->guesses = 0;
	hall_pass(h, 400);
	assert_int_equal(hall_final(h, "b")->error, 0);
	assert_int_equal(h->guesses, 0); /* no answer is on its way */
}

/* The same prompt three times, by an agent and a worker that let so many drafts out; those of the
 * last answer that are to go out. */
static unsigned drafts_of(struct hall *h, uint32_t agent, uint32_t worker)
{
	struct agent_core_conf conf = toy_agent_conf();
	struct worker_core_conf wc = toy_worker_conf("w0", 10);

	toy_close_node(&h->agent_node);
	agent_core_destroy(h->agent);
	if (h->desks[0].core)
		hall_close_desk(&h->desks[0]);
	conf.tokenizer = h->tokenizer;
	conf.run_ahead = true;
	conf.drafts = agent;
	wc.drafts = worker;
	hall_open_agent(h, &conf, 0);
	hall_open_desk(h, 0, &wc);
	hall_pass(h, 1000);
	for (unsigned i = 0; i < 3; i++) {
		h->guesses = h->to_send = 0;
		hall_forget(h);
		hall_ask(h, "a", "");
		hall_pass(h, 400);
		hall_assert_answered(h, "a");
	}
	assert_int_equal(h->guesses, 11);
	return h->to_send;
}

/* A token that is likely to be right goes out, where both sides want that. */
static void rows_that_are_likely_go_out_as_drafts(void **state)
{
	struct hall *h = *state;

	assert_int_equal(drafts_of(h, 0, 4), 0);
	assert_int_equal(drafts_of(h, 4, 0), 0);
	assert_in_range(drafts_of(h, 1, 4), 9, 11); /* none follows the last token */
	assert_in_range(drafts_of(h, 2, 4), 18, 22);
	assert_in_range(drafts_of(h, 4, 2), 18, 22);
}

static void malformed_prompts_get_an_error_reply(void **state)
{
	static const char *const texts[] = { "{\"prompt\":", "{}", "[1]", "{\"prompt\":\"\"}" };
	struct hall *h = *state;

	for (unsigned i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		hall_publish(h, "splitmq/v1/sim/agent/gw/prompt", texts[i], false);
	hall_publish(h, "splitmq/v1/sim/agent/gw/prompt", "{\"prompt\":5,\"id\":\"mine\"}", false);
	hall_pass(h, 5);
	assert_int_equal(hall_n_of_type(h, MSG_REPLY), 5);
	hall_assert_refused(h, "p1", ERR_FORMAT);
	hall_assert_refused(h, "p4", ERR_FORMAT);
	hall_assert_refused(h, "mine", ERR_FORMAT);
}

static void a_retained_prompt_is_ignored(void **state)
{
	struct hall *h = *state;
	struct agent_core_conf conf = toy_agent_conf();

	agent_core_destroy(h->agent);
	toy_close_node(&h->agent_node);
	hall_open_worker(h, 0);
	hall_publish(h, "splitmq/v1/sim/agent/gw/prompt", "{\"prompt\":\"again\",\"id\":\"a\"}",
		     true);
	hall_publish(h, "splitmq/v1/sim/agent/gw/reply/x", "{}", false);
	bus_mem_pump(h->broker, h->now_us / 1000);
	conf.tokenizer = h->tokenizer;
	hall_open_agent(h, &conf, 0);
	hall_pass(h, 200);
	assert_int_equal(hall_n_of_type(h, MSG_REPLY), 0);
	assert_int_equal(agent_core_sessions(h->agent), 0);
}

static void a_repeated_id_is_ignored_while_it_is_being_answered(void **state)
{
	struct hall *h = *state;

	hall_open_worker(h, 0);
	hall_ask(h, "a", "");
	hall_ask(h, "a", "");
	hall_pass(h, 100);
	assert_int_equal(hall_n_finals(h, "a"), 1);
	hall_ask(h, "a", "");
	hall_pass(h, 100);
	assert_int_equal(hall_n_finals(h, "a"), 2); /* that one is over: a new question */
}

static void prompts_that_cannot_be_are_refused_with_their_code(void **state)
{
	char keys[128];
	struct hall *h = *state;

	hall_open_worker(h, 0);
	hall_ask(h, "split", "\"split\":5");
	hall_ask(h, "codec", "\"codec\":\"q9\"");
	hall_ask(h, "kv", "\"kv\":\"q9\"");
	snprintf(keys, sizeof(keys), "{\"id\":\"long\",\"prompt\":\"%096d\"}", 0);
	hall_publish(h, "splitmq/v1/sim/agent/gw/prompt", keys, false);
	hall_pass(h, 5);
	hall_assert_refused(h, "split", ERR_LIMIT);
	hall_assert_refused(h, "codec", ERR_UNSUPPORTED);
	hall_assert_refused(h, "kv", ERR_FORMAT);
	assert_non_null(strstr(hall_final(h, "kv")->reason, KV_TYPE_WORDS));
	hall_assert_refused(h, "long", ERR_CONTEXT);
	assert_int_equal(hall_n_of_type(h, MSG_OPEN), 0);
	hall_ask(h, "a", "");
	hall_pass(h, 100);
	hall_assert_answered(h, "a");
}

static void prompts_wait_for_a_session_and_too_many_are_refused(void **state)
{
	struct hall *h = *state;
	char id[16];

	hall_open_worker(h, 0);
	h->hold_heads = true;
	for (unsigned i = 0; i < 3 + 64 + 2; i++) {
		snprintf(id, sizeof(id), "n%u", i);
		hall_ask(h, id, "");
	}
	hall_pass(h, 5);
	assert_int_equal(agent_core_sessions(h->agent), 3 + 64);
	assert_int_equal(hall_n_of_type(h, MSG_REPLY), 2);
	hall_assert_refused(h, "n67", ERR_BUSY);
	hall_assert_refused(h, "n68", ERR_BUSY);
	hall_cancel(h, "n10");
	hall_pass(h, 2);
	h->hold_heads = false;
	hall_forget(h);
	for (unsigned i = 0; i < 30; i++) {
		snprintf(id, sizeof(id), "n%u", 37 + i);
		hall_cancel(h, id);
	}
	hall_pass(h, 600);
	hall_assert_answered(h, "n0");
	hall_assert_answered(h, "n36");
	assert_int_equal(agent_core_sessions(h->agent), 0);
}

static void running_and_waiting_prompts_can_be_cancelled(void **state)
{
	struct hall *h = *state;

	hall_open_worker(h, 0);
	h->hold_tails = true;
	hall_ask(h, "r1", "");
	hall_ask(h, "r2", "");
	hall_ask(h, "r3", "");
	hall_ask(h, "w1", "");
	hall_ask(h, "w2", "");
	hall_pass(h, 10);
	hall_cancel(h, "w1");
	hall_cancel(h, "r2");
	hall_cancel(h, "nobody");
	hall_pass(h, 10);
	assert_string_equal(hall_final(h, "r2")->finish_reason, "cancelled");
	assert_string_equal(hall_final(h, "w1")->finish_reason, "cancelled");
	assert_int_equal(hall_final(h, "w1")->error, ERR_CANCELLED);
	assert_int_equal(agent_core_sessions(h->agent), 3);
	h->hold_tails = false;
	hall_pass(h, 200);
	hall_assert_answered(h, "r1");
	hall_assert_answered(h, "r3");
	hall_assert_answered(h, "w2");
	assert_int_equal(hall_n_finals(h, "r2") + hall_n_finals(h, "w1"), 2);
}

static void a_cancelled_session_keeps_its_slot_until_the_job_is_back(void **state)
{
	struct hall *h = *state;

	hall_open_worker(h, 0);
	h->hold_heads = true;
	hall_ask(h, "a", "");
	hall_pass(h, 5);
	hall_cancel(h, "a");
	hall_pass(h, 5);
	assert_string_equal(hall_final(h, "a")->finish_reason, "cancelled");
	assert_int_equal(agent_core_sessions(h->agent), 0);
	assert_true(agent_core_busy(h->agent));
	h->hold_heads = false;
	hall_pass(h, 5);
	assert_false(agent_core_busy(h->agent));
	assert_int_equal(h->kv_tokens, 0);
}

static void a_full_compute_queue_fails_the_prompt(void **state)
{
	struct hall *h = *state;

	h->refuse_jobs = true;
	hall_ask(h, "a", "");
	hall_pass(h, 5);
	hall_assert_refused(h, "a", ERR_BUSY);
	assert_false(agent_core_busy(h->agent));
	assert_int_equal(h->kv_tokens, 0);
}

static void a_draining_agent_refuses_and_finishes(void **state)
{
	struct hall *h = *state;

	hall_open_worker(h, 0);
	h->hold_tails = true;
	hall_ask(h, "a", "");
	hall_pass(h, 5);
	agent_core_drain(h->agent);
	hall_ask(h, "b", "");
	hall_pass(h, 5);
	hall_assert_refused(h, "b", ERR_REFUSED);
	assert_int_equal(hall_last_of_type(h, MSG_AGENT_STATUS)->m.u.agent_status.state,
			 MSG_DRAINING);
	h->hold_tails = false;
	hall_pass(h, 100);
	hall_assert_answered(h, "a");
	assert_int_equal(agent_core_goodbye(h->agent), 0);
	hall_pass(h, 2);
	assert_int_equal(hall_last_of_type(h, MSG_AGENT_STATUS)->m.u.agent_status.state,
			 MSG_OFFLINE);
}

static void a_prompt_of_this_process_is_answered_in_it(void **state)
{
	struct msg_prompt m = { .id = "a", .prompt_len = 4, .max_tokens = 3, .kv = "q4_0" };
	struct hall *h = *state;

	hall_open_worker(h, 0);
	m.prompt = strdup(HALL_PROMPT);
	agent_core_prompt(h->agent, &m, h->now_us);
	assert_null(m.prompt);
	hall_pass(h, 100);
	assert_int_equal(h->n_in_process, 1);
	assert_int_equal(h->in_process.error, 0);
	assert_true(h->in_process.done);
	assert_int_equal(h->head_kv, KV_Q4_0);
	assert_int_equal(hall_n_of_type(h, MSG_REPLY), 0);
}

static void without_a_free_session_ids_are_refused(void **state)
{
	struct msg_prompt m = { .id = "x" };
	struct hall *h = *state;

	h->hold_heads = true;
	for (unsigned i = 0; i < 3; i++)
		agent_core_prompt_ids(h->agent, &m, (uint32_t[]){ 1, 2 }, 2, h->now_us);
	assert_int_equal(h->n_in_process, 0);
	agent_core_prompt_ids(h->agent, &m, (uint32_t[]){ 1, 2 }, 2, h->now_us);
	assert_int_equal(h->n_in_process, 1);
	assert_int_equal(h->in_process.error, ERR_BUSY);
}

static void a_final_reply_waits_for_the_broker(void **state)
{
	struct hall *h = *state;

	h->hold_heads = true;
	hall_ask(h, "a", "\"split\":4");
	hall_pass(h, 5);
	assert_int_equal(agent_core_sessions(h->agent), 1);
	bus_mem_cut(h->broker, "gw");
	h->hold_heads = false;
	hall_pass(h, 100);
	assert_int_equal(agent_core_sessions(h->agent), 0); /* it is done, but nobody can know */
	assert_int_equal(hall_n_finals(h, "a"), 0);
	bus_mem_restore(h->broker, "gw");
	hall_pass(h, 10);
	hall_assert_answered(h, "a");
}

/* Before any session was long enough: so that its speeds can be told for deep ones. */
static void the_models_shape_tells_what_positions_take(void **state)
{
	const struct meter_job row = { .layers = 2, .rows = 1, .layers_us = 400 };
	struct agent_core_conf conf = toy_agent_conf();
	struct hall *h = *state;
	struct msg_speed s;

	toy_close_node(&h->agent_node);
	agent_core_destroy(h->agent);
	conf.tokenizer = h->tokenizer;
	conf.attention = 0.001;
	hall_open_agent(h, &conf, 0);
	meter_job(agent_core_meter(h->agent), &row);
	meter_speed(agent_core_meter(h->agent), 0, &s);
	assert_true(fabs(s.deeper_token_ms - DEPTH_DEAR * 0.2) < 1e-6);
}

/* The same prompt through an agent whose packets hold so much. */
static const struct msg_reply *answer_within(struct hall *h, uint32_t max_packet, const char *id)
{
	struct agent_core_conf conf = toy_agent_conf();

	toy_close_node(&h->agent_node);
	agent_core_destroy(h->agent);
	conf.tokenizer = h->tokenizer;
	hall_open_agent(h, &conf, max_packet);
	hall_pass(h, 1000);
	hall_ask(h, id, "\"split\":4");
	hall_pass(h, 200);
	return hall_final(h, id);
}

static void an_answer_too_large_for_a_packet_goes_without_its_ids(void **state)
{
	struct hall *h = *state;
	const struct msg_reply *r = answer_within(h, 65536, "a");
	size_t len, whole;
	char *text;

	assert_int_equal(msg_print(&(struct msg){ .type = MSG_REPLY, .u.reply = *r }, &text, &len),
			 0);
	free(text);
	whole = len + strlen("splitmq/v1/sim/agent/gw/reply/a") + 16;
	r = answer_within(h, (uint32_t)(whole - 20), "b");
	assert_int_equal(r->error, 0);
	assert_int_equal(r->n_ids, 0);
	assert_true(r->text[0]);
}

static void a_made_id_is_never_one_that_lives(void **state)
{
	struct hall *h = *state;

	h->hold_heads = true;
	hall_ask(h, "p1", "\"split\":4");
	hall_publish(h, "splitmq/v1/sim/agent/gw/prompt",
		     "{\"prompt\":\"" HALL_PROMPT "\",\"split\":4}", false);
	hall_pass(h, 5);
	h->hold_heads = false;
	hall_pass(h, 100);
	assert_int_equal(hall_n_finals(h, "p1"), 1);
	assert_int_equal(hall_n_finals(h, "p2"), 1);
}

static void a_waiting_prompt_has_its_deadline(void **state)
{
	struct hall *h = *state;
	char id[8];

	for (unsigned i = 0; i < 6; i++) { /* three find a session, none a worker */
		snprintf(id, sizeof(id), "a%u", i);
		hall_ask(h, id, "\"deadline_ms\":500");
	}
	hall_pass(h, 490);
	for (unsigned i = 0; i < 6; i++) {
		snprintf(id, sizeof(id), "a%u", i);
		assert_int_equal(hall_n_finals(h, id), 0);
	}
	hall_pass(h, 50);
	for (unsigned i = 0; i < 6; i++) {
		snprintf(id, sizeof(id), "a%u", i);
		hall_assert_refused(h, id, ERR_TIMEOUT);
	}
}

static void without_a_broker_prompts_wait_but_not_for_ever(void **state)
{
	struct hall *h = *state;
	struct msg_prompt m = { .id = "x", .prompt = strdup(HALL_PROMPT), .deadline_ms = 300 };

	m.prompt_len = strlen(m.prompt);
	bus_mem_cut(h->broker, "gw");
	hall_pass(h, 5);
	agent_core_prompt(h->agent, &m, h->now_us);
	hall_pass(h, 290);
	assert_int_equal(h->n_in_process, 0);
	hall_pass(h, 20);
	assert_int_equal(h->n_in_process, 1);
	assert_int_equal(h->in_process.error, ERR_TIMEOUT);
}

static void telemetry_hurries_once_per_change_of_the_link(void **state)
{
	struct agent_core *c = calloc(1, sizeof(*c));
	uint64_t due_ms = 9000;

	(void)state;
	assert_non_null(c);
	c->conf.probe_us = 1;
	sounding_hurry(c, &due_ms, 5000);
	assert_int_equal(due_ms, 9000);
	c->meter.changes++;
	sounding_hurry(c, &due_ms, 5000);
	assert_int_equal(due_ms, 6000);
	due_ms = 9000;
	sounding_hurry(c, &due_ms, 5000);
	assert_int_equal(due_ms, 9000);
	c->conf.probe_us = 0; /* bytes cost */
	c->meter.changes++;
	sounding_hurry(c, &due_ms, 5000);
	assert_int_equal(due_ms, 9000);
	free(c);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, hall_open, hall_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(telemetry_hurries_once_per_change_of_the_link),
		TEST(a_prompt_is_answered_on_its_reply_topic),
		TEST(streamed_pieces_make_up_the_text),
		TEST(a_nul_does_not_end_the_text),
		TEST(all_layers_here_need_no_worker),
		TEST(the_front_of_a_reply_is_that_of_its_newest_rows),
		TEST(what_was_said_before_is_guessed),
		TEST(rows_that_are_likely_go_out_as_drafts),
		TEST(malformed_prompts_get_an_error_reply),
		TEST(a_retained_prompt_is_ignored),
		TEST(a_repeated_id_is_ignored_while_it_is_being_answered),
		TEST(prompts_that_cannot_be_are_refused_with_their_code),
		TEST(prompts_wait_for_a_session_and_too_many_are_refused),
		TEST(running_and_waiting_prompts_can_be_cancelled),
		TEST(a_cancelled_session_keeps_its_slot_until_the_job_is_back),
		TEST(a_full_compute_queue_fails_the_prompt),
		TEST(a_draining_agent_refuses_and_finishes),
		TEST(a_prompt_of_this_process_is_answered_in_it),
		TEST(without_a_free_session_ids_are_refused),
		TEST(a_final_reply_waits_for_the_broker),
		TEST(a_waiting_prompt_has_its_deadline),
		TEST(without_a_broker_prompts_wait_but_not_for_ever),
		TEST(a_made_id_is_never_one_that_lives),
		TEST(the_models_shape_tells_what_positions_take),
		TEST(an_answer_too_large_for_a_packet_goes_without_its_ids),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
