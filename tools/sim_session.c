/* A session from its prompt to its end, token by token. */
#include <math.h>

#include "tools/sim_impl.h"

#define RETRY_US   1000000u
#define PATIENCE_S 120 /* without a worker; then it fails */
#define RATIO_FROM 8   /* tokens that a session must have for its mean to say something */
#define FILL       2 /* a handover shares agent and link with the tokens: it takes twice as long */

static uint32_t place_of(const struct sim_agent *a, const struct sim_session *s)
{
	return (uint32_t)(s - a->sessions);
}

static void at(struct sim_world *w, uint64_t at_us, enum sim_kind kind, const struct sim_agent *a,
	       const struct sim_session *s, uint32_t rows)
{
	sim_add(w, &(struct sim_event){ .at_us = at_us,
					.kind = kind,
					.who = a->index,
					.what = place_of(a, s),
					.life = s->life,
					.rows = rows });
}

static uint32_t layers_at_worker(const struct sim_world *w, const struct sim_session *s)
{
	return w->conf.model.layers - s->by.split;
}

/* The agent computes one thing after the other; returns when this one is done. */
static uint64_t compute(struct sim_world *w, struct sim_agent *a, double ms)
{
	uint64_t begin_us = a->cpu_free_us > w->now_us ? a->cpu_free_us : w->now_us;

	a->cpu_free_us = begin_us + (uint64_t)(1000 * ms);
	return a->cpu_free_us;
}

static double noise(const struct sim_world *w, struct sim_agent *a)
{
	return sim_noise(&a->rng, w->conf.agent.jitter);
}

static double front_share(const struct sim_world *w, uint32_t front)
{
	return w->conf.model.fronts[front].bits / w->conf.model.fronts[0].bits;
}

/* ---- compute ---- */

/* As the agent's meter hears of a job: in units of the first front. */
static void measure(const struct sim_world *w, struct sim_agent *a, const struct sim_session *s,
		    uint32_t rows, double layer_ms)
{
	const bool local = !layers_at_worker(w, s);
	double layers_us = 1000 * layer_ms * s->by.split / front_share(w, s->by.front);

	meter_job(a->meter, &(struct meter_job){
				    .layers = s->by.split,
				    .rows = rows,
				    .sampled = local,
				    .encoded = !local,
				    .layers_us = (uint32_t)layers_us,
				    .head_us = local ? (uint32_t)(1000 * a->head_ms * a->heat) : 0,
				    .encode_us = (uint32_t)(1000 * a->encode_ms * a->heat),
			    });
}

static void compute_chunk(struct sim_world *w, struct sim_agent *a, struct sim_session *s)
{
	uint32_t rows = s->to_compute < SIM_CHUNK_ROWS ? s->to_compute : SIM_CHUNK_ROWS;
	double row_ms = a->row_ms * a->heat * front_share(w, s->by.front) * noise(w, a);
	double ms = s->by.split * rows * row_ms;

	if (layers_at_worker(w, s))
		ms += rows * a->encode_ms * a->heat;
	else if (rows == s->to_compute)
		ms += a->head_ms * a->heat * front_share(w, s->by.front);
	if (s->replay)
		ms = 0;
	else
		measure(w, a, s, rows, row_ms * rows);
	s->to_compute -= rows;
	at(w, compute(w, a, ms), SIM_COMPUTED, a, s, rows);
}

static void compute_token(struct sim_world *w, struct sim_agent *a, struct sim_session *s)
{
	double layer_ms = sim_agent_layer_ms(w, a, s->by.front) * noise(w, a);
	double head_ms = a->head_ms * front_share(w, s->by.front);
	bool local = !layers_at_worker(w, s);
	double rest_ms = a->embed_ms + (local ? head_ms : a->encode_ms);

	measure(w, a, s, 1, layer_ms);
	meter_beside(a->meter, 0, local, 1000 * a->embed_ms * a->heat);
	at(w, compute(w, a, s->by.split * layer_ms + rest_ms * a->heat), SIM_COMPUTED, a, s, 1);
}

/* ---- the end, and the beginning ---- */

