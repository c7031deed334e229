/* tools/bench_rate.c - bits against error: sources of known distribution, and rows of a model. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "codec/row.h"
#include "engine/tokenizer.h"
#include "tools/bench.h"
#include "tools/bench_method.h"
#include "tools/cmd.h"
#include "tools/local.h"
#include "tools/progress.h"
#include "tools/source.h"

#define MAX_TEXT_BYTES ((size_t)16 << 20)

/* 8 to 30 dB. The second of the three in between gives 17 to 18 dB: a step is at most a notch,
 * 0.75 dB, finer than it had to be. */
static const double deltas[] = { 0.158,  0.1,   0.063, 0.04,   0.025, 0.0188,
				 0.0125, 0.008, 0.005, 0.0025, 0.001 };

#define DELTAS (sizeof(deltas) / sizeof(deltas[0]))

/* Sums over rows: of the error relative to the energy, of bits of the bound. */
struct tally {
	double relative, bound;
	size_t rows, elements, bytes;
};

static void count_row(struct tally *t, const float *x, const float *y, size_t dim,
		      enum source_kind kind, double energy)
{
	double error = 0;

	for (size_t i = 0; i < dim; i++) {
		double d = (double)x[i] - (double)y[i];

		error += source_sticks_out(kind, i, dim) ? 0 : d * d;
	}
	t->relative += error / energy;
	t->rows++;
	t->elements += dim;
}

static int add(struct bench *b, struct bench_point p, const struct tally *t, struct err *e)
{
	const double relative = t->relative / (double)t->rows;

	p.bits = 8 * (double)t->bytes / (double)t->elements;
	p.snr = -10 * log10(relative);
	p.bound = relative < 1 ? -0.5 * log2(relative) : 0;
	return bench_add_point(b, &p, e);
}

static double bulk_energy(enum source_kind kind, const float *x, size_t dim)
{
	double sum = 0;

	for (size_t i = 0; i < dim; i++)
		sum += source_sticks_out(kind, i, dim) ? 0 : (double)x[i] * (double)x[i];
	return sum;
}

/* Rows one by one: nothing is saved by what they have in common. */
static int source_point(struct bench *b, struct method_run *run, enum source_kind kind,
			const struct method *m, double delta, struct err *e)
{
	const size_t dim = b->conf.dim;
	float *x = malloc(2 * dim * sizeof(*x));
	struct tally t = { 0 };
	int rc = x ? method_begin(run, m, delta, e) : err_set(e, ERR_NOMEM, "out of memory");

	for (uint64_t r = 0; r < b->conf.rows && !rc; r++) {
		source_row(kind, r, x, dim);
		rc = method_cross(run, x, NULL, false, 1, x + dim, &t.bytes, e);
		if (!rc)
			count_row(&t, x, x + dim, dim, kind, bulk_energy(kind, x, dim));
	}
	if (!rc)
		rc = add(b,
			 (struct bench_point){ .source = source_name(kind),
					       .mode = "decode",
					       .method = m->name,
					       .delta = m->has_delta ? delta : 0 },
			 &t, e);
	free(x);
	return rc;
}

int bench_rate(struct bench *b, struct err *e)
{
	struct method_run *run = NULL;
	int rc = 0;

	if (method_run_create(&run, b->conf.dim, 1, NULL, NULL))
		return err_set(e, ERR_NOMEM, "out of memory");
	for (int kind = 0; kind < SOURCE_COUNT; kind++) {
		for (size_t m = 0; m < n_methods; m++) {
			const size_t n = methods[m].has_delta ? DELTAS : 1;

			for (size_t d = 0; d < n && !methods[m].predicts && !rc; d++)
				rc = source_point(b, run, (enum source_kind)kind, &methods[m],
						  deltas[d], e);
		}
	}
	method_run_destroy(run);
	return rc;
}

/* Rows of the text after some layer. */
struct rows {
	float *x; /* [n][dim] */
	uint32_t *ids;
	size_t n, dim, window; /* a sequence begins anew every window */
};

static int read_ids(const struct bench_conf *c, const struct local *l, uint32_t **ids, size_t *n,
		    struct err *e)
{
	const unsigned flags = TOKENIZER_ADD_SPECIAL | TOKENIZER_PARSE_SPECIAL;
	struct tokenizer *tok = NULL;
	char *text = NULL;
	size_t len;
	int rc = cmd_read_file(c->text, MAX_TEXT_BYTES, &text, &len, e);

	if (!rc)
		rc = tokenizer_create(&tok, local_gguf(l), e);
	if (!rc)
		rc = tokenizer_encode(tok, text, len, flags, ids, n, e);
	if (!rc && *n > c->tokens)
		*n = c->tokens;
	if (!rc && !*n)
		rc = err_set(e, ERR_USAGE, "%s: no tokens", c->text);
	tokenizer_destroy(tok);
	free(text);
	return rc;
}

