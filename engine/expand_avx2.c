/* kern.expand for AVX2 and F16C.
 *
 * The codes of one row's block are one vector, its 16 low elements below the 16 high ones. Eight of
 * them, of eight rows, are transposed by groups of four codes. Layouts: quant_small.c and
 * quant_super.c. */
#include "engine/expand.h"

#include <immintrin.h>
#include <string.h>

#include "base/le.h"
#include "engine/quant_block.h"

#define INLINE static inline __attribute__((always_inline))

/* Codes of block b of 32 of the block at src. */
typedef __m256i codes_fn(const uint8_t *src, unsigned b);

/* All else of the block at src of row r. */
struct heads {
	uint16_t d[KERN_STRIP], m[KERN_STRIP];
};
typedef void head_fn(const uint8_t *src, unsigned r, struct heads *o, struct kern_wide *out);

/* How a type lies in memory. */
struct form {
	unsigned bytes, per; /* of a block, and blocks of 32 in it */
	codes_fn *codes;
	head_fn *head;
	bool mins, negative; /* it has m; m is what is subtracted */
};

INLINE __m256i load(const uint8_t *p)
{
	return _mm256_loadu_si256((const void *)p);
}

INLINE __m256i set(int8_t v)
{
	return _mm256_set1_epi8(v);
}

INLINE __m256i nibbles(const uint8_t *p)
{
	__m128i v = _mm_loadu_si128((const void *)p);

	return _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(v, 4), v), set(15));
}

/* Bits [at, at + n) of each byte, mask = 2^n - 1. */
INLINE __m256i bits_at(__m256i v, unsigned at, int8_t mask)
{
	return _mm256_and_si256(_mm256_srl_epi16(v, _mm_cvtsi32_si128((int)at)), set(mask));
}

/* 16 in the bytes whose bit of mask is set. */
INLINE __m256i fifth_bits(uint32_t mask)
{
	const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201u);
	const __m256i spread =
		_mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
	__m256i v = _mm256_shuffle_epi8(_mm256_set1_epi32((int)mask), spread);

	return _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(v, bit), bit), set(16));
}

INLINE __m256i levels(__m256i v)
{
	const __m128i table = _mm_loadu_si128((const void *)quant_block_iq4_levels);

	return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), v);
}

INLINE __m256i codes_q4_0(const uint8_t *src, unsigned b)
{
	(void)b;
	return _mm256_sub_epi8(nibbles(src + 2), set(8));
}

INLINE __m256i codes_q8_0(const uint8_t *src, unsigned b)
{
	(void)b;
	return load(src + 2);
}

INLINE __m256i codes_q4_1(const uint8_t *src, unsigned b)
{
	(void)b;
	return nibbles(src + 4);
}

INLINE __m256i codes_q5_0(const uint8_t *src, unsigned b)
{
	(void)b;
	return _mm256_sub_epi8(_mm256_or_si256(nibbles(src + 6), fifth_bits(le_get32(src + 2))),
			       set(16));
}

INLINE __m256i codes_q5_1(const uint8_t *src, unsigned b)
{
	(void)b;
	return _mm256_or_si256(nibbles(src + 8), fifth_bits(le_get32(src + 4)));
}

INLINE __m256i codes_iq4_nl(const uint8_t *src, unsigned b)
{
	(void)b;
	return levels(nibbles(src + 2));
}

INLINE __m256i codes_q2_k(const uint8_t *src, unsigned b)
{
	return bits_at(load(src + 16 + b / 4 * 32), b % 4 * 2, 3);
}

INLINE __m256i codes_q3_k(const uint8_t *src, unsigned b)
{
	__m256i low = bits_at(load(src + 32 + b / 4 * 32), b % 4 * 2, 3);
	__m256i high = _mm256_slli_epi16(bits_at(load(src), b, 1), 2);

	return _mm256_sub_epi8(_mm256_or_si256(low, high), set(4));
}

INLINE __m256i codes_q4_k(const uint8_t *src, unsigned b)
{
	return bits_at(load(src + 16 + b / 2 * 32), b % 2 * 4, 15);
}

INLINE __m256i codes_q6_k(const uint8_t *src, unsigned b)
{
	__m256i low = bits_at(load(src + 64 * (b / 4) + 32 * (b % 2)), b % 4 / 2 * 4, 15);
	__m256i high = bits_at(load(src + 128 + 32 * (b / 4)), b % 4 * 2, 3);

	return _mm256_sub_epi8(_mm256_or_si256(low, _mm256_slli_epi16(high, 4)), set(32));
}

INLINE __m256i codes_q5_k(const uint8_t *src, unsigned b)
{
	__m256i low = bits_at(load(src + 48 + b / 2 * 32), b % 2 * 4, 15);

	return _mm256_or_si256(low, _mm256_slli_epi16(bits_at(load(src + 16), b, 1), 4));
}

