#include "tools/sim_print.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "schema/json.h"

/* Shares of a whole; 0 of nothing. */
static double share(double part, double whole)
{
	return whole > 0 ? part / whole : 0;
}

/* Changes per agent and hour, once it is known. */
static double churn(const struct scenario *s, const struct sim_stats *st, double seconds)
{
	double hours = (seconds - SIM_SETTLE_S) / 3600;

	return hours > 0 ? (double)(st->decisions - st->settling) / (s->agents * hours) : 0;
}

/* ---- for machines ---- */

static void add_counts(struct json *o, const struct sim_stats *st)
{
	json_add_u64(o, "sessions", st->arrived);
	json_add_u64(o, "sessions_done", st->done);
	json_add_u64(o, "sessions_failed", st->failed);
	json_add_u64(o, "sessions_dropped", st->dropped);
	json_add_u64(o, "sessions_moved", st->moved);
	json_add_u64(o, "sessions_cut", st->cut);
	json_add_u64(o, "handovers", st->handovers);
	json_add_u64(o, "tokens", st->tokens);
}

static void add_decisions(struct json *o, const struct scenario *s, struct sim_stats *st,
			  double seconds)
{
	struct spread link = sim_series_spread(&st->link_s);
	struct spread worker = sim_series_spread(&st->worker_s);

	json_add_u64(o, "taken", st->decisions);
	json_add_u64(o, "settling", st->settling);
	json_add_u64(o, "refused", st->refused);
	json_add_f64(o, "per_agent_hour", churn(s, st, seconds));
	json_add_u64(o, "splits", st->splits);
	json_add_u64(o, "codecs", st->codecs);
	json_add_u64(o, "fronts", st->fronts);
	json_add_u64(o, "workers", st->workers);
	json_add_u64(o, "contexts", st->contexts);
	json_add_u64(o, "changes", st->changes);
	json_add_u64(o, "answered", st->answered);
	spread_add_json(o, "after_link_s", &link, true);
	spread_add_json(o, "after_worker_s", &worker, true);
}

static void add_misses(struct json *o, const struct sim_stats *st)
{
	json_add_u64(o, "agent_memory", st->edge_misses);
	json_add_u64(o, "worker_memory", st->worker_misses);
	json_add_u64(o, "token_time", st->token_misses);
	json_add_u64(o, "token_time_of", st->token_checks);
	json_add_u64(o, "token_time_calm", st->calm_misses);
	json_add_u64(o, "token_time_calm_of", st->calm_checks);
	json_add_u64(o, "ttft", st->ttft_misses);
	json_add_u64(o, "ttft_of", st->ttft_checks);
}

static void add_ratio(struct json *o, const char *key, struct sim_series *series)
{
	struct json *r = json_add_object(o, key);
	struct spread s = sim_series_spread(series);

	json_add_u64(r, "sessions", series->n);
	json_add_f64(r, "p05", sim_series_quantile(series, 0.05));
	json_add_f64(r, "median", s.median);
	json_add_f64(r, "p95", s.p95);
	json_add_f64(r, "max", s.max);
}

static void add_cost(struct json *o, struct sim_cost *c, double seconds)
{
	struct spread us = sim_series_spread(&c->decision_us);

	json_add_u64(o, "messages", c->messages);
	json_add_u64(o, "plans", c->plans);
	json_add_u64(o, "decisions", c->decisions);
	spread_add_json(o, "decision_us", &us, true);
	json_add_f64(o, "cpu_s", c->cpu_s);
	json_add_f64(o, "cpu_share", share(c->cpu_s, seconds));
	json_add_f64(o, "wall_s", c->wall_s);
}

static int print_json(const struct scenario *s, struct sim_stats *st, struct sim_cost *cost,
		      double seconds)
{
	struct json *o = json_object();
	struct spread token = sim_series_spread(&st->token_ms);
	struct spread ttft = sim_series_spread(&st->ttft_ms);
	char *text;
	size_t len;
	int rc;

	json_add_u64(o, "agents", s->agents);
	json_add_u64(o, "workers", s->workers);
	json_add_u64(o, "seed", s->seed);
	json_add_f64(o, "seconds", seconds);
	json_add_u64(o, "messages", st->messages);
	json_add_u64(o, "events", st->events);
	add_counts(o, st);
	spread_add_json(o, "token_ms", &token, true);
	spread_add_json(o, "ttft_ms", &ttft, true);
	add_decisions(json_add_object(o, "decisions"), s, st, seconds);
	add_misses(json_add_object(o, "violations"), st);
	add_ratio(o, "simulated_by_predicted", &st->ratio);
	add_ratio(o, "simulated_by_predicted_calm", &st->calm_ratio);
	if (cost)
		add_cost(json_add_object(o, "coordinator"), cost, seconds);
	rc = json_print(o, &text, &len);
	json_free(o);
	if (rc)
		return rc;
	puts(text);
	free(text);
	return 0;
}

