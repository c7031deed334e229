/* tools/bench_method.h - ways to send rows, for comparison: ours, its stages, and what others do.
 *
 * One thread calls. */
#ifndef TOOLS_BENCH_METHOD_H
#define TOOLS_BENCH_METHOD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codec/codec.h"

enum method_kind { METHOD_SPEC, METHOD_MINMAX, METHOD_LZ4_F16, METHOD_LZ4_4BIT };

struct method {
	const char *name;
	enum method_kind kind;
	const char *spec; /* METHOD_SPEC; of a method with a delta it lacks that one */
	unsigned bits;    /* METHOD_MINMAX */
	bool has_delta;
	bool predicts; /* only where there is a calibration */
	bool ours;     /* what acceptance is about */
};

extern const struct method methods[];
extern const size_t n_methods;

/* Buffers and both ends. */
struct method_run;

/* For chunks of up to rows rows of dim; cal and split may be NULL. ERR_NOMEM. */
MUST_CHECK int method_run_create(struct method_run **out, size_t dim, size_t rows,
				 const struct cal *cal, const struct cal_split *split);
void method_run_destroy(struct method_run *r);

/* Begin a sequence by this method. ERR_CONFIG. */
MUST_CHECK int method_begin(struct method_run *r, const struct method *m, double delta,
			    struct err *e);

/* One chunk x [n][dim] there and back -> y; *bytes of it are added. ids: the tokens of the rows,
 * known when told anyhow (told: the other end has them already); NULL: none. */
MUST_CHECK int method_cross(struct method_run *r, const float *x, const uint32_t *ids, bool told,
			    size_t n, float *y, size_t *bytes, struct err *e);

#endif
