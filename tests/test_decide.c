/* tests/test_decide.c - whom the coordinator tells what, and when it changes its mind: policy,
 * plans, workers, refusals. A fleet of numbers: no bus, no clock. */
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
#include "coordinator/assign.h"
#include "coordinator/decide.h"

#define LAYERS      8u
#define LAYER_BYTES 1000000u
#define MODEL       "00112233445566778899aabbccddeeff"

struct fleet {
	struct config_coordinator conf;
	struct roster roster;
	struct decide *decide;
	unsigned n_changes;
	bool waits;            /* of the newest decision */
	uint64_t budget_bytes; /* that agents say they have */
};

static struct config_policy nothing_said(void)
{
	return (struct config_policy){ .split = UINT32_MAX,
				       .kv = "auto",
				       .context_tokens = UINT32_MAX,
				       .objective = "auto",
				       .ttft_ms = UINT32_MAX,
				       .token_ms = UINT32_MAX,
				       .loss = (double)NAN };
}

static void open_decide(struct fleet *f)
{
	struct err e = { 0 };

	if (decide_create(&f->decide, &f->conf, &e))
		fail_msg("%s", e.text);
}

static int open_fleet(void **state)
{
	struct fleet *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->conf.policy = nothing_said();
	f->conf.expect = (struct config_expect){ .prompt_tokens = 64,
						 .answer_tokens = 64,
						 .sessions = 1,
						 .epsilon = 0.05,
						 .min_gain = 0.05 };
	f->budget_bytes = 5 * LAYER_BYTES; /* about half of the layers */
	open_decide(f);
	*state = f;
	return 0;
}

static int close_fleet(void **state)
{
	struct fleet *f = *state;

	decide_destroy(f->decide);
	roster_finish(&f->roster);
	free(f);
	return 0;
}

/* ---- who there is ---- */

static void add_worker_as(struct fleet *f, const char *name, enum msg_state state)
{
	struct msg_worker_status st = { .state = state,
					.boot = 1,
					.model = MODEL,
					.n_layers = LAYERS,
					.dim = 64,
					.context_tokens = 512,
					.max_sessions = 16,
					.kv_elements = 64,
					.budget_bytes = 1ull << 32,
					.layer_bytes = LAYER_BYTES };

	snprintf(st.worker, sizeof(st.worker), "%.64s", name);
	assert_int_equal(roster_worker(&f->roster, &st, false), 0);
}

static void tell_worker(struct fleet *f, const char *name, double layer_ms, bool draining)
{
	struct msg_telemetry t = { .boot = 1,
				   .draining = draining,
				   .n_batches = 1,
				   .batches = { { .rows = 1, .layer_ms = layer_ms } } };

	snprintf(t.name, sizeof(t.name), "%.64s", name);
	roster_worker_telemetry(&f->roster, &t);
}

static void add_worker(struct fleet *f, const char *name)
{
	add_worker_as(f, name, MSG_READY);
	tell_worker(f, name, 0.1, false);
}

static void add_status(struct fleet *f, const char *name)
{
	struct msg_agent_status st = { .state = MSG_READY,
				       .boot = 1,
				       .model = MODEL,
				       .n_layers = LAYERS,
				       .dim = 64,
				       .context_tokens = 512,
				       .max_sessions = 2 };

	snprintf(st.agent, sizeof(st.agent), "%.64s", name);
	assert_int_equal(roster_agent(&f->roster, &st, false), 0);
}

static void add_profile(struct fleet *f, const char *name)
{
	struct msg_agent_profile p = {
		.boot = 1,
		.model = MODEL,
		.n_layers = LAYERS,
		.dim = 64,
		.kv_elements = 64,
		.threads = 1,
		.max_sessions = 2,
		.context_tokens = 512,
		.prefill_rows = 64,
		.budget_bytes = 5 * LAYER_BYTES,
		.base_bytes = 1000,
		.session_bytes = 1000,
		.token_bytes = 10,
		.n_fronts = 1,
		.fronts = { { .name = "Q8_0", .layers = LAYERS, .head_bytes = LAYER_BYTES } }
	};

	snprintf(p.agent, sizeof(p.agent), "%.64s", name);
	p.fronts[0].layer_bytes = calloc(LAYERS, sizeof(uint64_t));
	assert_non_null(p.fronts[0].layer_bytes);
	for (unsigned i = 0; i < LAYERS; i++)
		p.fronts[0].layer_bytes[i] = LAYER_BYTES;
	assert_int_equal(roster_profile(&f->roster, &p), 0);
}

