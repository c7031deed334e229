#include "engine/quant.h"

#include <assert.h>
#include <string.h>

#include "base/half.h"
#include "engine/quant_block.h"

/* Indexed by the number of the file format; a row without a name is a type that we do not read. */
static const struct {
	const char *name;
	unsigned elements, bytes; /* of one block */
	void (*decode)(const uint8_t *src, float *dst, size_t blocks);
} types[QUANT_TYPE_END] = {
	[QUANT_F32] = { "F32", 1, 4, quant_block_f32 },
	[QUANT_F16] = { "F16", 1, 2, quant_block_f16 },
	[QUANT_BF16] = { "BF16", 1, 2, quant_block_bf16 },
	[QUANT_Q4_0] = { "Q4_0", 32, 18, quant_block_q4_0 },
	[QUANT_Q4_1] = { "Q4_1", 32, 20, quant_block_q4_1 },
	[QUANT_Q5_0] = { "Q5_0", 32, 22, quant_block_q5_0 },
	[QUANT_Q5_1] = { "Q5_1", 32, 24, quant_block_q5_1 },
	[QUANT_Q8_0] = { "Q8_0", 32, 34, quant_block_q8_0 },
	[QUANT_Q2_K] = { "Q2_K", 256, 84, quant_block_q2_k },
	[QUANT_Q3_K] = { "Q3_K", 256, 110, quant_block_q3_k },
	[QUANT_Q4_K] = { "Q4_K", 256, 144, quant_block_q4_k },
	[QUANT_Q5_K] = { "Q5_K", 256, 176, quant_block_q5_k },
	[QUANT_Q6_K] = { "Q6_K", 256, 210, quant_block_q6_k },
	[QUANT_IQ4_NL] = { "IQ4_NL", 32, 18, quant_block_iq4_nl },
	[QUANT_IQ4_XS] = { "IQ4_XS", 256, 136, quant_block_iq4_xs },
};

const char *quant_name(unsigned type)
{
	return type < QUANT_TYPE_END ? types[type].name : NULL;
}

unsigned quant_block_elements(unsigned type)
{
	return type < QUANT_TYPE_END ? types[type].elements : 0;
}

unsigned quant_block_bytes(unsigned type)
{
	return type < QUANT_TYPE_END ? types[type].bytes : 0;
}

size_t quant_row_bytes(enum quant_type type, size_t n)
{
	assert(quant_name(type) && n % types[type].elements == 0);
	return n / types[type].elements * types[type].bytes;
}

void quant_dequant_row(enum quant_type type, const void *src, float *dst, size_t n)
{
	assert(quant_name(type) && n % types[type].elements == 0);
	types[type].decode(src, dst, n / types[type].elements);
}

float quant_f16_to_f32(uint16_t h)
{
	return half_to_f32(h);
}

uint16_t quant_f32_to_f16(float f)
{
	return half_from_f32(f);
}

float quant_bf16_to_f32(uint16_t h)
{
	uint32_t bits = (uint32_t)h << 16;
	float f;

	memcpy(&f, &bits, sizeof(f));
	return f;
}
