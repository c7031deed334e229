/* engine/strip_arm.h - the integer kernels of AArch64, but for the products of bytes: those are
 * dots and settle below, which strip_neon.c, strip_dotprod.c and strip_i8mm.c define.
 *
 * A tile is 16 weight rows times up to 4 rows of activations. Lanes are weight rows: the integers
 * of four of them live in nx registers, the floats of all sixteen in 4 nx. Nothing is ever added
 * across lanes. Private to those files. */
#ifndef ENGINE_STRIP_ARM_H
#define ENGINE_STRIP_ARM_H

#include <arm_neon.h>

#include "engine/strip.h"

#define INLINE static inline __attribute__((always_inline))

#define MOST   4 /* rows of activations */

/* Rows of activations from some block on; row j begins j * ld blocks later. */
struct acts {
	const int8_t *q;
	const float *step;
	const int16_t *sum;
	size_t ld;
};

/* s[j] += codes of four weight rows and 16 columns times those of the activations at q + j * ld,
 * j < nx. c[g] has the codes of columns 4 g .. 4 g + 3, four bytes for each weight row. How s holds
 * the sums is settle's business, but zero is zero. */
INLINE void dots(int32x4_t *s, const int8x16_t c[4], const int8_t *q, size_t ld, unsigned nx);

/* After the last of some dots: lane i of s[j] becomes the sum of weight row i. */
INLINE void settle(int32x4_t *s, unsigned nx);

typedef float32x4_t accs[4][MOST]; /* [4 i .. 4 i + 3 of the weight rows][row of activations] */

/* Add the sums of one block of the type (32 or 256 columns) at w. nx is a constant wherever this
 * is inlined. */
typedef void block_fn(accs acc, const uint8_t *w, struct acts x, unsigned nx);

INLINE void clear(int32x4_t *s, unsigned nx)
{
	for (unsigned j = 0; j < nx; j++)
		s[j] = vdupq_n_s32(0);
}

INLINE float32x4_t four_halves(const uint8_t *p)
{
	return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p)));
}

/* Four weight rows' codes of 16 columns, 64 bytes apart. */
INLINE void load_codes(uint8x16_t c[4], const uint8_t *w)
{
	for (unsigned g = 0; g < 4; g++)
		c[g] = vld1q_u8(w + 64 * g);
}

INLINE void dots_u8(int32x4_t *s, const uint8x16_t c[4], struct acts x, unsigned at, unsigned nx)
{
	const int8x16_t codes[4] = { vreinterpretq_s8_u8(c[0]), vreinterpretq_s8_u8(c[1]),
				     vreinterpretq_s8_u8(c[2]), vreinterpretq_s8_u8(c[3]) };

	dots(s, codes, x.q + at, x.ld * 32, nx);
}

/* Codes 0..15 of a block of 32 columns. */
INLINE void nibble_dots(int32x4_t *s, const uint8_t *w, struct acts x, unsigned nx)
{
	uint8x16_t c[4], half[4];

	clear(s, nx);
	load_codes(c, w);
	for (unsigned g = 0; g < 4; g++)
		half[g] = vandq_u8(c[g], vdupq_n_u8(15));
	dots_u8(s, half, x, 0, nx);
	for (unsigned g = 0; g < 4; g++)
		half[g] = vshrq_n_u8(c[g], 4);
	dots_u8(s, half, x, 16, nx);
	settle(s, nx);
}

typedef int32x4_t integers[4][MOST]; /* as accs */

INLINE void clear_all(integers all, unsigned nx)
{
	for (unsigned i = 0; i < 4; i++)
		clear(all[i], nx);
}

INLINE int32_t sum_of(struct acts x, unsigned j, unsigned half)
{
	return x.sum[2 * j * x.ld + half];
}

INLINE int32_t both_sums(struct acts x, unsigned j)
{
	return sum_of(x, j, 0) + sum_of(x, j, 1);
}

INLINE float32x4_t add_scaled(float32x4_t acc, int32x4_t sum, float32x4_t d, struct acts x,
			      unsigned j)
{
	return vfmaq_f32(acc, vcvtq_f32_s32(sum), vmulq_n_f32(d, x.step[j * x.ld]));
}

INLINE float32x4_t sub_scaled(float32x4_t acc, int32x4_t sum, float32x4_t d, struct acts x,
			      unsigned j)
{
	return vfmsq_f32(acc, vcvtq_f32_s32(sum), vmulq_n_f32(d, x.step[j * x.ld]));
}

