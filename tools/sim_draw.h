/* tools/sim_draw.h - chance of the simulated fleet: a stream of numbers per agent, worker or link.
 *
 * A stream depends on its seed alone: one agent's luck does not change what another draws. Pure. */
#ifndef TOOLS_SIM_DRAW_H
#define TOOLS_SIM_DRAW_H

#include <stdint.h>

#include "config/draw.h"

struct sim_rng {
	uint64_t seed, drawn;
};

/* The stream of the index-th thing of a kind. */
struct sim_rng sim_rng(uint64_t seed, uint32_t kind, uint32_t index);

double sim_unit(struct sim_rng *r); /* [0, 1) */
double sim_normal(struct sim_rng *r);
double sim_draw(struct sim_rng *r, const struct draw *d);

/* A factor whose logarithm has this deviation: its median is 1. */
double sim_noise(struct sim_rng *r, double deviation);

/* us until the next of events that come so often; UINT64_MAX: never. */
uint64_t sim_wait_us(struct sim_rng *r, double per_hour);

#endif
