#include "coordinator/plan_cost.h"

#include <math.h>

#include "coordinator/plan_prefill.h"

static double transfer_ms(double bytes, double kbit_s)
{
	return kbit_s > 0 ? bytes * 8 / kbit_s : 0;
}

static double row_bytes(const struct plan_input *in, const float *bits, uint32_t level,
			uint32_t split)
{
	const struct plan_accuracy *a = in->accuracy;

	return (double)bits[(size_t)level * (a->n_layers + 1) + split] * in->agent->dim / 8;
}

bool plan_cost_known(const struct plan_input *in, uint32_t split, uint32_t front)
{
	const struct plan_speed *s = &in->agent->speeds[front];

	if (split && !(s->layer_token_ms > 0))
		return false;
	if (split == in->agent->n_layers)
		return s->head_ms > 0;
	return in->link->rtt_ms > 0 && in->worker->n_batches;
}

double plan_cost_prompt_at(const struct plan_input *in)
{
	return in->policy->prompt_tokens / 2.0;
}

double plan_cost_token_at(const struct plan_input *in)
{
	const struct plan_present *p = in->present;
	double tokens = 0, sum = 0;

	for (uint32_t i = 0; i < p->n_sessions; i++) {
		const double left = p->sessions[i].tokens_left;

		tokens += left;
		sum += left * (p->sessions[i].kv_tokens + left / 2);
	}
	return tokens > 0 ? sum / tokens
			  : in->policy->prompt_tokens + in->policy->answer_tokens / 2.0;
}

/* What `rows` rows of a layer take at another position than where they took ms. A slope that does
 * not fit the time must not leave nothing of it. */
static double deeper(double ms, double rows, const struct plan_depth *d, double at)
{
	return fmax(ms / 4, ms + rows * d->deeper_ms * (at - d->at));
}

/* Rows of a worker's step: all of them, and how many are ours and at this position. */
struct step {
	double rows, own, at;
};

static double batch_ms(const struct plan_batch *b, const struct step *s, bool head)
{
	return head ? b->head_ms
		    : deeper(b->layer_ms, b->rows * s->own / s->rows, &b->depth, s->at);
}

/* ms of the layer or of the head. */
static double step_ms(const struct plan_worker *w, const struct step *s, bool head)
{
	const double rows = s->rows;
	const struct plan_batch *b = w->batches;
	uint32_t i = 0;
	double share, low, high;

	while (i < w->n_batches && b[i].rows < rows)
		i++;
	if (!i || i == w->n_batches) {
		const struct plan_batch *end = &b[i ? i - 1 : 0];
		double ms = batch_ms(end, s, head);

		return i ? ms * rows / end->rows : ms;
	}
	share = (rows - b[i - 1].rows) / (b[i].rows - b[i - 1].rows);
	low = batch_ms(&b[i - 1], s, head);
	high = batch_ms(&b[i], s, head);
	return low + share * (high - low);
}

double plan_cost_layer_ms(const struct plan_worker *w, double rows, double own, double at)
{
	return step_ms(w, &(struct step){ rows, own, at }, false);
}

double plan_cost_head_ms(const struct plan_worker *w, double rows)
{
	return step_ms(w, &(struct step){ .rows = rows }, true);
}

/* One layer of the agent for one decode row. */
static double token_ms(const struct plan_speed *s, bool local, double at)
{
	return local ? deeper(s->local_layer_ms, 1, &s->local_depth, at)
		     : deeper(s->layer_token_ms, 1, &s->token_depth, at);
}

/* ... per row of a full chunk. */
static double row_ms(const struct plan_speed *s, bool local, double at)
{
	return s->layer_row_ms > 0 ? deeper(s->layer_row_ms, 1, &s->row_depth, at)
				   : token_ms(s, local, at);
}

/* ... over a chunk: a line from one row to a full chunk. */
static double chunk_ms(const struct plan_speed *s, bool local, double at, uint32_t rows,
		       uint32_t full)
{
	double one_ms = token_ms(s, local, at);
	double row = row_ms(s, local, at);
	double more = full > 1 ? (row * full - one_ms) / (full - 1) : row;

	return one_ms + (more > 0 ? more : 0) * (rows - 1);
}

static double agent_ms(const struct plan_input *in, uint32_t split, uint32_t front, uint32_t level,
		       uint32_t rows)
{
	const struct plan_speed *s = &in->agent->speeds[front];
	const uint32_t full = in->accuracy->levels[level].chunk_rows;
	const bool local = split == in->agent->n_layers;

	return (local ? s->local_ms : s->embed_ms + rows * s->encode_ms) +
	       split * chunk_ms(s, local, plan_cost_prompt_at(in), rows, full);
}

