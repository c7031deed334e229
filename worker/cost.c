#include "worker/cost.h"

#include <math.h>
#include "base/window.h"

unsigned cost_class_of(double rows)
{
	unsigned i = 0;

	while (i + 1 < COST_CLASSES && rows >= 2) {
		rows /= 2;
		i++;
	}
	return i;
}

float cost_median(const float *v, uint32_t ever)
{
	return (float)window_median_of(v, ever < COST_KEPT ? ever : COST_KEPT);
}

/* Least squares over the classes that have something, weighted by 1 / us^2. */
static void fit(struct cost *c)
{
	double w = 0, wx = 0, wy = 0, wxx = 0, wxy = 0, dear = 0;

	for (unsigned i = 0; i < COST_CLASSES; i++) {
		const struct cost_class *k = &c->classes[i];
		const double x = k->mid_rows, y = k->mid_us, of = k->n ? 1 / (y * y) : 0;

		w += of;
		wx += of * x;
		wy += of * y;
		wxx += of * x * x;
		wxy += of * x * y;
		dear = k->n && y / x > dear ? y / x : dear;
	}
	const double spread = w * wxx - wx * wx;

	c->row_us = spread > 1e-9 * w * wxx ? (w * wxy - wx * wy) / spread : dear;
	c->base_us = (wy - c->row_us * wx) / w;
	if (c->base_us < 0) { /* the best line through 0 */
		c->base_us = 0;
		c->row_us = wxy / wxx;
	} else if (c->row_us <= 0) { /* more rows in no more time: noise */
		c->row_us = 1e-3 * dear;
	}
}

void cost_learn(struct cost *c, double rows, double us)
{
	struct cost_class *k = &c->classes[cost_class_of(rows)];

	if (!(rows > 0) || !(us >= 0))
		return;
	k->rows[k->n % COST_KEPT] = (float)rows;
	k->us[k->n % COST_KEPT] = (float)(us < 1 ? 1 : us);
	if (++k->n == 2 * COST_KEPT) /* the ring goes on, the count does not run over */
		k->n = COST_KEPT;
	k->mid_rows = cost_median(k->rows, k->n);
	k->mid_us = cost_median(k->us, k->n);
	fit(c);
}

double cost_us(const struct cost *c, double rows)
{
	return c->base_us + c->row_us * rows;
}

double cost_near_us(const struct cost *c, double rows)
{
	const struct cost_class *k = &c->classes[cost_class_of(rows)];
	const double us = (double)k->mid_us + c->row_us * (rows - (double)k->mid_rows);

	return k->n && us > 0 ? us : cost_us(c, rows);
}