static void judge(struct sim_world *w, const struct sim_session *s)
{
	struct sim_stats *st = &w->stats;
	double token_ms = s->timed ? s->token_ms / s->timed : 0;

	if (s->timed < RATIO_FROM)
		return;
	sim_series_add(&st->token_ms, token_ms);
	if (w->limits.token_ms > 0) {
		st->token_checks++;
		st->token_misses += token_ms > w->limits.token_ms;
		st->calm_checks += s->calm;
		st->calm_misses += s->calm && token_ms > w->limits.token_ms;
	}
	if (!s->one_split || !(s->by.token_ms > 0))
		return;
	sim_series_add(&st->ratio, token_ms / s->by.token_ms);
	if (s->calm)
		sim_series_add(&st->calm_ratio, token_ms / s->by.token_ms);
}

static void judge_first(struct sim_world *w, const struct sim_session *s)
{
	const struct sim_limits *l = &w->limits;
	double ms = (double)(w->now_us - s->begun_us) / 1000;

	sim_series_add(&w->stats.ttft_ms, ms);
	if (!(l->ttft_ms > 0) || (l->prompt_tokens && s->prompt > l->prompt_tokens))
		return;
	w->stats.ttft_checks++;
	w->stats.ttft_misses += ms > l->ttft_ms;
}

static void leave_worker(struct sim_world *w, struct sim_session *s)
{
	struct sim_worker *k = s->worker == SIM_NONE ? NULL : &w->workers[s->worker];

	if (k && k->life == s->worker_life)
		sim_worker_unbook(k, s->booked_bytes);
	s->worker = SIM_NONE;
	s->booked_bytes = 0;
}

static void end(struct sim_world *w, struct sim_agent *a, struct sim_session *s, bool failed)
{
	leave_worker(w, s);
	a->n_sessions--;
	if (failed) {
		a->failed++;
		w->stats.failed++;
	} else {
		a->done++;
		w->stats.done++;
		judge(w, s);
	}
	s->phase = SIM_UNUSED;
	s->life++;
	sim_session_admit(w, a);
}

/* Rows that the worker (or the agent alone) needs before the next token. */
static void prompt(struct sim_world *w, struct sim_agent *a, struct sim_session *s)
{
	s->phase = SIM_PROMPT;
	s->replay = s->kv > 0;
	s->target = s->replay ? s->kv : s->prompt;
	s->to_compute = s->target;
	s->at_worker = 0;
	compute_chunk(w, a, s);
}

static uint64_t tail_bytes(const struct sim_world *w, const struct sim_session *s, uint32_t split)
{
	return (uint64_t)((w->conf.model.layers - split) * sim_kv_bytes(w, s->by.kv) *
			  s->by.context_tokens);
}

/* OPEN, and what comes back. */
static void open_session(struct sim_world *w, struct sim_agent *a, struct sim_session *s)
{
	struct sim_worker *k = sim_worker_pick(w, s->by.worker);
	struct sim_trip up, down;

	s->phase = SIM_OPENING;
	s->booked_bytes = tail_bytes(w, s, s->by.split);
	if (!k || sim_worker_book(k, s->booked_bytes)) {
		w->stats.worker_misses += k && k->index == s->by.worker;
		s->by.worker = SIM_NONE; /* another one may have room */
		s->calm = false;
		a->retries++;
		if (w->now_us > s->answered_us + 1000000u * (uint64_t)PATIENCE_S)
			end(w, a, s, true);
		else
			at(w, w->now_us + RETRY_US, SIM_OPEN, a, s, 0);
		return;
	}
	s->worker = k->index;
	s->worker_life = k->life;
	up = sim_link_send(&a->link, SIM_UP, SIM_OPEN_BYTES, w->now_us);
	down = sim_link_send(&a->link, SIM_DOWN, SIM_ACCEPT_BYTES, up.arrive_us);
	at(w, down.arrive_us, SIM_OPENED, a, s, 0);
}

