/* tests/test_plan.c - the planner against a brute force of its own, and by itself. */
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
#include "base/rng.h"
#include "coordinator/plan.h"

#define SCENARIOS 1000
#define LAYERS    40
#define MAX_ROWS  64u
/* All facts of a plan in one place. */
struct world {
	struct plan_agent agent;
	struct plan_front fronts[PLAN_MAX_FRONTS];
	uint64_t weights[PLAN_MAX_FRONTS][LAYERS + 1];
	struct plan_worker worker;
	struct plan_link link;
	struct plan_accuracy accuracy;
	float row_bits[PLAN_MAX_LEVELS * (LAYERS + 1)];
	float prompt_bits[PLAN_MAX_LEVELS * (LAYERS + 1)];
	float loss[PLAN_MAX_FRONTS * KV_TYPE_COUNT * PLAN_MAX_LEVELS * (LAYERS + 1)];
	uint32_t codec_bytes[LAYERS + 1];
	struct plan_policy policy;
	struct plan_present present;
	struct plan_input in;
	struct plan_result r;
};

static void put_front(struct world *w, uint32_t f, uint32_t layers, uint64_t layer_bytes)
{
	struct plan_front *front = &w->fronts[f];

	*front = (struct plan_front){ .n_layers = layers,
				      .embed_bytes = 1000,
				      .head_bytes = 2000,
				      .weight_bytes = w->weights[f] };
	snprintf(front->name, sizeof(front->name), "front-%u", f);
	for (uint32_t l = 0; l <= LAYERS; l++)
		w->weights[f][l] = l * layer_bytes;
	w->agent.speeds[f] = (struct plan_speed){ .layer_token_ms = 2,
						  .layer_row_ms = 0.5,
						  .embed_ms = 0.2,
						  .local_layer_ms = 2,
						  .local_ms = 0.2,
						  .head_ms = 3,
						  .encode_ms = 0.1 };
}

static void put_accuracy(struct world *w, uint32_t levels)
{
	const uint32_t n = w->agent.n_layers;
	struct plan_accuracy *a = &w->accuracy;

	*a = (struct plan_accuracy){ .n_layers = n,
				     .n_levels = levels,
				     .n_fronts = w->agent.n_fronts,
				     .row_bits = w->row_bits,
				     .prompt_bits = w->prompt_bits,
				     .loss = w->loss,
				     .codec_bytes = w->codec_bytes };
	for (uint32_t i = 0; i < levels; i++) {
		a->levels[i].chunk_rows = 16;
		snprintf(a->levels[i].spec, PLAN_SPEC_MAX, "level-%u", i);
		for (uint32_t l = 0; l <= n; l++) {
			w->row_bits[i * (n + 1) + l] = 8.0f / (float)(i + 1);
			w->prompt_bits[i * (n + 1) + l] = 9.0f / (float)(i + 1);
		}
	}
	for (uint32_t i = 0; i < a->n_fronts * KV_TYPE_COUNT * levels; i++) {
		for (uint32_t l = 0; l <= n; l++)
			w->loss[i * (n + 1) + l] = l == n ? 0 : 0.01f * (float)(i % levels);
	}
}

