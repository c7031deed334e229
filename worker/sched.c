#include "worker/sched.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "worker/cost.h"
#include "worker/wave.h"

#define LEAST_LAYERS 0.01f /* of a row that runs through none: it is not free */
#define LONG_ROWS    64u   /* of a step that nobody waits for; more where */
#define LONG_BASES   16    /* rows take less than so many times the step's base */
#define LONGEST_GAP  2e6f  /* us; who is away for longer is not waited for */
#define LEAST_DEV    50.0f /* us */
#define SLACK        1.1   /* by which layers of a wave may take longer than they may take */
#define MIXED        15u   /* steps with urgent rows and a wave, then one without the wave */
#define TURN_PART    0.125 /* of what a turn is longer, to the shortest of late */
#define LEAST_SCALE  0.3
#define MOST_SCALE   3.0

/* One session's jobs, and how it comes back. */
struct flow {
	struct sched_job *head, *last;
	uint64_t answered_us; /* when the newest answer left; 0: nothing is known to come back */
	float gap_us, dev_us; /* from answer to next row: mean and mean deviation */
	bool known, bulk;     /* known: there was a gap */
	bool prompts;         /* the newest job is not to be answered: there is more to come */
	bool in_wave;         /* the head, and maybe those behind it */
};

struct sched {
	struct sched_conf conf;
	struct cost cost;
	struct flow *flows;       /* [conf.flows] */
	struct sched_job **ready; /* [conf.flows] heads: urgent ones first, then by deadline */
	uint64_t *due_us;         /* [conf.flows] of those that are away, ascending */
	unsigned n_ready, n_due;
	struct sched_job *cut[2]; /* taken in part: of interactive, of bulk sessions */
	struct wave wave;
	uint64_t free_us; /* when the newest step ended */
	bool others_only; /* nothing urgent was in it */
	double turn_us;   /* newest prediction for the urgent rows of a step */
	double short_us;  /* the shortest of late: a wave's layer shall fit in each */
	double wave_us;   /* newest prediction for a wave, by the cost of steps */
	/* What waves beside urgent rows took, of that: ring of the newest ones; their median. */
	float scales[COST_KEPT], scale;
	uint32_t n_scales;            /* ever */
	unsigned size;                /* of the newest urgent rows: cost_class_of */
	unsigned mixed[COST_CLASSES]; /* steps since urgent rows of a size ran alone */
};

/* What there is, at one moment. */
struct view {
	unsigned n_urgent, n_bulk; /* ready ones that decode */
	uint32_t urgent_rows;      /* without drafts behind them */
	double urgent_work, bulk_work;
	uint64_t oldest_us[2]; /* arrival of the oldest urgent one, of the oldest bulk one */
	double waiting;        /* rows of others, at most about SCHED_WAVE_ROWS */
	double layer_us;       /* shortest step without urgent rows: one layer of a wave */
	double most_us;        /* longest step that interactive sessions that are away allow */
	uint64_t allowed_us;   /* when they will allow one of a row */
};

int sched_create(struct sched **out, const struct sched_conf *conf)
{
	struct sched *s = calloc(1, sizeof(*s));

	assert(conf->max_rows >= 1 && conf->max_rows <= SCHED_MAX_ROWS && conf->layers >= 1);
	if (!s)
		return ERR_NOMEM;
	s->conf = *conf;
	s->scale = 1;
	s->flows = calloc(conf->flows, sizeof(*s->flows));
	s->ready = calloc(conf->flows, sizeof(*s->ready));
	s->due_us = calloc(conf->flows, sizeof(*s->due_us));
	if (!s->flows || !s->ready || !s->due_us) {
		sched_destroy(s);
		return ERR_NOMEM;
	}
	*out = s;
	return 0;
}

void sched_destroy(struct sched *s)
{
	if (!s)
		return;
	free(s->flows);
	free(s->ready);
	free(s->due_us);
	free(s);
}

static bool is_urgent(const struct sched_job *job)
{
	return job->decodes && !job->bulk;
}

/* Of one of the next rows, attention included. */
static double row_work(const struct sched *s, const struct sched_job *job, uint32_t rows)
{
	const double pos = job->pos + job->done + rows / 2.0;

	return (double)job->layers * (1 + pos * s->conf.attention);
}

