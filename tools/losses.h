/* tools/losses.h - what a split, a codec and a cache cost in accuracy: the table of a calibration.
 *
 * Each line compares the divided model with itself undivided (cache f32) over the same windows. */
#ifndef TOOLS_LOSSES_H
#define TOOLS_LOSSES_H

#include "base/err.h"
#include "codec/cal.h"
#include "tools/corpus.h"

struct losses_conf {
	const char *model, *calibration; /* paths; lines are added to calibration as they come */
	unsigned threads;
	const struct corpus *held;
	const float *deltas; /* [n_deltas] */
	uint32_t n_deltas;
	const unsigned *fronts; /* [n_fronts] CAL_AS_IS or an enum quant_type */
	uint32_t n_fronts;
	const enum kv_type *caches; /* [n_caches] */
	uint32_t n_caches;
	uint32_t tokens; /* most that a line is measured over */
};

/* Add to c->losses (which has room for CAL_MAX_LOSSES) the lines that are missing. */
MUST_CHECK int losses_measure(const struct losses_conf *conf, struct cal *c, struct err *e);

#endif
