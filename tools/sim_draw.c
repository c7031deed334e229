#include "tools/sim_draw.h"

#include <math.h>

#include "base/rng.h"

#define HOUR_US 3.6e9
#define TURN    6.283185307179586

struct sim_rng sim_rng(uint64_t seed, uint32_t kind, uint32_t index)
{
	return (struct sim_rng){ .seed = rng_u64(seed, ((uint64_t)kind << 32) | index) };
}

double sim_unit(struct sim_rng *r)
{
	return rng_unit(r->seed, r->drawn++);
}

/* Box and Muller, one of the two. */
double sim_normal(struct sim_rng *r)
{
	double radius = sqrt(-2 * log(1 - sim_unit(r)));

	return radius * cos(TURN * sim_unit(r));
}

double sim_noise(struct sim_rng *r, double deviation)
{
	return deviation > 0 ? exp(deviation * sim_normal(r)) : 1;
}

double sim_draw(struct sim_rng *r, const struct draw *d)
{
	double x = d->at[0];

	if (d->kind == DRAW_UNIFORM)
		x += (d->at[1] - x) * sim_unit(r);
	else if (d->kind == DRAW_LOGNORMAL)
		x *= sim_noise(r, d->at[1]);
	else if (d->kind == DRAW_CHOICE)
		x = d->at[(uint32_t)(sim_unit(r) * d->n)];
	return fmin(fmax(x, d->min), d->max);
}

uint64_t sim_wait_us(struct sim_rng *r, double per_hour)
{
	if (!(per_hour > 0))
		return UINT64_MAX;
	return (uint64_t)(-log(1 - sim_unit(r)) * HOUR_US / per_hour);
}
