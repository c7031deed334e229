/* engine/kern.h - the arithmetic of the engine: one definition, a table per instruction set.
 *
 * kern_ref.c is the definition. Every other table gives the same bits for all finite inputs, on
 * every length and alignment, because the order of each sum is part of the contract:
 *
 *   dot   16 lanes; lane j takes elements j, j + 16, ... by fused multiply-add in that order, n
 *         being padded with zeros to a multiple of 16; then lane j += lane j + 8, + 4, + 2, + 1.
 *
 * So one row alone (decode), many rows (prefill), any number of threads and any machine agree, and
 * a replay of the same rows in other chunks changes nothing. Infinities and NaN propagate to NaN or
 * infinity, not to defined bits. All functions are pure, any thread, and allocate nothing.
 *
 * Weights of a quantized type are not multiplied as floats but as the integers that they are, with
 * activations rounded to 8 bits (struct kern_acts). Whatever the type, a weight row has for each
 * block of 32 columns codes and two integer scales (of elements 0..15 and 16..31), and a float d
 * for each group of blocks: a group is one block, or the eight of a super-block, as the type has it
 * (kern_group). Types with minimums have two more integers for each block and a float m for each
 * group. Its dot with a row of activations, which have one step for each group, is
 *
 *   acc = 0; then for each group in order
 *     I = sum over its blocks of
 *           scale0 * sum over e < 16 of code[e] * q[e] + scale1 * sum over e >= 16 of the same
 *     acc = fmaf(I, d * step, acc)
 *     with minimums: acc = fmaf(sum over blocks of min0 * sum0 + min1 * sum1, m * step, acc)
 *
 * where integers are exact, and rounded once when they become floats, and d * step and m * step are
 * rounded products. Of 32 bits no integer needs more: scales and codes are in -128..127, so I is
 * at most 256 * 128 * 128 * 127 < 2^30. NaN and infinities of d, m and step propagate, all to some
 * NaN or infinity.
 *
 * Files: kern_<isa>.c has the floats and the tables; strip_<isa>.c the integers (strip.h). */
#ifndef ENGINE_KERN_H
#define ENGINE_KERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/quant.h"

#define KERN_LANES 16

/* out[j * ldo + i] = dot(w + i * ldw, x + j * ldx, n) for i < nw, j < nx; ld* in floats. */
struct kern_tile {
	const float *w, *x;
	float *out;
	size_t ldw, ldx, ldo;
	size_t nw, nx, n;
};

enum kern_number { KERN_F32, KERN_F16, KERN_I8 };

/* Weighted sums of rows of v. For i < n and j < ny, with y0 = y[j * ldy + i], or 0 when fresh:
 *   s = steps ? 0 : y0; for p < nv in ascending order s = fmaf(w[j * ldw + p], v[p * ldv + i], s)
 *   y[j * ldy + i] = steps ? fmaf(s, steps[i], y0) : s */
struct kern_mix {
	float *y;
	const float *w;
	const void *v;
	const uint8_t *ahead; /* NULL, or what will be read next: asked for meanwhile, evenly */
	size_t ahead_bytes;
	const uint8_t *steps;  /* NULL, or n of f16 */
	enum kern_number type; /* of v */
	size_t ldy, ldw, ldv;  /* in numbers */
	size_t ny, nv, n;
	bool fresh;
};

/* dst[j * ldd + i] = src[j * lds + i] * steps[i] for i < n, j < nx; steps are f16. */
struct kern_stretch {
	float *dst;
	const float *src;
	const uint8_t *steps;
	size_t ldd, lds;
	size_t nx, n;
};

/* Softmax of rows of scores that come piece by piece. Of each row j, with m = the largest of x[j]:
 * where m > top[j], y[j] and sum[j] shrink by kern_exp(top[j] - m), and top[j] = m. Then
 * x[j] = kern_exp(x[j] - top[j]), and sum[j] grows by its sum, lanes as in dot. */
struct kern_weigh {
	float *x, *y, *top, *sum; /* [nx][n], [nx][dim], [nx], [nx] */
	size_t ldx, ldy;
	size_t nx, n, dim;
};