static void tell_agent(struct fleet *f, const char *name, double kbit_s, double rtt_ms)
{
	struct msg_telemetry t = {
		.boot = 1,
		.budget_bytes = f->budget_bytes,
		.n_speeds = 1,
		.speeds = { { .front = "Q8_0", .layer_token_ms = 1, .encode_ms = 0.01 } },
		.link = { .rtt_ms = rtt_ms,
			  .rtt_high_ms = rtt_ms,
			  .up_kbit_s = kbit_s,
			  .up_low_kbit_s = kbit_s,
			  .down_kbit_s = 1e5,
			  .down_low_kbit_s = 1e5,
			  .samples = 50 },
	};

	snprintf(t.name, sizeof(t.name), "%.64s", name);
	roster_agent_telemetry(&f->roster, &t);
}

static void add_agent(struct fleet *f, const char *name)
{
	add_status(f, name);
	add_profile(f, name);
	tell_agent(f, name, 10000, 10);
}

/* ---- what is decided ---- */

static struct roster_agent *agent(struct fleet *f, const char *name)
{
	struct roster_agent *a = roster_find_agent(&f->roster, name);

	assert_non_null(a);
	return a;
}

/* Its decision once all changes are published. */
static const struct msg_decision *decided(struct fleet *f, const char *name)
{
	struct roster_agent *a = agent(f, name);
	struct msg_decision d;

	for (unsigned i = 0; i < 10; i++) {
		if (decide_make(f->decide, &f->roster, a, &d, &f->waits) != DECIDE_CHOICE)
			return &a->decision;
		assert_int_equal(d.number, a->decision.number + 1);
		roster_publish(&f->roster, a, &d, 1);
		f->n_changes++;
	}
	fail_msg("%s is never done", name);
	return NULL;
}

static void refuse(struct fleet *f, const char *name, int code, uint64_t missing_bytes)
{
	struct msg_decision_answer an = { .number = agent(f, name)->decision.number,
					  .code = code,
					  .missing_bytes = missing_bytes };

	snprintf(an.agent, sizeof(an.agent), "%.64s", name);
	assert_int_equal(roster_answer(&f->roster, &an), 0);
}

static void without_measurements_the_policy_alone_speaks(void **state)
{
	struct fleet *f = *state;

	add_worker(f, "w1");
	add_status(f, "gw");
	f->conf.policy.split = 3;
	assert_int_equal(decided(f, "gw")->split, 3);
	assert_string_equal(decided(f, "gw")->objective, "");
	add_profile(f, "gw");
	assert_string_equal(decided(f, "gw")->objective, ""); /* no telemetry yet */
	tell_agent(f, "gw", 10000, 10);
	assert_string_equal(decided(f, "gw")->objective, "latency");
	assert_int_equal(decided(f, "gw")->split, 3); /* what the operator fixed is fixed */
	assert_int_equal(f->n_changes, 2);
}

static void who_wants_no_plan_gets_none(void **state)
{
	struct fleet *f = *state;

	add_worker(f, "w1");
	add_agent(f, "gw");
	snprintf(f->conf.policy.objective, sizeof(f->conf.policy.objective), "none");
	assert_int_equal(decided(f, "gw")->split, LAYERS / 4);
	assert_string_equal(decided(f, "gw")->reason, "policy");
}

static void a_plan_names_worker_precisions_and_what_it_expects(void **state)
{
	struct fleet *f = *state;
	const struct msg_decision *d;

	add_worker(f, "w1");
	add_agent(f, "gw");
	d = decided(f, "gw");
	assert_string_equal(d->worker, "w1");
	assert_int_equal(d->split, 0); /* the worker is ten times as fast */
	assert_true(d->codec[0] && d->kv[0] && d->front[0] && d->context_tokens);
	assert_true(d->has_predicted && d->predicted.token_ms > 10 && d->predicted.token_ms < 20);
	assert_true(d->predicted.edge_bytes < 5 * LAYER_BYTES);
	assert_non_null(strstr(d->reason, "latency"));
}

/* What it said of its link before it started again may be of another place. */
static void a_restarted_agent_is_planned_for_when_it_has_measured_again(void **state)
{
	struct msg_agent_status st;
	struct fleet *f = *state;

	add_worker(f, "w1");
	add_agent(f, "gw");
	assert_string_equal(decided(f, "gw")->objective, "latency");
	assert_int_not_equal(decided(f, "gw")->split, 1);
	f->conf.policy.split = 1; /* which a plan would say */
	st = agent(f, "gw")->status;
	st.boot = 2;
	assert_int_equal(roster_agent(&f->roster, &st, false), 0);
	agent(f, "gw")->profile.boot = 2;
	assert_int_not_equal(decided(f, "gw")->split, 1);
	agent(f, "gw")->telemetry.boot = 2;
	agent(f, "gw")->profile.boot = 1; /* nor by the memory of its earlier life */
	assert_int_not_equal(decided(f, "gw")->split, 1);
	agent(f, "gw")->profile.boot = 2;
	assert_int_equal(decided(f, "gw")->split, 1);
}

