/* codec/loop_lanes.h - put and get of a struct loop, in plain C. Included once by a file per
 * instruction set.
 *
 * States stay in registers, and nothing branches on the data but the rare element without a symbol:
 * whether a word moves is arithmetic. */
#include <string.h>

#include "base/le.h"
#include "codec/loop.h"

#define INLINE static inline __attribute__((always_inline))

#define BLOCK  16 /* elements that are looked at together for one without a symbol */

/* As le_put16 and le_get16, whose two bytes the compiler does not join here. */
INLINE void put_word(uint8_t *at, uint16_t word)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	memcpy(at, &word, sizeof(word));
#else
	le_put16(at, word);
#endif
}

INLINE uint32_t get_word(const uint8_t *at)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	uint16_t word;

	memcpy(&word, at, sizeof(word));
	return word;
#else
	return le_get16(at);
#endif
}

INLINE uint32_t put_one(uint32_t x, const struct symbols_code *c, uint8_t **at)
{
	const uint64_t sheds = -(uint64_t)(c->most < x); /* all ones, or none */

	put_word(*at - 2, (uint16_t)x);
	*at += 2 * (int64_t)sheds;
	x >>= 16 & sheds;
	return x + (uint32_t)(x * c->reciprocal >> SYMBOLS_SHIFT) * c->rest + c->start;
}

typedef int16_t eight __attribute__((vector_size(16)));

/* Has none of q[0..BLOCK) too large a magnitude for a symbol? */
INLINE bool all_small(const int16_t *q)
{
	const eight most = (eight){ 0 } + TABLES_MOST;
	uint64_t half[2];
	eight a, b;

	memcpy(&a, q, sizeof(a));
	memcpy(&b, q + 8, sizeof(b));
	a = (a > most) | (a < -most) | (b > most) | (b < -most);
	memcpy(half, &a, sizeof(half));
	return !(half[0] | half[1]);
}

INLINE bool is_small(int q)
{
	return q >= -TABLES_MOST && q <= TABLES_MOST;
}

INLINE size_t put_lanes(struct rans_out *o, const unsigned lanes, const struct symbols_put *t,
			const int16_t *q, size_t first, size_t i)
{
	const struct symbols_code *const zero = t->code + TABLES_MOST;
	uint8_t *const least = o->begin + 2 * BLOCK;
	uint32_t x[RANS_LANES] = { o->x[0], o->x[1], o->x[2], o->x[3] };
	uint8_t *at = o->at;

	while (i > first && at >= least) {
		size_t n = BLOCK;

		if (i < first + BLOCK || !all_small(q + i - BLOCK)) {
			for (n = 0; n < lanes && is_small(q[i - 1 - n]);)
				n++;
			if (n < lanes)
				break;
		}
		for (const size_t stop = i - n; i > stop; i -= lanes) {
			for (unsigned lane = lanes; lane-- > 0;)
				x[lane] = put_one(x[lane], zero + q[i - lanes + lane], &at);
		}
	}
	for (unsigned lane = 0; lane < lanes; lane++)
		o->x[lane] = x[lane];
	o->at = at;
	return i;
}

static size_t put(struct rans_out *o, unsigned lanes, const struct symbols_put *t, const int16_t *q,
		  size_t first, size_t i)
{
	return lanes == 1 ? put_lanes(o, 1, t, q, first, i)
			  : put_lanes(o, RANS_LANES, t, q, first, i);
}

INLINE uint32_t get_one(uint32_t x, const struct symbols_range *r, const uint8_t **at)
{
	uint32_t takes;

	x = r->freq * (x >> TABLES_BITS) + (x & RANS_MASK) - r->start;
	takes = -(uint32_t)(x < RANS_LOW);
	x = x << (16 & takes) | (get_word(*at) & takes);
	*at += 2 & takes;
	return x;
}

INLINE size_t get_lanes(struct rans_in *in, const unsigned lanes, const struct symbols_get *t,
			int16_t *q, size_t i, size_t dim)
{
	uint32_t x[RANS_LANES] = { in->x[0], in->x[1], in->x[2], in->x[3] };
	const uint8_t *at = in->at;

	for (; i + lanes <= dim && in->end - at >= (ptrdiff_t)(2 * lanes); i += lanes) {
		unsigned lane = 0;

		for (; lane < lanes; lane++) {
			const unsigned code = t->code[x[lane] & RANS_MASK];

			if (code & SYMBOLS_ESCAPE)
				break;
			q[i + lane] = (int16_t)((int)code - TABLES_MOST);
			x[lane] = get_one(x[lane], &t->range[code], &at);
		}
		if (lane < lanes) {
			i += lane;
			break;
		}
	}
	for (unsigned lane = 0; lane < lanes; lane++)
		in->x[lane] = x[lane];
	in->at = at;
	return i;
}

static size_t get(struct rans_in *in, unsigned lanes, const struct symbols_get *t, int16_t *q,
		  size_t i, size_t dim)
{
	return lanes == 1 ? get_lanes(in, 1, t, q, i, dim)
			  : get_lanes(in, RANS_LANES, t, q, i, dim);
}
