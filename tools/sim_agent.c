/* What an agent is and hears, besides its sessions: its machine, its link, decisions. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "codec/spec.h"
#include "tools/sim_impl.h"

#define KIND_AGENT 1
#define KIND_LINK  2
#define START_US   3000000u

/* Per element of a row, side information aside. tabq: scalar quantization with an entropy stage
 * sits a quarter of a bit above a Gaussian source's bound (docs/codec.md). */
static double bits_of(const struct codec_spec *spec)
{
	static const double plain[] = {
		[PLAIN_F32] = 32, [PLAIN_F16] = 16, [PLAIN_Q8] = 8.25, [PLAIN_Q4] = 4.5
	};

	if (!spec->tabq)
		return plain[spec->plain];
	return fmax(1, 0.5 * log2(1 / (double)spec->delta) + 0.25);
}

static void draw_machine(struct sim_world *w, struct sim_agent *a)
{
	const struct scenario_agent *c = &w->conf.agent;

	a->budget_bytes = (uint64_t)(sim_draw(&a->rng, &c->memory_mib) * SIM_MIB);
	a->threads = (uint32_t)sim_draw(&a->rng, &c->threads);
	a->max_sessions = (uint32_t)sim_draw(&a->rng, &c->sessions);
	a->layer_ms = sim_draw(&a->rng, &c->layer_ms);
	a->row_ms = a->layer_ms * sim_draw(&a->rng, &c->row_share);
	a->head_ms = a->layer_ms * sim_head_layers(w) * sim_draw(&a->rng, &c->head_share);
	a->embed_ms = sim_draw(&a->rng, &c->embed_ms);
	a->encode_ms = sim_draw(&a->rng, &c->encode_ms);
}

/* It measures itself at its start, as agent/rehearsal.h does. */
static void rehearse(struct sim_world *w, struct sim_agent *a)
{
	const uint32_t layers = w->conf.model.layers / 4 + 1;

	for (int i = 0; i < 10; i++) {
		bool chunk = i >= 8;
		double ms = (chunk ? SIM_CHUNK_ROWS * a->row_ms : a->layer_ms) * layers;

		ms *= sim_noise(&a->rng, w->conf.agent.jitter);
		meter_job(a->meter,
			  &(struct meter_job){ .layers = layers,
					       .rows = chunk ? SIM_CHUNK_ROWS : 1,
					       .encoded = true,
					       .layers_us = (uint32_t)(1000 * ms),
					       .encode_us = (uint32_t)(1000 * a->encode_ms) });
		meter_beside(a->meter, 0, false, 1000 * a->embed_ms);
	}
}

static enum probe_need need_of(const struct sim_world *w, const struct sim_agent *a)
{
	bool crosses = false;

	for (uint32_t i = 0; i < a->max_sessions; i++) {
		const struct sim_session *s = &a->sessions[i];

		crosses |= s->phase != SIM_UNUSED && s->by.split < w->conf.model.layers;
	}
	if (crosses)
		return a->meter->unsure ? PROBE_UNSURE : PROBE_BUSY;
	return a->n_sessions ? PROBE_LOCAL : PROBE_IDLE;
}

void sim_agent_probe(struct sim_world *w, struct sim_agent *a)
{
	uint32_t bytes = probe_next(&a->probe, need_of(w, a), w->now_us);
	struct sim_trip up, down;

	if (!bytes)
		return;
	up = sim_link_send(&a->link, SIM_UP, bytes + SIM_PACKET_BYTES, w->now_us);
	down = sim_link_send(&a->link, SIM_DOWN, bytes + SIM_PACKET_BYTES, up.arrive_us);
	sim_add(w, &(struct sim_event){ .at_us = down.arrive_us,
					.kind = SIM_PROBED,
					.who = a->index,
					.rows = bytes,
					.life = (uint32_t)a->probe.serial });
}

static void look_for_probe(struct sim_world *w, struct sim_agent *a)
{
	uint64_t next_us;

	sim_agent_probe(w, a);
	next_us = a->probe.sent_us ? a->probe.sent_us + PROBE_PATIENCE_US : a->probe.due_us;
	sim_after(w, next_us > w->now_us ? next_us - w->now_us : 1, SIM_PROBE, a->index);
}

