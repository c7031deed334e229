#include "coordinator/plan.h"

#include <math.h>
#include <string.h>

#include "coordinator/plan_cost.h"

static const char *const objectives[PLAN_OBJECTIVES] = {
	[PLAN_LATENCY] = "latency",
	[PLAN_WORKER] = "worker",
	[PLAN_BYTES] = "bytes",
	[PLAN_CONTEXT] = "context",
};

const char *plan_objective_name(enum plan_objective o)
{
	return objectives[o];
}

int plan_objective_parse(enum plan_objective *o, const char *word)
{
	for (unsigned i = 0; i < PLAN_OBJECTIVES; i++) {
		if (!strcmp(objectives[i], word)) {
			*o = (enum plan_objective)i;
			return 0;
		}
	}
	return ERR_CONFIG;
}

/* What has been found out about a choice so far. */
struct finding {
	enum plan_limit limit;
	double need, allowed;
};

static struct finding found(enum plan_limit limit, double need, double allowed)
{
	return (struct finding){ limit, need, allowed };
}

/* What split, front and level alone can break. */
static enum plan_limit check_place(const struct plan_input *in, uint32_t split, uint32_t front,
				   uint32_t level)
{
	const struct plan_policy *p = in->policy;
	const struct plan_front *f = &in->agent->fronts[front];
	const bool local = split == in->agent->n_layers;

	if (split < p->min_split || split > p->max_split || !(p->fronts >> front & 1) ||
	    !(p->levels >> level & 1))
		return PLAN_NO_POLICY;
	if (split > f->n_layers || (local && !f->head_bytes))
		return PLAN_NO_FRONT;
	if (!local && (!in->worker->present || split < in->worker->first_layer))
		return PLAN_NO_WORKER;
	return plan_cost_known(in, split, front) ? PLAN_OK : PLAN_NO_FIGURE;
}

static struct finding check_context(const struct plan_input *in, const struct plan_choice *c)
{
	uint32_t most = in->agent->context_tokens;

	if (c->split < in->agent->n_layers && in->worker->context_tokens < most)
		most = in->worker->context_tokens;
	if (c->context_tokens > most)
		return found(PLAN_LONG, c->context_tokens, most);
	return found(PLAN_OK, 0, 0);
}

static struct finding check_memory(const struct plan_input *in, const struct plan_choice *c,
				   struct plan_figures *f)
{
	const struct plan_worker *w = in->worker;

	f->edge_bytes = plan_cost_edge_bytes(in, c);
	if (f->edge_bytes > in->agent->budget_bytes)
		return found(PLAN_EDGE_MEMORY, (double)f->edge_bytes,
			     (double)in->agent->budget_bytes);
	if (c->split == in->agent->n_layers)
		return found(PLAN_OK, 0, 0);
	f->worker_bytes = plan_cost_worker_bytes(in, c);
	if (w->used_bytes > w->budget_bytes || f->worker_bytes > w->budget_bytes - w->used_bytes)
		return found(PLAN_WORKER_MEMORY, (double)w->used_bytes + (double)f->worker_bytes,
			     (double)w->budget_bytes);
	return found(PLAN_OK, 0, 0);
}

static struct finding check_promises(const struct plan_input *in, const struct plan_figures *f)
{
	const struct plan_policy *p = in->policy;

	if (p->ttft_ms > 0 && f->ttft_ms > p->ttft_ms)
		return found(PLAN_TTFT, f->ttft_ms, p->ttft_ms);
	if (p->token_ms > 0 && f->token_ms > p->token_ms)
		return found(PLAN_TOKEN, f->token_ms, p->token_ms);
	if (!isnan(p->loss) && !(f->loss <= p->loss))
		return found(PLAN_LOSS, f->loss, p->loss);
	return found(PLAN_OK, 0, 0);
}

static double cost_of(const struct plan_input *in, const struct plan_choice *c,
		      const struct plan_figures *f)
{
	switch (in->policy->objective) {
	case PLAN_WORKER:
		return f->worker_ms;
	case PLAN_BYTES:
		return f->session_bytes / in->policy->answer_tokens;
	case PLAN_CONTEXT:
		return -(double)c->context_tokens;
	default:
		return f->token_ms;
	}
}

static void put_timing(struct plan_figures *f, const struct plan_timing *t)
{
	f->ttft_ms = t->ttft_ms;
	f->token_ms = t->token_ms;
	f->up_bytes = t->up_bytes;
	f->down_bytes = t->down_bytes;
	f->session_bytes = t->session_bytes;
	f->worker_ms = t->worker_ms;
}

