/* engine/kern_vec.h - the table of kern.h for any instruction set with a vocabulary of 16 lanes.
 *
 * kern_avx2.c and kern_avx512.c include their vec_*.h, define KERN_TABLE and KERN_NAME, then
 * include this. Function pointers below are constants after inlining: one loop per tensor type
 * comes out. */
#ifndef ENGINE_KERN_VEC_H
#define ENGINE_KERN_VEC_H

#include "engine/expand.h"
#include "engine/kern_block.h"
#include "engine/kern_def.h"
#include "engine/kern_mix.h"
#include "engine/kern_part.h"

/* Unless vec_*.h knows a faster one. */
#ifndef VEC_EXPAND
#define VEC_EXPAND expand_rows
#endif

static void accumulate(float lanes[KERN_LANES], const float *a, const float *b, size_t n)
{
	struct vf s = vf_load(lanes);
	size_t i = 0;

	for (; i + KERN_LANES <= n; i += KERN_LANES)
		s = vf_fma(vf_load(a + i), vf_load(b + i), s);
	if (i < n)
		s = vf_fma(vf_load_n(a + i, n - i), vf_load_n(b + i, n - i), s);
	vf_store(lanes, s);
}

static float dot(const float *a, const float *b, size_t n)
{
	struct vf s = vf_set(0);
	size_t i = 0;

	for (; i + KERN_LANES <= n; i += KERN_LANES)
		s = vf_fma(vf_load(a + i), vf_load(b + i), s);
	if (i < n)
		s = vf_fma(vf_load_n(a + i, n - i), vf_load_n(b + i, n - i), s);
	return vf_reduce(s);
}

/* One step of 16 elements of a block of nw x nx dots, s[x][w]. */
INLINE void tile_step(struct vf *s, const struct vf *w, const struct vf *x, unsigned nw,
		      unsigned nx)
{
	for (unsigned j = 0; j < nx; j++) {
		for (unsigned i = 0; i < nw; i++)
			s[j * nw + i] = vf_fma(w[i], x[j], s[j * nw + i]);
	}
}

/* Reduce the nw sums of one activation row. */
INLINE void tile_row(float *out, const struct vf *s, unsigned nw)
{
	if (nw == 4) {
		vf_reduce4(out, s[0], s[1], s[2], s[3]);
		return;
	}
	for (unsigned i = 0; i < nw; i++)
		out[i] = vf_reduce(s[i]);
}

/* nw x nx dots whose sums stay in registers; nw <= 4 and nx <= 6 are constants. */
INLINE void tile_block(const struct kern_tile *t, size_t i0, size_t j0, unsigned nw, unsigned nx)
{
	const float *w = t->w + i0 * t->ldw, *x = t->x + j0 * t->ldx;
	struct vf s[24], a[4], b[6];
	size_t k = 0;

	for (unsigned i = 0; i < nw * nx; i++)
		s[i] = vf_set(0);
	for (; k + KERN_LANES <= t->n; k += KERN_LANES) {
		for (unsigned i = 0; i < nw; i++)
			a[i] = vf_load(w + i * t->ldw + k);
		for (unsigned j = 0; j < nx; j++)
			b[j] = vf_load(x + j * t->ldx + k);
		tile_step(s, a, b, nw, nx);
	}
	if (k < t->n) {
		for (unsigned i = 0; i < nw; i++)
			a[i] = vf_load_n(w + i * t->ldw + k, t->n - k);
		for (unsigned j = 0; j < nx; j++)
			b[j] = vf_load_n(x + j * t->ldx + k, t->n - k);
		tile_step(s, a, b, nw, nx);
	}
	for (unsigned j = 0; j < nx; j++)
		tile_row(t->out + (j0 + j) * t->ldo + i0, s + j * nw, nw);
}

/* All weights against nx activation rows from j0 on. */
INLINE void tile_column(const struct kern_tile *t, size_t j0, unsigned nx)
{
	size_t i = 0;

	for (; i + VEC_TILE_W <= t->nw; i += VEC_TILE_W)
		tile_block(t, i, j0, VEC_TILE_W, nx);
	for (; i < t->nw; i++)
		tile_block(t, i, j0, 1, nx);
}

/* One activation row: four weights at a time keep the multipliers busy on every machine. */
static void tile_single(const struct kern_tile *t, size_t j)
{
	size_t i = 0;

	for (; i + 4 <= t->nw; i += 4)
		tile_block(t, i, j, 4, 1);
	for (; i < t->nw; i++)
		tile_block(t, i, j, 1, 1);
}

static void tile(const struct kern_tile *t)
{
	size_t j = 0;

	for (; j + VEC_TILE_X <= t->nx; j += VEC_TILE_X)
		tile_column(t, j, VEC_TILE_X);
	for (; j + 2 <= t->nx; j += 2)
		tile_column(t, j, 2);
	if (j < t->nx)
		tile_single(t, j);
}

