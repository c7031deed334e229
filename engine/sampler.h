/* engine/sampler.h - logits -> the next token, a function of (parameters, history, position).
 *
 * Order: repetition penalty, temperature, top-k, top-p, min-p, draw. Temperature 0 is greedy
 * (lowest id wins a tie). The random number is rng_unit(seed, position): the same on every worker,
 * in every batch, after every replay. Compute thread; allocates only in sampler_create. */
#ifndef ENGINE_SAMPLER_H
#define ENGINE_SAMPLER_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct sampler_params {
	float temperature;    /* 0..10; 0 = greedy */
	uint32_t top_k;	      /* 0 = off */
	float top_p;	      /* (0, 1]; 1 = off */
	float min_p;	      /* [0, 1); 0 = off */
	float repeat_penalty; /* 1 = off; (0, 10]; over generated tokens only */
	uint32_t repeat_last; /* how many generated tokens it looks back; default 64, <= 4096 */
	uint64_t seed;
};

#define SAMPLER_DEFAULTS                                                                           \
	((struct sampler_params){ .top_p = 1, .repeat_penalty = 1, .repeat_last = 64 })

/* ERR_LIMIT, naming the parameter and its allowed range. */
MUST_CHECK int sampler_check(const struct sampler_params *p, struct err *e);

struct sampler;

/* Bytes of memory of a sampler. */
size_t sampler_bytes(uint32_t n_vocab);

/* Scratch for n_vocab logits, and the kernels of this machine: ERR_LIMIT, ERR_NOMEM or what
 * kern_pick says. */
MUST_CHECK int sampler_create(struct sampler **out, uint32_t n_vocab);
void sampler_destroy(struct sampler *s);

/* logits [n_vocab] (not modified); history [n_history] = the tokens generated so far (oldest
 * first), of which the last repeat_last count; position = index in the sequence that the token will
 * take. ERR_NOT_FINITE when a logit is NaN or +inf, or all are -inf (which means: never this
 * token). */
MUST_CHECK int sampler_pick(struct sampler *s, const struct sampler_params *p, const float *logits,
			    const uint32_t *history, uint32_t n_history, uint32_t position,
			    uint32_t *id);

#endif