INLINE void block_q4_0(accs acc, const uint8_t *w, struct acts x, unsigned nx)
{
	for (unsigned i = 0; i < 4; i++) {
		float32x4_t d = four_halves(w + 8 * i);
		int32x4_t s[MOST];

		nibble_dots(s, w + 32 + 16 * i, x, nx);
		for (unsigned j = 0; j < nx; j++) {
			s[j] = vsubq_s32(s[j], vdupq_n_s32(8 * both_sums(x, j)));
			acc[i][j] = add_scaled(acc[i][j], s[j], d, x, j);
		}
	}
}

INLINE void block_q8_0(accs acc, const uint8_t *w, struct acts x, unsigned nx)
{
	for (unsigned i = 0; i < 4; i++) {
		float32x4_t d = four_halves(w + 8 * i);
		int32x4_t s[MOST];
		uint8x16_t c[4];

		clear(s, nx);
		for (unsigned half = 0; half < 2; half++) {
			load_codes(c, w + 32 + 256 * half + 16 * i);
			dots_u8(s, c, x, 16 * half, nx);
		}
		settle(s, nx);
		for (unsigned j = 0; j < nx; j++)
			acc[i][j] = add_scaled(acc[i][j], s[j], d, x, j);
	}
}

/* Bytes 4 i .. 4 i + 3 as 32-bit integers. An index beyond the table gives 0. */
INLINE int32x4_t spread_u8(uint8x16_t bytes, unsigned i)
{
	const uint8x16_t low = { 0, 255, 255, 255, 1, 255, 255, 255,
				 2, 255, 255, 255, 3, 255, 255, 255 };
	uint8x16_t at = vqaddq_u8(low, vdupq_n_u8((uint8_t)(4 * i)));

	return vreinterpretq_s32_u8(vqtbl1q_u8(bytes, at));
}

INLINE int32x4_t spread_s8(const void *p, unsigned i)
{
	const uint8x16_t top = { 255, 255, 255, 0, 255, 255, 255, 1,
				 255, 255, 255, 2, 255, 255, 255, 3 };
	uint8x16_t at = vqaddq_u8(top, vdupq_n_u8((uint8_t)(4 * i)));

	return vshrq_n_s32(vreinterpretq_s32_u8(vqtbl1q_u8(vld1q_u8(p), at)), 24);
}

/* Bits at..at + 1 of the bytes, as bits 4 and 5. */
INLINE uint8x16_t two_bits(uint8x16_t bytes, unsigned at)
{
	uint8x16_t moved = vshlq_u8(bytes, vdupq_n_s8((int8_t)(4 - (int)at)));

	return vandq_u8(moved, vdupq_n_u8(0x30));
}

/* On to the next block. */
INLINE struct acts next(struct acts x)
{
	x.q += 32;
	x.step++;
	x.sum += 2;
	return x;
}

/* A super-block, whose integers fit 32 bits (kern.h). */
INLINE void block_q4_k(accs acc, const uint8_t *w, struct acts x, unsigned nx)
{
	const struct acts first = x;
	integers all, less;

	clear_all(all, nx);
	clear_all(less, nx);
	for (unsigned k = 0; k < 8; k++, x = next(x)) {
		uint8x16_t low = vld1q_u8(w + 64 + 16 * k);
		uint8x16_t high = vld1q_u8(w + 192 + 16 * (k / 2));
		uint8x16_t scales =
			vorrq_u8(vandq_u8(low, vdupq_n_u8(15)), two_bits(high, k % 2 * 4));
		uint8x16_t mins = vorrq_u8(vshrq_n_u8(low, 4), two_bits(high, k % 2 * 4 + 2));

		for (unsigned i = 0; i < 4; i++) {
			int32x4_t s[MOST], scale = spread_u8(scales, i), min = spread_u8(mins, i);

			nibble_dots(s, w + 256 + 256 * k + 16 * i, x, nx);
			for (unsigned j = 0; j < nx; j++) {
				all[i][j] = vmlaq_s32(all[i][j], s[j], scale);
				less[i][j] = vmlaq_n_s32(less[i][j], min, both_sums(x, j));
			}
		}
	}
	for (unsigned i = 0; i < 4; i++) {
		float32x4_t d = four_halves(w + 8 * i), m = four_halves(w + 32 + 8 * i);

		for (unsigned j = 0; j < nx; j++) {
			acc[i][j] = add_scaled(acc[i][j], all[i][j], d, first, j);
			acc[i][j] = sub_scaled(acc[i][j], less[i][j], m, first, j);
		}
	}
}

