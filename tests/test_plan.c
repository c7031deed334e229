/* tests/test_plan.c - the planner (coordinator/plan.h), choice by choice. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "tests/plan_world.h"

static const struct plan_choice *best(struct plan_world *w)
{
	plan_world_plan(w);
	assert_int_not_equal(w->r.verdict, PLAN_NONE);
	return &w->r.best.choice;
}

static void a_fast_worker_gets_all_and_a_slow_link_none(void **state)
{
	struct plan_world *w = *state;

	w->link.rtt_ms = 0.1;
	w->link.up_kbit_s = w->link.down_kbit_s = 0;
	assert_int_equal(best(w)->split, 0);
	w->link.rtt_ms = 100;
	assert_int_equal(best(w)->split, 8);
	assert_true(w->r.best.figures.up_bytes == 0);
}

static void each_objective_gets_its_best(void **state)
{
	struct plan_world *w = *state;

	w->policy.objective = PLAN_WORKER;
	assert_int_equal(best(w)->split, 8);
	w->fronts[0].head_bytes = 0;
	assert_int_equal(best(w)->split, 7);
	w->policy.objective = PLAN_BYTES;
	assert_int_equal(best(w)->level, 1);
	w->policy.objective = PLAN_CONTEXT;
	assert_int_equal(best(w)->context_tokens, 512);
	w->agent.budget_bytes = 5000 + 1000 + 3000 + 200 * 100; /* nothing but a log of 200 */
	assert_int_equal(best(w)->context_tokens, 128);
}

static void without_a_worker_all_stays_here(void **state)
{
	struct plan_world *w = *state;
	char text[200];

	w->worker.present = false;
	assert_int_equal(best(w)->split, 8);
	assert_false(w->r.has_runner_up);
	plan_explain(&w->in, &w->r.splits[3], text, sizeof(text));
	assert_string_equal(text, "no worker for this model is ready");
	w->worker.present = true;
	w->worker.first_layer = 4;
	plan_world_plan(w);
	plan_explain(&w->in, &w->r.splits[3], text, sizeof(text));
	assert_string_equal(text, "the worker begins at layer 4");
	assert_int_equal(w->r.splits[4].limit, PLAN_OK);
}

static void what_is_not_measured_is_said(void **state)
{
	struct plan_world *w = *state;
	char text[200];

	w->link.rtt_ms = 0;
	assert_int_equal(best(w)->split, 8);
	plan_explain(&w->in, &w->r.splits[0], text, sizeof(text));
	assert_string_equal(text, "the round trip to the worker is not measured yet");
	w->agent.speeds[0].head_ms = 0;
	plan_world_plan(w);
	assert_int_equal(w->r.verdict, PLAN_NONE);
	plan_explain(&w->in, &w->r.splits[8], text, sizeof(text));
	assert_string_equal(text, "the speed of the agent's head is not measured yet");
	w->agent.speeds[0].layer_token_ms = 0;
	w->link.rtt_ms = 10;
	assert_int_equal(best(w)->split, 0);
	plan_explain(&w->in, &w->r.splits[1], text, sizeof(text));
	assert_string_equal(text, "the speed of this front end is not measured yet");
	w->worker.n_batches = 0;
	plan_world_plan(w);
	plan_explain(&w->in, &w->r.splits[0], text, sizeof(text));
	assert_string_equal(text, "the speed of the worker is not measured yet");
}

static void explain(struct plan_world *w, uint32_t split, const char *want)
{
	char text[200];

	plan_world_plan(w);
	plan_explain(&w->in, &w->r.splits[split], text, sizeof(text));
	assert_string_equal(text, want);
}

