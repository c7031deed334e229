/* engine/vec_bytes.h - sixteen bytes in an SSE register: the part of the vocabulary that the x86
 * vectors share. Included by vec_avx2.h and vec_avx512.h, after struct vb. */
#ifndef ENGINE_VEC_BYTES_H
#define ENGINE_VEC_BYTES_H

static inline struct vb vb_load(const uint8_t *p)
{
	return (struct vb){ _mm_loadu_si128((const __m128i *)p) };
}

static inline void vb_store(int8_t *p, struct vb a)
{
	_mm_storeu_si128((__m128i *)p, a.v);
}

static inline struct vb vb_set(int8_t x)
{
	return (struct vb){ _mm_set1_epi8(x) };
}

static inline struct vb vb_and(struct vb a, struct vb b)
{
	return (struct vb){ _mm_and_si128(a.v, b.v) };
}

static inline struct vb vb_or(struct vb a, struct vb b)
{
	return (struct vb){ _mm_or_si128(a.v, b.v) };
}

static inline struct vb vb_sub(struct vb a, struct vb b)
{
	return (struct vb){ _mm_sub_epi8(a.v, b.v) };
}

/* Bits of 16-bit pairs: the caller masks off what crosses from the neighbouring byte. */
static inline struct vb vb_shr(struct vb a, unsigned n)
{
	return (struct vb){ _mm_srl_epi16(a.v, _mm_cvtsi32_si128((int)n)) };
}

static inline struct vb vb_shl(struct vb a, unsigned n)
{
	return (struct vb){ _mm_sll_epi16(a.v, _mm_cvtsi32_si128((int)n)) };
}

/* table[index], index < 16. */
static inline struct vb vb_lookup(struct vb table, struct vb index)
{
	return (struct vb){ _mm_shuffle_epi8(table.v, index.v) };
}

/* One half-precision number. */
static inline float vec_f16(const uint8_t *p)
{
	return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(p[0] | p[1] << 8)));
}

#endif
