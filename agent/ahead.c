#include "agent/ahead.h"

#include <stdlib.h>
#include <string.h>

#include "agent/odds.h"
#include "base/clock.h"
#include "base/trace.h"
#include "codec/chunk.h"
#include "engine/kv.h"
#include "engine/kv_layers.h"

int ahead_init(struct ahead *a, float *x, size_t dim, struct codec_work *work)
{
	const struct codec_spec plain = { .plain = PLAIN_F32 };

	*a = (struct ahead){ .x = x, .work = work, .cap = chunk_row_room(&plain, (uint32_t)dim) };
	pthread_mutex_init(&a->lock, NULL);
	pthread_mutex_init(&a->more.lock, NULL);
	a->bytes = malloc(a->cap);
	return a->bytes ? 0 : ERR_NOMEM;
}

void ahead_destroy(struct ahead *a)
{
	pthread_mutex_destroy(&a->lock);
	pthread_mutex_destroy(&a->more.lock);
	free(a->bytes);
}

static uint32_t *id_at(struct ahead *a, uint32_t pos)
{
	return &a->ids[pos % HEAD_GUESSES];
}

/* A row that has begun keeps its token; it does not go out on what is said of another one. */
static void put_guesses(struct ahead *a, uint32_t pos, const struct head_guesses *g)
{
	bool other = false;

	for (uint32_t i = 0; i < g->n; i++) {
		if (pos + i > a->pos || (pos + i == a->pos && !a->layer))
			*id_at(a, pos + i) = g->ids[i];
		else if (pos + i == a->pos)
			other = *id_at(a, a->pos) != g->ids[i];
	}
	a->until = pos + g->n;
	a->send_until = other ? a->pos : pos + g->n_send;
}

/* ---- guesses of the lens -------------------------------------------------------------------- */

void ahead_use_lens(struct ahead *a, struct lens *lens)
{
	pthread_mutex_lock(&a->lock);
	a->lens = lens;
	pthread_mutex_unlock(&a->lock);
}

/* The row that is guessed now goes out if all that it follows on, and it, are likely enough. */
static void judge(struct ahead *a)
{
	double p = 1;

	for (uint32_t at = a->terms.known; at <= a->pos; at++)
		p *= a->p[at % HEAD_GUESSES];
	a->send_until = a->pos;
	if (a->pos - a->terms.known < a->terms.most &&
	    odds_are_good(p, (double)a->terms.wait_us, (double)a->terms.vain_us))
		a->send_until++;
}

static void ask(struct ahead *a)
{
	a->asks = false;
	if (!lens_guess(a->lens, a->slot, a->pos - 1, id_at(a, a->pos),
			&a->p[a->pos % HEAD_GUESSES]))
		return;
	a->until = a->pos + 1;
	judge(a);
}

/* The next row may be guessed. */
static void ask_next(struct ahead *a)
{
	a->asks = a->by_lens && a->pos < a->terms.end && a->pos - a->terms.known < HEAD_GUESSES;
	if (a->by_lens)
		a->until = a->send_until = a->pos;
}

/* More tokens are known: those of drafts that were right. */
static void know(struct ahead *a, const struct head_guesses *g)
{
	for (uint32_t at = a->terms.known; at < g->known && at < a->pos; at++)
		lens_told(a->lens, a->slot, at - 1, *id_at(a, at));
	a->terms = *g;
	if (!a->asks && a->pos < a->until && !a->ready)
		judge(a);
}

/* x: the newest row of job. */
static void look(struct ahead *a, const struct head_job *job, const float *x)
{
	const struct head_guesses *g = &job->guesses;
	const uint32_t rival = g->n ? g->ids[0] : LENS_NO_RIVAL;
	const uint32_t pos = job->pos + job->rows - 1;

	a->by_lens = false;
	if (!a->lens || !g->wanted || job->rc)
		return;
	if (job->rows == 1)
		lens_told(a->lens, job->slot, pos - 1, job->ids[0]);
	lens_keep(a->lens, job->slot, a->last, pos, x, &rival);
	a->by_lens = lens_is_better(a->lens);
	a->terms = *g;
}

/* --------------------------------------------------------------------------------------------- */

void ahead_begin(struct ahead *a, const struct segment *seg, const struct head_job *job)
{
	pthread_mutex_lock(&a->more.lock);
	a->more.any = false; /* of rows before these */
	pthread_mutex_unlock(&a->more.lock);
	pthread_mutex_lock(&a->lock);
	a->last = kv_layers_last(job->kv);
	look(a, job, seg->x + (job->rows - 1) * (size_t)seg->hp.dim);
	a->on = (job->guesses.n || a->by_lens) && !job->rc;
	a->foresees = !a->on && job->guesses.wanted && !job->rc;
	a->seg = seg;
	a->kv = job->kv;
	a->state = job->state;
	a->codec = job->codec;
	a->slot = job->slot;
	a->pos = job->pos + job->rows;
	a->layer = a->took_us = 0;
	a->ready = a->asks = false;
	put_guesses(a, a->pos, &job->guesses);
	ask_next(a);
	pthread_mutex_unlock(&a->lock);
}

void ahead_more(struct ahead *a, const struct kv *kv, uint32_t pos, const struct head_guesses *g)
{
	pthread_mutex_lock(&a->more.lock);
	a->more.any = true;
	a->more.kv = kv;
	a->more.pos = pos;
	a->more.guesses = *g;
	pthread_mutex_unlock(&a->more.lock);
}