/* The planner keeps a table for each; of many it keeps the newest ones. */
static void many_kinds_of_agents_have_a_plan_each(void **state)
{
	struct fleet *f = *state;
	char name[8];

	add_worker(f, "w1");
	for (unsigned i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "g%u", i % 20);
		if (i < 20)
			add_agent(f, name);
		agent(f, name)->profile.prefill_rows = 16 + i % 20;
		assert_string_equal(decided(f, name)->objective, "latency");
		assert_int_equal(decided(f, name)->number, 1);
	}
}

static void what_the_operator_fixes_stays_fixed(void **state)
{
	struct fleet *f = *state;

	add_worker(f, "w1");
	add_worker(f, "w2");
	add_agent(f, "gw");
	f->conf.policy.split = 2;
	snprintf(f->conf.policy.codec, sizeof(f->conf.policy.codec), "f16");
	snprintf(f->conf.policy.kv, sizeof(f->conf.policy.kv), "q8_0");
	snprintf(f->conf.policy.worker, sizeof(f->conf.policy.worker), "w2");
	f->conf.policy.context_tokens = 256;
	assert_int_equal(decided(f, "gw")->split, 2);
	assert_string_equal(decided(f, "gw")->codec, "f16");
	assert_string_equal(decided(f, "gw")->kv, "q8_0");
	assert_string_equal(decided(f, "gw")->worker, "w2");
	assert_int_equal(decided(f, "gw")->context_tokens, 256);
}

/* The coordinator starts again: what it had decided comes from the broker, telemetry later. */
static void a_restart_changes_nothing_that_is_right(void **state)
{
	struct fleet *f = *state;
	struct msg_decision d;

	add_worker(f, "w1");
	add_worker(f, "w2");
	add_agent(f, "gw");
	d = *decided(f, "gw");
	roster_finish(&f->roster);
	decide_destroy(f->decide);
	open_decide(f);
	f->n_changes = 0;
	assert_int_equal(roster_decided(&f->roster, &d), 0);
	add_status(f, "gw");
	decided(f, "gw"); /* not even its worker is known yet */
	add_worker_as(f, "w2", MSG_READY);
	add_worker_as(f, "w1", MSG_READY);
	add_profile(f, "gw");
	decided(f, "gw");
	tell_worker(f, "w1", 0.1, false);
	tell_worker(f, "w2", 0.1, false);
	tell_agent(f, "gw", 10000, 10);
	assert_int_equal(decided(f, "gw")->number, d.number);
}

static void a_refusal_is_not_repeated_but_learnt_from(void **state)
{
	struct fleet *f = *state;
	struct msg_decision first;

	snprintf(f->conf.policy.objective, sizeof(f->conf.policy.objective), "worker");
	add_worker(f, "w1");
	add_agent(f, "gw");
	first = *decided(f, "gw");
	assert_int_equal(first.split, 4); /* as many layers as fit */
	refuse(f, "gw", ERR_LIMIT, 1500000);
	assert_true(decided(f, "gw")->predicted.edge_bytes <= first.predicted.edge_bytes - 1500000);
	assert_int_equal(decided(f, "gw")->split, 2);
	assert_int_equal(decided(f, "gw")->number, first.number + 1);
	tell_agent(f, "gw", 5000, 10); /* other telemetry: it has no more memory than before */
	assert_int_equal(decided(f, "gw")->split, 2);
	agent(f, "gw")->telemetry.budget_bytes = 5 * LAYER_BYTES; /* as it says */
	assert_int_equal(decided(f, "gw")->split, 2);
}

static void a_refusal_holds_over_a_restart_and_until_there_is_more_memory(void **state)
{
	struct fleet *f = *state;
	struct msg_decision d;
	struct msg_telemetry t;

	snprintf(f->conf.policy.objective, sizeof(f->conf.policy.objective), "worker");
	add_worker(f, "w1");
	add_agent(f, "gw");
	d = *decided(f, "gw");
	roster_finish(&f->roster);
	add_worker(f, "w1");
	add_status(f, "gw");
	assert_int_equal(roster_decided(&f->roster, &d), 0);
	refuse(f, "gw", ERR_LIMIT, 1500000); /* retained */
	add_profile(f, "gw");
	tell_agent(f, "gw", 10000, 10);
	assert_int_equal(decided(f, "gw")->split, 2);
	t = agent(f, "gw")->telemetry;
	t.budget_bytes = 6 * LAYER_BYTES;
	roster_agent_telemetry(&f->roster, &t);
	assert_int_equal(decided(f, "gw")->split, 5);
}

