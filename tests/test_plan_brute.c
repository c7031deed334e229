/* tests/test_plan_brute.c - the planner (coordinator/plan.h) against a brute force of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "coordinator/plan_prefill.h"
#include "tests/plan_world.h"

#define SCENARIOS  1000
#define MAX_ROWS   64u
#define MAX_PROMPT 5000u

/* ---- the same, written another way: one choice at a time, chunk by chunk ---- */

/* ms of `rows` rows at `at`, if they took ms elsewhere. */
static double brute_deep(double ms, double rows, struct plan_depth d, double at)
{
	const double there = ms + d.deeper_ms * at * rows - d.deeper_ms * d.at * rows;

	return there < 0.25 * ms ? 0.25 * ms : there;
}

/* A layer for rows of which `own` are ours. */
static double brute_layer(const struct plan_worker *w, double rows, double own, double at)
{
	const struct plan_batch *b = w->batches, *last = &b[w->n_batches - 1];
	double ms[PLAN_MAX_BATCHES];

	for (uint32_t i = 0; i < w->n_batches; i++)
		ms[i] = brute_deep(b[i].layer_ms, own * b[i].rows / rows, b[i].depth, at);
	if (rows <= b[0].rows)
		return ms[0];
	if (rows > last->rows)
		return ms[last - b] * rows / last->rows;
	while (rows > b[1].rows)
		b++;
	return ms[b - w->batches] + (ms[b + 1 - w->batches] - ms[b - w->batches]) *
					    (rows - b[0].rows) / (b[1].rows - b[0].rows);
}

static double brute_head(const struct plan_worker *w, double rows)
{
	const struct plan_batch *b = w->batches, *last = &b[w->n_batches - 1];

	if (rows <= b[0].rows)
		return b[0].head_ms;
	if (rows > last->rows)
		return last->head_ms * rows / last->rows;
	while (rows > b[1].rows)
		b++;
	return b[0].head_ms +
	       (b[1].head_ms - b[0].head_ms) * (rows - b[0].rows) / (b[1].rows - b[0].rows);
}

/* Mean position of the tokens to come, one by one. */
static double brute_token_at(const struct plan_world *w)
{
	double sum = 0, n = 0;

	for (uint32_t i = 0; i < w->present.n_sessions; i++) {
		for (uint32_t k = 0; k < w->present.sessions[i].tokens_left; k++, n++)
			sum += w->present.sessions[i].kv_tokens + k + 0.5;
	}
	for (uint32_t k = 0; n == 0 && k < w->policy.answer_tokens; k++)
		sum += w->policy.prompt_tokens + k + 0.5;
	return sum / (n > 0 ? n : w->policy.answer_tokens);
}

static double brute_wire(double bytes, double kbit_s)
{
	return kbit_s > 0 ? bytes * 8 / kbit_s : 0;
}

static double brute_max(double a, double b)
{
	return a > b ? a : b;
}

static double brute_bytes(const struct plan_world *w, const float *bits,
			  const struct plan_choice *c)
{
	return (double)bits[c->level * (w->agent.n_layers + 1) + c->split] * w->agent.dim / 8;
}

static double brute_chunk(const struct plan_world *w, const struct plan_choice *c, uint32_t rows)
{
	const struct plan_speed *s = &w->agent.speeds[c->front];
	const bool local = c->split == w->agent.n_layers;
	double full = w->accuracy.levels[c->level].chunk_rows;
	const double at = w->policy.prompt_tokens / 2.0;
	double one = brute_deep(local ? s->local_layer_ms : s->layer_token_ms, 1,
				local ? s->local_depth : s->token_depth, at);
	double row = s->layer_row_ms > 0 ? brute_deep(s->layer_row_ms, 1, s->row_depth, at) : one;
	double each = row;

	if (full > 1)
		each = brute_max(0, (full * row - one) / (full - 1));
	return (local ? s->local_ms : s->embed_ms) + c->split * (one + (rows - 1) * each);
}

/* Rows of a prompt that the worker takes in a step: 64 through all layers, or rows that take 16
 * times what the step takes besides; 256 at most. */
