/* tests/test_facts.c - from messages, YAML and a calibration to what a planner takes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/spec.h"
#include "coordinator/facts.h"
#include "engine/quant.h"
#include "tools/capture.h"

static uint64_t layer_bytes[] = { 100, 200, 300, 400 };
static uint64_t small_bytes[] = { 50, 100, 150, 200 };

static struct msg_agent_profile profile_of(void)
{
	return (struct msg_agent_profile){
		.agent = "gw",
		.model = "0123456789abcdef0123456789abcdef",
		.n_layers = 4,
		.dim = 256,
		.kv_elements = 256,
		.context_tokens = 500,
		.prefill_rows = 64,
		.budget_bytes = 5000,
		.base_bytes = 10,
		.session_bytes = 20,
		.token_bytes = 30,
		.n_fronts = 2,
		.fronts = { { .name = "Q8_0",
			      .layers = 4,
			      .embed_bytes = 1,
			      .head_bytes = 500,
			      .layer_bytes = layer_bytes },
			    { .name = "Q4_0", .layers = 3, .layer_bytes = small_bytes } },
	};
}

static struct msg_telemetry telemetry_of(void)
{
	return (struct msg_telemetry){
		.name = "gw",
		.n_speeds = 1,
		.speeds = { { .front = "Q8_0",
			      .layer_token_ms = 2,
			      .layer_row_ms = 1,
			      .embed_ms = 0.5,
			      .encode_ms = 0.25 } },
		.link = { .rtt_ms = 10,
			  .rtt_high_ms = 40,
			  .up_kbit_s = 1000,
			  .up_low_kbit_s = 250,
			  .samples = 9 },
		.n_remaining = 1,
		.remaining = { { .tokens = 12, .kv_tokens = 34, .split = 2 } },
	};
}

static bool near(double a, double b, double share)
{
	return fabs(a - b) <= share * fabs(b);
}

static void an_agent_is_what_its_profile_says(void **state)
{
	struct msg_agent_profile p = profile_of();
	struct facts_agent f;
	struct err e;

	(void)state;
	assert_int_equal(facts_agent_init(&f, &p, NULL, &e), 0);
	assert_int_equal(f.agent.n_fronts, 2);
	assert_string_equal(f.agent.fronts[1].name, "Q4_0");
	assert_int_equal(f.agent.fronts[0].weight_bytes[0], 0);
	assert_int_equal(f.agent.fronts[0].weight_bytes[4], 1000);
	assert_int_equal(f.agent.fronts[1].weight_bytes[3], 300);
	assert_int_equal(f.agent.kv_bytes[KV_F16], 512);
	assert_int_equal(f.agent.kv_bytes[KV_F32], 1024);
	assert_int_equal(f.agent.kv_bytes[KV_Q8_0], 256 / 32 * 34);
	assert_int_equal(f.agent.kv_bytes[KV_Q4_0], 256 / 32 * 18);
	assert_int_equal(f.agent.budget_bytes, 5000);
	assert_true(f.agent.speeds[0].layer_token_ms == 0); /* nothing was measured */
	facts_agent_finish(&f);
}

/* Where the first one does not fit, another is the agent's usual one. */
static void a_decision_without_a_front_means_the_usual_one(void **state)
{
	static const struct {
		const char *usual, *named;
		bool known;
		uint32_t front;
	} cases[] = { { "", "", true, 0 },
		      { "Q4_0", "", true, 1 },
		      { "Q4_0", "Q8_0", true, 0 },
		      { "Q2_K", "", true, 0 },
		      { "Q4_0", "Q2_K", false, 2 } };
	const struct plan_accuracy accuracy = { .n_layers = 4 };

	(void)state;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct msg_decision d = { .split = 4, .context_tokens = 64, .kv = "f16" };
		struct msg_agent_profile p = profile_of();
		struct plan_present now;
		struct facts_agent f;

		snprintf(p.front, sizeof(p.front), "%s", cases[i].usual);
		snprintf(d.front, sizeof(d.front), "%s", cases[i].named);
		assert_int_equal(facts_agent_init(&f, &p, NULL, NULL), 0);
		facts_present(&now, &d, NULL, &f.agent, &accuracy, "w1");
		assert_int_equal(now.known, cases[i].known);
		assert_int_equal(now.choice.front, cases[i].front);
		facts_agent_finish(&f);
	}
}

