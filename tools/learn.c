#include "tools/learn_impl.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "codec/row.h"
#include "tools/matrix.h"

#define RIDGE    1e-3
#define SHRINK   1.0 /* rows of mean weight that pull a token's value towards 0 */
#define BACKFITS 3
#define BLOCK    512 /* rows of a step */
#define MIN_ROWS 256

double *learn_zeros(size_t n)
{
	return calloc(n ? n : 1, sizeof(double));
}

static void finish(struct learn *f)
{
	free(f->weight);
	free(f->sense);
	free(f->back);
	free(f->y);
	free(f->rest);
	free(f->map);
	free(f->now);
	free(f->before);
	free(f->axes);
}

static int begin(struct learn *f, const struct learn_rows *r, bool features)
{
	const size_t d = r->dim, values = features ? 0 : (size_t)r->n_vocab * d;

	*f = (struct learn){ .rows = r, .d = d, .e = r->n_embed, .in = d + 2 * r->n_embed + 1 };
	f->weight = learn_zeros(r->n);
	f->sense = learn_zeros(d * d);
	f->back = learn_zeros(d * d);
	f->y = learn_zeros(r->n * d);
	f->rest = learn_zeros(r->n * d);
	f->map = learn_zeros(f->in * d);
	f->now = learn_zeros(values);
	f->before = learn_zeros(values);
	f->axes = learn_zeros(d * d);
	return f->weight && f->sense && f->back && f->y && f->rest && f->map && f->now &&
			       f->before && f->axes
		       ? 0
		       : ERR_NOMEM;
}

/* A row's error counts next to its energy. */
static void weigh(struct learn *f)
{
	const struct learn_rows *r = f->rows;

	for (size_t t = 0; t < r->n; t++) {
		double energy = (double)row_energy(r->x + t * f->d, f->d);

		f->weight[t] = r->first[t] || energy <= 0 ? 0 : 1 / energy;
		f->total += f->weight[t];
	}
}

/* S: the square root of what an error weighs, of mean gain 1. */
static int take_sense(struct learn *f)
{
	const size_t d = f->d;
	double *values = learn_zeros(d), *scaled = learn_zeros(d * d);
	int rc = values && scaled ? 0 : ERR_NOMEM;

	if (!rc && f->rows->sense) {
		memcpy(f->axes, f->rows->sense, d * d * sizeof(double));
		rc = matrix_eigen(f->axes, values, d);
		for (size_t i = 0; i < d * d && !rc; i++)
			scaled[i] = f->axes[i] * sqrt(values[i / d] > 0 ? values[i / d] : 0);
		if (!rc)
			matrix_multiply(f->sense, f->axes, 1, scaled, 0, d, d, d);
	} else {
		for (size_t i = 0; i < d; i++)
			f->sense[i * d + i] = 1;
	}
	memcpy(f->back, f->sense, d * d * sizeof(double));
	if (!rc)
		rc = matrix_invert(f->back, d);
	free(values);
	free(scaled);
	return rc;
}

/* out [n][m] = x [n][d] m' for float rows. */
static int transform(const float *x, size_t n, size_t d, const double *m, double *out)
{
	double *block = learn_zeros(BLOCK * d);

	if (!block)
		return ERR_NOMEM;
	for (size_t at = 0; at < n; at += BLOCK) {
		size_t rows = n - at < BLOCK ? n - at : BLOCK;

		for (size_t i = 0; i < rows * d; i++)
			block[i] = (double)x[at * d + i];
		matrix_multiply(out + at * d, block, 0, m, 1, rows, d, d);
	}
	free(block);
	return 0;
}

/* Inputs of row t: the row before, both embeddings, 1. */
static void inputs_of(const struct learn *f, size_t t, double *in)
{
	const struct learn_rows *r = f->rows;
	const float *now = r->embed + (size_t)r->ids[t] * f->e, *before = NULL;

	memset(in, 0, f->in * sizeof(*in));
	in[f->in - 1] = 1;
	for (size_t i = 0; i < f->e; i++)
		in[f->d + i] = (double)now[i];
	if (r->first[t])
		return;
	before = r->embed + (size_t)r->ids[t - 1] * f->e;
	memcpy(in, f->y + (t - 1) * f->d, f->d * sizeof(*in));
	for (size_t i = 0; i < f->e; i++)
		in[f->d + f->e + i] = (double)before[i];
}

/* Least squares from n_in inputs (the first d of them noisy) to n_out outputs, both scaled by the
 * square root of the weight; gram and map were summed up. */
