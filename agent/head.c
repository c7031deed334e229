#include "agent/head.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "agent/ahead.h"
#include "agent/piece.h"
#include "agent/share.h"
#include "base/clock.h"
#include "base/trace.h"
#include "engine/kv_layers.h"

struct head {
	struct segment seg;
	struct segment *fronts[MSG_FRONTS_MAX]; /* lent; of the loop thread, and of jobs */
	struct codec_work *work;
	struct queue *jobs;
	struct due due; /* compute thread: when the next job comes */
	uint32_t spin_us;
	head_done *done;
	void *ctx;
	pthread_t thread;
	bool running;
	size_t max_rows;        /* of a job; side jobs have the rest of seg.x */
	struct head_job *sides; /* oldest first; compute thread, like what follows */
	struct piece piece;     /* the first of them */
	struct head_job *ahead; /* was looked at, and is the next one; or NULL */
	struct share share;
	struct ahead guess;
	struct lens *lens; /* of guess; or NULL */
	head_drafted *drafted;
	struct head_job nudge; /* no job: there are new guesses */
	atomic_bool nudged;    /* it is in the queue */
	uint64_t idle_us;      /* since when the next job is waited for */
};

static struct segment *segment_of(struct head *h, const struct head_job *job)
{
	return job->front ? h->fronts[job->front] : &h->seg;
}

/* Where the job's rows are kept; NULL: they are not, or the ring would end among them. */
static float *place_kept(const struct segment *seg, const struct head_job *job)
{
	const uint32_t at = job->pos % HEAD_KEPT;

	if (!job->kept || job->kept_rows || job->rows > HEAD_KEPT - at)
		return NULL;
	return job->kept->x + at * (size_t)seg->hp.dim;
}

/* Of the job's rows, the first ones that need not run: their keys and values are there. */
static uint32_t kept_rows(const struct head_job *job)
{
	const uint32_t n = job->kept_rows;

	if (!n || kv_length(job->kv) < job->pos + n ||
	    !piece_has_kept(job->kept, job->keep_at, job->pos, n))
		return 0;
	return n;
}

/* They go before the others. */
static void put_kept(struct segment *seg, const struct head_job *job, uint32_t n)
{
	const size_t d = seg->hp.dim;

	if (!n)
		return;
	memmove(seg->x + n * d, seg->x, (job->rows - n) * d * sizeof(*seg->x));
	piece_get_kept(job->kept, job->pos, n, seg->hp.dim, seg->x);
}

/* Of a row that is behind layers [0, from). */
static int run_rest(struct segment *seg, struct head_job *job, uint32_t from)
{
	const struct model_part part = { .kv = job->kv, .x = seg->x, .rows = 1, .from = from };
	int rc = from < kv_layers_last(job->kv) ? model_step(seg->model, &part, 1) : 0;

	return rc ? err_set(&job->err, rc, "layers at position %u: %s", job->pos, err_phrase(rc))
		  : 0;
}

static int run_layers(struct segment *seg, struct head_job *job, uint32_t n_ahead)
{
	const uint64_t begun_us = clock_now_us();
	const uint32_t n = kept_rows(job);
	int rc;

	job->embed_us = 0;
	if (n_ahead)
		return run_rest(seg, job, n_ahead);
	rc = model_embed(seg->model, job->ids + n, job->rows - n, seg->x);
	job->embed_us = (uint32_t)(clock_now_us() - begun_us);
	if (rc)
		return err_set(&job->err, rc, "a token id outside the vocabulary");
	rc = segment_forward(seg, job->kv, job->pos + n, job->rows - n, job->keep_at,
			     place_kept(seg, job), &job->err);
	if (!rc)
		put_kept(seg, job, n);
	return rc;
}

/* They are where place_kept said. */
static void keep(const struct segment *seg, const struct head_job *job)
{
	struct head_kept *k = job->kept;
	const uint32_t end = job->pos + job->rows;

	if (k->split != job->keep_at || k->to != job->pos)
		k->from = job->pos;
	if (!place_kept(seg, job))
		k->from = end;
	k->split = job->keep_at;
	k->to = end;
	if (end - k->from > HEAD_KEPT)
		k->from = end - HEAD_KEPT;
}

int head_encode(struct head_job *job, struct codec_work *work, const float *x)
{
	const struct codec_rows in = { x, job->tell_ids ? job->ids : NULL, job->rows };
	struct codec_bytes out = { .dst = job->bytes, .cap = job->cap };
	int rc;

	if (!job->pos)
		codec_state_reset(job->state);
	codec_state_return(job->state, job->pos); /* where a draft stood that was wrong */
	if (job->draft)
		codec_state_mark(job->state, job->pos);
	job->state_hash = codec_state_hash(job->state);
	rc = codec_encode(&job->codec, work, job->state, &in, &out, &job->err);
	job->len = out.len;
	job->codec_id = out.id;
	if (codec_needs(out.id) == CODEC_NOTHING)
		job->state_hash = 0;
	return rc;
}