static void a_codec_that_is_refused_is_not_tried_again(void **state)
{
	struct fleet *f = *state;
	struct msg_decision first;

	add_worker(f, "w1");
	add_agent(f, "gw");
	first = *decided(f, "gw");
	refuse(f, "gw", ERR_FORMAT, 0);
	assert_string_not_equal(decided(f, "gw")->codec, first.codec);
}

/* Another precision, half as large: an agent is faster with it. */
static void add_front(struct fleet *f, const char *name)
{
	struct msg_agent_profile *p = &agent(f, name)->profile;

	p->n_fronts = 2;
	p->fronts[1] = p->fronts[0];
	snprintf(p->fronts[1].name, sizeof(p->fronts[1].name), "Q4_0");
	p->fronts[1].layer_bytes = calloc(LAYERS, sizeof(uint64_t));
	assert_non_null(p->fronts[1].layer_bytes);
	for (unsigned i = 0; i < LAYERS; i++)
		p->fronts[1].layer_bytes[i] = LAYER_BYTES / 2;
	tell_agent(f, name, 10000, 10);
}

static void a_front_that_was_taken_and_then_is_not_there_is_not_tried_again(void **state)
{
	struct fleet *f = *state;
	struct msg_decision_answer taken = { .agent = "gw", .taken = true };
	struct msg_decision first;

	f->conf.policy.split = 3;
	add_worker(f, "w1");
	add_agent(f, "gw");
	add_front(f, "gw");
	first = *decided(f, "gw");
	assert_string_equal(first.front, "Q4_0");
	taken.number = first.number;
	assert_int_equal(roster_answer(&f->roster, &taken), 0);
	assert_int_equal(decided(f, "gw")->number, first.number);
	refuse(f, "gw", ERR_NOT_FOUND, 0); /* the same one: loading it failed */
	assert_string_equal(decided(f, "gw")->front, "Q8_0");
	assert_int_equal(decided(f, "gw")->number, first.number + 1);
}

/* *d is what is said when gw's link is so. */
static enum decide_news news(struct fleet *f, double kbit_s, double rtt_ms, struct msg_decision *d)
{
	tell_agent(f, "gw", kbit_s, rtt_ms);
	return decide_make(f->decide, &f->roster, agent(f, "gw"), d, &f->waits);
}

static void a_prediction_that_is_no_longer_true_is_said_again(void **state)
{
	struct fleet *f = *state;
	struct msg_decision first, d;

	f->conf.policy.split = 2;
	snprintf(f->conf.policy.codec, sizeof(f->conf.policy.codec), "f32");
	add_worker(f, "w1");
	add_agent(f, "gw");
	first = *decided(f, "gw");
	assert_int_equal(news(f, 10000, 11, &d), DECIDE_NOTHING);
	assert_int_equal(news(f, 10000, 20, &d), DECIDE_FIGURES);
	assert_int_equal(d.number, first.number);
	assert_int_equal(d.split, first.split);
	assert_true(d.predicted.token_ms > first.predicted.token_ms + 9);
	roster_publish(&f->roster, agent(f, "gw"), &d, 2);
	assert_int_equal(agent(f, "gw")->decided_ms, 1);
	assert_int_equal(agent(f, "gw")->told_ms, 2);
	assert_int_equal(news(f, 10000, 20.1, &d), DECIDE_NOTHING);
	assert_int_equal(news(f, 10000, 10, &d), DECIDE_FIGURES);
	assert_false(f->waits);
}

/* Whichever figure it is that was told otherwise. */
static void each_figure_of_a_prediction_counts(void **state)
{
	struct fleet *f = *state;
	struct msg_predicted told, *p;
	struct msg_decision d;

	f->conf.policy.split = 2;
	add_worker(f, "w1");
	add_agent(f, "gw");
	told = decided(f, "gw")->predicted;
	p = &agent(f, "gw")->decision.predicted;
	assert_int_equal(news(f, 10000, 10, &d), DECIDE_NOTHING);
	p->ttft_ms = 1.4 * told.ttft_ms;
	assert_int_equal(news(f, 10000, 10, &d), DECIDE_FIGURES);
	*p = told;
	p->up_bytes = 1.4 * told.up_bytes;
	assert_int_equal(news(f, 10000, 10, &d), DECIDE_FIGURES);
	*p = told;
	p->edge_bytes = told.edge_bytes / 2;
	assert_int_equal(news(f, 10000, 10, &d), DECIDE_FIGURES);
	*p = told;
	p->worker_bytes = 2 * told.worker_bytes;
	assert_int_equal(news(f, 10000, 10, &d), DECIDE_FIGURES);
	*p = told;
	agent(f, "gw")->decision.has_predicted = false;
	assert_int_equal(news(f, 10000, 10, &d), DECIDE_FIGURES); /* it never had any */
}

