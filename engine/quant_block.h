/* engine/quant_block.h - decoders of single block layouts, for the table of quant.c.
 *
 * All alike: `blocks` blocks at src (no alignment) -> blocks * elements f32 at dst. Products and
 * sums are in the order of the format's reference, so that results are bit-equal. Private to
 * quant*.c and those that rearrange blocks (expand.c, pack.c). */
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

/* 16 scales of 6 bits in 12 bytes: low nibbles of the first eight bytes are those of 0..7, high
 * ones those of 8..15; the last four bytes have the upper two bits, byte k those of k, k+4, k+8,
 * k+12. */
static inline int quant_block_scale6(const uint8_t *packed, unsigned j)
{
	int low = j < 8 ? packed[j] & 15 : packed[j - 8] >> 4;
	int high = packed[8 + j % 4] >> j / 4 * 2 & 3;

	return low | high << 4;
}

/* 8 scales and 8 minima of 6 bits in 12 bytes: those of 0..3 are the low six bits of bytes 0..3
 * and 4..7; those of 4..7 the nibbles of bytes 8..11, with the spare top bits of the others
 * above. */
static inline void quant_block_scale_min6(const uint8_t *packed, unsigned j, int *scale,
					  int *min)
{
	if (j < 4) {
		*scale = packed[j] & 63;
		*min = packed[j + 4] & 63;
	} else {
		*scale = (packed[j + 4] & 15) | packed[j - 4] >> 6 << 4;
		*min = packed[j + 4] >> 4 | packed[j] >> 6 << 4;
	}
}

#endif
