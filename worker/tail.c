#include "worker/tail.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/le.h"
#include "base/trace.h"

struct tail {
	struct segment seg;
	struct codec_work *work;
	struct queue *jobs, *inbox;
	pthread_t thread;
	bool running;
	atomic_bool abandoned;
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
	if (codec_needs(h->codec) != CODEC_NOTHING && h->state != codec_state_hash(job->codec))
		return err_set(&job->err, ERR_STATE,
			       "rows that are predicted from another past than this worker's");
	return codec_decode(work, job->codec, &chunk, x, &job->err);
}

static void run(struct tail *t, struct tail_job *job)
{
	const struct wire_hdr *h = &job->hdr;
	uint64_t t0 = clock_now_us(), t1, t2;

	job->queue_us = (uint32_t)(t0 - job->queued_us);
	job->rc = tail_decode(job, t->work, t->seg.x);
	t1 = trace_now_us();
	trace_span("decode", t0, t1, h->pos);
	if (!job->rc)
		job->rc = segment_forward(&t->seg, job->kv, h->pos, h->rows, &job->err);
	t2 = trace_now_us();
	trace_span("tail", t1, t2, h->pos);
	if (!job->rc && h->flags & WIRE_SAMPLE)
		job->rc = segment_sample(&t->seg, &job->sampling, h->rows - 1, job->history,
					 job->n_history, h->pos + h->rows, &job->id, &job->end,
					 &job->err);
	if (!job->rc && job->logits)
		memcpy(job->logits, t->seg.logits, t->seg.hp.n_vocab * sizeof(*job->logits));
	job->compute_us = (uint32_t)(clock_now_us() - t0);
	if (h->flags & WIRE_SAMPLE)
		trace_span("sample", t2, t0 + job->compute_us, h->pos);
}

static void *compute(void *arg)
{
	struct tail *t = arg;
	struct tail_job *job;

	trace_thread("compute");
	while ((job = queue_pop(t->jobs, -1))) {
		if (atomic_load(&t->abandoned))
			job->rc = err_set(&job->err, ERR_CANCELLED, "the worker is shutting down");
		else
			run(t, job);
		inbox_push_job(t->inbox, &job->item);
	}
	return NULL;
}

int tail_create(struct tail **out, const struct segment_conf *conf, struct queue *inbox,
		struct err *e)
{
	struct tail *t = calloc(1, sizeof(*t));
	int rc;

	if (!t)
		return err_set(e, ERR_NOMEM, "back-end segment");
	t->inbox = inbox;
	rc = segment_open(&t->seg, conf, e);
	if (!rc && codec_work_create(&t->work, t->seg.hp.dim, TAIL_MAX_ROWS))
		rc = err_set(e, ERR_NOMEM, "buffers of the codec");
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
	codec_work_destroy(t->work);
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

bool tail_submit(struct tail *t, struct tail_job *job)
{
	job->queued_us = clock_now_us();
	return queue_push(t->jobs, job);
}