static uint32_t brute_most(const struct plan_world *w, uint32_t tail)
{
	const struct plan_batch *b = w->worker.batches, *last = &b[w->worker.n_batches - 1];
	double most = 64.0 * w->agent.n_layers / tail;

	if (last->rows > b->rows && last->layer_ms > b->layer_ms) {
		const double row = (last->layer_ms - b->layer_ms) / (last->rows - b->rows);

		most = brute_max(most, 16 * (b->layer_ms / row - b->rows));
	}
	return most < 256 ? (uint32_t)most : 256;
}

/* A row of a prompt: its chunk, and when that comes. */
struct brute_row {
	uint32_t chunk;
	double come_ms;
};

/* When the worker has run all of them: the next chunk if it has waited for it, else what is there,
 * row by row. */
static double brute_worker(const struct plan_world *w, const struct brute_row *r, uint32_t n,
			   uint32_t tail)
{
	const uint32_t most = brute_most(w, tail);
	double now = 0;

	for (uint32_t i = 0, rows; i < n; i += rows) {
		const bool waits = r[i].come_ms >= now;

		now = brute_max(now, r[i].come_ms);
		for (rows = 1; rows < most && i + rows < n; rows++) {
			if (waits ? r[i + rows].chunk != r[i].chunk : r[i + rows].come_ms > now)
				break;
		}
		now += tail * brute_layer(&w->worker, rows, rows, n / 2.0);
		for (uint32_t k = 0; k < rows; k++)
			now += w->worker.decode_ms;
	}
	return now;
}

/* TTFT by following every chunk; the uplink's bytes are counted on the way. */
static double brute_ttft(const struct plan_world *w, const struct plan_choice *c, double *bytes)
{
	const struct plan_link *k = &w->link;
	const struct plan_speed *s = &w->agent.speeds[c->front];
	const uint32_t full = w->accuracy.levels[c->level].chunk_rows;
	const bool local = c->split == w->agent.n_layers;
	struct brute_row row[MAX_PROMPT];
	double agent = w->agent.begin_ms,
	       up = local ? 0
			  : k->open_ms + k->rtt_ms + brute_wire(k->open_bytes, k->up_kbit_s) +
				    brute_wire(k->accept_bytes, k->down_kbit_s);
	uint32_t done = 0, chunks = 0;

	*bytes = 0;
	while (done < w->policy.prompt_tokens) {
		const uint32_t left = w->policy.prompt_tokens - done;
		const uint32_t rows = left < full ? left : full;
		double size;

		agent += brute_chunk(w, c, rows) + (local ? 0 : rows * s->encode_ms);
		size = rows * brute_bytes(w, w->prompt_bits, c) + k->up_payload;
		*bytes += size;
		up = brute_max(up, agent) + brute_wire(size + k->up_packet, k->up_kbit_s);
		for (uint32_t i = 0; i < rows; i++)
			row[done++] = (struct brute_row){ chunks, up };
		chunks++;
	}
	if (local)
		return agent + s->head_ms;
	return brute_worker(w, row, done, w->agent.n_layers - c->split) +
	       brute_head(&w->worker, 1) + k->rtt_ms + w->worker.queue_ms +
	       brute_wire(k->down_payload + k->down_packet, k->down_kbit_s);
}

static void brute_figures(const struct plan_world *w, const struct plan_choice *c,
			  struct plan_figures *f)
{
	const struct plan_speed *s = &w->agent.speeds[c->front];
	const struct plan_link *k = &w->link;
	const uint32_t n = w->agent.n_layers, tail = n - c->split;
	const size_t at = (c->front * KV_TYPE_COUNT + c->kv) * w->accuracy.n_levels + c->level;
	double prompt, step;