/* 16 codes 0..63 of four weight rows; half: which half of the nibbles and which vector of upper
 * bits. */
INLINE void codes_q6_k(uint8x16_t c[4], const uint8_t *nibbles, const uint8_t *high, unsigned half)
{
	uint8x16_t up = vld1q_u8(high + 64 * half);

	load_codes(c, nibbles);
	for (unsigned g = 0; g < 4; g++) {
		c[g] = half ? vshrq_n_u8(c[g], 4) : vandq_u8(c[g], vdupq_n_u8(15));
		c[g] = vorrq_u8(c[g], two_bits(up, 2 * g));
	}
}

/* all[nx] += block k's share in that of four weight rows. */
INLINE void add_q6_k(int32x4_t *all, const uint8_t *w, unsigned i, unsigned k, struct acts x,
		     unsigned nx)
{
	for (unsigned half = 0; half < 2; half++) {
		int32x4_t s[MOST], scale = spread_s8(w + 32 + 16 * (2 * k + half), i);
		uint8x16_t c[4];

		codes_q6_k(c, w + 288 + 256 * k + 16 * i, w + 2336 + 128 * k + 16 * i, half);
		clear(s, nx);
		dots_u8(s, c, x, 16 * half, nx);
		settle(s, nx);
		for (unsigned j = 0; j < nx; j++) {
			s[j] = vsubq_s32(s[j], vdupq_n_s32(32 * sum_of(x, j, half)));
			all[j] = vmlaq_s32(all[j], s[j], scale);
		}
	}
}

INLINE void block_q6_k(accs acc, const uint8_t *w, struct acts x, unsigned nx)
{
	const struct acts first = x;
	integers all;

	clear_all(all, nx);
	for (unsigned k = 0; k < 8; k++, x = next(x)) {
		for (unsigned i = 0; i < 4; i++)
			add_q6_k(all[i], w, i, k, x, nx);
	}
	for (unsigned i = 0; i < 4; i++) {
		float32x4_t d = four_halves(w + 8 * i);

		for (unsigned j = 0; j < nx; j++)
			acc[i][j] = add_scaled(acc[i][j], all[i][j], d, first, j);
	}
}

INLINE void wide_mins(int32x4_t *more, const struct kern_wide *w, unsigned i, struct acts x,
		      unsigned nx)
{
	int32x4_t min0 = spread_u8(vld1q_u8(w->min[0]), i);
	int32x4_t min1 = spread_u8(vld1q_u8(w->min[1]), i);

	for (unsigned j = 0; j < nx; j++) {
		more[j] = vmlaq_n_s32(more[j], min0, sum_of(x, j, 0));
		more[j] = vmlaq_n_s32(more[j], min1, sum_of(x, j, 1));
	}
}

/* all[nx] += a block's share in that of four weight rows. */
INLINE void add_wide(int32x4_t *all, const struct kern_wide *w, unsigned i, struct acts x,
		     unsigned nx)
{
	for (unsigned half = 0; half < 2; half++) {
		int32x4_t s[MOST], scale = spread_s8(w->scale[half], i);
		uint8x16_t c[4];

		load_codes(c, (const uint8_t *)w->q[4 * half][4 * i]);
		clear(s, nx);
		dots_u8(s, c, x, 16 * half, nx);
		settle(s, nx);
		for (unsigned j = 0; j < nx; j++)
			all[j] = vmlaq_s32(all[j], s[j], scale);
	}
}

/* A group of blocks. */
INLINE void any_wide(accs acc, const uint8_t *at, bool mins, unsigned group, struct acts x,
		     unsigned nx)
{
	const struct kern_wide *w = (const void *)at;
	const struct acts first = x;
	integers all, more;

	clear_all(all, nx);
	clear_all(more, nx);
	for (unsigned k = 0; k < group; k++, x = next(x)) {
		for (unsigned i = 0; i < 4; i++) {
			add_wide(all[i], w + k, i, x, nx);
			if (mins)
				wide_mins(more[i], w + k, i, x, nx);
		}
	}
	for (unsigned i = 0; i < 4; i++) {
		float32x4_t d = vld1q_f32(w->d + 4 * i), m = vld1q_f32(w->m + 4 * i);

		for (unsigned j = 0; j < nx; j++) {
			acc[i][j] = add_scaled(acc[i][j], all[i][j], d, first, j);
			if (mins)
				acc[i][j] = add_scaled(acc[i][j], more[i][j], m, first, j);
		}
	}
}

