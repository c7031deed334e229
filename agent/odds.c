#include "agent/odds.h"

#define REMEMBERED 256u /* guesses of a kind, then older ones count half */
#define LEAST      0.25 /* however fast all is: a worker has others to serve */

void odds_learn(struct odds *o, uint32_t length, uint32_t sure, bool right)
{
	o->kinds[length - 1][sure].right += right;
	if (++o->kinds[length - 1][sure].all < REMEMBERED)
		return;
	o->kinds[length - 1][sure].right /= 2;
	o->kinds[length - 1][sure].all /= 2;
}

/* Before anything was seen: one of two, or two of three where it was right before. */
double odds_of(const struct odds *o, uint32_t length, uint32_t sure)
{
	const uint32_t right = 1 + (sure > 0), all = 2 + (sure > 0);

	return (double)(right + o->kinds[length - 1][sure].right) /
	       (all + o->kinds[length - 1][sure].all);
}

bool odds_are_good(double p, double wait_us, double vain_us)
{
	return p >= LEAST && p * wait_us > (1 - p) * vain_us;
}
