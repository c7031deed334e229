#include "coordinator/facts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "schema/wire.h"

/* Payloads of our messages (schema/vectors), with names of usual length. */
#define TOKENS_BYTES 140u

#define KV_BLOCK     32 /* numbers of a block, in the types that have them */

static uint64_t kv_bytes(uint32_t elements, enum kv_type type)
{
	const uint64_t blocks = ((uint64_t)elements + KV_BLOCK - 1) / KV_BLOCK;

	switch (type) {
	case KV_F32:
		return 4ull * elements;
	case KV_Q8_0:
		return 34 * blocks;
	case KV_Q4_0:
		return 18 * blocks;
	default:
		return 2ull * elements;
	}
}

static void put_kv_bytes(uint64_t bytes[KV_TYPE_COUNT], uint32_t elements)
{
	for (unsigned i = 0; i < KV_TYPE_COUNT; i++)
		bytes[i] = kv_bytes(elements, (enum kv_type)i);
}

static const struct msg_speed *find_speed(const struct msg_telemetry *t, const char *front)
{
	for (uint32_t i = 0; t && i < t->n_speeds; i++) {
		if (!strcmp(t->speeds[i].front, front) && t->speeds[i].layer_token_ms > 0)
			return &t->speeds[i];
	}
	return NULL;
}

/* Mean bytes of a layer. */
static double layer_bytes(const struct plan_front *f)
{
	return f->n_layers ? (double)f->weight_bytes[f->n_layers] / f->n_layers : 0;
}

static double known(double ms, double otherwise)
{
	return ms > 0 ? ms : otherwise;
}

static struct plan_depth depth_of(double at, double deeper_ms)
{
	return (struct plan_depth){ at, deeper_ms / MSG_DEEPER };
}

/* Where rows take less since nothing has left the caches, attention does, too: in proportion to
 * what a layer with a worker would take there. */
static struct plan_depth local_depth_of(const struct msg_speed *s)
{
	const double deeper_ms = s->deeper_token_ms / MSG_DEEPER;
	const double there_ms =
		s->layer_token_ms + deeper_ms * (s->local_layer_at - s->layer_token_at);

	return (struct plan_depth){ s->local_layer_at,
				    deeper_ms * s->local_layer_ms /
					    fmax(there_ms, s->layer_token_ms / 4) };
}

/* Layers take the time that their weights take to be read; the head likewise. */
static struct plan_speed speed_of(const struct plan_front *f, const struct msg_speed *s,
				  const struct plan_front *measured)
{
	double share = f == measured || !(layer_bytes(measured) > 0)
			       ? 1
			       : layer_bytes(f) / layer_bytes(measured);
	struct plan_speed got = { .layer_token_ms = s->layer_token_ms * share,
				  .layer_row_ms = s->layer_row_ms * share,
				  .embed_ms = s->embed_ms,
				  .local_layer_ms =
					  known(s->local_layer_ms, s->layer_token_ms) * share,
				  .local_ms = known(s->local_ms, s->embed_ms),
				  .head_ms = s->head_ms,
				  .encode_ms = s->encode_ms,
				  .token_depth = depth_of(s->layer_token_at, s->deeper_token_ms),
				  .row_depth = depth_of(s->layer_row_at, s->deeper_row_ms) };

	got.local_depth = got.token_depth;
	if (s->local_layer_ms > 0)
		got.local_depth = local_depth_of(s);
	if (!(got.head_ms > 0) && layer_bytes(f) > 0)
		got.head_ms = got.layer_token_ms * (double)f->head_bytes / layer_bytes(f);
	return got;
}

void facts_agent_update(struct facts_agent *f, const struct msg_agent_profile *p,
			const struct msg_telemetry *t)
{
	struct plan_agent *a = &f->agent;
	const struct plan_front *measured = NULL;
	const struct msg_speed *other = NULL;

	for (uint32_t i = 0; !other && i < a->n_fronts; i++) {
		measured = &f->fronts[i];
		other = find_speed(t, measured->name);
	}
	for (uint32_t i = 0; i < a->n_fronts; i++) {
		const struct msg_speed *own = find_speed(t, f->fronts[i].name);

		a->speeds[i] = (struct plan_speed){ 0 };
		if (own || other)
			a->speeds[i] = speed_of(&f->fronts[i], own ? own : other,
						own ? &f->fronts[i] : measured);
	}
	a->budget_bytes = t && t->budget_bytes ? t->budget_bytes : p->budget_bytes;
	a->begin_ms = t ? t->begin_ms : 0;
}