static void speeds_that_lack_follow_from_the_weights(void **state)
{
	struct msg_agent_profile p = profile_of();
	struct msg_telemetry t = telemetry_of();
	struct facts_agent f;
	struct err e;

	(void)state;
	t.budget_bytes = 4000;
	t.begin_ms = 1.5;
	assert_int_equal(facts_agent_init(&f, &p, &t, &e), 0);
	assert_int_equal(f.agent.budget_bytes, 4000);
	assert_true(f.agent.begin_ms == 1.5 && f.agent.speeds[1].encode_ms == 0.25);
	assert_true(f.agent.speeds[0].layer_token_ms == 2);
	assert_true(f.agent.speeds[0].head_ms == 2 * 500 / 250.0); /* as long as 2 mean layers */
	assert_true(near(f.agent.speeds[1].layer_token_ms, 2 * 100 / 250.0, 1e-9));
	assert_true(near(f.agent.speeds[1].layer_row_ms, 1 * 100 / 250.0, 1e-9));
	assert_true(f.agent.speeds[1].embed_ms == 0.5);
	assert_true(f.agent.speeds[1].local_ms == 0.5);
	assert_true(f.agent.speeds[0].local_layer_ms == 2);
	t.speeds[0].local_layer_ms = 1.5;
	t.speeds[0].local_ms = 0.125;
	t.speeds[0].head_ms = 7;
	t.speeds[1] = (struct msg_speed){ .front = "Q4_0", .layer_token_ms = 3 };
	t.n_speeds = 2;
	facts_agent_update(&f, &p, &t);
	assert_true(f.agent.speeds[0].head_ms == 7 && f.agent.speeds[0].local_ms == 0.125);
	assert_true(f.agent.speeds[0].local_layer_ms == 1.5);
	assert_true(f.agent.speeds[1].layer_token_ms == 3);
	facts_agent_finish(&f);
}

static void times_have_their_positions(void **state)
{
	struct msg_agent_profile p = profile_of();
	struct msg_telemetry t = telemetry_of();
	struct facts_agent f;
	struct err e;

	(void)state;
	t.speeds[0].layer_token_at = 80;
	t.speeds[0].layer_row_at = 20;
	t.speeds[0].local_layer_at = 300;
	t.speeds[0].deeper_token_ms = 0.5;
	t.speeds[0].deeper_row_ms = 0.25;
	assert_int_equal(facts_agent_init(&f, &p, &t, &e), 0);
	for (unsigned i = 0; i < 2; i++) { /* the other front: attention knows no weights */
		const struct plan_speed *s = &f.agent.speeds[i];

		assert_true(s->token_depth.at == 80 && s->token_depth.deeper_ms == 0.0005);
		assert_true(s->row_depth.at == 20 && s->row_depth.deeper_ms == 0.00025);
		assert_true(s->local_depth.at == 80); /* whose time it is */
	}
	t.speeds[0].local_layer_ms = 1.5;
	facts_agent_update(&f, &p, &t);
	assert_true(f.agent.speeds[0].local_depth.at == 300);
	assert_true(near(f.agent.speeds[0].local_depth.deeper_ms, 0.0005 * 1.5 / 2.11, 1e-9));
	facts_agent_finish(&f);
}

static void too_many_layers_are_refused(void **state)
{
	struct msg_agent_profile p = profile_of();
	struct facts_agent f;
	struct err e;

	(void)state;
	p.n_layers = PLAN_MAX_LAYERS + 1;
	assert_int_equal(facts_agent_init(&f, &p, NULL, &e), ERR_LIMIT);
	assert_non_null(strstr(e.text, "gw"));
}

