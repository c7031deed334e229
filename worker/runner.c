#include "worker/runner.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/queue.h"
#include "base/trace.h"
#include "engine/kv_layers.h"
#include "engine/kv_rows.h"

/* What a part of a step brings; 0: nothing, its job has failed. */
enum { ROWS = 1, VALUES };

/* Jobs of one session in a step: rows that follow each other. */
struct stretch {
	unsigned first, n; /* parts of the step */
};

struct runner {
	struct segment *seg;
	struct drafts_lane *lanes;
	struct codec_work *work;
	void (*done)(void *ctx, struct tail_job *job);
	void *ctx;
	struct model_part parts[SCHED_MAX_ROWS];
	unsigned n_parts;
	struct model_part wave[SCHED_MAX_ROWS]; /* that has begun */
	unsigned n_wave;
	float *wave_x;                           /* its rows, at the end of what is for a step */
	struct tail_job *asking[SCHED_MAX_ROWS]; /* jobs that want a token */
	const float *rows[SCHED_MAX_ROWS];       /* their last rows */
	unsigned n_asking;
	uint64_t mark_us; /* what was done until then is accounted for */
	struct tempo_step took;
};

static struct tail_job *job_of(const struct sched_part *p)
{
	return p->job->owner;
}

int runner_create(struct runner **out, struct segment *seg, struct drafts_lane *lanes,
		  void (*done)(void *ctx, struct tail_job *job), void *ctx)
{
	struct runner *r = calloc(1, sizeof(*r));

	if (!r)
		return ERR_NOMEM;
	r->seg = seg;
	r->lanes = lanes;
	r->done = done;
	r->ctx = ctx;
	if (codec_work_create(&r->work, seg->hp.dim, TAIL_MAX_ROWS)) {
		runner_destroy(r);
		return ERR_NOMEM;
	}
	*out = r;
	return 0;
}

void runner_destroy(struct runner *r)
{
	if (!r)
		return;
	codec_work_destroy(r->work);
	free(r);
}

/* What was done since the last mark, for the trace. */
static void mark(struct runner *r, const char *what, uint32_t pos)
{
	const uint64_t now_us = clock_now_us();

	trace_span(what, r->mark_us, now_us, pos);
	r->mark_us = now_us;
}

/* Where the rows of a chunk wait that is taken in part: there is one of each class. */
static float *spare(const struct runner *r, const struct tail_job *job)
{
	return r->seg->x + (size_t)TAIL_MAX_ROWS * (job->bulk ? 2 : 1) * r->seg->hp.dim;
}

/* Who waits for the job's answer need not wait until their memory is given back. */
static int give_up(struct tail_job *job)
{
	const int rc = kv_layers_cut_below(&job->rest, job->kv, job->hdr.split);

	return rc != ERR_NOMEM ? rc
			       : kv_layers_keep(job->kv, job->hdr.split, kv_layers_last(job->kv));
}

/* The cache begins at the split of the job: layers join it, or are given up. */
static int change(struct tail_job *job)
{
	int rc;

	kv_truncate(job->kv, job->hdr.pos);
	rc = job->join ? kv_layers_join(job->kv, job->join) : give_up(job);
	return rc ? err_set(&job->err, ERR_STATE,
			    "rows of split %u do not follow on a cache of layers %u and up",
			    job->hdr.split, kv_layers_first(job->kv))
		  : 0;
}

/* The cache stands where the job begins; what it held beyond is forgotten. */
static int place(struct tail_job *job)
{
	const uint32_t pos = job->hdr.pos;

	if (job->changes && change(job))
		return job->err.code;
	kv_truncate(job->kv, pos);
	if (kv_length(job->kv) != pos)
		return err_set(&job->err, ERR_STATE, "rows for position %u come after %u", pos,
			       kv_length(job->kv));
	if (job->hdr.rows > kv_capacity(job->kv) - pos)
		return err_set(&job->err, ERR_CONTEXT, "rows beyond the context");
	return 0;
}

