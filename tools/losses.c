#include "tools/losses.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "codec/spec.h"
#include "engine/opsc.h"
#include "tools/local.h"
#include "tools/progress.h"

#define HEAD_ROWS  16
#define MAX_FLOATS ((size_t)1 << 26) /* of logits of the undivided model, kept */

/* Windows, cut to a number of tokens, and what the undivided model says of them. */
struct reference {
	const struct corpus *text;
	size_t n; /* positions */
	uint32_t vocab;
	float *logits; /* [n][vocab] */
	double nll;    /* sum over the positions that have a successor */
	uint32_t scored;
};

struct tally {
	double nll, kl;
	uint32_t scored, positions, same;
};

/* What is done with the logits of each position, in order. */
typedef void visit_fn(void *ctx, size_t position, const float *logits, const uint32_t *next);

static size_t window_tokens(const struct corpus *c, size_t i, size_t used, size_t most)
{
	size_t left = most - used;

	return c->windows[i].n < left ? c->windows[i].n : left;
}

static int visit_rows(struct local *l, const float *x, const uint32_t *ids, size_t n, size_t more,
		      size_t position, visit_fn *visit, void *ctx, struct err *e)
{
	const size_t d = local_hparams(l)->dim, vocab = local_hparams(l)->n_vocab;
	int rc = 0;

	for (size_t at = 0; at < n && !rc; at += HEAD_ROWS) {
		uint32_t rows = n - at < HEAD_ROWS ? (uint32_t)(n - at) : HEAD_ROWS;
		const float *logits;

		rc = local_logits(l, x + at * d, rows, &logits, e);
		for (uint32_t r = 0; r < rows && !rc; r++)
			visit(ctx, position + at + r, logits + r * vocab,
			      at + r + 1 < n + more ? &ids[at + r + 1] : NULL);
	}
	return rc;
}

/* All positions of the windows, at most `most`. */
static int visit_all(struct local *l, const struct corpus *c, size_t most, visit_fn *visit,
		     void *ctx, struct err *e)
{
	size_t used = 0;
	int rc = 0;

	for (size_t i = 0; i < c->n_windows && used < most && !rc; i++) {
		const uint32_t *ids = c->ids + c->windows[i].at;
		size_t len = window_tokens(c, i, used, most);

		rc = local_begin(l, (uint32_t)len, e);
		for (size_t at = 0; at < len && !rc; at += LOCAL_ROWS) {
			uint32_t rows = len - at < LOCAL_ROWS ? (uint32_t)(len - at) : LOCAL_ROWS;
			const float *x;

			rc = local_run(l, ids + at, rows, &x, e);
			if (!rc)
				rc = visit_rows(l, x, ids + at, rows, len - at - rows, used + at,
						visit, ctx, e);
		}
		used += len;
	}
	return rc;
}

/* log(sum exp) of n logits. */
static double log_sum(const float *logits, uint32_t n)
{
	double top = (double)logits[0], sum = 0;

	for (uint32_t i = 1; i < n; i++)
		top = (double)logits[i] > top ? (double)logits[i] : top;
	for (uint32_t i = 0; i < n; i++)
		sum += exp((double)logits[i] - top);
	return top + log(sum);
}

static void keep(void *ctx, size_t position, const float *logits, const uint32_t *next)
{
	struct reference *r = ctx;

	memcpy(r->logits + position * r->vocab, logits, r->vocab * sizeof(*logits));
	if (!next)
		return;
	r->nll += log_sum(logits, r->vocab) - (double)logits[*next];
	r->scored++;
}

static uint32_t likeliest(const float *logits, uint32_t n)
{
	uint32_t best = 0;

	for (uint32_t i = 1; i < n; i++)
		best = logits[i] > logits[best] ? i : best;
	return best;
}

struct comparison {
	const struct reference *r;
	struct tally t;
};

static void compare(void *ctx, size_t position, const float *logits, const uint32_t *next)
{
	struct comparison *c = ctx;
	const uint32_t n = c->r->vocab;
	const float *want = c->r->logits + position * n;
	const double a = log_sum(want, n), b = log_sum(logits, n);

	for (uint32_t i = 0; i < n; i++) {
		double log_p = (double)want[i] - a;

		c->t.kl += exp(log_p) * (log_p - ((double)logits[i] - b));
	}
	c->t.positions++;
	c->t.same += likeliest(want, n) == likeliest(logits, n);
	if (!next)
		return;
	c->t.nll += b - (double)logits[*next];
	c->t.scored++;
}

static struct local_conf local_conf_of(const struct losses_conf *conf)
{
	struct local_conf lc = LOCAL_DEFAULTS(KV_F32);

	lc.model = conf->model;
	lc.threads = conf->threads;
	lc.calibration = conf->calibration;
	return lc;
}

static int take_reference(const struct losses_conf *conf, struct reference *r, struct err *e)
{
	const struct local_conf lc = local_conf_of(conf);
	struct local *l = NULL;
	int rc = local_open(&l, &lc, e);

	if (rc)
		return rc;
	r->vocab = local_hparams(l)->n_vocab;
	r->n = conf->held->n < conf->tokens ? conf->held->n : conf->tokens;
	r->n = r->n * r->vocab > MAX_FLOATS ? MAX_FLOATS / r->vocab : r->n;
	r->logits = malloc(r->n * r->vocab * sizeof(*r->logits));
	rc = r->logits ? visit_all(l, conf->held, r->n, keep, r, e)
		       : err_set(e, ERR_NOMEM, "logits of %zu tokens", r->n);
	local_close(l);
	return rc;
}

