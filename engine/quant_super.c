/* engine/quant_super.c - super-blocks of 256 elements: small sub-blocks, each with a few-bit scale
 * (and minimum) of its own, under one or two f16 factors of the whole. */
#include "engine/quant_block.h"

#include "base/half.h"
#include "base/le.h"

#define N 256

static float half_at(const uint8_t *p)
{
	return half_to_f32(le_get16(p));
}

/* scales[16] (low nibble scale, high nibble minimum), codes[64], d, dmin. 16 sub-blocks of 16.
 * Each 32 code bytes hold 128 elements: element 32 k + l is bits 2k, 2k+1 of byte l. */
void quant_block_q2_k(const uint8_t *src, float *dst, size_t blocks)
{
	for (; blocks; blocks--, src += 84, dst += N) {
		const uint8_t *codes = src + 16;
		float d = half_at(src + 80), dmin = half_at(src + 82);

		for (unsigned i = 0; i < N; i++) {
			uint8_t scale = src[i / 16];
			int code = codes[i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3;

			dst[i] = d * (float)(scale & 15) * (float)code - dmin * (float)(scale >> 4);
		}
	}
}

/* high bits[32], codes[64] (as in Q2_K), scales[12], d. A high bit that is 0 subtracts 4: bit k of
 * byte l belongs to element 32 k + l. */
void quant_block_q3_k(const uint8_t *src, float *dst, size_t blocks)
{
	for (; blocks; blocks--, src += 110, dst += N) {
		const uint8_t *codes = src + 32;
		float d = half_at(src + 108);

		for (unsigned i = 0; i < N; i++) {
			float scale = d * (float)(quant_block_scale6(src + 96, i / 16) - 32);
			int code = codes[i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3;

			if (!(src[i % 32] >> i / 32 & 1))
				code -= 4;
			dst[i] = scale * (float)code;
		}
	}
}

/* d, dmin, packed[12], nibbles[128]. 8 sub-blocks of 32; each 32 nibble bytes are two sub-blocks,
 * the first in the low halves. With high[32] (else NULL) bit j of byte l is the fifth bit. */
static void decode_k45(const uint8_t *src, const uint8_t *high, const uint8_t *nibbles, float *dst)
{
	float d = half_at(src), dmin = half_at(src + 2);

	for (unsigned j = 0; j < 8; j++) {
		const uint8_t *nib = nibbles + j / 2 * 32;
		float step, offset;
		int scale, min;

		quant_block_scale_min6(src + 4, j, &scale, &min);
		step = d * (float)scale;
		offset = dmin * (float)min;
		for (unsigned l = 0; l < 32; l++) {
			int code = nib[l] >> j % 2 * 4 & 15;

			if (high)
				code |= (high[l] >> j & 1) << 4;
			dst[32 * j + l] = step * (float)code - offset;
		}
	}
}

void quant_block_q4_k(const uint8_t *src, float *dst, size_t blocks)
{
	for (; blocks; blocks--, src += 144, dst += N)
		decode_k45(src, NULL, src + 16, dst);
}

void quant_block_q5_k(const uint8_t *src, float *dst, size_t blocks)
{
	for (; blocks; blocks--, src += 176, dst += N)
		decode_k45(src, src + 16, src + 48, dst);
}

/* nibbles[128], high pairs[64], int8 scales[16], d: d * scale * (code - 32). Per half of 128
 * elements, element 32 k + l: nibble byte 32 (k % 2) + l (low half for k < 2), bits 2k, 2k+1 of
 * high byte l. */
void quant_block_q6_k(const uint8_t *src, float *dst, size_t blocks)
{
	for (; blocks; blocks--, src += 210, dst += N) {
		float d = half_at(src + 208);

		for (unsigned i = 0; i < N; i++) {
			unsigned half = i / 128, k = i % 128 / 32, l = i % 32;
			int low = src[64 * half + 32 * (k % 2) + l] >> k / 2 * 4 & 15;
			int high = src[128 + 32 * half + l] >> 2 * k & 3;
			float scale = d * (float)(int8_t)src[192 + i / 16];

			dst[i] = scale * (float)((low | high << 4) - 32);
		}
	}
}

/* d, high[2], low[4], nibbles[128]: 8 sub-blocks of 32 laid out as IQ4_NL, each with a 6-bit
 * scale: nibble j of low, and bits 2j, 2j+1 of high above it. */
void quant_block_iq4_xs(const uint8_t *src, float *dst, size_t blocks)
{
	const int8_t *level = quant_block_iq4_levels;

	for (; blocks; blocks--, src += 136, dst += N) {
		unsigned high = le_get16(src + 2);
		float d = half_at(src);

		for (unsigned j = 0; j < 8; j++) {
			int low = src[4 + j / 2] >> j % 2 * 4 & 15;
			float step = d * (float)((low | (int)(high >> 2 * j & 3) << 4) - 32);
			const uint8_t *nib = src + 8 + 16 * j;

			for (unsigned l = 0; l < 16; l++) {
				dst[32 * j + l] = step * (float)level[nib[l] & 15];
				dst[32 * j + l + 16] = step * (float)level[nib[l] >> 4];
			}
		}
	}
}
