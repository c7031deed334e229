#include "tools/source.h"

#include <math.h>

#include "base/rng.h"

#define TWO_PI  6.283185307179586
#define MASSIVE 1000.0

const char *source_name(enum source_kind kind)
{
	static const char *const names[SOURCE_COUNT] = {
		[SOURCE_GAUSS] = "gauss",
		[SOURCE_LAPLACE] = "laplace",
		[SOURCE_T4] = "student-t4",
		[SOURCE_MASSIVE] = "massive",
	};

	return (unsigned)kind < SOURCE_COUNT ? names[kind] : "unknown";
}

/* In (0, 1]: a logarithm can take it. */
static double above_zero(uint64_t seed, uint64_t n)
{
	return 1 - rng_unit(seed, n);
}

/* Of variance 1. Four numbers of the generator an element. */
static double draw(enum source_kind kind, uint64_t seed, uint64_t i)
{
	const double u = above_zero(seed, 4 * i), v = rng_unit(seed, 4 * i + 1);
	double gauss;

	if (kind == SOURCE_LAPLACE)
		return (v < 0.5 ? -1 : 1) * -log(u) / sqrt(2);
	gauss = sqrt(-2 * log(u)) * cos(TWO_PI * v);
	if (kind == SOURCE_T4) {
		double chi2 = -2 * log(above_zero(seed, 4 * i + 2) * above_zero(seed, 4 * i + 3));

		return gauss / sqrt(chi2 / 4) / sqrt(2);
	}
	return gauss;
}

bool source_sticks_out(enum source_kind kind, size_t i, size_t dim)
{
	return kind == SOURCE_MASSIVE && (i == dim / 3 || i == dim - 1 - dim / 5);
}

void source_row(enum source_kind kind, uint64_t seed, float *x, size_t dim)
{
	for (size_t i = 0; i < dim; i++) {
		x[i] = (float)draw(kind, seed, i);
		if (source_sticks_out(kind, i, dim))
			x[i] = (float)copysign(MASSIVE + fabs((double)x[i]), (double)x[i]);
	}
}
