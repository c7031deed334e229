/* tests/test_agent_decision.c - the agent over a bus in memory: decisions, and the caches
 * they name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/log.h"
#include "tests/hall.h"

static void a_decision_holds_from_the_next_session_on(void **state)
{
	struct hall *h = *state;

	hall_open_worker(h, 0);
	hall_open_worker(h, 1);
	hall_decide(h, "\"split\":2,\"codec\":\"f32\",\"worker\":\"w1\",\"context_tokens\":8");
	hall_ask(h, "a", "");
	hall_pass(h, 100);
	assert_int_equal(hall_final(h, "a")->stats.split, 2);
	assert_string_equal(hall_final(h, "a")->stats.worker, "w1");
	assert_string_equal(hall_final(h, "a")->finish_reason, "context");
	assert_int_equal(hall_final(h, "a")->n_ids, 4);
	hall_ask(h, "b", "\"split\":3"); /* the prompt's own wish comes first */
	hall_pass(h, 100);
	assert_int_equal(hall_final(h, "b")->stats.split, 3);
}

/* What the next session gets: the agent's cache, the worker's, the word of OPEN. */
static void assert_caches(struct hall *h, const char *id, const char *keys, enum kv_type head,
			  enum kv_type tail, const char *word)
{
	hall_ask(h, id, keys);
	hall_pass(h, 100);
	hall_assert_answered(h, id);
	assert_int_equal(h->head_kv, head);
	assert_int_equal(h->tail_kv, tail);
	assert_string_equal(hall_last_of_type(h, MSG_OPEN)->m.u.open.kv, word);
	assert_string_equal(hall_final(h, id)->stats.kv, kv_type_name(head));
}

static void the_decided_cache_reaches_both_sides_and_a_prompt_may_want_another(void **state)
{
	struct worker_core_conf wc = toy_worker_conf("w0", 10);
	struct hall *h = *state;

	wc.kv = KV_F32;
	hall_open_desk(h, 0, &wc);
	assert_caches(h, "own", "", KV_F16, KV_F32, ""); /* nothing said: each its own */
	hall_decide(h, "\"split\":1,\"kv\":\"q8_0\"");
	hall_pass(h, 2);
	assert_caches(h, "decided", "", KV_Q8_0, KV_Q8_0, "q8_0");
	assert_caches(h, "wished", "\"kv\":\"q4_0\"", KV_Q4_0, KV_Q4_0, "q4_0");
	hall_decide(h, "\"split\":1,\"kv\":\"q5_0\""); /* unknown: the one before stays */
	hall_pass(h, 2);
	assert_caches(h, "kept", "", KV_Q8_0, KV_Q8_0, "q8_0");
	hall_decide(h, "\"split\":1");
	hall_pass(h, 2);
	assert_caches(h, "again", "", KV_F16, KV_F32, "");
}

static void assert_class(struct hall *h, const char *id, const char *keys, enum msg_class wanted)
{
	hall_ask(h, id, keys);
	hall_pass(h, 100);
	hall_assert_answered(h, id);
	assert_int_equal(hall_last_of_type(h, MSG_OPEN)->m.u.open.class, wanted);
}

static void a_session_is_of_the_prompts_class_else_of_the_agents(void **state)
{
	struct hall *h = *state;

	hall_open_worker(h, 0);
	assert_class(h, "a", "", MSG_BULK);
	assert_class(h, "b", "\"class\":\"interactive\"", MSG_INTERACTIVE);
	assert_class(h, "c", "\"class\":\"bulk\"", MSG_BULK);
}

/* Decided in mid-session; then the session's worker dies. */
static void decide_another_type(struct hall *h, const char *keys)
{
	hall_open_worker(h, 0);
	hall_open_worker(h, 1);
	hall_decide(h, "\"split\":1,\"kv\":\"q8_0\",\"worker\":\"w0\"");
	h->hold_tails = true;
	hall_ask(h, "a", keys);
	hall_pass(h, 5);
	hall_decide(h, "\"split\":1,\"kv\":\"q4_0\",\"worker\":\"w1\"");
	hall_pass(h, 2);
	bus_mem_cut(h->broker, "w0");
	hall_close_desk(&h->desks[0]);
	h->hold_tails = false;
	hall_pass(h, 100);
	hall_assert_answered(h, "a");
	assert_int_equal(hall_final(h, "a")->stats.epochs, 2);
}