/* n_rows rows of a weight tensor, row_bytes apart. */
struct kern_rows {
	enum quant_type type;
	const uint8_t *data;
	size_t row_bytes;
	size_t n_rows;
};

/* Blocks of 32 columns in a row that have a step in common: 1, or 8 for types of super-blocks. */
static inline unsigned kern_group(enum quant_type weights)
{
	return quant_block_elements(weights) / 32;
}

/* Rows of activations as 8-bit integers: element e of block b of row r is about
 * q[(r * ld + b) * 32 + e] * step[r * ld + b]. */
struct kern_acts {
	size_t blocks; /* of 32, per row: a multiple of group */
	size_t ld;     /* from one row to the next, at least as many */
	size_t group;  /* kern_group of the weights that they meet */
	int8_t *q;     /* [rows][ld][32], -127..127 */
	float *step;   /* [rows][ld]: those of a group are equal */
	int16_t *sum;  /* [rows][ld][2]: of q[0..16) and of q[16..32) */
	/* NULL, or what kern.tiles made of these rows, whose groups are one block: 64-byte aligned,
	 * with room for tile_rows, KERN_TILE_BYTES for each block of every KERN_TILE_ROWS rows, and
	 * as if blocks were even. */
	uint8_t *tiles;
	size_t tile_rows;
};

#define KERN_TILE_ROWS  16
#define KERN_TILE_BYTES 1088

/* Rows of a matrix from which on these tiles pay. */
#define KERN_TILE_LEAST 64

/* Weight rows of a strip: the unit of all integer kernels. */
#define KERN_STRIP 16

/* Rows of activations that are laid out in panels, and bytes of a block of four of them. */
#define KERN_PANEL_LEAST 7
#define KERN_PANEL_MOST  32
#define KERN_PANEL_BYTES 192

/* One block of a strip, in the form that every quantized type can be brought to (expand.h). d and m
 * are the same in all blocks of a group; scales and minimums are 1 where a group is one block (but
 * for rows that are missing: all is 0). */
struct kern_wide {
	int8_t q[8][KERN_STRIP][4]; /* code of element 4 g + e of row r is q[g][r][e] */
	int8_t scale[2][KERN_STRIP];
	uint8_t min[2][KERN_STRIP];
	float d[KERN_STRIP], m[KERN_STRIP];
};

/* A matrix of Q4_0, Q8_0, Q4_K or Q6_K as strips (pack.h says how they lie in memory). */
struct kern_strips {
	enum quant_type type;
	const uint8_t *data; /* [strips][strip_bytes]; no alignment, but 64 bytes are faster */
	size_t strip_bytes;
	size_t blocks; /* of 32 columns */
};

struct kern {
	const char *name; /* "ref", "avx2", ... */
	/* Rows of activations that strip and wide take at a time: they like multiples. */
	size_t rows_step;

	/* Continue the 16 lane sums of a dot; only the last call of a sum may have n % 16 != 0. */
	void (*accumulate)(float lanes[KERN_LANES], const float *a, const float *b, size_t n);
	float (*dot)(const float *a, const float *b, size_t n);
	void (*tile)(const struct kern_tile *t);

	/* quant_dequant_row, bit for bit (F16 NaN: some NaN). */
	void (*dequant)(enum quant_type type, const void *src, float *dst, size_t n);
	/* out[i] = dot(dequant(row i), x, n), without the row ever being in memory. */
	void (*rows)(const struct kern_rows *w, const float *x, size_t n, float *out);
	/* dst[i] = quant_f32_to_f16(src[i]) (NaN: some NaN). */
	void (*to_f16)(const float *src, uint16_t *dst, size_t n);
	/* To (n + 31) / 32 blocks of that type, as if zeros followed src. A block that is not all
	 * finite, or beyond the range of its f16 step, is NaN. */
	void (*to_q8_0)(const float *src, uint8_t *dst, size_t n);
	void (*to_q4_0)(const float *src, uint8_t *dst, size_t n);
	/* Blocks of 32 elements, as if zeros followed src, times scale and a matrix of 1 and -1
	 * that is 32 times its inverse (Walsh-Hadamard): what one element had alone, 32 share,
	 * which suits those two. dst has whole blocks. But for rounding,
	 * dot(rotate(a, s), rotate(b, t)) = 32 s t dot(a, b). */
	void (*rotate)(float *dst, const float *src, float scale, size_t n);