static struct plan_chunk chunk_of(const struct plan_input *in, uint32_t split, uint32_t front,
				  uint32_t level, uint32_t rows)
{
	return (struct plan_chunk){
		.rows = rows,
		.agent_ms = agent_ms(in, split, front, level, rows),
		.link_ms =
			transfer_ms(rows * row_bytes(in, in->accuracy->prompt_bits, level, split) +
					    in->link->up_payload + in->link->up_packet,
				    in->link->up_kbit_s),
	};
}

/* Time from a prompt until all its rows have passed; opened_ms: until the link takes them. */
static double prefill_ms(const struct plan_input *in, uint32_t split, uint32_t front,
			 uint32_t level, double opened_ms)
{
	const uint32_t n = in->policy->prompt_tokens;
	const uint32_t rows = in->accuracy->levels[level].chunk_rows;
	struct plan_prefill p = { .full = n / rows,
				  .open_ms = fmax(0, opened_ms - in->agent->begin_ms),
				  .worker = in->worker,
				  .layers = in->agent->n_layers - split,
				  .of_layers = in->agent->n_layers,
				  .at = plan_cost_prompt_at(in) };

	p.chunk = chunk_of(in, split, front, level, rows);
	if (n % rows)
		p.rest = chunk_of(in, split, front, level, n % rows);
	return in->agent->begin_ms + plan_prefill_ms(&p);
}

static double local_prefill_ms(const struct plan_input *in, uint32_t front, uint32_t level)
{
	const uint32_t n = in->policy->prompt_tokens, l = in->agent->n_layers;
	const uint32_t rows = in->accuracy->levels[level].chunk_rows;
	const double rest = n % rows ? agent_ms(in, l, front, level, n % rows) : 0;

	return in->agent->begin_ms + n / rows * agent_ms(in, l, front, level, rows) + rest;
}

static void time_local(const struct plan_input *in, uint32_t front, uint32_t level,
		       struct plan_timing *t)
{
	const struct plan_speed *s = &in->agent->speeds[front];
	const uint32_t l = in->agent->n_layers;

	*t = (struct plan_timing){ .token_ms = s->local_ms + s->head_ms +
					       l * token_ms(s, true, plan_cost_token_at(in)),
				   .ttft_ms = local_prefill_ms(in, front, level) + s->head_ms };
}

static double answer_ms(const struct plan_input *in)
{
	return transfer_ms((double)in->link->down_payload + in->link->down_packet,
			   in->link->down_kbit_s);
}

static double opened_ms(const struct plan_link *l)
{
	return l->open_ms + l->rtt_ms + transfer_ms(l->open_bytes, l->up_kbit_s) +
	       transfer_ms(l->accept_bytes, l->down_kbit_s);
}

static double session_bytes(const struct plan_input *in, uint32_t split, uint32_t level,
			    const struct plan_timing *t)
{
	const uint32_t n = in->policy->prompt_tokens,
		       chunk = in->accuracy->levels[level].chunk_rows;

	return n * row_bytes(in, in->accuracy->prompt_bits, level, split) +
	       (double)((n + chunk - 1) / chunk) * in->link->up_payload +
	       (in->policy->answer_tokens - 1) * t->up_bytes +
	       in->policy->answer_tokens * t->down_bytes;
}

static void time_split(const struct plan_input *in, uint32_t split, uint32_t front, uint32_t level,
		       struct plan_timing *t)
{
	const struct plan_speed *s = &in->agent->speeds[front];
	const struct plan_worker *w = in->worker;
	const double at = plan_cost_token_at(in);
	double tail, back;

	tail = (in->agent->n_layers - split) * plan_cost_layer_ms(w, w->batch_rows, 1, at) +
	       plan_cost_head_ms(w, w->batch_rows);
	back = in->link->rtt_ms + w->queue_ms + answer_ms(in);
	t->up_bytes = row_bytes(in, in->accuracy->row_bits, level, split) + in->link->up_payload;
	t->down_bytes = in->link->down_payload;
	t->token_ms = s->embed_ms + split * token_ms(s, false, at) + s->encode_ms +
		      transfer_ms(t->up_bytes + in->link->up_packet, in->link->up_kbit_s) + tail +
		      back;
	t->ttft_ms = prefill_ms(in, split, front, level, opened_ms(in->link)) +
		     plan_cost_head_ms(w, 1) + back; /* only the last row has an answer */
	t->session_bytes = session_bytes(in, split, level, t);
	t->worker_ms = tail / w->batch_rows;
}

/* Sums that differ in the order of their terms only shall be equal: then other figures decide. */
static double whole_ns(double ms)
{
	return round(ms * 1e6) / 1e6;
}

