/* engine/kern_part.h - 32 elements of a row of each tensor type, dequantized into two vectors.
 *
 * Written in the vocabulary of vec_*.h; the layouts are told in quant_small.c and quant_super.c,
 * and products and sums are in their order, so that the bits are those of quant_dequant_row.
 * Private to kern_vec.h. */
#ifndef ENGINE_KERN_PART_H
#define ENGINE_KERN_PART_H

#include "engine/quant_block.h"

#define PART 32

struct part {
	struct vf lo, hi; /* elements 0..15 and 16..31 */
};

static inline struct vb low4(struct vb a)
{
	return vb_and(a, vb_set(15));
}

static inline struct vb high4(struct vb a)
{
	return vb_and(vb_shr(a, 4), vb_set(15));
}

/* bits [at, at + n) of each byte, mask = 2^n - 1 */
static inline struct vb bits_at(struct vb a, unsigned at, int8_t mask)
{
	return vb_and(vb_shr(a, at), vb_set(mask));
}

static inline struct part part_f32(const uint8_t *row, size_t i)
{
	float x[PART];

	memcpy(x, row + i * sizeof(x), sizeof(x));
	return (struct part){ vf_load(x), vf_load(x + 16) };
}

static inline struct part part_f16(const uint8_t *row, size_t i)
{
	return (struct part){ vf_of_f16(row + i * 64), vf_of_f16(row + i * 64 + 32) };
}

static inline struct part part_bf16(const uint8_t *row, size_t i)
{
	return (struct part){ vf_of_bf16(row + i * 64), vf_of_bf16(row + i * 64 + 32) };
}

/* signed codes * step */
static inline struct part steps(struct vb lo, struct vb hi, float step)
{
	struct vf d = vf_set(step);

	return (struct part){ vf_mul(vf_of_i8(lo), d), vf_mul(vf_of_i8(hi), d) };
}

/* codes * step + offset */
static inline struct part steps_from(struct vb lo, struct vb hi, float step, float offset)
{
	struct vf d = vf_set(step), m = vf_set(offset);

	return (struct part){ vf_add(vf_mul(vf_of_u8(lo), d), m),
			      vf_add(vf_mul(vf_of_u8(hi), d), m) };
}

static inline struct part part_q8_0(const uint8_t *row, size_t i)
{
	const uint8_t *b = row + i * 34;

	return steps(vb_load(b + 2), vb_load(b + 18), vec_f16(b));
}

static inline struct part part_q4_0(const uint8_t *row, size_t i)
{
	const uint8_t *b = row + i * 18;
	struct vb nib = vb_load(b + 2), mid = vb_set(8);

	return steps(vb_sub(low4(nib), mid), vb_sub(high4(nib), mid), vec_f16(b));
}

static inline struct part part_q4_1(const uint8_t *row, size_t i)
{
	const uint8_t *b = row + i * 20;
	struct vb nib = vb_load(b + 4);

	return steps_from(low4(nib), high4(nib), vec_f16(b), vec_f16(b + 2));
}

static inline struct part part_q5_0(const uint8_t *row, size_t i)
{
	const uint8_t *b = row + i * 22;
	struct vb nib = vb_load(b + 6), mid = vb_set(16);
	struct vb lo = vb_or(low4(nib), vb_bits(quant_block_u16(b + 2), 16));
	struct vb hi = vb_or(high4(nib), vb_bits(quant_block_u16(b + 4), 16));

	return steps(vb_sub(lo, mid), vb_sub(hi, mid), vec_f16(b));
}

static inline struct part part_q5_1(const uint8_t *row, size_t i)
{
	const uint8_t *b = row + i * 24;
	struct vb nib = vb_load(b + 8);
	struct vb lo = vb_or(low4(nib), vb_bits(quant_block_u16(b + 4), 16));
	struct vb hi = vb_or(high4(nib), vb_bits(quant_block_u16(b + 6), 16));

	return steps_from(lo, hi, vec_f16(b), vec_f16(b + 2));
}

static inline struct vb iq4_levels(void)
{
	return vb_load((const uint8_t *)quant_block_iq4_levels);
}

static inline struct part part_iq4_nl(const uint8_t *row, size_t i)
{
	const uint8_t *b = row + i * 18;
	struct vb nib = vb_load(b + 2), levels = iq4_levels();

	return steps(vb_lookup(levels, low4(nib)), vb_lookup(levels, high4(nib)), vec_f16(b));
}

static inline struct part part_iq4_xs(const uint8_t *row, size_t i)
{
	const uint8_t *b = row + i / 8 * 136;
	unsigned j = i % 8;
	int low = b[4 + j / 2] >> j % 2 * 4 & 15, high = quant_block_u16(b + 2) >> 2 * j & 3;
	float step = vec_f16(b) * (float)((low | high << 4) - 32);
	struct vb nib = vb_load(b + 8 + 16 * j), levels = iq4_levels();

	return steps(vb_lookup(levels, low4(nib)), vb_lookup(levels, high4(nib)), step);
}

