#include "worker/tail.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "codec/codec.h"

struct tail {
	struct segment seg;
	struct queue *jobs, *inbox;
	pthread_t thread;
	bool running;
	atomic_bool abandoned;
};

static void run(struct tail *t, struct tail_job *job)
{
	const struct wire_hdr *h = &job->hdr;
	uint64_t t0 = clock_now_us();

	job->queue_us = (uint32_t)(t0 - job->queued_us);
	job->rc = codec_decode(h->codec, job->body, h->body_len, h->dim, h->rows, t->seg.x,
			       &job->err);
	if (!job->rc)
		job->rc = segment_forward(&t->seg, job->kv, h->pos, h->rows, &job->err);
	if (!job->rc && h->flags & WIRE_SAMPLE)
		job->rc = segment_sample(&t->seg, &job->sampling, h->rows - 1, job->history,
					 job->n_history, h->pos + h->rows, &job->id, &job->end,
					 &job->err);
	if (!job->rc && job->logits)
		memcpy(job->logits, t->seg.logits, t->seg.hp.n_vocab * sizeof(*job->logits));
	job->compute_us = (uint32_t)(clock_now_us() - t0);
}

static void *compute(void *arg)
{
	struct tail *t = arg;
	struct tail_job *job;

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