static void a_worker_counts_when_it_serves_the_model(void **state)
{
	struct msg_worker_status s = { .worker = "w",
				       .state = MSG_READY,
				       .model = "m",
				       .first_layer = 2,
				       .context_tokens = 99,
				       .kv_elements = 64,
				       .budget_bytes = 1000,
				       .weight_bytes = 300 };
	struct msg_telemetry t = {
		.kv_bytes = 200,
		.weight_bytes = 310,
		.queue_ms = 0.5,
		.decode_ms = 0.25,
		.n_batches = 3,
		.batches = { { 1, 2, 3, 0, 0 }, { 8, 0, 1, 0, 0 }, { 64, 9, 5, 200, 4 } }
	};
	struct plan_worker w;

	(void)state;
	facts_worker(&w, &s, &t, "m", 50);
	assert_true(w.present);
	assert_int_equal(w.used_bytes, 310 + 200 - 50);
	assert_int_equal(w.n_batches, 2); /* not the one that nothing is known of */
	assert_int_equal(w.batches[1].rows, 64);
	assert_true(w.batches[1].depth.at == 200 && w.batches[1].depth.deeper_ms == 0.004);
	assert_true(w.batch_rows == 1);
	t.batch_rows = 2.5;
	facts_worker(&w, &s, &t, "m", 50);
	assert_true(w.batch_rows == 2.5);
	assert_true(w.queue_ms == 0.5 && w.decode_ms == 0.25);
	assert_int_equal(w.kv_bytes[KV_F16], 128);
	facts_worker(&w, &s, &t, "m", 500); /* more than all: a figure of another time */
	assert_int_equal(w.used_bytes, 310);
	facts_worker(&w, &s, NULL, "m", 0);
	assert_true(w.present);
	assert_int_equal(w.n_batches, 0);
	facts_worker(&w, &s, &t, "other", 0);
	assert_false(w.present);
	t.draining = true;
	facts_worker(&w, &s, &t, "m", 0);
	assert_false(w.present);
	facts_worker(&w, NULL, NULL, "m", 0);
	assert_false(w.present);
	s.state = MSG_DRAINING;
	facts_worker(&w, &s, NULL, "m", 0);
	assert_false(w.present);
}

static void the_link_is_taken_at_its_quantile(void **state)
{
	struct msg_telemetry t = telemetry_of();
	struct plan_link l;
	double before = 1e9;

	(void)state;
	t.link.open_ms = 2.5;
	facts_link(&l, &t, 0.5);
	assert_true(l.open_ms == 2.5);
	assert_true(near(l.rtt_ms, 10, 1e-9) && near(l.up_kbit_s, 1000, 1e-9));
	assert_true(l.down_kbit_s == 0); /* not known */
	facts_link(&l, &t, 0.05);
	assert_true(near(l.rtt_ms, 40, 0.03) && near(l.up_kbit_s, 250, 0.03));
	for (double epsilon = 0.01; epsilon <= 0.5; epsilon += 0.07) {
		facts_link(&l, &t, epsilon);
		assert_true(l.rtt_ms < before);
		before = l.rtt_ms;
	}
	t.link.rtt_high_ms = 0;
	facts_link(&l, &t, 0.05);
	assert_true(l.rtt_ms == 10);
	facts_link(&l, NULL, 0.05);
	assert_true(l.rtt_ms == 0);
}

struct desk {
	struct config_coordinator conf;
	struct msg_agent_profile profile;
	struct facts_agent agent;
	struct accuracy accuracy;
	struct cal *cal;
};

static void accuracy_for(struct accuracy *a, const struct cal *cal, uint32_t n_layers,
			 const char *front, const char *codec)
{
	const struct accuracy_conf c = { .cal = cal,
					 .predicts = true,
					 .n_layers = n_layers,
					 .dim = 256,
					 .n_fronts = 2,
					 .fronts = { "Q8_0", front },
					 .codec = codec,
					 .chunk_rows = 64 };
	struct err e = { 0 };

	if (accuracy_init(a, &c, &e))
		fail_msg("%s", e.text);
}

