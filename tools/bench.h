/* tools/bench.h - what the parts of `splitmq bench codec` share: points of curves, medians.
 *
 * Failures that leave nothing to measure end the program's run with an error; one thread calls. */
#ifndef TOOLS_BENCH_H
#define TOOLS_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "daemon/options.h"

#define BENCH_MAX_REPEAT 1000

struct bench_conf {
	const char *model, *text, *calibration; /* paths; NULL: not given */
	struct options_list splits; /* none: a few over the model */
	uint32_t dim, rows;    /* of the synthetic sources */
	uint32_t tokens;       /* of the text */
	unsigned repeat;
	const char *csv; /* folder; NULL: none */
	bool json;
	bool rate, real, speed; /* parts that shall run */
};

/* A method at one distortion, averaged over rows. */
struct bench_point {
	const char *source; /* of synthetic rows; NULL: rows of the model */
	uint32_t split;     /* of rows of the model */
	const char *mode;   /* "decode": rows one by one, "prefill": in chunks */
	const char *method; /* constant strings */
	double delta;       /* 0: the method has none */
	double bits;        /* per element, everything included */
	double snr;         /* dB; of what does not stick out */
	double bound;       /* bits of a Gaussian of this energy at this error */
};

/* How long something took, per call. */
struct bench_time {
	const char *what; /* a constant string */
	uint32_t split;   /* of a model's prediction; else UINT32_MAX */
	uint32_t rows, dim;
	double us, us_min, us_max; /* median over the repeats, and their ends */
};

struct bench {
	struct bench_conf conf;
	struct bench_point *points;
	size_t n_points, cap_points;
	struct bench_time *times;
	size_t n_times, cap_times;
	size_t state_bytes; /* of a codec_state for rows of 4096 */
};

/* Append; ERR_NOMEM. */
MUST_CHECK int bench_add_point(struct bench *b, const struct bench_point *p, struct err *e);

/* Call run(ctx) `calls` times in each repeat -> a time per call. */
MUST_CHECK int bench_measure(struct bench *b, struct bench_time t, unsigned calls,
			     void (*run)(void *ctx), void *ctx, struct err *e);

/* The parts: they add points and times. */
MUST_CHECK int bench_rate(struct bench *b, struct err *e);
MUST_CHECK int bench_real(struct bench *b, struct err *e);
MUST_CHECK int bench_speed(struct bench *b, struct err *e);

/* What was measured, on stdout, or as FILE.csv in the folder conf.csv. */
void bench_print(const struct bench *b);
MUST_CHECK int bench_print_json(const struct bench *b, struct err *e);
MUST_CHECK int bench_write_csv(const struct bench *b, struct err *e);

/* `splitmq bench codec`. */
extern const struct options_table bench_codec_options;
int bench_codec(int argc, char **argv);

#endif