#define BLOCK_WIDE(name, mins, group)                                                              \
	INLINE void block_##name(accs acc, const uint8_t *w, struct acts x, unsigned nx)           \
	{                                                                                          \
		any_wide(acc, w, mins, group, x, nx);                                              \
	}
BLOCK_WIDE(wide, false, 1)
BLOCK_WIDE(wide_mins, true, 1)
BLOCK_WIDE(super, false, 8)
BLOCK_WIDE(super_mins, true, 8)
#undef BLOCK_WIDE

/* A strip at w times nx rows of activations; `step` blocks of 32 columns take `bytes`. */
INLINE void tile(block_fn *block, size_t bytes, size_t step, const uint8_t *w, size_t blocks,
		 struct acts x, float *out, size_t ldo, unsigned nx)
{
	accs acc;

	for (unsigned i = 0; i < 4; i++) {
		for (unsigned j = 0; j < nx; j++)
			acc[i][j] = vdupq_n_f32(0);
	}
	for (size_t b = 0; b < blocks; b += step) {
		block(acc, w, x, nx);
		w += bytes;
		x.q += step * 32;
		x.step += step;
		x.sum += step * 2;
	}
	for (unsigned i = 0; i < 4; i++) {
		for (unsigned j = 0; j < nx; j++)
			vst1q_f32(out + j * ldo + 4 * i, acc[i][j]);
	}
}

typedef void tile_fn(const uint8_t *w, size_t blocks, struct acts x, float *out, size_t ldo);

/* A table of tiles of 1..MOST rows. */
#define TILE(type, bytes, step, n)                                                                 \
	static void type##_##n(const uint8_t *w, size_t blocks, struct acts x, float *out,         \
			       size_t ldo)                                                         \
	{                                                                                          \
		tile(block_##type, bytes, step, w, blocks, x, out, ldo, n);                        \
	}
#define TILES(type, bytes, step)                                                                   \
	TILE(type, bytes, step, 1)                                                                 \
	TILE(type, bytes, step, 2)                                                                 \
	TILE(type, bytes, step, 3)                                                                 \
	TILE(type, bytes, step, 4)                                                                 \
	static tile_fn *const type##_tiles[MOST] = { type##_1, type##_2, type##_3, type##_4 };

TILES(q4_0, 288, 1)
TILES(q8_0, 544, 1)
TILES(q4_k, 2304, 8)
TILES(q6_k, 3360, 8)
TILES(wide, sizeof(struct kern_wide), 1)
TILES(wide_mins, sizeof(struct kern_wide), 1)
TILES(super, 8 * sizeof(struct kern_wide), 8)
TILES(super_mins, 8 * sizeof(struct kern_wide), 8)
#undef TILES
#undef TILE

static void run(tile_fn *const *tiles, const uint8_t *w, const struct kern_acts *x, size_t first,
		size_t rows, float *out, size_t ldo)
{
	while (rows) {
		size_t n = rows < MOST ? rows : MOST, at = first * x->ld;
		struct acts a = { x->q + at * 32, x->step + at, x->sum + at * 2, x->ld };

		tiles[n - 1](w, x->blocks, a, out, ldo);
		first += n;
		rows -= n;
		out += n * ldo;
	}
}

static void strip(const struct kern_strips *w, size_t at, const struct kern_acts *x, size_t first,
		  size_t rows, float *out, size_t ldo)
{
	static tile_fn *const *const types[QUANT_TYPE_END] = {
		[QUANT_Q4_0] = q4_0_tiles,
		[QUANT_Q8_0] = q8_0_tiles,
		[QUANT_Q4_K] = q4_k_tiles,
		[QUANT_Q6_K] = q6_k_tiles,
	};

	run(types[w->type], w->data + at * w->strip_bytes, x, first, rows, out, ldo);
}

static void wide(const struct kern_wide *w, bool mins, const struct kern_acts *x, size_t first,
		 size_t rows, float *out, size_t ldo)
{
	static tile_fn *const *const tiles[2][2] = { { wide_tiles, wide_mins_tiles },
						     { super_tiles, super_mins_tiles } };

	run(tiles[x->group > 1][mins], (const void *)w, x, first, rows, out, ldo);
}

#endif
