#include "engine/best.h"

#include <math.h>
#include <string.h>

#define WIDTH 4u /* every machine has this */
#define PARTS 4u
#define LANES (PARTS * WIDTH)
#define BLOCK 1024u

typedef float floats __attribute__((vector_size(4 * WIDTH)));
typedef int32_t ints __attribute__((vector_size(4 * WIDTH)));

static floats load(const float *p)
{
	floats v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/* The larger ones; those of b where a is NaN. */
static floats larger(floats a, floats b)
{
#if defined(__SSE2__)
	return __builtin_ia32_maxps(a, b);
#else
	const ints more = a > b;

	return (floats)(((ints)a & more) | ((ints)b & ~more));
#endif
}

static bool any(ints v)
{
	int64_t half[2];

	memcpy(half, &v, sizeof(v));
	return (half[0] | half[1]) != 0;
}

/* The lanes' maxima of some whole rows of numbers; true when all are below infinity, and none is
 * NaN. */
static bool maxima(const float *x, uint32_t rows, float top[LANES])
{
	const floats none = (floats){ 0 } - INFINITY;
	floats most[PARTS] = { none, none, none, none };
	ints odd = { 0 };

	for (; rows; rows--, x += LANES) {
		for (uint32_t p = 0; p < PARTS; p++) {
			const floats v = load(x + p * WIDTH);

			odd |= ~(v < INFINITY);
			most[p] = larger(v, most[p]);
		}
	}
	memcpy(top, most, sizeof(most));
	return !any(odd);
}

/* The largest; false when one is NaN or +inf. */
static bool largest(const float *x, uint32_t n, float *top)
{
	float lanes[LANES];
	bool fine = maxima(x, n / LANES, lanes);

	*top = -INFINITY;
	for (uint32_t j = 0; j < LANES; j++)
		*top = lanes[j] > *top ? lanes[j] : *top;
	for (uint32_t i = n - n % LANES; i < n; i++) {
		fine = fine && x[i] < INFINITY;
		*top = x[i] > *top ? x[i] : *top;
	}
	return fine;
}

int best_one(const float *x, uint32_t n, uint32_t *id)
{
	float most = -INFINITY, top;
	uint32_t at = 0;

	for (uint32_t i = 0; i < n; i += BLOCK) {
		if (!largest(x + i, n - i < BLOCK ? n - i : BLOCK, &top))
			return ERR_NOT_FINITE;
		at = top > most ? i : at;
		most = top > most ? top : most;
	}
	if (most == -INFINITY)
		return ERR_NOT_FINITE;
	while (x[at] != most)
		at++;
	*id = at;
	return 0;
}

/* Integers that ascend as numbers descend; both zeros are alike. */
static uint32_t key(float x)
{
	uint32_t bits;

	x += 0.0f;
	memcpy(&bits, &x, sizeof(bits));
	return bits ^ (((bits >> 31) - 1) >> 1);
}

static float of_key(uint32_t k)
{
	float x;

	k ^= ((k >> 31) - 1) >> 1;
	memcpy(&x, &k, sizeof(x));
	return x;
}

/* How many numbers are at least that. */
static uint32_t count(const float *x, uint32_t n, float least)
{
	uint32_t c = 0;

	for (uint32_t i = 0; i < n; i++)
		c += x[i] >= least;
	return c;
}

/* Of maxima of groups k reach it, so k numbers do. */
float best_reached(const float *x, uint32_t n, uint32_t k, float *scratch)
{
	uint32_t rows = n / LANES, groups = 0, found = UINT32_MAX;

	if (n < LANES || k > n / 8)
		return -INFINITY;
	while (rows > 1 && n / rows < 4 * k)
		rows /= 2;
	for (; (groups / LANES + 1) * rows * LANES <= n; groups += LANES)
		(void)maxima(x + groups * rows, rows, scratch + groups);
	if (groups < k)
		return -INFINITY;
	for (uint32_t bit = 1u << 31; bit > 1u << 8; bit >>= 1) {
		if (count(scratch, groups, of_key(found - bit)) >= k)
			found -= bit;
	}
	return of_key(found) >= -INFINITY ? of_key(found) : -INFINITY;
}

static bool any_of(const float *x, float least)
{
	ints is = { 0 };

	for (uint32_t p = 0; p < PARTS; p++)
		is |= load(x + p * WIDTH) >= least;
	return any(is);
}

/* Ids of those that are at least `least`, ascending. */
static uint32_t gather(const float *x, uint32_t n, float least, uint32_t *order)
{
	uint32_t m = 0, i = 0;

	for (; i + LANES <= n; i += LANES) {
		if (!any_of(x + i, least))
			continue;
		for (uint32_t j = i; j < i + LANES; j++) {
			order[m] = j;
			m += x[j] >= least;
		}
	}
	for (; i < n; i++) {
		if (x[i] >= least)
			order[m++] = i;
	}
	return m;
}

#define FEW     64u   /* that are sorted by insertion */
#define MANY    4096u /* by three digits instead of four */
#define DIGITS  4u
#define LARGEST 2048u
#define CLASSES 1024

/* One pass of a sort by digits; equal digits keep their order. */
static void deal(const float *x, const uint32_t *from, uint32_t *to, uint32_t n, uint32_t *counts,
		 uint32_t bits, uint32_t shift)
{
	const uint32_t mask = (1u << bits) - 1;
	uint32_t at = 0;

	for (uint32_t d = 0; d <= mask; d++) {
		const uint32_t c = counts[d];

		counts[d] = at;
		at += c;
	}
	for (uint32_t i = 0; i < n; i++)
		to[counts[key(x[from[i]]) >> shift & mask]++] = from[i];
}

static void sort_many(const float *x, uint32_t *order, uint32_t n, uint32_t *scratch)
{
	const uint32_t bits = n < MANY ? 8 : 11, digits = n < MANY ? 4 : 3;
	const uint32_t mask = (1u << bits) - 1;
	uint32_t counts[DIGITS][LARGEST], *from = order, *to = scratch;

	for (uint32_t d = 0; d < digits; d++)
		memset(counts[d], 0, (mask + 1) * sizeof(counts[d][0]));
	for (uint32_t i = 0; i < n; i++) {
		const uint32_t k = key(x[order[i]]);

		for (uint32_t d = 0; d < digits; d++)
			counts[d][k >> bits * d & mask]++;
	}
	for (uint32_t d = 0; d < digits; d++) {
		uint32_t *filled = to;

		deal(x, from, to, n, counts[d], bits, bits * d);
		to = from;
		from = filled;
	}
	if (from != order)
		memcpy(order, from, n * sizeof(*order));
}

static void sort_few(const float *x, uint32_t *order, uint32_t n)
{
	for (uint32_t i = 1; i < n; i++) {
		const uint32_t id = order[i];
		uint32_t at = i;

		for (; at > 0 && x[order[at - 1]] < x[id]; at--)
			order[at] = order[at - 1];
		order[at] = id;
	}
}

static bool sorted(const float *x, const uint32_t *order, uint32_t n)
{
	for (uint32_t i = 1; i < n; i++) {
		if (x[order[i]] > x[order[i - 1]])
			return false;
	}
	return true;
}

static void sort(const float *x, uint32_t *order, uint32_t n, uint32_t *scratch)
{
	if (n <= FEW)
		sort_few(x, order, n);
	else if (!sorted(x, order, n))
		sort_many(x, order, n, scratch);
}

uint32_t best_of(const float *x, uint32_t n, float least, uint32_t *order, uint32_t *scratch)
{
	const uint32_t m = gather(x, n, least, order);

	sort(x, order, m, scratch);
	return m;
}

/* Never descends as numbers do. The last one where that is no number: -inf in an endless
 * range. */
static uint32_t class_of(float x, float top, float scale)
{
	const float c = (top - x) * scale;

	return c < CLASSES - 1 ? (uint32_t)c : CLASSES - 1;
}

static float scale_of(const struct best_rough *r)
{
	return CLASSES / (r->top - r->last);
}

static float smallest(const float *x, const uint32_t *ids, uint32_t n)
{
	float least = INFINITY;

	for (uint32_t i = 0; i < n; i++)
		least = x[ids[i]] < least ? x[ids[i]] : least;
	return least;
}

/* By counting. */
static void deal_classes(const float *x, const uint32_t *from, uint32_t *to, uint32_t n,
			 const struct best_rough *r)
{
	const float top = r->top, scale = scale_of(r);
	uint32_t counts[CLASSES] = { 0 }, at = 0;

	for (uint32_t i = 0; i < n; i++)
		counts[class_of(x[from[i]], top, scale)]++;
	for (uint32_t c = 0; c < CLASSES; c++) {
		const uint32_t count = counts[c];

		counts[c] = at;
		at += count;
	}
	for (uint32_t i = 0; i < n; i++)
		to[counts[class_of(x[from[i]], top, scale)]++] = from[i];
}

uint32_t best_roughly(const float *x, uint32_t n, float top, float least, uint32_t *order,
		      uint32_t *scratch, struct best_rough *r)
{
	const uint32_t m = gather(x, n, least, scratch);

	r->settled = sorted(x, scratch, m);
	if (r->settled) {
		memcpy(order, scratch, m * sizeof(*order));
		return m;
	}
	r->top = top;
	r->last = smallest(x, scratch, m);
	deal_classes(x, scratch, order, m, r);
	return m;
}

bool best_settle(const float *x, const struct best_rough *r, uint32_t *order, uint32_t n,
		 uint32_t at, uint32_t *scratch, uint32_t *from, uint32_t *to)
{
	const float top = r->top, scale = scale_of(r);
	uint32_t c, i = at, end = at + 1;

	if (r->settled)
		return false;
	c = class_of(x[order[at]], top, scale);
	while (i > 0 && class_of(x[order[i - 1]], top, scale) == c)
		i--;
	while (end < n && class_of(x[order[end]], top, scale) == c)
		end++;
	*from = i;
	*to = end;
	if (sorted(x, order + i, end - i))
		return false;
	sort(x, order + i, end - i, scratch);
	return true;
}
