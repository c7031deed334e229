/* tools/spread.h - what a handful of measurements say: their middle and their ends. */
#ifndef TOOLS_SPREAD_H
#define TOOLS_SPREAD_H

#include <stdbool.h>
#include <stddef.h>

struct json;

struct spread {
	double median, p95, min, max;
};

/* Of v[n], n >= 1, which is sorted. The 95th percentile is the smallest value that 95 % do not
 * exceed. Pure. */
struct spread spread_of(double *v, size_t n);

/* The four numbers as members of obj: KEY, KEY_p95 (where p95 is wanted), KEY_min, KEY_max. */
void spread_add_json(struct json *obj, const char *key, const struct spread *s, bool with_p95);

#endif
