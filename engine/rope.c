#include "engine/rope.h"

#include <math.h>
#include <stdlib.h>

int rope_init(struct rope *r, const struct model_hparams *hp, const float *factors)
{
	uint32_t pairs = hp->rope_dim / 2;

	*r = (struct rope){ .pairs = pairs, .neox = hp->rope_neox };
	r->freq = malloc((size_t)(pairs ? pairs : 1) * sizeof(*r->freq));
	if (!r->freq)
		return ERR_NOMEM;
	for (uint32_t i = 0; i < pairs; i++) {
		r->freq[i] = pow(hp->rope_base, -2.0 * i / hp->rope_dim) / hp->rope_scale;
		if (factors)
			r->freq[i] /= factors[i];
	}
	return 0;
}

void rope_finish(struct rope *r)
{
	free(r->freq);
	r->freq = NULL;
}

void rope_turn(const struct rope *r, uint32_t position, float *turn)
{
	for (uint32_t i = 0; i < r->pairs; i++) {
		double angle = position * r->freq[i];

		turn[i] = (float)cos(angle);
		turn[r->pairs + i] = (float)sin(angle);
	}
}

/* How far apart elements are is a constant, so that compilers make vectors of this. */
static inline void turn_pairs(const float *restrict turn, float *restrict head, uint32_t pairs,
			      size_t step, size_t other)
{
	const float *c = turn, *s = turn + pairs;

	for (uint32_t i = 0; i < pairs; i++) {
		float *a = head + i * step, *b = a + other;
		float x = *a, y = *b;

		*a = x * c[i] - y * s[i];
		*b = x * s[i] + y * c[i];
	}
}

void rope_apply(const struct rope *r, const float *turn, float *head)
{
	if (r->neox)
		turn_pairs(turn, head, r->pairs, 1, r->pairs);
	else
		turn_pairs(turn, head, r->pairs, 2, 1);
}
