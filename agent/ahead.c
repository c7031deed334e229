#include "agent/ahead.h"

#include <string.h>

#include "base/clock.h"
#include "base/trace.h"
#include "engine/kv.h"
#include "engine/kv_layers.h"

void ahead_init(struct ahead *a, float *x)
{
	*a = (struct ahead){ .x = x };
	pthread_mutex_init(&a->lock, NULL);
}

void ahead_destroy(struct ahead *a)
{
	pthread_mutex_destroy(&a->lock);
}

void ahead_begin(struct ahead *a, const struct segment *seg, const struct head_job *job)
{
	pthread_mutex_lock(&a->lock);
	a->on = job->guesses && !job->rc;
	a->seg = seg;
	a->kv = job->kv;
	a->pos = job->pos + job->rows;
	a->id = job->guess;
	a->layer = a->took_us = 0;
	a->last = a->on ? kv_layers_last(job->kv) : 0;
	pthread_mutex_unlock(&a->lock);
}

bool ahead_wants(struct ahead *a)
{
	bool wants;

	pthread_mutex_lock(&a->lock);
	wants = a->on && a->layer < a->last;
	pthread_mutex_unlock(&a->lock);
	return wants;
}

static int run_layer(struct ahead *a)
{
	const struct model_part part = {
		.kv = a->kv, .x = a->x, .rows = 1, .from = a->layer, .until = a->layer + 1
	};
	uint64_t begun_us, end_us;
	int rc = a->layer ? 0 : model_embed(a->seg->model, &a->id, 1, a->x);

	if (rc)
		return rc;
	begun_us = clock_now_us();
	rc = model_step(a->seg->model, &part, 1);
	end_us = clock_now_us();
	a->took_us += (uint32_t)(end_us - begun_us);
	trace_span("ahead", begun_us, end_us, a->pos);
	return rc;
}

void ahead_step(struct ahead *a)
{
	pthread_mutex_lock(&a->lock);
	if (a->on && a->layer < a->last) {
		a->on = kv_length(a->kv) == a->pos && !run_layer(a);
		a->layer++;
	}
	pthread_mutex_unlock(&a->lock);
}

void ahead_drop(struct ahead *a)
{
	pthread_mutex_lock(&a->lock);
	a->on = false;
	pthread_mutex_unlock(&a->lock);
}

/* Nothing else has changed the cache. */
static bool is_for(const struct ahead *a, const struct segment *seg, const struct head_job *job)
{
	return a->on && a->seg == seg && a->kv == job->kv && a->pos == job->pos && job->rows == 1 &&
	       a->id == job->ids[0] && !job->kept && !job->kept_rows &&
	       kv_length(a->kv) == a->pos + (a->layer == a->last);
}

uint32_t ahead_take(struct ahead *a, const struct segment *seg, struct head_job *job, float *x)
{
	uint32_t n = 0;

	pthread_mutex_lock(&a->lock);
	if (is_for(a, seg, job))
		n = a->layer;
	a->on = false;
	job->ahead_us = n ? a->took_us : 0;
	if (n)
		memcpy(x, a->x, seg->hp.dim * sizeof(*x));
	pthread_mutex_unlock(&a->lock);
	return n;
}