static uint64_t *put_front(struct plan_front *f, const struct msg_front *m, uint64_t *weights)
{
	snprintf(f->name, sizeof(f->name), "%s", m->name);
	f->n_layers = m->layers;
	f->embed_bytes = m->embed_bytes;
	f->head_bytes = m->head_bytes;
	f->weight_bytes = weights;
	weights[0] = 0;
	for (uint32_t l = 0; l < m->layers; l++)
		weights[l + 1] = weights[l] + m->layer_bytes[l];
	return weights + m->layers + 1;
}

/* n_fronts: there is none of this name. */
static uint32_t find_front(const struct plan_agent *a, const char *name)
{
	uint32_t i = 0;

	while (i < a->n_fronts && strcmp(a->fronts[i].name, name))
		i++;
	return i;
}

int facts_agent_init(struct facts_agent *f, const struct msg_agent_profile *p,
		     const struct msg_telemetry *t, struct err *e)
{
	struct plan_agent *a = &f->agent;
	uint64_t *next;
	size_t n = 0;

	for (uint32_t i = 0; i < p->n_fronts; i++)
		n += p->fronts[i].layers + 1;
	if (!p->n_layers || p->n_layers > PLAN_MAX_LAYERS || !p->n_fronts ||
	    p->n_fronts > PLAN_MAX_FRONTS)
		return err_set(e, ERR_LIMIT, "%s: %u layers in %u precisions cannot be planned",
			       p->agent, p->n_layers, p->n_fronts);
	*f = (struct facts_agent){ .weights = calloc(n, sizeof(*f->weights)) };
	if (!f->weights)
		return err_set(e, ERR_NOMEM, "weights of %s", p->agent);
	next = f->weights;
	for (uint32_t i = 0; i < p->n_fronts; i++)
		next = put_front(&f->fronts[i], &p->fronts[i], next);
	*a = (struct plan_agent){ .n_layers = p->n_layers,
				  .dim = p->dim,
				  .n_fronts = p->n_fronts,
				  .fronts = f->fronts,
				  .base_bytes = p->base_bytes,
				  .session_bytes = p->session_bytes,
				  .token_bytes = p->token_bytes,
				  .context_tokens = p->context_tokens };
	a->usual_front = find_front(a, p->front);
	if (a->usual_front == a->n_fronts)
		a->usual_front = 0;
	put_kv_bytes(a->kv_bytes, p->kv_elements);
	facts_agent_update(f, p, t);
	return 0;
}

void facts_agent_finish(struct facts_agent *f)
{
	free(f->weights);
	*f = (struct facts_agent){ 0 };
}

static void put_batches(struct plan_worker *w, const struct msg_telemetry *t)
{
	for (uint32_t i = 0; i < t->n_batches; i++) {
		const struct msg_batch *b = &t->batches[i];

		if (b->layer_ms > 0 && b->rows)
			w->batches[w->n_batches++] =
				(struct plan_batch){ .rows = b->rows,
						     .layer_ms = b->layer_ms,
						     .head_ms = b->head_ms,
						     .depth = depth_of(b->at, b->deeper_ms) };
	}
}

_Static_assert(MSG_BATCHES_MAX <= PLAN_MAX_BATCHES && MSG_FRONTS_MAX <= PLAN_MAX_FRONTS &&
		       MSG_REMAINING_MAX <= PLAN_MAX_SESSIONS,
	       "what a message may hold, a plan can take");

void facts_worker(struct plan_worker *w, const struct msg_worker_status *status,
		  const struct msg_telemetry *t, const char *model, uint64_t own_bytes)
{
	*w = (struct plan_worker){ .batch_rows = 1 };
	if (!status || status->state != MSG_READY || strcmp(status->model, model) ||
	    (t && t->draining))
		return;
	w->present = true;
	w->first_layer = status->first_layer;
	w->context_tokens = status->context_tokens;
	put_kv_bytes(w->kv_bytes, status->kv_elements);
	w->budget_bytes = status->budget_bytes ? status->budget_bytes : UINT64_MAX;
	w->used_bytes = status->weight_bytes;
	if (!t)
		return;
	if (t->weight_bytes)
		w->used_bytes = t->weight_bytes;
	w->used_bytes += t->kv_bytes > own_bytes ? t->kv_bytes - own_bytes : 0;
	put_batches(w, t);
	w->batch_rows = t->batch_rows > 1 ? t->batch_rows : 1;
	w->queue_ms = t->queue_ms;
	w->decode_ms = t->decode_ms;
}

