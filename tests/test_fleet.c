#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/sim_draw.h"
#include "tools/sim_link.h"
#include "tools/sim_queue.h"
#include "tools/sim_window.h"
#include "tools/sim_world.h"

static struct scenario scenario(const char *text)
{
	struct scenario s;
	struct err e = { 0 };

	if (scenario_parse(&s, "s.yaml", text, strlen(text), &e))
		fail_msg("%s", e.text);
	return s;
}

/* ---- chance, events, windows, links ---- */

static void numbers_are_drawn_as_they_are_described(void **state)
{
	struct draw uniform, lognormal, choice, narrow;
	struct sim_rng r = sim_rng(1, 2, 3);
	double sum = 0, logs = 0, squares = 0;
	unsigned twos = 0, low = 0;

	(void)state;
	assert_int_equal(draw_parse(&uniform, "uniform(10, 30)", 0, 100, NULL), 0);
	assert_int_equal(draw_parse(&lognormal, "lognormal(5, 0.5)", 0, 1e6, NULL), 0);
	assert_int_equal(draw_parse(&choice, "choice(1, 2, 4, 8)", 0, 10, NULL), 0);
	assert_int_equal(draw_parse(&narrow, "lognormal(5, 2)", 4, 6, NULL), 0);
	for (int i = 0; i < 20000; i++) {
		double x = sim_draw(&r, &uniform), y = log(sim_draw(&r, &lognormal) / 5);
		double z = sim_draw(&r, &narrow);

		assert_true(x >= 10 && x < 30 && z >= 4 && z <= 6);
		sum += x;
		logs += y;
		squares += y * y;
		twos += sim_draw(&r, &choice) == 2;
		low += z == 4;
	}
	assert_true(fabs(sum / 20000 - 20) < 0.2);
	assert_true(fabs(logs / 20000) < 0.02);
	assert_true(fabs(sqrt(squares / 20000) - 0.5) < 0.02);
	assert_in_range(twos, 4700, 5300);
	assert_in_range(low, 8000, 10000); /* P(normal < log(4/5)/2) = 0.456 */
}

static void waiting_for_what_comes_n_times_an_hour(void **state)
{
	struct sim_rng r = sim_rng(1, 2, 3), again = sim_rng(1, 2, 3), other = sim_rng(1, 2, 4);
	double sum_s = 0;

	(void)state;
	assert_true(sim_wait_us(&r, 0) == UINT64_MAX);
	for (int i = 0; i < 20000; i++)
		sum_s += (double)sim_wait_us(&r, 6) / 1e6;
	assert_true(fabs(sum_s / 20000 - 600) < 15);
	assert_true(sim_unit(&again) != sim_unit(&other));
}

static void events_come_by_time_then_by_age(void **state)
{
	struct sim_queue q = { 0 };
	struct sim_rng r = sim_rng(5, 0, 0);
	struct sim_event last = { 0 };

	(void)state;
	assert_true(sim_queue_next_us(&q) == UINT64_MAX);
	assert_int_equal(sim_queue_add(&q, &(struct sim_event){ .at_us = UINT64_MAX }), 0);
	assert_int_equal(q.n, 0);
	for (uint32_t i = 0; i < 5000; i++)
		assert_int_equal(
			sim_queue_add(&q,
				      &(struct sim_event){ .at_us = (uint64_t)(100 * sim_unit(&r)),
							   .who = i }),
			0);
	for (uint32_t i = 0; i < 5000; i++) {
		struct sim_event ev = sim_queue_take(&q);

		assert_true(ev.at_us > last.at_us ||
			    (ev.at_us == last.at_us && (!i || ev.who > last.who)));
		last = ev;
	}
	assert_int_equal(q.n, 0);
	sim_queue_finish(&q);
}

static void quantiles_are_of_what_is_new_enough(void **state)
{
	struct sim_window w = { 0 };

	(void)state;
	assert_true(sim_window_quantile(&w, 0, 0.5) == 0);
	for (int i = 1; i <= 100; i++)
		sim_window_add(&w, i, (uint64_t)i * 1000);
	assert_int_equal(sim_window_samples(&w, 0), SIM_WINDOW);
	assert_true(sim_window_quantile(&w, 0, 0) == 69);
	assert_true(sim_window_quantile(&w, 0, 1) == 100);
	assert_int_equal(sim_window_samples(&w, 91000), 10);
	assert_true(sim_window_quantile(&w, 91000, 0.5) == 95);
	assert_int_equal(sim_window_samples(&w, 200000), 1);
	assert_true(sim_window_quantile(&w, 200000, 0.5) == 100);
	assert_true(sim_window_idle_us(&w, 105000) == 5000);
}

