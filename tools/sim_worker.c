/* Workers: steps of many rows, draining, failing. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "tools/sim_impl.h"

#define KIND_WORKER 3
#define STEP_ROWS   64 /* decode rows of one step */

static uint64_t draw_us(struct sim_worker *k, const struct draw *seconds)
{
	return (uint64_t)(1e6 * sim_draw(&k->rng, seconds));
}

void sim_worker_init(struct sim_world *w, struct sim_worker *k, uint32_t index)
{
	const struct scenario_worker *c = &w->conf.worker;
	const struct scenario_model *m = &w->conf.model;

	*k = (struct sim_worker){ .index = index, .state = MSG_OFFLINE };
	k->rng = sim_rng(w->conf.seed, KIND_WORKER, index);
	k->budget_bytes = (uint64_t)(sim_draw(&k->rng, &c->memory_mib) * SIM_MIB);
	k->max_sessions = (uint32_t)sim_draw(&k->rng, &c->sessions);
	k->layer_ms = sim_draw(&k->rng, &c->layer_ms);
	k->row_ms = sim_draw(&k->rng, &c->row_ms);
	k->head_ms = sim_draw(&k->rng, &c->head_ms);
	k->weight_bytes =
		(uint64_t)((m->layers * m->layer_numbers + m->vocab * m->dim) * m->worker_bits / 8);
	sim_after(w, (uint64_t)(1e6 * sim_unit(&k->rng)), SIM_W_START, index);
}

struct sim_worker *sim_worker_pick(struct sim_world *w, uint32_t wanted)
{
	if (wanted != SIM_NONE && w->workers[wanted].state == MSG_READY)
		return &w->workers[wanted];
	for (uint32_t i = 0; i < w->conf.workers; i++) {
		struct sim_worker *k = &w->workers[w->turn++ % w->conf.workers];

		if (k->state == MSG_READY)
			return k;
	}
	return NULL;
}

int sim_worker_book(struct sim_worker *k, uint64_t bytes)
{
	if (k->n_sessions >= k->max_sessions ||
	    k->weight_bytes + k->kv_bytes + bytes > k->budget_bytes)
		return ERR_BUSY;
	k->n_sessions++;
	k->kv_bytes += bytes;
	return 0;
}

void sim_worker_unbook(struct sim_worker *k, uint64_t bytes)
{
	k->n_sessions--;
	k->kv_bytes -= bytes;
}

int sim_worker_rebook(struct sim_worker *k, uint64_t old_bytes, uint64_t bytes)
{
	if (bytes > old_bytes &&
	    k->weight_bytes + k->kv_bytes - old_bytes + bytes > k->budget_bytes)
		return ERR_BUSY;
	k->kv_bytes = k->kv_bytes - old_bytes + bytes;
	return 0;
}

double sim_worker_layer_ms(const struct sim_worker *k, uint32_t rows)
{
	return rows ? k->layer_ms + (rows - 1) * k->row_ms : 0;
}

/* ---- steps ---- */

/* The rows of the next step to the front: decode rows and one chunk of a prompt, in order. */
static uint32_t choose(struct sim_worker *k)
{
	uint32_t n = 0, tokens = 0;
	bool chunk = false;

	for (uint32_t i = 0; i < k->n_rows; i++) {
		struct sim_rows r = k->rows[i];

		if (r.rows > 1 ? chunk : tokens == STEP_ROWS)
			continue;
		chunk |= r.rows > 1;
		tokens += r.rows == 1;
		memmove(&k->rows[n + 1], &k->rows[n], (i - n) * sizeof(r));
		k->rows[n++] = r;
	}
	return n;
}

/* Rows come in at their first layer; each layer is computed for those that have come in. */
static double step_ms(const struct sim_world *w, const struct sim_worker *k)
{
	double ms = k->head_ms;

	for (uint32_t layer = 0; layer < w->conf.model.layers; layer++) {
		uint32_t rows = 0;

		for (uint32_t i = 0; i < k->n_step; i++)
			rows += k->rows[i].first_layer <= layer ? k->rows[i].rows : 0;
		ms += sim_worker_layer_ms(k, rows);
	}
	return ms;
}

static void begin_step(struct sim_world *w, struct sim_worker *k)
{
	double ms;

	k->n_step = choose(k);
	if (!k->n_step)
		return;
	k->begun_us = w->now_us;
	for (uint32_t i = 0; i < k->n_step; i++) {
		double waited_ms = (double)(w->now_us - k->rows[i].since_us) / 1000;

		k->stepped_rows += k->rows[i].rows;
		k->queue_ms += waited_ms;
		k->n_queue++;
		sim_window_add(&k->queue, waited_ms, w->now_us);
	}
	k->steps++;
	ms = step_ms(w, k) * sim_noise(&k->rng, w->conf.agent.jitter);
	sim_add(w, &(struct sim_event){ .at_us = w->now_us + (uint64_t)(1000 * ms),
					.kind = SIM_W_STEPPED,
					.who = k->index,
					.life = k->life });
}