static int desk_open(void **state)
{
	const char *root = getenv("SPLITMQ_ROOT");
	struct desk *d = calloc(1, sizeof(*d));
	char path[4096];
	struct err e = { 0 };

	assert_non_null(d);
	snprintf(path, sizeof(path), "%s/models/gateway.gguf.cal", root ? root : ".");
	if (cal_open(&d->cal, path, &e))
		fail_msg("%s", e.text);
	d->profile = profile_of();
	assert_int_equal(facts_agent_init(&d->agent, &d->profile, NULL, &e), 0);
	accuracy_for(&d->accuracy, NULL, 4, "Q4_0", "");
	*state = d;
	return 0;
}

static int desk_close(void **state)
{
	struct desk *d = *state;

	facts_agent_finish(&d->agent);
	accuracy_finish(&d->accuracy);
	cal_close(d->cal);
	free(d);
	return 0;
}

static bool policy(struct desk *d, const char *yaml, struct plan_policy *p)
{
	struct err e = { 0 };

	if (config_parse_coordinator(&d->conf, "c.yaml", yaml, strlen(yaml), &e))
		fail_msg("%s", e.text);
	return facts_policy(p, &d->conf, "gw", &d->agent.agent, &d->accuracy.table, d->cal);
}

static void a_policy_is_free_where_yaml_says_nothing(void **state)
{
	struct desk *d = *state;
	struct plan_policy p;

	assert_true(policy(d, "", &p));
	assert_int_equal(p.objective, PLAN_LATENCY);
	assert_true(p.min_split == 0 && p.max_split == 4);
	assert_true(p.ttft_ms == 0 && p.token_ms == 0);
	assert_true(p.loss == 0.02); /* a calibration tells it */
	assert_false(p.kv_types >> KV_F32 & 1);
	assert_int_equal(p.contexts[0], 128); /* what the session needs, ... */
	assert_int_equal(p.contexts[1], 250);
	assert_int_equal(p.contexts[2], 500); /* ... and all that the agent has */
	assert_int_equal(p.n_contexts, 3);
	assert_false(facts_policy(&p, &(struct config_coordinator){ .policy.objective = "none" },
				  "gw", &d->agent.agent, &d->accuracy.table, false));
}

static void an_agents_own_words_come_first(void **state)
{
	struct desk *d = *state;
	struct plan_policy p;

	assert_true(policy(d,
			   "policy: {objective: worker, kv: q8_0, split: 1}\n"
			   "limits: {ttft_ms: 900, token_ms: 90, loss: 0.5}\n"
			   "agents: {gw: {objective: bytes, token_ms: 20, split: 9, codec: q8,\n"
			   "  context_tokens: 77}}\n",
			   &p));
	assert_int_equal(p.objective, PLAN_BYTES);
	assert_int_equal(p.kv_types, 1u << KV_Q8_0);
	assert_true(p.min_split == 4 && p.max_split == 4); /* as many as there are */
	assert_true(p.ttft_ms == 900 && p.token_ms == 20 && p.loss == 0.5);
	assert_true(p.n_contexts == 1 && p.contexts[0] == 77);
	assert_string_equal(facts_codec(&d->conf, "gw"), "q8");
	assert_string_equal(facts_codec(&d->conf, "other"), "");
	assert_false(policy(d, "agents: {gw: {objective: none}}\n", &p));
}