/* A part's rows -> x. `leads`: the first one of its session in this step. */
static int fetch(struct runner *r, const struct sched_part *p, bool leads, float *x)
{
	struct tail_job *job = job_of(p);
	const size_t d = r->seg->hp.dim;
	float *all = p->rows == job->hdr.rows ? x : spare(r, job);
	int rc = 0;

	if (!p->first) {
		job->begun_us = r->mark_us;
		job->queue_us = (uint32_t)(job->begun_us - job->queued_us);
		if (leads)
			rc = place(job);
		if (!rc)
			rc = tail_decode(job, r->work, all);
		mark(r, "decode", job->hdr.pos);
		r->took.decoded += job->hdr.rows;
		r->took.decode_us += (uint32_t)(r->mark_us - job->begun_us);
	}
	if (!rc && all != x)
		memcpy(x, all + p->first * d, p->rows * d * sizeof(*x));
	return rc;
}

/* Keys and values as they came, into the cache beside. */
static void import(struct runner *r, struct tail_job *job)
{
	const struct wire_hdr *h = &job->hdr;
	const struct kv_rows_range range = { h->split, h->state, h->pos, h->rows };
	int rc;

	job->begun_us = r->mark_us;
	job->queue_us = (uint32_t)(job->begun_us - job->queued_us);
	kv_truncate(job->kv, h->pos);
	rc = kv_rows_put(job->kv, (enum kv_type)h->codec, &range, job->body, h->body_len);
	if (rc)
		job->rc = err_set(&job->err, rc, "%u positions of keys and values: %s", h->rows,
				  err_phrase(rc));
	mark(r, "import", h->pos);
}

static void finish(struct runner *r, struct tail_job *job)
{
	job->compute_us = (uint32_t)(r->mark_us - job->begun_us);
	r->done(r->ctx, job);
}

/* Part number i of the step is what its job ends with. */
static bool ends(const struct sched_step *step, unsigned i)
{
	return step->parts[i].last && (i < step->urgent || step->ends);
}

/* Parts that bring keys and values: nothing runs. What is answered need not wait for them. */
static void take_values(struct runner *r, const struct sched_step *step, const uint8_t *in)
{
	for (unsigned i = 0; i < step->n; i++) {
		const struct sched_part *p = &step->parts[i];

		if (in[i] == VALUES && !p->first && step->begins)
			import(r, job_of(p));
		if (in[i] == VALUES && ends(step, i))
			finish(r, job_of(p));
	}
}

static void end_failed(struct runner *r, const struct sched_step *step, unsigned i, int rc,
		       void (*dropped)(void *ctx, struct tail_job *job))
{
	struct tail_job *job = job_of(&step->parts[i]);

	job->rc = rc;
	if (!ends(step, i))
		dropped(r->ctx, job);
	r->done(r->ctx, job);
}

/* Rows of one session, from x on; those of a job that fails and of all behind it are left out.
 * Returns the parts that are in. */
static unsigned gather(struct runner *r, const struct sched_step *step, struct stretch s, float *x,
		       void (*dropped)(void *ctx, struct tail_job *job))
{
	struct model_part *part = &r->parts[r->n_parts];
	unsigned i = 0;
	int rc = 0;

	*part = (struct model_part){ .kv = job_of(&step->parts[s.first])->kv, .x = x };
	for (; i < s.n && !rc; i++) {
		const struct sched_part *p = &step->parts[s.first + i];

		rc = fetch(r, p, !i, x + (size_t)part->rows * r->seg->hp.dim);
		if (rc)
			break;
		part->rows += p->rows;
	}
	for (unsigned k = i; k < s.n; k++) {
		if (k > i)
			rc = err_set(&job_of(&step->parts[s.first + k])->err, ERR_STATE,
				     "rows after some that failed");
		end_failed(r, step, s.first + k, rc, dropped);
	}
	r->n_parts += part->rows > 0;
	return i;
}

