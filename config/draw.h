/* config/draw.h - a number that is to be drawn, as a file says it.
 *
 *   5                    always this
 *   uniform(10, 40)      anywhere between
 *   lognormal(20, 0.5)   median, and deviation of the logarithm; cut to what the key allows
 *   choice(1, 2, 4)      one of at most DRAW_CHOICES, each as likely
 *
 * Only what is to be drawn: tools/sim_draw.h draws. Pure; any thread. */
#ifndef CONFIG_DRAW_H
#define CONFIG_DRAW_H

#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

#define DRAW_CHOICES 8

enum draw_kind { DRAW_FIXED, DRAW_UNIFORM, DRAW_LOGNORMAL, DRAW_CHOICE };

struct draw {
	enum draw_kind kind;
	uint32_t n;              /* numbers in use: 1, 2, 2, 1..DRAW_CHOICES */
	double at[DRAW_CHOICES]; /* as they are written */
	double min, max;         /* what the key allows: nothing outside is drawn */
};

/* ERR_CONFIG saying what would be right. All numbers but a lognormal's deviation (0..10) must be in
 * min..max, and those of uniform in order; a lognormal's median must be above 0. *d is written only
 * on 0. */
MUST_CHECK int draw_parse(struct draw *d, const char *text, double min, double max, struct err *e);

/* As draw_parse understands it. */
void draw_print(const struct draw *d, FILE *out);

#endif
