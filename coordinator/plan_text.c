#include "coordinator/plan.h"

#include <math.h>
#include <stdio.h>

static const char *const limits[PLAN_LIMITS] = {
	[PLAN_OK] = "ok",
	[PLAN_NO_POLICY] = "not what the policy says",
	[PLAN_NO_FRONT] = "the agent's files lack these layers",
	[PLAN_NO_WORKER] = "no worker runs the other layers",
	[PLAN_NO_FIGURE] = "not measured yet",
	[PLAN_LONG] = "context",
	[PLAN_EDGE_MEMORY] = "memory of the agent",
	[PLAN_WORKER_MEMORY] = "memory of the worker",
	[PLAN_TTFT] = "time to the first token",
	[PLAN_TOKEN] = "time per token",
	[PLAN_LOSS] = "loss of accuracy",
};

static const char *const verdicts[PLAN_VERDICTS] = {
	[PLAN_NONE] = "nothing keeps all limits",
	[PLAN_FIRST] = "first choice",
	[PLAN_SAME] = "the present choice is the best",
	[PLAN_CHANGE] = "better than the present choice",
	[PLAN_FORCED] = "the present choice breaks a limit",
	[PLAN_KEEP_GAIN] = "kept: another one gains too little",
	[PLAN_KEEP_HANDOVER] = "kept: moving the running sessions costs more than it gains",
	[PLAN_NEW] = "for new sessions: moving the running ones costs more than it gains",
};

const char *plan_limit_name(enum plan_limit l)
{
	return limits[l];
}

const char *plan_verdict_name(enum plan_verdict v)
{
	return verdicts[v];
}

/* A number of bytes in 4 digits. */
static void put_bytes(char *text, size_t cap, double bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	unsigned i = 0;

	while (bytes >= 1024 && i + 1 < sizeof(units) / sizeof(units[0])) {
		bytes /= 1024;
		i++;
	}
	snprintf(text, cap, i ? "%.4g %s" : "%.0f %s", bytes, units[i]);
}

/* The figures that plan_cost_known misses. */
static void explain_unknown(const struct plan_input *in, const struct plan_choice *c, char *text,
			    size_t cap)
{
	const struct plan_speed *s = &in->agent->speeds[c->front];
	const char *what = "the speed of the worker is";

	if (c->split && !(s->layer_token_ms > 0))
		what = "the speed of this front end is";
	else if (c->split == in->agent->n_layers)
		what = "the speed of the agent's head is";
	else if (!(in->link->rtt_ms > 0))
		what = "the round trip to the worker is";
	snprintf(text, cap, "%s not measured yet", what);
}

static void explain_worker(const struct plan_input *in, char *text, size_t cap)
{
	if (in->worker->present)
		snprintf(text, cap, "the worker begins at layer %u", in->worker->first_layer);
	else
		snprintf(text, cap, "no worker for this model is ready");
}

void plan_explain(const struct plan_input *in, const struct plan_split *s, char *text, size_t cap)
{
	const char *name = limits[s->limit];
	char need[32], allowed[32];

	switch (s->limit) {
	case PLAN_NO_WORKER:
		explain_worker(in, text, cap);
		return;
	case PLAN_NO_FIGURE:
		explain_unknown(in, &s->option.choice, text, cap);
		return;
	case PLAN_EDGE_MEMORY:
	case PLAN_WORKER_MEMORY:
		put_bytes(need, sizeof(need), s->need);
		put_bytes(allowed, sizeof(allowed), s->allowed);
		snprintf(text, cap, "%s: %s needed, %s allowed", name, need, allowed);
		return;
	case PLAN_LONG:
		snprintf(text, cap, "%s: %.0f tokens wanted, %.0f served", name, s->need,
			 s->allowed);
		return;
	case PLAN_TTFT:
	case PLAN_TOKEN:
		snprintf(text, cap, "%s: %.4g ms, %.4g allowed", name, s->need, s->allowed);
		return;
	case PLAN_LOSS:
		if (isnan(s->need))
			snprintf(text, cap, "%s: not known (no calibration says it)", name);
		else
			snprintf(text, cap, "%s: %.2f %%, %.2f %% allowed", name, s->need * 100,
				 s->allowed * 100);
		return;
	default:
		snprintf(text, cap, "%s", name);
	}
}

/* Of two splits that differ, what the other one would have cost. */
static void put_runner_up(const struct plan_result *r, char *text, size_t cap)
{
	const struct plan_option *o = &r->runner_up;

	if (r->has_runner_up)
		snprintf(text, cap, "; next: split %u, %.4g ms", o->choice.split,
			 o->figures.token_ms);
	else
		snprintf(text, cap, "; no other split keeps the limits");
}

void plan_reason(const struct plan_input *in, const struct plan_result *r, char *text, size_t cap)
{
	const struct plan_option *o = &r->chosen;
	char next[64];

	if (r->verdict == PLAN_NONE) {
		snprintf(text, cap, "%s", verdicts[PLAN_NONE]);
		return;
	}
	put_runner_up(r, next, sizeof(next));
	snprintf(text, cap, "%s%s%s: %.4g ms a token, first after %.4g ms, for %s%s",
		 verdicts[r->verdict], r->verdict == PLAN_FORCED ? ", " : "",
		 r->verdict == PLAN_FORCED ? limits[r->present_limit] : "", o->figures.token_ms,
		 o->figures.ttft_ms, plan_objective_name(in->policy->objective), next);
}
