#include "base/le.h"
#include "engine/expand.h"
#include "engine/kern_block.h"
#include "engine/kern_def.h"
#include "engine/strip.h"

static void accumulate(float lanes[KERN_LANES], const float *a, const float *b, size_t n)
{
	size_t i = 0;

	for (; i + KERN_LANES <= n; i += KERN_LANES) {
		for (unsigned j = 0; j < KERN_LANES; j++)
			lanes[j] = fmaf(a[i + j], b[i + j], lanes[j]);
	}
	for (unsigned j = 0; i < n && j < KERN_LANES; j++) {
		float p = i + j < n ? a[i + j] : 0;
		float q = i + j < n ? b[i + j] : 0;

		lanes[j] = fmaf(p, q, lanes[j]);
	}
}

static float dot(const float *a, const float *b, size_t n)
{
	float lanes[KERN_LANES] = { 0 };

	accumulate(lanes, a, b, n);
	return def_reduce(lanes);
}

static void tile(const struct kern_tile *t)
{
	for (size_t j = 0; j < t->nx; j++) {
		for (size_t i = 0; i < t->nw; i++)
			t->out[j * t->ldo + i] = dot(t->w + i * t->ldw, t->x + j * t->ldx, t->n);
	}
}

static void rows(const struct kern_rows *w, const float *x, size_t n, float *out)
{
	def_rows(&kern_ref, w, x, n, out);
}

static void to_f16(const float *src, uint16_t *dst, size_t n)
{
	for (size_t i = 0; i < n; i++)
		dst[i] = quant_f32_to_f16(src[i]);
}

static float number(const struct kern_mix *m, size_t at)
{
	if (m->type == KERN_F16)
		return quant_f16_to_f32(le_get16((const uint8_t *)m->v + 2 * at));
	return m->type == KERN_I8 ? ((const int8_t *)m->v)[at] : ((const float *)m->v)[at];
}

static float mix_one(const struct kern_mix *m, size_t j, size_t i)
{
	const float y = m->fresh ? 0 : m->y[j * m->ldy + i];
	float s = m->steps ? 0 : y;

	for (size_t p = 0; p < m->nv; p++)
		s = fmaf(m->w[j * m->ldw + p], number(m, p * m->ldv + i), s);
	return m->steps ? fmaf(s, quant_f16_to_f32(le_get16(m->steps + 2 * i)), y) : s;
}

static void mix(const struct kern_mix *m)
{
	for (size_t j = 0; j < m->ny; j++) {
		for (size_t i = 0; i < m->n; i++)
			m->y[j * m->ldy + i] = mix_one(m, j, i);
	}
}

static void stretch(const struct kern_stretch *s)
{
	for (size_t j = 0; j < s->nx; j++) {
		for (size_t i = 0; i < s->n; i++)
			s->dst[j * s->ldd + i] = s->src[j * s->lds + i] *
						 quant_f16_to_f32(le_get16(s->steps + 2 * i));
	}
}

static void nibbles(const uint8_t *src, int8_t *dst, size_t n)
{
	def_nibbles(src, dst, n, 0);
}

static void scale(float *y, float a, size_t n)
{
	for (size_t i = 0; i < n; i++)
		y[i] *= a;
}

static float exp_sum(float *x, size_t n, float top)
{
	float lanes[KERN_LANES] = { 0 };

	for (size_t i = 0; i < n; i++) {
		x[i] = def_exp(x[i] - top);
		lanes[i % KERN_LANES] += x[i];
	}
	return def_reduce(lanes);
}

static void weigh(const struct kern_weigh *w)
{
	for (size_t j = 0; j < w->nx; j++) {
		float *x = w->x + j * w->ldx, m = -INFINITY;

		for (size_t i = 0; i < w->n; i++)
			m = x[i] > m ? x[i] : m;
		if (m > w->top[j]) {
			float shrink = def_exp(w->top[j] - m);

			scale(w->y + j * w->ldy, shrink, w->dim);
			w->sum[j] *= shrink;
			w->top[j] = m;
		}
		w->sum[j] += exp_sum(x, w->n, w->top[j]);
	}
}

static void add(float *y, const float *x, size_t n)
{
	for (size_t i = 0; i < n; i++)
		y[i] += x[i];
}

static void silu_mul(float *gate, const float *up, size_t n)
{
	for (size_t i = 0; i < n; i++)
		gate[i] = def_silu(gate[i]) * up[i];
}

static void rms_norm(float *dst, const float *x, const float *w, size_t n, float eps)
{
	float s = def_rms_factor(dot(x, x, n), n, eps);

	for (size_t i = 0; i < n; i++)
		dst[i] = x[i] * s * w[i];
}

float kern_exp(float x)
{
	return def_exp(x);
}

const struct kern kern_ref = {
	.name = "ref",
	.rows_step = 1,
	.accumulate = accumulate,
	.dot = dot,
	.tile = tile,
	.dequant = quant_dequant_row,
	.rows = rows,
	.to_f16 = to_f16,
	.to_q8_0 = to_q8_0,
	.to_q4_0 = to_q4_0,
	.rotate = rotate,
	.mix = mix,
	.weigh = weigh,
	.stretch = stretch,
	.nibbles = nibbles,
	.scale = scale,
	.add = add,
	.silu_mul = silu_mul,
	.rms_norm = rms_norm,
	.expand = expand_rows,
	.quantize = strip_ref_quantize,
	.strip = strip_ref_strip,
	.wide = strip_ref_wide,
};