static void a_decision_changes_the_agents_cache_of_a_session_not_the_workers(void **state)
{
	struct hall *h = *state;

	decide_another_type(h, "");
	assert_string_equal(hall_last_of_type(h, MSG_OPEN)->m.u.open.kv, "q8_0");
	assert_int_equal(h->tail_kv, KV_Q8_0);
	assert_int_equal(h->head_kv, KV_Q4_0);
	assert_string_equal(hall_final(h, "a")->stats.kv, "q4_0");
}

static void a_cache_that_cannot_be_changed_stays(void **state)
{
	struct hall *h = *state;

	h->refuse_types = true;
	decide_another_type(h, "");
	assert_int_equal(h->head_kv, KV_Q8_0);
	assert_string_equal(hall_final(h, "a")->stats.kv, "q8_0");
}

static void a_prompts_own_cache_stays(void **state)
{
	struct hall *h = *state;

	decide_another_type(h, "\"kv\":\"f32\"");
	assert_int_equal(h->head_kv, KV_F32);
	assert_string_equal(hall_last_of_type(h, MSG_OPEN)->m.u.open.kv, "f32");
}

#define LONG_PROMPT 80u

/* A session that waits for the worker and has the rows of a long prompt; then a decision. */
static void decide_on_a_long_one(struct hall *h, const char *keys)
{
	struct msg_prompt m = { .id = "long",
				.max_tokens = 8,
				.given = MSG_SEED, /* else it may end at once */
				.sampling = { .seed = HALL_SEED } };
	uint32_t ids[LONG_PROMPT];

	for (uint32_t i = 0; i < LONG_PROMPT; i++)
		ids[i] = i % TOY_END_ID;
	hall_open_worker(h, 0);
	hall_decide(h, "\"split\":1,\"kv\":\"q8_0\"");
	h->hold_tails = true;
	agent_core_prompt_ids(h->agent, &m, ids, LONG_PROMPT, h->now_us);
	hall_pass(h, 5);
	h->hold_heads = true;
	hall_decide(h, keys);
	hall_pass(h, 2);
}

static void go_on(struct hall *h)
{
	h->hold_heads = h->hold_tails = false;
	hall_pass(h, 100);
	assert_int_equal(h->n_in_process, 1);
	assert_int_equal(h->in_process.error, 0);
}

static void a_cache_changes_a_piece_at_a_time_beside_the_decoding(void **state)
{
	struct hall *h = *state;

	decide_on_a_long_one(h, "\"split\":1,\"kv\":\"q4_0\"");
	assert_int_equal(h->n_jobs, 1);
	assert_true(h->jobs[0]->recast && h->jobs[0]->side);
	assert_in_range(h->jobs[0]->rows, 1, LONG_PROMPT - 1);
	assert_int_equal(h->recasts, 1);
	assert_int_equal(h->head_kv, KV_Q8_0); /* as long as rows are missing */
	h->hold_heads = false;
	hall_pass(h, 5);
	assert_in_range(h->recast_jobs, 2, LONG_PROMPT);
	assert_int_equal(h->head_kv, KV_Q8_0); /* no row is due */
	go_on(h);
	assert_int_equal(h->head_kv, KV_Q4_0);
	assert_int_equal(h->recasts, 0);
}

static void another_type_is_decided_while_a_cache_changes(void **state)
{
	struct hall *h = *state;

	decide_on_a_long_one(h, "\"split\":1,\"kv\":\"q4_0\"");
	hall_decide(h, "\"split\":1,\"kv\":\"f32\"");
	go_on(h);
	assert_int_equal(h->head_kv, KV_F32);
	assert_int_equal(h->recasts, 0);
}

static void it_is_decided_that_a_cache_stays_while_it_changes(void **state)
{
	struct hall *h = *state;

	decide_on_a_long_one(h, "\"split\":1,\"kv\":\"q4_0\"");
	hall_decide(h, "\"split\":1,\"kv\":\"q8_0\"");
	go_on(h);
	assert_int_equal(h->head_kv, KV_Q8_0);
	assert_int_equal(h->recasts, 0);
}

/* It has views of the cache that there is. */
static void a_split_that_moves_ends_the_change_of_a_cache_which_begins_again(void **state)
{
	struct hall *h = *state;

	decide_on_a_long_one(h, "\"split\":1,\"kv\":\"q4_0\"");
	hall_decide(h, "\"split\":2,\"kv\":\"q4_0\"");
	go_on(h);
	assert_int_equal(h->in_process.stats.handovers, 1);
	assert_int_equal(h->head_kv, KV_Q4_0);
	assert_in_range(h->recast_jobs, 3, LONG_PROMPT); /* one of them in vain */
}