static bool has_layers(const struct sched_job *job)
{
	return job->from < job->until;
}

static double work_of(const struct sched *s, const struct sched_job *job, uint32_t rows)
{
	const bool ends = job->done + rows == job->rows;

	return rows * row_work(s, job, rows) + (ends && job->sample ? s->conf.answer : 0);
}

/* Smoothed as round-trip times are: Jacobson, "Congestion avoidance and control", 1988. */
static void learn_gap(struct flow *f, uint64_t arrived_us)
{
	const float gap_us = arrived_us > f->answered_us ? (float)(arrived_us - f->answered_us) : 0;
	const float off = gap_us - f->gap_us;

	if (gap_us > LONGEST_GAP)
		return;
	if (!f->known) {
		f->gap_us = gap_us;
		f->dev_us = gap_us / 2;
	} else {
		f->gap_us += off / 8;
		f->dev_us += ((off < 0 ? -off : off) - f->dev_us) / 4;
	}
	f->known = true;
}

void sched_add(struct sched *s, struct sched_job *job)
{
	struct flow *f = &s->flows[job->flow];

	assert(job->flow < s->conf.flows && job->after <= s->conf.flows);
	assert(job->rows && job->rows <= s->conf.max_rows);
	assert(job->from <= job->until && job->until <= s->conf.layers);
	job->done = 0;
	job->next = NULL;
	job->deadline_us = job->arrived_us + (job->bulk ? s->conf.bulk_us : s->conf.interactive_us);
	job->layers = (float)(job->until - job->from) / (float)s->conf.layers;
	if (job->layers < LEAST_LAYERS)
		job->layers = LEAST_LAYERS;
	if (!job->pos) {
		f->known = f->prompts = false;
		f->answered_us = 0;
	}
	job->decodes = job->sample && job->rows <= SCHED_DECODE_ROWS && !f->prompts;
	/* A draft that was here before the answer says nothing of when rows come after one. */
	if (!f->head && f->answered_us && job->decodes &&
	    !(job->draft && job->arrived_us < f->answered_us))
		learn_gap(f, job->arrived_us);
	f->answered_us = 0;
	f->prompts = !job->sample;
	f->bulk = job->bulk;
	if (f->head)
		f->last->next = job;
	else
		f->head = job;
	f->last = job;
}

/* ---- what there is -------------------------------------------------------------------------- */

static int by_urgency(const void *a, const void *b)
{
	const struct sched_job *x = *(struct sched_job *const *)a;
	const struct sched_job *y = *(struct sched_job *const *)b;

	if (is_urgent(x) != is_urgent(y))
		return is_urgent(x) ? -1 : 1;
	if (x->deadline_us != y->deadline_us)
		return x->deadline_us < y->deadline_us ? -1 : 1;
	return x->flow < y->flow ? -1 : x->flow > y->flow;
}

