/* codec/loop_part.h - the functions of a struct loop, in plain C and vectors of the compiler.
 * Included once by a file per instruction set, with LOOP_TABLE, LOOP_NAME and LOOP_LANES. */
#include <math.h>
#include <string.h>

#include "codec/loop.h"
#include "codec/row.h"

#define LANES 16 /* of every sum of floats */
#if defined(__AVX__)
#define WIDTH 8
#else
#define WIDTH 4
#endif
#define VECTORS (LANES / WIDTH)

typedef float floats __attribute__((vector_size(4 * WIDTH)));
typedef int32_t ints __attribute__((vector_size(4 * WIDTH)));
typedef int16_t shorts __attribute__((vector_size(2 * WIDTH)));

struct vectors {
	floats v[VECTORS];
};

static inline struct vectors load(const float *p)
{
	struct vectors r;

	for (unsigned i = 0; i < VECTORS; i++)
		memcpy(&r.v[i], p + i * WIDTH, sizeof(r.v[i]));
	return r;
}

/* The last n < LANES elements, then what fills the lanes up. Apart, so that it stays out of the
 * way of the compiler. */
static __attribute__((noinline)) void load_rest(float lane[LANES], const float *p, size_t n,
						float fill)
{
	for (size_t i = 0; i < LANES; i++)
		lane[i] = i < n ? p[i] : fill;
}

static inline floats choose(ints mask, floats a, floats b)
{
	return (floats)(((ints)a & mask) | ((ints)b & ~mask));
}

static inline floats magnitude(floats v)
{
	return (floats)((ints)v & 0x7fffffff);
}

static float tree(const floats v[VECTORS])
{
	float s[LANES];

	memcpy(s, v, sizeof(s));
	for (unsigned width = LANES / 2; width; width /= 2) {
		for (unsigned i = 0; i < width; i++)
			s[i] += s[i + width];
	}
	return s[0];
}

struct sums {
	floats abs[VECTORS], square[VECTORS], most[VECTORS];
	ints n[VECTORS];
};

static inline void add(struct sums *s, const struct vectors *u, float limit)
{
	for (unsigned i = 0; i < VECTORS; i++) {
		const floats all = magnitude(u->v[i]);
		const ints in = all <= limit;
		const floats a = (floats)((ints)all & in);

		s->abs[i] += a;
		s->square[i] += a * a;
		s->most[i] = choose(a > s->most[i], a, s->most[i]);
		s->n[i] -= in;
	}
}

static inline void multiply(struct vectors *u, const float *by)
{
	const struct vectors v = load(by);

	for (unsigned i = 0; i < VECTORS; i++)
		u->v[i] *= v.v[i];
}

static struct loop_sums sums(const float *y, const float *inverse, size_t dim, float limit)
{
	const size_t whole = dim - dim % LANES;
	struct sums s = { 0 };
	struct loop_sums r = { 0 };
	struct vectors u;
	float rest[LANES];

	for (size_t at = 0; at < whole; at += LANES) {
		u = load(y + at);
		if (inverse)
			multiply(&u, inverse + at);
		add(&s, &u, limit);
	}
	load_rest(rest, y + whole, dim - whole, (float)INFINITY); /* beyond any limit */
	for (size_t i = 0; inverse && i < dim - whole; i++)
		rest[i] *= inverse[whole + i];
	u = load(rest);
	add(&s, &u, limit);
	for (unsigned i = 0; i < LANES; i++) {
		const float most = s.most[i / WIDTH][i % WIDTH];

		r.most = most > r.most ? most : r.most;
		r.n += (uint32_t)s.n[i / WIDTH][i % WIDTH];
	}
	r.abs = tree(s.abs);
	r.square = tree(s.square);
	return r;
}

static inline bool any(ints mask)
{
	uint64_t part[sizeof(mask) / 8], all = 0;

	memcpy(part, &mask, sizeof(mask));
	for (unsigned i = 0; i < sizeof(mask) / 8; i++)
		all |= part[i];
	return all;
}