	*f = (struct plan_figures){ .loss = (double)w->loss[at * (n + 1) + c->split] };
	f->ttft_ms = brute_ttft(w, c, &prompt);
	f->edge_bytes = w->agent.base_bytes + w->fronts[c->front].embed_bytes +
			w->weights[c->front][c->split];
	for (uint32_t i = 0; i < w->policy.sessions; i++)
		f->edge_bytes += w->agent.session_bytes +
				 (uint64_t)c->context_tokens * c->split * w->agent.kv_bytes[c->kv];
	if (!tail) {
		f->edge_bytes += w->fronts[c->front].head_bytes;
		f->token_ms =
			s->local_ms +
			n * brute_deep(s->local_layer_ms, 1, s->local_depth, brute_token_at(w)) +
			s->head_ms;
		return;
	}
	f->edge_bytes += w->codec_bytes[c->split] +
			 (uint64_t)w->policy.sessions * c->context_tokens * w->agent.token_bytes;
	if (c->split == 0 && w->fronts[c->front].n_layers > 0 &&
	    f->edge_bytes + w->weights[c->front][1] <= w->agent.budget_bytes)
		f->edge_bytes += w->weights[c->front][1]; /* that it rehearsed with */
	f->worker_bytes =
		(uint64_t)w->policy.sessions * tail * c->context_tokens * w->worker.kv_bytes[c->kv];
	step = tail * brute_layer(&w->worker, w->worker.batch_rows, 1, brute_token_at(w)) +
	       brute_head(&w->worker, w->worker.batch_rows);
	f->up_bytes = brute_bytes(w, w->row_bits, c) + k->up_payload;
	f->down_bytes = k->down_payload;
	f->token_ms =
		s->embed_ms + s->encode_ms +
		c->split * brute_deep(s->layer_token_ms, 1, s->token_depth, brute_token_at(w)) +
		brute_wire(f->up_bytes + k->up_packet, k->up_kbit_s) + k->rtt_ms +
		w->worker.queue_ms + step +
		brute_wire(k->down_payload + k->down_packet, k->down_kbit_s);
	f->session_bytes = prompt + (w->policy.answer_tokens - 1) * f->up_bytes +
			   w->policy.answer_tokens * f->down_bytes;
	f->worker_ms = step / w->worker.batch_rows;
}

static bool brute_known(const struct plan_world *w, const struct plan_choice *c)
{
	const struct plan_speed *s = &w->agent.speeds[c->front];

	if (c->split > 0 && s->layer_token_ms <= 0)
		return false;
	if (c->split == w->agent.n_layers)
		return s->head_ms > 0;
	return w->worker.n_batches > 0 && w->link.rtt_ms > 0;
}

/* The first limit that a choice breaks, by the order of the contract. */
static enum plan_limit brute_limit(const struct plan_world *w, const struct plan_choice *c,
				   struct plan_figures *f)
{
	const struct plan_policy *p = &w->policy;
	const bool local = c->split == w->agent.n_layers;

	memset(f, 0, sizeof(*f));
	if (c->split < p->min_split || c->split > p->max_split || !(p->fronts & 1u << c->front) ||
	    !(p->levels & 1u << c->level))
		return PLAN_NO_POLICY;
	if (w->fronts[c->front].n_layers < c->split ||
	    (local && w->fronts[c->front].head_bytes == 0))
		return PLAN_NO_FRONT;
	if (!local && (!w->worker.present || w->worker.first_layer > c->split))
		return PLAN_NO_WORKER;
	if (!brute_known(w, c))
		return PLAN_NO_FIGURE;
	if (!(p->kv_types & 1u << c->kv))
		return PLAN_NO_POLICY;
	brute_figures(w, c, f);
	if (c->context_tokens > w->agent.context_tokens ||
	    (!local && c->context_tokens > w->worker.context_tokens))
		return PLAN_LONG;
	if (f->edge_bytes > w->agent.budget_bytes)
		return PLAN_EDGE_MEMORY;
	if (!local && f->worker_bytes + w->worker.used_bytes > w->worker.budget_bytes)
		return PLAN_WORKER_MEMORY;
	if (p->ttft_ms > 0 && f->ttft_ms > p->ttft_ms)
		return PLAN_TTFT;
	if (p->token_ms > 0 && f->token_ms > p->token_ms)
		return PLAN_TOKEN;
	return !isnan(p->loss) && (isnan(f->loss) || f->loss > p->loss) ? PLAN_LOSS : PLAN_OK;
}

static double brute_cost(const struct plan_world *w, const struct plan_choice *c,
			 const struct plan_figures *f)
{
	const double costs[PLAN_OBJECTIVES] = {
		[PLAN_LATENCY] = f->token_ms,
		[PLAN_WORKER] = f->worker_ms,
		[PLAN_BYTES] = f->session_bytes / w->policy.answer_tokens,
		[PLAN_CONTEXT] = -(double)c->context_tokens,
	};

	return costs[w->policy.objective];
}

