#include "engine/expand.h"

#include <assert.h>
#include <string.h>

#include "base/half.h"
#include "base/le.h"
#include "engine/quant_block.h"

/* 32 elements of one row. */
struct block {
	int8_t q[32];
	int8_t scale[2];
	uint8_t min[2];
	float d, m;
};

static float half_at(const uint8_t *p)
{
	return half_to_f32(le_get16(p));
}

/* Low halves, then high halves, of 16 bytes. */
static void nibbles(const uint8_t *src, int8_t *q, int offset)
{
	for (unsigned j = 0; j < 16; j++) {
		q[j] = (int8_t)((src[j] & 15) - offset);
		q[j + 16] = (int8_t)((src[j] >> 4) - offset);
	}
}

static void levels(const uint8_t *src, int8_t *q)
{
	for (unsigned j = 0; j < 16; j++) {
		q[j] = quant_block_iq4_levels[src[j] & 15];
		q[j + 16] = quant_block_iq4_levels[src[j] >> 4];
	}
}

static void fifth_bits(uint32_t high, int8_t *q)
{
	for (unsigned j = 0; j < 32; j++)
		q[j] = (int8_t)(q[j] + (int)(high >> j & 1) * 16);
}

static void plain(struct block *o, float d, float m)
{
	o->scale[0] = o->scale[1] = 1;
	o->min[0] = o->min[1] = 1;
	o->d = d;
	o->m = m;
}

/* One block of 32 at src, or number b of the 8 of the super-block at src. Layouts: quant_small.c
 * and quant_super.c. */
static void q4_0(const uint8_t *src, unsigned b, struct block *o)
{
	(void)b;
	nibbles(src + 2, o->q, 8);
	plain(o, half_at(src), 0);
}

static void q4_1(const uint8_t *src, unsigned b, struct block *o)
{
	(void)b;
	nibbles(src + 4, o->q, 0);
	plain(o, half_at(src), half_at(src + 2));
}

static void q5_0(const uint8_t *src, unsigned b, struct block *o)
{
	(void)b;
	nibbles(src + 6, o->q, 16);
	fifth_bits(le_get32(src + 2), o->q);
	plain(o, half_at(src), 0);
}

static void q5_1(const uint8_t *src, unsigned b, struct block *o)
{
	(void)b;
	nibbles(src + 8, o->q, 0);
	fifth_bits(le_get32(src + 4), o->q);
	plain(o, half_at(src), half_at(src + 2));
}

static void q8_0(const uint8_t *src, unsigned b, struct block *o)
{
	(void)b;
	memcpy(o->q, src + 2, 32);
	plain(o, half_at(src), 0);
}

static void iq4_nl(const uint8_t *src, unsigned b, struct block *o)
{
	(void)b;
	levels(src + 2, o->q);
	plain(o, half_at(src), 0);
}

static void q2_k(const uint8_t *src, unsigned b, struct block *o)
{
	const uint8_t *codes = src + 16 + b / 4 * 32;

	for (unsigned l = 0; l < 32; l++)
		o->q[l] = (int8_t)(codes[l] >> b % 4 * 2 & 3);
	for (unsigned h = 0; h < 2; h++) {
		o->scale[h] = (int8_t)(src[2 * b + h] & 15);
		o->min[h] = src[2 * b + h] >> 4;
	}
	o->d = half_at(src + 80);
	o->m = -half_at(src + 82);
}

static void q3_k(const uint8_t *src, unsigned b, struct block *o)
{
	const uint8_t *codes = src + 32 + b / 4 * 32;

	for (unsigned l = 0; l < 32; l++)
		o->q[l] = (int8_t)((codes[l] >> b % 4 * 2 & 3) + (src[l] >> b & 1) * 4 - 4);
	plain(o, half_at(src + 108), 0);
	for (unsigned h = 0; h < 2; h++)
		o->scale[h] = (int8_t)(quant_block_scale6(src + 96, 2 * b + h) - 32);
}