/* A choice whose place is fine and whose times are known. */
static struct finding check_rest(const struct plan_input *in, const struct plan_choice *c,
				 const struct plan_timing *t, struct plan_figures *f)
{
	struct finding got;

	put_timing(f, t);
	f->edge_bytes = f->worker_bytes = 0;
	f->loss = plan_cost_loss(in, c);
	f->cost = cost_of(in, c, f);
	if (!(in->policy->kv_types >> c->kv & 1))
		return found(PLAN_NO_POLICY, 0, 0);
	got = check_context(in, c);
	if (got.limit == PLAN_OK)
		got = check_memory(in, c, f);
	return got.limit == PLAN_OK ? check_promises(in, f) : got;
}

enum plan_limit plan_evaluate(const struct plan_input *in, const struct plan_choice *c,
			      struct plan_figures *f, double *need, double *allowed)
{
	enum plan_limit limit = check_place(in, c->split, c->front, c->level);
	struct plan_timing t = { 0 };
	struct finding got = found(limit, 0, 0);

	*f = (struct plan_figures){ 0 };
	if (limit == PLAN_OK) {
		plan_cost_timing(in, c->split, c->front, c->level, &t);
		got = check_rest(in, c, &t, f);
	}
	*need = got.need;
	*allowed = got.allowed;
	return got.limit;
}

static int order(double a, double b)
{
	return a < b ? -1 : a > b;
}

static int order_counts(uint32_t a, uint32_t b)
{
	return a < b ? -1 : a > b;
}

static double known_or_worst(double loss)
{
	return isnan(loss) ? INFINITY : loss;
}

int plan_compare(const struct plan_option *a, const struct plan_option *b)
{
	const struct plan_figures *f = &a->figures, *g = &b->figures;
	const struct plan_choice *c = &a->choice, *d = &b->choice;
	int by = order(f->cost, g->cost);

	by = by ? by : order(f->token_ms, g->token_ms);
	by = by ? by : order(f->ttft_ms, g->ttft_ms);
	by = by ? by : order(known_or_worst(f->loss), known_or_worst(g->loss));
	by = by ? by : order_counts(d->context_tokens, c->context_tokens);
	by = by ? by : order(f->session_bytes, g->session_bytes);
	by = by ? by : order_counts(c->split, d->split);
	by = by ? by : order_counts(c->front, d->front);
	by = by ? by : order_counts((uint32_t)c->kv, (uint32_t)d->kv);
	return by ? by : order_counts(c->level, d->level);
}

/* The option that came further on the way through the limits, or broke the same one by less. */
static bool is_nearer(const struct finding *a, const struct plan_split *b)
{
	if (a->limit != b->limit)
		return a->limit > b->limit;
	return a->need * b->allowed < b->need * a->allowed;
}

static void note(struct plan_split *s, const struct plan_choice *c, const struct plan_figures *f,
		 struct finding got)
{
	if (s->limit == PLAN_OK) {
		const struct plan_option o = { *c, *f };

		if (got.limit != PLAN_OK || f->cost > s->option.figures.cost ||
		    plan_compare(&o, &s->option) >= 0)
			return;
	} else if (got.limit != PLAN_OK && !is_nearer(&got, s)) {
		return;
	}
	*s = (struct plan_split){ got.limit, got.need, got.allowed, { *c, *f } };
}

static void try_caches(const struct plan_input *in, struct plan_choice c, struct plan_split *s)
{
	struct plan_timing t = { 0 };

	plan_cost_timing(in, c.split, c.front, c.level, &t);
	for (unsigned kv = 0; kv < KV_TYPE_COUNT; kv++) {
		c.kv = (enum kv_type)kv;
		for (uint32_t i = 0; i < in->policy->n_contexts; i++) {
			struct plan_figures f;
			struct finding got;

			c.context_tokens = in->policy->contexts[i];
			got = check_rest(in, &c, &t, &f);
			note(s, &c, &f, got);
		}
	}
}

/* All that is possible at a split. */
static void try_split(const struct plan_input *in, uint32_t split, struct plan_split *s)
{
	const struct plan_figures none = { 0 };

	*s = (struct plan_split){ .limit = PLAN_NO_POLICY, .option.choice.split = split };
	for (uint32_t front = 0; front < in->agent->n_fronts; front++) {
		for (uint32_t level = 0; level < in->accuracy->n_levels; level++) {
			struct plan_choice c = { .split = split,
						 .front = front,
						 .level = level,
						 .context_tokens = in->policy->contexts[0] };
			enum plan_limit limit = check_place(in, split, front, level);

			if (limit == PLAN_OK)
				try_caches(in, c, s);
			else
				note(s, &c, &none, found(limit, 0, 0));
		}
	}
}

