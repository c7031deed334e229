/* engine/quantize_block.h - encoders of single block layouts, for the table of quantize.c.
 *
 * All alike: one block of x (and weights w, both [elements]) -> dst. x is finite and within
 * QUANTIZE_MAX. Private to quantize*.c; the layouts are told in quant_small.c and quant_super.c. */
#ifndef ENGINE_QUANTIZE_BLOCK_H
#define ENGINE_QUANTIZE_BLOCK_H

#include <stdint.h>

/* 32 elements (quantize_small.c) */
void quantize_block_q4_0(const float *x, const float *w, uint8_t *dst);
void quantize_block_q4_1(const float *x, const float *w, uint8_t *dst);
void quantize_block_q5_0(const float *x, const float *w, uint8_t *dst);
void quantize_block_q5_1(const float *x, const float *w, uint8_t *dst);
void quantize_block_q8_0(const float *x, const float *w, uint8_t *dst);

/* 256 elements (quantize_super.c) */
void quantize_block_q2_k(const float *x, const float *w, uint8_t *dst);
void quantize_block_q3_k(const float *x, const float *w, uint8_t *dst);
void quantize_block_q4_k(const float *x, const float *w, uint8_t *dst);
void quantize_block_q5_k(const float *x, const float *w, uint8_t *dst);
void quantize_block_q6_k(const float *x, const float *w, uint8_t *dst);

#endif
