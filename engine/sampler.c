/* engine/sampler.c - candidates are a list of ids, best first, that each filter shortens; or all.
 *
 * A candidate weighs kern_exp((logit - top) / temperature). Weights are made again, a block at a
 * time, whenever they are needed: that is faster than to keep them. They are added up in double in
 * one order, by blocks of the list, so that two machines draw the same token. */
#include "engine/sampler.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "base/touch.h"
#include "engine/best.h"
#include "engine/kern.h"

#define MAX_REPEAT 4096
#define BLOCK      512u /* candidates that are weighed together */
#define LANES      32u  /* of a sum */

/* What weighs less never comes: kern_exp has nothing below e^-87, not even for -inf. */
#define NOTHING 2e-38f

struct sampler {
	const struct kern *kern;
	uint32_t n_vocab;
	float *penalized;     /* [n_vocab]: logits, if there is a repetition penalty */
	uint32_t *order;      /* [n_vocab]: candidates */
	void *scratch;        /* [n_vocab] of 4 bytes */
	double *sums;         /* of the weights of each block of candidates */
	float weights[BLOCK]; /* of one of them */
};

/* Candidates. */
struct list {
	const float *logits;     /* of all tokens */
	uint32_t *ids;           /* NULL: all, ascending */
	struct best_rough rough; /* if not settled: their order */
	uint32_t n;
	float top, temperature;
	float least; /* what weighs less counts as 0 */
};

static int check_range(const char *name, double v, double min, double max, bool open_min,
		       struct err *e)
{
	if (v >= min && v <= max && !(open_min && v == min))
		return 0;
	return err_set(e, ERR_LIMIT, "%s must be %s %g and at most %g, not %g", name,
		       open_min ? "above" : "at least", min, max, v);
}

int sampler_check(const struct sampler_params *p, struct err *e)
{
	int rc = check_range("temperature", (double)p->temperature, 0, 10, false, e);

	if (!rc)
		rc = check_range("top_p", (double)p->top_p, 0, 1, true, e);
	if (!rc && !(p->min_p >= 0 && p->min_p < 1))
		rc = err_set(e, ERR_LIMIT, "min_p must be at least 0 and below 1, not %g",
			     (double)p->min_p);
	if (!rc)
		rc = check_range("repeat_penalty", (double)p->repeat_penalty, 0, 10, true, e);
	if (!rc)
		rc = check_range("repeat_last", p->repeat_last, 0, MAX_REPEAT, false, e);
	return rc;
}

static uint32_t blocks(uint32_t n)
{
	return n / BLOCK + (n % BLOCK > 0);
}

size_t sampler_bytes(uint32_t n_vocab)
{
	const struct sampler *s = NULL;

	return sizeof(*s) + blocks(n_vocab) * sizeof(*s->sums) +
	       n_vocab * (sizeof(*s->penalized) + sizeof(*s->order) + sizeof(float));
}

int sampler_create(struct sampler **out, uint32_t n_vocab)
{
	struct sampler *s;
	int rc;

	if (n_vocab < 1)
		return ERR_LIMIT;
	s = calloc(1, sizeof(*s));
	if (!s)
		return ERR_NOMEM;
	s->n_vocab = n_vocab;
	s->penalized = malloc(n_vocab * sizeof(*s->penalized));
	s->order = malloc(n_vocab * sizeof(*s->order));
	s->scratch = malloc(n_vocab * sizeof(float));
	s->sums = malloc(blocks(n_vocab) * sizeof(*s->sums));
	rc = s->penalized && s->order && s->scratch && s->sums ? kern_pick(&s->kern, NULL)
							       : ERR_NOMEM;
	if (rc) {
		sampler_destroy(s);
		return rc;
	}
	touch(s->penalized, n_vocab * sizeof(*s->penalized));
	touch(s->order, n_vocab * sizeof(*s->order));
	touch(s->scratch, n_vocab * sizeof(float));
	touch(s->sums, blocks(n_vocab) * sizeof(*s->sums));
	*out = s;
	return 0;
}

void sampler_destroy(struct sampler *s)
{
	if (!s)
		return;
	free(s->penalized);
	free(s->order);
	free(s->scratch);
	free(s->sums);
	free(s);
}

/* What is finite stays below infinity. */
static float penalized(float x, float penalty)
{
	const float y = x > 0 ? x / penalty : x * penalty;

	return y > FLT_MAX && x <= FLT_MAX ? FLT_MAX : y;
}

/* All logits, those of repeated tokens moved down. */
static const float *penalize(struct sampler *s, const struct sampler_params *p, const float *logits,
			     const uint32_t *history, uint32_t n)
{
	uint32_t from = n > p->repeat_last ? n - p->repeat_last : 0;

	memcpy(s->penalized, logits, s->n_vocab * sizeof(*logits));
	for (uint32_t i = from; i < n; i++) {
		if (history[i] < s->n_vocab)
			s->penalized[history[i]] = penalized(logits[history[i]], p->repeat_penalty);
	}
	return s->penalized;
}

/* Weights of a block of the list; returns how many. Kernels are defined for what is finite. */
static uint32_t weigh(struct sampler *s, const struct list *l, uint32_t block)
{
	const uint32_t from = block * BLOCK, n = l->n - from < BLOCK ? l->n - from : BLOCK;
	const float top = l->top, t = l->temperature, lowest = -100, least = l->least;
	float *w = s->weights, zero = 0, sum = 0;

	for (uint32_t i = 0; l->ids && i < n; i++)
		w[i] = l->logits[l->ids[from + i]];
	if (!l->ids)
		memcpy(w, l->logits + from, n * sizeof(*w));
	for (uint32_t i = 0; i < n; i++) {
		const float z = (w[i] - top) / t;

		w[i] = z > lowest ? z : lowest;
	}
	s->kern->weigh(&(struct kern_weigh){
		.x = w, .top = &zero, .sum = &sum, .ldx = BLOCK, .nx = 1, .n = n });
	for (uint32_t i = 0; i < n; i++)
		w[i] = w[i] >= least ? w[i] : 0;
	return n;
}

