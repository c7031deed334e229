/* worker/cost.h - what a compute step takes, learned from those that ran: base + slope * rows.
 *
 * Steps are kept in classes of about as many rows, the newest few of each; the line goes through
 * the medians of the classes, each counting by its relative error. So an interrupted step counts
 * nothing, one size that runs all the time does not make the others forgotten, and what the machine
 * does today replaces what it did before. Pure. One thread. */
#ifndef WORKER_COST_H
#define WORKER_COST_H

#include <stdint.h>

#define COST_CLASSES 10 /* 1, 2..3, 4..7, ... 512 rows and more */
#define COST_KEPT    9u /* newest steps of a class */

struct cost_class {
	float rows[COST_KEPT], us[COST_KEPT]; /* ring */
	uint32_t n;                           /* ever */
	float mid_rows, mid_us;               /* medians */
};

/* All 0: nothing is known. */
struct cost {
	struct cost_class classes[COST_CLASSES];
	double base_us, row_us; /* row_us > 0 once anything is known; base_us >= 0 */
};

/* Which class a step of so many rows belongs to. */
unsigned cost_class_of(double rows);

/* Median of a ring of COST_KEPT into which so many came, ever; 0: none. */
float cost_median(const float *v, uint32_t ever);

/* A step of so many rows (a row of some of the layers is part of a row) took us. Nothing to learn
 * from rows <= 0. */
void cost_learn(struct cost *c, double rows, double us);

/* Of a step of so many rows; 0 while nothing is known. While only one size is known the base counts
 * as 0, so that more rows look dear rather than cheap. */
double cost_us(const struct cost *c, double rows);

/* The same, by the steps of about as many rows, where there were some: moved from their median
 * along the line. */
double cost_near_us(const struct cost *c, double rows);

#endif
