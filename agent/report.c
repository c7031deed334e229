#include "agent/report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "agent/slot.h"

static void add_counters(const struct agent_core *c, struct msg_telemetry *t)
{
	snprintf(t->name, sizeof(t->name), "%s", c->conf.agent);
	t->boot = c->conf.boot;
	t->sessions = agent_core_sessions(c);
	t->sessions_done = c->sessions_done;
	t->sessions_failed = c->sessions_failed;
	t->tokens = c->tokens;
	t->rows = c->rows;
	t->bytes_up = c->bytes_up;
	t->bytes_down = c->bytes_down;
	t->retries = c->retries;
	t->token_ms = c->token_ms;
	t->rtt_ms = c->rtt_ms;
}

/* A head that never ran takes as long as layers of as many bytes: both read all their weights. */
static double guess_head_ms(const struct agent_core *c, const struct msg_speed *s)
{
	const double layer_ms = s->local_layer_ms > 0 ? s->local_layer_ms : s->layer_token_ms;

	return layer_ms * c->conf.head_layers;
}

/* Of the first front, and of another one that is in use, once it is measured. */
static void add_speeds(const struct agent_core *c, struct msg_telemetry *t)
{
	const char *names[] = { c->conf.front, c->front.name };
	const unsigned n = c->front.index ? 2 : 1;

	for (unsigned i = 0; c->conf.front[0] && i < n; i++) {
		struct msg_speed *s = &t->speeds[t->n_speeds];

		memcpy(s->front, names[i], sizeof(s->front));
		meter_speed(&c->meter, i ? c->front.index : 0, s);
		if (i && s->layer_token_ms <= 0)
			continue;
		if (s->head_ms <= 0)
			s->head_ms = guess_head_ms(c, s);
		t->n_speeds++;
	}
}

static void add_remaining(const struct slot *sl, uint64_t now_us, struct msg_remaining *r)
{
	const struct session *s = &sl->session;
	const uint32_t made = s->n_ids > s->n_prompt ? s->n_ids - s->n_prompt : 0;
	const uint32_t room = s->conf.max_ids > s->n_ids ? s->conf.max_ids - s->n_ids : 0;
	const uint32_t wanted = s->conf.max_new > made ? s->conf.max_new - made : 0;

	snprintf(r->id, sizeof(r->id), "%s", sl->id);
	r->tokens = wanted < room ? wanted : room;
	r->kv_tokens = s->computed;
	r->split = s->conf.split;
	if (s->conf.deadline_us > now_us)
		r->deadline_ms = (double)(s->conf.deadline_us - now_us) / 1000;
}

static void add_sessions(const struct agent_core *c, uint64_t now_us, struct msg_telemetry *t)
{
	for (unsigned i = 0; i < c->conf.max_sessions && t->n_remaining < MSG_REMAINING_MAX; i++) {
		const struct slot *sl = &c->slots[i];

		if (sl->used && sl->session.state != SESSION_ENDED)
			add_remaining(sl, now_us, &t->remaining[t->n_remaining++]);
	}
}

void report_telemetry(struct agent_core *c, uint64_t now_us, struct msg_telemetry *t)
{
	add_counters(c, t);
	add_speeds(c, t);
	meter_link(&c->meter, now_us, &t->link);
	meter_broker(&c->meter, &t->broker_rtt_ms, &t->broker_rtt_high_ms);
	t->begin_ms = meter_begin_ms(&c->meter);
	memcpy(t->front, c->front.index ? c->front.name : c->conf.front, sizeof(t->front));
	add_sessions(c, now_us, t);
}

static bool far_apart(double a, double b)
{
	return fabs(a - b) > 0.25 * fmax(a, b);
}

bool report_differs(const struct msg_telemetry *a, const struct msg_telemetry *b)
{
	const struct msg_speed *s = &a->speeds[0], *r = &b->speeds[0];

	if (a->sessions != b->sessions || a->sessions_done != b->sessions_done ||
	    a->sessions_failed != b->sessions_failed || a->used_bytes != b->used_bytes ||
	    a->budget_bytes != b->budget_bytes || a->has != b->has || strcmp(a->front, b->front))
		return true;
	if (a->throttled != b->throttled || a->on_battery != b->on_battery ||
	    far_apart(a->battery_percent, b->battery_percent))
		return true;
	return far_apart(a->link.rtt_ms, b->link.rtt_ms) ||
	       far_apart(a->link.up_kbit_s, b->link.up_kbit_s) ||
	       far_apart(s->layer_token_ms, r->layer_token_ms) ||
	       far_apart(s->layer_row_ms, r->layer_row_ms);
}
