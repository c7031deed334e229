/* tools/synth_fill.c - blocks of random codes under sensible factors; the contract is in synth.h.
 *
 * Nothing is quantized: all bits of a block are random, scales of sub-blocks included, but for its
 * one or two f16 factors. The table tells which standard deviation the elements have under a factor
 * of 1, by the moments of uniform codes. */
#include "tools/synth.h"

#include <math.h>
#include <string.h>

#include "base/half.h"
#include "base/le.h"

#define NONE UINT8_MAX

static const struct factors {
	uint8_t d_at, m_at; /* bytes from the start of the block */
	float sd;           /* of elements where d is 1 */
	float m;            /* times d: takes the mean away */
	bool either_sign;   /* d < 0 in half of the blocks, for the same reason */
} factors[QUANT_TYPE_END] = {
	[QUANT_Q4_0] = { 0, NONE, 4.637f, 0, true },
	[QUANT_Q4_1] = { 0, 2, 4.61f, -7.5f, false },
	[QUANT_Q5_0] = { 0, NONE, 9.247f, 0, true },
	[QUANT_Q5_1] = { 0, 2, 9.233f, -15.5f, false },
	[QUANT_Q8_0] = { 0, NONE, 73.6f, 0, false },
	[QUANT_Q2_K] = { 80, 82, 13.87f, 1.5f, false },
	[QUANT_Q3_K] = { 108, NONE, 43.3f, 0, false },
	[QUANT_Q4_K] = { 0, 2, 258.3f, 7.5f, false },
	[QUANT_Q5_K] = { 0, 2, 526.9f, 15.5f, false },
	[QUANT_Q6_K] = { 208, NONE, 1365.7f, 0, false },
};

static uint64_t draw(struct synth_random *r)
{
	return rng_u64(r->seed, r->counter++);
}

static void fill_bytes(struct synth_random *r, uint8_t *dst, size_t n)
{
	uint64_t bits;

	for (; n >= 8; n -= 8, dst += 8)
		le_put64(dst, draw(r));
	bits = draw(r);
	for (; n; n--, bits >>= 8)
		*dst++ = (uint8_t)bits;
}

/* Uniform numbers of 16 bits each. */
static void fill_numbers(struct synth_random *r, enum quant_type type, float sd, uint8_t *dst,
			 size_t n)
{
	const float step = sd * sqrtf(3) / 32768;
	uint64_t bits = 0;

	for (size_t i = 0; i < n; i++, bits >>= 16) {
		uint32_t word;
		float v;

		if (i % 4 == 0)
			bits = draw(r);
		v = (float)(int16_t)(uint16_t)bits * step;
		memcpy(&word, &v, sizeof(word));
		if (type == QUANT_F32)
			le_put32(dst + 4 * i, word);
		else
			le_put16(dst + 2 * i,
				 type == QUANT_F16 ? half_from_f32(v) : (uint16_t)(word >> 16));
	}
}

/* The encoders of Q8_0 never write -128. */
static void avoid_lowest(uint8_t *codes)
{
	for (unsigned i = 0; i < 32; i++)
		codes[i] = codes[i] == 0x80 ? 0 : codes[i];
}

void synth_fill(struct synth_random *r, enum quant_type type, float sd, uint8_t *dst, size_t blocks)
{
	const struct factors *f = &factors[type];
	const size_t bytes = quant_block_bytes(type);

	if (quant_block_elements(type) == 1) {
		fill_numbers(r, type, sd, dst, blocks);
		return;
	}
	fill_bytes(r, dst, blocks * bytes);
	for (size_t i = 0; i < blocks; i++, dst += bytes) {
		const uint64_t bits = draw(r);
		float d = sd / f->sd * (0.75f + 0.5f * (float)(bits & 255) / 255);

		if (f->either_sign && bits >> 8 & 1)
			d = -d;
		le_put16(dst + f->d_at, half_from_f32(d));
		if (f->m_at != NONE)
			le_put16(dst + f->m_at, half_from_f32(d * f->m));
		if (type == QUANT_Q8_0)
			avoid_lowest(dst + 2);
	}
}
