/* tools/sim_window.h - the last figures that a simulated agent measured, their quantiles. Pure. */
#ifndef TOOLS_SIM_WINDOW_H
#define TOOLS_SIM_WINDOW_H

#include <stdint.h>

#define SIM_WINDOW 32

struct sim_window {
	float x[SIM_WINDOW];
	uint64_t at_us[SIM_WINDOW];
	uint32_t n; /* ever */
};

void sim_window_add(struct sim_window *w, double x, uint64_t now_us);

/* How many are not older than since_us, at most SIM_WINDOW; at least 1 where there are any: the
 * newest counts however old it is. */
uint32_t sim_window_samples(const struct sim_window *w, uint64_t since_us);

/* The q-quantile (0..1, nearest rank) of those; 0 when there is none. */
double sim_window_quantile(const struct sim_window *w, uint64_t since_us, double q);

/* us since the newest; 0 when there is none. */
uint64_t sim_window_idle_us(const struct sim_window *w, uint64_t now_us);

#endif
