#include "tools/plan_show.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "schema/json.h"

#define MIB 1048576.0

/* A SPEC in few letters: f32, tabq 0.02. */
static const char *short_spec(const struct plan_case *p, const struct plan_choice *c, char *text,
			      size_t cap)
{
	const char *spec = p->in.accuracy->levels[c->level].spec;
	double delta;

	if (c->split == p->in.agent->n_layers)
		return "-";
	if (sscanf(spec, "tabq:delta=%lf", &delta) == 1)
		snprintf(text, cap, "tabq %.4g", delta);
	else
		snprintf(text, cap, "%.12s", spec);
	return text;
}

static void show_facts(const struct plan_case *p, const char *agent)
{
	const struct plan_policy *o = &p->policy;
	const struct plan_agent *a = p->in.agent;
	const struct plan_link *l = &p->link;

	printf("agent %s: %u layers of %u, %.2f MiB allowed; worker %s", agent, a->n_layers, a->dim,
	       (double)a->budget_bytes / MIB, p->worker[0] ? p->worker : "(none)");
	if (p->worker[0] && p->facts.budget_bytes != UINT64_MAX)
		printf(": %.2f of %.2f MiB in use", (double)p->facts.used_bytes / MIB,
		       (double)p->facts.budget_bytes / MIB);
	printf("\nlink:   ");
	if (l->rtt_ms > 0)
		printf("%.4g ms there and back", l->rtt_ms);
	else
		printf("not measured");
	if (l->up_kbit_s > 0)
		printf(", %.4g kbit/s up", l->up_kbit_s);
	if (l->down_kbit_s > 0)
		printf(", %.4g kbit/s down", l->down_kbit_s);
	printf("\nwanted: %s", plan_objective_name(o->objective));
	if (o->ttft_ms > 0)
		printf(", first token within %.4g ms", o->ttft_ms);
	if (o->token_ms > 0)
		printf(", a token within %.4g ms", o->token_ms);
	if (!isnan(o->loss))
		printf(", at most %.3g %% of perplexity lost", o->loss * 100);
	printf("; for %u tokens of prompt, %u of answer, %u session%s\n\n", o->prompt_tokens,
	       o->answer_tokens, o->sessions, o->sessions == 1 ? "" : "s");
}

static void show_option(const struct plan_case *p, const struct plan_option *o)
{
	const struct plan_choice *c = &o->choice;
	const struct plan_figures *f = &o->figures;
	char spec[32], loss[16] = "?";

	if (!isnan(f->loss))
		snprintf(loss, sizeof(loss), "%.2f %%", f->loss * 100);
	printf("%-8.8s %-11s %-5s %7u %11.4g %9.4g %9.0f %10.2f %10.2f %8s",
	       p->in.agent->fronts[c->front].name, short_spec(p, c, spec, sizeof(spec)),
	       kv_type_name(c->kv), c->context_tokens, f->ttft_ms, f->token_ms, f->up_bytes,
	       (double)f->edge_bytes / MIB, (double)f->worker_bytes / MIB, loss);
}

static const char *mark_of(const struct plan_result *r, uint32_t split)
{
	if (r->verdict == PLAN_NONE)
		return "";
	if (split == r->chosen.choice.split)
		return r->chosen.choice.split == r->best.choice.split ? "  <- chosen" : "  <- kept";
	if (split == r->best.choice.split)
		return "  best";
	return r->has_runner_up && split == r->runner_up.choice.split ? "  next" : "";
}

static void show_splits(const struct plan_case *p)
{
	const struct plan_result *r = &p->result;

	printf("%5s  %-8s %-11s %-5s %7s %11s %9s %9s %10s %10s %8s\n", "", "", "", "", "",
	       "first token", "per token", "bytes up", "MiB here", "MiB there", "loss");
	printf("%5s  %-8s %-11s %-5s %7s %11s %9s %9s %10s %10s %8s\n", "split", "front", "codec",
	       "KV", "context", "ms", "ms", "per token", "", "", "");
	for (uint32_t l = 0; l <= r->n_layers; l++) {
		const struct plan_split *s = &r->splits[l];
		char why[200];

		printf("%5u  ", l);
		if (s->limit == PLAN_OK) {
			show_option(p, &s->option);
			printf("%s\n", mark_of(r, l));
		} else {
			plan_explain(&p->in, s, why, sizeof(why));
			printf("out: %s\n", why);
		}
	}
}