static void a_move_ends_where_the_present_split_is_decided_again(void **state)
{
	struct hall *h = *state;

	decide_on_a_long_one(h, "\"split\":2");
	hall_decide(h, "\"split\":1");
	go_on(h);
	assert_int_equal(h->in_process.stats.handovers, 0);
	assert_int_equal(h->in_process.stats.split, 1);
}

static void a_session_that_ends_waits_for_a_piece_of_its_cache(void **state)
{
	struct hall *h = *state;

	decide_on_a_long_one(h, "\"split\":1,\"kv\":\"q4_0\"");
	agent_core_cancel_all(h->agent, h->now_us);
	assert_int_equal(h->recasts, 1);
	assert_true(agent_core_busy(h->agent));
	h->hold_heads = false;
	hall_pass(h, 2);
	assert_int_equal(h->recasts, 0);
	assert_false(agent_core_busy(h->agent));
}

static void a_cache_with_numbers_that_are_none_stays(void **state)
{
	struct hall *h = *state;

	h->fail_recasts = true;
	decide_on_a_long_one(h, "\"split\":1,\"kv\":\"q4_0\"");
	go_on(h);
	assert_int_equal(h->head_kv, KV_Q8_0);
	assert_int_equal(h->recast_jobs, 1);
	assert_int_equal(h->recasts, 0);
}

static void an_invalid_decision_is_refused_and_the_old_one_kept(void **state)
{
	struct hall *h = *state;

	hall_open_worker(h, 0);
	hall_decide(h, "\"split\":2");
	hall_decide(h, "\"split\":5,\"codec\":\"f32\"");
	hall_decide(h, "\"split\":3,\"codec\":\"q9\"");
	hall_decide(h, "\"split\":\"3\"");
	hall_publish(h, "splitmq/v1/sim/decision/gw", "{", true);
	hall_publish(h, "splitmq/v1/sim/decision/other",
		     "{\"type\":\"decision\",\"agent\":\"other\",\"number\":1,\"split\":0}", true);
	hall_publish(h, "splitmq/v1/sim/decision/gw",
		     "{\"type\":\"decision\",\"agent\":\"other\",\"number\":9,\"split\":0}", true);
	hall_pass(h, 2);
	hall_ask(h, "a", "");
	hall_pass(h, 100);
	hall_assert_answered(h, "a");
	assert_int_equal(hall_final(h, "a")->stats.split, 2);
	assert_string_equal(hall_final(h, "a")->stats.codec, "f32"); /* not said: the agent's own */
}

static const struct msg_decision_answer *answer_of(const struct hall *h)
{
	const struct msg_decision_answer *an = NULL;

	for (unsigned i = 0; i < h->n_heard; i++) {
		if (h->heard[i].topic.kind == TOPIC_AGENT_ANSWER)
			an = &h->heard[i].m.u.decision_answer;
	}
	assert_non_null(an);
	return an;
}

static void a_decision_is_answered_with_what_would_fit(void **state)
{
	struct hall *h = *state;

	hall_open_worker(h, 0);
	h->room_tokens = 60;
	hall_decide(h, "\"split\":1,\"context_tokens\":60");
	hall_pass(h, 2);
	assert_true(answer_of(h)->taken);
	assert_int_equal(answer_of(h)->number, 1);
	hall_decide(h, "\"split\":3,\"context_tokens\":64");
	hall_pass(h, 2);
	assert_false(answer_of(h)->taken);
	assert_int_equal(answer_of(h)->code, ERR_LIMIT);
	assert_int_equal(answer_of(h)->missing_bytes, 44000);
	assert_int_equal(answer_of(h)->context_tokens, 20);
	assert_string_equal(answer_of(h)->reason, "44000 bytes more than there are");
	hall_ask(h, "a", "");
	hall_pass(h, 100);
	assert_int_equal(hall_final(h, "a")->stats.split, 1); /* the one that was taken */
}

/* The same number and choice: what it expects is another, no more. */
static void other_figures_of_a_decision_ask_for_nothing(void **state)
{
	struct hall *h = *state;

	hall_open_worker(h, 0);
	hall_decide(h, "\"split\":2,\"codec\":\"f32\"");
	assert_int_equal(hall_n_of_type(h, MSG_DECISION_ANSWER), 1);
	hall_decide(h, "\"split\":2,\"codec\":\"f32\",\"reason\":\"slower\"");
	assert_int_equal(hall_n_of_type(h, MSG_DECISION_ANSWER), 1);
	hall_decide(h, "\"split\":3,\"codec\":\"f32\""); /* somebody counts anew */
	assert_int_equal(hall_n_of_type(h, MSG_DECISION_ANSWER), 2);
	hall_ask(h, "a", "");
	hall_pass(h, 100);
	assert_int_equal(hall_final(h, "a")->stats.split, 3);
	bus_mem_cut(h->broker, "gw"); /* it connects again: the retained one, and its answer */
	hall_pass(h, 10);
	bus_mem_restore(h->broker, "gw");
	hall_pass(h, 10);
	assert_int_equal(hall_n_of_type(h, MSG_DECISION_ANSWER), 3);
}

