#include "base/depth.h"

#include <math.h>
#include <stdlib.h>

#include "base/window.h"

#define RARE        32u  /* times from one look at the slope to the next */
#define LEAST       48u  /* times for one */
#define LEAST_SHARE 0.25 /* of an early time, that position 0 takes */

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
	return (struct point){ (float)window_median_of(at, n), (float)window_median_of(ms, n) };
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
	depth_note(slopes, (struct depth_point){ (double)early.at, (double)early.ms },
		   (struct depth_point){ (double)late.at, (double)late.ms });
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

void depth_note(struct depth_slopes *s, struct depth_point early, struct depth_point late)
{
	const double positions = late.at - early.at;
	double slope, first;

	if (positions < DEPTH_DISTANCE || !(early.ms > 0))
		return;
	slope = (late.ms - early.ms) / positions;
	first = fmax(early.ms - slope * early.at, early.ms * LEAST_SHARE);
	s->v[s->n % DEPTH_SLOPES] = (float)(slope / first);
	s->over[s->n % DEPTH_SLOPES] = (float)positions;
	if (++s->n == 2 * DEPTH_SLOPES)
		s->n = DEPTH_SLOPES;
}

double depth_ms(const struct depth *d)
{
	return window_mean_of(d->ms, kept(d));
}

double depth_at(const struct depth *d)
{
	const unsigned n = kept(d);
	double sum = 0;

	for (unsigned i = 0; i < n; i++)
		sum += (double)d->at[i];
	return n ? sum / n : 0;
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

/* The median of what was seen. */
static double seen(const struct depth_slopes *s)
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
	return (double)sorted[i].v;
}

/* Of what position 0 takes, per position. */
static double share(const struct depth_slopes *s)
{
	const double v = s->n ? fmax(seen(s), s->shape * DEPTH_CHEAPEST) : 0;

	if (!(s->shape > 0) || s->n >= DEPTH_SURE)
		return v;
	return (s->n * fmin(v, s->shape * DEPTH_DEAREST) + s->shape * DEPTH_DEAR) / (s->n + 1);
}

double depth_slope(const struct depth_slopes *s, struct depth_point now)
{
	const double v = share(s);

	return v * now.ms / (1 + v * now.at);
}

double depth_moved(const struct depth_slopes *s, struct depth_point now, double at)
{
	return now.ms + depth_slope(s, now) * (at - now.at);
}