static void a_decision_is_the_choice_again(void **state)
{
	struct desk *d = *state;
	struct msg_telemetry t = telemetry_of();
	struct plan_present now;
	struct msg_decision m = { .split = 2, .worker = "w1" };
	struct plan_policy p = { .objective = PLAN_BYTES };
	struct plan_input in = { .agent = &d->agent.agent,
				 .accuracy = &d->accuracy.table,
				 .policy = &p };
	struct plan_result *r = calloc(1, sizeof(*r));
	const struct plan_choice c = { 3, 1, 4, KV_Q4_0, 250 };

	assert_non_null(r);
	r->verdict = PLAN_FIRST;
	r->chosen.choice = c;
	r->chosen.figures.edge_bytes = 4711;
	facts_decision(&m, &in, r);
	assert_string_equal(m.front, "Q4_0");
	assert_string_equal(m.kv, "q4_0");
	assert_string_equal(m.objective, "bytes");
	assert_int_equal(m.predicted.edge_bytes, 4711);
	facts_present(&now, &m, &t, &d->agent.agent, &d->accuracy.table, "w1");
	assert_true(now.known && now.same_worker);
	assert_memory_equal(&now.choice, &c, sizeof(c));
	assert_int_equal(now.n_sessions, 1);
	assert_int_equal(now.sessions[0].kv_tokens, 34);
	assert_int_equal(facts_own_bytes(&d->agent.agent, &now), (12 + 34) * 144 * 1);
	facts_present(&now, &m, &t, &d->agent.agent, &d->accuracy.table, "w2");
	assert_false(now.same_worker);
	m.codec[0] = '\0'; /* left to the agent */
	facts_present(&now, &m, &t, &d->agent.agent, &d->accuracy.table, "w1");
	assert_false(now.known);
	facts_present(&now, NULL, &t, &d->agent.agent, &d->accuracy.table, "w1");
	assert_false(now.known);
	free(r);
}

/* A session that was told to stay is where it was; one at the decided split is not one of them. */
static void who_stays_is_where_telemetry_says(void **state)
{
	struct desk *d = *state;
	struct msg_telemetry t = telemetry_of();
	struct msg_decision m = { .split = 3, .worker = "w1", .codec = "f32", .kv = "f16" };
	struct plan_result *r = calloc(1, sizeof(*r));
	struct plan_input in = { .accuracy = &d->accuracy.table };
	struct plan_policy p = { .objective = PLAN_LATENCY };
	struct plan_present now;
	uint32_t level;

	assert_non_null(r);
	in.agent = &d->agent.agent;
	in.policy = &p;
	r->chosen.choice = (struct plan_choice){ .split = 3, .context_tokens = 250 };
	facts_decision(&m, &in, r);
	assert_string_equal(m.stay_codec, "");
	r->stays = true;
	r->stay_level = 2;
	facts_decision(&m, &in, r);
	assert_int_equal(accuracy_level(&d->accuracy.table, m.stay_codec, &level), 0);
	assert_int_equal(level, 2);
	t.n_remaining = 2;
	t.remaining[0] = (struct msg_remaining){ .tokens = 10, .kv_tokens = 20, .split = 1 };
	t.remaining[1] = (struct msg_remaining){ .tokens = 10, .kv_tokens = 20, .split = 3 };
	facts_present(&now, &m, &t, &d->agent.agent, &d->accuracy.table, "w1");
	assert_true(now.sessions[0].stays && now.sessions[0].split == 1);
	assert_false(now.sessions[1].stays);
	assert_int_equal(now.stay_level, 2);
	assert_int_equal(facts_own_bytes(&d->agent.agent, &now),
			 30 * (3 + 1) * d->agent.agent.kv_bytes[now.choice.kv]);
	m.stay_codec[0] = '\0'; /* nobody was told to: they are on their way */
	facts_present(&now, &m, &t, &d->agent.agent, &d->accuracy.table, "w1");
	assert_false(now.sessions[0].stays);
	free(r);
}

static float loss_of(const struct accuracy *a, uint32_t front, enum kv_type kv, const char *spec,
		     uint32_t split)
{
	const struct plan_accuracy *t = &a->table;
	uint32_t level;

	assert_int_equal(accuracy_level(t, spec, &level), 0);
	return t->loss[((front * KV_TYPE_COUNT + kv) * t->n_levels + level) * (t->n_layers + 1) +
		       split];
}