/* The quantile that is exceeded for a share epsilon of the time, of a log-normal distribution with
 * this median and this quantile of 5 % (95 %). */
static double quantile(double median, double extreme, double epsilon)
{
	/* Tukey's lambda: within 1 % of the normal distribution's quantiles here. */
	double z = 4.91 * (pow(1 - epsilon, 0.14) - pow(epsilon, 0.14)) / 1.6449;

	if (!(median > 0) || !(extreme > 0))
		return median;
	return median * pow(extreme / median, z);
}

void facts_link(struct plan_link *l, const struct msg_telemetry *agent, double epsilon)
{
	*l = (struct plan_link){ .up_payload = WIRE_HDR_LEN,
				 .down_payload = TOKENS_BYTES,
				 .open_bytes = MSG_OPEN_BYTES,
				 .accept_bytes = MSG_ACCEPT_BYTES };
	if (!agent)
		return;
	l->open_ms = agent->link.open_ms;
	l->rtt_ms = quantile(agent->link.rtt_ms, agent->link.rtt_high_ms, epsilon);
	l->up_kbit_s = quantile(agent->link.up_kbit_s, agent->link.up_low_kbit_s, epsilon);
	l->down_kbit_s = quantile(agent->link.down_kbit_s, agent->link.down_low_kbit_s, epsilon);
}

static const struct config_policy *own_policy(const struct config_coordinator *conf,
					      const char *name)
{
	for (uint32_t i = 0; i < conf->n_agents; i++) {
		if (!strcmp(conf->agents[i].agent, name))
			return &conf->agents[i];
	}
	return NULL;
}

static uint32_t count_of(uint32_t own, uint32_t common)
{
	return own != UINT32_MAX ? own : common;
}

static const char *word_of(const char *own, const char *common)
{
	return strcmp(own, "auto") ? own : common;
}

const char *facts_codec(const struct config_coordinator *conf, const char *name)
{
	const struct config_policy *own = own_policy(conf, name);

	return own && own->codec[0] ? own->codec : conf->policy.codec;
}

/* The longest context, halves of it, and what the expected session needs. */
static void put_contexts(struct plan_policy *p, uint32_t fixed, uint32_t longest)
{
	const uint32_t least = p->prompt_tokens + p->answer_tokens;
	uint32_t falling[PLAN_MAX_CONTEXTS], n = 0;

	if (fixed != UINT32_MAX) {
		p->contexts[p->n_contexts++] = fixed;
		return;
	}
	for (uint32_t w = longest; w > least && n + 1 < PLAN_MAX_CONTEXTS; w /= 2)
		falling[n++] = w;
	p->contexts[p->n_contexts++] = least;
	while (n)
		p->contexts[p->n_contexts++] = falling[--n];
}

static unsigned kv_mask(const char *word)
{
	enum kv_type type;

	if (kv_type_parse(&type, word))
		return 1u << KV_F16 | 1u << KV_Q8_0 | 1u << KV_Q4_0;
	return 1u << type;
}

static void put_split(struct plan_policy *p, uint32_t split, uint32_t n_layers)
{
	p->min_split = split == UINT32_MAX ? 0 : split < n_layers ? split : n_layers;
	p->max_split = split == UINT32_MAX ? n_layers : p->min_split;
}

#define USUAL_LOSS 0.02 /* limits.loss: auto, with a calibration */