static void explanations_name_the_limit_and_its_number(void **state)
{
	struct plan_world *w = *state;

	w->agent.budget_bytes = 65536;
	explain(w, 8, "memory of the agent: 232.9 KiB needed, 64 KiB allowed");
	w->agent.budget_bytes = 0;
	explain(w, 0, "memory of the agent: 21.29 KiB needed, 0 B allowed");
	assert_int_equal(w->r.verdict, PLAN_NONE);
	w->agent.budget_bytes = 1000000;
	w->worker.used_bytes = 9999999;
	explain(w, 7, "memory of the worker: 9.554 MiB needed, 9.537 MiB allowed");
	w->worker.used_bytes = 0;
	w->policy.token_ms = 22;
	explain(w, 4, "time per token: 32.13 ms, 22 allowed");
	w->policy.ttft_ms = 40;
	explain(w, 8, "time to the first token: 260.8 ms, 40 allowed");
	w->policy.ttft_ms = w->policy.token_ms = 0;
	w->policy.loss = 0.005;
	w->policy.levels = 2;
	explain(w, 4, "loss of accuracy: 1.00 %, 0.50 % allowed");
	w->loss[0] = (float)NAN;
	for (size_t i = 0; i < sizeof(w->loss) / sizeof(w->loss[0]); i++)
		w->loss[i] = (float)NAN;
	explain(w, 4, "loss of accuracy: not known (no calibration says it)");
	w->policy.loss = (double)NAN;
	w->worker.context_tokens = 100;
	explain(w, 4, "context: 128 tokens wanted, 100 served");
	w->policy.min_split = w->policy.max_split = 8;
	explain(w, 4, "not what the policy says");
	w->fronts[0].n_layers = 7;
	explain(w, 8, "the agent's files lack these layers");
}

static void a_reason_fits_a_decision(void **state)
{
	struct plan_world *w = *state;
	char text[240];

	plan_world_plan(w);
	plan_reason(&w->in, &w->r, text, sizeof(text));
	assert_non_null(strstr(text, "first choice"));
	assert_non_null(strstr(text, "for latency"));
	assert_non_null(strstr(text, "next: split"));
	assert_true(strlen(text) + 1 < sizeof(text));
}

static void one_layer_is_enough(void **state)
{
	struct plan_world *w = *state;

	w->agent.n_layers = 1;
	w->fronts[0].n_layers = 1;
	plan_world_accuracy(w, 1);
	plan_world_plan(w);
	assert_int_equal(w->r.splits[0].limit, PLAN_OK);
	assert_int_equal(w->r.splits[1].limit, PLAN_OK);
}

/* A session of 100 tokens, 50 of them to come, at a split that costs a bit more than the best. */
static void present_at(struct plan_world *w, uint32_t split)
{
	struct plan_choice c;

	plan_world_plan(w);
	c = w->r.splits[split].option.choice;
	w->present =
		(struct plan_present){ .known = true,
				       .same_worker = true,
				       .choice = c,
				       .n_sessions = 1,
				       .sessions = { { .tokens_left = 50, .kv_tokens = 100 } } };
}

static void the_best_choice_stays(void **state)
{
	struct plan_world *w = *state;

	present_at(w, best(w)->split);
	plan_world_plan(w);
	assert_int_equal(w->r.verdict, PLAN_SAME);
}

static void a_small_gain_is_no_reason_to_change(void **state)
{
	struct plan_world *w = *state;

	w->link.rtt_ms = 15; /* all here: 19.2 ms; split 0: a bit more */
	present_at(w, 0);
	assert_true(w->r.best.figures.cost < w->r.splits[0].option.figures.cost);
	w->present.n_sessions = 0;
	plan_world_plan(w);
	assert_int_equal(w->r.verdict, PLAN_CHANGE);
	assert_int_equal(w->r.chosen.choice.split, w->r.best.choice.split);
	w->policy.min_gain = 0.5;
	plan_world_plan(w);
	assert_int_equal(w->r.verdict, PLAN_KEEP_GAIN);
	assert_int_equal(w->r.chosen.choice.split, 0);
	assert_true(w->r.gain > 0);
}

