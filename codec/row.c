#include "codec/row.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "codec/tables.h"

#define LANES       16
#define AUTO_TAU    16.0f /* times the mean magnitude: about 13 sigma of a Gaussian */
#define MAX_PEELS   4     /* outliers hide smaller outliers */
#define STEP_BIAS   800   /* the n of step 1 */
#define MAX_COARSER 32
#define MAX_FINER   16
#define TINY        0x1p-90f
#define ZERO_GAIN   (ROW_GAIN_T - 20) /* zeros are next to free */

/* 2^(k/8). */
static const float eighths[8] = { 1.0f,       1.0905077f, 1.1892071f, 1.2968396f,
				  1.4142135f, 1.5422108f, 1.6817929f, 1.8340081f };

float row_unclass(int class)
{
	int up = -class & 3;

	return ldexpf(eighths[2 * up], (-class - up) / 4);
}

float row_step(unsigned n)
{
	return ldexpf(eighths[n % 8], (int)(n / 8) - STEP_BIAS / 8);
}

/* The largest e with 2^(e/8) <= v; v is positive and finite. */
static int log2_eighths(float v)
{
	int e, k = 7;
	float m = 2 * frexpf(v, &e);

	while (k > 0 && m < eighths[k])
		k--;
	return (e - 1) * 8 + k;
}

static float tree(float s[LANES])
{
	for (unsigned width = LANES / 2; width; width /= 2) {
		for (unsigned i = 0; i < width; i++)
			s[i] += s[i + width];
	}
	return s[0];
}

/* Of |u|, u = y or y of unit class; elements beyond the limit do not count. */
struct sums {
	float abs, square, most;
	uint32_t n;
};

struct lanes {
	float abs[LANES], square[LANES], most[LANES], n[LANES];
};

static void add(struct lanes *s, const float *u, float limit)
{
	for (unsigned i = 0; i < LANES; i++) {
		float a = fabsf(u[i]);
		float in = a <= limit ? 1.0f : 0.0f;

		a = a <= limit ? a : 0.0f;
		s->abs[i] += a;
		s->square[i] += a * a;
		s->most[i] = a > s->most[i] ? a : s->most[i];
		s->n[i] += in;
	}
}

static struct sums sum_up(const float *y, const float *inverse, size_t dim, float limit)
{
	struct lanes s = { 0 };
	struct sums r;
	float u[LANES];

	for (size_t at = 0; at < dim; at += LANES) {
		size_t n = dim - at < LANES ? dim - at : LANES;

		if (!inverse && n == LANES) {
			add(&s, y + at, limit);
			continue;
		}
		for (size_t i = 0; i < n; i++)
			u[i] = inverse ? y[at + i] * inverse[at + i] : y[at + i];
		for (size_t i = n; i < LANES; i++)
			u[i] = INFINITY; /* beyond any limit, FLT_MAX too */
		add(&s, u, limit);
	}
	r.most = 0;
	for (unsigned i = 0; i < LANES; i++)
		r.most = s.most[i] > r.most ? s.most[i] : r.most;
	r.abs = tree(s.abs);
	r.square = tree(s.square);
	r.n = (uint32_t)tree(s.n);
	return r;
}

/* The sums without what is beyond AUTO_TAU mean magnitudes; *tau is where that begins. */
static struct sums peel(const float *y, const float *inverse, size_t dim, float *tau)
{
	struct sums s = sum_up(y, inverse, dim, FLT_MAX);

	*tau = FLT_MAX;
	for (unsigned i = 0; i < MAX_PEELS; i++) {
		float limit = AUTO_TAU * s.abs / (float)(s.n ? s.n : 1);

		if (s.most <= limit)
			break;
		*tau = limit;
		s = sum_up(y, inverse, dim, limit);
	}
	return s;
}

float row_energy(const float *x, size_t dim)
{
	float tau;

	return peel(x, NULL, dim, &tau).square;
}

/* Take out of y what is beyond tau. When that would be too many, nothing: a row in which so many
 * stick out has no outliers. */
