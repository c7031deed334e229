/* engine/quant_block.h - decoders of single block layouts, for the table of quant.c.
 *
 * All alike: `blocks` blocks at src (no alignment) -> blocks * elements f32 at dst. Products and
 * sums are in the order of the format's reference, so that results are bit-equal. Private to
 * quant*.c. */
#ifndef ENGINE_QUANT_BLOCK_H
#define ENGINE_QUANT_BLOCK_H

#include <stddef.h>
#include <stdint.h>

#include "base/le.h"

void quant_block_f32(const uint8_t *src, float *dst, size_t blocks);
void quant_block_f16(const uint8_t *src, float *dst, size_t blocks);
void quant_block_bf16(const uint8_t *src, float *dst, size_t blocks);

/* 32 elements (quant_small.c) */
void quant_block_q4_0(const uint8_t *src, float *dst, size_t blocks);
void quant_block_q4_1(const uint8_t *src, float *dst, size_t blocks);
void quant_block_q5_0(const uint8_t *src, float *dst, size_t blocks);
void quant_block_q5_1(const uint8_t *src, float *dst, size_t blocks);
void quant_block_q8_0(const uint8_t *src, float *dst, size_t blocks);
void quant_block_iq4_nl(const uint8_t *src, float *dst, size_t blocks);

/* 256 elements (quant_super.c) */
void quant_block_q2_k(const uint8_t *src, float *dst, size_t blocks);
void quant_block_q3_k(const uint8_t *src, float *dst, size_t blocks);
void quant_block_q4_k(const uint8_t *src, float *dst, size_t blocks);
void quant_block_q5_k(const uint8_t *src, float *dst, size_t blocks);
void quant_block_q6_k(const uint8_t *src, float *dst, size_t blocks);
void quant_block_iq4_xs(const uint8_t *src, float *dst, size_t blocks);

/* The 16 levels of the IQ4 types. */
extern const int8_t quant_block_iq4_levels[16];

static inline uint16_t quant_block_u16(const uint8_t *p)
{
	return le_get16(p);
}

static inline uint32_t quant_block_u32(const uint8_t *p)
{
	return le_get32(p);
}

#endif
