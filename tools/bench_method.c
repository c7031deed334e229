#include "tools/bench_method.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "base/le.h"
#include "codec/squeeze.h"

#define TS_ONLY  "tabq:delta=0.000001,min=4,max=4,entropy=none,predict=none"
#define STAGE(t) "tabq:min=1,max=16," t
#define ID_BYTES 4

/* clang-format off */
const struct method methods[] = {
	{ .name = "f16", .spec = "f16" },
	{ .name = "q8", .spec = "q8" },
	{ .name = "q4", .spec = "q4" },
	{ .name = "min-max 4 bit", .kind = METHOD_MINMAX, .bits = 4 },
	{ .name = "min-max 3 bit", .kind = METHOD_MINMAX, .bits = 3 },
	{ .name = "min-max 2 bit", .kind = METHOD_MINMAX, .bits = 2 },
	{ .name = "LZ4 of f16", .kind = METHOD_LZ4_F16 },
	{ .name = "LZ4 of 4 bit", .kind = METHOD_LZ4_4BIT },
	{ .name = "TS, 4 bit", .spec = TS_ONLY },
	{ .name = "TAB-Q", .spec = STAGE("tau=off,entropy=none,predict=none"), .has_delta = true },
	{ .name = "TAB-Q, entropy", .spec = STAGE("tau=off,predict=none"), .has_delta = true },
	{ .name = "TS, TAB-Q, entropy", .spec = STAGE("predict=none"), .has_delta = true,
	  .ours = true },
	{ .name = "all, from rows", .spec = STAGE("predict=rows"), .has_delta = true,
	  .predicts = true },
	{ .name = "all, from tokens", .spec = STAGE("predict=tokens"), .has_delta = true,
	  .predicts = true },
};
/* clang-format on */
const size_t n_methods = sizeof(methods) / sizeof(methods[0]);

struct method_run {
	const struct method *method;
	struct codec_spec spec;
	size_t dim, rows;
	struct codec_work *work;
	struct codec_state *sender, *receiver;
	uint8_t *bytes, *squeezed;
	size_t cap, squeezed_cap;
	void *lz4;
};

int method_run_create(struct method_run **out, size_t dim, size_t rows, const struct cal *cal,
		      const struct cal_split *split)
{
	struct method_run *r = calloc(1, sizeof(*r));

	if (!r)
		return ERR_NOMEM;
	r->dim = dim;
	r->rows = rows;
	r->cap = rows * (dim * 4 + 4096);
	r->squeezed_cap = r->cap + r->cap / 128 + 64; /* LZ4 lets what it cannot pack grow */
	r->bytes = malloc(r->cap);
	r->squeezed = malloc(r->squeezed_cap);
	r->lz4 = malloc(squeeze_memory());
	if (!r->bytes || !r->squeezed || !r->lz4 || codec_work_create(&r->work, dim, rows) ||
	    codec_state_create(&r->sender, dim, cal, split) ||
	    codec_state_create(&r->receiver, dim, cal, split)) {
		method_run_destroy(r);
		return ERR_NOMEM;
	}
	*out = r;
	return 0;
}

void method_run_destroy(struct method_run *r)
{
	if (!r)
		return;
	codec_work_destroy(r->work);
	codec_state_destroy(r->sender);
	codec_state_destroy(r->receiver);
	free(r->bytes);
	free(r->squeezed);
	free(r->lz4);
	free(r);
}

int method_begin(struct method_run *r, const struct method *m, double delta, struct err *e)
{
	char text[SPEC_MAX];

	r->method = m;
	codec_state_reset(r->sender);
	codec_state_reset(r->receiver);
	if (m->kind != METHOD_SPEC)
		return 0;
	if (m->has_delta)
		snprintf(text, sizeof(text), "%s,delta=%.8f", m->spec, delta);
	else
		snprintf(text, sizeof(text), "%s", m->spec);
	return spec_parse(&r->spec, text, e);
}

/* A row as everybody does it: its least and its step as halves, then whole numbers of `bits`. */
static size_t minmax_row(const float *x, size_t dim, unsigned bits, uint8_t *dst, float *y)
{
	const unsigned top = (1u << bits) - 1;
	float least = x[0], most = x[0], step;
	uint32_t held = 0;
	unsigned n = 0;
	uint8_t *p = dst + 4;

	for (size_t i = 1; i < dim; i++) {
		least = x[i] < least ? x[i] : least;
		most = x[i] > most ? x[i] : most;
	}
	le_put16(dst, half_from_f32(least));
	least = half_to_f32(le_get16(dst));
	le_put16(dst + 2, half_from_f32((most - least) / (float)top));
	step = half_to_f32(le_get16(dst + 2));
	for (size_t i = 0; i < dim; i++) {
		float q = step > 0 ? rintf((x[i] - least) / step) : 0;
		unsigned code = q < 0 ? 0 : q > (float)top ? top : (unsigned)q;

		y[i] = least + (float)code * step;
		held |= code << n;
		for (n += bits; n >= 8; n -= 8) {
			*p++ = (uint8_t)held;
			held >>= 8;
		}
	}
	if (n)
		*p++ = (uint8_t)held;
	return (size_t)(p - dst);
}

static size_t minmax(struct method_run *r, const float *x, size_t n, unsigned bits, float *y)
{
	size_t len = 0;

	for (size_t i = 0; i < n; i++)
		len += minmax_row(x + i * r->dim, r->dim, bits, r->bytes + len, y + i * r->dim);
	return len;
}

static int cross_spec(struct method_run *r, const float *x, const uint32_t *ids, bool told,
		      size_t n, float *y, size_t *bytes, struct err *e)
{
	const uint32_t *known = told || r->spec.predict == SPEC_TOKENS ? ids : NULL;
	struct codec_bytes out = { .dst = r->bytes, .cap = r->cap };
	int rc = codec_encode(&r->spec, r->work, r->sender, &(struct codec_rows){ x, known, n },
			      &out, e);

	if (rc)
		return rc;
	*bytes += out.len;
	if (!told && codec_needs(out.id) == CODEC_STATE_AND_TOKENS)
		*bytes += ID_BYTES * n;
	return codec_decode(r->work, r->receiver,
			    &(struct codec_chunk){ .id = out.id,
						   .src = r->bytes,
						   .len = out.len,
						   .ids = known,
						   .dim = r->dim,
						   .n = n },
			    y, e);
}

int method_cross(struct method_run *r, const float *x, const uint32_t *ids, bool told, size_t n,
		 float *y, size_t *bytes, struct err *e)
{
	size_t len;
	int rc;

	switch (r->method->kind) {
	case METHOD_SPEC:
		return cross_spec(r, x, ids, told, n, y, bytes, e);
	case METHOD_MINMAX:
		*bytes += minmax(r, x, n, r->method->bits, y);
		return 0;
	case METHOD_LZ4_F16:
		rc = plain_encode(PLAIN_F16, x, r->dim, n, r->bytes, r->cap, &len, e);
		if (!rc)
			rc = plain_decode(PLAIN_F16, r->bytes, len, r->dim, n, y, e);
		if (rc)
			return rc;
		break;
	case METHOD_LZ4_4BIT:
		len = minmax(r, x, n, 4, y);
		break;
	default:
		return err_set(e, ERR_INTERNAL, "no such method");
	}
	*bytes += squeeze(r->lz4, r->bytes, len, r->squeezed, r->squeezed_cap);
	return 0;
}
