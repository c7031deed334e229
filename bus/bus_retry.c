#include "bus/bus_retry.h"

void bus_retry_refused(struct bus_retry *r)
{
	r->short_in_a_row = 0;
	r->was_stable = false;
}

bool bus_retry_lost(struct bus_retry *r, uint64_t age_ms, bool taken_over)
{
	if (age_ms >= RETRY_STABLE_MS) {
		r->failures = 0;
		r->was_stable = true;
	}
	if (age_ms < RETRY_SHORT_MS || taken_over)
		r->short_in_a_row++;
	else
		r->short_in_a_row = 0;
	return r->short_in_a_row >= RETRY_SHORT_IN_A_ROW && !r->was_stable;
}

uint64_t bus_retry_delay_ms(struct bus_retry *r, uint32_t min_ms, uint32_t max_ms, double unit)
{
	uint64_t cap = min_ms;

	for (unsigned i = 0; i < r->failures && cap < max_ms; i++)
		cap *= 2;
	if (cap > max_ms)
		cap = max_ms;
	r->failures++;
	return (uint64_t)(unit * (double)cap);
}
