#include "engine/pack.h"

#include <assert.h>
#include <string.h>

#include "base/half.h"
#include "base/le.h"
#include "engine/quant_block.h"

#define N KERN_STRIP

/* Bytes at which the parts of a block of a strip begin. */
enum {
	CODES_SMALL = 2 * N,
	Q4_K_LOW = 4 * N,
	Q4_K_HIGH = Q4_K_LOW + 8 * N,
	Q4_K_CODES = Q4_K_HIGH + 4 * N,
	Q6_K_SCALES = 2 * N,
	Q6_K_CODES = Q6_K_SCALES + 16 * N,
	Q6_K_HIGH = Q6_K_CODES + 8 * 4 * 4 * N,
};

/* Four codes at a time; shifts and masks stay inside bytes, so byte order does not matter. */
static uint32_t load4(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static void store4(uint8_t *p, uint32_t v)
{
	memcpy(p, &v, sizeof(v));
}

/* One row's block at src -> row r of the strip's block at dst. */
static void pack_q4_0(const uint8_t *src, uint8_t *dst, size_t r)
{
	memcpy(dst + 2 * r, src, 2);
	for (unsigned v = 0; v < 4; v++)
		store4(dst + CODES_SMALL + 4 * N * v + 4 * r, load4(src + 2 + 4 * v));
}

static void pack_q8_0(const uint8_t *src, uint8_t *dst, size_t r)
{
	memcpy(dst + 2 * r, src, 2);
	for (unsigned g = 0; g < 8; g++)
		store4(dst + CODES_SMALL + 4 * N * g + 4 * r, load4(src + 2 + 4 * g));
}

/* 32 bytes of two blocks' nibbles (the first in the low halves) -> these blocks. */
static void pack_pair(const uint8_t *src, uint8_t *first, uint8_t *second, size_t r)
{
	for (unsigned v = 0; v < 4; v++) {
		uint32_t a = load4(src + 4 * v), b = load4(src + 16 + 4 * v);

		store4(first + 4 * N * v + 4 * r, (a & 0x0f0f0f0f) | (b & 0x0f0f0f0f) << 4);
		store4(second + 4 * N * v + 4 * r, (a >> 4 & 0x0f0f0f0f) | (b & 0xf0f0f0f0));
	}
}

static void pack_q4_k(const uint8_t *src, uint8_t *dst, size_t r)
{
	memcpy(dst + 2 * r, src, 2);
	memcpy(dst + 2 * N + 2 * r, src + 2, 2);
	for (unsigned p = 0; p < 4; p++) {
		uint8_t *codes = dst + Q4_K_CODES + 32 * N * p;
		unsigned high = 0;

		for (unsigned b = 2 * p; b < 2 * p + 2; b++) {
			int scale, min;

			quant_block_scale_min6(src + 4, b, &scale, &min);
			dst[Q4_K_LOW + N * b + r] = (uint8_t)((scale & 15) | (min & 15) << 4);
			high |= (unsigned)(scale >> 4 | min >> 4 << 2) << b % 2 * 4;
		}
		dst[Q4_K_HIGH + N * p + r] = (uint8_t)high;
		pack_pair(src + 16 + 32 * p, codes, codes + 16 * N, r);
	}
}

/* The upper bits of block b of a half: bits 2 (b % 4) of src[32]. */
static void pack_high(const uint8_t *src, unsigned b, uint8_t *dst, size_t r)
{
	for (unsigned v = 0; v < 2; v++) {
		uint32_t sum = 0;

		for (unsigned k = 0; k < 4; k++)
			sum |= (load4(src + 16 * v + 4 * k) >> b % 4 * 2 & 0x03030303) << 2 * k;
		store4(dst + 4 * N * v + 4 * r, sum);
	}
}

static void pack_q6_k(const uint8_t *src, uint8_t *dst, size_t r)
{
	memcpy(dst + 2 * r, src + 208, 2);
	for (unsigned i = 0; i < 16; i++)
		dst[Q6_K_SCALES + N * i + r] = src[192 + i];
	for (unsigned p = 0; p < 4; p++) { /* 32 bytes of nibbles: blocks b and b + 2 of a half */
		unsigned b = p / 2 * 4 + p % 2;
		uint8_t *codes = dst + Q6_K_CODES + 16 * N * b;

		pack_pair(src + 32 * p, codes, codes + 2 * 16 * N, r);
	}
	for (unsigned b = 0; b < 8; b++)
		pack_high(src + 128 + b / 4 * 32, b, dst + Q6_K_HIGH + 8 * N * b, r);
}

static void widen_halves(const uint8_t *src, float *out)
{
	for (unsigned r = 0; r < N; r++)
		out[r] = half_to_f32(le_get16(src + 2 * r));
}

static void widen_nibbles(const uint8_t *src, int offset, struct kern_wide *o)
{
	for (unsigned v = 0; v < 4; v++) {
		for (unsigned i = 0; i < 4 * N; i++) {
			uint8_t byte = src[4 * N * v + i];

			o->q[v][i / 4][i % 4] = (int8_t)((byte & 15) - offset);
			o->q[4 + v][i / 4][i % 4] = (int8_t)((byte >> 4) - offset);
		}
	}
}

static void widen_q4_0(const uint8_t *src, struct kern_wide *o)
{
	memset(o, 0, sizeof(*o));
	memset(o->scale, 1, sizeof(o->scale));
	widen_halves(src, o->d);
	widen_nibbles(src + CODES_SMALL, 8, o);
}

static void widen_q8_0(const uint8_t *src, struct kern_wide *o)
{
	memset(o, 0, sizeof(*o));
	memset(o->scale, 1, sizeof(o->scale));
	widen_halves(src, o->d);
	memcpy(o->q, src + CODES_SMALL, sizeof(o->q));
}

static void widen_q4_k(const uint8_t *src, struct kern_wide *o)
{
	for (unsigned b = 0; b < 8; b++, o++) {
		widen_halves(src, o->d);
		widen_halves(src + 2 * N, o->m);
		widen_nibbles(src + Q4_K_CODES + 16 * N * b, 0, o);
		for (unsigned r = 0; r < N; r++) {
			unsigned low = src[Q4_K_LOW + N * b + r];
			unsigned high = src[Q4_K_HIGH + N * (b / 2) + r] >> b % 2 * 4;

			o->m[r] = -o->m[r];
			o->scale[0][r] = o->scale[1][r] = (int8_t)((low & 15) | (high & 3) << 4);
			o->min[0][r] = o->min[1][r] = (uint8_t)(low >> 4 | (high >> 2 & 3) << 4);
		}
	}
}

static void widen_q6_k(const uint8_t *src, struct kern_wide *o)
{
	for (unsigned b = 0; b < 8; b++, o++) {
		const uint8_t *high = src + Q6_K_HIGH + 8 * N * b;

		memset(o, 0, sizeof(*o));
		widen_halves(src, o->d);
		widen_nibbles(src + Q6_K_CODES + 16 * N * b, 32, o);
		for (unsigned g = 0; g < 8; g++) {
			for (unsigned i = 0; i < 4 * N; i++) {
				int bits = high[g / 4 * 4 * N + i] >> g % 4 * 2 & 3;

				o->q[g][i / 4][i % 4] = (int8_t)(o->q[g][i / 4][i % 4] + bits * 16);
			}
		}
		memcpy(o->scale, src + Q6_K_SCALES + 2 * N * b, sizeof(o->scale));
	}
}

static const struct {
	size_t bytes; /* of a block of a strip */
	void (*pack)(const uint8_t *src, uint8_t *dst, size_t r);
	void (*widen)(const uint8_t *src, struct kern_wide *out);
} types[QUANT_TYPE_END] = {
	[QUANT_Q4_0] = { 18 * N, pack_q4_0, widen_q4_0 },
	[QUANT_Q8_0] = { 34 * N, pack_q8_0, widen_q8_0 },
	[QUANT_Q4_K] = { 144 * N, pack_q4_k, widen_q4_k },
	[QUANT_Q6_K] = { 210 * N, pack_q6_k, widen_q6_k },
};

bool pack_knows(enum quant_type type)
{
	return types[type].bytes != 0;
}

size_t pack_block_bytes(enum quant_type type)
{
	return types[type].bytes;
}

size_t pack_strip_bytes(enum quant_type type, size_t n)
{
	assert(pack_knows(type) && n % quant_block_elements(type) == 0);
	return n / quant_block_elements(type) * types[type].bytes;
}

void pack_strip(enum quant_type type, const uint8_t *data, size_t row_bytes, size_t n_rows,
		size_t n, uint8_t *dst)
{
	const size_t blocks = n / quant_block_elements(type), bytes = quant_block_bytes(type);

	assert(pack_knows(type) && n_rows <= N);
	if (n_rows < N)
		memset(dst, 0, pack_strip_bytes(type, n));
	for (size_t b = 0; b < blocks; b++, dst += types[type].bytes) {
		for (size_t r = 0; r < n_rows; r++)
			types[type].pack(data + r * row_bytes + b * bytes, dst, r);
	}
}

void pack_widen(enum quant_type type, const uint8_t *src, struct kern_wide *out)
{
	assert(pack_knows(type));
	types[type].widen(src, out);
}