/* ---- for people ---- */

static void print_spread(const char *what, struct sim_series *series, const char *unit)
{
	struct spread s = sim_series_spread(series);

	if (series->n)
		printf("  %-24s median %.4g, 95 %% %.4g, most %.4g %s (%zu)\n", what, s.median,
		       s.p95, s.max, unit, series->n);
}

static void print_share(const char *what, uint64_t part, uint64_t whole)
{
	if (whole)
		printf("  %-24s %" PRIu64 " of %" PRIu64 " (%.1f %%)\n", what, part, whole,
		       100 * share((double)part, (double)whole));
}

static void print_fleet(const struct scenario *s, struct sim_stats *st, double seconds)
{
	printf("%" PRIu32 " agents, %" PRIu32 " workers, %.0f s: %" PRIu64 " messages, %" PRIu64
	       " sessions, %" PRIu64 " tokens\n",
	       s->agents, s->workers, seconds, st->messages, st->done, st->tokens);
	if (st->too_small)
		printf("  workers without room for the model: %" PRIu64 "\n", st->too_small);
	print_spread("time per token", &st->token_ms, "ms");
	print_spread("time to first token", &st->ttft_ms, "ms");
	printf("  failed %" PRIu64 ", dropped %" PRIu64 ", cut by the context %" PRIu64
	       ", moved %" PRIu64 ", handed over %" PRIu64 "\n",
	       st->failed, st->dropped, st->cut, st->moved, st->handovers);
}

static void print_decisions(const struct scenario *s, struct sim_stats *st, double seconds)
{
	printf("decisions: %" PRIu64 " taken; after its first minute %.3g changes per agent and "
	       "hour\n  (split %" PRIu64 ", codec %" PRIu64 ", front end %" PRIu64
	       ", worker %" PRIu64 ", context %" PRIu64 ")\n",
	       st->decisions, churn(s, st, seconds), st->splits, st->codecs, st->fronts,
	       st->workers, st->contexts);
	print_share("changes answered", st->answered, st->changes);
	print_spread("after link or speed", &st->link_s, "s");
	print_spread("after the worker", &st->worker_s, "s");
	print_share("refused", st->refused, st->refused + st->decisions);
}

static void print_misses(const struct sim_stats *st)
{
	printf("against the truth:\n");
	printf("  %-24s %" PRIu64 "\n", "agent memory", st->edge_misses);
	printf("  %-24s %" PRIu64 "\n", "worker memory", st->worker_misses);
	print_share("time per token", st->token_misses, st->token_checks);
	print_share("  while nothing changed", st->calm_misses, st->calm_checks);
	print_share("time to first token", st->ttft_misses, st->ttft_checks);
}

static void print_ratio(const char *what, struct sim_series *series)
{
	struct spread s = sim_series_spread(series);

	if (series->n)
		printf("  %-24s 5 %% %.3f, median %.3f, 95 %% %.3f (%zu sessions)\n", what,
		       sim_series_quantile(series, 0.05), s.median, s.p95, series->n);
}

static void print_cost(struct sim_cost *c, double seconds)
{
	printf("coordinator: %" PRIu64 " messages, %" PRIu64 " plans, %" PRIu64
	       " decisions;\n  %.3g s of processor = %.2g of a core (the run took %.3g s)\n",
	       c->messages, c->plans, c->decisions, c->cpu_s, share(c->cpu_s, seconds), c->wall_s);
	print_spread("time per plan", &c->decision_us, "us");
}

int sim_print(const struct scenario *s, struct sim_stats *st, struct sim_cost *cost, double seconds,
	      bool json)
{
	if (json)
		return print_json(s, st, cost, seconds);
	print_fleet(s, st, seconds);
	print_decisions(s, st, seconds);
	print_misses(st);
	if (st->ratio.n)
		printf("time per token, simulated / predicted:\n");
	print_ratio("all sessions", &st->ratio);
	print_ratio("while nothing changed", &st->calm_ratio);
	if (cost)
		print_cost(cost, seconds);
	return 0;
}
