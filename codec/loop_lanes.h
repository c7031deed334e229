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

/* The state before a symbol is added to it: at most `most`. */
INLINE uint32_t shed(uint32_t x, uint32_t most, uint8_t **at)
{
	const uint32_t sheds = 16 & -(uint32_t)(most < x);

	put_word(*at - 2, (uint16_t)x);
	*at -= sheds >> 3;
	return x >> sheds;
}

INLINE uint32_t put_one(uint32_t x, const struct symbols_code *c, uint8_t **at)
{
	x = shed(x, c->most, at);
	return x + (uint32_t)(x * c->reciprocal >> SYMBOLS_SHIFT) * c->rest + c->start;
}

/* folds: its sign, if it has one, is told elsewhere. */
INLINE uint32_t put_divided(uint32_t x, const uint16_t *cum, int q, unsigned folds, uint8_t **at)
{
	const unsigned symbol = (unsigned)((2 * q) ^ (q >> 31)); /* 0, -1, 1, -2, ... */
	const unsigned both = folds & (q != 0), first = symbol - (both & ~symbol);
	const uint32_t freq = (uint32_t)cum[first + 1 + both] - cum[first];

	x = shed(x, (freq << (32 - TABLES_BITS)) - 1, at);
	return x + x / freq * ((1u << TABLES_BITS) - freq) + cum[first];
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

/* How many elements before q[i] may be encoded without a look at any: a block, a round of the
 * lanes, or none. */
INLINE size_t put_many(const int16_t *q, size_t first, size_t i, const unsigned lanes, size_t room)
{
	if (i >= first + BLOCK && room >= 2 * BLOCK && all_small(q + i - BLOCK))
		return BLOCK;
	if (i <= first || room < 2 * lanes)
		return 0;
	for (size_t n = 1; n <= lanes; n++) {
		if (q[i - n] > TABLES_MOST || q[i - n] < -TABLES_MOST)
			return 0;
	}
	return lanes;
}

/* By one table t, or, where that is NULL, each by its own. */
INLINE size_t put_lanes(struct rans_out *o, const unsigned lanes, const struct symbols_put *t,
			const struct symbols *by, const int8_t *class, const size_t *stop,
			const int16_t *q, size_t first, size_t i)
{
	uint32_t x[RANS_LANES] = { o->x[0], o->x[1], o->x[2], o->x[3] };
	uint8_t *const begin = o->begin, *at = o->at;
	size_t n;

	while ((n = put_many(q, first, i, lanes, (size_t)(at - begin)))) {
		for (const size_t until = i - n; i > until; i -= lanes) {
			for (unsigned lane = lanes; lane-- > 0;) {
				const size_t j = i - lanes + lane;

				x[lane] = t ? put_one(x[lane], t->code + TABLES_MOST + q[j], &at)
					    : put_divided(x[lane], by[class ? class[j] : 0].cum,
							  q[j], stop && j < stop[lane], &at);
			}
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
	return lanes == 1 ? put_lanes(o, 1, t, NULL, NULL, NULL, q, first, i)
			  : put_lanes(o, RANS_LANES, t, NULL, NULL, NULL, q, first, i);
}

static size_t put_each(struct rans_out *o, unsigned lanes, const struct symbols *by,
		       const int8_t *class, const size_t *stop, const int16_t *q, size_t first,
		       size_t i)
{
	if (lanes == 1)
		return put_lanes(o, 1, NULL, by, class, stop, q, first, i);
	return stop ? put_lanes(o, RANS_LANES, NULL, by, class, stop, q, first, i)
		    : put_lanes(o, RANS_LANES, NULL, by, class, NULL, q, first, i);
}

/* end: NULL where there are words enough. */
INLINE uint32_t get_one(uint32_t x, uint32_t start, uint32_t freq, const uint8_t **at,
			const uint8_t *end)
{
	uint32_t takes;

	x = freq * (x >> TABLES_BITS) + (x & RANS_MASK) - start;
	if (end && (x >= RANS_LOW || end - *at < 2))
		return x;
	takes = -(uint32_t)(x < RANS_LOW); /* all ones, or none */
	x = x << (16 & takes) | (get_word(*at) & takes);
	*at += 2 & takes;
	return x;
}

INLINE size_t get_lanes(struct rans_in *in, const unsigned lanes, const struct symbols_get *t,
			int16_t *q, size_t i, size_t dim)
{
	uint32_t x[RANS_LANES] = { in->x[0], in->x[1], in->x[2], in->x[3] };
	const uint8_t *at = in->at;
	unsigned lane = 0;

	for (; i + lanes <= dim && in->end - at >= (ptrdiff_t)(2 * lanes); i += lanes) {
		for (lane = 0; lane < lanes; lane++) {
			const unsigned code = t->code[x[lane] & RANS_MASK];

			if (code & SYMBOLS_ESCAPE)
				goto out;
			q[i + lane] = (int16_t)((int)code - TABLES_MOST);
			x[lane] = get_one(x[lane], t->range[code].start, t->range[code].freq, &at,
					  NULL);
		}
	}
	lane = 0;
out:
	for (unsigned n = 0; n < lanes; n++)
		in->x[n] = x[n];
	in->at = at;
	return i + lane;
}

static size_t get(struct rans_in *in, unsigned lanes, const struct symbols_get *t, int16_t *q,
		  size_t i, size_t dim)
{
	return lanes == 1 ? get_lanes(in, 1, t, q, i, dim)
			  : get_lanes(in, RANS_LANES, t, q, i, dim);
}

INLINE size_t get_found(struct rans_in *in, const unsigned lanes, const struct symbols *by,
			const int8_t *class, struct loop_fold *fold, int16_t *q, size_t i,
			size_t dim, const uint8_t *end)
{
	uint32_t x[RANS_LANES] = { in->x[0], in->x[1], in->x[2], in->x[3] };
	const uint8_t *at = in->at;
	unsigned lane = 0;

	for (; i + lanes <= dim && (end || in->end - at >= (ptrdiff_t)(2 * lanes)); i += lanes) {
		if (fold && fold->full == lanes)
			break;
		for (lane = 0; lane < lanes; lane++) {
			const uint16_t *cum = by[class ? class[i + lane] : 0].cum;
			const unsigned symbol = rans_find(cum, x[lane] & RANS_MASK);
			unsigned both = 0, first;

			if (symbol == TABLES_ESCAPE)
				goto out;
			if (fold) {
				both = symbol && fold->taken[lane] < RANS_PAYLOAD;
				fold->taken[lane] += both;
				fold->full += both & (fold->taken[lane] == RANS_PAYLOAD);
			}
			first = symbol - (both & ~symbol);
			q[i + lane] = (int16_t)(((first + both) >> 1) ^ -((first + both) & 1));
			x[lane] = get_one(x[lane], cum[first],
					  (uint32_t)cum[first + 1 + both] - cum[first], &at, end);
		}
	}
	lane = 0;
out:
	for (unsigned n = 0; n < lanes; n++)
		in->x[n] = x[n];
	in->at = at;
	return i + lane;
}

static size_t get_each(struct rans_in *in, unsigned lanes, const struct symbols *by,
		       const int8_t *class, struct loop_fold *fold, int16_t *q, size_t i,
		       size_t dim)
{
	if (in->end - in->at < (ptrdiff_t)(2 * lanes))
		return get_found(in, lanes, by, class, fold, q, i, dim, in->end);
	if (lanes == 1)
		return get_found(in, 1, by, class, fold, q, i, dim, NULL);
	return fold ? get_found(in, RANS_LANES, by, class, fold, q, i, dim, NULL)
		    : get_found(in, RANS_LANES, by, class, NULL, q, i, dim, NULL);
}
