/* tools/matrix.h - the linear algebra of calibration, in double, by OpenBLAS and LAPACK.
 *
 * Matrices are row-major. Any thread, one call at a time. */
#ifndef TOOLS_MATRIX_H
#define TOOLS_MATRIX_H

#include <stddef.h>

#include "base/err.h"

/* g [m][n] += a' b, a [rows][m], b [rows][n]. */
void matrix_add_products(double *g, const double *a, const double *b, size_t rows, size_t m,
			 size_t n);

/* c [m][n] = a [m][k] b [k][n]; with a_transposed a is [k][m], with b_transposed b is [n][k]. */
void matrix_multiply(double *c, const double *a, int a_transposed, const double *b,
		     int b_transposed, size_t m, size_t k, size_t n);

/* x [n][m] = g^-1 x, g [n][n] symmetric and positive definite; g is overwritten. ERR_INTERNAL when
 * it is not. */
MUST_CHECK int matrix_solve(double *g, double *x, size_t n, size_t m);

/* a [n][n] = a^-1. ERR_INTERNAL when it is singular. */
MUST_CHECK int matrix_invert(double *a, size_t n);

/* a [n][n] symmetric -> its rows are eigenvectors, values [n] rising. ERR_INTERNAL. */
MUST_CHECK int matrix_eigen(double *a, double *values, size_t n);

#endif
