/* engine/quant_small.c - plain numbers, and blocks of 32 elements under one scale.
 *
 * In the 4- and 5-bit blocks byte j of the 16 nibble bytes holds element j in its low half and
 * element j + 16 in its high half. d is the step, m the value of code 0 (both f16). */
#include "engine/quant_block.h"

#include <string.h>

#include "base/half.h"
#include "base/le.h"
#include "engine/quant.h"

#define N 32

const int8_t quant_block_iq4_levels[16] = { -127, -104, -83, -65, -49, -35, -22, -10,
					    1,    13,   25,  38,  53,  69,  89,  113 };

static float half_at(const uint8_t *p)
{
	return half_to_f32(le_get16(p));
}

void quant_block_f32(const uint8_t *src, float *dst, size_t blocks)
{
	for (size_t i = 0; i < blocks; i++) {
		uint32_t bits = le_get32(src + 4 * i);

		memcpy(dst + i, &bits, sizeof(bits));
	}
}

void quant_block_f16(const uint8_t *src, float *dst, size_t blocks)
{
	for (size_t i = 0; i < blocks; i++)
		dst[i] = half_at(src + 2 * i);
}

void quant_block_bf16(const uint8_t *src, float *dst, size_t blocks)
{
	for (size_t i = 0; i < blocks; i++)
		dst[i] = quant_bf16_to_f32(le_get16(src + 2 * i));
}

/* d, nibbles[16]: (code - 8) * d */
void quant_block_q4_0(const uint8_t *src, float *dst, size_t blocks)
{
	for (; blocks; blocks--, src += 18, dst += N) {
		const uint8_t *nib = src + 2;
		float d = half_at(src);

		for (unsigned j = 0; j < 16; j++) {
			dst[j] = (float)((nib[j] & 15) - 8) * d;
			dst[j + 16] = (float)((nib[j] >> 4) - 8) * d;
		}
	}
}

/* d, m, nibbles[16]: code * d + m */
void quant_block_q4_1(const uint8_t *src, float *dst, size_t blocks)
{
	for (; blocks; blocks--, src += 20, dst += N) {
		const uint8_t *nib = src + 4;
		float d = half_at(src), m = half_at(src + 2);

		for (unsigned j = 0; j < 16; j++) {
			dst[j] = (float)(nib[j] & 15) * d + m;
			dst[j + 16] = (float)(nib[j] >> 4) * d + m;
		}
	}
}

/* Code of element j (0..31): its nibble, and bit j of high as the fifth bit. */
static int code5(const uint8_t *nib, uint32_t high, unsigned j)
{
	int low = j < 16 ? nib[j] & 15 : nib[j - 16] >> 4;

	return low | (int)(high >> j & 1) << 4;
}

/* d, high bits[4], nibbles[16]: (code - 16) * d */
void quant_block_q5_0(const uint8_t *src, float *dst, size_t blocks)
{
	for (; blocks; blocks--, src += 22, dst += N) {
		uint32_t high = le_get32(src + 2);
		float d = half_at(src);

		for (unsigned j = 0; j < N; j++)
			dst[j] = (float)(code5(src + 6, high, j) - 16) * d;
	}
}

/* d, m, high bits[4], nibbles[16]: code * d + m */
void quant_block_q5_1(const uint8_t *src, float *dst, size_t blocks)
{
	for (; blocks; blocks--, src += 24, dst += N) {
		uint32_t high = le_get32(src + 4);
		float d = half_at(src), m = half_at(src + 2);

		for (unsigned j = 0; j < N; j++)
			dst[j] = (float)code5(src + 8, high, j) * d + m;
	}
}

/* d, int8[32] */
void quant_block_q8_0(const uint8_t *src, float *dst, size_t blocks)
{
	for (; blocks; blocks--, src += 34, dst += N) {
		float d = half_at(src);

		for (unsigned j = 0; j < N; j++)
			dst[j] = (float)(int8_t)src[2 + j] * d;
	}
}

/* d, nibbles[16]: level[code] * d */
void quant_block_iq4_nl(const uint8_t *src, float *dst, size_t blocks)
{
	const int8_t *level = quant_block_iq4_levels;

	for (; blocks; blocks--, src += 18, dst += N) {
		const uint8_t *nib = src + 2;
		float d = half_at(src);

		for (unsigned j = 0; j < 16; j++) {
			dst[j] = d * (float)level[nib[j] & 15];
			dst[j + 16] = d * (float)level[nib[j] >> 4];
		}
	}
}
