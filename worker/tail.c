#include "worker/tail.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/le.h"
#include "base/trace.h"
#include "engine/kv_layers.h"
#include "worker/runner.h"
#include "worker/warmup.h"

#define WAITS          256u /* kept, of jobs of late */
#define PREPARE_US     250  /* of weights between two steps */
#define TEMPO_RARE     8u   /* of so many steps one is learned from, once a pace is known */

#define ATTENTION_DEAR 2 /* a multiply-add of attention takes as long as so many of matrices */
#define FRAME_BYTES    (64u << 10)

struct tail {
	struct segment seg;
	struct sched *sched;
	uint32_t max_sessions;
	struct runner *runner;
	struct drafts_lane *lanes; /* [max_sessions] compute thread */
	struct sched_step step;
	struct queue *jobs;
	struct due due; /* compute thread: when the next job comes */
	uint32_t spin_us;
	struct sched_job *unready; /* oldest first: jobs whose weights are being prepared, and
				    * those behind; compute thread */
	tail_done *done;
	void *ctx;
	pthread_t thread;
	bool running;
	atomic_bool abandoned;
	atomic_uint_fast64_t steps, rows, given_back, queue_us;
	atomic_uint_least32_t waits_us[WAITS]; /* ring, at given_back */
	struct tempo tempo;                    /* compute thread */
	/* What the loop may know of it: nanoseconds; rows 0 behind the last one. */
	struct {
		atomic_uint_least32_t rows, layer_ns, head_ns, at, deeper_ns;
	} batches[MSG_BATCHES_MAX];
	atomic_uint_least32_t decode_ns;
};

/* Tokens at the head of the body -> ids; *len: their bytes. ids NULL: they are not known. */
static int take_ids(const struct tail_job *job, uint32_t ids[TAIL_MAX_ROWS], size_t *len,
		    const uint32_t **known)
{
	const struct wire_hdr *h = &job->hdr;

	*len = h->flags & WIRE_IDS ? 4 * (size_t)h->rows : 0;
	*known = NULL;
	if (*len > h->body_len)
		return ERR_FORMAT;
	for (uint32_t i = 0; i < h->rows && *len; i++)
		ids[i] = le_get32(job->body + 4 * (size_t)i);
	if (*len)
		*known = ids;
	else if (job->has_token && h->rows == 1)
		*known = &job->token;
	return 0;
}

int tail_decode(struct tail_job *job, struct codec_work *work, float *x)
{
	const struct wire_hdr *h = &job->hdr;
	struct codec_chunk chunk = { .id = h->codec, .dim = h->dim, .n = h->rows };
	uint32_t ids[TAIL_MAX_ROWS];
	size_t len;

	if (take_ids(job, ids, &len, &chunk.ids))
		return err_set(&job->err, ERR_FORMAT,
			       "a body of %u bytes has no room for %u tokens",
			       (unsigned)h->body_len, (unsigned)h->rows);
	chunk.src = job->body + len;
	chunk.len = h->body_len - len;
	if (!h->pos)
		codec_state_reset(job->codec);
	codec_state_return(job->codec, h->pos);
	if (h->flags & WIRE_DRAFT)
		codec_state_mark(job->codec, h->pos);
	if (codec_needs(h->codec) != CODEC_NOTHING && h->state != codec_state_hash(job->codec))
		return err_set(&job->err, ERR_STATE,
			       "rows that are predicted from another past than this worker's");
	return codec_decode(work, job->codec, &chunk, x, &job->err);
}

static void give_back(void *ctx, struct tail_job *job)
{
	struct tail *t = ctx;

	atomic_store(&t->waits_us[atomic_load(&t->given_back) % WAITS], job->queue_us);
	atomic_fetch_add(&t->given_back, 1);
	atomic_fetch_add(&t->queue_us, job->queue_us);
	t->done(t->ctx, job);
}

static void drop(void *ctx, struct tail_job *job)
{
	struct tail *t = ctx;

	sched_drop(t->sched, &job->sched);
}

static void cancel(struct tail *t, struct sched_job *s)
{
	struct tail_job *job = s->owner;

	job->rc = err_set(&job->err, ERR_CANCELLED, "the worker is shutting down");
	give_back(t, job);
}