static void take_probe(struct sim_world *w, struct sim_agent *a, const struct sim_event *ev)
{
	uint8_t bytes[PROBE_LONG];
	struct meter_trip t;

	if (ev->life != (uint32_t)a->probe.serial)
		return; /* too late: another one is out */
	probe_put(&a->probe, bytes, ev->rows);
	if (probe_take(&a->probe, bytes, ev->rows, w->now_us, &t)) {
		meter_probe(a->meter, &t);
		if (a->meter->odd)
			probe_confirm(&a->probe);
	}
	sim_agent_probe(w, a);
	sim_agent_heard(w, a);
}

static void plan_telemetry(struct sim_world *w, struct sim_agent *a, uint64_t wait_us)
{
	a->telemetry_us = w->now_us + wait_us;
	sim_after(w, wait_us, SIM_TELEMETRY, a->index);
}

void sim_agent_heard(struct sim_world *w, struct sim_agent *a)
{
	uint64_t due_us;

	if (!hurry_calls(&a->hurry, a->meter, &a->probe))
		return;
	sim_agent_probe(w, a);
	due_us = hurry_due(&a->hurry, a->meter, &a->probe, a->telemetry_us, w->now_us);
	if (due_us < a->telemetry_us)
		plan_telemetry(w, a, due_us - w->now_us);
}

void sim_agent_init(struct sim_world *w, struct sim_agent *a, uint32_t index)
{
	*a = (struct sim_agent){ .index = index, .heat = 1 };
	a->rng = sim_rng(w->conf.seed, KIND_AGENT, index);
	a->boot = rng_u64(a->rng.seed, UINT64_MAX) | 1;
	a->link = sim_link(&w->conf.link, sim_rng(w->conf.seed, KIND_LINK, index));
	draw_machine(w, a);
	a->probe = (struct probe){ .every_us = 1000000u * (uint64_t)w->conf.telemetry_s,
				   .id = a->boot };
	a->sessions = calloc(a->max_sessions, sizeof(*a->sessions));
	a->meter = calloc(1, sizeof(*a->meter));
	if (!a->sessions || !a->meter) {
		w->error = ERR_NOMEM;
		return;
	}
	/* After the workers' first telemetry: a fleet that is there is joined. */
	sim_after(w,
		  1000000u * (uint64_t)w->conf.telemetry_s +
			  (uint64_t)(START_US * (1 + sim_unit(&a->rng))),
		  SIM_START, index);
}

static void start(struct sim_world *w, struct sim_agent *a)
{
	const struct scenario *c = &w->conf;

	a->up = true;
	a->started_us = w->now_us;
	rehearse(w, a);
	look_for_probe(w, a);
	sim_say_agent(w, a, MSG_READY);
	sim_say_profile(w, a);
	plan_telemetry(w, a, (uint64_t)(1e6 * c->telemetry_s * sim_unit(&a->rng)));
	sim_after(w, sim_wait_us(&a->rng, c->session.per_hour), SIM_ARRIVAL, a->index);
	sim_after(w, sim_wait_us(&a->rng, c->agent.throttles_per_hour), SIM_HOT, a->index);
	sim_after(w, sim_wait_us(&a->rng, c->link.steps_per_hour), SIM_STEP, a->index);
	sim_after(w, sim_wait_us(&a->rng, c->link.outages_per_hour), SIM_OUTAGE, a->index);
}

void sim_agent_changed(struct sim_world *w, struct sim_agent *a, bool by_worker)
{
	w->stats.changes++;
	a->changed_us = w->now_us;
	a->worker_changed = by_worker;
	for (uint32_t i = 0; i < a->max_sessions; i++)
		a->sessions[i].calm = false;
}

/* ---- the machine and the link ---- */

static void telemetry(struct sim_world *w, struct sim_agent *a)
{
	if (w->now_us != a->telemetry_us)
		return; /* it was hurried */
	sim_say_agent_telemetry(w, a);
	plan_telemetry(w, a, 1000000u * (uint64_t)w->conf.telemetry_s);
}

static void arrive(struct sim_world *w, struct sim_agent *a)
{
	w->stats.arrived++;
	if (a->n_waiting < SIM_WAITING)
		a->n_waiting++;
	else
		w->stats.dropped++;
	sim_session_admit(w, a);
	sim_after(w, sim_wait_us(&a->rng, w->conf.session.per_hour), SIM_ARRIVAL, a->index);
}

static uint64_t draw_us(struct sim_agent *a, const struct draw *seconds)
{
	return (uint64_t)(1e6 * sim_draw(&a->rng, seconds));
}

