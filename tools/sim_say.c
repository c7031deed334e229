/* What simulated agents and workers publish: the messages of real ones. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tools/sim_impl.h"

#define LATE_US 60000000u /* figures of the last minute count */

/* Of the telemetry's counters that no figure of the simulation depends on. */
#define RSS_BYTES 33554432u

static void publish(struct sim_world *w, enum topic_kind kind, const char *agent,
		    const char *worker, const struct msg *m, bool retain)
{
	struct topic t = { .kind = kind };

	snprintf(t.fleet, sizeof(t.fleet), "%s", w->fleet);
	snprintf(t.agent, sizeof(t.agent), "%s", agent);
	snprintf(t.worker, sizeof(t.worker), "%s", worker);
	w->stats.messages++;
	w->publish(w->ctx, &t, m, retain ? 1 : 0, retain);
}

static void publish_agent(struct sim_world *w, enum topic_kind kind, const struct sim_agent *a,
			  const struct msg *m, bool retain)
{
	char name[TOPIC_NAME_MAX + 1];

	sim_world_agent_name(name, a->index);
	publish(w, kind, name, "", m, retain);
}

static void publish_worker(struct sim_world *w, enum topic_kind kind, const struct sim_worker *k,
			   const struct msg *m, bool retain)
{
	char name[TOPIC_NAME_MAX + 1];

	sim_world_worker_name(name, k->index);
	publish(w, kind, "", name, m, retain);
}

void sim_say_agent(struct sim_world *w, struct sim_agent *a, enum msg_state state)
{
	struct msg m = { .type = MSG_AGENT_STATUS };
	struct msg_agent_status *st = &m.u.agent_status;

	sim_world_agent_name(st->agent, a->index);
	st->state = state;
	st->boot = a->boot;
	memcpy(st->model, w->model, sizeof(st->model));
	snprintf(st->model_name, sizeof(st->model_name), "simulated");
	st->n_layers = w->conf.model.layers;
	st->dim = w->conf.model.dim;
	st->context_tokens = w->conf.model.context_tokens;
	st->max_sessions = a->max_sessions;
	snprintf(st->version, sizeof(st->version), "%s", SPLITMQ_VERSION);
	publish_agent(w, TOPIC_AGENT_STATUS, a, &m, true);
}

static void put_front(const struct sim_world *w, uint32_t i, struct msg_front *f)
{
	const struct scenario_model *c = &w->conf.model;
	uint64_t matrix = (uint64_t)(c->vocab * c->dim * c->fronts[i].bits / 8);

	snprintf(f->name, sizeof(f->name), "%s", c->fronts[i].name);
	f->layers = c->layers;
	f->head_bytes = matrix; /* the embedding is read from its file (agent/profile.h) */
	f->layer_bytes = w->layer_bytes + (size_t)i * c->layers;
}

void sim_say_profile(struct sim_world *w, struct sim_agent *a)
{
	const struct scenario_model *c = &w->conf.model;
	struct msg m = { .type = MSG_AGENT_PROFILE };
	struct msg_agent_profile *p = &m.u.agent_profile;

	sim_world_agent_name(p->agent, a->index);
	p->boot = a->boot;
	memcpy(p->model, w->model, sizeof(p->model));
	p->n_layers = c->layers;
	p->dim = c->dim;
	p->kv_elements = c->kv_elements;
	p->threads = a->threads;
	p->max_sessions = a->max_sessions;
	p->context_tokens = c->context_tokens;
	p->prefill_rows = SIM_CHUNK_ROWS;
	p->budget_bytes = a->budget_bytes;
	p->base_bytes = SIM_BASE_BYTES;
	p->session_bytes = SIM_SESSION_BYTES;
	p->token_bytes = c->dim;
	p->n_fronts = c->n_fronts;
	for (uint32_t i = 0; i < c->n_fronts; i++)
		put_front(w, i, &p->fronts[i]);
	publish_agent(w, TOPIC_AGENT_PROFILE, a, &m, true);
}

static uint64_t late_us(const struct sim_world *w)
{
	return w->now_us > LATE_US ? w->now_us - LATE_US : 0;
}

/* What it measured at one front holds for the others in proportion to their bits. */
static void put_speeds(const struct sim_world *w, const struct sim_agent *a,
		       struct msg_telemetry *t)
{
	const struct scenario_model *c = &w->conf.model;
	struct msg_speed first = { 0 };

	meter_speed(a->meter, 0, &first);
	if (first.head_ms <= 0) /* it never ran: as agent/report.c guesses */
		first.head_ms = first.layer_token_ms * sim_head_layers(w);
	t->n_speeds = c->n_fronts;
	for (uint32_t i = 0; i < c->n_fronts; i++) {
		double share = c->fronts[i].bits / c->fronts[0].bits;

		t->speeds[i] = first;
		t->speeds[i].layer_token_ms *= share;
		t->speeds[i].layer_row_ms *= share;
		t->speeds[i].head_ms *= share;
		snprintf(t->speeds[i].front, sizeof(t->speeds[i].front), "%s", c->fronts[i].name);
	}
}

static void put_sessions(const struct sim_agent *a, struct msg_telemetry *t)
{
	for (uint32_t i = 0; i < a->max_sessions; i++) {
		const struct sim_session *s = &a->sessions[i];
		struct msg_remaining *r = &t->remaining[t->n_remaining];

		if (s->phase != SIM_DECODE || t->n_remaining == MSG_REMAINING_MAX)
			continue;
		snprintf(r->id, sizeof(r->id), "%u-%u", (unsigned)i, (unsigned)s->life);
		r->tokens = s->answer - s->tokens;
		r->kv_tokens = s->kv;
		r->split = s->by.split;
		t->n_remaining++;
	}
}

