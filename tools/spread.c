#include "tools/spread.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "schema/json.h"

#define ONE_SIDE 0.025 /* what each end of an interval may miss */

static int by_size(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

struct spread spread_of(double *v, size_t n)
{
	const size_t at95 = (n * 95 + 99) / 100;

	qsort(v, n, sizeof(v[0]), by_size);
	return (struct spread){ .median = (v[(n - 1) / 2] + v[n / 2]) / 2,
				.p95 = v[at95 - 1],
				.min = v[0],
				.max = v[n - 1] };
}

/* The k-th smallest value exceeds the median when fewer than k of n fair coins show heads. */
bool spread_interval(const double *v, size_t n, double *low, double *high)
{
	double p = exp2(-(double)n), sum = 0; /* of exactly k heads, and of at most k */
	size_t k = 0;

	while (sum + p <= ONE_SIDE && k < n) {
		sum += p;
		p *= (double)(n - k) / (double)(k + 1);
		k++;
	}
	if (!k)
		return false;
	*low = v[k - 1];
	*high = v[n - k];
	return true;
}

static void add(struct json *obj, const char *key, const char *suffix, double v)
{
	char name[64];

	snprintf(name, sizeof(name), "%s%s", key, suffix);
	json_add_f64(obj, name, v);
}

void spread_add_json(struct json *obj, const char *key, const struct spread *s, bool with_p95)
{
	json_add_f64(obj, key, s->median);
	if (with_p95)
		add(obj, key, "_p95", s->p95);
	add(obj, key, "_min", s->min);
	add(obj, key, "_max", s->max);
}