static void begin(struct sim_world *w, struct sim_agent *a, struct sim_session *s)
{
	uint32_t life = s->life, context = a->by.context_tokens, prompt_tokens, answer;

	prompt_tokens = (uint32_t)sim_draw(&a->rng, &w->conf.session.prompt_tokens);
	answer = (uint32_t)sim_draw(&a->rng, &w->conf.session.answer_tokens);
	if (prompt_tokens >= context)
		prompt_tokens = context - 1;
	if (answer > context - prompt_tokens) {
		answer = context - prompt_tokens;
		w->stats.cut++;
	}
	*s = (struct sim_session){ .life = life,
				   .by = a->by,
				   .prompt = prompt_tokens,
				   .answer = answer,
				   .next_split = SIM_NONE,
				   .worker = SIM_NONE,
				   .begun_us = w->now_us,
				   .answered_us = w->now_us,
				   .calm = true,
				   .one_split = true };
	a->n_sessions++;
	if (layers_at_worker(w, s))
		open_session(w, a, s);
	else
		prompt(w, a, s);
}

void sim_session_admit(struct sim_world *w, struct sim_agent *a)
{
	while (a->n_waiting && a->by.number && a->n_sessions < a->max_sessions &&
	       sim_agent_bytes(w, &a->by, a->n_sessions + 1) <= (double)a->budget_bytes) {
		struct sim_session *s = a->sessions;

		while (s->phase != SIM_UNUSED)
			s++;
		a->n_waiting--;
		begin(w, a, s);
	}
}

/* ---- handovers ---- */

/* The place in the log is kept; other layers, or another worker, from there. */
static void reopen(struct sim_world *w, struct sim_agent *a, struct sim_session *s)
{
	leave_worker(w, s);
	s->life++;
	s->next_split = SIM_NONE;
	s->calm = false;
	s->answered_us = w->now_us;
	open_session(w, a, s);
}

/* us until the layers between are where they shall be: computed again here, or sent there. */
static uint64_t handover_us(const struct sim_world *w, struct sim_agent *a,
			    const struct sim_session *s, uint32_t split)
{
	double row_ms = a->row_ms * a->heat * front_share(w, s->by.front), ms;

	if (split > s->by.split)
		ms = (split - s->by.split) * s->kv * row_ms;
	else
		ms = s->kv * w->conf.model.dim * s->by.bits /
		     sim_link_kbit_s(&a->link, SIM_UP, w->now_us);
	return (uint64_t)(1000 * FILL * ms);
}

void sim_session_decide(struct sim_world *w, struct sim_agent *a, struct sim_session *s)
{
	const bool stays = a->by.stays && s->by.split != a->by.split && s->next_split == SIM_NONE;

	s->by.bits = stays ? a->by.stay_bits : a->by.bits;
	if (stays)
		return;
	if (s->phase != SIM_DECODE || s->next_split != SIM_NONE || s->by.split == a->by.split)
		return;
	s->next_split = a->by.split;
	s->one_split = s->calm = false;
	at(w, w->now_us + handover_us(w, a, s, s->next_split), SIM_SWITCHED, a, s, 0);
}

static void switched(struct sim_world *w, struct sim_agent *a, struct sim_session *s)
{
	uint32_t split = s->next_split;
	uint64_t bytes = tail_bytes(w, s, split);

	s->next_split = SIM_NONE;
	if (s->worker == SIM_NONE) {
		s->by.split = split;
		s->by.worker = a->by.worker;
		reopen(w, a, s);
	} else if (split == w->conf.model.layers) {
		leave_worker(w, s);
		s->life++; /* what is under way there is not waited for */
		s->by.split = split;
		compute_token(w, a, s);
	} else if (sim_worker_rebook(&w->workers[s->worker], s->booked_bytes, bytes)) {
		w->stats.worker_misses++;
		return;
	} else {
		s->booked_bytes = bytes;
		s->by.split = split;
	}
	w->stats.handovers++;
}

/* ---- tokens ---- */