static uint64_t used_bytes(const struct sim_world *w, const struct sim_agent *a)
{
	return a->by.number ? (uint64_t)sim_agent_bytes(w, &a->by, a->n_sessions) : SIM_BASE_BYTES;
}

void sim_say_agent_telemetry(struct sim_world *w, struct sim_agent *a)
{
	struct msg m = { .type = MSG_AGENT_TELEMETRY };
	struct msg_telemetry *t = &m.u.telemetry;

	sim_world_agent_name(t->name, a->index);
	t->boot = a->boot;
	t->uptime_ms = w->now_us / 1000;
	t->rss_bytes = RSS_BYTES;
	t->budget_bytes = a->budget_bytes;
	t->used_bytes = used_bytes(w, a);
	t->mem_available_bytes =
		t->budget_bytes > t->used_bytes ? t->budget_bytes - t->used_bytes : 0;
	t->sessions = a->n_sessions + a->n_waiting;
	t->sessions_done = a->done;
	t->sessions_failed = a->failed;
	t->tokens = a->tokens;
	t->rows = a->rows;
	t->bytes_up = a->bytes_up;
	t->bytes_down = a->bytes_down;
	t->retries = a->retries;
	t->token_ms = sim_window_quantile(&a->token, late_us(w), 0.5);
	put_speeds(w, a, t);
	meter_link(a->meter, w->now_us, &t->link);
	meter_broker(a->meter, &t->broker_rtt_ms, &t->broker_rtt_high_ms);
	t->rtt_ms = t->link.rtt_ms;
	t->has = MSG_HAS_THROTTLED;
	t->throttled = a->heat > 1;
	put_sessions(a, t);
	publish_agent(w, TOPIC_AGENT_TELEMETRY, a, &m, false);
}

void sim_say_answer(struct sim_world *w, struct sim_agent *a, const struct msg_decision_answer *an)
{
	struct msg m = { .type = MSG_DECISION_ANSWER, .u.decision_answer = *an };

	sim_world_agent_name(m.u.decision_answer.agent, a->index);
	publish_agent(w, TOPIC_AGENT_ANSWER, a, &m, true);
}

void sim_say_worker(struct sim_world *w, struct sim_worker *k, enum msg_state state)
{
	const struct scenario_model *c = &w->conf.model;
	struct msg m = { .type = MSG_WORKER_STATUS };
	struct msg_worker_status *st = &m.u.worker_status;

	sim_world_worker_name(st->worker, k->index);
	st->state = state;
	st->boot = k->boot;
	memcpy(st->model, w->model, sizeof(st->model));
	snprintf(st->model_name, sizeof(st->model_name), "simulated");
	st->n_layers = c->layers;
	st->dim = c->dim;
	st->context_tokens = c->context_tokens;
	st->max_sessions = k->max_sessions;
	st->kv_elements = c->kv_elements;
	st->threads = 1;
	st->budget_bytes = k->budget_bytes;
	st->weight_bytes = k->weight_bytes;
	st->layer_bytes = (uint64_t)(c->layer_numbers * c->worker_bits / 8);
	st->head_bytes = (uint64_t)(c->vocab * c->dim * c->worker_bits / 8);
	snprintf(st->version, sizeof(st->version), "%s", SPLITMQ_VERSION);
	publish_worker(w, TOPIC_WORKER_STATUS, k, &m, true);
}

/* It measures steps of all sizes at its start. */
static void put_batches(const struct sim_worker *k, struct msg_telemetry *t)
{
	static const uint32_t sizes[] = { 1, 2, 4, 8, 16, 32, 64 };

	t->n_batches = sizeof(sizes) / sizeof(sizes[0]);
	for (uint32_t i = 0; i < t->n_batches; i++)
		t->batches[i] = (struct msg_batch){ .rows = sizes[i],
						    .layer_ms = sim_worker_layer_ms(k, sizes[i]),
						    .head_ms = k->head_ms };
}

void sim_say_worker_telemetry(struct sim_world *w, struct sim_worker *k)
{
	struct msg m = { .type = MSG_WORKER_TELEMETRY };
	struct msg_telemetry *t = &m.u.telemetry;

	sim_world_worker_name(t->name, k->index);
	t->boot = k->boot;
	t->uptime_ms = w->now_us / 1000;
	t->rss_bytes = k->weight_bytes + k->kv_bytes;
	t->mem_available_bytes = k->budget_bytes - k->weight_bytes - k->kv_bytes;
	t->sessions = k->n_sessions;
	t->rows = k->answered;
	t->batch_rows = k->steps ? (double)k->stepped_rows / (double)k->steps : 0;
	t->queue_ms = k->n_queue ? k->queue_ms / (double)k->n_queue : 0;
	t->queue_high_ms = sim_window_quantile(&k->queue, late_us(w), 0.95);
	t->kv_bytes = k->kv_bytes;
	t->kv_budget_bytes = k->budget_bytes - k->weight_bytes;
	t->weight_bytes = k->weight_bytes;
	t->draining = k->state == MSG_DRAINING;
	put_batches(k, t);
	k->steps = k->stepped_rows = k->n_queue = 0;
	k->queue_ms = 0;
	publish_worker(w, TOPIC_WORKER_TELEMETRY, k, &m, false);
}