static void split(float *y, const float *inverse, size_t dim, float tau, struct row *r)
{
	const uint32_t room = ROW_OUTLIERS(dim);
	uint32_t n = 0;

	r->n_outliers = 0;
	for (size_t i = 0; i < dim; i++) {
		if (fabsf(inverse ? y[i] * inverse[i] : y[i]) <= tau)
			continue;
		if (n == room)
			return;
		r->outliers[n++] = (struct row_outlier){ (uint32_t)i, y[i] };
	}
	r->n_outliers = n;
	for (uint32_t i = 0; i < n; i++)
		y[r->outliers[i].at] = 0;
}

static struct sums threshold_split(const struct row_conf *conf, float *y, const float *inverse,
				   size_t dim, struct row *r)
{
	struct sums s;
	float tau;

	r->n_outliers = 0;
	if (conf->tau_kind == ROW_TAU_OFF)
		return sum_up(y, inverse, dim, FLT_MAX);
	s = peel(y, inverse, dim, &tau);
	if (conf->tau_kind == ROW_TAU_RMS)
		tau = conf->tau * sqrtf(s.square / (float)(s.n ? s.n : 1));
	else if (conf->tau_kind == ROW_TAU_ABS)
		tau = conf->tau;
	if (tau == FLT_MAX)
		return s;
	split(y, conf->tau_kind == ROW_TAU_ABS ? NULL : inverse, dim, tau, r);
	return sum_up(y, inverse, dim, FLT_MAX);
}

/* From how peaked the values are: (mean |u|)^2 / mean u^2 is 2/pi for a Gaussian, 1/2 for a
 * Laplacian; the thresholds lie half way between the shapes of codec/tables.h. */
static uint8_t shape_of(const struct sums *s)
{
	float n = (float)s->n, mean = s->abs / n, ratio = mean * mean / (s->square / n + TINY);

	return ratio > 0.613f ? 0 : ratio > 0.544f ? 1 : ratio > 0.444f ? 2 : 3;
}

/* t of a mean magnitude of one step or whatever multiple of it, unclamped. */
static int table_of(float mean, unsigned step)
{
	int eighth = log2_eighths(mean > TINY ? mean : TINY) - (int)step + STEP_BIAS;

	return TABLES_ZERO + ((eighth + 1) >> 1);
}

/* Squared error that rounding to the step is expected to make, in units of step^2, an element. */
static float expected_error(int t, unsigned shape)
{
	if (t < 0)
		return tables_error[shape][0] * ldexpf(1, t / 2); /* all is rounded to 0 */
	return tables_error[shape][t < TABLES_SCALES ? t : TABLES_SCALES - 1];
}

/* The coarsest step that the tables promise to keep within the budget. From step^2/12 on, since
 * small values that are rounded to 0 err less. */
static unsigned first_step(const struct sums *s, float budget, size_t dim, unsigned shape)
{
	const float mean = s->abs / (float)(s->n ? s->n : 1), each = budget / (float)dim;
	int n = log2_eighths(sqrtf(12 * each) + TINY) + STEP_BIAS;

	for (unsigned more = 0; more < MAX_COARSER && n + 1 < ROW_STEPS; more++) {
		float step = row_step((unsigned)n + 1);

		if (step * step * expected_error(table_of(mean, (unsigned)n + 1), shape) > each)
			break;
		n++;
	}
	return (unsigned)n;
}

/* Round half to even without a call: adding 1.5 * 2^23 leaves no bits for a fraction. */
static float round_even(float v)
{
	return v + 12582912.0f - 12582912.0f;
}

static float square_error(float y, float step, float inverse)
{
	float e = y - round_even(y * inverse) * step;

	return e * e;
}