/* One job at a time, so that there is time between two tokens; *codec: of what it gave. sides:
 * those of a handover as well. */
static void run_job(struct hall *h, bool sides, uint8_t *codec)
{
	const unsigned i = h->jobs[0]->side && !sides;
	struct head_job *job;

	if (i >= h->n_jobs)
		return;
	job = h->jobs[i];
	h->n_jobs--;
	memmove(&h->jobs[i], &h->jobs[i + 1], (h->n_jobs - i) * sizeof(h->jobs[0]));
	toy_run_head(job);
	*codec = job->codec_id;
	agent_core_computed(h->agent, job, h->now_us);
}

#define ALONE "\"split\":4,\"codec\":\"q8\""

/* A session that begins as `before` says, and for which `after` is decided when it has two tokens.
 * The codec byte of what went out last. On the way to the last layer nothing gets on. */
static uint8_t decide_between_tokens(struct hall *h, const char *before, const char *after,
				     const char *keys)
{
	const bool sides = strcmp(after, ALONE) != 0;
	uint8_t codec = 0;

	hall_open_worker(h, 0);
	hall_decide(h, before);
	h->hold_heads = true;
	hall_ask(h, "a", keys);
	for (unsigned i = 0; !hall_n_finals(h, "a") && i < 100; i++) {
		hall_pass(h, 2);
		if (i == 3)
			hall_decide(h, after);
		if (h->n_jobs)
			run_job(h, sides, &codec);
	}
	assert_int_equal(hall_final(h, "a")->error, 0);
	return codec;
}

static void a_session_that_comes_back_has_the_decided_rows(void **state)
{
	struct hall *h = *state;
	const uint8_t codec = decide_between_tokens(
		h, ALONE, "\"split\":2,\"codec\":\"tabq:delta=0.05,predict=tokens\"", "");
	const struct msg_open *o = &hall_last_of_type(h, MSG_OPEN)->m.u.open;

	assert_int_equal(hall_final(h, "a")->stats.handovers, 1);
	assert_int_equal(codec | CODEC_RANS, CODEC_TABQ | CODEC_RANS | SPEC_TOKENS << 2);
	assert_non_null(strstr(o->codec, "tabq:delta=0.05,"));
	assert_non_null(strstr(hall_final(h, "a")->stats.codec, "tabq:delta=0.05,"));
	assert_string_equal(o->calibration, toy_agent_conf().calibration);
}

static void a_session_that_comes_back_has_the_rows_that_its_prompt_named(void **state)
{
	struct hall *h = *state;
	const uint8_t codec = decide_between_tokens(h, ALONE, "\"split\":2,\"codec\":\"q8\"",
						    "\"codec\":\"f16\"");

	assert_int_equal(hall_final(h, "a")->stats.handovers, 1);
	assert_int_equal(codec, PLAIN_F16);
	assert_string_equal(hall_last_of_type(h, MSG_OPEN)->m.u.open.codec, "f16");
}

/* There will be no rows: what is said of them is not for those that still cross. */
static void rows_on_the_way_to_the_last_layer_stay_as_they_are(void **state)
{
	struct hall *h = *state;

	assert_int_equal(decide_between_tokens(h, "\"split\":2,\"codec\":\"f16\"", ALONE, ""),
			 PLAIN_F16);
	assert_int_equal(hall_final(h, "a")->stats.handovers, 0);
}

/* The split moves for sessions to come: this one gets the rows that are for those that stay. */
static void a_session_that_shall_stay_does_and_a_new_one_begins_elsewhere(void **state)
{
	struct hall *h = *state;

	assert_int_equal(decide_between_tokens(h, "\"split\":2,\"codec\":\"f32\"",
					       "\"split\":3,\"codec\":\"f32\","
					       "\"stay_codec\":\"f16\"",
					       ""),
			 PLAIN_F16);
	assert_int_equal(hall_final(h, "a")->stats.handovers, 0);
	assert_int_equal(hall_final(h, "a")->stats.split, 2);
	h->hold_heads = false;
	hall_ask(h, "b", "");
	hall_pass(h, 100);
	assert_int_equal(hall_final(h, "b")->stats.split, 3);
	assert_string_equal(hall_final(h, "b")->stats.codec, "f32");
}