INLINE __m256i codes_iq4_xs(const uint8_t *src, unsigned b)
{
	return levels(nibbles(src + 8 + 16 * b));
}

/* Scales and minimums of all rows are 1. */
INLINE void ones(struct kern_wide *out)
{
	const __m256i one = set(1);

	_mm256_storeu_si256((void *)out->scale, one);
	_mm256_storeu_si256((void *)out->min, one);
}

INLINE void head_step(const uint8_t *src, unsigned r, struct heads *o, struct kern_wide *out)
{
	memcpy(&o->d[r], src, 2);
	if (r == 0)
		ones(out);
}

INLINE void head_step_min(const uint8_t *src, unsigned r, struct heads *o, struct kern_wide *out)
{
	head_step(src, r, o, out);
	memcpy(&o->m[r], src + 2, 2);
}

INLINE void head_q2_k(const uint8_t *src, unsigned r, struct heads *o, struct kern_wide *out)
{
	for (unsigned i = 0; i < 16; i++) {
		out[i / 2].scale[i % 2][r] = (int8_t)(src[i] & 15);
		out[i / 2].min[i % 2][r] = src[i] >> 4;
	}
	memcpy(&o->d[r], src + 80, 2);
	memcpy(&o->m[r], src + 82, 2);
}

INLINE void head_q3_k(const uint8_t *src, unsigned r, struct heads *o, struct kern_wide *out)
{
	for (unsigned i = 0; i < 16; i++)
		out[i / 2].scale[i % 2][r] = (int8_t)(quant_block_scale6(src + 96, i) - 32);
	for (unsigned b = 0; b < 8 && r == 0; b++)
		memset(out[b].min, 1, sizeof(out[b].min));
	memcpy(&o->d[r], src + 108, 2);
}

INLINE void head_q45_k(const uint8_t *src, unsigned r, struct heads *o, struct kern_wide *out)
{
	for (unsigned b = 0; b < 8; b++) {
		int scale, min;

		quant_block_scale_min6(src + 4, b, &scale, &min);
		out[b].scale[0][r] = out[b].scale[1][r] = (int8_t)scale;
		out[b].min[0][r] = out[b].min[1][r] = (uint8_t)min;
	}
	memcpy(&o->d[r], src, 2);
	memcpy(&o->m[r], src + 2, 2);
}

INLINE void head_q6_k(const uint8_t *src, unsigned r, struct heads *o, struct kern_wide *out)
{
	for (unsigned b = 0; b < 8; b++) {
		out[b].scale[0][r] = (int8_t)src[192 + 2 * b];
		out[b].scale[1][r] = (int8_t)src[193 + 2 * b];
		if (r == 0)
			memset(out[b].min, 1, sizeof(out[b].min));
	}
	memcpy(&o->d[r], src + 208, 2);
}

INLINE void head_iq4_xs(const uint8_t *src, unsigned r, struct heads *o, struct kern_wide *out)
{
	unsigned high = le_get16(src + 2);

	for (unsigned b = 0; b < 8; b++) {
		unsigned low = src[4 + b / 2] >> b % 2 * 4 & 15;

		out[b].scale[0][r] = out[b].scale[1][r] =
			(int8_t)((int)(low | (high >> 2 * b & 3) << 4) - 32);
		if (r == 0)
			memset(out[b].min, 1, sizeof(out[b].min));
	}
	memcpy(&o->d[r], src, 2);
}

INLINE __m256 floats(const uint16_t *halves, bool negative)
{
	__m256 v = _mm256_cvtph_ps(_mm_loadu_si128((const void *)halves));

	return negative ? _mm256_xor_ps(v, _mm256_set1_ps(-0.0f)) : v;
}

/* Heads of 16 rows. */
INLINE void put_heads(const struct form *f, const uint8_t *src, size_t row_bytes,
		      struct kern_wide *out)
{
	struct heads h = { 0 };

	for (unsigned r = 0; r < KERN_STRIP; r++)
		f->head(src + r * row_bytes, r, &h, out);
	for (unsigned i = 0; i < KERN_STRIP; i += 8) {
		__m256 d = floats(h.d + i, false);
		__m256 m = f->mins ? floats(h.m + i, f->negative) : _mm256_setzero_ps();

		for (unsigned b = 0; b < f->per; b++) {
			_mm256_storeu_ps(out[b].d + i, d);
			_mm256_storeu_ps(out[b].m + i, m);
		}
	}
}