/* Squared errors of steps n and n + 1. */
static void errors_of(const float *y, size_t dim, unsigned n, float error[2])
{
	const float a = row_step(n), b = row_step(n + 1);
	float ea[LANES] = { 0 }, eb[LANES] = { 0 };
	size_t at = 0;

	for (; at + LANES <= dim; at += LANES) {
		for (unsigned i = 0; i < LANES; i++) {
			ea[i] += square_error(y[at + i], a, 1 / a);
			eb[i] += square_error(y[at + i], b, 1 / b);
		}
	}
	for (; at < dim; at++) {
		ea[at % LANES] += square_error(y[at], a, 1 / a);
		eb[at % LANES] += square_error(y[at], b, 1 / b);
	}
	error[0] = tree(ea);
	error[1] = tree(eb);
}

/* The promise is tried, and mended by a notch. Short or odd rows are further off than that: two
 * notches at a time, until single precision could be what stands in the way. */
static unsigned choose_step(const float *y, const struct sums *s, size_t dim, float budget,
			    unsigned shape)
{
	unsigned n = first_step(s, budget, dim, shape);
	float error[2];

	if (n + 1 >= ROW_STEPS)
		return ROW_STEPS - 1;
	errors_of(y, dim, n, error);
	for (unsigned finer = 0; error[1] > budget && finer < MAX_FINER; finer++) {
		if (error[0] <= budget || n < 2)
			return n;
		n -= 2;
		errors_of(y, dim, n, error);
	}
	return n + 1;
}

static unsigned bits_of(float most, unsigned step)
{
	float v = most / row_step(step) + 0.5f;
	unsigned bits = 1;

	while (bits < ROW_MAX_BITS && v >= (float)(1u << (bits - 1)))
		bits++;
	return bits;
}

static unsigned limit_bits(const struct row_conf *conf, float most, unsigned step)
{
	while (step + 1 < ROW_STEPS && bits_of(most, step) > conf->bits_max)
		step++;
	while (step > 0 && bits_of(most, step) < conf->bits_min)
		step--;
	return step;
}

static void round_row(const float *y, size_t dim, float step, int16_t *q)
{
	const float inverse = 1 / step;

	for (size_t i = 0; i < dim; i++) {
		float v = y[i] * inverse;

		v = v > ROW_MOST ? ROW_MOST : v < -ROW_MOST ? -ROW_MOST : v;
		q[i] = (int16_t)round_even(v);
	}
}

void row_quantize(const struct row_conf *conf, float *y, const struct row_classes *classes,
		  size_t dim, float budget, struct row *r)
{
	const float *inverse = classes ? classes->inverse : NULL;
	const struct row before = *r;
	struct sums s = threshold_split(conf, y, inverse, dim, r);
	int t;

	if (s.most <= TINY || !(budget > 0)) { /* nothing to say */
		memset(r->q, 0, dim * sizeof(*r->q));
		r->gain = r->gain < ZERO_GAIN ? r->gain : ZERO_GAIN;
		return;
	}
	r->shape = shape_of(&s);
	r->step = (uint16_t)limit_bits(conf, s.most, choose_step(y, &s, dim, budget, r->shape));
	t = table_of(s.abs / (float)s.n, r->step) + ROW_GAIN_T;
	r->gain = (uint8_t)(t < 0 ? 0 : t >= ROW_GAINS ? ROW_GAINS - 1 : t);
	round_row(y, dim, row_step(r->step), r->q);
	if (row_bits(r->q, dim) == 1 && !r->n_outliers) {
		r->step = before.step;
		r->shape = before.shape;
		r->gain = before.gain < r->gain ? before.gain : r->gain;
	}
}

void row_restore(const struct row *r, size_t dim, float *y)
{
	const float step = row_step(r->step);

	for (size_t i = 0; i < dim; i++)
		y[i] = (float)r->q[i] * step;
	for (uint32_t i = 0; i < r->n_outliers; i++)
		y[r->outliers[i].at] = r->outliers[i].value;
}

unsigned row_bits(const int16_t *q, size_t dim)
{
	int most = 0;
	unsigned bits = 1;

	for (size_t i = 0; i < dim; i++) {
		int a = q[i] < 0 ? -q[i] : q[i];

		most = a > most ? a : most;
	}
	while (most >= 1 << (bits - 1))
		bits++;
	return bits;
}
