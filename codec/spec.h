/* codec/spec.h - SPEC strings: how rows shall cross the split.
 *
 *   f32 | f16 | q8 | q4 | tabq[:KEY=VALUE,...]
 *
 *   delta=D     largest squared error of a row next to its energy, 0.000001..0.5 (0.005)
 *   tau=T       what counts as an outlier: auto, off, a multiple of the RMS of what stays (2..1e6),
 *               or abs:V, a value (auto)
 *   min=B max=B bits of the widest element, 1..16 (2 and 8)
 *   entropy=E   rans, lz4 or none (rans)
 *   predict=P   auto, none, rows or tokens (auto: rows for prompts, tokens for what is generated,
 *               none without a calibration)
 *
 * Pure; any thread. */
#ifndef CODEC_SPEC_H
#define CODEC_SPEC_H

#include <stdbool.h>

#include "base/err.h"
#include "codec/plain.h"
#include "codec/row.h"

#define SPEC_MAX 128 /* bytes of a SPEC, NUL included */

enum spec_entropy { SPEC_NONE, SPEC_RANS, SPEC_LZ4, SPEC_ENTROPIES };
enum spec_predict { SPEC_PREDICT_NONE, SPEC_ROWS, SPEC_TOKENS, SPEC_AUTO, SPEC_PREDICTS };

struct codec_spec {
	bool tabq;
	enum plain_id plain; /* unless tabq */
	float delta;
	struct row_conf row;
	enum spec_entropy entropy;
	enum spec_predict predict;
};

/* SPEC -> *spec. ERR_CONFIG naming the key and what is allowed. */
MUST_CHECK int spec_parse(struct codec_spec *spec, const char *text, struct err *e);

/* The SPEC of spec, every key named -> dst. Returns dst. */
const char *spec_print(const struct codec_spec *spec, char dst[static SPEC_MAX]);

/* "none", "rows", "tokens", "auto"; "none", "rans", "lz4". */
const char *spec_predict_name(enum spec_predict p);
const char *spec_entropy_name(enum spec_entropy e);

#endif
