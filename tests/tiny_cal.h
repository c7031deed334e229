/* tests/tiny_cal.h - a calibration that nobody calibrated, and rows that it predicts somewhat. */
#ifndef TESTS_TINY_CAL_H
#define TESTS_TINY_CAL_H

#include <stddef.h>
#include <stdint.h>

#include "codec/cal.h"

#define TINY_CAL_MODEL "00112233445566778899aabbccddeeff"

struct tiny_cal {
	uint32_t dim, k; /* k == dim: forward and back undo each other, but for their rounding */
	uint32_t features, vocab; /* features 0: values for each token */
	uint32_t n_splits; /* splits 1 .. n_splits */
	uint32_t n_losses;
	float size; /* of the elements of the rows that it is for */
	uint64_t seed;
};

/* Aborts when there is no memory. The caller closes it. */
struct cal *tiny_cal_make(const struct tiny_cal *conf);

/* What the calibration has for a split; NULL for none, as for no calibration. */
const struct cal_split *tiny_cal_split(struct cal *c, uint32_t split);

/* Rows that resemble the row before: x [n][dim] of positions pos on, elements of about `size`. The
 * same for the same seed, however many are asked for at a time. */
void tiny_cal_rows(uint64_t seed, uint32_t pos, size_t n, size_t dim, float size, float *x);

#endif