	/* What attention consists of. */
	void (*mix)(const struct kern_mix *m);
	void (*weigh)(const struct kern_weigh *w);
	void (*stretch)(const struct kern_stretch *s);
	/* Codes of Q4_0 from n bytes: the low four bits of each to dst[0..n), the high ones to
	 * dst[n..2n), less 8. */
	void (*nibbles)(const uint8_t *src, int8_t *dst, size_t n);
	/* y[i] *= a; y[i] += x[i]. */
	void (*scale)(float *y, float a, size_t n);
	void (*add)(float *y, const float *x, size_t n);
	/* gate[i] = gate[i] / (1 + exp(-gate[i])) * up[i] */
	void (*silu_mul)(float *gate, const float *up, size_t n);
	/* dst[i] = x[i] * s * w[i], s = 1 / sqrt(dot(x, x) / n + eps); dst may be x. */
	void (*rms_norm)(float *dst, const float *x, const float *w, size_t n, float eps);

	/* expand_rows (expand.h). */
	void (*expand)(enum quant_type type, const uint8_t *data, size_t row_bytes, size_t n_rows,
		       size_t n, struct kern_wide *out);
	/* One row of n elements (a multiple of 32 * group) to the form of kern_acts. Of each group
	 * of blocks, with a = max |x|: step = a / 127 and q = x * (127 / a), rounded to nearest,
	 * ties to even; all zero when a < 1e-36; step NaN and q 0 when an element is NaN or
	 * infinite. */
	void (*quantize)(const float *x, size_t n, size_t group, int8_t *q, float *step,
			 int16_t *sum);
	/* NULL, or: row number `row` of x once more, in x->tiles; strip is faster with them where
	 * first is a multiple of KERN_TILE_ROWS. */
	void (*tiles)(const struct kern_acts *x, size_t row);
	/* out[r * ldo + i] = the dot of weight row i of the n strips from that one on, i < 16 * n,
	 * with row first + r of x, for r < rows, rows >= 1. x->group is the type's. */
	void (*strip)(const struct kern_strips *w, size_t strip, size_t n,
		      const struct kern_acts *x, size_t first, size_t rows, float *out, size_t ldo);
	/* For many rows, KERN_PANEL_LEAST .. KERN_PANEL_MOST: lay rows first .. of x out at `to`,
	 * 64-byte aligned, KERN_PANEL_BYTES for each block of every four rows, the last may be
	 * less; then as strip. Both NULL: nothing is gained by it. */
	void (*panels)(const struct kern_acts *x, size_t first, size_t rows, void *to);
	void (*strips)(const struct kern_strips *w, size_t strip, size_t n, const void *panels,
		       size_t rows, float *out, size_t ldo);
	/* As strip, for the one whose x->blocks blocks are at w; mins: m and min are not all 0
	 * (else they are not read). */
	void (*wide)(const struct kern_wide *w, bool mins, const struct kern_acts *x, size_t first,
		     size_t rows, float *out, size_t ldo);
};

/* e^x from additions and multiplications alone, so that no libm version matters. Relative error
 * below 2.5e-7 for x in -87..88; smaller x gives e^-87, larger e^88; NaN stays NaN. */
float kern_exp(float x);

/* The best table of this machine, or the one that SPLITMQ_ISA asks for: ref, avx2, avx512 (F, BW,
 * DQ, VL), avx512vnni, amx, neon, dotprod or i8mm.
 * ERR_CONFIG for a word that is none of these, ERR_UNSUPPORTED when this machine lacks it. */
MUST_CHECK int kern_pick(const struct kern **out, struct err *e);

/* Table i of those that this machine can run, ascending, "ref" first; NULL at the end. */
const struct kern *kern_at(unsigned i);

#endif