INLINE struct vf fma_part(struct part p, const float *x, struct vf s)
{
	s = vf_fma(p.lo, vf_load(x), s);
	return vf_fma(p.hi, vf_load(x + 16), s);
}

/* kern.rows of a type whose rows are whole parts. */
INLINE void rows_of(struct part (*part)(const uint8_t *, size_t), const struct kern_rows *w,
		    const float *x, size_t n, float *out)
{
	size_t i = 0;

	for (; i + 4 <= w->n_rows; i += 4) {
		const uint8_t *row = w->data + i * w->row_bytes;
		struct vf s[4] = { vf_set(0), vf_set(0), vf_set(0), vf_set(0) };

		for (size_t p = 0; p < n / PART; p++) {
			for (unsigned r = 0; r < 4; r++)
				s[r] = fma_part(part(row + r * w->row_bytes, p), x + p * PART,
						s[r]);
		}
		vf_reduce4(out + i, s[0], s[1], s[2], s[3]);
	}
	for (; i < w->n_rows; i++) {
		const uint8_t *row = w->data + i * w->row_bytes;
		struct vf s = vf_set(0);

		for (size_t p = 0; p < n / PART; p++)
			s = fma_part(part(row, p), x + p * PART, s);
		out[i] = vf_reduce(s);
	}
}

INLINE void dequant_of(struct part (*part)(const uint8_t *, size_t), const uint8_t *src, float *dst,
		       size_t n)
{
	for (size_t p = 0; p < n / PART; p++) {
		struct part v = part(src, p);

		vf_store(dst + p * PART, v.lo);
		vf_store(dst + p * PART + 16, v.hi);
	}
}

/* Both for types without blocks, whose rows may end in a piece of a part. */
INLINE void rows_plain(struct part (*part)(const uint8_t *, size_t), const struct kern_rows *w,
		       const float *x, size_t n, float *out)
{
	if (n % PART)
		def_rows(&KERN_TABLE, w, x, n, out);
	else
		rows_of(part, w, x, n, out);
}

INLINE void dequant_plain(enum quant_type type, struct part (*part)(const uint8_t *, size_t),
			  const uint8_t *src, float *dst, size_t n)
{
	size_t whole = n / PART * PART;

	dequant_of(part, src, dst, whole);
	quant_dequant_row(type, src + quant_row_bytes(type, whole), dst + whole, n - whole);
}