/* The best split that is not `but`; UINT32_MAX: none. */
static uint32_t best_split(const struct plan_result *r, uint32_t but)
{
	uint32_t best = UINT32_MAX;

	for (uint32_t l = 0; l <= r->n_layers; l++) {
		if (l == but || r->splits[l].limit != PLAN_OK)
			continue;
		if (best == UINT32_MAX ||
		    plan_compare(&r->splits[l].option, &r->splits[best].option) < 0)
			best = l;
	}
	return best;
}

/* Of the expected session. */
static double session_ms(const struct plan_input *in, const struct plan_figures *f)
{
	return f->ttft_ms + in->policy->answer_tokens * f->token_ms;
}

/* A choice with rows of another level, where that keeps all limits. */
static bool with_level(const struct plan_input *in, const struct plan_choice *c, uint32_t level,
		       struct plan_option *o)
{
	double need, allowed;

	o->choice = *c;
	o->choice.level = level;
	return plan_evaluate(in, &o->choice, &o->figures, &need, &allowed) == PLAN_OK;
}

/* Coarse rows are for links that need them: of the best choice's levels, the one that loses least
 * among those that cost next to nothing. */
static void spare_loss(const struct plan_input *in, struct plan_option *best)
{
	const double more = in->policy->tolerance;
	const double cost = best->figures.cost + more * fabs(best->figures.cost);
	const double ms = (1 + more) * session_ms(in, &best->figures);
	const struct plan_choice c = best->choice;
	struct plan_option o;

	if (!(more > 0) || c.split == in->agent->n_layers)
		return;
	for (uint32_t level = 0; level < in->accuracy->n_levels; level++) {
		if (with_level(in, &c, level, &o) && o.figures.cost <= cost &&
		    session_ms(in, &o.figures) <= ms &&
		    known_or_worst(o.figures.loss) < known_or_worst(best->figures.loss))
			*best = o;
	}
}

static bool is_same(const struct plan_choice *a, const struct plan_choice *b)
{
	return a->split == b->split && a->front == b->front && a->level == b->level &&
	       a->kv == b->kv && a->context_tokens == b->context_tokens;
}

/* The best one is the present one with rows that lose less: nothing has to move. */
static bool is_finer(const struct plan_input *in, const struct plan_option *best,
		     const struct plan_option *now)
{
	struct plan_choice c = now->choice;

	c.level = best->choice.level;
	return in->present->same_worker && is_same(&c, &best->choice) &&
	       known_or_worst(best->figures.loss) < known_or_worst(now->figures.loss);
}

static bool is_gain(const struct plan_input *in, double each, const struct plan_option *now)
{
	return each > 0 && each >= in->policy->min_gain * fabs(now->figures.cost);
}

/* Does the best one gain enough over `now` to be worth the change, for sessions to come? */
static enum plan_verdict weigh(const struct plan_input *in, struct plan_result *r,
			       const struct plan_option *now)
{
	r->gain = now->figures.cost - r->best.figures.cost;
	return is_finer(in, &r->best, now) || is_gain(in, r->gain, now) ? PLAN_CHANGE
									: PLAN_KEEP_GAIN;
}

/* Where a session runs. */
static struct plan_choice place_of(const struct plan_present *p, const struct plan_session *s)
{
	struct plan_choice c = p->choice;

	if (s->stays) {
		c.split = s->split;
		c.level = p->stay_level;
	}
	return c;
}

/* The best rows for one that stays where it is. */
static uint32_t best_rows(const struct plan_input *in, const struct plan_option *now)
{
	struct plan_option o, best = *now;

	for (uint32_t level = 0; level < in->accuracy->n_levels; level++) {
		if (with_level(in, &now->choice, level, &o) && plan_compare(&o, &best) < 0)
			best = o;
	}
	spare_loss(in, &best);
	return is_gain(in, now->figures.cost - best.figures.cost, now) ? best.choice.level
								       : now->choice.level;
}

/* Sessions that run elsewhere than they would by what is chosen: they move there, unless that costs
 * more than it gains while they last. */
static void weigh_moves(const struct plan_input *in, struct plan_result *r)
{
	const struct plan_present *p = in->present;
	double need, allowed, gain = 0, handover = 0;

	for (uint32_t i = 0; i < p->n_sessions; i++) {
		const struct plan_session *s = &p->sessions[i];
		struct plan_option now = { .choice = place_of(p, s) };

		if (now.choice.split == r->chosen.choice.split && p->same_worker)
			continue;
		r->n_elsewhere++;
		if (plan_evaluate(in, &now.choice, &now.figures, &need, &allowed) != PLAN_OK)
			return; /* it cannot stay */
		if (r->n_elsewhere == 1)
			r->stay_level = best_rows(in, &now);
		gain += (now.figures.cost - r->chosen.figures.cost) * s->tokens_left;
		handover += plan_cost_handover(in, &now.choice, &r->chosen.choice, s->kv_tokens);
	}
	if (r->n_elsewhere) {
		r->gain = gain;
		r->handover = handover;
	}
	r->stays = handover > 0 && gain <= handover;
}

