/* engine/quantize.h - f32 rows -> GGUF blocks: the inverse of quant_dequant_row.
 *
 * The encoders look for the step (and offset) with the least squared error
 *
 *	sum over the block of importance[i] * (x[i] - decoded[i])^2
 *
 * where `decoded` is what the decoder will make of the bytes, f16 factors and few-bit scales of
 * sub-blocks included. Nothing but +, -, *, / in a fixed order: the same bytes on every machine.
 * Pure; any thread. The layouts are those of engine/quant*.c. */
#ifndef ENGINE_QUANTIZE_H
#define ENGINE_QUANTIZE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "engine/quant.h"

/* Changes whenever the same input gives other bytes than before: part of a recipe's identity. */
#define QUANTIZE_VERSION 1

/* From here on a value is refused: an f16 cannot hold it, and a block's offset is an f16. */
#define QUANTIZE_MAX 65504.0f

/* F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 and Q2_K..Q6_K can be written; IQ4_* cannot. */
bool quantize_can(enum quant_type type);

/* Type by its name ("q4_k" as well) -> *type; ERR_USAGE when it cannot be written. */
MUST_CHECK int quantize_parse(enum quant_type *type, const char *name);

/* Row x[n], n a multiple of the block -> dst[quant_row_bytes(type, n)].
 *   importance  [n], finite and >= 0, in any unit (only ratios in a row count); NULL: all equal.
 *               A column is never worth less than 1e-4 of the mean: what calibration has not seen
 *               may still come.
 * Returns 0, ERR_NOT_FINITE for a NaN or infinity in x or importance, ERR_LIMIT for a value beyond
 * QUANTIZE_MAX (F32 and BF16 take any), ERR_UNSUPPORTED for a type that cannot be written. dst is
 * undefined after an error. Values too small for an f16 factor become 0. */
MUST_CHECK int quantize_row(enum quant_type type, const float *x, const float *importance,
			    void *dst, size_t n);

#endif