static int sample(struct segment *seg, struct head_job *job)
{
	const uint64_t begun_us = clock_now_us();
	int rc = segment_sample(seg, &job->sampling, job->rows - 1, job->history, job->n_history,
				job->pos + job->rows, &job->id, &job->end, &job->err);

	job->head_us = (uint32_t)(clock_now_us() - begun_us);
	return rc;
}

static void run(struct head *h, struct head_job *job)
{
	struct segment *seg = segment_of(h, job);
	uint64_t t0 = clock_now_us(), t1;

	job->queue_us = (uint32_t)(t0 - job->queued_us);
	job->encode_us = job->head_us = 0;
	job->rc = run_layers(seg, job, ahead_take(&h->guess, seg, job, seg->x));
	if (!job->rc && job->kept && !job->kept_rows)
		keep(seg, job);
	if (!job->rc && job->sample)
		job->rc = sample(seg, job);
	t1 = clock_now_us();
	job->layers_us = (uint32_t)(t1 - t0);
	trace_span("head", t0, t1, job->pos);
	job->len = 0;
	if (job->rc || kv_layers_last(job->kv) == seg->hp.n_layers) /* nothing crosses */
		return;
	job->rc = head_encode(job, h->work, seg->x);
	job->encode_us = (uint32_t)(clock_now_us() - t1);
	trace_span("encode", t1, t1 + job->encode_us, job->pos);
}

/* ---- side jobs ------------------------------------------------------------------------------ */

static void add_side(struct head *h, struct head_job *job)
{
	struct head_job **last = &h->sides;

	ahead_drop(&h->guess); /* its row is where theirs will be */
	while (*last)
		last = &(*last)->next;
	*last = job;
	job->next = NULL;
	job->layers_us = job->encode_us = job->embed_us = job->head_us = job->step_us = 0;
	job->ran = false;
}

/* Returns how long it took. */
static int64_t step_side(struct head *h)
{
	const uint64_t begun_us = clock_now_us();
	struct head_job *job = h->sides;
	bool done;

	if (h->piece.job != job)
		h->piece = (struct piece){
			.job = job,
			.seg = segment_of(h, job),
			.x = h->seg.x + h->max_rows * h->seg.hp.dim,
		};
	done = piece_step(&h->piece, h->work);
	h->share.step_us = (int64_t)(clock_now_us() - begun_us);
	if (done) {
		h->sides = job->next;
		h->piece.job = NULL;
		h->done(h->ctx, job);
	}
	return (int64_t)(clock_now_us() - begun_us);
}

/* One that takes no time is not put off: somebody may wait for it. */
static void take_side(struct head *h, struct head_job *job)
{
	const bool alone = !h->sides;

	add_side(h, job);
	if (alone && piece_is_short(job))
		(void)step_side(h);
}

static void wake(struct head *h)
{
	atomic_store(&h->nudged, false);
}

/* One may wait behind the job that has just run, before the next. */
static bool has_side(struct head *h)
{
	if (h->sides || h->ahead)
		return h->sides;
	h->ahead = queue_pop(h->jobs, 0);
	if (h->ahead == &h->nudge) {
		wake(h);
		h->ahead = NULL;
	} else if (h->ahead && h->ahead->side) {
		take_side(h, h->ahead);
		h->ahead = NULL;
	}
	return h->sides;
}

/* Side jobs get their share of the time of one that has just run. */
static void give_share(struct head *h, int64_t took_us)
{
	share_owe(&h->share, took_us);
	while (has_side(h) && share_is_due(&h->share)) {
		share_had(&h->share, true, step_side(h));
		queue_yield();
	}
	if (!h->sides)
		share_forget(&h->share);
}

/* Layers run until a job comes, or there are none left. */
static struct head_job *run_ahead(struct head *h)
{
	struct head_job *job = NULL;

	while (!job && ahead_wants(&h->guess)) {
		queue_yield(); /* to the broker, if it waits for this processor */
		job = queue_pop(h->jobs, 0);
		if (!job && ahead_offer(&h->guess))
			h->drafted(h->ctx);
		else if (!job)
			ahead_step(&h->guess);
	}
	return job;
}

/* NULL: none now, where there are side jobs; else none will ever come. */
static struct head_job *next_job(struct head *h)
{
	struct head_job *job = h->ahead;

	h->ahead = NULL;
	if (job)
		return job;
	if (h->sides)
		return queue_pop(h->jobs, 0);
	job = run_ahead(h);
	return job ? job : queue_pop_due(h->jobs, &h->due, h->idle_us, h->spin_us);
}