static void a_handover_must_pay(void **state)
{
	struct plan_world *w = *state;

	w->link.rtt_ms = 30; /* all here: 19.2 ms; split 0: more by half */
	w->policy.min_gain = 0.05;
	present_at(w, 0);
	assert_int_equal(w->r.best.choice.split, 8);
	w->present.sessions[0] = (struct plan_session){ .tokens_left = 100, .kv_tokens = 100 };
	plan_world_plan(w);
	assert_int_equal(w->r.verdict, PLAN_CHANGE);
	assert_true(fabs(w->r.handover - 8 * 0.5 * 100) < 1e-9);
	w->present.sessions[0].tokens_left = 5; /* not worth 100 rows through 8 layers any more */
	plan_world_plan(w);
	assert_int_equal(w->r.verdict, PLAN_NEW);
	assert_int_equal(w->r.chosen.choice.split, 8); /* for those that come */
	assert_true(w->r.stays && w->r.n_elsewhere == 1);
	w->present.same_worker = false; /* one agent has one worker */
	plan_world_plan(w);
	assert_int_equal(w->r.verdict, PLAN_KEEP_HANDOVER);
	assert_int_equal(w->r.chosen.choice.split, 0);
	assert_false(w->r.stays);
	w->present.same_worker = true;
	w->present.sessions[0].kv_tokens = 1;
	plan_world_plan(w);
	assert_int_equal(w->r.verdict, PLAN_CHANGE);
	assert_false(w->r.stays);
}

/* As long as the tokens that are left win back what the move takes. */
static void a_handover_pays_from_so_many_tokens_on(void **state)
{
	struct plan_world *w = *state;
	double each;
	uint32_t n;

	w->link.rtt_ms = 30;
	present_at(w, 0);
	each = w->r.splits[0].option.figures.cost - w->r.splits[8].option.figures.cost;
	n = (uint32_t)(8 * 0.5 * 100 / each);
	assert_in_range(n, 10, 200);
	for (uint32_t more = 0; more < 2; more++) {
		w->present.sessions[0] =
			(struct plan_session){ .tokens_left = n + more, .kv_tokens = 100 };
		plan_world_plan(w);
		assert_true(fabs(w->r.gain - each * (n + more)) < 1e-6);
		assert_int_equal(w->r.verdict, more ? PLAN_CHANGE : PLAN_NEW);
		assert_int_equal(w->r.stays, !more);
	}
	w->present.sessions[0].tokens_left = n; /* two share what they win and what it takes */
	w->present.n_sessions = 2;
	w->present.sessions[1] = (struct plan_session){ .tokens_left = n, .kv_tokens = 90 };
	plan_world_plan(w);
	assert_true(fabs(w->r.gain - each * 2 * n) < 1e-6);
	assert_true(fabs(w->r.handover - 8 * 0.5 * 190) < 1e-6);
}

static void a_budget_may_be_used_up_to_its_last_byte(void **state)
{
	struct plan_world *w = *state;
	uint64_t bytes;

	w->policy.min_split = w->policy.max_split = 3;
	w->policy.kv_types = 1u << KV_F16;
	w->policy.n_contexts = 1;
	plan_world_plan(w);
	bytes = w->r.best.figures.edge_bytes;
	for (uint64_t less = 0; less < 2; less++) {
		w->agent.budget_bytes = bytes - less;
		plan_world_plan(w);
		assert_int_equal(w->r.splits[3].limit, less ? PLAN_EDGE_MEMORY : PLAN_OK);
	}
	w->agent.budget_bytes = bytes;
	w->worker.used_bytes = 1000;
	plan_world_plan(w);
	bytes = w->r.splits[3].option.figures.worker_bytes;
	for (uint64_t less = 0; less < 2; less++) {
		w->worker.budget_bytes = 1000 + bytes - less;
		plan_world_plan(w);
		assert_int_equal(w->r.splits[3].limit, less ? PLAN_WORKER_MEMORY : PLAN_OK);
	}
}