int learn_solve(double *gram, double *map, size_t n_in, size_t n_out, size_t d, double noise)
{
	double trace = 0;

	for (size_t i = 0; i < n_in; i++)
		trace += gram[i * n_in + i];
	for (size_t i = 0; i < n_in; i++)
		gram[i * n_in + i] += RIDGE * gram[i * n_in + i] + 1e-9 * trace / (double)n_in +
				      (i < d ? noise : 0);
	return matrix_solve(gram, map, n_in, n_out);
}

/* The errors of the row before, as the weights count them: energy / d * LEARN_DELTA an element. */
double learn_noise(const struct learn *f)
{
	double n = 0;

	for (size_t t = 0; t < f->rows->n; t++)
		n += f->weight[t] > 0;
	return n * LEARN_DELTA / (double)f->d;
}

/* Sum up products of inputs (and outputs `target`) over all rows. */
static int sum_products(const struct learn *f, const double *target, double *gram, double *map)
{
	double *a = learn_zeros(BLOCK * f->in), *b = learn_zeros(BLOCK * f->d);
	int rc = a && b ? 0 : ERR_NOMEM;

	for (size_t at = 0; at < f->rows->n && !rc; at += BLOCK) {
		size_t rows = f->rows->n - at < BLOCK ? f->rows->n - at : BLOCK;

		for (size_t k = 0; k < rows; k++) {
			const double root = sqrt(f->weight[at + k]);

			inputs_of(f, at + k, a + k * f->in);
			for (size_t i = 0; i < f->in; i++)
				a[k * f->in + i] *= root;
			for (size_t i = 0; i < f->d; i++)
				b[k * f->d + i] = target[(at + k) * f->d + i] * root;
		}
		matrix_add_products(gram, a, a, rows, f->in, f->in);
		matrix_add_products(map, a, b, rows, f->in, f->d);
	}
	free(a);
	free(b);
	return rc;
}

/* rest = y - map inputs */
static int subtract_map(struct learn *f)
{
	double *a = learn_zeros(BLOCK * f->in), *p = learn_zeros(BLOCK * f->d);
	int rc = a && p ? 0 : ERR_NOMEM;

	for (size_t at = 0; at < f->rows->n && !rc; at += BLOCK) {
		size_t rows = f->rows->n - at < BLOCK ? f->rows->n - at : BLOCK;

		for (size_t k = 0; k < rows; k++)
			inputs_of(f, at + k, a + k * f->in);
		matrix_multiply(p, a, 0, f->map, 0, rows, f->in, f->d);
		for (size_t i = 0; i < rows * f->d; i++)
			f->rest[at * f->d + i] = f->y[at * f->d + i] - p[i];
	}
	free(a);
	free(p);
	return rc;
}

static int fit_map(struct learn *f)
{
	double *gram = learn_zeros(f->in * f->in);
	int rc = gram ? 0 : ERR_NOMEM;

	if (!rc)
		rc = sum_products(f, f->y, gram, f->map);
	if (!rc)
		rc = learn_solve(gram, f->map, f->in, f->d, f->d, learn_noise(f));
	free(gram);
	return rc ? rc : subtract_map(f);
}

/* The token of row t, or of the row before it. */
static uint32_t token_of(const struct learn *f, size_t t, bool before)
{
	return f->rows->ids[before ? t - 1 : t];
}

/* Move the mean of what is left of each token's rows into its value. */
static int move_means(struct learn *f, double *values, bool before)
{
	const size_t d = f->d, vocab = f->rows->n_vocab;
	double *sum = learn_zeros(vocab * d), *weight = learn_zeros(vocab);
	double counted = 0;
	int rc = sum && weight ? 0 : ERR_NOMEM;

	for (size_t t = 0; t < f->rows->n && !rc; t++) {
		if (f->weight[t] == 0)
			continue;
		counted++;
		weight[token_of(f, t, before)] += f->weight[t];
		for (size_t i = 0; i < d; i++)
			sum[token_of(f, t, before) * d + i] += f->weight[t] * f->rest[t * d + i];
	}
	for (size_t v = 0; v < vocab && !rc; v++) {
		for (size_t i = 0; i < d; i++) {
			sum[v * d + i] /= weight[v] + SHRINK * f->total / counted;
			values[v * d + i] += sum[v * d + i];
		}
	}
	for (size_t t = 0; t < f->rows->n && !rc; t++) {
		for (size_t i = 0; i < d && f->weight[t] > 0; i++)
			f->rest[t * d + i] -= sum[token_of(f, t, before) * d + i];
	}
	free(sum);
	free(weight);
	return rc;
}

