#include "base/window.h"

#include <stdlib.h>
#include <string.h>

#define EXTREME 32u /* one of so many, at each end */

static int by_size(const void *a, const void *b)
{
	const float x = *(const float *)a, y = *(const float *)b;

	return (x > y) - (x < y);
}

static void sort_into(float *sorted, const float *v, uint32_t n)
{
	memcpy(sorted, v, n * sizeof(*v));
	qsort(sorted, n, sizeof(*sorted), by_size);
}

double window_median_of(const float *v, uint32_t n)
{
	float sorted[WINDOW_KEPT];

	if (!n)
		return 0;
	sort_into(sorted, v, n);
	return ((double)sorted[(n - 1) / 2] + (double)sorted[n / 2]) / 2;
}

/* Of one or two nothing can be left out; of three or four it is their median. */
double window_mean_of(const float *v, uint32_t n)
{
	float sorted[WINDOW_KEPT];
	uint32_t out = n > EXTREME ? n / EXTREME : 1;
	double sum;

	if (!n)
		return 0;
	if (n < 3)
		out = 0;
	sort_into(sorted, v, n);
	sum = out * ((double)sorted[out] + (double)sorted[n - 1 - out]);
	for (uint32_t i = out; i < n - out; i++)
		sum += (double)sorted[i];
	return sum / n;
}

static uint32_t kept(const struct window *w)
{
	return w->n < WINDOW_KEPT ? w->n : WINDOW_KEPT;
}

void window_add(struct window *w, double v)
{
	w->v[w->n % WINDOW_KEPT] = (float)v;
	if (++w->n == 2 * WINDOW_KEPT) /* the ring goes on, the count does not run over */
		w->n = WINDOW_KEPT;
}

double window_median(const struct window *w)
{
	return window_median_of(w->v, kept(w));
}

double window_mean(const struct window *w)
{
	return window_mean_of(w->v, kept(w));
}

void window_scale(struct window *w, double factor)
{
	for (uint32_t i = 0; i < kept(w); i++)
		w->v[i] *= (float)factor;
}