static float bits_of(const struct accuracy *a, const char *spec, uint32_t split, bool decode)
{
	const struct plan_accuracy *t = &a->table;
	uint32_t level;

	assert_int_equal(accuracy_level(t, spec, &level), 0);
	return (decode ? t->row_bits : t->prompt_bits)[level * (t->n_layers + 1) + split];
}

static void without_a_calibration_only_whole_numbers_are_sure(void **state)
{
	struct desk *d = *state;

	assert_true(loss_of(&d->accuracy, 0, KV_F16, "f32", 2) == 0);
	assert_true(loss_of(&d->accuracy, 0, KV_F32, "f16", 2) == 0);
	assert_true(isnan(loss_of(&d->accuracy, 0, KV_Q8_0, "f32", 2)));
	assert_true(isnan(loss_of(&d->accuracy, 0, KV_F16, "tabq:delta=0.005", 2)));
	assert_true(isnan(loss_of(&d->accuracy, 1, KV_F16, "f32", 2)));
	assert_true(loss_of(&d->accuracy, 0, KV_F16, "tabq:delta=0.005", 4) == 0); /* no rows */
	assert_true(bits_of(&d->accuracy, "f32", 1, true) == 32);
	assert_true(near((double)bits_of(&d->accuracy, "tabq:delta=0.005", 1, true), 4.3, 0.05));
}

static const struct cal_loss *line_of(const struct cal *c, uint32_t split, float delta, bool decode)
{
	for (uint32_t i = 0; i < c->n_losses; i++) {
		const struct cal_loss *l = &c->losses[i];

		if (l->split == split && l->delta == delta && !l->decode == !decode &&
		    l->front_type == CAL_AS_IS && l->kv_type == KV_F16)
			return l;
	}
	fail_msg("the calibration has no line of split %u", split);
	return NULL;
}

static void a_calibration_tells_bits_and_losses(void **state)
{
	struct desk *d = *state;
	struct accuracy a;
	float fine, coarse;

	accuracy_for(&a, d->cal, 8, "Q4_K", "");
	assert_int_equal(a.table.n_levels, 6); /* f32, f16, q8, and three distortions */
	assert_true(bits_of(&a, "tabq:delta=0.02", 3, true) == line_of(d->cal, 3, 0.02f, 1)->bits);
	assert_true(bits_of(&a, "tabq:delta=0.02", 3, false) == line_of(d->cal, 3, 0.02f, 0)->bits);
	for (uint32_t l = 0; l < 8; l++) {
		fine = loss_of(&a, 0, KV_F16, "tabq:delta=0.005", l);
		coarse = loss_of(&a, 0, KV_F16, "tabq:delta=0.05", l);
		assert_true(fine >= expm1f(line_of(d->cal, l, 0.005f, 1)->kl));
		assert_true(fine >= expm1f(line_of(d->cal, l, 0.005f, 0)->kl));
		assert_true(coarse >= fine && fine >= 0);
		assert_true(loss_of(&a, 0, KV_F16, "f32", l) == 0);
		if (l)
			assert_true(loss_of(&a, 1, KV_F16, "f32", l) > 0);
	}
	assert_true(loss_of(&a, 0, KV_F16, "q8", 8) == 0);
	assert_true(loss_of(&a, 1, KV_F16, "q8", 8) >= loss_of(&a, 1, KV_F16, "f32", 7));
	assert_true(a.table.codec_bytes[2] > 256 * 256);
	accuracy_finish(&a);
}