/* What is said when the agent's link is so and its one session stands like this. */
static enum decide_news news_in_session(struct fleet *f, double kbit_s, struct msg_remaining left,
					struct msg_decision *d)
{
	struct msg_telemetry *t = &agent(f, "gw")->telemetry;

	tell_agent(f, "gw", kbit_s, 2);
	t->n_remaining = 1;
	t->remaining[0] = left;
	return decide_make(f->decide, &f->roster, agent(f, "gw"), d, &f->waits);
}

/* All layers here would be faster, but a session with a long cache has few tokens left. */
static void a_change_that_does_not_pay_now_is_for_new_sessions(void **state)
{
	const struct msg_remaining few = { .tokens = 2, .kv_tokens = 400 };
	struct fleet *f = *state;
	struct msg_decision d;

	f->budget_bytes = 20 * LAYER_BYTES;
	add_worker(f, "w1");
	add_agent(f, "gw");
	assert_int_equal(news(f, 10000, 2, &d), DECIDE_CHOICE);
	assert_int_equal(d.split, 0);
	assert_string_equal(d.stay_codec, "");
	roster_publish(&f->roster, agent(f, "gw"), &d, 1);
	assert_int_equal(news_in_session(f, 30, few, &d), DECIDE_CHOICE);
	assert_int_equal(d.split, LAYERS);
	assert_string_not_equal(d.stay_codec, "");
	assert_true(f->waits);
	roster_publish(&f->roster, agent(f, "gw"), &d, 2);
	assert_int_not_equal(news_in_session(f, 30, few, &d), DECIDE_CHOICE);
	assert_true(f->waits);
	assert_int_not_equal(news(f, 30, 2, &d), DECIDE_CHOICE); /* it has ended */
	assert_int_equal(d.split, LAYERS);
	assert_string_not_equal(d.stay_codec, ""); /* as it was said: there is nothing to say */
	assert_false(f->waits);
}

/* Those that stay were told to with fine rows, when the link was faster. */
static void who_stays_is_told_when_rows_shall_be_coarser(void **state)
{
	const struct msg_remaining few = { .tokens = 2, .kv_tokens = 400 };
	struct fleet *f = *state;
	char coarse[MSG_SPEC_MAX];
	struct msg_decision d;

	f->budget_bytes = 20 * LAYER_BYTES;
	add_worker(f, "w1");
	add_agent(f, "gw");
	assert_int_equal(news(f, 10000, 2, &d), DECIDE_CHOICE);
	roster_publish(&f->roster, agent(f, "gw"), &d, 1);
	assert_int_equal(news_in_session(f, 30, few, &d), DECIDE_CHOICE);
	memcpy(coarse, d.stay_codec, sizeof(coarse));
	snprintf(d.stay_codec, sizeof(d.stay_codec), "f32");
	roster_publish(&f->roster, agent(f, "gw"), &d, 2);
	assert_int_equal(news_in_session(f, 30, few, &d), DECIDE_CHOICE);
	assert_string_equal(d.stay_codec, coarse);
	roster_publish(&f->roster, agent(f, "gw"), &d, 3);
	assert_int_not_equal(news_in_session(f, 30, few, &d), DECIDE_CHOICE);
}

/* A link that gets still worse: those that stay go as well. */
static void who_stays_moves_when_that_pays(void **state)
{
	const struct msg_remaining some = { .tokens = 20, .kv_tokens = 400 };
	struct fleet *f = *state;
	struct msg_decision d;

	f->budget_bytes = 20 * LAYER_BYTES;
	add_worker(f, "w1");
	add_agent(f, "gw");
	assert_int_equal(news(f, 10000, 2, &d), DECIDE_CHOICE);
	roster_publish(&f->roster, agent(f, "gw"), &d, 1);
	assert_int_equal(news_in_session(f, 30, some, &d), DECIDE_CHOICE);
	assert_string_not_equal(d.stay_codec, "");
	roster_publish(&f->roster, agent(f, "gw"), &d, 2);
	assert_int_equal(news_in_session(f, 1, some, &d), DECIDE_CHOICE);
	assert_int_equal(d.split, LAYERS);
	assert_string_equal(d.stay_codec, "");
	assert_false(f->waits);
}