/* v[row] of eight groups of four codes -> v[group] of eight rows. */
INLINE void transpose(__m256i v[8])
{
	__m256i a[8], b[8];

	for (unsigned i = 0; i < 8; i += 2) {
		a[i] = _mm256_unpacklo_epi32(v[i], v[i + 1]);
		a[i + 1] = _mm256_unpackhi_epi32(v[i], v[i + 1]);
	}
	for (unsigned i = 0; i < 8; i += 4) { /* b[i + g]: groups g and g + 4 of four rows */
		b[i] = _mm256_unpacklo_epi64(a[i], a[i + 2]);
		b[i + 1] = _mm256_unpackhi_epi64(a[i], a[i + 2]);
		b[i + 2] = _mm256_unpacklo_epi64(a[i + 1], a[i + 3]);
		b[i + 3] = _mm256_unpackhi_epi64(a[i + 1], a[i + 3]);
	}
	for (unsigned g = 0; g < 4; g++) {
		v[g] = _mm256_permute2x128_si256(b[g], b[g + 4], 0x20);
		v[g + 4] = _mm256_permute2x128_si256(b[g], b[g + 4], 0x31);
	}
}

/* Block b of rows r .. r + 7. */
INLINE void put_codes(const struct form *f, const uint8_t *src, size_t row_bytes, unsigned b,
		      unsigned r, struct kern_wide *out)
{
	__m256i v[8];

	for (unsigned i = 0; i < 8; i++)
		v[i] = f->codes(src + (r + i) * row_bytes, b);
	transpose(v);
	for (unsigned g = 0; g < 8; g++)
		_mm256_storeu_si256((void *)out[b].q[g][r], v[g]);
}

/* The same blocks of the next 16 rows, which come next as a rule, are asked for. */
INLINE void expand(struct form f, const uint8_t *data, size_t row_bytes, size_t n,
		   struct kern_wide *out)
{
	for (size_t i = 0; i < n / 32; i += f.per, data += f.bytes) {
		for (unsigned r = 0; r < KERN_STRIP; r++) {
			const uint8_t *next = data + (KERN_STRIP + r) * row_bytes;

			for (unsigned at = 0; at < f.bytes; at += 64)
				_mm_prefetch((const void *)(next + at), _MM_HINT_T1);
		}
		put_heads(&f, data, row_bytes, out + i);
		for (unsigned b = 0; b < f.per; b++) {
			put_codes(&f, data, row_bytes, b, 0, out + i);
			put_codes(&f, data, row_bytes, b, 8, out + i);
		}
	}
}

#define EXPAND(type, ...)                                                                          \
	static void expand_##type(const uint8_t *data, size_t row_bytes, size_t n,                 \
				  struct kern_wide *out)                                           \
	{                                                                                          \
		expand((struct form){ __VA_ARGS__ }, data, row_bytes, n, out);                     \
	}

EXPAND(q4_0, 18, 1, codes_q4_0, head_step, false, false)
EXPAND(q8_0, 34, 1, codes_q8_0, head_step, false, false)
EXPAND(q4_1, 20, 1, codes_q4_1, head_step_min, true, false)
EXPAND(q5_0, 22, 1, codes_q5_0, head_step, false, false)
EXPAND(q5_1, 24, 1, codes_q5_1, head_step_min, true, false)
EXPAND(iq4_nl, 18, 1, codes_iq4_nl, head_step, false, false)
EXPAND(q2_k, 84, 8, codes_q2_k, head_q2_k, true, true)
EXPAND(q3_k, 110, 8, codes_q3_k, head_q3_k, false, false)
EXPAND(q4_k, 144, 8, codes_q4_k, head_q45_k, true, true)
EXPAND(q6_k, 210, 8, codes_q6_k, head_q6_k, false, false)
EXPAND(q5_k, 176, 8, codes_q5_k, head_q45_k, true, true)
EXPAND(iq4_xs, 136, 8, codes_iq4_xs, head_iq4_xs, false, false)
#undef EXPAND

/* Only one strip of a matrix may be shorter than 16 rows. */
void expand_avx2(enum quant_type type, const uint8_t *data, size_t row_bytes, size_t n_rows,
		 size_t n, struct kern_wide *out)
{
	static void (*const types[QUANT_TYPE_END])(const uint8_t *data, size_t row_bytes, size_t n,
						   struct kern_wide *out) = {
		[QUANT_Q4_0] = expand_q4_0, [QUANT_Q4_1] = expand_q4_1,
		[QUANT_Q5_0] = expand_q5_0, [QUANT_Q5_1] = expand_q5_1,
		[QUANT_Q8_0] = expand_q8_0, [QUANT_IQ4_NL] = expand_iq4_nl,
		[QUANT_Q2_K] = expand_q2_k, [QUANT_Q3_K] = expand_q3_k,
		[QUANT_Q4_K] = expand_q4_k, [QUANT_Q5_K] = expand_q5_k,
		[QUANT_Q6_K] = expand_q6_k, [QUANT_IQ4_XS] = expand_iq4_xs,
	};

	if (n_rows == KERN_STRIP)
		types[type](data, row_bytes, n, out);
	else
		expand_rows(type, data, row_bytes, n_rows, n, out);
}
