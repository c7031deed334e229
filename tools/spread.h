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

/* An interval that has the median of what v[n] (sorted) was drawn from in 95 % of cases, whatever
 * its distribution: two of the values. False: n is too small for that, below 6. Pure. */
bool spread_interval(const double *v, size_t n, double *low, double *high);

/* The four numbers as members of obj: KEY, KEY_p95 (where p95 is wanted), KEY_min, KEY_max. */
void spread_add_json(struct json *obj, const char *key, const struct spread *s, bool with_p95);

#endif