static int by_time(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* The draft that follows right on a job, so that one pass can take both. */
static struct sched_job *draft_behind(const struct sched_job *job)
{
	struct sched_job *next = job->next;
	const bool follows = next && next->draft && next->pos == job->pos + job->rows;

	return follows && is_urgent(next) && next->from == job->from && !next->after ? next : NULL;
}

static void see_ready(struct sched *s, struct view *v, struct sched_job *job)
{
	for (struct sched_job *j = job; j && !is_urgent(job) && v->waiting < SCHED_WAVE_ROWS;
	     j = j->next)
		v->waiting += has_layers(j) ? j->rows - j->done : 0;
	s->ready[s->n_ready++] = job;
	if (!job->decodes)
		return;
	if (job->arrived_us < v->oldest_us[job->bulk])
		v->oldest_us[job->bulk] = job->arrived_us;
	if (job->bulk) {
		v->n_bulk++;
		v->bulk_work += work_of(s, job, job->rows - job->done);
	} else {
		v->n_urgent++;
		v->urgent_rows += job->rows;
		for (; job; job = draft_behind(job))
			v->urgent_work += work_of(s, job, job->rows);
	}
}

/* Rows of a wave that takes more than one step: half of a step's is left for those that decode. */
static uint32_t most_rows(const struct sched *s)
{
	const uint32_t half = (s->conf.max_rows + 1) / 2;

	return half < SCHED_WAVE_ROWS ? half : SCHED_WAVE_ROWS;
}

/* Rows of a wave of which a layer at a time, or a few, fit beside the urgent rows. */
static double wave_rows(const struct sched *s)
{
	const double us = s->conf.share * s->short_us, row_us = s->cost.row_us * (double)s->scale;
	const double fit = row_us > 0 ? us / row_us * s->conf.layers : 0;

	return fit / fmax(1, fmin(ceil(fit / most_rows(s)), s->conf.layers));
}

/* What a layer takes that rows of a wave run through: without its weights, for which rows that
 * run through it anyway are charged. */
static double layer_us(const struct sched *s, double rows)
{
	return s->cost.row_us * (double)s->scale * rows / s->conf.layers;
}

static double base_layer_us(const struct sched *s)
{
	return s->cost.base_us / s->conf.layers;
}

static double next_layer_us(const struct sched *s)
{
	const struct wave *w = &s->wave;

	return layer_us(s, wave_row_layers(w, w->at, w->at + 1, s->conf.attention));
}

/* A step that begins now, how long may it last for the sake of a session that was answered? Until
 * its next row comes, and a moment that is granted to it. If it does not come it may have gone, or
 * be about to: from then on `share` of what its token will have taken by the time; so the longer it
 * is silent the longer the steps. Less than the shortest step (least_us) is nothing: *at_us says
 * when to ask. */
static double patience_us(const struct sched *s, const struct flow *f, double least_us,
			  uint64_t due_us, uint64_t now_us, uint64_t *at_us)
{
	const uint64_t late_us = due_us + (uint64_t)(s->conf.share * least_us);
	const double silent_us = (double)(now_us - f->answered_us);
	const double silence_us = least_us / s->conf.share - s->turn_us; /* allows one */
	const double us = now_us < late_us ? (double)(late_us - now_us)
					   : s->conf.share * (silent_us + s->turn_us);

	*at_us =
		f->answered_us + (silence_us > 0 ? (uint64_t)fmin(silence_us, LONGEST_GAP) + 1 : 0);
	*at_us = *at_us < late_us ? late_us : *at_us;
	return us < least_us ? 0 : us;
}

/* A session that was answered: is its next row on the way? */
static void see_away(struct sched *s, struct view *v, const struct flow *f, uint64_t now_us)
{
	const float gap_us = f->known ? f->gap_us + f->dev_us + LEAST_DEV : 0;
	const uint64_t due_us = f->answered_us + (uint64_t)gap_us;
	uint64_t at_us;
	double us;

	if (now_us < due_us && !(f->bulk && v->n_urgent)) /* urgent ones do not wait for bulk */
		s->due_us[s->n_due++] = due_us;
	if (f->bulk || (float)(now_us - f->answered_us) > LONGEST_GAP)
		return;
	us = patience_us(s, f, v->layer_us, due_us, now_us, &at_us);
	v->most_us = us < v->most_us ? us : v->most_us;
	if (us <= 0 && at_us > v->allowed_us)
		v->allowed_us = at_us;
}

static void look(struct sched *s, struct view *v, uint64_t now_us)
{
	*v = (struct view){ .oldest_us = { UINT64_MAX, UINT64_MAX }, .most_us = INFINITY };
	s->n_ready = s->n_due = 0;
	for (uint32_t i = 0; i < s->conf.flows; i++) {
		struct sched_job *job = s->flows[i].head;

		if (job && !s->flows[i].in_wave && !(job->after && s->flows[job->after - 1].head))
			see_ready(s, v, job);
	}
	v->layer_us = base_layer_us(s) +
		      (s->wave.n ? next_layer_us(s) : layer_us(s, fmin(v->waiting, wave_rows(s))));
	for (uint32_t i = 0; i < s->conf.flows; i++) {
		const struct flow *f = &s->flows[i];

		if (!f->head && f->answered_us)
			see_away(s, v, f, now_us);
	}
	qsort(s->ready, s->n_ready, sizeof(*s->ready), by_urgency);
	qsort(s->due_us, s->n_due, sizeof(*s->due_us), by_time);
}

/* ---- what a step takes ---------------------------------------------------------------------- */

/* Rows that are due soon: shall those that are here wait for them?
 *
 * k rows are here, m more come within d. Waiting makes all of them d later and saves a step's base
 * a, which the m would wait through; and who ran together comes back together. */
static bool waits(const struct sched *s, const struct view *v, uint64_t now_us, uint64_t *wake_us)
{
	const bool bulk = !v->n_urgent;
	const double k = bulk ? v->n_bulk : v->n_urgent, base = s->cost.base_us;
	uint64_t until = 0, most;
	double best = 0;

	if (!v->n_urgent && (s->wave.n || v->n_bulk < s->n_ready))
		return false; /* there is a prompt to go on with */
	for (unsigned i = 0; i < s->n_due; i++) {
		const double m = i + 1, d = (double)(s->due_us[i] - now_us);

		if (m * base - (k + m) * d > best) {
			best = m * base - (k + m) * d;
			until = s->due_us[i];
		}
	}
	most = v->oldest_us[bulk] > s->free_us ? v->oldest_us[bulk] : s->free_us;
	most += (uint64_t)(base / 2);
	until = until < most ? until : most;
	if (until <= now_us)
		return false;
	*wake_us = until;
	return true;
}

/* Rows beyond which a longer step is not more efficient, and keeps from running who comes next. */
static double long_rows(const struct sched *s)
{
	const double rows = s->cost.row_us > 0 ? LONG_BASES * s->cost.base_us / s->cost.row_us : 0;

	return rows > LONG_ROWS ? rows : LONG_ROWS;
}

/* How long urgent rows have waited for a step that ran without any: that was their share. */
static double waited_us(const struct sched *s, const struct view *v)
{
	if (!s->others_only || v->oldest_us[0] >= s->free_us)
		return 0;
	return (double)(s->free_us - v->oldest_us[0]);
}

/* Time that a wave may take of the next step, INFINITY where nobody minds; 0: none now, or wait
 * until *wake_us. */
static double others_us(struct sched *s, const struct view *v, uint64_t now_us, uint64_t *wake_us)
{
	double us, waited;

	if (!v->n_urgent) {
		if (v->allowed_us > now_us)
			*wake_us = v->allowed_us;
		return v->allowed_us > now_us ? 0 : fmax(v->most_us, 1); /* a layer, at least */
	}
	s->size = cost_class_of(v->urgent_work);
	s->turn_us = cost_near_us(&s->cost, v->urgent_work);
	s->short_us += (s->turn_us - s->short_us) *
		       (s->turn_us < s->short_us || s->short_us <= 0 ? 1 : TURN_PART);
	if (s->cost.row_us <= 0)
		return 1; /* whatever it is, something of it */
	us = s->conf.share * s->turn_us;
	waited = waited_us(s, v);
	if (waited > 0)
		return us - waited < v->layer_us - base_layer_us(s) ? 0 : us - waited;
	/* Now and then none, so that it is known what urgent rows take alone. */
	return s->mixed[s->size] < MIXED ? us : 0;
}

/* As part of the step, or of a wave. */
static struct sched_part part_of(struct sched *s, struct sched_job *job, uint32_t rows)
{
	const bool last = job->done + rows == job->rows;
	const struct sched_part p = { .job = job,
				      .flow = job->flow,
				      .first = job->done,
				      .rows = rows,
				      .last = last,
				      .answers = last && job->sample };

	job->done += rows;
	s->cut[job->bulk] = last ? s->cut[job->bulk] == job ? NULL : s->cut[job->bulk] : job;
	return p;
}

/* An urgent one. */
static void take(struct sched *s, struct sched_step *step, struct sched_job *job, uint32_t rows)
{
	step->work += work_of(s, job, rows);
	step->rows += rows;
	step->patient &= job->patient;
	step->parts[step->n] = part_of(s, job, rows);
	if (step->parts[step->n++].last)
		s->flows[job->flow].head = job->next;
}

/* Drafts take no room that another session's row needs. */
static void take_urgent(struct sched *s, struct sched_step *step, const struct view *v)
{
	const uint32_t room = s->conf.max_rows - s->wave.rows;
	uint32_t spare = room > v->urgent_rows ? room - v->urgent_rows : 0;

	for (unsigned i = 0; i < v->n_urgent; i++) {
		struct sched_job *job = s->ready[i], *draft;

		if (job->rows > room - step->rows)
			break;
		for (;; job = draft) {
			draft = draft_behind(job);
			take(s, step, job, job->rows);
			step->urgent++;
			if (!draft || draft->rows > spare)
				break;
			spare -= draft->rows;
		}
	}
}

/* Rows of the job for which there is room, each of so much. A first one always is when `must`. */
static uint32_t rows_for(const struct sched *s, uint32_t free_rows, const struct sched_job *job,
			 double room, double row, bool must)
{
	const uint32_t left = job->rows - job->done;
	uint32_t rows = left < free_rows ? left : free_rows;
	double fit = room / row;

	if (rows > fit)
		rows = (uint32_t)fit;
	if (!rows && must && free_rows)
		rows = 1;
	if (rows < left && s->cut[job->bulk] && s->cut[job->bulk] != job)
		return 0; /* there is one that is cut already */
	return rows;
}

/* A chunk follows that the same pass can take: nothing is sampled in between. A session that waits
 * for none of it may run on this machine, so such steps stay short. */
static struct sched_job *follower(const struct sched *s, const struct sched_step *step,
				  const struct sched_job *job)
{
	const struct sched_job *next = job->next;

	if (job->patient && next &&
	    step->rows + s->wave.rows + job->rows + next->rows > SCHED_CALM_ROWS)
		return NULL;
	if (job->sample || !next || next->pos != job->pos + job->rows || next->after)
		return NULL;
	return job->next;
}

static void take_other(struct sched *s, struct sched_job *job, uint32_t rows)
{
	const struct sched_part p = part_of(s, job, rows);

	wave_put(&s->wave, &p);
	s->flows[job->flow].in_wave = true;
}

/* The next wave: others, until there is no more room for rows through all their layers, or through
 * one. */
static void gather(struct sched *s, const struct sched_step *step, double room, bool all)
{
	const uint32_t free_rows = s->conf.max_rows - step->rows;
	const uint32_t most = all || free_rows < most_rows(s) ? free_rows : most_rows(s);
	bool must = true;

	for (unsigned i = step->urgent; i < s->n_ready; i++) {
		struct sched_job *job = s->ready[i], *next;
		uint32_t rows;

		for (; job; job = next) {
			const bool part = !all && has_layers(job);
			const double row = row_work(s, job, 0) / (part ? (double)job->layers : 1);

			rows = rows_for(s, most - s->wave.rows, job, room, row, must);
			if (!rows)
				break;
			next = rows == job->rows - job->done ? follower(s, step, job) : NULL;
			room -= part ? rows * row : work_of(s, job, rows);
			take_other(s, job, rows);
			must = false;
			room = room > 0 ? room : 0;
		}
	}
}

/* Those whose last rows were in the wave leave their flows. */
static void end_wave(struct sched *s)
{
	struct wave *w = &s->wave;

	for (unsigned i = 0; i < w->n; i++) {
		struct flow *f = &s->flows[w->parts[i].flow];

		if (w->parts[i].last)
			f->head = w->parts[i].job->next;
		f->in_wave = false;
	}
	w->n = w->rows = 0;
	w->begun = false;
}

/* Layers of the wave, one at least, until they have taken us. */
static void run_wave(struct sched *s, struct sched_step *step, double us)
{
	struct wave *w = &s->wave;
	const double base_us = step->urgent ? 0 : base_layer_us(s);
	double took = 0, more = base_us + next_layer_us(s);

	step->begins = !w->begun;
	w->begun = true;
	step->from = w->at;
	while (w->at < w->until && (w->at == step->from || took + more <= SLACK * us)) {
		took += more;
		w->at++;
		more = base_us + next_layer_us(s);
	}
	s->wave_us = took / (double)s->scale;
	step->until = w->at;
	step->ends = w->at == w->until;
	step->rows += step->begins ? w->rows : 0;
	step->work +=
		wave_row_layers(w, step->from, step->until, s->conf.attention) / s->conf.layers;
	for (unsigned i = 0; i < w->n; i++) {
		step->patient &= w->parts[i].job->patient;
		step->work += step->ends && w->parts[i].answers ? s->conf.answer : 0;
		step->parts[step->n++] = w->parts[i];
	}
	if (step->ends)
		end_wave(s);
}

/* Rows through all layers for which there is time where none are urgent. */
static double rows_at_once(const struct sched *s, double us)
{
	if (s->cost.row_us <= 0 || us >= cost_us(&s->cost, long_rows(s)))
		return long_rows(s);
	return (us - s->cost.base_us) / s->cost.row_us;
}

/* us: that they may take. */
static void form_others(struct sched *s, struct sched_step *step, double us)
{
	const double once = step->urgent ? 0 : rows_at_once(s, us), some = wave_rows(s);
	const bool all = once > some;

	if (!s->wave.n) {
		gather(s, step, all ? once : some, all);
		us = all ? INFINITY : us;
	}
	if (s->wave.n)
		run_wave(s, step, once < long_rows(s) ? us : INFINITY);
}

bool sched_form(struct sched *s, uint64_t now_us, struct sched_step *step, uint64_t *wake_us)
{
	struct view v;
	double us;

	step->n = step->urgent = 0;
	step->rows = step->from = step->until = 0;
	step->patient = true;
	step->begins = step->ends = false;
	step->work = 0;
	*wake_us = UINT64_MAX;
	look(s, &v, now_us);
	if ((!s->n_ready && !s->wave.n) || waits(s, &v, now_us, wake_us))
		return false;
	take_urgent(s, step, &v);
	us = others_us(s, &v, now_us, wake_us);
	if (v.n_urgent && !step->urgent)
		us = INFINITY; /* a wave leaves them no room */
	if (us > 0)
		form_others(s, step, us);
	return step->n;
}

/* Urgent rows and a wave took so long. */
static void learn_scale(struct sched *s, double took_us)
{
	const double scale = (took_us - s->turn_us) / s->wave_us;

	s->scales[s->n_scales % COST_KEPT] = (float)fmin(fmax(scale, LEAST_SCALE), MOST_SCALE);
	if (++s->n_scales == 2 * COST_KEPT) /* the ring goes on, the count does not run over */
		s->n_scales = COST_KEPT;
	s->scale = cost_median(s->scales, s->n_scales);
}

void sched_ran(struct sched *s, const struct sched_step *step, uint64_t now_us, uint64_t took_us)
{
	const bool wave = step->urgent < step->n;

	s->free_us = now_us;
	s->others_only = !step->urgent;
	if (step->urgent)
		s->mixed[s->size] = wave ? s->mixed[s->size] + 1 : 0;
	if (wave && step->urgent && s->wave_us > 0) /* 0: nothing was predicted */
		learn_scale(s, (double)took_us);
	/* Layers have all their base, and urgent rows are alone once something is known. */
	if (!wave || (step->begins && step->ends && (!step->urgent || s->cost.row_us <= 0)))
		cost_learn(&s->cost, step->work, (double)took_us);
	for (unsigned i = 0; i < step->n; i++) {
		if (step->parts[i].answers && (i < step->urgent || step->ends))
			s->flows[step->parts[i].flow].answered_us = now_us;
	}
}

void sched_drop(struct sched *s, struct sched_job *job)
{
	struct flow *f = &s->flows[job->flow];
	struct sched_job *before = NULL, **at = &f->head;

	while (*at != job) {
		before = *at;
		at = &before->next;
	}
	*at = job->next;
	f->last = f->last == job ? before : f->last;
	if (s->cut[job->bulk] == job)
		s->cut[job->bulk] = NULL;
	wave_drop(&s->wave, job);
	f->in_wave = false;
	for (unsigned i = 0; i < s->wave.n; i++)
		f->in_wave |= s->wave.parts[i].flow == job->flow;
	if (!s->wave.n)
		end_wave(s);
}

struct sched_job *sched_waiting_draft(const struct sched *s, uint32_t flow)
{
	const struct flow *f = &s->flows[flow];

	return f->head && f->head->draft && !f->in_wave && !f->head->done ? f->head : NULL;
}

struct sched_job *sched_take_any(struct sched *s)
{
	s->wave.n = 0;
	end_wave(s);
	for (uint32_t i = 0; i < s->conf.flows; i++) {
		struct sched_job *job = s->flows[i].head;

		if (!job)
			continue;
		s->flows[i].head = job->next;
		s->flows[i].in_wave = false;
		if (s->cut[job->bulk] == job)
			s->cut[job->bulk] = NULL;
		return job;
	}
	return NULL;
}