static void cancel_all(struct tail *t)
{
	struct sched_job *s;

	while ((s = sched_take_any(t->sched)))
		cancel(t, s);
	while ((s = t->unready)) {
		t->unready = s->next;
		cancel(t, s);
	}
}

/* ---- weights that have not run yet: brought into their running form between steps ---- */

/* Go on with those that a job needs, for so long. True when it has all. */
static bool prepare(struct tail *t, const struct tail_job *job, uint32_t us)
{
	const struct wire_hdr *h = &job->hdr;
	const bool fill = wire_is_fill(h);

	return model_prepare_some(t->seg.model, h->split,
				  fill ? kv_layers_last(job->kv) : t->seg.hp.n_layers, !fill, us);
}

/* One that waits is of the same flow, or of the one that the job must not overtake. */
static bool is_behind(const struct tail *t, const struct sched_job *job)
{
	const struct sched_job *s = t->unready;

	while (s && s->flow != job->flow && s->flow + 1 != job->after)
		s = s->next;
	return s;
}

/* A draft that has never been: nothing of it is looked at. */
static void skip(struct tail *t, struct tail_job *job)
{
	job->skipped = true;
	job->begun_us = clock_now_us();
	job->queue_us = (uint32_t)(job->begun_us - job->queued_us);
	give_back(t, job);
}

static void admit(struct tail *t, struct tail_job *job)
{
	struct sched_job **last = &t->unready;

	if (drafts_void(&t->lanes[job->lane], job)) {
		skip(t, job);
		return;
	}
	if (!is_behind(t, &job->sched) && prepare(t, job, 0)) {
		sched_add(t->sched, &job->sched);
		return;
	}
	while (*last)
		last = &(*last)->next;
	*last = &job->sched;
	job->sched.next = NULL;
}

/* A little for the oldest one; when it has all, those that can go on do. */
static void prepare_some(struct tail *t)
{
	const uint64_t begun_us = trace_now_us();
	struct sched_job *s = t->unready, *next;

	if (!s)
		return;
	if (prepare(t, s->owner, PREPARE_US)) {
		t->unready = NULL;
		for (; s; s = next) {
			next = s->next;
			admit(t, s->owner);
		}
	}
	trace_span("prepare", begun_us, trace_now_us(), 0);
	queue_yield(); /* nobody waits for it: a broker beside may have to run */
}

/* All jobs that have come, waiting for the first one up to timeout_us (-1: for ever). False when
 * none came. */
static bool collect(struct tail *t, int64_t timeout_us)
{
	const uint64_t now_us = clock_now_us();
	struct tail_job *job = timeout_us < 0 ? queue_pop_due(t->jobs, &t->due, now_us, t->spin_us)
					      : queue_pop_us(t->jobs, timeout_us);
	bool any = job;

	for (; job; job = queue_pop_us(t->jobs, 0))
		admit(t, job);
	return any;
}

/* Until there is a step to run. False when no job will ever come. */
static bool next_step(struct tail *t)
{
	uint64_t now_us, wake_us;

	prepare_some(t);
	collect(t, 0);
	for (;;) {
		if (atomic_load(&t->abandoned))
			cancel_all(t);
		now_us = clock_now_us();
		if (sched_form(t->sched, now_us, &t->step, &wake_us))
			return true;
		if (t->unready) {
			prepare_some(t);
			collect(t, 0);
		} else if (wake_us == UINT64_MAX) {
			if (!collect(t, -1))
				return false;
		} else if (wake_us > now_us) {
			collect(t, (int64_t)(wake_us - now_us));
		}
	}
}

static uint32_t to_ns(double ms)
{
	return ms < 4e3 ? (uint32_t)(ms * 1e6) : 4000000000u;
}

static void tell_tempo(struct tail *t)
{
	struct msg_batch b[MSG_BATCHES_MAX] = { 0 };

	atomic_store(&t->decode_ns, to_ns(tempo_decode_ms(&t->tempo)));
	(void)tempo_batches(&t->tempo, b);
	for (unsigned i = 0; i < MSG_BATCHES_MAX; i++) {
		atomic_store(&t->batches[i].layer_ns, to_ns(b[i].layer_ms));
		atomic_store(&t->batches[i].head_ns, to_ns(b[i].head_ms));
		atomic_store(&t->batches[i].at, (uint32_t)b[i].at);
		atomic_store(&t->batches[i].deeper_ns, to_ns(b[i].deeper_ms));
		atomic_store(&t->batches[i].rows, b[i].rows);
	}
}