static void heat(struct sim_world *w, struct sim_agent *a, bool hot)
{
	const struct scenario_agent *c = &w->conf.agent;

	a->heat = hot ? sim_draw(&a->rng, &c->throttle_factor) : 1;
	sim_agent_changed(w, a, false);
	if (hot)
		sim_after(w, draw_us(a, &c->throttle_s), SIM_COOL, a->index);
	else
		sim_after(w, sim_wait_us(&a->rng, c->throttles_per_hour), SIM_HOT, a->index);
}

static void step(struct sim_world *w, struct sim_agent *a, bool on)
{
	const struct scenario_link *c = &w->conf.link;

	sim_link_step(&a->link, on ? sim_draw(&a->rng, &c->step_factor) : 1);
	sim_agent_changed(w, a, false);
	if (on)
		sim_after(w, draw_us(a, &c->step_s), SIM_STEP_END, a->index);
	else
		sim_after(w, sim_wait_us(&a->rng, c->steps_per_hour), SIM_STEP, a->index);
}

/* Too short to decide anything about: no change that waits for a decision. */
static void cut(struct sim_world *w, struct sim_agent *a)
{
	const struct scenario_link *c = &w->conf.link;
	uint64_t wait_us = draw_us(a, &c->outage_s), next_us;

	sim_link_cut(&a->link, w->now_us + wait_us);
	for (uint32_t i = 0; i < a->max_sessions; i++)
		a->sessions[i].calm = false;
	next_us = sim_wait_us(&a->rng, c->outages_per_hour);
	if (next_us != UINT64_MAX)
		sim_after(w, wait_us + next_us, SIM_OUTAGE, a->index);
}

double sim_head_layers(const struct sim_world *w)
{
	const struct scenario_model *m = &w->conf.model;

	return m->vocab * m->dim / m->layer_numbers;
}

double sim_agent_layer_ms(const struct sim_world *w, const struct sim_agent *a, uint32_t front)
{
	const struct scenario_model *m = &w->conf.model;

	return a->layer_ms * a->heat * m->fronts[front].bits / m->fronts[0].bits;
}

/* ---- decisions ---- */

/* Of a session: its caches, and its log unless it is alone. */
static double position_bytes(const struct sim_world *w, const struct sim_decision *d)
{
	uint32_t row = d->split < w->conf.model.layers ? w->conf.model.dim : 0;

	return row + d->split * sim_kv_bytes(w, d->kv);
}

double sim_agent_bytes(const struct sim_world *w, const struct sim_decision *d, uint32_t sessions)
{
	const struct scenario_model *m = &w->conf.model;
	double bytes = m->fronts[d->front].bits / 8, matrix = m->vocab * m->dim * bytes;
	double position = position_bytes(w, d);
	double all = SIM_BASE_BYTES + d->split * floor(m->layer_numbers * bytes);

	if (d->split == m->layers)
		all += matrix;
	return all + sessions * (SIM_SESSION_BYTES + d->context_tokens * position);
}

static int find_front(const struct sim_world *w, const char *name, uint32_t *front)
{
	const struct scenario_model *m = &w->conf.model;

	for (*front = 0; *front < m->n_fronts; (*front)++) {
		if (!name[0] || !strcmp(m->fronts[*front].name, name))
			return 0;
	}
	return ERR_NOT_FOUND;
}

static uint32_t find_worker(const struct sim_world *w, const char *name)
{
	char own[TOPIC_NAME_MAX + 1];

	for (uint32_t i = 0; name[0] && i < w->conf.workers; i++) {
		sim_world_worker_name(own, i);
		if (!strcmp(own, name))
			return i;
	}
	return SIM_NONE;
}

/* What a message asks for, in our terms. */
static int understand(const struct sim_world *w, const struct msg_decision *m,
		      struct sim_decision *d, struct err *e)
{
	struct codec_spec spec;
	int rc;