static void a_slower_link_moves_the_decision_and_a_little_noise_does_not(void **state)
{
	struct fleet *f = *state;

	f->budget_bytes = 20 * LAYER_BYTES;
	add_worker(f, "w1");
	add_agent(f, "gw");
	tell_agent(f, "gw", 10000, 2);
	assert_int_equal(decided(f, "gw")->split, 0);
	f->n_changes = 0;
	for (unsigned i = 0; i < 20; i++) {
		tell_agent(f, "gw", 10000 + 300 * (i % 3), 2 + 0.05 * (i % 2));
		decided(f, "gw");
	}
	assert_int_equal(f->n_changes, 0);
	f->conf.policy.token_ms = 1; /* cannot be kept: what there is stays */
	assert_int_equal(decided(f, "gw")->split, 0);
	f->conf.policy.token_ms = UINT32_MAX;
	tell_agent(f, "gw", 10, 2);
	assert_int_equal(decided(f, "gw")->split, LAYERS);
	assert_string_equal(decided(f, "gw")->worker, "");
	assert_int_equal(f->n_changes, 1);
}

/* ---- workers ---- */

static void agents_of_a_worker_that_leaves_get_another_at_once(void **state)
{
	struct fleet *f = *state;

	add_worker(f, "w1");
	add_agent(f, "gw");
	assert_string_equal(decided(f, "gw")->worker, "w1");
	add_worker(f, "w2");
	assert_string_equal(decided(f, "gw")->worker, "w1");
	while (roster_next_due(&f->roster))
		;
	add_worker_as(f, "w1", MSG_DRAINING);
	assert_ptr_equal(roster_next_due(&f->roster), agent(f, "gw"));
	assert_string_equal(decided(f, "gw")->worker, "w2");
	assert_non_null(strstr(decided(f, "gw")->reason, "worker w1 is gone or leaves"));
	add_worker(f, "w1"); /* it is back: no reason to move */
	assert_string_equal(decided(f, "gw")->worker, "w2");
	tell_worker(f, "w2", 0.1, true); /* its telemetry says so first */
	assert_string_equal(decided(f, "gw")->worker, "w1");
	add_worker_as(f, "w1", MSG_LOST);
	assert_string_equal(decided(f, "gw")->worker, "w1"); /* there is no other */
}

static void a_worker_that_is_gone_is_replaced_before_telemetry_is_there(void **state)
{
	struct msg_decision d = { .agent = "gw",
				  .number = 4,
				  .worker = "w1",
				  .split = 2,
				  .objective = "latency",
				  .kv = "f16",
				  .reason = "x" };
	struct fleet *f = *state;

	assert_int_equal(roster_decided(&f->roster, &d), 0);
	add_status(f, "gw");
	add_worker(f, "w2");
	add_worker_as(f, "w1", MSG_LOST);
	assert_string_equal(decided(f, "gw")->worker, "w2");
	assert_int_equal(decided(f, "gw")->split, 2);
	assert_int_equal(decided(f, "gw")->number, 5);
}

static unsigned round_of(struct fleet *f, const char names[][8], unsigned n)
{
	unsigned before = f->n_changes;

	for (unsigned i = 0; i < n; i++)
		decided(f, names[i]);
	return f->n_changes - before;
}

static void agents_spread_over_workers_and_then_stay(void **state)
{
	struct fleet *f = *state;
	char names[12][8];
	unsigned moved;

	add_worker(f, "w1");
	for (unsigned i = 0; i < 12; i++) {
		snprintf(names[i], sizeof(names[i]), "g%u", i);
		add_agent(f, names[i]);
		decided(f, names[i]);
	}
	assert_int_equal(roster_find_worker(&f->roster, "w1")->n_agents, 12);
	add_worker(f, "w2");
	moved = round_of(f, (const char(*)[8])names, 12);
	assert_in_range(roster_find_worker(&f->roster, "w2")->n_agents, 4, 6);
	assert_int_equal(moved, roster_find_worker(&f->roster, "w2")->n_agents);
	assert_int_equal(round_of(f, (const char(*)[8])names, 12), 0); /* each moved once */
	add_agent(f, "new");
	assert_string_equal(decided(f, "new")->worker, "w2");
}