/* What the linear map makes of each token's embedding is part of its value. */
static int fold_embeddings(struct learn *f)
{
	const struct learn_rows *r = f->rows;
	double *embed = learn_zeros((size_t)r->n_vocab * f->e);
	double *part = learn_zeros((size_t)r->n_vocab * f->d);

	for (size_t i = 0; embed && i < (size_t)r->n_vocab * f->e; i++)
		embed[i] = (double)r->embed[i];
	for (unsigned which = 0; embed && part && which < 2; which++) {
		double *values = which ? f->before : f->now;

		matrix_multiply(part, embed, 0, f->map + (f->d + which * f->e) * f->d, 0,
				r->n_vocab, f->e, f->d);
		for (size_t i = 0; i < (size_t)r->n_vocab * f->d; i++)
			values[i] += part[i];
	}
	free(embed);
	free(part);
	return embed && part ? 0 : ERR_NOMEM;
}

/* Principal axes of the rest, errors of the codec included. */
static int find_axes(struct learn *f)
{
	const size_t d = f->d;
	double *scaled = learn_zeros(BLOCK * d), *values = learn_zeros(d);
	int rc = scaled && values ? 0 : ERR_NOMEM;

	memset(f->axes, 0, d * d * sizeof(double));
	for (size_t at = 0; at < f->rows->n && !rc; at += BLOCK) {
		size_t rows = f->rows->n - at < BLOCK ? f->rows->n - at : BLOCK;

		for (size_t i = 0; i < rows * d; i++)
			scaled[i] = f->rest[at * d + i] * sqrt(f->weight[at + i / d]);
		matrix_add_products(f->axes, scaled, scaled, rows, d, d);
	}
	if (!rc)
		rc = matrix_eigen(f->axes, values, d);
	for (size_t i = 0; i < d / 2 && !rc; i++) { /* largest first */
		memcpy(scaled, f->axes + i * d, d * sizeof(double));
		memcpy(f->axes + i * d, f->axes + (d - 1 - i) * d, d * sizeof(double));
		memcpy(f->axes + (d - 1 - i) * d, scaled, d * sizeof(double));
	}
	free(scaled);
	free(values);
	return rc;
}

static int fit(struct learn *f, bool features)
{
	int rc = take_sense(f);

	if (!rc)
		rc = transform(f->rows->x, f->rows->n, f->d, f->sense, f->y);
	if (!rc)
		rc = fit_map(f);
	for (unsigned i = 0; i < BACKFITS && !rc && !features; i++) {
		rc = move_means(f, f->now, false);
		if (!rc)
			rc = move_means(f, f->before, true);
	}
	if (!rc && !features)
		rc = fold_embeddings(f);
	return rc ? rc : find_axes(f);
}

int learn_split(struct cal_split *s, const struct cal *c, const struct learn_rows *rows,
		struct err *e)
{
	struct learn f;
	int rc;

	if (rows->n < MIN_ROWS)
		return err_set(e, ERR_LIMIT,
			       "%zu tokens are too few to calibrate with; at least %d", rows->n,
			       MIN_ROWS);
	rc = begin(&f, rows, c->n_features);
	if (!rc) {
		weigh(&f);
		rc = fit(&f, c->n_features);
	}
	if (!rc)
		rc = learn_pack(s, c, &f);
	finish(&f);
	return rc ? err_set(e, rc, "split %u: %s", (unsigned)s->split, err_phrase(rc)) : 0;
}

/* axes [d][d] <- rows: principal axes of embed, smallest first. */
static int embed_axes(const float *embed, size_t n, size_t d, double *axes, double *values)
{
	double *block = learn_zeros(BLOCK * d);

	for (size_t at = 0; block && at < n; at += BLOCK) {
		size_t rows = n - at < BLOCK ? n - at : BLOCK;

		for (size_t i = 0; i < rows * d; i++)
			block[i] = (double)embed[at * d + i];
		matrix_add_products(axes, block, block, rows, d, d);
	}
	free(block);
	return block ? matrix_eigen(axes, values, d) : ERR_NOMEM;
}

int learn_features(const float *embed, size_t n, size_t d, size_t f, int8_t *features)
{
	double *axes = learn_zeros(d * d), *values = learn_zeros(d), *v = learn_zeros(n);
	int rc = axes && values && v ? embed_axes(embed, n, d, axes, values) : ERR_NOMEM;

	for (size_t j = 0; j < f && !rc; j++) {
		const double *axis = axes + (d - 1 - j) * d;
		double most = 1e-30;

		for (size_t t = 0; t < n; t++) {
			v[t] = 0;
			for (size_t i = 0; i < d; i++)
				v[t] += axis[i] * (double)embed[t * d + i];
			most = fabs(v[t]) > most ? fabs(v[t]) : most;
		}
		for (size_t t = 0; t < n; t++)
			features[t * f + j] = (int8_t)nearbyint(v[t] / most * 127);
	}
	free(axes);
	free(values);
	free(v);
	return rc;
}