static void who_stays_has_the_best_rows_there(void **state)
{
	struct plan_world *w = *state;

	w->link.rtt_ms = 15;
	w->link.up_kbit_s = 200;
	w->policy.min_gain = 0.1;
	present_at(w, 0);
	w->present.choice.level = 0; /* 8 bits: 5 ms more than 4 */
	w->present.sessions[0].tokens_left = 5;
	plan_world_plan(w);
	assert_int_equal(w->r.verdict, PLAN_NEW);
	assert_true(w->r.stays && w->r.stay_level == 1);
	w->present.choice = w->r.chosen.choice;
	w->present.sessions[0].stays = true;
	w->present.sessions[0].split = 0;
	w->present.stay_level = 1;
	plan_world_plan(w); /* nothing more is to be had without a move */
	assert_int_equal(w->r.verdict, PLAN_SAME);
	assert_true(w->r.stays && w->r.stay_level == 1);
	w->present.n_sessions = 2; /* another one, where new ones are: it has nowhere to go */
	w->present.sessions[1] = (struct plan_session){ .tokens_left = 500, .kv_tokens = 20 };
	plan_world_plan(w);
	assert_true(w->r.stays && w->r.n_elsewhere == 1);
	w->link.up_kbit_s = 2; /* now it pays */
	plan_world_plan(w);
	assert_int_equal(w->r.verdict, PLAN_SAME);
	assert_true(!w->r.stays && w->r.n_elsewhere == 1);
	w->link.up_kbit_s = 200;
	w->policy.ttft_ms = w->r.splits[8].option.figures.ttft_ms; /* no more a place to stay at */
	plan_world_plan(w);
	assert_true(!w->r.stays && w->r.n_elsewhere == 1);
	w->policy.ttft_ms = 0;
	w->policy.min_split = 1; /* that is for one of two; but all move, or none */
	w->present.sessions[1] = (struct plan_session){
		.tokens_left = 1, .kv_tokens = 100, .stays = true, .split = 1
	};
	plan_world_plan(w);
	assert_false(w->r.stays);
	w->present.n_sessions = 0;
	plan_world_plan(w);
	assert_int_equal(w->r.n_elsewhere, 0);
}

static void a_split_goes_down_by_the_cheaper_way(void **state)
{
	struct plan_world *w = *state;
	double rows = 9.0 / 2 * 256 / 8, kv = 512 * 4; /* bytes of a position; level 1 */
	double way;

	w->policy.max_split = 4;
	w->policy.kv_types = 1u << KV_F16;
	w->link.rtt_ms = 1;
	present_at(w, 4);
	assert_int_equal(w->r.best.choice.split, 0);
	plan_world_plan(w);
	way = rows * 8 / 1000 + 4 * 0.2 * (1 + 15 * (16 - 1) / 63.0) / 16; /* sent, run again */
	assert_true(fabs(w->r.handover - 100 * way) < 1e-3);
	for (unsigned i = 0; i < 2; i++) /* the worker is at position 50 as slow as here at 25 */
		w->worker.batches[i].depth = (struct plan_depth){ 25, 0.001 };
	plan_world_plan(w);
	assert_true(fabs(w->r.handover - 100 * (way + 4 * 0.001 * 25)) < 1e-3);
	w->link.up_kbit_s = 0; /* bytes cost nothing: the caches themselves are sent */
	plan_world_plan(w);
	assert_true(w->r.handover == 0);
	w->policy.objective = PLAN_BYTES;
	plan_world_plan(w);
	assert_true(kv > rows);
}

static void rows_are_as_fine_as_the_link_carries(void **state)
{
	struct plan_world *w = *state;

	w->policy.max_split = 4;
	w->policy.min_gain = 0.5;
	w->link.up_kbit_s = 100000;
	assert_int_equal(best(w)->level, 1);
	w->policy.tolerance = 0.02; /* 128 bytes more: 0.01 of more than 20 ms */
	assert_int_equal(best(w)->level, 0);
	w->link.up_kbit_s = 1000; /* 1 ms */
	assert_int_equal(best(w)->level, 1);
	present_at(w, w->r.best.choice.split);
	assert_int_equal(w->present.choice.level, 1);
	w->link.up_kbit_s = 100000;
	plan_world_plan(w);
	assert_int_equal(w->r.verdict, PLAN_CHANGE);
	assert_int_equal(w->r.chosen.choice.level, 0);
	w->policy.loss = 0; /* nothing worse is allowed, nothing better there */
	w->present.choice = w->r.chosen.choice;
	plan_world_plan(w);
	assert_int_equal(w->r.verdict, PLAN_SAME);
}