/* False when no job will ever come. */
static bool serve(struct head *h)
{
	struct head_job *job = next_job(h);
	uint64_t begun_us;
	int64_t took_us;
	bool sent;

	if (job == &h->nudge) {
		wake(h);
	} else if (job && job->side) {
		take_side(h, job);
	} else if (job) {
		begun_us = clock_now_us();
		run(h, job);
		took_us = (int64_t)(clock_now_us() - begun_us);
		share_learn(&h->share, has_side(h), job->rows != 1, took_us);
		sent = !job->sample; /* the job is not ours any more behind this */
		ahead_begin(&h->guess, segment_of(h, job), job);
		h->idle_us = clock_now_us();
		h->done(h->ctx, job);
		if (sent && has_side(h))
			queue_yield(); /* to the broker, if it waits for this processor */
		give_share(h, took_us);
	} else if (h->sides) {
		share_had(&h->share, false, step_side(h));
		queue_yield(); /* nobody waits for it: a worker or a broker may have to run */
	} else {
		return false;
	}
	return true;
}

static void *compute(void *arg)
{
	trace_thread("compute");
	while (serve(arg))
		;
	return NULL;
}

int head_create(struct head **out, const struct segment_conf *conf, uint32_t spin_us,
		head_done *done, void *ctx, struct err *e)
{
	struct head *h = calloc(1, sizeof(*h));
	int rc;

	if (!h)
		return err_set(e, ERR_NOMEM, "front-end segment");
	h->spin_us = spin_us;
	h->done = done;
	h->ctx = ctx;
	h->max_rows = conf->max_rows;
	rc = segment_open(&h->seg, conf, e);
	if (!rc && codec_work_create(&h->work, h->seg.hp.dim, conf->max_rows))
		rc = err_set(e, ERR_NOMEM, "buffers of the codec");
	if (ahead_init(&h->guess, rc ? NULL : h->seg.x + h->max_rows * h->seg.hp.dim, h->seg.hp.dim,
		       h->work) &&
	    !rc)
		rc = err_set(e, ERR_NOMEM, "a draft");
	if (!rc && queue_create(&h->jobs, INBOX_JOBS))
		rc = err_set(e, ERR_NOMEM, "job queue");
	if (!rc && pthread_create(&h->thread, NULL, compute, h))
		rc = err_set(e, ERR_NOMEM, "compute thread");
	h->running = !rc;
	if (rc) {
		head_destroy(h);
		return rc;
	}
	*out = h;
	return 0;
}

void head_stop(struct head *h)
{
	if (!h || !h->running)
		return;
	queue_close(h->jobs);
	pthread_join(h->thread, NULL);
	h->running = false;
}

void head_destroy(struct head *h)
{
	if (!h)
		return;
	head_stop(h);
	queue_destroy(h->jobs, NULL);
	codec_work_destroy(h->work);
	segment_close(&h->seg);
	ahead_destroy(&h->guess);
	lens_destroy(h->lens);
	free(h);
}

struct segment *head_segment(struct head *h)
{
	return &h->seg;
}

void head_recall(struct head *h)
{
	ahead_drop(&h->guess);
}

void head_set_front(struct head *h, unsigned front, struct segment *seg)
{
	head_recall(h);
	h->fronts[front] = seg;
}

static int embed(void *ctx, uint32_t id, float *x)
{
	const struct head *h = ctx;

	return model_embed(h->seg.model, &id, 1, x);
}

int head_learn(struct head *h, struct err *e)
{
	const int rc = lens_create(&h->lens, h->seg.hp.dim, embed, h);

	if (rc)
		return err_set(e, rc, "guesses from rows");
	ahead_use_lens(&h->guess, h->lens);
	return 0;
}

void head_on_draft(struct head *h, head_drafted *drafted)
{
	h->drafted = drafted;
}

bool head_take_draft(struct head *h, struct head_draft *draft)
{
	return ahead_take_draft(&h->guess, draft);
}

/* The compute thread looks what there is to do; that itself, it does so anyway. */
static void nudge(struct head *h)
{
	if (pthread_equal(pthread_self(), h->thread))
		return;
	if (!atomic_exchange(&h->nudged, true) && !queue_push(h->jobs, &h->nudge))
		atomic_store(&h->nudged, false);
}

void head_go_on(struct head *h)
{
	ahead_go_on(&h->guess);
	nudge(h);
}

void head_guess(struct head *h, const struct head_job *job, uint32_t pos,
		const struct head_guesses *guesses)
{
	ahead_more(&h->guess, job->kv, pos, guesses);
	nudge(h);
}

bool head_submit(struct head *h, struct head_job *job)
{
	job->queued_us = clock_now_us();
	return queue_push(h->jobs, job);
}