static void what_lacks_lies_between_what_is_there(void **state)
{
	struct desk *d = *state;
	struct accuracy a, coarse;
	float low, high, between;

	accuracy_for(&a, d->cal, 8, "Q5_0",
		     "tabq:delta=0.01"); /* as lossy as Q4_K: the safe side */
	accuracy_for(&coarse, d->cal, 8, "Q4_K", "");
	low = bits_of(&coarse, "tabq:delta=0.02", 3, true);
	high = bits_of(&coarse, "tabq:delta=0.005", 3, true);
	between = bits_of(&a, "tabq:delta=0.01", 3, true);
	assert_true(low < between && between < high);
	between = loss_of(&a, 1, KV_Q8_0, "tabq:delta=0.01", 3);
	assert_true(between >= loss_of(&coarse, 1, KV_Q8_0, "tabq:delta=0.005", 3));
	assert_true(between <= loss_of(&coarse, 1, KV_Q8_0, "tabq:delta=0.02", 3));
	accuracy_finish(&a);
	accuracy_finish(&coarse);
	accuracy_for(&a, d->cal, 8, "Q2_K", ""); /* coarser than all that was measured */
	assert_true(isnan(loss_of(&a, 1, KV_F16, "f32", 3)));
	assert_true(loss_of(&a, 1, KV_F16, "f32", 0) == 0); /* it has no layer there */
	accuracy_finish(&a);
}

static void rows_that_are_not_predicted_take_more_bits(void **state)
{
	struct desk *d = *state;
	struct accuracy_conf c = { .cal = d->cal,
				   .n_layers = 8,
				   .dim = 256,
				   .n_fronts = 1,
				   .fronts = { "Q8_0" },
				   .codec = "tabq",
				   .chunk_rows = 64 };
	struct accuracy a;
	struct err e;

	assert_int_equal(accuracy_init(&a, &c, &e), 0);
	assert_true(bits_of(&a, "tabq", 3, true) > line_of(d->cal, 3, 0.005f, 1)->bits);
	assert_int_equal(a.table.codec_bytes[3], 0);
	accuracy_finish(&a);
	c.codec = "tabq:delta=9";
	assert_int_equal(accuracy_init(&a, &c, &e), ERR_CONFIG);
}

/* What coordinator/accuracy.c knows of precisions, the engine knows too. */
static void precisions_have_their_numbers(void **state)
{
	struct desk *d = *state;
	struct cal_loss line = { .split = 3, .delta = 0.005f, .kl = 0.25f, .ppl_ratio = 1 };
	struct cal one = { .n_losses = 2 };
	struct cal_loss lines[2];
	unsigned known = 0;

	(void)d;
	for (unsigned type = 0; type < QUANT_TYPE_END; type++) {
		struct accuracy a;

		if (!quant_name(type))
			continue;
		lines[0] = lines[1] = line;
		lines[0].front_type = CAL_AS_IS;
		lines[0].kl = 0;
		lines[1].front_type = (uint16_t)type;
		one.losses = lines;
		accuracy_for(&a, &one, 4, quant_name(type), "");
		assert_true(near((double)loss_of(&a, 1, KV_F16, "f32", 3), expm1(0.25), 1e-5));
		accuracy_finish(&a);
		known++;
	}
	assert_int_equal(known, 15);
}

static int say(struct capture *c, const char *text, struct err *e)
{
	return capture_message(c, text, strlen(text), e);
}

#define TELEMETRY(name)                                                                            \
	"{\"type\":\"agent.telemetry\",\"agent\":\"" name "\",\"boot\":\"0000000000000004\","      \
	"\"uptime_ms\":1,\"rss_bytes\":2,\"mem_available_bytes\":3,\"sessions\":0,"                \
	"\"sessions_done\":0,\"sessions_failed\":0,\"tokens\":5,\"rows\":0,\"bytes_up\":0,"        \
	"\"bytes_down\":0,\"retries\":0}"
