#include "base/rng.h"

#include <sys/random.h>

#include "base/clock.h"

static uint64_t mix(uint64_t z)
{
	z ^= z >> 30;
	z *= 0xbf58476d1ce4e5b9u;
	z ^= z >> 27;
	z *= 0x94d049bb133111ebu;
	z ^= z >> 31;
	return z;
}

uint64_t rng_u64(uint64_t seed, uint64_t counter)
{
	return mix(mix(seed + 0x9e3779b97f4a7c15u) + (counter + 1) * 0x9e3779b97f4a7c15u);
}

double rng_unit(uint64_t seed, uint64_t counter)
{
	return (double)(rng_u64(seed, counter) >> 11) * 0x1p-53;
}

uint64_t rng_entropy(void)
{
	uint64_t v;

	if (getrandom(&v, sizeof(v), 0) == (ssize_t)sizeof(v))
		return v;
	return rng_u64(clock_now_us(), clock_wall_ms());
}
