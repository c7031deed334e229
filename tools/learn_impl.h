/* tools/learn_impl.h - what fit.c and learn_pack.c share. Internal. */
#ifndef TOOLS_LEARN_IMPL_H
#define TOOLS_LEARN_IMPL_H

#include <stddef.h>

#include "tools/learn.h"

#define LEARN_DELTA 0.02 /* distortion that predictors are made for: errors of the row before */

/* The work of one split; all in double. y = S x. */
struct learn {
	const struct learn_rows *rows;
	size_t d, e, in;      /* in: d + 2 e + 1 inputs of the linear map */
	double *weight;       /* [T] of a row; 0 at position 0 */
	double total;         /* sum of weights */
	double *sense, *back; /* [d][d] S and its inverse */
	double *y;            /* [T][d] */
	double *rest;         /* [T][d] what is not predicted */
	double *map;          /* [in][d] */
	double *now, *before; /* [V][d] values of tokens */
	double *axes;         /* [d][d] rows: principal axes of the rest, largest first */
};

/* [n] zeros; the caller frees. */
double *learn_zeros(size_t n);

/* Least squares from n_in inputs (the first d of them noisy) to n_out outputs: gram [n_in][n_in],
 * map [n_in][n_out] are sums of products, map becomes the solution. */
MUST_CHECK int learn_solve(double *gram, double *map, size_t n_in, size_t n_out, size_t d,
			   double noise);

/* Squared errors of an element of the row before, summed up as the weights count them. */
double learn_noise(const struct learn *f);

/* What was found, as integers -> *s. */
MUST_CHECK int learn_pack(struct cal_split *s, const struct cal *c, const struct learn *f);

#endif