static inline struct part part_q2_k(const uint8_t *row, size_t i)
{
	const uint8_t *b = row + i / 8 * 84;
	unsigned j = i % 8;
	const uint8_t *codes = b + 16 + j / 4 * 32, *scales = b + 2 * j;
	float d = vec_f16(b + 80), dmin = vec_f16(b + 82);
	struct vb lo = bits_at(vb_load(codes), j % 4 * 2, 3);
	struct vb hi = bits_at(vb_load(codes + 16), j % 4 * 2, 3);
	struct vf step0 = vf_set(d * (float)(scales[0] & 15));
	struct vf step1 = vf_set(d * (float)(scales[1] & 15));
	struct vf min0 = vf_set(dmin * (float)(scales[0] >> 4));
	struct vf min1 = vf_set(dmin * (float)(scales[1] >> 4));

	return (struct part){ vf_sub(vf_mul(step0, vf_of_u8(lo)), min0),
			      vf_sub(vf_mul(step1, vf_of_u8(hi)), min1) };
}

/* Scale j of Q3_K's 12 packed bytes. */
static inline int q3_k_scale(const uint8_t *packed, unsigned j)
{
	int low = j < 8 ? packed[j] & 15 : packed[j - 8] >> 4;
	int high = packed[8 + j % 4] >> j / 4 * 2 & 3;

	return (low | high << 4) - 32;
}

static inline struct part part_q3_k(const uint8_t *row, size_t i)
{
	const uint8_t *b = row + i / 8 * 110;
	unsigned j = i % 8;
	const uint8_t *codes = b + 32 + j / 4 * 32;
	float d = vec_f16(b + 108);
	struct vb four = vb_set(4);
	struct vb lo = bits_at(vb_load(codes), j % 4 * 2, 3);
	struct vb hi = bits_at(vb_load(codes + 16), j % 4 * 2, 3);

	/* code - 4 + 4 * high bit */
	lo = vb_sub(vb_or(lo, vb_shl(bits_at(vb_load(b), j, 1), 2)), four);
	hi = vb_sub(vb_or(hi, vb_shl(bits_at(vb_load(b + 16), j, 1), 2)), four);
	return (struct part){
		vf_mul(vf_of_i8(lo), vf_set(d * (float)q3_k_scale(b + 96, 2 * j))),
		vf_mul(vf_of_i8(hi), vf_set(d * (float)q3_k_scale(b + 96, 2 * j + 1))),
	};
}

/* Step and minimum of sub-block j of Q4_K and Q5_K. */
static inline void k45_scale(const uint8_t *b, unsigned j, float *step, float *min)
{
	const uint8_t *packed = b + 4;
	int s, m;

	if (j < 4) {
		s = packed[j] & 63;
		m = packed[j + 4] & 63;
	} else {
		s = (packed[j + 4] & 15) | packed[j - 4] >> 6 << 4;
		m = packed[j + 4] >> 4 | packed[j] >> 6 << 4;
	}
	*step = vec_f16(b) * (float)s;
	*min = vec_f16(b + 2) * (float)m;
}

static inline struct part part_q4_k(const uint8_t *row, size_t i)
{
	const uint8_t *b = row + i / 8 * 144;
	unsigned j = i % 8;
	const uint8_t *nib = b + 16 + j / 2 * 32;
	float step, min;

	k45_scale(b, j, &step, &min);
	return steps_from(bits_at(vb_load(nib), j % 2 * 4, 15),
			  bits_at(vb_load(nib + 16), j % 2 * 4, 15), step, -min);
}

static inline struct part part_q5_k(const uint8_t *row, size_t i)
{
	const uint8_t *b = row + i / 8 * 176;
	unsigned j = i % 8;
	const uint8_t *nib = b + 48 + j / 2 * 32;
	struct vb lo = bits_at(vb_load(nib), j % 2 * 4, 15);
	struct vb hi = bits_at(vb_load(nib + 16), j % 2 * 4, 15);
	float step, min;

	lo = vb_or(lo, vb_shl(bits_at(vb_load(b + 16), j, 1), 4));
	hi = vb_or(hi, vb_shl(bits_at(vb_load(b + 32), j, 1), 4));
	k45_scale(b, j, &step, &min);
	return steps_from(lo, hi, step, -min);
}

/* 16 codes of Q6_K: four low bits and two high ones, around 32. */
static inline struct vf q6_k_codes(const uint8_t *nib, const uint8_t *high, unsigned k)
{
	struct vb low = bits_at(vb_load(nib), k / 2 * 4, 15);
	struct vb top = bits_at(vb_load(high), 2 * k, 3);

	return vf_of_i8(vb_sub(vb_or(low, vb_shl(top, 4)), vb_set(32)));
}

static inline struct part part_q6_k(const uint8_t *row, size_t i)
{
	const uint8_t *b = row + i / 8 * 210;
	unsigned half = i % 8 / 4, k = i % 4;
	const uint8_t *nib = b + 64 * half + 32 * (k % 2), *high = b + 128 + 32 * half;
	const uint8_t *scales = b + 192 + 2 * (i % 8);
	float d = vec_f16(b + 208);

	return (struct part){
		vf_mul(q6_k_codes(nib, high, k), vf_set(d * (float)(int8_t)scales[0])),
		vf_mul(q6_k_codes(nib + 16, high + 16, k), vf_set(d * (float)(int8_t)scales[1])),
	};
}

#endif