static void end_step(struct sim_world *w, struct sim_worker *k)
{
	uint32_t n = k->n_step;

	for (uint32_t i = 0; i < n; i++) {
		k->answered += k->rows[i].rows;
		sim_session_answer(w, &k->rows[i]);
	}
	k->n_step = 0;
	k->n_rows -= n;
	memmove(k->rows, k->rows + n, k->n_rows * sizeof(*k->rows));
	begin_step(w, k);
}

/* Room for one more, and for moving them. */
static int make_room(struct sim_worker *k)
{
	uint32_t cap = k->cap_rows ? 2 * k->cap_rows : 64;
	struct sim_rows *bigger;

	if (k->n_rows + 1 < k->cap_rows)
		return 0;
	bigger = realloc(k->rows, cap * sizeof(*bigger));
	if (!bigger)
		return ERR_NOMEM;
	k->rows = bigger;
	k->cap_rows = cap;
	return 0;
}

static void take_rows(struct sim_world *w, struct sim_worker *k, const struct sim_event *ev)
{
	const struct sim_session *s = &w->agents[ev->from].sessions[ev->what];

	if (s->life != ev->life || (k->state != MSG_READY && k->state != MSG_DRAINING))
		return;
	if (make_room(k)) {
		w->error = ERR_NOMEM;
		return;
	}
	k->rows[k->n_rows++] = (struct sim_rows){ .agent = ev->from,
						  .session = ev->what,
						  .life = ev->life,
						  .rows = ev->rows,
						  .first_layer = s->by.split,
						  .since_us = w->now_us };
	if (!k->n_step)
		begin_step(w, k);
}

/* ---- life ---- */

static void come_up(struct sim_world *w, struct sim_worker *k)
{
	const struct scenario_worker *c = &w->conf.worker;

	if (k->weight_bytes > k->budget_bytes) {
		w->stats.too_small++;
		return;
	}
	k->life++;
	k->boot = rng_u64(k->rng.seed, UINT64_MAX - k->life) | 1;
	k->state = MSG_READY;
	k->n_rows = k->n_step = k->n_sessions = 0;
	k->kv_bytes = 0;
	sim_say_worker(w, k, MSG_READY);
	sim_after(w, sim_wait_us(&k->rng, c->drains_per_hour), SIM_W_DRAIN, k->index);
	sim_after(w, sim_wait_us(&k->rng, c->fails_per_hour), SIM_W_FAIL, k->index);
}

/* Its sessions have to go elsewhere, and its agents need another decision. */
static void disturb(struct sim_world *w, const struct sim_worker *k)
{
	for (uint32_t i = 0; i < w->conf.agents; i++) {
		struct sim_agent *a = &w->agents[i];

		if (a->by.worker == k->index)
			sim_agent_changed(w, a, true);
		for (uint32_t j = 0; j < a->max_sessions; j++) {
			struct sim_session *s = &a->sessions[j];

			if (s->phase == SIM_UNUSED || s->worker != k->index)
				continue;
			s->calm = false;
			sim_add(w, &(struct sim_event){ .at_us = w->now_us +
								 (uint64_t)(1000 * a->link.rtt_ms),
							.kind = SIM_LOST,
							.who = i,
							.what = j,
							.life = s->life });
		}
	}
}

/* Both are drawn when it comes up: who comes second finds it gone. */
static void go(struct sim_world *w, struct sim_worker *k, bool fail)
{
	const struct scenario_worker *c = &w->conf.worker;

	if (k->state != MSG_READY)
		return;
	k->state = fail ? MSG_LOST : MSG_DRAINING;
	sim_say_worker(w, k, k->state);
	disturb(w, k);
	sim_after(w, draw_us(k, fail ? &c->fail_s : &c->drain_s), SIM_W_BACK, k->index);
}

void sim_worker_event(struct sim_world *w, struct sim_worker *k, const struct sim_event *ev)
{
	switch ((enum sim_kind)ev->kind) {
	case SIM_W_START:
		come_up(w, k);
		sim_after(w, 1000000u * (uint64_t)w->conf.telemetry_s, SIM_W_TELEMETRY, k->index);
		break;
	case SIM_W_BACK:
		come_up(w, k);
		break;
	case SIM_W_TELEMETRY:
		if (k->state == MSG_READY || k->state == MSG_DRAINING)
			sim_say_worker_telemetry(w, k);
		sim_after(w, 1000000u * (uint64_t)w->conf.telemetry_s, SIM_W_TELEMETRY, k->index);
		break;
	case SIM_W_ROWS:
		take_rows(w, k, ev);
		break;
	case SIM_W_STEPPED:
		if (k->life == ev->life)
			end_step(w, k);
		break;
	case SIM_W_DRAIN:
	case SIM_W_FAIL:
		go(w, k, ev->kind == SIM_W_FAIL);
		break;
	default:
		break;
	}
}