/* A gateway that is slower than its worker, 8 layers, a link of 1 Mbit/s and 20 ms. */
static void make_world(struct world *w)
{
	memset(w, 0, sizeof(*w));
	w->agent = (struct plan_agent){ .n_layers = 8,
					.dim = 256,
					.begin_ms = 1,
					.n_fronts = 1,
					.fronts = w->fronts,
					.kv_bytes = { 512, 1024, 272, 144 },
					.budget_bytes = 1000000,
					.base_bytes = 5000,
					.session_bytes = 3000,
					.token_bytes = 100,
					.context_tokens = 512 };
	put_front(w, 0, 8, 10000);
	w->worker = (struct plan_worker){ .present = true,
					  .kv_bytes = { 512, 1024, 272, 144 },
					  .budget_bytes = 10000000,
					  .context_tokens = 512,
					  .n_batches = 2,
					  .batch_rows = 1 };
	w->worker.batches[0] = (struct plan_batch){ .rows = 1, .layer_ms = 0.2, .head_ms = 0.5 };
	w->worker.batches[1] = (struct plan_batch){ .rows = 64, .layer_ms = 3.2, .head_ms = 4 };
	w->link = (struct plan_link){ .rtt_ms = 20,
				      .up_kbit_s = 1000,
				      .down_kbit_s = 1000,
				      .up_payload = 48,
				      .down_payload = 140,
				      .open_bytes = 500,
				      .open_ms = 2,
				      .accept_bytes = 150 };
	put_accuracy(w, 2);
	w->policy = (struct plan_policy){ .loss = NAN,
					  .prompt_tokens = 64,
					  .answer_tokens = 32,
					  .sessions = 1,
					  .n_contexts = 2,
					  .contexts = { 128, 512 },
					  .max_split = LAYERS,
					  .kv_types = 15,
					  .levels = 255,
					  .fronts = 255 };
	w->in = (struct plan_input){ &w->agent,    &w->worker, &w->link,
				     &w->accuracy, &w->policy, &w->present };
}

static int world_open(void **state)
{
	struct world *w = malloc(sizeof(*w));

	assert_non_null(w);
	make_world(w);
	*state = w;
	return 0;
}

static int world_close(void **state)
{
	free(*state);
	return 0;
}

static void plan(struct world *w)
{
	struct err e = { 0 };

	if (plan_make(&w->r, &w->in, &e))
		fail_msg("%s", e.text);
}

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
static double brute_token_at(const struct world *w)
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

static double brute_bytes(const struct world *w, const float *bits, const struct plan_choice *c)
{
	return (double)bits[c->level * (w->agent.n_layers + 1) + c->split] * w->agent.dim / 8;
}

static double brute_chunk(const struct world *w, const struct plan_choice *c, uint32_t rows)
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

/* TTFT by following every chunk; the uplink's bytes are counted on the way. */
static double brute_ttft(const struct world *w, const struct plan_choice *c, double *bytes)
{
	const struct plan_link *k = &w->link;
	const struct plan_speed *s = &w->agent.speeds[c->front];
	const bool local = c->split == w->agent.n_layers;
	const uint32_t tail = w->agent.n_layers - c->split;
	double agent = w->agent.begin_ms, worker = 0,
	       up = local ? 0
			  : k->open_ms + k->rtt_ms + brute_wire(k->open_bytes, k->up_kbit_s) +
				    brute_wire(k->accept_bytes, k->down_kbit_s);
	uint32_t left = w->policy.prompt_tokens, rows = 0;

	*bytes = 0;
	while (left) {
		double size;

		rows = left < w->accuracy.levels[c->level].chunk_rows
			       ? left
			       : w->accuracy.levels[c->level].chunk_rows;
		left -= rows;
		agent += brute_chunk(w, c, rows) + (local ? 0 : rows * s->encode_ms);
		if (local)
			continue;
		size = rows * brute_bytes(w, w->prompt_bits, c) + k->up_payload;
		*bytes += size;
		up = brute_max(up, agent) + brute_wire(size + k->up_packet, k->up_kbit_s);
		worker = brute_max(worker, up) +
			 tail * brute_layer(&w->worker, rows, rows, w->policy.prompt_tokens / 2.0);
	}
	if (local)
		return agent + s->head_ms;
	return worker + brute_head(&w->worker, 1) + k->rtt_ms + w->worker.queue_ms +
	       brute_wire(k->down_payload + k->down_packet, k->down_kbit_s);
}

