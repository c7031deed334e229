/* base/rng.h - randomness that is a function of (seed, position).
 *
 * Counter-based, stateless: replay, batching and another worker draw the same numbers (Salmon et
 * al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011, for the idea; the mixing function is
 * splitmix64's finalizer, Steele et al., OOPSLA 2014, applied twice). Not for secrets. */
#ifndef BASE_RNG_H
#define BASE_RNG_H

#include <stdint.h>

/* 64 well-mixed bits for (seed, counter). */
uint64_t rng_u64(uint64_t seed, uint64_t counter);

/* Uniform in [0, 1), 53 bits. */
double rng_unit(uint64_t seed, uint64_t counter);

/* Unpredictable bits from the operating system, for ids and seeds. */
uint64_t rng_entropy(void);

#endif