/* Different by more than rounding to a nanosecond? */
static bool differs(double a, double b)
{
	return fabs(a - b) > 2e-6 + 1e-12 * fabs(a);
}

static double whole_ns(double ms)
{
	return round(ms * 1e6) / 1e6;
}

static double worst_if_unknown(double loss)
{
	return isnan(loss) ? 1e300 : loss;
}

static bool is_better(const struct plan_figures *f, const struct plan_figures *g)
{
	if (f->cost != g->cost)
		return f->cost < g->cost;
	if (f->token_ms != g->token_ms)
		return f->token_ms < g->token_ms;
	if (f->ttft_ms != g->ttft_ms)
		return f->ttft_ms < g->ttft_ms;
	return worst_if_unknown(f->loss) < worst_if_unknown(g->loss);
}

/* Losses decide only between choices that are alike to the last bit. */
static bool is_as_good(const struct plan_figures *f, const struct plan_figures *g)
{
	if (differs(f->cost, g->cost) || differs(f->token_ms, g->token_ms) ||
	    differs(f->ttft_ms, g->ttft_ms))
		return false;
	return f->cost != g->cost || f->token_ms != g->token_ms || f->ttft_ms != g->ttft_ms ||
	       worst_if_unknown(f->loss) == worst_if_unknown(g->loss);
}

struct brute {
	bool found;
	struct plan_option best;
	bool possible[PLAN_WORLD_LAYERS + 1];
	enum plan_limit furthest[PLAN_WORLD_LAYERS + 1];
};

static void brute_try(const struct plan_world *w, const struct plan_choice *c, struct brute *b)
{
	struct plan_option o = { .choice = *c };
	enum plan_limit limit = brute_limit(w, c, &o.figures);

	o.figures.token_ms = whole_ns(o.figures.token_ms);
	o.figures.ttft_ms = whole_ns(o.figures.ttft_ms);
	if (limit != PLAN_OK) {
		if (limit > b->furthest[c->split])
			b->furthest[c->split] = limit;
		return;
	}
	b->possible[c->split] = true;
	o.figures.cost = brute_cost(w, c, &o.figures);
	if (!b->found || is_better(&o.figures, &b->best.figures))
		b->best = o;
	b->found = true;
}

static void brute_force(const struct plan_world *w, struct brute *b)
{
	struct plan_choice c = { 0 };

	*b = (struct brute){ 0 };
	for (c.split = 0; c.split <= w->agent.n_layers; c.split++) {
		for (c.front = 0; c.front < w->agent.n_fronts; c.front++) {
			for (unsigned kv = 0; kv < KV_TYPE_COUNT; kv++) {
				for (c.level = 0; c.level < w->accuracy.n_levels; c.level++) {
					for (uint32_t i = 0; i < w->policy.n_contexts; i++) {
						c.kv = (enum kv_type)kv;
						c.context_tokens = w->policy.contexts[i];
						brute_try(w, &c, b);
					}
				}
			}
		}
	}
}

/* ---- random worlds ---- */

struct dice {
	uint64_t seed, n;
};

static double draw(struct dice *d, double low, double high)
{
	return low + (high - low) * rng_unit(d->seed, d->n++);
}

static uint32_t pick(struct dice *d, uint32_t low, uint32_t high)
{
	return low + (uint32_t)(rng_u64(d->seed, d->n++) % (high - low + 1));
}

static bool chance(struct dice *d, double p)
{
	return draw(d, 0, 1) < p;
}

/* A slope that about doubles the time, or is too steep for it; or none. */
static struct plan_depth draw_depth(struct dice *d, double ms)
{
	return (struct plan_depth){ draw(d, 0, 500), chance(d, 0.7) ? draw(d, 0, ms / 200) : 0 };
}