/* A small model's step is not much longer than learning from it: not from each. */
static void learn_tempo(struct tail *t)
{
	const uint64_t n = atomic_load(&t->steps);
	struct tempo_step took;

	if (n > TEMPO_RARE * COST_KEPT && n % TEMPO_RARE)
		return;
	took = runner_took(t->runner);
	tempo_learn(&t->tempo, &took);
	tell_tempo(t);
}

/* Those that came before it was known that they are void. */
static void skip_drafts(struct tail *t)
{
	for (unsigned i = 0; i < t->step.n; i++) {
		const struct sched_part *p = &t->step.parts[i];
		struct sched_job *s;

		if (!p->answers)
			continue;
		while ((s = sched_waiting_draft(t->sched, p->flow)) &&
		       drafts_void(&t->lanes[p->flow], s->owner)) {
			sched_drop(t->sched, s);
			skip(t, s->owner);
		}
	}
}

static void *compute(void *arg)
{
	struct tail *t = arg;

	trace_thread("compute");
	while (next_step(t)) {
		uint64_t t0 = clock_now_us(), t1;

		runner_run(t->runner, &t->step, drop);
		t1 = clock_now_us();
		sched_ran(t->sched, &t->step, t1, t1 - t0);
		atomic_fetch_add(&t->steps, t->step.rows > 0); /* not of a wave that goes on */
		atomic_fetch_add(&t->rows, t->step.rows);
		skip_drafts(t);
		learn_tempo(t);
	}
	return NULL;
}

/* Bytes of the head per bytes of all layers: what an answer takes, in rows. */
static double answer_work(const struct segment *s)
{
	const uint32_t n = s->hp.n_layers - s->first;
	const double layers =
		(double)segment_weight_bytes(s, s->first, s->hp.n_layers, false, false);
	const double all = (double)segment_weight_bytes(s, s->first, s->hp.n_layers, false, true);

	return n && layers > 0 ? (all - layers) / layers * n / s->hp.n_layers : 1;
}

struct segment_extra tail_extra(const struct model_hparams *hp)
{
	return (struct segment_extra){ .session_bytes = codec_state_bytes(hp->dim) + FRAME_BYTES };
}

static struct segment_extra extra(void *ctx, const struct model_hparams *hp)
{
	(void)ctx;
	return tail_extra(hp);
}

static int open_parts(struct tail *t, const struct tail_conf *conf, struct err *e)
{
	struct segment_conf sc = {
		.path = conf->model,
		.kv = conf->kv,
		.calibration = conf->calibration,
		.first = conf->first_layer,
		.first_key = "first_layer",
		.last = SEGMENT_ALL,
		.head = true,
		.threads = conf->threads,
		.pin_threads = conf->pin_threads,
		.max_rows = TAIL_MAX_ROWS,
		.spare_rows = RUNNER_SPARE_ROWS,
		.logit_rows = RUNNER_LOGITS,
		.context_tokens = conf->context_tokens,
		.memory_budget_bytes = conf->memory_budget_bytes,
		.memory_reserve_bytes = conf->memory_reserve_bytes,
		.other_bytes = conf->other_bytes,
		.extra = extra,
	};
	struct sched_conf sched = {
		.flows = 2 * conf->max_sessions, /* a fill each */
		.max_rows = TAIL_MAX_ROWS,
		.interactive_us = conf->interactive_us,
		.bulk_us = conf->bulk_us,
		.share = conf->share,
	};
	double attention;
	int rc = segment_open(&t->seg, &sc, e);

	if (rc)
		return rc;
	sched.layers = t->seg.hp.n_layers;
	sched.answer = answer_work(&t->seg);
	attention = segment_attention_work(&t->seg.hp);
	sched.attention = ATTENTION_DEAR * attention;
	tempo_shape(&t->tempo, attention);
	t->lanes = calloc(conf->max_sessions, sizeof(*t->lanes));
	if (!t->lanes || sched_create(&t->sched, &sched) ||
	    runner_create(&t->runner, &t->seg, t->lanes, give_back, t))
		return err_set(e, ERR_NOMEM, "buffers of the back end");
	if (conf->warm_up) {
		warmup_run(&t->seg, &t->tempo);
		tell_tempo(t);
	}
	return 0;
}