static void assert_faster_serves_more(struct fleet *f, double slow_ms, double fast_ms)
{
	char name[8];

	add_worker(f, "slow");
	add_worker(f, "fast");
	tell_worker(f, "slow", slow_ms, false);
	tell_worker(f, "fast", fast_ms, false);
	for (unsigned i = 0; i < 12; i++) {
		snprintf(name, sizeof(name), "g%u", i);
		add_agent(f, name);
		decided(f, name);
	}
	assert_in_range(roster_find_worker(&f->roster, "fast")->n_agents, 8, 11);
}

static void a_faster_worker_serves_more_agents(void **state)
{
	assert_faster_serves_more(*state, 0.1, 0.025);
}

static void of_workers_that_take_long_the_faster_one_serves_more_too(void **state)
{
	assert_faster_serves_more(*state, 12, 3);
}

/* One agent fewer is what a move would only turn round. */
static void two_agents_fewer_are_a_reason_to_move_and_one_is_not(void **state)
{
	struct fleet *f = *state;
	const struct roster_worker *w1, *w2;

	add_worker(f, "w1");
	for (unsigned i = 0; i < 2; i++) {
		add_agent(f, i ? "b" : "a");
		decided(f, i ? "b" : "a");
	}
	add_worker(f, "w2");
	tell_worker(f, "w2", 0.001, false); /* however fast it is */
	w1 = roster_find_worker(&f->roster, "w1");
	w2 = roster_find_worker(&f->roster, "w2");
	assert_int_equal(w1->n_agents, 2);
	assert_true(assign_is_much_busier(&f->roster, agent(f, "a"), w1, w2));
	assert_string_equal(decided(f, "a")->worker, "w2");
	assert_false(assign_is_much_busier(&f->roster, agent(f, "b"), w1, w2));
	assert_string_equal(decided(f, "b")->worker, "w1");
}

static void who_is_alone_on_a_slow_worker_moves_to_a_fast_one_that_is_idle(void **state)
{
	struct fleet *f = *state;

	add_worker(f, "slow");
	tell_worker(f, "slow", 0.8, false);
	add_agent(f, "gw");
	assert_string_equal(decided(f, "gw")->worker, "slow");
	add_worker(f, "other");
	tell_worker(f, "other", 0.7, false); /* hardly faster */
	assert_string_equal(decided(f, "gw")->worker, "slow");
	tell_worker(f, "other", 0.1, false);
	assert_string_equal(decided(f, "gw")->worker, "other");
	tell_worker(f, "slow", 0.09, false);
	assert_string_equal(decided(f, "gw")->worker, "other");
}

/* Nothing is lighter by a speed that nobody knows, nor than one. */
static void who_is_alone_does_not_move_for_speeds_that_were_never_measured(void **state)
{
	struct fleet *f = *state;
	const struct roster_worker *slow, *other;

	add_worker(f, "slow");
	tell_worker(f, "slow", 3, false);
	add_agent(f, "gw");
	assert_string_equal(decided(f, "gw")->worker, "slow");
	add_worker_as(f, "other", MSG_READY);
	slow = roster_find_worker(&f->roster, "slow");
	other = roster_find_worker(&f->roster, "other");
	assert_false(assign_is_lighter(&f->roster, agent(f, "gw"), slow, other));
	assert_false(assign_is_lighter(&f->roster, agent(f, "gw"), other, slow));
	assert_string_equal(decided(f, "gw")->worker, "slow");
	tell_worker(f, "other", 1, false);
	assert_true(assign_is_lighter(&f->roster, agent(f, "gw"), slow, other));
	assert_string_equal(decided(f, "gw")->worker, "other");
}

static void a_worker_that_was_measured_to_be_near_is_preferred(void **state)
{
	struct fleet *f = *state;

	add_worker(f, "far");
	add_agent(f, "gw");
	assert_string_equal(decided(f, "gw")->worker, "far");
	add_worker(f, "near");
	tell_agent(f, "gw", 10000, 80); /* measured to `far` */
	assert_string_equal(decided(f, "gw")->worker, "far");
	tell_worker(f, "far", 0.1, true);
	assert_string_equal(decided(f, "gw")->worker, "near");
	tell_agent(f, "gw", 10000, 10);
	tell_worker(f, "far", 0.1, false);
	assert_string_equal(decided(f, "gw")->worker, "near");
	tell_worker(f, "near", 0.1, true);
	assert_string_equal(decided(f, "gw")->worker, "far");
	tell_agent(f, "gw", 10000, 80);
	tell_worker(f, "near", 0.1, false); /* a small gain would not do; this is 70 ms a token */
	assert_string_equal(decided(f, "gw")->worker, "near");
}