/* One line: l says what, and gets the figures. */
static int measure(const struct losses_conf *conf, const struct reference *r, const char *front,
		   struct cal_loss *l, struct err *e)
{
	struct local_conf lc = local_conf_of(conf);
	struct comparison c = { .r = r };
	struct local *local = NULL;
	char spec[SPEC_MAX];
	int rc;

	snprintf(spec, sizeof(spec), "tabq:delta=%.6g,predict=%s", (double)l->delta,
		 spec_predict_name((enum spec_predict)l->predict));
	lc.front = front;
	lc.split = l->split;
	lc.codec = spec;
	lc.kv = (enum kv_type)l->kv_type;
	lc.chunk = l->decode ? 1 : LOCAL_ROWS;
	rc = local_open(&local, &lc, e);
	if (!rc)
		rc = visit_all(local, conf->held, r->n, compare, &c, e);
	if (!rc) {
		double wire = (double)local_wire_bytes(local) * 8;

		l->bits =
			(float)(wire / (double)local_wire_rows(local) / local_hparams(local)->dim);
		l->ppl_ratio = (float)exp(c.t.nll / c.t.scored - r->nll / r->scored);
		l->kl = (float)(c.t.kl / c.t.positions);
		l->top1 = (float)((double)c.t.same / c.t.positions);
		l->tokens = c.t.positions;
	}
	local_close(local);
	return rc;
}

static bool has_line(const struct cal *c, const struct cal_loss *l)
{
	for (uint32_t i = 0; i < c->n_losses; i++) {
		const struct cal_loss *o = &c->losses[i];

		if (o->split == l->split && o->front_type == l->front_type &&
		    o->kv_type == l->kv_type && o->predict == l->predict &&
		    o->decode == l->decode && o->delta == l->delta)
			return true;
	}
	return false;
}

/* Lines for one precision of the front: splits x deltas x caches x {prefill, decode}. */
static uint32_t lines_of_front(const struct losses_conf *conf, const struct cal *c)
{
	return 2 * conf->n_caches * conf->n_deltas * c->n_splits;
}

static struct cal_loss line_at(const struct losses_conf *conf, const struct cal *c, unsigned front,
			       uint32_t i)
{
	struct cal_loss l = { .front_type = (uint16_t)front };

	l.decode = (uint16_t)(i % 2);
	l.predict = l.decode ? SPEC_TOKENS : SPEC_ROWS;
	i /= 2;
	l.kv_type = (uint16_t)conf->caches[i % conf->n_caches];
	i /= conf->n_caches;
	l.delta = conf->deltas[i % conf->n_deltas];
	l.split = c->splits[i / conf->n_deltas].split;
	return l;
}

/* The model with all its layers in another precision, beside the calibration. */
static int write_front(const struct losses_conf *conf, unsigned type, const char *path,
		       struct err *e)
{
	struct opsc_conf oc = {
		.front = type, .back = type, .embed = OPSC_DEFAULT, .head = OPSC_DEFAULT
	};
	struct opsc_plan plan;
	struct model_hparams hp;
	struct gguf *g = NULL;
	int rc = gguf_open(&g, conf->model, e);

	if (!rc)
		rc = model_read_hparams(&hp, g, e);
	if (!rc) {
		oc.boundary = oc.last = hp.n_layers;
		rc = opsc_plan_init(&plan, g, &oc, e);
	}
	if (!rc) {
		rc = opsc_write(&plan, path, conf->threads, NULL, e);
		opsc_plan_finish(&plan);
	}
	gguf_close(g);
	return rc;
}

struct table {
	const struct losses_conf *conf;
	const struct reference *r;
	struct cal *c;
	struct progress *progress;
	uint32_t done;
};

static int measure_front(struct table *t, unsigned front, const char *path, struct err *e)
{
	const uint32_t n = lines_of_front(t->conf, t->c);
	bool written = false;
	int rc = 0;

	for (uint32_t i = 0; i < n && !rc; i++) {
		struct cal_loss l = line_at(t->conf, t->c, front, i);

		progress_show(t->progress, t->done++);
		if (has_line(t->c, &l) || t->c->n_losses == CAL_MAX_LOSSES)
			continue;
		if (front != CAL_AS_IS && !written)
			rc = write_front(t->conf, front, path, e);
		written = true;
		if (!rc)
			rc = measure(t->conf, t->r, front == CAL_AS_IS ? NULL : path, &l, e);
		if (rc)
			break;
		t->c->losses[t->c->n_losses++] = l;
		rc = cal_save(t->c, t->conf->calibration, e);
	}
	if (front != CAL_AS_IS && written)
		unlink(path);
	return rc;
}

int losses_measure(const struct losses_conf *conf, struct cal *c, struct err *e)
{
	struct progress progress = { .what = "calibrate", .units = "lines of the table" };
	struct reference r = { 0 };
	struct table t = { conf, &r, c, &progress, 0 };
	char path[4096];
	int rc;

	progress.total = (uint64_t)lines_of_front(conf, c) * conf->n_fronts;
	if (!progress.total)
		return 0;
	if (snprintf(path, sizeof(path), "%s.front", conf->calibration) >= (int)sizeof(path))
		return err_set(e, ERR_LIMIT, "%.80s...: the path is too long", conf->calibration);
	rc = take_reference(conf, &r, e);
	for (uint32_t i = 0; i < conf->n_fronts && !rc; i++)
		rc = measure_front(&t, conf->fronts[i], path, e);
	progress_clear(&progress);
	free(r.logits);
	return rc;
}