static void scales_k45(const uint8_t *src, unsigned b, struct block *o)
{
	int scale, min;

	quant_block_scale_min6(src + 4, b, &scale, &min);
	o->scale[0] = o->scale[1] = (int8_t)scale;
	o->min[0] = o->min[1] = (uint8_t)min;
	o->d = half_at(src);
	o->m = -half_at(src + 2);
}

static void q4_k(const uint8_t *src, unsigned b, struct block *o)
{
	const uint8_t *nib = src + 16 + b / 2 * 32;

	for (unsigned l = 0; l < 32; l++)
		o->q[l] = (int8_t)(nib[l] >> b % 2 * 4 & 15);
	scales_k45(src, b, o);
}

static void q5_k(const uint8_t *src, unsigned b, struct block *o)
{
	const uint8_t *nib = src + 48 + b / 2 * 32, *high = src + 16;

	for (unsigned l = 0; l < 32; l++)
		o->q[l] = (int8_t)((nib[l] >> b % 2 * 4 & 15) + (high[l] >> b & 1) * 16);
	scales_k45(src, b, o);
}

static void q6_k(const uint8_t *src, unsigned b, struct block *o)
{
	const uint8_t *nib = src + 64 * (b / 4) + 32 * (b % 2), *high = src + 128 + 32 * (b / 4);

	for (unsigned l = 0; l < 32; l++)
		o->q[l] = (int8_t)((nib[l] >> b % 4 / 2 * 4 & 15) +
				   (high[l] >> b % 4 * 2 & 3) * 16 - 32);
	plain(o, half_at(src + 208), 0);
	memcpy(o->scale, src + 192 + 2 * b, 2);
}

static void iq4_xs(const uint8_t *src, unsigned b, struct block *o)
{
	int low = src[4 + b / 2] >> b % 2 * 4 & 15;
	int high = le_get16(src + 2) >> 2 * b & 3;

	levels(src + 8 + 16 * b, o->q);
	plain(o, half_at(src), 0);
	o->scale[0] = o->scale[1] = (int8_t)((low | high << 4) - 32);
}

static const struct {
	void (*read)(const uint8_t *src, unsigned b, struct block *o);
	bool mins;
} types[QUANT_TYPE_END] = {
	[QUANT_Q4_0] = { q4_0, false }, [QUANT_Q4_1] = { q4_1, true },
	[QUANT_Q5_0] = { q5_0, false }, [QUANT_Q5_1] = { q5_1, true },
	[QUANT_Q8_0] = { q8_0, false }, [QUANT_IQ4_NL] = { iq4_nl, false },
	[QUANT_Q2_K] = { q2_k, true },  [QUANT_Q3_K] = { q3_k, false },
	[QUANT_Q4_K] = { q4_k, true },  [QUANT_Q5_K] = { q5_k, true },
	[QUANT_Q6_K] = { q6_k, false }, [QUANT_IQ4_XS] = { iq4_xs, false },
};

bool expand_knows(enum quant_type type)
{
	return types[type].read != NULL;
}

bool expand_mins(enum quant_type type)
{
	return types[type].mins;
}

static void put_row(const struct block *b, struct kern_wide *w, size_t row)
{
	for (unsigned g = 0; g < 8; g++)
		memcpy(w->q[g][row], b->q + 4 * g, 4);
	for (unsigned h = 0; h < 2; h++) {
		w->scale[h][row] = b->scale[h];
		w->min[h][row] = b->min[h];
	}
	w->d[row] = b->d;
	w->m[row] = b->m;
}

void expand_rows(enum quant_type type, const uint8_t *data, size_t row_bytes, size_t n_rows,
		 size_t n, struct kern_wide *out)
{
	const unsigned bytes = quant_block_bytes(type), per = quant_block_elements(type) / 32;

	assert(expand_knows(type) && n_rows <= KERN_STRIP && n % (32 * per) == 0);
	if (n_rows < KERN_STRIP)
		memset(out, 0, n / 32 * sizeof(*out));
	for (size_t i = 0; i < n / 32; i++) {
		const uint8_t *src = data + i / per * bytes;
		struct block b;

		for (size_t r = 0; r < n_rows; r++) {
			types[type].read(src + r * row_bytes, (unsigned)(i % per), &b);
			put_row(&b, out + i, r);
		}
	}
}
