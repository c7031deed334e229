#include "worker/sched.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "worker/cost.h"

#define LEAST_LAYERS 0.01f /* of a row that runs through none: it is not free */
#define LONG_ROWS    64u   /* of a step that nobody waits for; more where */
#define LONG_BASES   16    /* rows take less than so many times the step's base */
#define LONGEST_GAP  2e6f  /* us; who is away for longer is not waited for */
#define LEAST_DEV    50.0f /* us */

/* One session's jobs, and how it comes back. */
struct flow {
	struct sched_job *head, *last;
	uint64_t answered_us; /* when the newest answer left; 0: nothing is known to come back */
	float gap_us, dev_us; /* from answer to next row: mean and mean deviation */
	bool known, bulk;     /* known: there was a gap */
	bool prompts;         /* the newest job is not to be answered: there is more to come */
};

struct sched {
	struct sched_conf conf;
	struct cost cost;
	struct flow *flows;       /* [conf.flows] */
	struct sched_job **ready; /* [conf.flows] heads: urgent ones first, then by deadline */
	uint64_t *due_us;         /* [conf.flows] of those that are away, ascending */
	unsigned n_ready, n_due;
	struct sched_job *cut[2]; /* taken in part: of interactive, of bulk sessions */
	uint64_t free_us;         /* when the newest step ended */
	bool others_only;         /* nothing urgent was in it */
	double turn_us;           /* newest prediction for the urgent rows of a step */
};

/* What there is, at one moment. */
struct view {
	unsigned n_urgent, n_bulk; /* ready ones that decode */
	double urgent_work, bulk_work;
	uint64_t oldest_us[2]; /* arrival of the oldest urgent one, of the oldest bulk one */
	double least_us;       /* shortest step without urgent rows: of one row */
	double layers;         /* share of the layers that such steps run through, at most */
	double most_us;        /* longest step that interactive sessions that are away allow */
	uint64_t allowed_us;   /* when they will allow one of a row */
};

int sched_create(struct sched **out, const struct sched_conf *conf)
{
	struct sched *s = calloc(1, sizeof(*s));

	assert(conf->max_rows >= 1 && conf->max_rows <= SCHED_MAX_ROWS);
	if (!s)
		return ERR_NOMEM;
	s->conf = *conf;
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
	job->done = 0;
	job->next = NULL;
	job->deadline_us = job->arrived_us + (job->bulk ? s->conf.bulk_us : s->conf.interactive_us);
	if (job->layers < LEAST_LAYERS)
		job->layers = LEAST_LAYERS;
	if (!job->pos) {
		f->known = f->prompts = false;
		f->answered_us = 0;
	}
	job->decodes = job->sample && job->rows <= SCHED_DECODE_ROWS && !f->prompts;
	if (!f->head && f->answered_us && job->decodes)
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

static void see_ready(struct sched *s, struct view *v, struct sched_job *job)
{
	if (!is_urgent(job)) {
		const double full = row_work(s, job, 1) / job->layers;

		v->least_us = fmin(v->least_us, job->layers * cost_us(&s->cost, full));
		v->layers = fmax(v->layers, job->layers);
	}
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
		v->urgent_work += work_of(s, job, job->rows);
	}
}

/* A step that begins now, how long may it last for the sake of a session that was answered? Until
 * its next row comes, and a moment that is granted to it. If it does not come it may have gone, or
 * be about to: from then on `share` of what its token will have taken by the time; so the longer it
 * is silent the longer the steps. Less than a step of a row (row_us) is nothing: *at_us says when
 * to ask. */
static double patience_us(const struct sched *s, const struct flow *f, double row_us,
			  uint64_t due_us, uint64_t now_us, uint64_t *at_us)
{
	const uint64_t late_us = due_us + (uint64_t)(s->conf.share * row_us);
	const double silent_us = (double)(now_us - f->answered_us);
	const double least_us = row_us / s->conf.share - s->turn_us; /* silence that allows a row */
	const double us = now_us < late_us ? (double)(late_us - now_us)
					   : s->conf.share * (silent_us + s->turn_us);

	*at_us = f->answered_us + (least_us > 0 ? (uint64_t)fmin(least_us, LONGEST_GAP) + 1 : 0);
	*at_us = *at_us < late_us ? late_us : *at_us;
	return us < row_us ? 0 : us;
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
	us = patience_us(s, f, fmin(v->least_us, cost_us(&s->cost, 1)), due_us, now_us, &at_us);
	v->most_us = us < v->most_us ? us : v->most_us;
	if (us <= 0 && at_us > v->allowed_us)
		v->allowed_us = at_us;
}