int tail_create(struct tail **out, const struct tail_conf *conf, tail_done *done, void *ctx,
		struct err *e)
{
	struct tail *t = calloc(1, sizeof(*t));
	int rc;

	if (!t)
		return err_set(e, ERR_NOMEM, "back-end segment");
	t->done = done;
	t->max_sessions = conf->max_sessions;
	t->spin_us = conf->spin_us;
	t->ctx = ctx;
	rc = open_parts(t, conf, e);
	if (!rc && queue_create(&t->jobs, INBOX_JOBS))
		rc = err_set(e, ERR_NOMEM, "job queue");
	if (!rc && pthread_create(&t->thread, NULL, compute, t))
		rc = err_set(e, ERR_NOMEM, "compute thread");
	t->running = !rc;
	if (rc) {
		tail_destroy(t);
		return rc;
	}
	*out = t;
	return 0;
}

void tail_destroy(struct tail *t)
{
	if (!t)
		return;
	if (t->running) {
		queue_close(t->jobs);
		pthread_join(t->thread, NULL);
	}
	queue_destroy(t->jobs, NULL);
	runner_destroy(t->runner);
	sched_destroy(t->sched);
	free(t->lanes);
	segment_close(&t->seg);
	free(t);
}

struct segment *tail_segment(struct tail *t)
{
	return &t->seg;
}

void tail_abandon(struct tail *t)
{
	atomic_store(&t->abandoned, true);
}

/* A fill has a flow of its own, so that rows of the session do not queue behind it. */
static uint32_t fill_flow(const struct tail *t, unsigned lane)
{
	return t->max_sessions + lane;
}

bool tail_submit(struct tail *t, struct tail_job *job)
{
	const struct wire_hdr *h = &job->hdr;
	const uint32_t n_layers = t->seg.hp.n_layers;

	const bool fill = wire_is_fill(h);
	const uint32_t last = fill ? kv_layers_last(job->kv) : n_layers;

	job->queued_us = clock_now_us();
	job->sched = (struct sched_job){
		.owner = job,
		.flow = fill ? fill_flow(t, job->lane) : job->lane,
		.after = job->changes ? 1 + fill_flow(t, job->lane) : 0,
		.pos = h->pos,
		.rows = h->rows,
		.bulk = job->bulk,
		.sample = !fill && h->flags & WIRE_SAMPLE,
		.patient = fill || h->flags & WIRE_TELL,
		.draft = h->flags & WIRE_DRAFT,
		.from = h->split,
		.until = h->kind == WIRE_KV ? h->split : last,
		.arrived_us = job->queued_us,
	};
	return queue_push(t->jobs, job);
}

static int by_size(const void *a, const void *b)
{
	const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static uint32_t high_wait(const struct tail *t, uint64_t jobs)
{
	const unsigned n = jobs < WAITS ? (unsigned)jobs : WAITS;
	uint32_t sorted[WAITS];

	for (unsigned i = 0; i < n; i++)
		sorted[i] = atomic_load(&t->waits_us[i]);
	qsort(sorted, n, sizeof(*sorted), by_size);
	return n ? sorted[(n - 1) * 95 / 100] : 0;
}

void tail_count(struct tail *t, struct tail_counts *counts)
{
	counts->steps = atomic_load(&t->steps);
	counts->rows = atomic_load(&t->rows);
	counts->jobs = atomic_load(&t->given_back);
	counts->queue_us = atomic_load(&t->queue_us);
	counts->queue_high_us = high_wait(t, counts->jobs);
	counts->decode_ms = atomic_load(&t->decode_ns) / 1e6;
	for (counts->n_batches = 0; counts->n_batches < MSG_BATCHES_MAX; counts->n_batches++) {
		struct msg_batch *b = &counts->batches[counts->n_batches];

		b->rows = atomic_load(&t->batches[counts->n_batches].rows);
		if (!b->rows)
			break;
		b->layer_ms = atomic_load(&t->batches[counts->n_batches].layer_ns) / 1e6;
		b->head_ms = atomic_load(&t->batches[counts->n_batches].head_ns) / 1e6;
		b->at = atomic_load(&t->batches[counts->n_batches].at);
		b->deeper_ms = atomic_load(&t->batches[counts->n_batches].deeper_ns) / 1e6;
	}
}