void plan_cost_timing(const struct plan_input *in, uint32_t split, uint32_t front, uint32_t level,
		      struct plan_timing *t)
{
	if (split == in->agent->n_layers)
		time_local(in, front, level, t);
	else
		time_split(in, split, front, level, t);
	t->token_ms = whole_ns(t->token_ms);
	t->ttft_ms = whole_ns(t->ttft_ms);
}

/* At l = 0 an agent still has the layer by which it measured itself, if it had room for one. */
static uint64_t rehearsed_bytes(const struct plan_agent *a, const struct plan_choice *c,
				uint64_t bytes)
{
	const struct plan_front *f = &a->fronts[c->front];
	uint64_t layer = !c->split && f->n_layers ? f->weight_bytes[1] : 0;

	return bytes + layer <= a->budget_bytes ? layer : 0;
}

uint64_t plan_cost_edge_bytes(const struct plan_input *in, const struct plan_choice *c)
{
	const struct plan_agent *a = in->agent;
	const struct plan_front *f = &a->fronts[c->front];
	const bool local = c->split == a->n_layers;
	uint64_t position = a->kv_bytes[c->kv] * c->split + (local ? 0 : a->token_bytes);
	uint64_t session = a->session_bytes + position * c->context_tokens;
	uint64_t bytes = a->base_bytes + f->embed_bytes + f->weight_bytes[c->split];

	if (local)
		bytes += f->head_bytes;
	else if (in->accuracy->codec_bytes)
		bytes += in->accuracy->codec_bytes[c->split];
	bytes += session * in->policy->sessions;
	return bytes + rehearsed_bytes(a, c, bytes);
}

uint64_t plan_cost_worker_bytes(const struct plan_input *in, const struct plan_choice *c)
{
	return in->worker->kv_bytes[c->kv] * (in->agent->n_layers - c->split) * c->context_tokens *
	       in->policy->sessions;
}

double plan_cost_loss(const struct plan_input *in, const struct plan_choice *c)
{
	const struct plan_accuracy *a = in->accuracy;
	size_t i = ((size_t)c->front * KV_TYPE_COUNT + c->kv) * a->n_levels + c->level;

	return (double)a->loss[i * (a->n_layers + 1) + c->split];
}

/* What moving one position of a session takes, which is at `at` in the mean. */
struct move {
	double at;
	double agent_ms, link_ms, worker_ms, bytes;
};

static void move_up(const struct plan_input *in, const struct plan_choice *to, uint32_t layers,
		    struct move *m)
{
	const struct plan_speed *s = &in->agent->speeds[to->front];

	m->agent_ms += layers * row_ms(s, false, m->at);
}

/* The worker runs layers it has no cache of, over rows that are sent again; or it is sent the
 * agent's cache of them. */
static void move_down(const struct plan_input *in, const struct plan_choice *to, uint32_t layers,
		      bool may_send_kv, struct move *m)
{
	const uint32_t chunk = in->accuracy->levels[to->level].chunk_rows;
	double rows = row_bytes(in, in->accuracy->prompt_bits, to->level, to->split);
	double worker =
		in->worker->n_batches
			? layers * plan_cost_layer_ms(in->worker, chunk, chunk, m->at) / chunk
			: 0;
	double kv = (double)in->agent->kv_bytes[to->kv] * layers;
	bool send_kv = may_send_kv && transfer_ms(kv, in->link->up_kbit_s) <
					      transfer_ms(rows, in->link->up_kbit_s) + worker;

	m->bytes += send_kv ? kv : rows;
	m->link_ms += transfer_ms(send_kv ? kv : rows, in->link->up_kbit_s);
	m->worker_ms += send_kv ? 0 : worker;
}

static struct move move_of(const struct plan_input *in, const struct plan_choice *from,
			   const struct plan_choice *to, double at)
{
	const uint32_t l = in->agent->n_layers;
	struct move m = { .at = at };

	if (to->split > from->split)
		move_up(in, to, to->split - from->split, &m);
	if (to->split == l)
		return m;
	if (from->split < l && !in->present->same_worker)
		move_down(in, to, l - to->split, false, &m); /* the log, replayed */
	else if (to->split < from->split)
		move_down(in, to, from->split - to->split, true, &m);
	return m;
}

double plan_cost_handover(const struct plan_input *in, const struct plan_choice *from,
			  const struct plan_choice *to, uint32_t positions)
{
	const struct move m = move_of(in, from, to, positions / 2.0);

	switch (in->policy->objective) {
	case PLAN_LATENCY:
		return positions * (m.agent_ms + m.link_ms + m.worker_ms);
	case PLAN_WORKER:
		return positions * m.worker_ms;
	case PLAN_BYTES:
		return positions * m.bytes;
	default:
		return 0;
	}
}