static void a_link_takes_one_message_after_the_other(void **state)
{
	struct scenario s = scenario("link: {up_kbit_s: 80, down_kbit_s: 800, rtt_ms: 20, "
				     "jitter: 0, walk: 0}\n");
	struct sim_link l = sim_link(&s.link, sim_rng(1, 2, 3));
	struct sim_trip a = sim_link_send(&l, SIM_UP, 1000, 5000000);
	struct sim_trip b = sim_link_send(&l, SIM_UP, 1000, 5000000);
	struct sim_trip c = sim_link_send(&l, SIM_DOWN, 1000, 5000000);

	(void)state;
	assert_true(a.out_us == 5100000 && a.arrive_us == 5110000);
	assert_true(b.begin_us == a.out_us && b.arrive_us == 5210000);
	assert_true(c.arrive_us == 5020000);
	sim_link_step(&l, 0.5);
	sim_link_cut(&l, 7000000);
	a = sim_link_send(&l, SIM_UP, 1000, 6000000);
	assert_true(a.begin_us == 7000000 && a.out_us == 7200000);
}

/* ---- the world ---- */

struct listener {
	struct sim_world *world;
	uint32_t messages, profiles, agents, answers, workers, telemetry;
	struct msg_decision_answer answer;
	struct msg_telemetry of_agent, of_worker;
	uint64_t budget_bytes;
};

/* Whatever is said must be understood by who gets it. */
static void on_message(void *ctx, const struct topic *t, const struct msg *m, int qos, bool retain)
{
	struct listener *l = ctx;
	char topic[TOPIC_MAX], *text;
	struct err e = { 0 };
	struct topic back;
	struct msg again;
	size_t len;

	topic_put(topic, t);
	assert_int_equal(topic_get(&back, topic, strlen(topic)), 0);
	assert_int_equal(msg_print(m, &text, &len), 0);
	if (msg_parse(&again, text, len, MSG_TYPE_COUNT, &e))
		fail_msg("%s: %s", e.text, text);
	assert_int_equal(again.type, m->type);
	assert_true(retain == (m->type != MSG_AGENT_TELEMETRY && m->type != MSG_WORKER_TELEMETRY));
	assert_int_equal(qos, retain);
	l->messages++;
	l->agents += m->type == MSG_AGENT_STATUS;
	l->workers += m->type == MSG_WORKER_STATUS;
	l->telemetry += m->type == MSG_AGENT_TELEMETRY;
	if (m->type == MSG_AGENT_PROFILE) {
		l->profiles++;
		l->budget_bytes = m->u.agent_profile.budget_bytes;
		assert_true(again.u.agent_profile.fronts[0].layer_bytes[1] > 0);
	} else if (m->type == MSG_DECISION_ANSWER) {
		l->answers++;
		l->answer = m->u.decision_answer;
	} else if (m->type == MSG_AGENT_TELEMETRY) {
		l->of_agent = m->u.telemetry;
	} else if (m->type == MSG_WORKER_TELEMETRY && m->u.telemetry.batch_rows > 0) {
		l->of_worker = m->u.telemetry;
	}
	msg_finish(&again);
	free(text);
}

/* One of everything, and nothing by chance but the arrival of prompts. */
#define WORLD(memory, gone, answer)                                                                \
	"agents: 1\nworkers: 2\n"                                                                  \
	"model: {layers: 10, dim: 1000, kv_elements: 100, layer_numbers: 1000000, vocab: 1000, "   \
	"fronts: 'A:8 B:4'}\n"                                                                     \
	"agent: {memory_mib: " memory                                                              \
	", sessions: 1, layer_ms: 2, row_share: 0.5, head_share: 1.5, "                            \
	"embed_ms: 1, encode_ms: 1, jitter: 0, throttles_per_hour: 0}\n"                           \
	"link: {up_kbit_s: 1000, down_kbit_s: 1e6, rtt_ms: 40, jitter: 0, walk: 0, "               \
	"steps_per_hour: 0, outages_per_hour: 0}\n"                                                \
	"worker: {memory_mib: 100, layer_ms: 1, head_ms: 2, drains_per_hour: " gone ", "           \
	"fails_per_hour: " gone ", drain_s: 20, fail_s: 20}\n"                                     \
	"session: {per_hour: 360, prompt_tokens: 10, answer_tokens: " answer "}\n"
