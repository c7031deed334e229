#include "agent/head.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/trace.h"
#include "engine/kv_rows.h"

struct head {
	struct segment seg;
	struct segment *fronts[MSG_FRONTS_MAX]; /* lent; of the loop thread, and of jobs */
	struct codec_work *work;
	struct queue *jobs;
	uint32_t spin_us;
	head_done *done;
	void *ctx;
	pthread_t thread;
	bool running;
};

static struct segment *segment_of(struct head *h, const struct head_job *job)
{
	return job->front ? h->fronts[job->front] : &h->seg;
}

static int run_layers(struct segment *seg, struct head_job *job)
{
	const uint64_t begun_us = clock_now_us();
	int rc = model_embed(seg->model, job->ids, job->rows, seg->x);

	job->embed_us = (uint32_t)(clock_now_us() - begun_us);
	if (rc)
		return err_set(&job->err, rc, "a token id outside the vocabulary");
	if (job->side) {
		rc = segment_forward(seg, job->again, job->pos, job->rows, &job->err);
		if (rc || !job->kv)
			return rc;
	}
	return segment_forward(seg, job->kv, job->pos, job->rows, &job->err);
}

int head_encode(struct head_job *job, struct codec_work *work, const float *x)
{
	const struct codec_rows in = { x, job->tell_ids ? job->ids : NULL, job->rows };
	struct codec_bytes out = { .dst = job->bytes, .cap = job->cap };
	int rc;

	if (!job->pos)
		codec_state_reset(job->state);
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

static int export(struct head_job *job)
{
	const struct kv_rows_range range = { job->first, job->last, job->pos, job->rows };
	int rc = kv_rows_get(job->values, &range, job->bytes, job->cap);

	if (rc)
		return err_set(&job->err, rc, "keys and values of positions %u to %u", job->pos,
			       job->pos + job->rows);
	job->len = kv_rows_bytes(job->values) * (job->last - job->first) * job->rows;
	job->codec_id = (uint8_t)kv_rows_type(job->values);
	job->state_hash = 0;
	return 0;
}

static void run(struct head *h, struct head_job *job)
{
	struct segment *seg = segment_of(h, job);
	uint64_t t0 = clock_now_us(), t1;

	job->queue_us = (uint32_t)(t0 - job->queued_us);
	job->encode_us = job->head_us = 0;
	job->rc = job->values ? export(job) : run_layers(seg, job);
	if (!job->rc && job->sample)
		job->rc = sample(seg, job);
	t1 = clock_now_us();
	job->layers_us = (uint32_t)(t1 - t0);
	trace_span(job->side ? "side" : "head", t0, t1, job->pos);
	if (job->rc || job->sample || job->values || (job->side && !job->encode))
		return;
	job->rc = head_encode(job, h->work, seg->x);
	job->encode_us = (uint32_t)(clock_now_us() - t1);
	trace_span("encode", t1, t1 + job->encode_us, job->pos);
}

static void *compute(void *arg)
{
	struct head *h = arg;
	struct head_job *job;
	struct due due = { 0 };

	trace_thread("compute");
	while ((job = queue_pop_due(h->jobs, &due, h->spin_us))) {
		run(h, job);
		h->done(h->ctx, job);
	}
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
	rc = segment_open(&h->seg, conf, e);
	if (!rc && codec_work_create(&h->work, h->seg.hp.dim, conf->max_rows))
		rc = err_set(e, ERR_NOMEM, "buffers of the codec");
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
	free(h);
}

struct segment *head_segment(struct head *h)
{
	return &h->seg;
}

void head_set_front(struct head *h, unsigned front, struct segment *seg)
{
	h->fronts[front] = seg;
}

bool head_submit(struct head *h, struct head_job *job)
{
	job->queued_us = clock_now_us();
	return queue_push(h->jobs, job);
}