static void a_worker_that_was_never_measured_is_tried(void **state)
{
	struct fleet *f = *state;

	f->budget_bytes = 20 * LAYER_BYTES;
	add_worker_as(f, "w1", MSG_READY);
	add_agent(f, "gw");
	tell_agent(f, "gw", 10000, 2);
	assert_int_equal(decided(f, "gw")->split, 0);
	tell_worker(f, "w1", 3, false); /* slower than the agent, as it turns out */
	assert_int_equal(decided(f, "gw")->split, LAYERS);
}

/* It is planned with as a worker that is told to be four times as fast as the agent, at each
 * position and in its head. */
static void a_worker_that_was_never_measured_counts_as_four_times_as_fast(void **state)
{
	struct fleet *f = *state;
	struct msg_speed *speed;
	struct msg_batch *b;
	double untried_ms;

	add_worker_as(f, "w1", MSG_READY);
	add_agent(f, "gw");
	speed = &agent(f, "gw")->telemetry.speeds[0];
	speed->layer_token_at = 10;
	speed->deeper_token_ms = 4;
	speed->head_ms = 2;
	untried_ms = decided(f, "gw")->predicted.token_ms;
	assert_int_equal(decided(f, "gw")->split, 0);
	tell_worker(f, "w1", 0.25, false);
	b = &roster_find_worker(&f->roster, "w1")->telemetry.batches[0];
	b->head_ms = 0.5;
	b->at = 10;
	b->deeper_ms = 1;
	agent(f, "gw")->decision.number = 0; /* as if nothing had been said */
	assert_true(fabs(decided(f, "gw")->predicted.token_ms - untried_ms) < 1e-6);
	b->layer_ms = 0.3;
	agent(f, "gw")->decision.number = 0;
	assert_true(fabs(decided(f, "gw")->predicted.token_ms - untried_ms) > 0.1);
}

static void workers_of_other_models_and_layers_are_no_choice(void **state)
{
	struct fleet *f = *state;
	struct roster_worker *w;

	add_worker(f, "w1");
	add_worker(f, "w2");
	w = roster_find_worker(&f->roster, "w1");
	w->status.first_layer = LAYERS; /* the agent cannot hold as many */
	w = roster_find_worker(&f->roster, "w2");
	w->status.model[0] = 'f';
	add_agent(f, "gw");
	assert_false(assign_can_serve(w, agent(f, "gw")));
	assert_string_equal(decided(f, "gw")->objective, ""); /* there is no plan */
	w->status.model[0] = '0';
	assert_string_equal(decided(f, "gw")->worker, "w2");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_fleet, close_fleet)
	static const struct CMUnitTest tests[] = {
		TEST(without_measurements_the_policy_alone_speaks),
		TEST(who_wants_no_plan_gets_none),
		TEST(a_plan_names_worker_precisions_and_what_it_expects),
		TEST(a_restarted_agent_is_planned_for_when_it_has_measured_again),
		TEST(many_kinds_of_agents_have_a_plan_each),
		TEST(what_the_operator_fixes_stays_fixed),
		TEST(a_restart_changes_nothing_that_is_right),
		TEST(a_refusal_is_not_repeated_but_learnt_from),
		TEST(a_refusal_holds_over_a_restart_and_until_there_is_more_memory),
		TEST(a_codec_that_is_refused_is_not_tried_again),
		TEST(a_front_that_was_taken_and_then_is_not_there_is_not_tried_again),
		TEST(a_prediction_that_is_no_longer_true_is_said_again),
		TEST(each_figure_of_a_prediction_counts),
		TEST(a_change_that_does_not_pay_now_is_for_new_sessions),
		TEST(who_stays_is_told_when_rows_shall_be_coarser),
		TEST(who_stays_moves_when_that_pays),
		TEST(a_slower_link_moves_the_decision_and_a_little_noise_does_not),
		TEST(agents_of_a_worker_that_leaves_get_another_at_once),
		TEST(a_worker_that_is_gone_is_replaced_before_telemetry_is_there),
		TEST(agents_spread_over_workers_and_then_stay),
		TEST(a_faster_worker_serves_more_agents),
		TEST(of_workers_that_take_long_the_faster_one_serves_more_too),
		TEST(who_is_alone_on_a_slow_worker_moves_to_a_fast_one_that_is_idle),
		TEST(who_is_alone_does_not_move_for_speeds_that_were_never_measured),
		TEST(two_agents_fewer_are_a_reason_to_move_and_one_is_not),
		TEST(a_worker_that_was_measured_to_be_near_is_preferred),
		TEST(a_worker_that_was_never_measured_is_tried),
		TEST(a_worker_that_was_never_measured_counts_as_four_times_as_fast),
		TEST(workers_of_other_models_and_layers_are_no_choice),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