/* Parts number `from` to `until` of the step, rows from x on. What they bring -> in. */
static void gather_some(struct runner *r, const struct sched_step *step, unsigned from,
			unsigned until, float *x, uint8_t *in,
			void (*dropped)(void *ctx, struct tail_job *job))
{
	struct stretch s = { from, 0 };

	for (; s.first < until; s.first += s.n) {
		unsigned fine;

		s.n = 1;
		while (s.first + s.n < until &&
		       step->parts[s.first + s.n].flow == step->parts[s.first].flow)
			s.n++;
		if (job_of(&step->parts[s.first])->hdr.kind == WIRE_KV) {
			memset(in + s.first, VALUES, s.n);
			continue;
		}
		fine = gather(r, step, s, x, dropped);
		memset(in + s.first, ROWS, fine);
		if (fine)
			x += (size_t)r->parts[r->n_parts - 1].rows * r->seg->hp.dim;
	}
}

/* Rows that go through some layers: they stay where they are until they have had all. */
static void begin_wave(struct runner *r, const struct sched_step *step, uint8_t *in,
		       void (*dropped)(void *ctx, struct tail_job *job))
{
	const unsigned before = r->n_parts;
	size_t rows = 0;

	for (unsigned i = step->urgent; i < step->n; i++)
		rows += step->parts[i].rows;
	r->wave_x = r->seg->x + (TAIL_MAX_ROWS - rows) * r->seg->hp.dim;
	gather_some(r, step, step->urgent, step->n, r->wave_x, in, dropped);
	r->n_wave = r->n_parts - before;
	memcpy(r->wave, r->parts + before, r->n_wave * sizeof(*r->wave));
	r->n_parts = before;
}

static void take_wave(struct runner *r, const struct sched_step *step, uint8_t *in,
		      void (*dropped)(void *ctx, struct tail_job *job))
{
	if (step->begins)
		begin_wave(r, step, in, dropped);
	for (unsigned i = step->urgent; i < step->n && !step->begins; i++)
		in[i] = job_of(&step->parts[i])->hdr.kind == WIRE_KV ? VALUES : ROWS;
	for (unsigned i = 0; i < r->n_wave && step->urgent < step->n; i++) {
		struct model_part *part = &r->parts[r->n_parts++];

		*part = r->wave[i];
		part->from = step->from;
		part->until = step->until;
	}
}

/* Of parts number `from` to `until`, whose rows lie from x on: who wants a token. */
static void ask(struct runner *r, const struct sched_step *step, unsigned from, unsigned until,
		const float *x, const uint8_t *in)
{
	for (unsigned i = from; i < until; i++) {
		const struct sched_part *p = &step->parts[i];

		if (in[i] != ROWS)
			continue;
		x += (size_t)p->rows * r->seg->hp.dim;
		if (!p->answers)
			continue;
		r->rows[r->n_asking] = x - r->seg->hp.dim;
		r->asking[r->n_asking++] = job_of(p);
	}
}

static void sample(struct runner *r, struct tail_job *job, const float *logits)
{
	const uint32_t pos = job->hdr.pos + job->hdr.rows;
	struct drafts_lane *lane = &r->lanes[job->lane];

	/* It ran beside the row that it follows on. */
	job->skipped = job->hdr.flags & WIRE_DRAFT && drafts_void(lane, job);
	if (job->skipped)
		return;
	job->rc = segment_pick(r->seg, &job->sampling, logits, job->history, job->n_history, pos,
			       &job->id, &job->end, &job->err);
	if (!job->rc && job->logits)
		memcpy(job->logits, logits, r->seg->hp.n_vocab * sizeof(*logits));
	if (!job->rc)
		drafts_sampled(lane, job);
}