#define CALM WORLD("64", "0", "20")

static struct msg_decision decision(uint64_t number, uint32_t split, const char *codec)
{
	struct msg_decision d = { .agent = "sim-00000", .number = number, .split = split };

	snprintf(d.codec, sizeof(d.codec), "%s", codec);
	return d;
}

static struct sim_world *world_of(const char *text, struct listener *l)
{
	const struct sim_limits limits = { .token_ms = 60, .ttft_ms = 1 };
	struct scenario s = scenario(text);

	*l = (struct listener){ 0 };
	assert_int_equal(sim_world_create(&l->world, &s, &limits, "test", on_message, l), 0);
	return l->world;
}

#define S(seconds) ((uint64_t)(seconds)*1000000)

static void a_token_takes_what_its_parts_take(void **state)
{
	struct listener l;
	struct sim_world *w = world_of(CALM, &l);
	struct msg_decision d = decision(1, 4, "f32");
	struct spread token;

	(void)state;
	assert_int_equal(sim_world_run(w, S(20)), 0);
	assert_int_equal(l.agents, 1);
	assert_int_equal(l.profiles, 1);
	assert_int_equal(l.workers, 2);
	d.has_predicted = true;
	d.predicted.token_ms = 100;
	assert_int_equal(sim_world_decide(w, &d), 0);
	assert_int_equal(sim_world_run(w, S(600)), 0);
	assert_int_equal(l.answers, 1);
	assert_true(l.answer.taken && l.answer.number == 1);
	assert_in_range(sim_world_stats(w)->done, 30, 90);
	token = sim_series_spread(&sim_world_stats(w)->token_ms);
	/* embed 1, 4 layers of 2, encode 1; 4000 + 60 + 120 bytes at 125 a ms: 33.44; 6 layers
	 * and head of the worker: 8; the answer: 0.0024; there and back: 40 */
	assert_true(fabs(token.median - (10 + 33.44 + 8 + 0.0024 + 40)) < 0.02);
	assert_true(token.max - token.min < 0.01);
	assert_true(fabs(sim_series_spread(&sim_world_stats(w)->calm_ratio).median - 0.9144) <
		    0.001);
	assert_int_equal(sim_world_stats(w)->token_misses, sim_world_stats(w)->token_checks);
	assert_true(sim_world_stats(w)->ttft_misses >= sim_world_stats(w)->done);
	/* what is around a payload counts as way */
	assert_true(fabs(l.of_agent.link.rtt_ms - 40.96) < 0.2);
	assert_true(fabs(l.of_agent.link.up_kbit_s - 1000) < 5);
	assert_true(l.of_agent.speeds[0].layer_token_ms == 2);
	assert_true(l.of_agent.speeds[1].layer_token_ms == 1);
	assert_true(l.of_worker.batch_rows >= 1);
	sim_world_destroy(w);
}

static void alone_it_needs_no_worker(void **state)
{
	struct listener l;
	struct sim_world *w = world_of(CALM, &l);
	struct msg_decision d = decision(1, 10, "f32");

	(void)state;
	assert_int_equal(sim_world_run(w, S(20)), 0);
	assert_int_equal(sim_world_decide(w, &d), 0);
	assert_int_equal(sim_world_run(w, S(600)), 0);
	assert_true(fabs(sim_series_spread(&sim_world_stats(w)->token_ms).median - 24) < 0.01);
	assert_true(fabs(sim_series_spread(&sim_world_stats(w)->ttft_ms).median - 103) < 0.01);
	assert_int_equal(sim_world_stats(w)->token_misses, 0);
	assert_int_equal(l.of_agent.bytes_up, 0);
	sim_world_destroy(w);
}

