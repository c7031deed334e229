/* codec/row.h - one row of numbers as integers: threshold splitting and a step of its own.
 *
 * Threshold splitting (TS) takes out the few elements that are far beyond the others; the rest is
 * divided by a step and rounded (TAB-Q). The step is the coarsest one, on a grid of eighths of an
 * octave, that keeps the squared error within a budget. What tells a reader which table of
 * codec/tables.h an element belongs to travels with the row: gain and shape; an element's class, a
 * static property of its place in the row, is added to the gain.
 *
 * Pure, allocates nothing; every sum has one order, so that results are the same on every machine.
 * Source: arXiv 2511.04002, threshold splitting and token-wise adaptive bit quantization. */
#ifndef CODEC_ROW_H
#define CODEC_ROW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ROW_STEPS    1824 /* step n is 2^(n/8 - 100) */
#define ROW_GAINS    256
#define ROW_GAIN_T   100   /* an element's table is t = gain - ROW_GAIN_T + class */
#define ROW_MOST     32767 /* largest |q| */
#define ROW_MAX_BITS 16

/* Room for the outliers of a row of dim elements. */
#define ROW_OUTLIERS(dim) ((dim) / 32 + 1)

struct row_outlier {
	uint32_t at;
	float value; /* as it was: it is no part of the error */
};

struct row {
	uint16_t step;
	uint8_t gain, shape;
	uint32_t n_outliers;
	struct row_outlier *outliers; /* [ROW_OUTLIERS(dim)], in order of at; of the caller */
	int16_t *q;                   /* [dim]; 0 at outliers; of the caller */
};

/* How large each place of a row tends to be, next to the others. */
struct row_classes {
	const int8_t *class;  /* [dim] quarters of an octave */
	const float *inverse; /* [dim] 2^(-class/4) */
};

enum row_tau { ROW_TAU_AUTO, ROW_TAU_OFF, ROW_TAU_RMS, ROW_TAU_ABS };

struct row_conf {
	enum row_tau tau_kind;
	float tau; /* ROW_TAU_RMS: times the RMS of what stays; ROW_TAU_ABS: a value */
	unsigned bits_min, bits_max; /* of the widest |q| and its sign */
};

/* Sum of the squares of x without its outliers (those of ROW_TAU_AUTO): what an error is relative
 * to. x [dim] is finite. */
float row_energy(const float *x, size_t dim);

/* y [dim] -> *r, q and outliers included. y is finite and is overwritten. r->step, gain and shape
 * are those of the row before, which a row of zeros repeats where it can.
 *   budget   largest squared error of the row; bits_max may make it larger, bits_min smaller
 *   classes  NULL: all alike */
void row_quantize(const struct row_conf *conf, float *y, const struct row_classes *classes,
		  size_t dim, float budget, struct row *r);

/* row_quantize of x [dim], all alike, within delta times row_energy(x); y [dim]: scratch. */
void row_quantize_plain(const struct row_conf *conf, const float *x, size_t dim, float delta,
			float *y, struct row *r);

/* What a reader makes of a row -> y [dim]. */
void row_restore(const struct row *r, size_t dim, float *y);

/* 2^(n/8 - 100), n < ROW_STEPS. */
float row_step(unsigned n);

/* 2^(-class/4). */
float row_unclass(int class);

/* |x| < limit for each of x [dim]; false where there is a NaN. */
bool row_below(const float *x, size_t dim, float limit);

/* Bits of the widest |q| and its sign, at least 1. */
unsigned row_bits(const int16_t *q, size_t dim);

#endif