/* Those of rows before it say nothing new. */
static void take_more(struct ahead *a)
{
	pthread_mutex_lock(&a->more.lock);
	if (a->more.any && a->on && a->more.kv == a->kv && a->by_lens)
		know(a, &a->more.guesses);
	else if (a->more.any && a->on && a->more.kv == a->kv && a->more.pos <= a->pos &&
		 a->more.pos + a->more.guesses.n > a->pos)
		put_guesses(a, a->more.pos, &a->more.guesses);
	a->more.any = false;
	pthread_mutex_unlock(&a->more.lock);
}

/* It has to be guessed, has layers to run, or is to be encoded. */
static bool goes_on(const struct ahead *a)
{
	if (!a->on || a->ready || a->offered)
		return false;
	return a->asks || (a->pos < a->until && (a->layer < a->last || a->pos < a->send_until));
}

bool ahead_wants(struct ahead *a)
{
	bool wants;

	pthread_mutex_lock(&a->lock);
	take_more(a);
	wants = (a->on && a->ready && !a->offered) || goes_on(a) || a->foresees ||
		(a->lens && lens_wants(a->lens));
	pthread_mutex_unlock(&a->lock);
	return wants;
}

bool ahead_offer(struct ahead *a)
{
	bool ready;

	pthread_mutex_lock(&a->lock);
	ready = a->on && a->ready && !a->offered;
	a->offered |= ready;
	pthread_mutex_unlock(&a->lock);
	return ready;
}

void ahead_go_on(struct ahead *a)
{
	pthread_mutex_lock(&a->lock);
	a->offered = false;
	pthread_mutex_unlock(&a->lock);
}

static int run_layer(struct ahead *a)
{
	const struct model_part part = {
		.kv = a->kv, .x = a->x, .rows = 1, .from = a->layer, .until = a->layer + 1
	};
	uint64_t begun_us, end_us;
	int rc = a->layer ? 0 : model_embed(a->seg->model, id_at(a, a->pos), 1, a->x);

	if (rc)
		return rc;
	if (!a->layer)
		codec_state_foresee(a->state);
	begun_us = clock_now_us();
	rc = model_step(a->seg->model, &part, 1);
	end_us = clock_now_us();
	a->took_us += (uint32_t)(end_us - begun_us);
	trace_span("ahead", begun_us, end_us, a->pos);
	return rc;
}

static bool encode(struct ahead *a)
{
	struct head_job job = {
		.pos = a->pos,
		.rows = 1,
		.ids = id_at(a, a->pos),
		.codec = a->codec,
		.tell_ids = true,
		.draft = true,
		.state = a->state,
		.bytes = a->bytes,
		.cap = a->cap,
	};
	const uint64_t begun_us = trace_now_us();

	if (head_encode(&job, a->work, a->x))
		return false;
	a->draft = (struct head_draft){
		.slot = a->slot,
		.pos = job.pos,
		.id = *job.ids,
		.bytes = job.bytes,
		.len = job.len,
		.codec_id = job.codec_id,
		.state_hash = job.state_hash,
	};
	a->ready = true;
	trace_span("draft", begun_us, trace_now_us(), a->pos);
	return true;
}

void ahead_step(struct ahead *a)
{
	pthread_mutex_lock(&a->lock);
	if (a->foresees) {
		codec_state_foresee(a->state);
		a->foresees = false;
	} else if (!goes_on(a)) {
		if (a->lens)
			lens_learn(a->lens);
	} else if (a->asks) {
		ask(a);
	} else if (a->layer < a->last) {
		a->on = kv_length(a->kv) == a->pos && !run_layer(a);
		if (++a->layer == a->last && a->on && a->by_lens)
			lens_keep(a->lens, a->slot, a->last, a->pos, a->x, NULL);
	} else {
		a->on = encode(a);
	}
	pthread_mutex_unlock(&a->lock);
}

bool ahead_take_draft(struct ahead *a, struct head_draft *draft)
{
	bool any;

	pthread_mutex_lock(&a->lock);
	any = a->on && a->ready;
	if (any) {
		*draft = a->draft;
		a->ready = false;
		a->pos++;
		a->layer = a->took_us = 0;
		ask_next(a);
	}
	pthread_mutex_unlock(&a->lock);
	return any;
}

void ahead_drop(struct ahead *a)
{
	pthread_mutex_lock(&a->lock);
	a->on = a->foresees = false;
	pthread_mutex_unlock(&a->lock);
}

/* Nothing else has changed the cache. */
static bool is_for(struct ahead *a, const struct segment *seg, const struct head_job *job)
{
	return a->on && a->seg == seg && a->kv == job->kv && a->pos == job->pos &&
	       a->pos < a->until && job->rows == 1 && *id_at(a, a->pos) == job->ids[0] &&
	       !job->kept && !job->kept_rows && kv_length(a->kv) == a->pos + (a->layer == a->last);
}

uint32_t ahead_take(struct ahead *a, const struct segment *seg, struct head_job *job, float *x)
{
	uint32_t n = 0;

	pthread_mutex_lock(&a->lock);
	if (is_for(a, seg, job))
		n = a->layer;
	a->on = a->foresees = false;
	job->ahead_us = n ? a->took_us : 0;
	if (n)
		memcpy(x, a->x, seg->hp.dim * sizeof(*x));
	pthread_mutex_unlock(&a->lock);
	return n;
}