static void brute_figures(const struct world *w, const struct plan_choice *c,
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

static bool brute_known(const struct world *w, const struct plan_choice *c)
{
	const struct plan_speed *s = &w->agent.speeds[c->front];

	if (c->split > 0 && s->layer_token_ms <= 0)
		return false;
	if (c->split == w->agent.n_layers)
		return s->head_ms > 0;
	return w->worker.n_batches > 0 && w->link.rtt_ms > 0;
}

/* The first limit that a choice breaks, by the order of the contract. */
static enum plan_limit brute_limit(const struct world *w, const struct plan_choice *c,
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

static double brute_cost(const struct world *w, const struct plan_choice *c,
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
	bool possible[LAYERS + 1];
	enum plan_limit furthest[LAYERS + 1];
};

static void brute_try(const struct world *w, const struct plan_choice *c, struct brute *b)
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

static void brute_force(const struct world *w, struct brute *b)
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

static void draw_fronts(struct world *w, struct dice *d)
{
	w->agent.n_fronts = pick(d, 1, 3);
	w->agent.begin_ms = draw(d, 0, 5);
	for (uint32_t f = 0; f < w->agent.n_fronts; f++) {
		struct plan_speed *s = &w->agent.speeds[f];

		put_front(w, f, chance(d, 0.8) ? w->agent.n_layers : pick(d, 0, w->agent.n_layers),
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

static void draw_worker(struct world *w, struct dice *d)
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
}

static void draw_accuracy(struct world *w, struct dice *d)
{
	const uint32_t n = w->agent.n_layers + 1;

	put_accuracy(w, pick(d, 1, 4));
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

static void draw_policy(struct world *w, struct dice *d)
{
	struct plan_policy *p = &w->policy;
	uint32_t context = 0;

	p->objective = (enum plan_objective)pick(d, 0, PLAN_OBJECTIVES - 1);
	p->ttft_ms = chance(d, 0.5) ? draw(d, 10, 3000) : 0;
	p->token_ms = chance(d, 0.5) ? draw(d, 5, 200) : 0;
	p->loss = chance(d, 0.5) ? draw(d, 0, 0.1) : (double)NAN;
	p->prompt_tokens = pick(d, 1, 300);
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

static void draw_world(struct world *w, struct dice *d)
{
	make_world(w);
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

static void compare_splits(const struct world *w, const struct brute *b, unsigned i)
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

static void compare_best(const struct world *w, const struct brute *b, unsigned i)
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

static void it_equals_a_brute_force(void **state)
{
	struct world *w = *state;
	const char *given = getenv("PLAN_SEED");
	struct dice d = { .seed = given ? strtoull(given, NULL, 10) : rng_entropy() >> 11 };
	unsigned possible = 0, splits[3] = { 0 };

	print_message("PLAN_SEED=%llu\n", (unsigned long long)d.seed);
	for (unsigned i = 0; i < SCENARIOS; i++) {
		struct brute b;

		draw_world(w, &d);
		plan(w);
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

static const struct plan_choice *best(struct world *w)
{
	plan(w);
	assert_int_not_equal(w->r.verdict, PLAN_NONE);
	return &w->r.best.choice;
}

static void a_fast_worker_gets_all_and_a_slow_link_none(void **state)
{
	struct world *w = *state;

	w->link.rtt_ms = 0.1;
	w->link.up_kbit_s = w->link.down_kbit_s = 0;
	assert_int_equal(best(w)->split, 0);
	w->link.rtt_ms = 100;
	assert_int_equal(best(w)->split, 8);
	assert_true(w->r.best.figures.up_bytes == 0);
}

static void each_objective_gets_its_best(void **state)
{
	struct world *w = *state;

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
	struct world *w = *state;
	char text[200];

	w->worker.present = false;
	assert_int_equal(best(w)->split, 8);
	assert_false(w->r.has_runner_up);
	plan_explain(&w->in, &w->r.splits[3], text, sizeof(text));
	assert_string_equal(text, "no worker for this model is ready");
	w->worker.present = true;
	w->worker.first_layer = 4;
	plan(w);
	plan_explain(&w->in, &w->r.splits[3], text, sizeof(text));
	assert_string_equal(text, "the worker begins at layer 4");
	assert_int_equal(w->r.splits[4].limit, PLAN_OK);
}

static void what_is_not_measured_is_said(void **state)
{
	struct world *w = *state;
	char text[200];

	w->link.rtt_ms = 0;
	assert_int_equal(best(w)->split, 8);
	plan_explain(&w->in, &w->r.splits[0], text, sizeof(text));
	assert_string_equal(text, "the round trip to the worker is not measured yet");
	w->agent.speeds[0].head_ms = 0;
	plan(w);
	assert_int_equal(w->r.verdict, PLAN_NONE);
	plan_explain(&w->in, &w->r.splits[8], text, sizeof(text));
	assert_string_equal(text, "the speed of the agent's head is not measured yet");
	w->agent.speeds[0].layer_token_ms = 0;
	w->link.rtt_ms = 10;
	assert_int_equal(best(w)->split, 0);
	plan_explain(&w->in, &w->r.splits[1], text, sizeof(text));
	assert_string_equal(text, "the speed of this front end is not measured yet");
	w->worker.n_batches = 0;
	plan(w);
	plan_explain(&w->in, &w->r.splits[0], text, sizeof(text));
	assert_string_equal(text, "the speed of the worker is not measured yet");
}

static void explain(struct world *w, uint32_t split, const char *want)
{
	char text[200];

	plan(w);
	plan_explain(&w->in, &w->r.splits[split], text, sizeof(text));
	assert_string_equal(text, want);
}

static void explanations_name_the_limit_and_its_number(void **state)
{
	struct world *w = *state;

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
	struct world *w = *state;
	char text[240];

	plan(w);
	plan_reason(&w->in, &w->r, text, sizeof(text));
	assert_non_null(strstr(text, "first choice"));
	assert_non_null(strstr(text, "for latency"));
	assert_non_null(strstr(text, "next: split"));
	assert_true(strlen(text) + 1 < sizeof(text));
}

static void one_layer_is_enough(void **state)
{
	struct world *w = *state;

	w->agent.n_layers = 1;
	w->fronts[0].n_layers = 1;
	put_accuracy(w, 1);
	plan(w);
	assert_int_equal(w->r.splits[0].limit, PLAN_OK);
	assert_int_equal(w->r.splits[1].limit, PLAN_OK);
}

/* A session of 100 tokens, 50 of them to come, at a split that costs a bit more than the best. */
static void present_at(struct world *w, uint32_t split)
{
	struct plan_choice c;

	plan(w);
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
	struct world *w = *state;

	present_at(w, best(w)->split);
	plan(w);
	assert_int_equal(w->r.verdict, PLAN_SAME);
}

static void a_small_gain_is_no_reason_to_change(void **state)
{
	struct world *w = *state;

	w->link.rtt_ms = 15; /* all here: 19.2 ms; split 0: a bit more */
	present_at(w, 0);
	assert_true(w->r.best.figures.cost < w->r.splits[0].option.figures.cost);
	w->present.n_sessions = 0;
	plan(w);
	assert_int_equal(w->r.verdict, PLAN_CHANGE);
	assert_int_equal(w->r.chosen.choice.split, w->r.best.choice.split);
	w->policy.min_gain = 0.5;
	plan(w);
	assert_int_equal(w->r.verdict, PLAN_KEEP_GAIN);
	assert_int_equal(w->r.chosen.choice.split, 0);
	assert_true(w->r.gain > 0);
}

static void a_handover_must_pay(void **state)
{
	struct world *w = *state;

	w->link.rtt_ms = 30; /* all here: 19.2 ms; split 0: more by half */
	w->policy.min_gain = 0.05;
	present_at(w, 0);
	assert_int_equal(w->r.best.choice.split, 8);
	w->present.sessions[0] = (struct plan_session){ .tokens_left = 100, .kv_tokens = 100 };
	plan(w);
	assert_int_equal(w->r.verdict, PLAN_CHANGE);
	assert_true(fabs(w->r.handover - 8 * 0.5 * 100) < 1e-9);
	w->present.sessions[0].tokens_left = 5; /* not worth 100 rows through 8 layers any more */
	plan(w);
	assert_int_equal(w->r.verdict, PLAN_KEEP_HANDOVER);
	assert_int_equal(w->r.chosen.choice.split, 0);
	w->present.sessions[0].kv_tokens = 1;
	plan(w);
	assert_int_equal(w->r.verdict, PLAN_CHANGE);
}

static void rows_change_while_a_move_does_not_pay(void **state)
{
	struct world *w = *state;

	w->link.rtt_ms = 15;
	w->link.up_kbit_s = 200;
	w->policy.min_gain = 0.1;
	present_at(w, 0);
	w->present.choice.level = 0; /* 8 bits: 5 ms more than 4 */
	w->present.sessions[0].tokens_left = 5;
	plan(w);
	assert_int_equal(w->r.verdict, PLAN_ROWS);
	w->present.choice = w->r.chosen.choice; /* nothing more is to be had without a move */
	plan(w);
	assert_int_equal(w->r.verdict, PLAN_KEEP_HANDOVER);
	assert_int_equal(w->r.chosen.choice.level, 1);
}

static void a_split_goes_down_by_the_cheaper_way(void **state)
{
	struct world *w = *state;
	double rows = 9.0 / 2 * 256 / 8, kv = 512 * 4; /* bytes of a position; level 1 */
	double way;

	w->policy.max_split = 4;
	w->policy.kv_types = 1u << KV_F16;
	w->link.rtt_ms = 1;
	present_at(w, 4);
	assert_int_equal(w->r.best.choice.split, 0);
	plan(w);
	way = rows * 8 / 1000 + 4 * 0.2 * (1 + 15 * (16 - 1) / 63.0) / 16; /* sent, run again */
	assert_true(fabs(w->r.handover - 100 * way) < 1e-3);
	w->link.up_kbit_s = 0; /* bytes cost nothing: the caches themselves are sent */
	plan(w);
	assert_true(w->r.handover == 0);
	w->policy.objective = PLAN_BYTES;
	plan(w);
	assert_true(kv > rows);
}

static void rows_are_as_fine_as_the_link_carries(void **state)
{
	struct world *w = *state;

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
	plan(w);
	assert_int_equal(w->r.verdict, PLAN_CHANGE);
	assert_int_equal(w->r.chosen.choice.level, 0);
	w->policy.loss = 0; /* nothing worse is allowed, nothing better there */
	w->present.choice = w->r.chosen.choice;
	plan(w);
	assert_int_equal(w->r.verdict, PLAN_SAME);
}

static void a_choice_that_breaks_a_limit_goes_at_once(void **state)
{
	struct world *w = *state;

	present_at(w, 4);
	w->policy.min_gain = 1;
	w->policy.token_ms = w->r.best.figures.token_ms;
	w->present.sessions[0].tokens_left = 0;
	plan(w);
	assert_int_equal(w->r.verdict, PLAN_FORCED);
	assert_int_equal(w->r.present_limit, PLAN_TOKEN);
	assert_int_equal(w->r.chosen.choice.split, w->r.best.choice.split);
}

/* Layers of both sides measured at position 50; 1 % more there for each position. */
static void put_depths(struct world *w, double agent, double worker)
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
	struct world *w = *state;
	double token_ms, local_ms, ttft_ms;

	plan(w);
	token_ms = w->r.splits[3].option.figures.token_ms;
	local_ms = w->r.splits[8].option.figures.token_ms;
	ttft_ms = w->r.splits[8].option.figures.ttft_ms;
	put_depths(w, 0.01, 0.01); /* 64 + 32 / 2: 30 positions later, the prompt 18 earlier */
	plan(w);
	assert_true(fabs(w->r.splits[3].option.figures.token_ms - token_ms -
			 0.3 * (3 * 2 + 5 * 0.2)) < 1e-6);
	assert_true(fabs(w->r.splits[8].option.figures.token_ms - local_ms - 0.3 * 8 * 2) < 1e-6);
	assert_true(w->r.splits[8].option.figures.ttft_ms < ttft_ms);
	w->present.n_sessions = 2; /* tokens at 200 .. 220 and at 10: two in three are early */
	w->present.sessions[0] = (struct plan_session){ .tokens_left = 20, .kv_tokens = 200 };
	w->present.sessions[1] = (struct plan_session){ .tokens_left = 40, .kv_tokens = 10 };
	plan(w);
	assert_true(fabs(w->r.splits[8].option.figures.token_ms - local_ms -
			 0.01 * ((210 + 2 * 30) / 3.0 - 50) * 8 * 2) < 1e-6);
}

/* So many tokens to come decide: where a short session is better off here, a long one is not. */
static void who_grows_slower_with_depth_gets_deep_sessions(void **state)
{
	struct world *w = *state;

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
	plan(w);
	assert_int_equal(w->r.splits[8].limit, PLAN_TOKEN);
}

static void contradictions_are_refused(void **state)
{
	struct world *w = *state;
	struct err e = { 0 };

	w->agent.n_layers = PLAN_MAX_LAYERS + 1;
	assert_int_equal(plan_make(&w->r, &w->in, &e), ERR_LIMIT);
	assert_non_null(strstr(e.text, "layers"));
	make_world(w);
	w->accuracy.n_fronts = 2;
	assert_int_equal(plan_make(&w->r, &w->in, NULL), ERR_LIMIT);
	make_world(w);
	w->policy.n_contexts = 0;
	assert_int_equal(plan_make(&w->r, &w->in, NULL), ERR_LIMIT);
	make_world(w);
	w->worker.batch_rows = (double)NAN;
	assert_int_equal(plan_make(&w->r, &w->in, NULL), ERR_LIMIT);
	make_world(w);
	w->present.known = true;
	w->present.choice.split = 9;
	assert_int_equal(plan_make(&w->r, &w->in, NULL), ERR_LIMIT);
}

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* 40 layers, 3 front ends, 4 KV types, 6 levels, 8 contexts: 22,500 choices. */
static void a_plan_for_40_layers_is_quick(void **state)
{
	struct world *w = *state;
	uint64_t us[101];

	w->agent.n_layers = LAYERS;
	w->agent.n_fronts = 3;
	w->agent.budget_bytes = UINT64_MAX;
	w->worker.budget_bytes = UINT64_MAX;
	for (uint32_t f = 0; f < 3; f++)
		put_front(w, f, LAYERS, 10000 * (f + 1));
	put_accuracy(w, 6);
	w->policy.n_contexts = 8;
	for (uint32_t i = 0; i < 8; i++)
		w->policy.contexts[i] = 64 * (i + 1);
	for (unsigned i = 0; i < 101; i++) {
		uint64_t start = clock_now_us();

		plan(w);
		us[i] = clock_now_us() - start;
	}
	qsort(us, 101, sizeof(us[0]), by_size);
	print_message("a plan for %d layers: median %llu us, longest %llu us\n", LAYERS,
		      (unsigned long long)us[50], (unsigned long long)us[100]);
	assert_true(us[0] < 20000); /* also under a sanitizer on a busy machine */
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, world_open, world_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(it_equals_a_brute_force),
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
		TEST(rows_change_while_a_move_does_not_pay),
		TEST(a_split_goes_down_by_the_cheaper_way),
		TEST(rows_are_as_fine_as_the_link_carries),
		TEST(a_choice_that_breaks_a_limit_goes_at_once),
		TEST(later_positions_take_longer),
		TEST(who_grows_slower_with_depth_gets_deep_sessions),
		TEST(contradictions_are_refused),
		TEST(a_plan_for_40_layers_is_quick),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