static double sum_of(const float *w, uint32_t n)
{
	const uint32_t whole = n - n % LANES;
	double lanes[LANES] = { 0 };

	for (const float *v = w; v < w + whole; v += LANES) {
		for (uint32_t j = 0; j < LANES; j++)
			lanes[j] += (double)v[j];
	}
	for (uint32_t j = 0; j < n - whole; j++)
		lanes[j] += (double)w[whole + j];
	for (uint32_t half = LANES / 2; half; half /= 2) {
		for (uint32_t j = 0; j < half; j++)
			lanes[j] += lanes[j + half];
	}
	return lanes[0];
}

/* Fill in sums; the whole weight of a list. */
static double add_up(struct sampler *s, const struct list *l)
{
	double total = 0;

	for (uint32_t b = 0; b < blocks(l->n); b++) {
		s->sums[b] = sum_of(s->weights, weigh(s, l, b));
		total += s->sums[b];
	}
	return total;
}

/* Where, after add_up, the weight of a list from its beginning on reaches that much; where rounding
 * keeps it from that, the last one that weighs anything. */
static uint32_t reach_as_is(struct sampler *s, const struct list *l, double enough)
{
	double before = 0, sum = 0;
	uint32_t block = 0, at = 0, n;

	for (uint32_t b = 0; b < blocks(l->n) && sum < enough; b++) {
		if (s->sums[b] > 0) {
			block = b;
			before = sum;
			sum += s->sums[b];
		}
	}
	n = weigh(s, l, block);
	sum = before;
	for (uint32_t i = 0; i < n; i++) {
		if (!(s->weights[i] > 0))
			continue;
		at = i;
		sum += (double)s->weights[i];
		if (sum >= enough)
			break;
	}
	return block * BLOCK + at;
}

/* The same in the right order: what comes before and after a class stays when it is settled. */
static uint32_t reach(struct sampler *s, const struct list *l, double enough)
{
	uint32_t at = reach_as_is(s, l, enough), from, to;

	while (best_settle(l->logits, &l->rough, l->ids, l->n, at, s->scratch, &from, &to)) {
		for (uint32_t b = from / BLOCK; b <= (to - 1) / BLOCK; b++)
			s->sums[b] = sum_of(s->weights, weigh(s, l, b));
		at = reach_as_is(s, l, enough);
	}
	return at;
}

/* The fewest of the best that have that share of the weight of a list, which is added up. */
static void cut_top_p(struct sampler *s, struct list *l, double total, float top_p)
{
	l->n = reach(s, l, (double)top_p * total) + 1;
}

/* At least -log(x), by at most 0.07, with the bits of no library; x in (0, 1]. */
static double far_below(double x)
{
	int e;
	const double m = frexp(x, &e);

	return 0.6931471806 * (2 - 2 * m - e) + 0.001;
}

/* A logit such that all tokens below it together weigh less than top_p leaves out: each less than
 * its n-th part. Further down where a logit rounds to more. */
static float bound_top_p(const struct list *l, double total, float top_p)
{
	const float far = (float)far_below((1 - (double)top_p) * total / l->n);
	float least = -INFINITY;

	for (float more = far;; more *= 2) {
		least = l->top - more * l->temperature;
		if ((least - l->top) / l->temperature <= -far)
			return least;
	}
}

static void pick_top_k(struct sampler *s, struct list *l, uint32_t k)
{
	const float least = best_reached(l->logits, l->n, k, s->scratch);

	best_of(l->logits, l->n, least, s->order, s->scratch);
	l->ids = s->order;
	l->n = k;
}

static void pick_top_p(struct sampler *s, struct list *l, float top_p)
{
	const double total = add_up(s, l);

	l->n = best_roughly(l->logits, l->n, l->top, bound_top_p(l, total, top_p), s->order,
			    s->scratch, &l->rough);
	l->ids = s->order;
	(void)add_up(s, l);
	cut_top_p(s, l, total, top_p);
}

static uint32_t draw(struct sampler *s, const struct list *l, double u)
{
	const double at = u * add_up(s, l);
	const uint32_t i = reach(s, l, nextafter(at, INFINITY)); /* beyond it */

	return l->ids ? l->ids[i] : i;
}

static uint32_t sample(struct sampler *s, const struct sampler_params *p, const float *logits,
		       float top, uint32_t position)
{
	struct list l = { .logits = logits,
			  .n = s->n_vocab,
			  .top = top,
			  .temperature = p->temperature,
			  .rough = { .settled = true } };

	if (p->top_k && p->top_k < l.n) {
		pick_top_k(s, &l, p->top_k);
		if (p->top_p < 1)
			cut_top_p(s, &l, add_up(s, &l), p->top_p);
	} else if (p->top_p < 1) {
		pick_top_p(s, &l, p->top_p);
	}
	l.least = p->min_p > NOTHING ? p->min_p : NOTHING;
	return draw(s, &l, rng_unit(p->seed, position));
}

int sampler_pick(struct sampler *s, const struct sampler_params *p, const float *logits,
		 const uint32_t *history, uint32_t n_history, uint32_t position, uint32_t *id)
{
	uint32_t best;
	int rc;

	if (p->repeat_penalty != 1)
		logits = penalize(s, p, logits, history, n_history);
	rc = best_one(logits, s->n_vocab, &best);
	if (rc)
		return rc;
	*id = p->temperature > 0 ? sample(s, p, logits, logits[best], position) : best;
	return 0;
}
