/* coordinator/accuracy.h - what each way to code rows costs in bits and loses, for a planner.
 *
 * From a calibration's table of losses to the dense tables of coordinator/plan.h; docs/planning.md
 * says what is taken where a calibration has no line. Made once for all agents of a model that have
 * the same front ends and whose workers predict alike. */
#ifndef COORDINATOR_ACCURACY_H
#define COORDINATOR_ACCURACY_H

#include "codec/cal.h"
#include "coordinator/plan.h"

struct accuracy_conf {
	const struct cal *cal; /* of the model; NULL: none */
	bool predicts;         /* agent and worker predict rows with it */
	uint32_t n_layers, dim;
	uint32_t n_fronts;
	const char *fronts[PLAN_MAX_FRONTS]; /* names of precisions; the first is the model's own */
	const char *codec;                   /* SPEC: the only level; empty: a ladder of them */
	uint32_t chunk_rows;                 /* most that an agent sends in one frame */
};

struct accuracy {
	struct plan_accuracy table; /* points into: */
	float *numbers;
	uint32_t *codec_bytes;
};

/* ERR_LIMIT, ERR_CONFIG (codec is no SPEC), ERR_NOMEM; *a needs accuracy_finish only on 0. */
MUST_CHECK int accuracy_init(struct accuracy *a, const struct accuracy_conf *c, struct err *e);
void accuracy_finish(struct accuracy *a);

/* The level that codes as this SPEC says; ERR_NOT_FOUND. */
MUST_CHECK int accuracy_level(const struct plan_accuracy *a, const char *spec, uint32_t *level);

/* Bits of an element at a distortion, of rows that nothing is predicted from. */
double accuracy_plain_bits(double delta);

#endif