static void what_does_not_fit_is_refused_with_a_reason(void **state)
{
	struct listener l;
	struct sim_world *w = world_of(CALM, &l);
	struct msg_decision d = decision(1, 9, "f32");
	const uint64_t rest = 16777216 + 9 * 1000000 + 65536;

	(void)state;
	assert_int_equal(sim_world_run(w, S(20)), 0);
	d.context_tokens = 1024;
	d.has_predicted = true;
	snprintf(d.kv, sizeof(d.kv), "f32");
	assert_int_equal(sim_world_decide(w, &d), 0);
	assert_int_equal(sim_world_run(w, S(21)), 0);
	assert_true(l.answer.taken); /* 64 MiB are plenty */
	sim_world_destroy(w);

	w = world_of(WORLD("27", "0", "20"), &l);
	assert_int_equal(sim_world_run(w, S(20)), 0);
	assert_int_equal(sim_world_decide(w, &d), 0);
	assert_int_equal(sim_world_run(w, S(21)), 0);
	assert_false(l.answer.taken);
	assert_int_equal(l.answer.code, ERR_LIMIT);
	/* 1000 bytes of log and 9 layers of 100 numbers of 4 bytes each position */
	assert_true(l.answer.missing_bytes == rest + 1024 * 4600 - 27 * 1048576);
	assert_int_equal(l.answer.context_tokens, (27 * 1048576 - rest) / 4600);
	assert_int_equal(sim_world_stats(w)->edge_misses, 1);
	d.number = 2;
	d.context_tokens = l.answer.context_tokens;
	assert_int_equal(sim_world_decide(w, &d), 0);
	assert_int_equal(sim_world_run(w, S(22)), 0);
	assert_true(l.answer.taken && l.answer.number == 2);
	d = decision(3, 11, "f32");
	assert_int_equal(sim_world_decide(w, &d), 0);
	assert_int_equal(sim_world_run(w, S(23)), 0);
	assert_string_equal(l.answer.reason, "split 11 is outside 0..10");
	sim_world_destroy(w);
}

static void a_session_follows_its_decision_and_leaves_a_worker_that_drains(void **state)
{
	struct listener l;
	struct sim_world *w = world_of(WORLD("64", "20", "500"), &l);
	struct msg_decision d = decision(1, 4, "f32");
	struct sim_stats *st = sim_world_stats(w);

	(void)state;
	assert_int_equal(sim_world_run(w, S(20)), 0);
	for (uint64_t i = 1; i <= 60; i++) {
		d = decision(i, i % 2 ? 4 : 7 + 3 * (i % 4 == 0), "f32");
		assert_int_equal(sim_world_decide(w, &d), 0);
		assert_int_equal(sim_world_run(w, S(20 + 30 * i)), 0);
	}
	assert_in_range(st->handovers, 5, 60);
	assert_int_equal(st->settling, 2); /* the first two, in the first minute */
	assert_int_equal(st->splits, 58);
	assert_int_equal(st->failed, 0);
	assert_true(st->moved > 0);
	assert_true(st->done > 0);
	assert_true(l.workers > 4);
	sim_world_destroy(w);
}

static void everybody_says_that_it_leaves(void **state)
{
	struct listener l;
	struct sim_world *w = world_of(CALM, &l);

	(void)state;
	assert_int_equal(sim_world_run(w, S(20)), 0);
	sim_world_leave(w);
	assert_int_equal(l.agents, 2);
	assert_int_equal(l.workers, 4);
	sim_world_destroy(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_are_drawn_as_they_are_described),
		cmocka_unit_test(waiting_for_what_comes_n_times_an_hour),
		cmocka_unit_test(events_come_by_time_then_by_age),
		cmocka_unit_test(quantiles_are_of_what_is_new_enough),
		cmocka_unit_test(a_link_takes_one_message_after_the_other),
		cmocka_unit_test(a_token_takes_what_its_parts_take),
		cmocka_unit_test(alone_it_needs_no_worker),
		cmocka_unit_test(what_does_not_fit_is_refused_with_a_reason),
		cmocka_unit_test(a_session_follows_its_decision_and_leaves_a_worker_that_drains),
		cmocka_unit_test(everybody_says_that_it_leaves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
