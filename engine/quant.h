/* engine/quant.h - GGUF tensor types: block layouts and dequantization.
 *
 * Pure; any thread. Source of the layouts: ggml/docs and ggml-quants (format description). */
#ifndef ENGINE_QUANT_H
#define ENGINE_QUANT_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Numbers are those of the file format. */
enum quant_type {
	QUANT_F32 = 0, QUANT_F16 = 1, QUANT_Q4_0 = 2, QUANT_Q4_1 = 3, QUANT_Q5_0 = 6,
	QUANT_Q5_1 = 7, QUANT_Q8_0 = 8, QUANT_Q2_K = 10, QUANT_Q3_K = 11, QUANT_Q4_K = 12,
	QUANT_Q5_K = 13, QUANT_Q6_K = 14, QUANT_IQ4_NL = 20, QUANT_IQ4_XS = 23, QUANT_BF16 = 30,
	QUANT_TYPE_END = 31 /* one past the largest number that we know */
};

/* "Q4_K"; NULL for a number that is not supported. */
const char *quant_name(unsigned type);

/* Elements per block (1, 32 or 256) and bytes per block; 0 for a type that is not supported. */
unsigned quant_block_elements(unsigned type);
unsigned quant_block_bytes(unsigned type);

/* Bytes of a row of n elements; n must be a multiple of the block. */
size_t quant_row_bytes(enum quant_type type, size_t n);

/* Row of n elements (a multiple of the block) at src -> dst[n] f32. Bit-equal to the reference
 * values of ../shared/conformance. src needs no alignment. */
void quant_dequant_row(enum quant_type type, const void *src, float *dst, size_t n);

/* f32 <-> half, round to nearest even; handles subnormals, infinities and NaN. */
float quant_f16_to_f32(uint16_t h);
uint16_t quant_f32_to_f16(float f);
float quant_bf16_to_f32(uint16_t h);

#endif