static void token(struct sim_world *w, struct sim_agent *a, struct sim_session *s)
{
	double ms = (double)(w->now_us - s->answered_us) / 1000;

	if (s->phase == SIM_DECODE) {
		s->token_ms += ms;
		s->timed++;
		s->kv++;
		sim_window_add(&a->token, ms, w->now_us);
	} else {
		s->kv = s->target;
		s->phase = SIM_DECODE;
	}
	if (!s->tokens)
		judge_first(w, s);
	s->answered_us = w->now_us;
	s->tokens++;
	a->tokens++;
	w->stats.tokens++;
	if (s->tokens >= s->answer)
		end(w, a, s, false);
	else
		compute_token(w, a, s);
}

static void send_rows(struct sim_world *w, struct sim_agent *a, struct sim_session *s,
		      uint32_t rows)
{
	double bits = rows * w->conf.model.dim * s->by.bits * noise(w, a);
	double bytes = SIM_FRAME_BYTES + bits / 8;
	struct sim_trip t;

	t = sim_link_send(&a->link, SIM_UP, bytes + SIM_PACKET_BYTES, w->now_us);
	s->trip.clear = meter_sent(a->meter, (uint32_t)bytes, w->now_us);
	s->trip.sends = a->meter->sends;
	s->trip.sent_us = w->now_us;
	s->trip.up_bytes = (uint32_t)bytes;
	a->rows += rows;
	a->bytes_up += (uint64_t)bytes;
	sim_add(w, &(struct sim_event){ .at_us = t.arrive_us,
					.kind = SIM_W_ROWS,
					.who = s->worker,
					.from = a->index,
					.what = place_of(a, s),
					.life = s->life,
					.rows = rows });
}

static void computed(struct sim_world *w, struct sim_agent *a, struct sim_session *s,
		     const struct sim_event *ev)
{
	if (layers_at_worker(w, s))
		send_rows(w, a, s, ev->rows);
	if (s->phase == SIM_PROMPT && s->to_compute)
		compute_chunk(w, a, s);
	else if (!layers_at_worker(w, s))
		token(w, a, s);
}

void sim_session_answer(struct sim_world *w, const struct sim_rows *r)
{
	struct sim_agent *a = &w->agents[r->agent];
	struct sim_session *s = &a->sessions[r->session];
	struct sim_trip t;

	if (s->life != r->life || (s->phase != SIM_PROMPT && s->phase != SIM_DECODE))
		return;
	s->at_worker += r->rows;
	if (s->phase == SIM_PROMPT && s->at_worker < s->target)
		return;
	t = sim_link_send(&a->link, SIM_DOWN, SIM_ANSWER_BYTES + SIM_PACKET_BYTES, w->now_us);
	s->trip.worker_us = w->now_us - r->since_us;
	a->bytes_down += (uint64_t)SIM_ANSWER_BYTES;
	at(w, t.arrive_us, SIM_ANSWERED, a, s, 0);
}

static void answered(struct sim_world *w, struct sim_agent *a, struct sim_session *s)
{
	uint64_t us = w->now_us - s->trip.sent_us - s->trip.worker_us;

	meter_answered(a->meter, s->trip.sends, w->now_us);
	if (s->trip.clear)
		meter_trip(a->meter, &(struct meter_trip){ .at_us = w->now_us,
							   .up_bytes = (float)s->trip.up_bytes,
							   .down_bytes = (float)SIM_ANSWER_BYTES,
							   .ms = (float)us / 1000 });
	if (a->meter->unsure)
		sim_agent_probe(w, a);
	sim_agent_heard(w, a);
	token(w, a, s);
}

void sim_session_event(struct sim_world *w, struct sim_agent *a, const struct sim_event *ev)
{
	struct sim_session *s = &a->sessions[ev->what];

	if (s->phase == SIM_UNUSED || s->life != ev->life)
		return; /* of an earlier session, or from a worker that it left */
	switch ((enum sim_kind)ev->kind) {
	case SIM_OPENED:
		prompt(w, a, s);
		break;
	case SIM_OPEN:
		open_session(w, a, s);
		break;
	case SIM_COMPUTED:
		computed(w, a, s, ev);
		break;
	case SIM_ANSWERED:
		answered(w, a, s);
		break;
	case SIM_LOST:
		w->stats.moved++;
		reopen(w, a, s);
		break;
	case SIM_SWITCHED:
		switched(w, a, s);
		break;
	default:
		break;
	}
}
