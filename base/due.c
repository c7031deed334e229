#include "base/due.h"

#include <stdlib.h>
#include <string.h>

#define CAUGHT   5u  /* of DUE_KEPT waits must end in the window */
#define EARLY_US 80u /* a nap ends late by that much */
#define SHY_MIN  15u /* waits: what is in the way is seldom gone by the next one */
#define SHY_MAX  256u
#define CALM     24u /* waits: one in so many lost to others (3 ms) outweighs the rest (0.15 ms) */

void due_learn(struct due *d, uint64_t waited_us, bool crowded)
{
	d->waits_us[d->n++ % DUE_KEPT] = waited_us < UINT32_MAX ? (uint32_t)waited_us : UINT32_MAX;
	if (crowded) {
		d->shyness = 2 * d->shyness + 1 < SHY_MAX ? 2 * d->shyness + 1 : SHY_MAX;
		d->shyness = d->shyness > SHY_MIN ? d->shyness : SHY_MIN;
		d->shy = d->shyness;
		d->calm = 0;
	} else if (d->shy) {
		d->shy--;
	} else if (d->shyness && ++d->calm == CALM) {
		d->shyness /= 2;
		d->calm = 0;
	}
}

static int by_size(const void *a, const void *b)
{
	const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* The first window that catches enough; from the beginning where that does, which keeps the
 * processor awake for the others on the way. */
bool due_window(const struct due *d, uint32_t spin_us, struct due_window *w)
{
	uint32_t sorted[DUE_KEPT];

	if (d->n < DUE_KEPT || d->shy || spin_us <= EARLY_US)
		return false;
	memcpy(sorted, d->waits_us, sizeof(sorted));
	qsort(sorted, DUE_KEPT, sizeof(*sorted), by_size);
	if (sorted[CAUGHT - 1] < spin_us) {
		*w = (struct due_window){ 0, spin_us };
		return true;
	}
	for (unsigned i = 0; i + CAUGHT <= DUE_KEPT; i++) {
		const uint32_t first = sorted[i], last = sorted[i + CAUGHT - 1];

		if (last - first >= spin_us - EARLY_US)
			continue;
		w->from_us = first > EARLY_US ? first - EARLY_US : 0;
		w->to_us = w->from_us + spin_us;
		return true;
	}
	return false;
}