static void a_choice_that_breaks_a_limit_goes_at_once(void **state)
{
	struct plan_world *w = *state;

	present_at(w, 4);
	w->policy.min_gain = 1;
	w->policy.token_ms = w->r.best.figures.token_ms;
	w->present.sessions[0].tokens_left = 0;
	plan_world_plan(w);
	assert_int_equal(w->r.verdict, PLAN_FORCED);
	assert_int_equal(w->r.present_limit, PLAN_TOKEN);
	assert_int_equal(w->r.n_elsewhere, 1);
	assert_int_equal(w->r.chosen.choice.split, w->r.best.choice.split);
}

/* Layers of both sides measured at position 50; 1 % more there for each position. */
static void put_depths(struct plan_world *w, double agent, double worker)
{
	struct plan_speed *s = &w->agent.speeds[0];

	s->token_depth = s->local_depth = (struct plan_depth){ 50, agent * s->layer_token_ms };
	s->row_depth = (struct plan_depth){ 50, agent * s->layer_row_ms };
	for (uint32_t i = 0; i < w->worker.n_batches; i++)
		w->worker.batches[i].depth =
			(struct plan_depth){ 50, worker * w->worker.batches[i].layer_ms /
							 w->worker.batches[i].rows };
}

static void later_positions_take_longer(void **state)
{
	struct plan_world *w = *state;
	double token_ms, local_ms, ttft_ms;

	plan_world_plan(w);
	token_ms = w->r.splits[3].option.figures.token_ms;
	local_ms = w->r.splits[8].option.figures.token_ms;
	ttft_ms = w->r.splits[8].option.figures.ttft_ms;
	put_depths(w, 0.01, 0.01); /* 64 + 32 / 2: 30 positions later, the prompt 18 earlier */
	plan_world_plan(w);
	assert_true(fabs(w->r.splits[3].option.figures.token_ms - token_ms -
			 0.3 * (3 * 2 + 5 * 0.2)) < 1e-6);
	assert_true(fabs(w->r.splits[8].option.figures.token_ms - local_ms - 0.3 * 8 * 2) < 1e-6);
	assert_true(w->r.splits[8].option.figures.ttft_ms < ttft_ms);
	w->present.n_sessions = 2; /* tokens at 200 .. 220 and at 10: two in three are early */
	w->present.sessions[0] = (struct plan_session){ .tokens_left = 20, .kv_tokens = 200 };
	w->present.sessions[1] = (struct plan_session){ .tokens_left = 40, .kv_tokens = 10 };
	plan_world_plan(w);
	assert_true(fabs(w->r.splits[8].option.figures.token_ms - local_ms -
			 0.01 * ((210 + 2 * 30) / 3.0 - 50) * 8 * 2) < 1e-6);
}

/* So many tokens to come decide: where a short session is better off here, a long one is not. */
static void who_grows_slower_with_depth_gets_deep_sessions(void **state)
{
	struct plan_world *w = *state;

	w->policy.prompt_tokens = 20;
	w->policy.answer_tokens = 20;
	w->link.rtt_ms = 16;
	put_depths(w, 0.01, 0.0);
	assert_int_equal(best(w)->split, 8);
	w->policy.answer_tokens = 400;
	assert_int_equal(best(w)->split, 0);
	w->policy.answer_tokens = 20;
	w->policy.token_ms = w->r.best.figures.token_ms / 2;
	w->present.n_sessions = 1; /* at that depth nobody keeps the limit here */
	w->present.sessions[0] = (struct plan_session){ .tokens_left = 300, .kv_tokens = 600 };
	plan_world_plan(w);
	assert_int_equal(w->r.splits[8].limit, PLAN_TOKEN);
}

/* Its positions run again at the mean of where they are. */
static void a_deep_session_takes_longer_to_move(void **state)
{
	struct plan_world *w = *state;

	w->link.rtt_ms = 30;
	present_at(w, 0);
	w->agent.speeds[0].row_depth = (struct plan_depth){ 50, 0.01 * 0.5 };
	w->present.sessions[0] = (struct plan_session){ .tokens_left = 1000, .kv_tokens = 200 };
	plan_world_plan(w);
	assert_int_equal(w->r.best.choice.split, 8);
	assert_true(fabs(w->r.handover - 8 * 0.5 * (1 + 0.01 * (100 - 50)) * 200) < 1e-6);
	w->present.n_sessions = 2; /* 200 positions at 100, and 20 at 10 */
	w->present.sessions[1] = (struct plan_session){ .tokens_left = 1000, .kv_tokens = 20 };
	plan_world_plan(w);
	assert_true(fabs(w->r.handover -
			 8 * 0.5 * (1 + 0.01 * ((200 * 100 + 20 * 10) / 220.0 - 50)) * 220) < 1e-6);
}

