#include "tools/matrix.h"

#include <cblas.h>
#include <lapacke.h>
#include <stdlib.h>

void matrix_add_products(double *g, const double *a, const double *b, size_t rows, size_t m,
			 size_t n)
{
	cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)m, (int)n, (int)rows, 1, a,
		    (int)m, b, (int)n, 1, g, (int)n);
}

void matrix_multiply(double *c, const double *a, int a_transposed, const double *b,
		     int b_transposed, size_t m, size_t k, size_t n)
{
	cblas_dgemm(CblasRowMajor, a_transposed ? CblasTrans : CblasNoTrans,
		    b_transposed ? CblasTrans : CblasNoTrans, (int)m, (int)n, (int)k, 1, a,
		    a_transposed ? (int)m : (int)k, b, b_transposed ? (int)k : (int)n, 0, c,
		    (int)n);
}

int matrix_solve(double *g, double *x, size_t n, size_t m)
{
	int rc = (int)LAPACKE_dposv(LAPACK_ROW_MAJOR, 'U', (int)n, (int)m, g, (int)n, x, (int)m);

	return rc ? ERR_INTERNAL : 0;
}

int matrix_invert(double *a, size_t n)
{
	lapack_int *pivots = malloc(n * sizeof(*pivots));
	int rc;

	if (!pivots)
		return ERR_NOMEM;
	rc = (int)LAPACKE_dgetrf(LAPACK_ROW_MAJOR, (int)n, (int)n, a, (int)n, pivots);
	if (!rc)
		rc = (int)LAPACKE_dgetri(LAPACK_ROW_MAJOR, (int)n, a, (int)n, pivots);
	free(pivots);
	return rc ? ERR_INTERNAL : 0;
}

int matrix_eigen(double *a, double *values, size_t n)
{
	/* column-major: what LAPACK calls columns are our rows */
	int rc = (int)LAPACKE_dsyevd(LAPACK_COL_MAJOR, 'V', 'U', (int)n, a, (int)n, values);

	return rc ? ERR_INTERNAL : 0;
}