bool facts_policy(struct plan_policy *p, const struct config_coordinator *conf, const char *name,
		  const struct plan_agent *agent, const struct plan_accuracy *accuracy,
		  bool calibrated)
{
	const struct config_policy *all = &conf->policy, *own = own_policy(conf, name);
	const char *objective;
	uint32_t ttft, token;

	own = own ? own : all;
	ttft = count_of(own->ttft_ms, all->ttft_ms);
	token = count_of(own->token_ms, all->token_ms);
	objective = word_of(word_of(own->objective, all->objective), "latency");
	*p = (struct plan_policy){ .ttft_ms = ttft == UINT32_MAX ? 0 : ttft,
				   .token_ms = token == UINT32_MAX ? 0 : token,
				   .loss = isnan(own->loss) ? all->loss : own->loss,
				   .prompt_tokens = conf->expect.prompt_tokens,
				   .answer_tokens = conf->expect.answer_tokens,
				   .sessions = conf->expect.sessions,
				   .kv_types = kv_mask(word_of(own->kv, all->kv)),
				   .levels = (1u << accuracy->n_levels) - 1,
				   .fronts = (1u << agent->n_fronts) - 1,
				   .tolerance = conf->expect.tolerance,
				   .min_gain = conf->expect.min_gain };
	if (isnan(p->loss) && calibrated)
		p->loss = USUAL_LOSS;
	put_split(p, count_of(own->split, all->split), agent->n_layers);
	put_contexts(p, count_of(own->context_tokens, all->context_tokens), agent->context_tokens);
	return !plan_objective_parse(&p->objective, objective);
}

static bool put_choice(struct plan_choice *c, const struct msg_decision *d,
		       const struct plan_agent *a, const struct plan_accuracy *accuracy)
{
	*c = (struct plan_choice){ .split = d->split, .context_tokens = d->context_tokens };
	c->front = d->front[0] ? find_front(a, d->front) : a->usual_front;
	if (d->split > a->n_layers || c->front == a->n_fronts || !d->context_tokens ||
	    kv_type_parse(&c->kv, d->kv))
		return false;
	return !accuracy_level(accuracy, d->codec, &c->level) || d->split == a->n_layers;
}

void facts_present(struct plan_present *p, const struct msg_decision *d,
		   const struct msg_telemetry *agent, const struct plan_agent *facts,
		   const struct plan_accuracy *accuracy, const char *worker)
{
	*p = (struct plan_present){ 0 };
	if (d) {
		p->known = put_choice(&p->choice, d, facts, accuracy);
		p->same_worker = !strcmp(d->worker, worker) || !d->worker[0];
	}
	for (uint32_t i = 0; agent && i < agent->n_remaining; i++)
		p->sessions[p->n_sessions++] =
			(struct plan_session){ .tokens_left = agent->remaining[i].tokens,
					       .kv_tokens = agent->remaining[i].kv_tokens,
					       .split = agent->remaining[i].split };
	if (!d || !d->stay_codec[0] || accuracy_level(accuracy, d->stay_codec, &p->stay_level))
		return;
	for (uint32_t i = 0; i < p->n_sessions; i++)
		p->sessions[i].stays =
			p->sessions[i].split != d->split && p->sessions[i].split <= facts->n_layers;
}

uint64_t facts_own_bytes(const struct plan_agent *agent, const struct plan_present *present)
{
	const struct plan_choice *c = &present->choice;
	uint64_t positions = 0; /* of a layer */

	if (!present->known || !present->same_worker)
		return 0;
	for (uint32_t i = 0; i < present->n_sessions; i++) {
		const struct plan_session *s = &present->sessions[i];

		positions += (uint64_t)(s->kv_tokens + s->tokens_left) *
			     (agent->n_layers - (s->stays ? s->split : c->split));
	}
	return positions * agent->kv_bytes[c->kv];
}

void facts_decision(struct msg_decision *d, const struct plan_input *in,
		    const struct plan_result *r)
{
	const struct plan_choice *c = &r->chosen.choice;
	const struct plan_figures *f = &r->chosen.figures;

	d->split = c->split;
	d->context_tokens = c->context_tokens;
	snprintf(d->codec, sizeof(d->codec), "%s", in->accuracy->levels[c->level].spec);
	if (r->stays)
		snprintf(d->stay_codec, sizeof(d->stay_codec), "%s",
			 in->accuracy->levels[r->stay_level].spec);
	snprintf(d->kv, sizeof(d->kv), "%s", kv_type_name(c->kv));
	snprintf(d->front, sizeof(d->front), "%s", in->agent->fronts[c->front].name);
	snprintf(d->objective, sizeof(d->objective), "%s",
		 plan_objective_name(in->policy->objective));
	d->has_predicted = true;
	d->predicted = (struct msg_predicted){ .ttft_ms = f->ttft_ms,
					       .token_ms = f->token_ms,
					       .up_bytes = f->up_bytes,
					       .edge_bytes = f->edge_bytes,
					       .worker_bytes = f->worker_bytes };
	plan_reason(in, r, d->reason, sizeof(d->reason));
}