#define BLOCKS(type)                                                                               \
	static void rows_##type(const struct kern_rows *w, const float *x, size_t n, float *out)   \
	{                                                                                          \
		rows_of(part_##type, w, x, n, out);                                                \
	}                                                                                          \
	static void dequant_##type(const uint8_t *src, float *dst, size_t n)                       \
	{                                                                                          \
		dequant_of(part_##type, src, dst, n);                                              \
	}

#define PLAIN(type, number)                                                                        \
	static void rows_##type(const struct kern_rows *w, const float *x, size_t n, float *out)   \
	{                                                                                          \
		rows_plain(part_##type, w, x, n, out);                                             \
	}                                                                                          \
	static void dequant_##type(const uint8_t *src, float *dst, size_t n)                       \
	{                                                                                          \
		dequant_plain(number, part_##type, src, dst, n);                                   \
	}

PLAIN(f32, QUANT_F32)
PLAIN(f16, QUANT_F16)
PLAIN(bf16, QUANT_BF16)
BLOCKS(q4_0)
BLOCKS(q4_1)
BLOCKS(q5_0)
BLOCKS(q5_1)
BLOCKS(q8_0)
BLOCKS(iq4_nl)
BLOCKS(iq4_xs)
BLOCKS(q2_k)
BLOCKS(q3_k)
BLOCKS(q4_k)
BLOCKS(q5_k)
BLOCKS(q6_k)
#undef BLOCKS
#undef PLAIN

static const struct {
	void (*rows)(const struct kern_rows *w, const float *x, size_t n, float *out);
	void (*dequant)(const uint8_t *src, float *dst, size_t n);
} types[QUANT_TYPE_END] = {
	[QUANT_F32] = { rows_f32, dequant_f32 },
	[QUANT_F16] = { rows_f16, dequant_f16 },
	[QUANT_BF16] = { rows_bf16, dequant_bf16 },
	[QUANT_Q4_0] = { rows_q4_0, dequant_q4_0 },
	[QUANT_Q4_1] = { rows_q4_1, dequant_q4_1 },
	[QUANT_Q5_0] = { rows_q5_0, dequant_q5_0 },
	[QUANT_Q5_1] = { rows_q5_1, dequant_q5_1 },
	[QUANT_Q8_0] = { rows_q8_0, dequant_q8_0 },
	[QUANT_IQ4_NL] = { rows_iq4_nl, dequant_iq4_nl },
	[QUANT_IQ4_XS] = { rows_iq4_xs, dequant_iq4_xs },
	[QUANT_Q2_K] = { rows_q2_k, dequant_q2_k },
	[QUANT_Q3_K] = { rows_q3_k, dequant_q3_k },
	[QUANT_Q4_K] = { rows_q4_k, dequant_q4_k },
	[QUANT_Q5_K] = { rows_q5_k, dequant_q5_k },
	[QUANT_Q6_K] = { rows_q6_k, dequant_q6_k },
};

static void rows(const struct kern_rows *w, const float *x, size_t n, float *out)
{
	types[w->type].rows(w, x, n, out);
}

static void dequant(enum quant_type type, const void *src, float *dst, size_t n)
{
	types[type].dequant(src, dst, n);
}

static void to_f16(const float *src, uint16_t *dst, size_t n)
{
	size_t i = 0;

	for (; i + KERN_LANES <= n; i += KERN_LANES)
		vf_to_f16(dst + i, vf_load(src + i));
	if (i < n) {
		uint16_t last[KERN_LANES];

		vf_to_f16(last, vf_load_n(src + i, n - i));
		memcpy(dst + i, last, (n - i) * sizeof(*dst));
	}
}

static void stretch(const struct kern_stretch *s)
{
	for (size_t j = 0; j < s->nx; j++) {
		const float *src = s->src + j * s->lds;
		float *dst = s->dst + j * s->ldd;
		size_t i = 0;

		for (; i + KERN_LANES <= s->n; i += KERN_LANES)
			vf_store(dst + i, vf_mul(vf_load(src + i), vf_of_f16(s->steps + 2 * i)));
		if (i < s->n)
			vf_store_n(dst + i,
				   vf_mul(vf_load_n(src + i, s->n - i),
					  mix_load_n(KERN_F16, s->steps + 2 * i, s->n - i)),
				   s->n - i);
	}
}

static void nibbles(const uint8_t *src, int8_t *dst, size_t n)
{
	const struct vb mid = vb_set(8);
	size_t i = 0;

	for (; i + 16 <= n; i += 16) {
		const struct vb b = vb_load(src + i);

		vb_store(dst + i, vb_sub(low4(b), mid));
		vb_store(dst + n + i, vb_sub(high4(b), mid));
	}
	def_nibbles(src, dst, n, i);
}

/* def_exp, sixteen at a time. */
INLINE struct vf exp_16(struct vf x)
{
	struct vf t, n, r, p;

	x = vf_max(vf_set(EXP_LO), x);
	x = vf_min(vf_set(EXP_HI), x);
	t = vf_fma(x, vf_set(EXP_LOG2E), vf_set(EXP_MAGIC));
	n = vf_sub(t, vf_set(EXP_MAGIC));
	r = vf_fma(n, vf_set(-EXP_LN2_HI), x);
	r = vf_fma(n, vf_set(-EXP_LN2_LO), r);
	p = vf_fma(vf_set(EXP_C7), r, vf_set(EXP_C6));
	p = vf_fma(p, r, vf_set(EXP_C5));
	p = vf_fma(p, r, vf_set(EXP_C4));
	p = vf_fma(p, r, vf_set(EXP_C3));
	p = vf_fma(p, r, vf_set(EXP_C2));
	p = vf_fma(p, r, vf_set(1.0f));
	p = vf_fma(p, r, vf_set(1.0f));
	return vf_of_bits(vi_add(vi_of_bits(p), vi_shl23(vi_of_bits(t))));
}

#define WEIGH_ROWS 4

static void scale(float *y, float a, size_t n)
{
	size_t i = 0;

	for (; i + KERN_LANES <= n; i += KERN_LANES)
		vf_store(y + i, vf_mul(vf_load(y + i), vf_set(a)));
	for (; i < n; i++)
		y[i] *= a;
}

INLINE float max(const float *x, size_t n)
{
	struct vf m = vf_set(-INFINITY);
	size_t i = 0;
	float top;

	for (; i + KERN_LANES <= n; i += KERN_LANES)
		m = vf_max(vf_load(x + i), m);
	top = vf_largest(m);
	for (; i < n; i++)
		top = x[i] > top ? x[i] : top;
	return top;
}

/* Row j has a new largest score. */
static void shrink(const struct kern_weigh *w, size_t j, float top)
{
	const float factor = def_exp(w->top[j] - top);

	scale(w->y + j * w->ldy, factor, w->dim);
	w->sum[j] *= factor;
	w->top[j] = top;
}

/* Sums of exponentials of nx rows, the first of them at x, less their largest scores. */
INLINE void exp_sums(const struct kern_weigh *w, size_t j, unsigned nx, struct vf *s)
{
	float *x = w->x + j * w->ldx;
	struct vf top[WEIGH_ROWS], y;
	size_t i = 0;

	for (unsigned r = 0; r < nx; r++) {
		top[r] = vf_set(w->top[j + r]);
		s[r] = vf_set(0);
	}
	for (; i + KERN_LANES <= w->n; i += KERN_LANES) {
		for (unsigned r = 0; r < nx; r++) {
			y = exp_16(vf_sub(vf_load(x + r * w->ldx + i), top[r]));
			vf_store(x + r * w->ldx + i, y);
			s[r] = vf_add(s[r], y);
		}
	}
	for (unsigned r = 0; r < nx && i < w->n; r++) {
		float *last = x + r * w->ldx + i;

		y = exp_16(vf_sub(vf_load_n(last, w->n - i), top[r]));
		vf_store_n(last, y, w->n - i);
		s[r] = vf_add(s[r], vf_load_n(last, w->n - i));
	}
}

/* Rows do not wait for each other's chains of operations. */
INLINE void weigh_rows(const struct kern_weigh *w, size_t j, unsigned nx)
{
	float top[WEIGH_ROWS], sum[WEIGH_ROWS];
	struct vf s[WEIGH_ROWS];

	for (unsigned r = 0; r < nx; r++)
		top[r] = max(w->x + (j + r) * w->ldx, w->n);
	for (unsigned r = 0; r < nx; r++) {
		if (top[r] > w->top[j + r])
			shrink(w, j + r, top[r]);
	}
	exp_sums(w, j, nx, s);
	if (nx == WEIGH_ROWS)
		vf_reduce4(sum, s[0], s[1], s[2], s[3]);
	for (unsigned r = 0; r < nx; r++)
		w->sum[j + r] += nx == WEIGH_ROWS ? sum[r] : vf_reduce(s[r]);
}

static void weigh(const struct kern_weigh *w)
{
	size_t j = 0;

	for (; j + WEIGH_ROWS <= w->nx; j += WEIGH_ROWS)
		weigh_rows(w, j, WEIGH_ROWS);
	for (; j < w->nx; j++)
		weigh_rows(w, j, 1);
}

static void add(float *y, const float *x, size_t n)
{
	size_t i = 0;

	for (; i + KERN_LANES <= n; i += KERN_LANES)
		vf_store(y + i, vf_add(vf_load(y + i), vf_load(x + i)));
	for (; i < n; i++)
		y[i] += x[i];
}

static void silu_mul(float *gate, const float *up, size_t n)
{
	const struct vf one = vf_set(1.0f), minus_zero = vf_set(-0.0f);
	size_t i = 0;

	for (; i + KERN_LANES <= n; i += KERN_LANES) {
		struct vf x = vf_load(gate + i);
		struct vf e = exp_16(vf_sub(minus_zero, x));

		vf_store(gate + i, vf_mul(vf_div(x, vf_add(one, e)), vf_load(up + i)));
	}
	for (; i < n; i++)
		gate[i] = def_silu(gate[i]) * up[i];
}

static void rms_norm(float *dst, const float *x, const float *w, size_t n, float eps)
{
	float factor = def_rms_factor(dot(x, x, n), n, eps);
	struct vf s = vf_set(factor);
	size_t i = 0;

	for (; i + KERN_LANES <= n; i += KERN_LANES)
		vf_store(dst + i, vf_mul(vf_mul(vf_load(x + i), s), vf_load(w + i)));
	for (; i < n; i++)
		dst[i] = x[i] * factor * w[i];
}

/* A table of these and of the integer kernels isa_quantize, isa_strip and isa_wide (strip.h), which
 * take `step` rows at a time: one file may have several. */
#define KERN_VEC_TABLE(title, isa, step, put, many, lay)                                           \
	{                                                                                          \
		.name = title, .rows_step = step, .accumulate = accumulate, .dot = dot,            \
		.tile = tile, .dequant = dequant, .rows = rows, .to_f16 = to_f16,                  \
		.to_q8_0 = to_q8_0, .to_q4_0 = to_q4_0, .rotate = rotate, .mix = mix,              \
		.weigh = weigh, .stretch = stretch, .nibbles = nibbles, .scale = scale,            \
		.add = add, .silu_mul = silu_mul, .rms_norm = rms_norm, .expand = VEC_EXPAND,      \
		.quantize = isa##_quantize, .tiles = lay, .strip = isa##_strip, .panels = put,     \
		.strips = many, .wide = isa##_wide,                                                \
	}

#endif
