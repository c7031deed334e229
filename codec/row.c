#include "codec/row.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "codec/loop.h"
#include "codec/tables.h"

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
	const uint32_t bits = (n / 8 + 127 - STEP_BIAS / 8) << 23;
	float power;

	memcpy(&power, &bits, sizeof(power)); /* as ldexpf, which is slow */
	return eighths[n % 8] * power;
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

/* The sums without what is beyond AUTO_TAU mean magnitudes, and where that begins. */
struct peeled {
	struct loop_sums s;
	float tau;
};

static struct peeled peel(const struct loop *loop, const float *y, const float *inverse, size_t dim)
{
	struct peeled p = { loop->sums(y, inverse, dim, FLT_MAX), FLT_MAX };

	for (unsigned i = 0; i < MAX_PEELS; i++) {
		float limit = AUTO_TAU * p.s.abs / (float)(p.s.n ? p.s.n : 1);

		if (p.s.most <= limit)
			break;
		p.tau = limit;
		p.s = loop->sums(y, inverse, dim, limit);
	}
	return p;
}

float row_energy(const float *x, size_t dim)
{
	return peel(loop_pick(), x, NULL, dim).s.square;
}

/* Take out of y what is beyond tau. When that would be too many, nothing: a row in which so many
 * stick out has no outliers. */
static void split(const struct loop *loop, float *y, const float *inverse, size_t dim, float tau,
		  struct row *r)
{
	const uint32_t room = ROW_OUTLIERS(dim);
	uint32_t n = 0;

	for (size_t i = 0; (i = loop->beyond(y, inverse, i, dim, tau)) < dim; i++) {
		if (n == room)
			return;
		r->outliers[n++] = (struct row_outlier){ (uint32_t)i, y[i] };
	}
	r->n_outliers = n;
	for (uint32_t i = 0; i < n; i++)
		y[r->outliers[i].at] = 0;
}

/* The sums of what stays in y. peeled: those of peel(). */
static struct loop_sums threshold_split(const struct loop *loop, const struct row_conf *conf,
					float *y, const float *inverse, size_t dim,
					const struct peeled *peeled, struct row *r)
{
	struct loop_sums s = peeled->s;
	float tau = peeled->tau;

	r->n_outliers = 0;
	if (conf->tau_kind == ROW_TAU_RMS)
		tau = conf->tau * sqrtf(s.square / (float)(s.n ? s.n : 1));
	else if (conf->tau_kind == ROW_TAU_ABS)
		tau = conf->tau;
	if (tau == FLT_MAX)
		return s;
	split(loop, y, conf->tau_kind == ROW_TAU_ABS ? NULL : inverse, dim, tau, r);
	if (conf->tau_kind != ROW_TAU_AUTO || !r->n_outliers)
		return loop->sums(y, inverse, dim, FLT_MAX);
	s.n += r->n_outliers; /* each a zero now, which adds nothing else */
	return s;
}

/* From how peaked the values are: (mean |u|)^2 / mean u^2 is 2/pi for a Gaussian, 1/2 for a
 * Laplacian; the thresholds lie half way between the shapes of codec/tables.h. */
static uint8_t shape_of(const struct loop_sums *s)
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
static unsigned first_step(const struct loop_sums *s, float budget, size_t dim, unsigned shape)
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

/* Squared errors of steps n and n + 1. */
static void errors_of(const struct loop *loop, const float *y, size_t dim, unsigned n,
		      float error[2])
{
	const float step[2] = { row_step(n), row_step(n + 1) };

	loop->errors(y, dim, step, error);
}

/* The promise is tried, and mended by a notch. Short or odd rows are further off than that: two
 * notches at a time, until single precision could be what stands in the way. */
static unsigned choose_step(const struct loop *loop, const float *y, const struct loop_sums *s,
			    size_t dim, float budget, unsigned shape)
{
	unsigned n = first_step(s, budget, dim, shape);
	float error[2];

	if (n + 1 >= ROW_STEPS)
		return ROW_STEPS - 1;
	errors_of(loop, y, dim, n, error);
	for (unsigned finer = 0; error[1] > budget && finer < MAX_FINER; finer++) {
		if (error[0] <= budget || n < 2)
			return n;
		n -= 2;
		errors_of(loop, y, dim, n, error);
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

/* row_quantize of what threshold_split() left, whose sums are s. */
static void round_off(const struct loop *loop, const struct row_conf *conf, const float *y,
		      const struct loop_sums *s, size_t dim, float budget, struct row *r)
{
	const struct row before = *r;
	int t;

	if (s->most <= TINY || !(budget > 0)) { /* nothing to say */
		memset(r->q, 0, dim * sizeof(*r->q));
		r->gain = r->gain < ZERO_GAIN ? r->gain : ZERO_GAIN;
		return;
	}
	r->shape = shape_of(s);
	r->step =
		(uint16_t)limit_bits(conf, s->most, choose_step(loop, y, s, dim, budget, r->shape));
	t = table_of(s->abs / (float)s->n, r->step) + ROW_GAIN_T;
	r->gain = (uint8_t)(t < 0 ? 0 : t >= ROW_GAINS ? ROW_GAINS - 1 : t);
	loop->round(y, dim, row_step(r->step), r->q);
	if (!r->n_outliers && !loop->width(r->q, dim)) {
		r->step = before.step;
		r->shape = before.shape;
		r->gain = before.gain < r->gain ? before.gain : r->gain;
	}
}

void row_quantize(const struct row_conf *conf, float *y, const struct row_classes *classes,
		  size_t dim, float budget, struct row *r)
{
	const float *inverse = classes ? classes->inverse : NULL;
	const struct loop *loop = loop_pick();
	struct peeled peeled = { .tau = FLT_MAX };
	struct loop_sums s;

	if (conf->tau_kind == ROW_TAU_OFF)
		peeled.s = loop->sums(y, inverse, dim, FLT_MAX);
	else
		peeled = peel(loop, y, inverse, dim);
	s = threshold_split(loop, conf, y, inverse, dim, &peeled, r);
	round_off(loop, conf, y, &s, dim, budget, r);
}

void row_quantize_plain(const struct row_conf *conf, const float *x, size_t dim, float delta,
			float *y, struct row *r)
{
	const struct loop *loop = loop_pick();
	struct peeled peeled = peel(loop, x, NULL, dim);
	const float budget = delta * peeled.s.square;
	struct loop_sums s;

	memcpy(y, x, dim * sizeof(*x));
	if (conf->tau_kind == ROW_TAU_OFF && peeled.tau != FLT_MAX)
		peeled = (struct peeled){ loop->sums(x, NULL, dim, FLT_MAX), FLT_MAX };
	s = threshold_split(loop, conf, y, NULL, dim, &peeled, r);
	round_off(loop, conf, y, &s, dim, budget, r);
}

void row_restore(const struct row *r, size_t dim, float *y)
{
	loop_pick()->restore(r->q, dim, row_step(r->step), y);
	for (uint32_t i = 0; i < r->n_outliers; i++)
		y[r->outliers[i].at] = r->outliers[i].value;
}

bool row_below(const float *x, size_t dim, float limit)
{
	return loop_pick()->below(x, dim, limit);
}

unsigned row_bits(const int16_t *q, size_t dim)
{
	const int width = loop_pick()->width(q, dim);
	unsigned bits = 1;

	while (width >= 1 << (bits - 1))
		bits++;
	return bits;
}