#define PROFILE                                                                                    \
	"{\"type\":\"agent.profile\",\"agent\":\"gw\",\"boot\":\"0000000000000004\","              \
	"\"model\":\"0123456789abcdef0123456789abcdef\",\"layers\":1,\"dim\":8,"                   \
	"\"kv_elements\":8,\"threads\":1,\"max_sessions\":1,\"context_tokens\":64,"                \
	"\"prefill_rows\":64,\"budget_bytes\":1,\"base_bytes\":1,\"session_bytes\":1,"             \
	"\"token_bytes\":1,\"fronts\":[{\"name\":\"Q4_0\",\"layers\":1,\"embed_bytes\":1,"         \
	"\"head_bytes\":1,\"layer_bytes\":[3001]}]}"

static void a_capture_keeps_the_newest_of_one_agent(void **state)
{
	struct capture *c = calloc(1, sizeof(*c));
	struct err e = { 0 };

	(void)state;
	assert_non_null(c);
	assert_int_equal(say(c, PROFILE, &e), 0);
	assert_int_equal(say(c, PROFILE, &e), 0); /* the older one is freed */
	assert_string_equal(c->agent, "gw");
	assert_int_equal(say(c, TELEMETRY("other"), &e), 0);
	assert_false(c->has_telemetry);
	assert_int_equal(say(c, TELEMETRY("gw"), &e), 0);
	assert_true(c->has_telemetry);
	assert_false(capture_is_whole(c)); /* no worker yet */
	assert_int_equal(say(c, "{\"type\":\"agent.telemetry\"}", &e), ERR_FORMAT);
	capture_finish(c);
	free(c);
}

static void lines_may_have_topics_and_the_wrong_one_is_told(void **state)
{
	const char *text = "splitmq/v1/default/agent/gw/profile " PROFILE "\n"
			   "\n" TELEMETRY("gw") "\n"
						"{\"type\":\"worker.status\"}\n";
	struct capture *c = calloc(1, sizeof(*c));
	struct err e = { 0 };

	(void)state;
	assert_non_null(c);
	assert_int_equal(capture_lines(c, "profile.jsonl", text, strlen(text), &e), ERR_FORMAT);
	assert_non_null(strstr(e.text, "profile.jsonl:4: "));
	assert_true(c->has_profile && c->has_telemetry);
	capture_finish(c);
	free(c);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, desk_open, desk_close)

static void words_of_objectives(void **state)
{
	enum plan_objective o;

	(void)state;
	assert_int_equal(plan_objective_parse(&o, "bytes"), 0);
	assert_int_equal(o, PLAN_BYTES);
	assert_string_equal(plan_objective_name(PLAN_CONTEXT), "context");
	assert_int_equal(plan_objective_parse(&o, "speed"), ERR_CONFIG);
	for (unsigned i = 0; i < PLAN_LIMITS; i++)
		assert_non_null(plan_limit_name((enum plan_limit)i));
	for (unsigned i = 0; i < PLAN_VERDICTS; i++)
		assert_non_null(plan_verdict_name((enum plan_verdict)i));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_of_objectives),
		cmocka_unit_test(an_agent_is_what_its_profile_says),
		cmocka_unit_test(a_decision_without_a_front_means_the_usual_one),
		cmocka_unit_test(speeds_that_lack_follow_from_the_weights),
		cmocka_unit_test(times_have_their_positions),
		cmocka_unit_test(too_many_layers_are_refused),
		cmocka_unit_test(a_worker_counts_when_it_serves_the_model),
		cmocka_unit_test(the_link_is_taken_at_its_quantile),
		TEST(a_policy_is_free_where_yaml_says_nothing),
		TEST(an_agents_own_words_come_first),
		TEST(a_decision_is_the_choice_again),
		TEST(who_stays_is_where_telemetry_says),
		TEST(without_a_calibration_only_whole_numbers_are_sure),
		TEST(a_calibration_tells_bits_and_losses),
		TEST(what_lacks_lies_between_what_is_there),
		TEST(rows_that_are_not_predicted_take_more_bits),
		TEST(precisions_have_their_numbers),
		cmocka_unit_test(a_capture_keeps_the_newest_of_one_agent),
		cmocka_unit_test(lines_may_have_topics_and_the_wrong_one_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