/* What is decided now, when the plan keeps it and it is not the best at its split. */
static void show_verdict(const struct plan_case *p)
{
	const struct plan_result *r = &p->result;
	char reason[MSG_REASON_MAX];

	plan_reason(&p->in, r, reason, sizeof(reason));
	printf("\n%s\n", reason);
	if (r->verdict == PLAN_NONE)
		return;
	printf("chosen: split %u, front %s, codec %s, kv %s, %u tokens\n", r->chosen.choice.split,
	       p->in.agent->fronts[r->chosen.choice.front].name,
	       p->in.accuracy->levels[r->chosen.choice.level].spec,
	       kv_type_name(r->chosen.choice.kv), r->chosen.choice.context_tokens);
	if (p->present.known && r->verdict != PLAN_SAME && r->verdict != PLAN_FORCED)
		printf("a change gains %.4g, moving %u running session%s costs %.4g\n", r->gain,
		       p->present.n_sessions, p->present.n_sessions == 1 ? "" : "s", r->handover);
}

void plan_show_text(const struct plan_case *p, const char *agent)
{
	show_facts(p, agent);
	show_splits(p);
	show_verdict(p);
}

static void add_option(const struct plan_case *p, struct json *o, const struct plan_option *from)
{
	const struct plan_choice *c = &from->choice;
	const struct plan_figures *f = &from->figures;

	json_add_u64(o, "split", c->split);
	json_add_str(o, "front", p->in.agent->fronts[c->front].name);
	json_add_str(o, "codec", p->in.accuracy->levels[c->level].spec);
	json_add_str(o, "kv", kv_type_name(c->kv));
	json_add_u64(o, "context_tokens", c->context_tokens);
	json_add_f64(o, "ttft_ms", f->ttft_ms);
	json_add_f64(o, "token_ms", f->token_ms);
	json_add_f64(o, "up_bytes", f->up_bytes);
	json_add_f64(o, "down_bytes", f->down_bytes);
	json_add_f64(o, "session_bytes", f->session_bytes);
	json_add_f64(o, "worker_ms", f->worker_ms);
	json_add_u64(o, "edge_bytes", f->edge_bytes);
	json_add_u64(o, "worker_bytes", f->worker_bytes);
	json_add_f64(o, "loss", f->loss);
}

static void add_split(const struct plan_case *p, struct json *list, uint32_t l)
{
	const struct plan_split *s = &p->result.splits[l];
	struct json *o = json_push_object(list);
	char why[200];

	if (s->limit == PLAN_OK) {
		add_option(p, o, &s->option);
		return;
	}
	plan_explain(&p->in, s, why, sizeof(why));
	json_add_u64(o, "split", l);
	json_add_str(o, "limit", plan_limit_name(s->limit));
	json_add_str(o, "reason", why);
}

static void add_result(const struct plan_case *p, struct json *o)
{
	const struct plan_result *r = &p->result;
	struct json *splits;

	if (r->verdict != PLAN_NONE) {
		add_option(p, json_add_object(o, "chosen"), &r->chosen);
		add_option(p, json_add_object(o, "best"), &r->best);
	}
	if (r->has_runner_up)
		add_option(p, json_add_object(o, "runner_up"), &r->runner_up);
	json_add_f64(o, "gain", r->gain);
	json_add_f64(o, "handover", r->handover);
	splits = json_add_array(o, "splits");
	for (uint32_t l = 0; l <= r->n_layers; l++)
		add_split(p, splits, l);
}

int plan_show_json(const struct plan_case *p, const char *agent)
{
	struct json *o = json_object();
	char reason[MSG_REASON_MAX], *text = NULL;
	size_t len;
	int rc;

	plan_reason(&p->in, &p->result, reason, sizeof(reason));
	json_add_str(o, "agent", agent);
	if (p->worker[0])
		json_add_str(o, "worker", p->worker);
	json_add_str(o, "objective", plan_objective_name(p->policy.objective));
	json_add_bool(o, "possible", p->result.verdict != PLAN_NONE);
	json_add_str(o, "reason", reason);
	add_result(p, o);
	rc = json_print(o, &text, &len);
	if (!rc)
		printf("%s\n", text);
	free(text);
	json_free(o);
	return rc;
}
