#include "agent/piece.h"

#include <assert.h>
#include <string.h>

#include "base/clock.h"
#include "base/trace.h"
#include "engine/kv_layers.h"
#include "engine/kv_rows.h"

#define PREPARE_US 250 /* of a step that prepares weights */
#define RECAST_US  100 /* of one that brings keys and values to another type */
#define BLOCK_ROWS 4u  /* of which so many are taken at once */

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

/* False: there is more. */
static bool recast(struct piece *p)
{
	struct head_job *job = p->job;
	const uint64_t begun_us = clock_now_us();
	const uint32_t blocks = (job->rows + BLOCK_ROWS - 1) / BLOCK_ROWS;

	job->rc = 0;
	while (!job->rc && p->block < blocks * (job->last - job->first)) {
		const uint32_t layer = job->first + p->block / blocks;
		const uint32_t row = p->block % blocks * BLOCK_ROWS;
		struct kv_rows_range r = { layer, layer + 1, job->pos + row, BLOCK_ROWS };

		if (clock_now_us() - begun_us >= RECAST_US)
			return false;
		if (r.rows > job->rows - row)
			r.rows = job->rows - row;
		job->rc = kv_rows_copy(job->kv, job->values, &r);
		p->block++;
	}
	if (job->rc)
		err_set(&job->err, job->rc, "keys and values of positions %u to %u", job->pos,
			job->pos + job->rows);
	return true;
}

bool piece_has_kept(const struct head_kept *k, uint32_t split, uint32_t pos, uint32_t rows)
{
	return k && k->split == split && pos >= k->from && pos + rows <= k->to;
}

void piece_get_kept(const struct head_kept *k, uint32_t pos, uint32_t rows, uint32_t dim, float *x)
{
	for (uint32_t i = 0; i < rows; i++)
		memcpy(x + i * (size_t)dim, k->x + (pos + i) % HEAD_KEPT * (size_t)dim,
		       dim * sizeof(*x));
}

static bool are_kept(const struct head_job *job)
{
	return piece_has_kept(job->kept, job->first, job->pos, job->rows);
}

bool piece_is_short(const struct head_job *job)
{
	return !job->values && job->first == job->last && are_kept(job);
}

static int begin(struct piece *p)
{
	struct head_job *job = p->job;
	int rc = 0;

	assert(job->rows <= HEAD_SPARE_ROWS);
	p->begun = true;
	p->layer = 0;
	if (are_kept(job)) {
		piece_get_kept(job->kept, job->pos, job->rows, p->seg->hp.dim, p->x);
		p->layer = job->first;
	} else {
		rc = model_embed(p->seg->model, job->ids, job->rows, p->x);
	}
	return rc ? err_set(&job->err, rc, "a token id outside the vocabulary") : 0;
}

/* Below `first` through the session's cache once more, above into the new one. */
static int run_layer(struct piece *p)
{
	struct head_job *job = p->job;
	struct kv *view = p->layer < job->first ? job->again : job->beside;
	int rc;

	job->ran = true;
	kv_layers_aim(view, p->layer, p->layer + 1, job->pos);
	rc = model_forward(p->seg->model, view, p->x, job->rows);
	p->layer++;
	return rc ? err_set(&job->err, rc, "layers at position %u: %s", job->pos, err_phrase(rc))
		  : 0;
}

static bool prepare(struct piece *p, uint64_t begun_us)
{
	const struct head_job *job = p->job;
	const bool head = job->last == p->seg->hp.n_layers;

	if (model_prepare_some(p->seg->model, 0, job->last, head, 0))
		return true;
	(void)model_prepare_some(p->seg->model, 0, job->last, head, PREPARE_US);
	trace_span("prepare", begun_us, trace_now_us(), job->pos);
	return false;
}

static bool run(struct piece *p)
{
	struct head_job *job = p->job;

	job->rc = p->begun ? 0 : begin(p);
	if (!job->rc && p->layer < job->last)
		job->rc = run_layer(p);
	if (job->rc || p->layer < job->last)
		return job->rc;
	if (job->kv)
		kv_layers_reach(job->kv, job->pos + job->rows);
	return true;
}

bool piece_step(struct piece *p, struct codec_work *work)
{
	struct head_job *job = p->job;
	const uint64_t t0 = clock_now_us();
	uint64_t t1;
	bool done = true;

	if (job->recast)
		done = recast(p);
	else if (job->values)
		job->rc = export(job);
	else if (!p->begun && !piece_is_short(job) && !prepare(p, t0))
		return false;
	else
		done = run(p);
	t1 = clock_now_us();
	job->layers_us += (uint32_t)(t1 - t0);
	job->step_us = job->step_us > t1 - t0 ? job->step_us : (uint32_t)(t1 - t0);
	trace_span("side", t0, t1, job->pos);
	if (!done || job->rc || !job->encode)
		return done;
	job->rc = head_encode(job, work, p->x);
	job->encode_us = (uint32_t)(clock_now_us() - t1);
	trace_span("encode", t1, t1 + job->encode_us, job->pos);
	return true;
}
