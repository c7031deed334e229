/* tools/calibrate.h - predictors for splits of a model, learned from a text. One thread. */
#ifndef TOOLS_CALIBRATE_H
#define TOOLS_CALIBRATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/kv_type.h"

struct calibrate_conf {
	const char *model, *text, *out; /* paths */
	const char *imatrix;            /* path of an importance file to write; NULL: none */
	uint32_t ctx;                   /* tokens of a window */
	unsigned threads;
	const uint32_t *splits; /* [n_splits] rising */
	uint32_t n_splits;
	unsigned hold;       /* every hold-th window is kept for measuring */
	bool fresh;          /* do not go on with what is in out */
	const float *deltas; /* [n_deltas] codec levels of the accuracy table */
	uint32_t n_deltas;
	const unsigned *fronts; /* [n_fronts] CAL_AS_IS or enum quant_type of the front layers */
	uint32_t n_fronts;
	const enum kv_type *caches; /* [n_caches] */
	uint32_t n_caches;
	uint32_t loss_tokens; /* most tokens that each line of the table is measured over */
};

/* Learn and measure what is missing in conf->out; it is saved after every step, so that an
 * interrupted run goes on where it was. */
MUST_CHECK int calibrate_run(const struct calibrate_conf *conf, struct err *e);

#endif
