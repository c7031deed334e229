#include "tools/sim_window.h"

#include <math.h>

void sim_window_add(struct sim_window *w, double x, uint64_t now_us)
{
	w->x[w->n % SIM_WINDOW] = (float)x;
	w->at_us[w->n % SIM_WINDOW] = now_us;
	w->n++;
}

/* Of those since then, newest first -> sorted[] rising. */
static uint32_t sort(const struct sim_window *w, uint64_t since_us, float sorted[SIM_WINDOW])
{
	uint32_t have = w->n < SIM_WINDOW ? w->n : SIM_WINDOW, n = 0;

	while (n < have) {
		uint32_t at = (w->n - 1 - n) % SIM_WINDOW, i = n;

		if (n && w->at_us[at] < since_us)
			break;
		for (; i && sorted[i - 1] > w->x[at]; i--)
			sorted[i] = sorted[i - 1];
		sorted[i] = w->x[at];
		n++;
	}
	return n;
}

uint32_t sim_window_samples(const struct sim_window *w, uint64_t since_us)
{
	float sorted[SIM_WINDOW];

	return sort(w, since_us, sorted);
}

double sim_window_quantile(const struct sim_window *w, uint64_t since_us, double q)
{
	float sorted[SIM_WINDOW];
	uint32_t n = sort(w, since_us, sorted);
	double rank = ceil(q * n);

	return n ? (double)sorted[rank < 1 ? 0 : (uint32_t)rank - 1] : 0;
}

uint64_t sim_window_idle_us(const struct sim_window *w, uint64_t now_us)
{
	return w->n ? now_us - w->at_us[(w->n - 1) % SIM_WINDOW] : 0;
}