static void draw_fronts(struct plan_world *w, struct dice *d)
{
	w->agent.n_fronts = pick(d, 1, 3);
	w->agent.begin_ms = draw(d, 0, 5);
	for (uint32_t f = 0; f < w->agent.n_fronts; f++) {
		struct plan_speed *s = &w->agent.speeds[f];

		plan_world_front(w, f,
				 chance(d, 0.8) ? w->agent.n_layers : pick(d, 0, w->agent.n_layers),
				 pick(d, 1000, 100000));
		if (chance(d, 0.3))
			w->fronts[f].head_bytes = 0;
		*s = (struct plan_speed){ .layer_token_ms = draw(d, 0.1, 20),
					  .embed_ms = draw(d, 0, 1),
					  .local_layer_ms = draw(d, 0.1, 20),
					  .local_ms = draw(d, 0, 1),
					  .head_ms = chance(d, 0.9) ? draw(d, 0.1, 30) : 0,
					  .encode_ms = draw(d, 0, 1) };
		s->token_depth = draw_depth(d, s->layer_token_ms);
		s->local_depth = draw_depth(d, s->local_layer_ms);
		s->row_depth = draw_depth(d, s->layer_token_ms);
		s->layer_row_ms = chance(d, 0.8) ? s->layer_token_ms * draw(d, 0.1, 1.2) : 0;
		if (chance(d, 0.1))
			s->layer_token_ms = 0;
	}
}

static void draw_worker(struct plan_world *w, struct dice *d)
{
	struct plan_worker *k = &w->worker;
	uint32_t rows = 0;

	k->present = chance(d, 0.95);
	k->first_layer = chance(d, 0.8) ? 0 : pick(d, 0, w->agent.n_layers);
	k->used_bytes = pick(d, 0, 5000000);
	k->budget_bytes = pick(d, 0, 10000000);
	k->context_tokens = pick(d, 50, 600);
	k->n_batches = chance(d, 0.95) ? pick(d, 1, PLAN_MAX_BATCHES) : 0;
	for (uint32_t i = 0; i < k->n_batches; i++) {
		rows += pick(d, 1, 20);
		k->batches[i] = (struct plan_batch){ .rows = rows,
						     .layer_ms = draw(d, 0.1, 5),
						     .head_ms = draw(d, 0, 5) };
		k->batches[i].depth = draw_depth(d, k->batches[i].layer_ms / rows);
	}
	k->batch_rows = chance(d, 0.5) ? 1 : draw(d, 1, 100);
	k->queue_ms = draw(d, 0, 5);
	k->decode_ms = draw(d, 0, 0.5);
}

static void draw_accuracy(struct plan_world *w, struct dice *d)
{
	const uint32_t n = w->agent.n_layers + 1;

	plan_world_accuracy(w, pick(d, 1, 4));
	for (uint32_t i = 0; i < w->accuracy.n_levels; i++)
		w->accuracy.levels[i].chunk_rows = pick(d, 1, MAX_ROWS);
	for (uint32_t i = 0; i < w->accuracy.n_levels * n; i++) {
		w->row_bits[i] = (float)draw(d, 0.1, 32);
		w->prompt_bits[i] = (float)draw(d, 0.1, 32);
	}
	for (uint32_t i = 0; i < w->accuracy.n_fronts * KV_TYPE_COUNT * w->accuracy.n_levels * n;
	     i++)
		w->loss[i] = chance(d, 0.05) ? (float)NAN : (float)draw(d, 0, 0.1);
	for (uint32_t l = 0; l < n; l++)
		w->codec_bytes[l] = pick(d, 0, 100000);
}

/* Of a prompt that no level cuts into more chunks than the planner follows steps. */
static uint32_t few_rows(const struct plan_world *w)
{
	uint32_t rows = 300;

	for (uint32_t i = 0; i < w->accuracy.n_levels; i++) {
		const uint32_t most = PLAN_PREFILL_STEPS * w->accuracy.levels[i].chunk_rows;

		rows = rows < most ? rows : most;
	}
	return rows;
}

