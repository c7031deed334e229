/* engine/sampler.c - candidates are kept as an array that each filter shortens.
 *
 * Everything runs in one fixed order over ids or over candidates sorted by (logit descending, id
 * ascending), with kern_exp and sums in double, so that two machines draw the same token. */
#include "engine/sampler.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "base/touch.h"
#include "engine/kern.h"

#define MAX_REPEAT 4096
#define BLOCK      1024u /* logits that are looked at together */

struct candidate {
	float logit;
	uint32_t id;
};

struct sampler {
	uint32_t n_vocab;
	struct candidate *candidates; /* [n_vocab] */
	float *weights;               /* [n_vocab]: exp(logit - top) of the candidates */
	uint8_t *seen;                /* [n_vocab]: repeated tokens; all zero between calls */
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

size_t sampler_bytes(uint32_t n_vocab)
{
	const struct sampler *s = NULL;

	return sizeof(*s) +
	       n_vocab * (sizeof(*s->candidates) + sizeof(*s->weights) + sizeof(*s->seen));
}

int sampler_create(struct sampler **out, uint32_t n_vocab)
{
	struct sampler *s;

	if (n_vocab < 1)
		return ERR_LIMIT;
	s = calloc(1, sizeof(*s));
	if (!s)
		return ERR_NOMEM;
	s->n_vocab = n_vocab;
	s->candidates = malloc(n_vocab * sizeof(*s->candidates));
	s->weights = malloc(n_vocab * sizeof(*s->weights));
	s->seen = calloc(n_vocab, sizeof(*s->seen));
	if (!s->candidates || !s->weights || !s->seen) {
		sampler_destroy(s);
		return ERR_NOMEM;
	}
	touch(s->candidates, n_vocab * sizeof(*s->candidates));
	touch(s->weights, n_vocab * sizeof(*s->weights));
	touch(s->seen, n_vocab * sizeof(*s->seen));
	*out = s;
	return 0;
}

void sampler_destroy(struct sampler *s)
{
	if (!s)
		return;
	free(s->candidates);
	free(s->weights);
	free(s->seen);
	free(s);
}

static void mark_repeats(struct sampler *s, const struct sampler_params *p, const uint32_t *history,
			 uint32_t n, uint8_t mark)
{
	uint32_t from = n > p->repeat_last ? n - p->repeat_last : 0;

	for (uint32_t i = from; i < n; i++) {
		if (history[i] < s->n_vocab)
			s->seen[history[i]] = mark;
	}
}

/* All tokens with their penalized logits. -inf is a token that cannot come; NaN and +inf are
 * nonsense. */
static int fill(struct sampler *s, const struct sampler_params *p, const float *logits)
{
	for (uint32_t i = 0; i < s->n_vocab; i++) {
		float x = logits[i];

		if (isnan(x) || x == INFINITY)
			return ERR_NOT_FINITE;
		if (s->seen[i])
			x = x > 0 ? x / p->repeat_penalty : x * p->repeat_penalty;
		s->candidates[i] = (struct candidate){ x, i };
	}
	return 0;
}

static bool before(struct candidate a, struct candidate b)
{
	return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

static struct candidate best(const struct sampler *s)
{
	struct candidate top = s->candidates[0];

	for (uint32_t i = 1; i < s->n_vocab; i++) {
		if (before(s->candidates[i], top))
			top = s->candidates[i];
	}
	return top;
}

/* Restore the heap below `at`, whose parent is the one that comes last. */
static void sift_down(struct candidate *heap, uint32_t n, uint32_t at)
{
	struct candidate moved = heap[at];

	for (;;) {
		uint32_t child = 2 * at + 1;

		if (child >= n)
			break;
		if (child + 1 < n && before(heap[child], heap[child + 1]))
			child++;
		if (!before(moved, heap[child]))
			break;
		heap[at] = heap[child];
		at = child;
	}
	heap[at] = moved;
}

static int compare(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;

	return before(*y, *x) - before(*x, *y);
}

/* Bring the best k of n to the front, sorted. A heap of the k best so far, worst on top. */
static void select_best(struct candidate *c, uint32_t n, uint32_t k)
{
	for (uint32_t i = k / 2; i-- > 0;)
		sift_down(c, k, i);
	for (uint32_t i = k; i < n; i++) {
		if (before(c[i], c[0])) {
			struct candidate worst = c[0];

			c[0] = c[i];
			c[i] = worst;
			sift_down(c, k, 0);
		}
	}
	qsort(c, k, sizeof(*c), compare);
}

/* Weights of the first n candidates at temperature t, relative to one of logit top; their sum. */
static double weigh(struct sampler *s, uint32_t n, float top, float t)
{
	double sum = 0;

	for (uint32_t i = 0; i < n; i++) {
		s->weights[i] = kern_exp((s->candidates[i].logit - top) / t);
		sum += (double)s->weights[i];
	}
	return sum;
}

/* How many of the n sorted candidates reach top_p of the whole weight; n when they do not. */
static uint32_t cut_top_p(const struct sampler *s, uint32_t n, double total, float top_p)
{
	double sum = 0;

	for (uint32_t i = 0; i < n; i++) {
		sum += (double)s->weights[i];
		if (sum >= (double)top_p * total)
			return i + 1;
	}
	return n;
}

/* Top-p over the whole vocabulary: sort a few candidates, and more of them only when their weight
 * does not suffice. */
static uint32_t nucleus(struct sampler *s, const struct sampler_params *p, float top)
{
	const uint32_t n = s->n_vocab;
	const double total = weigh(s, n, top, p->temperature);
	uint32_t k = n < 256 ? n : 256;

	for (;;) {
		double sum;

		select_best(s->candidates, n, k);
		sum = weigh(s, k, top, p->temperature);
		if (sum >= (double)p->top_p * total || k == n)
			return cut_top_p(s, k, total, p->top_p);
		k = n / 4 > k ? 4 * k : n;
	}
}

/* Drop candidates less likely than min_p times the best one, whose weight is 1. */
static uint32_t cut_min_p(struct sampler *s, uint32_t n, float min_p)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < n; i++) {
		if (s->weights[i] < min_p)
			continue;
		s->candidates[kept] = s->candidates[i];
		s->weights[kept++] = s->weights[i];
	}
	return kept;
}

