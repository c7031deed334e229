#include "agent/lens.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/kern.h"

#define DRIFT      1e-2f /* of the mean of rows, for each row */
#define ROWS       8u    /* that are kept: the newest ones */
#define RATE       0.75f /* of learning, for a row of length 1 */
#define LEAST      1e-3f /* smaller errors teach nothing */
#define REMEMBERED 64    /* tokens that the comparison is about, half of it */

struct row {
	bool used, told, counts;
	unsigned session;
	uint32_t pos;
	uint32_t id, rival; /* id: when it was told */
	float *x;           /* [dim], less the mean, of RMS 1 */
};

struct lens {
	const struct kern *kern;
	size_t dim;
	unsigned room, n; /* lines */
	uint32_t split;
	lens_embed *embed;
	void *ctx;
	float *weights; /* [room][dim] */
	float *bias;    /* [room] */
	float *p;       /* [room] scratch: probabilities */
	uint32_t *ids;  /* [room] */
	uint32_t *seen; /* [room] when it last came */
	uint32_t now;   /* tokens that were learned */
	double right, rival_right;
	float *mean; /* [dim] of rows of RMS 1 */
	uint32_t n_kept;
	struct row rows[ROWS];
	unsigned next; /* row that is overwritten */
	float *floats; /* rows, and the mean */
};

static unsigned room_of(size_t dim)
{
	const size_t n = LENS_BYTES_MAX / (dim * sizeof(float));

	return n < 1 ? 1 : n > LENS_TOKENS_MAX ? LENS_TOKENS_MAX : (unsigned)n;
}

int lens_create(struct lens **out, size_t dim, lens_embed *embed, void *ctx)
{
	struct lens *l = calloc(1, sizeof(*l));
	struct err e;
	int rc;

	if (!l)
		return ERR_NOMEM;
	rc = kern_pick(&l->kern, &e);
	if (rc) {
		free(l);
		return rc;
	}
	l->dim = dim;
	l->room = room_of(dim);
	l->embed = embed;
	l->ctx = ctx;
	l->weights = malloc(l->room * dim * sizeof(*l->weights));
	l->bias = malloc(l->room * sizeof(*l->bias));
	l->p = malloc(l->room * sizeof(*l->p));
	l->ids = malloc(l->room * sizeof(*l->ids));
	l->seen = malloc(l->room * sizeof(*l->seen));
	l->floats = malloc((ROWS + 1) * dim * sizeof(*l->floats));
	if (!l->weights || !l->bias || !l->p || !l->ids || !l->seen || !l->floats) {
		lens_destroy(l);
		return ERR_NOMEM;
	}
	for (unsigned i = 0; i < ROWS; i++)
		l->rows[i].x = l->floats + i * dim;
	l->mean = l->floats + ROWS * dim;
	*out = l;
	return 0;
}

void lens_destroy(struct lens *l)
{
	if (!l)
		return;
	free(l->weights);
	free(l->bias);
	free(l->p);
	free(l->ids);
	free(l->seen);
	free(l->floats);
	free(l);
}

static void begin_anew(struct lens *l, uint32_t split)
{
	l->split = split;
	l->n = l->n_kept = 0;
	l->right = l->rival_right = 0;
	for (unsigned i = 0; i < ROWS; i++)
		l->rows[i].used = false;
}

static struct row *row_at(struct lens *l, unsigned session, uint32_t pos)
{
	for (unsigned i = 0; i < ROWS; i++) {
		struct row *r = &l->rows[i];

		if (r->used && r->session == session && r->pos == pos)
			return r;
	}
	return NULL;
}

static void scale_to_one(const struct lens *l, float *x)
{
	const float rms = sqrtf(l->kern->dot(x, x, l->dim) / (float)l->dim);

	for (size_t i = 0; i < l->dim; i++)
		x[i] /= rms + FLT_MIN;
}

/* What all rows have in common says nothing. The first row has all of it. */
static void center(struct lens *l, float *x)
{
	const float even = 1 / (float)(l->n_kept + 1), part = even > DRIFT ? even : DRIFT;

	for (size_t i = 0; i < l->dim; i++) {
		l->mean[i] = l->n_kept ? l->mean[i] + part * (x[i] - l->mean[i]) : x[i];
		x[i] -= l->mean[i] * (l->n_kept ? 1 : 0);
	}
	l->n_kept += l->n_kept < UINT32_MAX;
}