static void contradictions_are_refused(void **state)
{
	struct plan_world *w = *state;
	struct err e = { 0 };

	w->agent.n_layers = PLAN_MAX_LAYERS + 1;
	assert_int_equal(plan_make(&w->r, &w->in, &e), ERR_LIMIT);
	assert_non_null(strstr(e.text, "layers"));
	plan_world_init(w);
	w->accuracy.n_fronts = 2;
	assert_int_equal(plan_make(&w->r, &w->in, NULL), ERR_LIMIT);
	plan_world_init(w);
	w->policy.n_contexts = 0;
	assert_int_equal(plan_make(&w->r, &w->in, NULL), ERR_LIMIT);
	plan_world_init(w);
	w->worker.batch_rows = (double)NAN;
	assert_int_equal(plan_make(&w->r, &w->in, NULL), ERR_LIMIT);
	plan_world_init(w);
	w->present.known = true;
	w->present.choice.split = 9;
	assert_int_equal(plan_make(&w->r, &w->in, NULL), ERR_LIMIT);
}

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void time_plans(struct plan_world *w)
{
	uint64_t us[101];

	for (unsigned i = 0; i < 101; i++) {
		uint64_t start = clock_now_us();

		plan_world_plan(w);
		us[i] = clock_now_us() - start;
	}
	qsort(us, 101, sizeof(us[0]), by_size);
	print_message("a plan for %d layers, prompts of %u: median %llu us, longest %llu us\n",
		      PLAN_WORLD_LAYERS, w->policy.prompt_tokens, (unsigned long long)us[50],
		      (unsigned long long)us[100]);
	assert_true(us[0] < 20000); /* also under a sanitizer on a busy machine */
}

/* 40 layers, 3 front ends, 4 KV types, 6 levels, 8 contexts: 22,500 choices. */
static void a_plan_for_40_layers_is_quick(void **state)
{
	struct plan_world *w = *state;

	w->agent.n_layers = PLAN_WORLD_LAYERS;
	w->agent.n_fronts = 3;
	w->agent.budget_bytes = UINT64_MAX;
	w->worker.budget_bytes = UINT64_MAX;
	for (uint32_t f = 0; f < 3; f++)
		plan_world_front(w, f, PLAN_WORLD_LAYERS, 10000 * (f + 1));
	plan_world_accuracy(w, 6);
	w->policy.n_contexts = 8;
	for (uint32_t i = 0; i < 8; i++)
		w->policy.contexts[i] = 64 * (i + 1);
	time_plans(w);
	w->policy.prompt_tokens = 100000;
	time_plans(w);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, plan_world_open, plan_world_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_fast_worker_gets_all_and_a_slow_link_none),
		TEST(each_objective_gets_its_best),
		TEST(without_a_worker_all_stays_here),
		TEST(what_is_not_measured_is_said),
		TEST(explanations_name_the_limit_and_its_number),
		TEST(a_reason_fits_a_decision),
		TEST(one_layer_is_enough),
		TEST(the_best_choice_stays),
		TEST(a_small_gain_is_no_reason_to_change),
		TEST(a_handover_must_pay),
		TEST(a_handover_pays_from_so_many_tokens_on),
		TEST(a_budget_may_be_used_up_to_its_last_byte),
		TEST(who_stays_has_the_best_rows_there),
		TEST(a_split_goes_down_by_the_cheaper_way),
		TEST(rows_are_as_fine_as_the_link_carries),
		TEST(a_choice_that_breaks_a_limit_goes_at_once),
		TEST(later_positions_take_longer),
		TEST(who_grows_slower_with_depth_gets_deep_sessions),
		TEST(a_deep_session_takes_longer_to_move),
		TEST(contradictions_are_refused),
		TEST(a_plan_for_40_layers_is_quick),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