static size_t beyond(const float *y, const float *inverse, size_t from, size_t dim, float limit)
{
	for (; from + LANES <= dim; from += LANES) {
		struct vectors u = load(y + from);
		ints out = { 0 };

		if (inverse)
			multiply(&u, inverse + from);
		for (unsigned i = 0; i < VECTORS; i++)
			out |= ~(magnitude(u.v[i]) <= limit);
		if (any(out))
			break;
	}
	for (; from < dim; from++) {
		if (!(fabsf(inverse ? y[from] * inverse[from] : y[from]) <= limit))
			break;
	}
	return from;
}

/* Round half to even without a call: adding 1.5 * 2^23 leaves no bits for a fraction. */
static inline floats square_error(floats y, float step, float inverse)
{
	const floats e = y - (y * inverse + 12582912.0f - 12582912.0f) * step;

	return e * e;
}

static void errors(const float *y, size_t dim, const float step[2], float error[2])
{
	const size_t whole = dim - dim % LANES;
	const float a = step[0], b = step[1];
	floats ea[VECTORS] = { { 0 } }, eb[VECTORS] = { { 0 } };
	float rest[LANES];

	load_rest(rest, y + whole, dim - whole, 0);
	for (size_t at = 0; at < dim; at += LANES) {
		const struct vectors u = load(at < whole ? y + at : rest);

		for (unsigned i = 0; i < VECTORS; i++) {
			ea[i] += square_error(u.v[i], a, 1 / a);
			eb[i] += square_error(u.v[i], b, 1 / b);
		}
	}
	error[0] = tree(ea);
	error[1] = tree(eb);
}

static inline void round_one(floats y, float inverse, int16_t *q)
{
	const floats most = (floats){ 0 } + ROW_MOST;
	floats v = y * inverse;
	shorts n;

	v = choose(v > most, most, v);
	v = choose(v < -most, -most, v);
	n = __builtin_convertvector((ints)(v + 12582912.0f), shorts); /* of 0x4b400000 + n */
	memcpy(q, &n, sizeof(n));
}

static void round_all(const float *y, size_t dim, float step, int16_t *q)
{
	const size_t whole = dim - dim % LANES;
	const float inverse = 1 / step;
	float rest[LANES];
	int16_t last[LANES];

	for (size_t at = 0; at < whole; at += WIDTH) {
		floats v;

		memcpy(&v, y + at, sizeof(v));
		round_one(v, inverse, q + at);
	}
	load_rest(rest, y + whole, dim - whole, 0);
	for (size_t i = 0; i < LANES; i += WIDTH) {
		floats v;

		memcpy(&v, rest + i, sizeof(v));
		round_one(v, inverse, last + i);
	}
	memcpy(q + whole, last, (dim - whole) * sizeof(*q));
}

static void restore(const int16_t *q, size_t dim, float step, float *y)
{
	for (size_t i = 0; i < dim; i++)
		y[i] = (float)q[i] * step;
}

static int width(const int16_t *q, size_t dim)
{
	shorts all = { 0 };
	size_t at = 0;
	int r = 0;

	for (; at + WIDTH <= dim; at += WIDTH) {
		shorts v, sign;

		memcpy(&v, q + at, sizeof(v));
		sign = v < 0;
		all |= (v ^ sign) - sign;
	}
	for (unsigned i = 0; i < WIDTH; i++)
		r |= all[i];
	for (; at < dim; at++)
		r |= q[at] < 0 ? -q[at] : q[at];
	return r;
}

static bool below(const float *x, size_t dim, float limit)
{
	const size_t whole = dim - dim % LANES;
	ints bad = { 0 };
	float rest[LANES];

	load_rest(rest, x + whole, dim - whole, 0);
	for (size_t at = 0; at < dim; at += LANES) {
		const struct vectors u = load(at < whole ? x + at : rest);

		for (unsigned i = 0; i < VECTORS; i++)
			bad |= ~(magnitude(u.v[i]) < limit);
	}
	return !any(bad);
}

const struct loop LOOP_TABLE = { LOOP_NAME, sums,  beyond, errors,    round_all,
				 restore,   width, below,  LOOP_LANES };