static int run_rows(struct local *l, struct rows *r, struct err *e)
{
	int rc = 0;

	for (size_t at = 0; at < r->n && !rc;) {
		size_t left = r->window - at % r->window, n = r->n - at < left ? r->n - at : left;
		const float *x;

		n = n < LOCAL_ROWS ? n : LOCAL_ROWS;
		if (at % r->window == 0)
			rc = local_begin(l, (uint32_t)r->window, e);
		if (!rc)
			rc = local_run(l, r->ids + at, (uint32_t)n, &x, e);
		if (!rc)
			memcpy(r->x + at * r->dim, x, n * r->dim * sizeof(*x));
		at += n;
	}
	return rc;
}

static int read_rows(const struct bench_conf *c, uint32_t split, struct rows *r, struct err *e)
{
	struct local_conf conf = LOCAL_DEFAULTS(KV_F32);
	struct local *l = NULL;
	int rc;

	conf.model = c->model;
	conf.last = split;
	rc = local_open(&l, &conf, e);
	if (!rc)
		rc = read_ids(c, l, &r->ids, &r->n, e);
	if (!rc) {
		r->dim = local_hparams(l)->dim;
		r->window = local_ctx(l) < r->n ? local_ctx(l) : r->n;
		r->x = malloc(r->n * r->dim * sizeof(*r->x));
		rc = r->x ? run_rows(l, r, e) : err_set(e, ERR_NOMEM, "rows: out of memory");
	}
	local_close(l);
	return rc;
}

/* All rows by one method, chunk of them at a time. */
static int real_point(struct bench *b, struct method_run *run, const struct rows *r, uint32_t split,
		      const struct method *m, double delta, size_t chunk, struct err *e)
{
	const bool told = chunk == 1;
	float *y = malloc(chunk * r->dim * sizeof(*y));
	struct tally t = { 0 };
	int rc = y ? 0 : err_set(e, ERR_NOMEM, "out of memory");

	for (size_t at = 0; at < r->n && !rc;) {
		size_t left = r->window - at % r->window, n = r->n - at < left ? r->n - at : left;
		const float *x = r->x + at * r->dim;

		n = n < chunk ? n : chunk;
		if (at % r->window == 0)
			rc = method_begin(run, m, delta, e);
		if (!rc)
			rc = method_cross(run, x, r->ids + at, told, n, y, &t.bytes, e);
		for (size_t k = 0; k < n && !rc; k++)
			count_row(&t, x + k * r->dim, y + k * r->dim, r->dim, SOURCE_GAUSS,
				  (double)row_energy(x + k * r->dim, r->dim) + 1e-30);
		at += n;
	}
	if (!rc)
		rc = add(b,
			 (struct bench_point){ .split = split,
					       .mode = told ? "decode" : "prefill",
					       .method = m->name,
					       .delta = m->has_delta ? delta : 0 },
			 &t, e);
	free(y);
	return rc;
}

static int real_split(struct bench *b, struct cal *cal, uint32_t split, struct err *e)
{
	const struct cal_split *s = NULL;
	struct method_run *run = NULL;
	struct rows r = { 0 };
	int rc = read_rows(&b->conf, split, &r, e);

	if (!rc)
		rc = cal_use(cal, split, &s, e);
	if (!rc && method_run_create(&run, r.dim, LOCAL_ROWS, cal, s))
		rc = err_set(e, ERR_NOMEM, "out of memory");
	for (unsigned mode = 0; mode < 2 && !rc; mode++) {
		for (size_t m = 0; m < n_methods && !rc; m++) {
			const size_t n = methods[m].has_delta ? DELTAS : 1;

			for (size_t d = 0; d < n && (s || !methods[m].predicts) && !rc; d++)
				rc = real_point(b, run, &r, split, &methods[m], deltas[d],
						mode ? LOCAL_ROWS : 1, e);
		}
	}
	method_run_destroy(run);
	free(r.x);
	free(r.ids);
	return rc;
}

int bench_real(struct bench *b, struct err *e)
{
	struct progress progress = { .what = "rows", .units = "splits", .total = b->conf.splits.n };
	struct cal *cal = NULL;
	int rc = 0;

	if (b->conf.calibration)
		rc = cal_open(&cal, b->conf.calibration, e);
	for (unsigned i = 0; i < b->conf.splits.n && !rc; i++) {
		progress_show(&progress, i);
		rc = real_split(b, cal, b->conf.splits.v[i], e);
	}
	progress_clear(&progress);
	cal_close(cal);
	return rc;
}