static void draw_policy(struct plan_world *w, struct dice *d)
{
	struct plan_policy *p = &w->policy;
	uint32_t context = 0;

	p->objective = (enum plan_objective)pick(d, 0, PLAN_OBJECTIVES - 1);
	p->ttft_ms = chance(d, 0.5) ? draw(d, 10, 3000) : 0;
	p->token_ms = chance(d, 0.5) ? draw(d, 5, 200) : 0;
	p->loss = chance(d, 0.5) ? draw(d, 0, 0.1) : (double)NAN;
	p->prompt_tokens = pick(d, 1, few_rows(w));
	p->answer_tokens = pick(d, 1, 100);
	p->sessions = pick(d, 1, 4);
	p->n_contexts = pick(d, 1, 3);
	for (uint32_t i = 0; i < p->n_contexts; i++)
		p->contexts[i] = context += pick(d, 1, 200);
	if (chance(d, 0.1))
		p->min_split = p->max_split = pick(d, 0, w->agent.n_layers);
	if (chance(d, 0.2))
		p->kv_types = pick(d, 1, 15);
	if (chance(d, 0.2))
		p->levels = pick(d, 1, 15);
}

static void draw_world(struct plan_world *w, struct dice *d)
{
	plan_world_init(w);
	w->agent.n_layers = pick(d, 1, 12);
	w->agent.dim = pick(d, 1, 4096);
	w->agent.budget_bytes = pick(d, 0, 2000000);
	w->agent.context_tokens = pick(d, 50, 600);
	draw_fronts(w, d);
	draw_worker(w, d);
	w->link.rtt_ms = chance(d, 0.95) ? draw(d, 0.1, 100) : 0;
	w->link.open_ms = chance(d, 0.5) ? draw(d, 0, 10) : 0;
	w->link.up_kbit_s = chance(d, 0.8) ? draw(d, 50, 20000) : 0;
	w->link.down_kbit_s = chance(d, 0.8) ? draw(d, 50, 20000) : 0;
	w->link.up_packet = pick(d, 0, 100);
	w->link.down_packet = pick(d, 0, 100);
	draw_accuracy(w, d);
	draw_policy(w, d);
}

static void compare_splits(const struct plan_world *w, const struct brute *b, unsigned i)
{
	for (uint32_t l = 0; l <= w->agent.n_layers; l++) {
		const struct plan_split *s = &w->r.splits[l];
		struct plan_figures f;

		if ((s->limit == PLAN_OK) != b->possible[l] ||
		    (s->limit != PLAN_OK && s->limit != b->furthest[l]))
			fail_msg("scenario %u: split %u: %s, not %s", i, l,
				 plan_limit_name(s->limit),
				 b->possible[l] ? "ok" : plan_limit_name(b->furthest[l]));
		/* What the planner shows for the split is really so. */
		assert_int_equal(brute_limit(w, &s->option.choice, &f), s->limit);
		assert_int_equal(s->option.choice.split, l);
	}
}

static void compare_best(const struct plan_world *w, const struct brute *b, unsigned i)
{
	struct plan_option again = { .choice = w->r.best.choice };

	if (!b->found != (w->r.verdict == PLAN_NONE))
		fail_msg("scenario %u: found by one only", i);
	if (!b->found)
		return;
	assert_int_equal(brute_limit(w, &again.choice, &again.figures), PLAN_OK);
	again.figures.token_ms = whole_ns(again.figures.token_ms);
	again.figures.ttft_ms = whole_ns(again.figures.ttft_ms);
	again.figures.cost = brute_cost(w, &again.choice, &again.figures);
	if (!is_as_good(&again.figures, &b->best.figures) ||
	    differs(w->r.best.figures.cost, again.figures.cost) ||
	    differs(w->r.best.figures.token_ms, again.figures.token_ms) ||
	    differs(w->r.best.figures.ttft_ms, again.figures.ttft_ms))
		fail_msg("scenario %u: split %u costs %.12g (%.12g, %.12g ms); brute force says "
			 "%.12g (%.12g, %.12g ms), and split %u %.12g (%.12g, %.12g ms)",
			 i, again.choice.split, w->r.best.figures.cost, w->r.best.figures.token_ms,
			 w->r.best.figures.ttft_ms, again.figures.cost, again.figures.token_ms,
			 again.figures.ttft_ms, b->best.choice.split, b->best.figures.cost,
			 b->best.figures.token_ms, b->best.figures.ttft_ms);
	assert_int_equal(w->r.best.figures.edge_bytes, again.figures.edge_bytes);
	assert_int_equal(w->r.best.figures.worker_bytes, again.figures.worker_bytes);
}