static void look(struct sched *s, struct view *v, uint64_t now_us)
{
	*v = (struct view){ .oldest_us = { UINT64_MAX, UINT64_MAX },
			    .least_us = INFINITY,
			    .most_us = INFINITY };
	s->n_ready = s->n_due = 0;
	for (uint32_t i = 0; i < s->conf.flows; i++) {
		struct sched_job *job = s->flows[i].head;

		if (job && !(job->after && s->flows[job->after - 1].head))
			see_ready(s, v, job);
	}
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

	if (!v->n_urgent && v->n_bulk < s->n_ready)
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

/* Work that rows which are not urgent may bring; 0: none now, or wait until *wake_us. */
static double room(struct sched *s, const struct view *v, uint64_t now_us, uint64_t *wake_us)
{
	const double row = s->cost.row_us, least = LEAST_LAYERS / 2;
	double us;

	if (v->n_urgent) {
		s->turn_us = cost_us(&s->cost, v->urgent_work);
		us = s->conf.share * s->turn_us - waited_us(s, v);
		return row > 0 && us < least * row ? 0 : row > 0 ? us / row : least;
	}
	if (v->allowed_us > now_us) {
		*wake_us = v->allowed_us;
		return 0;
	}
	if (row <= 0 || v->most_us >= cost_us(&s->cost, long_rows(s)))
		return long_rows(s);
	us = v->most_us - s->cost.base_us * v->layers;
	return us > least * row ? us / row : least;
}

static void take(struct sched *s, struct sched_step *step, struct sched_job *job, uint32_t rows)
{
	struct flow *f = &s->flows[job->flow];
	const bool last = job->done + rows == job->rows;

	step->work += work_of(s, job, rows);
	step->rows += rows;
	step->patient &= job->patient;
	step->parts[step->n++] = (struct sched_part){ .job = job,
						      .flow = job->flow,
						      .first = job->done,
						      .rows = rows,
						      .last = last,
						      .answers = last && job->sample };
	job->done += rows;
	s->cut[job->bulk] = last ? s->cut[job->bulk] == job ? NULL : s->cut[job->bulk] : job;
	if (last)
		f->head = job->next;
}

/* Rows of the job for which there is room. A first one always is when `must`. */
static uint32_t rows_for(const struct sched *s, const struct sched_step *step,
			 const struct sched_job *job, double room, bool must)
{
	const uint32_t left = job->rows - job->done, free_rows = s->conf.max_rows - step->rows;
	uint32_t rows = left < free_rows ? left : free_rows;
	double fit = room / row_work(s, job, 0);

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
static struct sched_job *follower(const struct sched_step *step, const struct sched_job *job)
{
	const struct sched_job *next = job->next;

	if (job->patient && next && step->rows + job->rows + next->rows > SCHED_CALM_ROWS)
		return NULL;
	if (job->sample || !next || next->pos != job->pos + job->rows || next->after)
		return NULL;
	return job->next;
}

static void take_others(struct sched *s, struct sched_step *step, unsigned from, double room)
{
	bool must = true;

	for (unsigned i = from; i < s->n_ready; i++) {
		struct sched_job *job = s->ready[i], *next;
		uint32_t rows;

		for (; job; job = next) {
			rows = rows_for(s, step, job, room, must);
			if (!rows)
				break;
			next = rows == job->rows - job->done ? follower(step, job) : NULL;
			room -= work_of(s, job, rows);
			take(s, step, job, rows);
			must = false;
			room = room > 0 ? room : 0;
		}
	}
}

bool sched_form(struct sched *s, uint64_t now_us, struct sched_step *step, uint64_t *wake_us)
{
	struct view v;
	unsigned i = 0;
	double others;

	step->n = 0;
	step->rows = 0;
	step->patient = true;
	step->urgent = 0;
	step->work = 0;
	*wake_us = UINT64_MAX;
	look(s, &v, now_us);
	if (!s->n_ready || waits(s, &v, now_us, wake_us))
		return false;
	for (; i < v.n_urgent; i++) {
		struct sched_job *job = s->ready[i];

		if (job->rows - job->done > s->conf.max_rows - step->rows)
			break;
		take(s, step, job, job->rows - job->done);
		step->urgent++;
	}
	others = room(s, &v, now_us, wake_us);
	if (others > 0)
		take_others(s, step, v.n_urgent, others);
	return step->n;
}

void sched_ran(struct sched *s, const struct sched_step *step, uint64_t now_us, uint64_t took_us)
{
	s->free_us = now_us;
	s->others_only = !step->urgent;
	cost_learn(&s->cost, step->work, (double)took_us);
	for (unsigned i = 0; i < step->n; i++) {
		if (step->parts[i].answers)
			s->flows[step->parts[i].flow].answered_us = now_us;
	}
}

void sched_drop(struct sched *s, struct sched_job *job)
{
	struct flow *f = &s->flows[job->flow];

	assert(f->head == job && s->cut[job->bulk] == job);
	f->head = job->next;
	s->cut[job->bulk] = NULL;
}

struct sched_job *sched_take_any(struct sched *s)
{
	for (uint32_t i = 0; i < s->conf.flows; i++) {
		struct sched_job *job = s->flows[i].head;

		if (!job)
			continue;
		s->flows[i].head = job->next;
		if (s->cut[job->bulk] == job)
			s->cut[job->bulk] = NULL;
		return job;
	}
	return NULL;
}
