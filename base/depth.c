#include "base/depth.h"

#include <stdlib.h>
#include <string.h>

#define RARE  32u /* times from one look at the slope to the next */
#define LEAST 48u /* times for one */

/* A time and its position. */
struct point {
	float at, ms;
};

struct slope {
	float v, over;
};

static int by_size(const void *a, const void *b)
{
	const float x = *(const float *)a, y = *(const float *)b;

	return (x > y) - (x < y);
}

static double median(const float *v, unsigned n)
{
	float sorted[DEPTH_KEPT];

	if (!n)
		return 0;
	memcpy(sorted, v, n * sizeof(*v));
	qsort(sorted, n, sizeof(*sorted), by_size);
	return ((double)sorted[(n - 1) / 2] + (double)sorted[n / 2]) / 2;
}

static unsigned kept(const struct depth *d)
{
	return d->n < DEPTH_KEPT ? d->n : DEPTH_KEPT;
}

/* Medians of some of them. */
static struct point middle(const struct point *p, unsigned n)
{
	float at[DEPTH_KEPT], ms[DEPTH_KEPT];

	for (unsigned i = 0; i < n; i++) {
		at[i] = p[i].at;
		ms[i] = p[i].ms;
	}
	return (struct point){ (float)median(at, n), (float)median(ms, n) };
}

/* The newest times -> p, newest first, and -> *longest the length of the longest run of positions
 * that rise: of one session, unless several take turns. Returns how many. */
static unsigned newest(const struct depth *d, struct point p[static DEPTH_KEPT], unsigned *longest)
{
	const unsigned n = kept(d);
	unsigned run = 0;

	*longest = 0;
	for (unsigned i = 0; i < n; i++) {
		const unsigned k = (d->n - 1 - i) % DEPTH_KEPT;

		p[i] = (struct point){ d->at[k], d->ms[k] };
		run = i && p[i].at < p[i - 1].at ? run + 1 : 1;
		*longest = run > *longest ? run : *longest;
	}
	return n;
}

static unsigned newest_run(const struct point *p, unsigned n)
{
	unsigned run = n ? 1 : 0;

	while (run < n && p[run].at < p[run - 1].at)
		run++;
	return run;
}

/* From the first third by position to the last one: of the session that runs, since others ran when
 * the machine was faster or slower. Where none is long enough, or several take turns, of all. */
static void look(const struct depth *d, struct depth_slopes *slopes)
{
	struct point p[DEPTH_KEPT], early, late;
	unsigned longest, n = newest(d, p, &longest), third;

	if (longest >= LEAST)
		n = newest_run(p, n);
	if (n < LEAST)
		return;
	third = n / 3;
	qsort(p, n, sizeof(*p), by_size); /* by `at`, which is first */
	early = middle(p, third);
	late = middle(p + n - third, third);
	depth_note(slopes, (double)late.at - (double)early.at, (double)early.ms, (double)late.ms);
}

void depth_add(struct depth *d, double at, double ms)
{
	d->at[d->n % DEPTH_KEPT] = (float)at;
	d->ms[d->n % DEPTH_KEPT] = (float)ms;
	if (++d->n == 2 * DEPTH_KEPT) /* the ring goes on, the count does not run over */
		d->n = DEPTH_KEPT;
}

void depth_learn(struct depth *d, struct depth_slopes *slopes, double at, double ms)
{
	depth_add(d, at, ms);
	if (d->n % RARE == 0)
		look(d, slopes);
}

void depth_note(struct depth_slopes *s, double positions, double ms, double later_ms)
{
	if (positions < DEPTH_DISTANCE)
		return;
	s->v[s->n % DEPTH_SLOPES] = (float)((later_ms - ms) / positions);
	s->over[s->n % DEPTH_SLOPES] = (float)positions;
	if (++s->n == 2 * DEPTH_SLOPES)
		s->n = DEPTH_SLOPES;
}

double depth_ms(const struct depth *d)
{
	return median(d->ms, kept(d));
}

double depth_at(const struct depth *d)
{
	return median(d->at, kept(d));
}

struct depth_point depth_newest(const struct depth *d, uint32_t n)
{
	struct point p[DEPTH_KEPT], mid;
	unsigned longest, have = newest(d, p, &longest);

	mid = middle(p, n < have ? n : have);
	return (struct depth_point){ (double)mid.at, (double)mid.ms };
}

void depth_scale(struct depth *d, double factor)
{
	for (unsigned i = 0; i < kept(d); i++)
		d->ms[i] *= (float)factor;
}

double depth_slope(const struct depth_slopes *s)
{
	const unsigned n = s->n < DEPTH_SLOPES ? s->n : DEPTH_SLOPES;
	struct slope sorted[DEPTH_SLOPES];
	float half = 0, sum = 0;
	unsigned i = 0;

	for (unsigned k = 0; k < n; k++) {
		sorted[k] = (struct slope){ s->v[k], s->over[k] };
		half += s->over[k] / 2;
	}
	qsort(sorted, n, sizeof(*sorted), by_size); /* by v, which is first */
	while (i + 1 < n && sum + sorted[i].over < half)
		sum += sorted[i++].over;
	return n && sorted[i].v > 0 ? (double)sorted[i].v : 0;
}