/* Head and sampling, some jobs at a time; each is done at once. */
static void answer(struct runner *r)
{
	const size_t vocab = r->seg->hp.n_vocab;

	for (unsigned i = 0, n; i < r->n_asking; i += n) {
		n = r->n_asking - i < RUNNER_LOGITS ? r->n_asking - i : RUNNER_LOGITS;
		model_logits_of(r->seg->model, r->rows + i, n, r->seg->logits);
		for (unsigned k = 0; k < n; k++) {
			sample(r, r->asking[i + k], r->seg->logits + k * vocab);
			mark(r, "sample", r->asking[i + k]->hdr.pos);
			finish(r, r->asking[i + k]);
		}
	}
}

/* All layers. It can fail for nothing that was not checked before; if it does, for all. patient: a
 * session on this machine (or a broker) may have the processor after each of them. */
static int run_layers(struct runner *r, uint32_t pos, bool patient)
{
	const uint64_t begun_us = r->mark_us;
	int rc;

	model_pause(r->seg->model, patient ? queue_yield : NULL);
	rc = r->n_parts ? model_step(r->seg->model, r->parts, r->n_parts) : 0;
	mark(r, "tail", pos);
	r->took.layers_us = (uint32_t)(r->mark_us - begun_us);
	return rc;
}

/* Mean of its rows. */
static double position_of(const struct sched_part *p)
{
	return job_of(p)->hdr.pos + p->first + p->rows / 2.0;
}

/* What is about to run. */
static void weigh(struct runner *r, const struct sched_step *step, const uint8_t *in)
{
	uint32_t first = UINT32_MAX, last = 0; /* layers of what is in no wave */

	for (unsigned i = 0; i < step->n; i++) {
		const struct sched_part *p = &step->parts[i];
		uint32_t from, until;

		if (in[i] != ROWS)
			continue;
		from = job_of(p)->sched.from;
		until = job_of(p)->sched.until;
		if (i < step->urgent) {
			first = from < first ? from : first;
			last = until > last ? until : last;
		} else {
			from = from > step->from ? from : step->from;
			until = until < step->until ? until : step->until;
		}
		if (from >= until)
			continue;
		r->took.row_layers += p->rows * (until - from);
		r->took.row_layer_positions += p->rows * (until - from) * position_of(p);
	}
	r->took.layers = last > first ? last - first : 0;
	for (uint32_t l = step->from; r->n_wave && l < step->until; l++)
		r->took.layers += l < first || l >= last;
}

struct tempo_step runner_took(const struct runner *r)
{
	return r->took;
}

void runner_run(struct runner *r, const struct sched_step *step,
		void (*dropped)(void *ctx, struct tail_job *job))
{
	uint8_t in[SCHED_MAX_ROWS] = { 0 };
	const uint32_t pos = job_of(&step->parts[0])->hdr.pos;
	uint64_t begun_us;
	int rc;

	r->n_parts = r->n_asking = 0;
	r->took = (struct tempo_step){ 0 };
	r->mark_us = begun_us = clock_now_us();
	gather_some(r, step, 0, step->urgent, r->seg->x, in, dropped);
	take_wave(r, step, in, dropped);
	ask(r, step, 0, step->urgent, r->seg->x, in);
	if (step->ends)
		ask(r, step, step->urgent, step->n, r->wave_x, in);
	weigh(r, step, in);
	rc = run_layers(r, pos, step->patient);
	for (unsigned i = 0; i < step->n; i++) {
		const struct sched_part *p = &step->parts[i];

		if (in[i] == ROWS && rc) {
			err_set(&job_of(p)->err, rc, "layers: %s", err_phrase(rc));
			end_failed(r, step, i, rc, dropped);
		} else if (in[i] == ROWS && ends(step, i) && !p->answers) {
			finish(r, job_of(p));
		}
	}
	if (!rc)
		answer(r);
	take_values(r, step, in);
	r->took.answers = r->n_asking;
	r->took.rest_us = (uint32_t)(r->mark_us - begun_us) - r->took.layers_us;
}
