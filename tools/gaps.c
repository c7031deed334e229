#include "tools/gaps.h"

#include "tools/spread.h"

/* Gaps that become shorter are not looked at, so the order does not count. */
static double usual(const double *gaps, const uint32_t *more, size_t n, size_t at)
{
	const size_t from = at > GAPS_NEAR ? at - GAPS_NEAR : 0;
	const size_t to = n - at > GAPS_NEAR + 1 ? at + GAPS_NEAR + 1 : n;
	double near[2 * GAPS_NEAR + 1];
	size_t k = 0;

	for (size_t i = from; i < to; i++) {
		if (!more[i])
			near[k++] = gaps[i];
	}
	return k ? spread_of(near, k).median : 0;
}

void gaps_take_out(double *gaps, const uint32_t *more, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (!more[i])
			continue;
		gaps[i] -= more[i] * usual(gaps, more, n, i);
		gaps[i] = gaps[i] > 0 ? gaps[i] : 0;
	}
}