static void who_is_at_the_decided_split_has_its_rows(void **state)
{
	struct hall *h = *state;

	assert_int_equal(decide_between_tokens(h, "\"split\":2,\"codec\":\"f32\"",
					       "\"split\":2,\"codec\":\"f16\","
					       "\"stay_codec\":\"q8\"",
					       ""),
			 PLAIN_F16);
}

/* An agent whose rows may become coarser, asked for more than it can do. */
#define IN_A_HURRY "\"tpot_ms\":0.01"

static void may_be_coarser(struct hall *h)
{
	struct agent_core_conf conf = toy_agent_conf();

	agent_core_destroy(h->agent);
	toy_close_node(&h->agent_node);
	conf.tokenizer = h->tokenizer;
	conf.max_delta = 0.1F;
	hall_open_agent(h, &conf, 0);
	hall_pass(h, 1000);
}

/* There are no rows to be made coarser, whatever codec was decided meanwhile. */
static void a_session_that_is_alone_has_no_levels_to_go_down(void **state)
{
	struct hall *h = *state;

	may_be_coarser(h);
	(void)decide_between_tokens(
		h, ALONE, "\"split\":2,\"codec\":\"f32\",\"stay_codec\":\"f16\"", IN_A_HURRY);
	assert_int_equal(hall_final(h, "a")->stats.handovers, 0);
	assert_int_equal(hall_final(h, "a")->stats.levels_down, 0);
}

/* Its rows are what those of a session that began there would be. */
static void a_session_that_comes_back_goes_down_levels_again(void **state)
{
	struct hall *h = *state;

	may_be_coarser(h);
	(void)decide_between_tokens(h, ALONE, "\"split\":2,\"codec\":\"q8\"", IN_A_HURRY);
	assert_int_equal(hall_final(h, "a")->stats.handovers, 1);
	assert_true(hall_final(h, "a")->stats.levels_down > 0);
	assert_non_null(strstr(hall_final(h, "a")->stats.codec, "tabq:"));
}

static void a_session_that_comes_back_stays_at_the_rows_that_its_prompt_named(void **state)
{
	struct hall *h = *state;

	may_be_coarser(h);
	(void)decide_between_tokens(h, ALONE, "\"split\":2,\"codec\":\"q8\"",
				    IN_A_HURRY ",\"codec\":\"f16\"");
	assert_int_equal(hall_final(h, "a")->stats.handovers, 1);
	assert_int_equal(hall_final(h, "a")->stats.levels_down, 0);
	assert_string_equal(hall_final(h, "a")->stats.codec, "f16");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, hall_open, hall_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_decision_holds_from_the_next_session_on),
		TEST(the_decided_cache_reaches_both_sides_and_a_prompt_may_want_another),
		TEST(a_session_is_of_the_prompts_class_else_of_the_agents),
		TEST(a_decision_changes_the_agents_cache_of_a_session_not_the_workers),
		TEST(a_cache_that_cannot_be_changed_stays),
		TEST(a_prompts_own_cache_stays),
		TEST(a_cache_changes_a_piece_at_a_time_beside_the_decoding),
		TEST(another_type_is_decided_while_a_cache_changes),
		TEST(it_is_decided_that_a_cache_stays_while_it_changes),
		TEST(a_split_that_moves_ends_the_change_of_a_cache_which_begins_again),
		TEST(a_move_ends_where_the_present_split_is_decided_again),
		TEST(a_session_that_ends_waits_for_a_piece_of_its_cache),
		TEST(a_cache_with_numbers_that_are_none_stays),
		TEST(an_invalid_decision_is_refused_and_the_old_one_kept),
		TEST(a_decision_is_answered_with_what_would_fit),
		TEST(other_figures_of_a_decision_ask_for_nothing),
		TEST(a_session_that_comes_back_has_the_decided_rows),
		TEST(a_session_that_comes_back_has_the_rows_that_its_prompt_named),
		TEST(rows_on_the_way_to_the_last_layer_stay_as_they_are),
		TEST(a_session_that_shall_stay_does_and_a_new_one_begins_elsewhere),
		TEST(who_is_at_the_decided_split_has_its_rows),
		TEST(a_session_that_is_alone_has_no_levels_to_go_down),
		TEST(a_session_that_comes_back_goes_down_levels_again),
		TEST(a_session_that_comes_back_stays_at_the_rows_that_its_prompt_named),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