void lens_keep(struct lens *l, unsigned session, uint32_t split, uint32_t pos, const float *x,
	       const uint32_t *rival)
{
	struct row *r;

	if (split != l->split)
		begin_anew(l, split);
	r = row_at(l, session, pos);
	if (!r)
		r = &l->rows[l->next++ % ROWS];
	r->used = true;
	r->told = false;
	r->counts = rival;
	r->rival = rival ? *rival : LENS_NO_RIVAL;
	r->session = session;
	r->pos = pos;
	memcpy(r->x, x, l->dim * sizeof(*x));
	scale_to_one(l, r->x);
	center(l, r->x);
	scale_to_one(l, r->x);
}

/* Probabilities of all lines. Returns the likeliest one; there must be one. */
static unsigned infer(struct lens *l, const float *x)
{
	unsigned best = 0;
	float most, sum = 0;

	for (unsigned i = 0; i < l->n; i++) {
		l->p[i] = l->bias[i] + l->kern->dot(l->weights + i * l->dim, x, l->dim);
		if (l->p[i] > l->p[best])
			best = i;
	}
	most = l->p[best];
	for (unsigned i = 0; i < l->n; i++)
		sum += l->p[i] = expf(l->p[i] - most);
	for (unsigned i = 0; i < l->n; i++)
		l->p[i] /= sum;
	return best;
}

bool lens_guess(struct lens *l, unsigned session, uint32_t pos, uint32_t *id, double *p)
{
	const struct row *r = row_at(l, session, pos);
	unsigned best;

	if (!r || !l->n)
		return false;
	best = infer(l, r->x);
	*id = l->ids[best];
	*p = (double)l->p[best];
	return true;
}

void lens_told(struct lens *l, unsigned session, uint32_t pos, uint32_t id)
{
	struct row *r = row_at(l, session, pos);

	if (!r)
		return;
	r->told = true;
	r->id = id;
}

static struct row *told_row(struct lens *l)
{
	for (unsigned i = 0; i < ROWS; i++)
		if (l->rows[i].used && l->rows[i].told)
			return &l->rows[i];
	return NULL;
}

bool lens_wants(struct lens *l)
{
	return told_row(l);
}

/* The line of a token; a new one has no part in l->p yet. */
static unsigned line_of(struct lens *l, uint32_t id)
{
	unsigned i = 0;

	for (; i < l->n; i++)
		if (l->ids[i] == id)
			return i;
	if (l->n < l->room)
		l->n++;
	else
		for (unsigned k = i = 0; k < l->n; k++)
			if (l->now - l->seen[k] > l->now - l->seen[i])
				i = k;
	if (l->embed(l->ctx, id, l->weights + i * l->dim))
		memset(l->weights + i * l->dim, 0, l->dim * sizeof(*l->weights));
	l->ids[i] = id;
	l->bias[i] = l->p[i] = 0;
	return i;
}

static void correct(struct lens *l, unsigned line, const float *x, float error)
{
	float *w = l->weights + line * l->dim;
	const float step = RATE / (float)l->dim * error;

	for (size_t i = 0; i < l->dim; i++)
		w[i] -= step * x[i];
	l->bias[line] -= step;
}

static void count(double *right, bool is)
{
	*right += ((is ? 1.0 : 0.0) - *right) / REMEMBERED;
}

void lens_learn(struct lens *l)
{
	struct row *r = told_row(l);
	unsigned line;

	if (!r)
		return;
	r->told = false;
	if (l->n) {
		const unsigned best = infer(l, r->x);

		if (r->counts)
			count(&l->right, l->ids[best] == r->id);
		if (r->counts)
			count(&l->rival_right, r->rival == r->id);
	}
	line = line_of(l, r->id);
	l->seen[line] = ++l->now;
	for (unsigned i = 0; i < l->n; i++) {
		const float error = l->p[i] - (i == line ? 1 : 0);

		if (fabsf(error) >= LEAST)
			correct(l, i, r->x, error);
	}
}

bool lens_is_better(const struct lens *l)
{
	return l->right > l->rival_right;
}