	*d = (struct sim_decision){ .number = m->number, .split = m->split, .kv = KV_F16 };
	if (m->split > w->conf.model.layers)
		return err_set(e, ERR_LIMIT, "split %u is outside 0..%u", m->split,
			       w->conf.model.layers);
	if (find_front(w, m->front, &d->front))
		return err_set(e, ERR_NOT_FOUND, "no front end %s", m->front);
	rc = spec_parse(&spec, m->codec[0] ? m->codec : "tabq", e);
	if (!rc && m->kv[0])
		rc = kv_type_parse(&d->kv, m->kv);
	if (rc)
		return rc;
	d->bits = bits_of(&spec);
	d->stays = m->stay_codec[0];
	if (d->stays && (rc = spec_parse(&spec, m->stay_codec, e)))
		return rc;
	d->stay_bits = bits_of(&spec);
	d->context_tokens = w->conf.model.context_tokens;
	if (m->context_tokens && m->context_tokens < d->context_tokens)
		d->context_tokens = m->context_tokens;
	d->worker = find_worker(w, m->worker);
	memcpy(d->codec, m->codec, sizeof(d->codec));
	d->token_ms = m->has_predicted ? m->predicted.token_ms : 0;
	return 0;
}

/* Longest context with which one session fits, or 0. */
static uint32_t fitting_context(const struct sim_world *w, const struct sim_agent *a,
				struct sim_decision d)
{
	double position = position_bytes(w, &d), room;

	d.context_tokens = 0;
	room = (double)a->budget_bytes - sim_agent_bytes(w, &d, 1);
	return room > 0 ? (uint32_t)(room / position) : 0;
}

static void count(struct sim_world *w, struct sim_agent *a, const struct sim_decision *d)
{
	struct sim_stats *st = &w->stats;

	st->decisions++;
	if (w->now_us < a->started_us + 1000000u * (uint64_t)SIM_SETTLE_S) {
		st->settling++;
		return;
	}
	st->splits += d->split != a->by.split;
	st->codecs += strcmp(d->codec, a->by.codec) != 0;
	st->fronts += d->front != a->by.front;
	st->workers += d->worker != a->by.worker;
	st->contexts += d->context_tokens != a->by.context_tokens;
	if (!a->changed_us)
		return;
	st->answered++;
	sim_series_add(a->worker_changed ? &st->worker_s : &st->link_s,
		       (double)(w->now_us - a->changed_us) / 1e6);
	a->changed_us = 0;
}

static void obey(struct sim_world *w, struct sim_agent *a, const struct sim_decision *d)
{
	count(w, a, d);
	a->by = *d;
	for (uint32_t i = 0; i < a->max_sessions; i++) {
		if (a->sessions[i].phase != SIM_UNUSED)
			sim_session_decide(w, a, &a->sessions[i]);
	}
	sim_session_admit(w, a);
}

/* As a real agent: taken, or refused with a reason before anything is touched. */
static void decide(struct sim_world *w, struct sim_agent *a)
{
	struct msg_decision_answer an = { .number = a->coming->number };
	struct sim_decision d;
	struct err e = { 0 };
	double missing;

	if (an.number == a->by.number && a->coming->has_predicted)
		a->by.token_ms = a->coming->predicted.token_ms;
	if (an.number <= a->by.number)
		return;
	an.code = understand(w, a->coming, &d, &e);
	missing = an.code ? 0 : sim_agent_bytes(w, &d, 1) - (double)a->budget_bytes;
	if (missing > 0) {
		an.code = err_set(&e, ERR_LIMIT, "%.0f bytes are missing", ceil(missing));
		an.missing_bytes = (uint64_t)ceil(missing);
		an.context_tokens = fitting_context(w, a, d);
		w->stats.edge_misses += a->coming->has_predicted;
	}
	an.taken = !an.code;
	snprintf(an.reason, sizeof(an.reason), "%s", e.text);
	if (an.taken)
		obey(w, a, &d);
	else
		w->stats.refused++;
	sim_say_answer(w, a, &an);
}

void sim_agent_event(struct sim_world *w, struct sim_agent *a, const struct sim_event *ev)
{
	switch ((enum sim_kind)ev->kind) {
	case SIM_START:
		start(w, a);
		break;
	case SIM_TELEMETRY:
		telemetry(w, a);
		break;
	case SIM_ARRIVAL:
		arrive(w, a);
		break;
	case SIM_HOT:
	case SIM_COOL:
		heat(w, a, ev->kind == SIM_HOT);
		break;
	case SIM_STEP:
	case SIM_STEP_END:
		step(w, a, ev->kind == SIM_STEP);
		break;
	case SIM_OUTAGE:
		cut(w, a);
		break;
	case SIM_PROBE:
		look_for_probe(w, a);
		break;
	case SIM_PROBED:
		take_probe(w, a, ev);
		break;
	case SIM_DECISION:
		decide(w, a);
		break;
	default:
		break;
	}
}