static uint32_t draw(const struct sampler *s, uint32_t n, double u)
{
	double total = 0, sum = 0;

	for (uint32_t i = 0; i < n; i++)
		total += (double)s->weights[i];
	for (uint32_t i = 0; i < n; i++) {
		sum += (double)s->weights[i];
		if (u * total < sum)
			return s->candidates[i].id;
	}
	return s->candidates[n - 1].id; /* u * total was rounded up to the sum */
}

static uint32_t sample(struct sampler *s, const struct sampler_params *p, float top,
		       uint32_t position)
{
	uint32_t n = s->n_vocab;

	if (p->top_k && p->top_k < n) {
		n = p->top_k;
		select_best(s->candidates, s->n_vocab, n);
		n = cut_top_p(s, n, weigh(s, n, top, p->temperature), p->top_p);
	} else if (p->top_p < 1) {
		n = nucleus(s, p, top);
	} else {
		(void)weigh(s, n, top, p->temperature);
	}
	n = cut_min_p(s, n, p->min_p);
	return draw(s, n, rng_unit(p->seed, position));
}

/* Integers in the order of floats, so that a compiler may take many at once: 0 for both zeros, NaN
 * below -inf or above +inf. */
static int32_t rank(float x)
{
	int32_t bits;

	x += 0.0f;
	memcpy(&bits, &x, sizeof(bits));
	return bits ^ (bits >> 31 & INT32_MAX);
}

/* The first of the likeliest ones, without candidates. */
static int pick_greedy(const float *logits, uint32_t n, uint32_t *id)
{
	int32_t least = INT32_MAX, most = INT32_MIN;
	uint32_t at = 0;

	for (uint32_t i = 0; i < n; i += BLOCK) {
		const uint32_t end = n - i < BLOCK ? n : i + BLOCK;
		int32_t low = INT32_MAX, high = INT32_MIN;

		for (uint32_t k = i; k < end; k++) {
			const int32_t r = rank(logits[k]);

			low = r < low ? r : low;
			high = r > high ? r : high;
		}
		least = low < least ? low : least;
		at = high > most ? i : at;
		most = high > most ? high : most;
	}
	if (least < rank(-INFINITY) || most >= rank(INFINITY) || most == rank(-INFINITY))
		return ERR_NOT_FINITE;
	while (rank(logits[at]) != most)
		at++;
	*id = at;
	return 0;
}

int sampler_pick(struct sampler *s, const struct sampler_params *p, const float *logits,
		 const uint32_t *history, uint32_t n_history, uint32_t position, uint32_t *id)
{
	bool penalty = p->repeat_penalty != 1;
	struct candidate top;
	int rc;

	if (p->temperature <= 0 && !penalty)
		return pick_greedy(logits, s->n_vocab, id);
	if (penalty)
		mark_repeats(s, p, history, n_history, 1);
	rc = fill(s, p, logits);
	if (penalty)
		mark_repeats(s, p, history, n_history, 0);
	if (rc)
		return rc;
	top = best(s);
	if (top.logit == -INFINITY)
		return ERR_NOT_FINITE;
	*id = p->temperature > 0 ? sample(s, p, top.logit, position) : top.id;
	return 0;
}
