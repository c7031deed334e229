#include "tools/spread.h"

#include <stdio.h>
#include <stdlib.h>

#include "schema/json.h"

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