/* Hysteresis. */
static void choose(const struct plan_input *in, struct plan_result *r)
{
	struct plan_option now = { .choice = in->present->choice };
	double need, allowed;

	r->chosen = r->best;
	r->verdict = PLAN_FIRST;
	if (!in->present->known)
		return;
	r->present_limit = plan_evaluate(in, &now.choice, &now.figures, &need, &allowed);
	if (r->present_limit != PLAN_OK) {
		r->verdict = PLAN_FORCED;
		r->n_elsewhere = in->present->n_sessions;
		return;
	}
	r->verdict = is_same(&now.choice, &r->best.choice) && in->present->same_worker
			     ? PLAN_SAME
			     : weigh(in, r, &now);
	if (r->verdict == PLAN_KEEP_GAIN)
		r->chosen = now;
	if (r->verdict != PLAN_KEEP_GAIN || in->present->same_worker)
		weigh_moves(in, r);
	if (r->stays && !in->present->same_worker) { /* new ones and old ones have one worker */
		r->verdict = PLAN_KEEP_HANDOVER;
		r->chosen = now;
		r->stays = false;
	} else if (r->stays && r->verdict == PLAN_CHANGE) {
		r->verdict = PLAN_NEW;
	}
}

/* Indices and counts that the loops rely on. */
static int check_bounds(const struct plan_input *in, struct err *e)
{
	const struct plan_agent *a = in->agent;
	const struct plan_accuracy *acc = in->accuracy;
	const struct plan_policy *p = in->policy;

	if (!a->n_layers || a->n_layers > PLAN_MAX_LAYERS)
		return err_set(e, ERR_LIMIT, "a model of %u layers (1..%d can be planned)",
			       a->n_layers, PLAN_MAX_LAYERS);
	if (!a->n_fronts || a->n_fronts > PLAN_MAX_FRONTS)
		return err_set(e, ERR_LIMIT, "%u front ends (1..%d)", a->n_fronts, PLAN_MAX_FRONTS);
	if (acc->n_layers != a->n_layers || acc->n_fronts != a->n_fronts || !acc->n_levels ||
	    acc->n_levels > PLAN_MAX_LEVELS)
		return err_set(e, ERR_LIMIT, "a table of accuracy of other layers or fronts");
	if (!p->n_contexts || p->n_contexts > PLAN_MAX_CONTEXTS || !p->prompt_tokens ||
	    !p->answer_tokens || !p->sessions)
		return err_set(e, ERR_LIMIT, "a policy without context, prompt, answer or session");
	if (in->worker->n_batches > PLAN_MAX_BATCHES || !(in->worker->batch_rows >= 1))
		return err_set(e, ERR_LIMIT, "a worker's step of %g rows", in->worker->batch_rows);
	return 0;
}

static int check_present(const struct plan_input *in, struct err *e)
{
	const struct plan_present *p = in->present;
	const struct plan_choice *c = &p->choice;

	if (p->n_sessions > PLAN_MAX_SESSIONS)
		return err_set(e, ERR_LIMIT, "%u running sessions", p->n_sessions);
	if (p->known && (c->split > in->agent->n_layers || c->front >= in->agent->n_fronts ||
			 c->level >= in->accuracy->n_levels || c->kv >= KV_TYPE_COUNT))
		return err_set(e, ERR_LIMIT, "a present choice that is none");
	for (uint32_t i = 0; i < p->n_sessions; i++) {
		if (p->sessions[i].stays && (p->sessions[i].split > in->agent->n_layers ||
					     p->stay_level >= in->accuracy->n_levels))
			return err_set(e, ERR_LIMIT, "a session that stays at no split");
	}
	return 0;
}

int plan_make(struct plan_result *r, const struct plan_input *in, struct err *e)
{
	struct err unread;
	uint32_t best, next;
	int rc = check_bounds(in, e ? e : &unread);

	if (!rc)
		rc = check_present(in, e ? e : &unread);
	if (rc)
		return rc;
	memset(r, 0, offsetof(struct plan_result, splits));
	r->n_layers = in->agent->n_layers;
	for (uint32_t l = 0; l <= r->n_layers; l++)
		try_split(in, l, &r->splits[l]);
	best = best_split(r, UINT32_MAX);
	if (best == UINT32_MAX)
		return 0; /* PLAN_NONE */
	r->best = r->splits[best].option;
	spare_loss(in, &r->best);
	next = best_split(r, best);
	r->has_runner_up = next != UINT32_MAX;
	if (r->has_runner_up)
		r->runner_up = r->splits[next].option;
	choose(in, r);
	return 0;
}