static uint64_t seed_of(void)
{
	const char *given = getenv("PLAN_SEED");
	const uint64_t seed = given ? strtoull(given, NULL, 10) : rng_entropy() >> 11;

	print_message("PLAN_SEED=%llu\n", (unsigned long long)seed);
	return seed;
}

static void it_equals_a_brute_force(void **state)
{
	struct plan_world *w = *state;
	struct dice d = { .seed = seed_of() };
	unsigned possible = 0, splits[3] = { 0 };

	for (unsigned i = 0; i < SCENARIOS; i++) {
		struct brute b;

		draw_world(w, &d);
		plan_world_plan(w);
		brute_force(w, &b);
		compare_best(w, &b, i);
		compare_splits(w, &b, i);
		possible += b.found;
		if (b.found)
			splits[!b.best.choice.split
				       ? 0
				       : 1 + (b.best.choice.split == w->agent.n_layers)]++;
	}
	print_message("%u of %u possible; best at 0: %u, between: %u, at L: %u\n", possible,
		      SCENARIOS, splits[0], splits[1], splits[2]);
	assert_true(possible > SCENARIOS / 4); /* the worlds are worth planning for */
	assert_true(splits[0] > 10 && splits[1] > 10 && splits[2] > 10);
}

/* Rows together are never slower than one by one. */
static void draw_sound_worker(struct plan_world *w, struct dice *d)
{
	const double base_ms = draw(d, 0, 20), row_ms = draw(d, 0.1, 2);

	for (uint32_t i = 0; i < w->worker.n_batches; i++) {
		struct plan_batch *b = &w->worker.batches[i];

		b->layer_ms = base_ms + b->rows * row_ms;
		b->depth.deeper_ms = 0;
	}
}

/* A link that is about as fast as the worker with one chunk: its steps are of few chunks. */
static void draw_near_link(struct plan_world *w, const struct plan_choice *c, struct dice *d)
{
	const uint32_t rows = w->accuracy.levels[c->level].chunk_rows;
	const double bytes =
		rows * brute_bytes(w, w->prompt_bits, c) + w->link.up_payload + w->link.up_packet;
	const double at = w->policy.prompt_tokens / 2.0;
	const double ms = (w->agent.n_layers - c->split) * brute_layer(&w->worker, rows, rows, at) +
			  rows * w->worker.decode_ms;

	w->link.up_kbit_s = bytes * 8 / (ms * draw(d, 0.1, chance(d, 0.5) ? 0.5 : 1.1));
}

/* Of long prompts not all steps are followed: how far is the planner off? */
static void long_prompts_go_on_as_they_began(void **state)
{
	struct plan_world *w = *state;
	struct dice d = { .seed = seed_of() };
	double worst = 0, off, unused, need, allowed;
	unsigned n = 0;

	for (unsigned i = 0; i < SCENARIOS; i++) {
		struct plan_choice c = { 0 };
		struct plan_figures f;

		draw_world(w, &d);
		w->policy.prompt_tokens = pick(&d, 300, MAX_PROMPT);
		w->accuracy.levels[0].chunk_rows = pick(&d, 1, 8);
		c.split = pick(&d, 0, w->agent.n_layers) / 4;
		c.context_tokens = w->policy.contexts[0];
		draw_sound_worker(w, &d);
		if (c.split < w->agent.n_layers && w->worker.n_batches)
			draw_near_link(w, &c, &d);
		(void)plan_evaluate(&w->in, &c, &f, &need, &allowed);
		if (!(f.ttft_ms > 0))
			continue;
		off = fabs(f.ttft_ms / brute_ttft(w, &c, &unused) - 1);
		worst = off > worst ? off : worst;
		n++;
	}
	print_message("%u long prompts, at most %.1f %% off\n", n, 100 * worst);
	assert_true(n > SCENARIOS / 4);
	assert_true(worst < 0.04);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(it_equals_a_brute_force, plan_world_open,
						plan_world_close),
		cmocka_unit_test_setup_teardown(long_prompts_go_on_as_they_began, plan_world_open,
						plan_world_close),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
