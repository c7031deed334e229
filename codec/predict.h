/* codec/predict.h - what a row will be, from what both ends have.
 *
 * A row is coded in components u = forward x that a calibration chose (codec/cal.h). Their
 * prediction is a linear function of the components of the row before, as they were decoded, and
 * of the token and the token before. It is worked out in integers, element by element in floats
 * with one operation each: the same bits on every machine. Pure; any thread. */
#ifndef CODEC_PREDICT_H
#define CODEC_PREDICT_H

#include <stddef.h>
#include <stdint.h>

#include "codec/cal.h"

#define PREDICT_MOST 1023 /* largest |z|: k * 127 * 1023 stays below 2^31 */

/* u [k] = forward x [d]. */
void predict_forward(const struct cal_split *s, const float *x, size_t dim, float *u);

/* x [d] = back u [k]. */
void predict_back(const struct cal_split *s, const float *u, size_t dim, float *x);

/* What both ends know; NULL: nothing. */
struct predict_from {
	const float *row;                /* [k] decoded components of the row before */
	const uint32_t *token, *earlier; /* of this row, and of the one before; CAL_TOKENS; < V */
};

/* The part of p that the row before alone says; z [k]: scratch. */
void predict_ahead(const struct cal_split *s, enum cal_mode mode, const float *row, int16_t *z,
		   float *p);

/* p += what the tokens say. */
void predict_add_tokens(const struct cal *c, const struct cal_split *s,
			const struct predict_from *from, float *p);

/* Both. Without a row before: what stands at position 0. */
void predict_row(const struct cal *c, const struct cal_split *s, enum cal_mode mode,
		 const struct predict_from *from, int16_t *z, float *p);

#endif
