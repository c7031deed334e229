/* codec/rans.h - range asymmetric numeral systems: symbols of known probability <-> 16-bit words.
 *
 * A coder has up to RANS_LANES states that take turns, so that a processor can work on several at
 * once; they share one stream of words. Encoding goes backwards, from the last symbol to the
 * first, and writes from the end of the buffer towards its begin; decoding reads it forwards. All
 * arithmetic is on integers: the same bytes on every machine. Pure; any thread.
 *
 * What a lane starts from is free, and comes back at the end of decoding: 16 bits that need not
 * travel otherwise, or a small number, so that a stream that says little is short.
 * Source: J. Duda, arXiv 1311.2540; interleaving: F. Giesen, arXiv 1402.3392. */
#ifndef CODEC_RANS_H
#define CODEC_RANS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "codec/tables.h"

#define RANS_LANES    4
#define RANS_LOW      (1u << 16) /* a state is in [RANS_LOW, 2^32) while words remain */
#define RANS_MASK     ((1u << TABLES_BITS) - 1)
#define RANS_PAYLOAD  16          /* bits that the first state of a lane can carry */
#define RANS_RAW_BITS TABLES_BITS /* most bits of one rans_put_raw */

struct rans_out {
	uint32_t x[RANS_LANES];
	uint8_t *begin, *at, *end; /* bytes [at, end) are written */
	bool full;                 /* the buffer was too small: what is written means nothing */
};

struct rans_in {
	uint32_t x[RANS_LANES];
	const uint8_t *at, *end;
	bool bad; /* something was decoded that no encoder says */
};

static inline void rans_put(struct rans_out *o, unsigned lane, uint32_t start, uint32_t freq)
{
	uint32_t x = o->x[lane];

	if (x >= freq << (32 - TABLES_BITS)) {
		if (o->at - o->begin < 2) {
			o->full = true;
			return;
		}
		o->at -= 2;
		o->at[0] = (uint8_t)x;
		o->at[1] = (uint8_t)(x >> 8);
		x >>= 16;
	}
	o->x[lane] = ((x / freq) << TABLES_BITS) + x % freq + start;
}

/* The low `bits` (1..RANS_RAW_BITS) of v, all values alike. */
static inline void rans_put_raw(struct rans_out *o, unsigned lane, uint32_t v, unsigned bits)
{
	uint32_t freq = 1u << (TABLES_BITS - bits);

	rans_put(o, lane, v * freq, freq);
}

/* What the next symbol of this lane is told by; then rans_skip(). */
static inline uint32_t rans_slot(const struct rans_in *in, unsigned lane)
{
	return in->x[lane] & RANS_MASK;
}

static inline void rans_skip(struct rans_in *in, unsigned lane, uint32_t start, uint32_t freq)
{
	uint32_t x = in->x[lane];

	x = freq * (x >> TABLES_BITS) + (x & RANS_MASK) - start;
	if (x < RANS_LOW && in->end - in->at >= 2) {
		x = x << 16 | (uint32_t)in->at[1] << 8 | in->at[0];
		in->at += 2;
	}
	in->x[lane] = x;
}

static inline uint32_t rans_get_raw(struct rans_in *in, unsigned lane, unsigned bits)
{
	uint32_t freq = 1u << (TABLES_BITS - bits), v = rans_slot(in, lane) / freq;

	rans_skip(in, lane, v * freq, freq);
	return v;
}

/* The symbol that slot belongs to: how many of cum[1..32] are <= slot. */
static inline unsigned rans_find_ref(const uint16_t cum[TABLES_ROW], uint32_t slot)
{
	unsigned n = 0;

	for (unsigned i = 1; i < TABLES_ROW; i++)
		n += cum[i] <= slot;
	return n;
}

#if defined(__AVX2__)
typedef short rans_v16 __attribute__((vector_size(32)));

/* p[0..16) > v */
static inline rans_v16 rans_above(const uint16_t *p, rans_v16 v)
{
	rans_v16 sums;

	memcpy(&sums, p, sizeof(sums));
	return sums > v;
}

static inline unsigned rans_find(const uint16_t cum[TABLES_ROW], uint32_t slot)
{
	const rans_v16 v = (rans_v16){ 0 } + (short)slot;
	const uint32_t above = (uint32_t)__builtin_ia32_pmovmskb256(
		__builtin_ia32_packsswb256(rans_above(cum + 1, v), rans_above(cum + 17, v)));

	return TABLES_ROW - 1 - (unsigned)__builtin_popcount(above); /* in whatever order */
}
#elif defined(__SSE2__)
typedef short rans_v8 __attribute__((vector_size(16)));

/* p[0..8) > v */
static inline rans_v8 rans_above(const uint16_t *p, rans_v8 v)
{
	rans_v8 sums;

	memcpy(&sums, p, sizeof(sums));
	return sums > v;
}

static inline unsigned rans_find(const uint16_t cum[TABLES_ROW], uint32_t slot)
{
	const rans_v8 v = (rans_v8){ 0 } + (short)slot;
	const uint32_t low = (uint32_t)__builtin_ia32_pmovmskb128(
		__builtin_ia32_packsswb128(rans_above(cum + 1, v), rans_above(cum + 9, v)));
	const uint32_t high = (uint32_t)__builtin_ia32_pmovmskb128(
		__builtin_ia32_packsswb128(rans_above(cum + 17, v), rans_above(cum + 25, v)));

	return (unsigned)__builtin_ctz(low | high << 16); /* the last sum is above any slot */
}
#else
static inline unsigned rans_find(const uint16_t cum[TABLES_ROW], uint32_t slot)
{
	return rans_find_ref(cum, slot);
}
#endif

/* Lanes for rows of dim elements: several only where their first states cost little. */
unsigned rans_lanes(size_t dim);

/* Begin to write at the end of buf[0..cap). start[lane] comes back at the end of decoding: in
 * [RANS_LOW, 2 RANS_LOW), or below for a stream of few bits. */
void rans_begin(struct rans_out *o, uint8_t *buf, size_t cap, unsigned lanes,
		const uint32_t *start);

/* Write the states. Returns the begin of the stream, NULL when the buffer was too small. */
uint8_t *rans_end(struct rans_out *o, unsigned lanes);

/* Read the states from src[0..len). False when they are not there, or no states. */
bool rans_open(struct rans_in *in, const uint8_t *src, size_t len, unsigned lanes);

/* All was read, no more and no less: true, and start[lane] is what rans_begin got. */
bool rans_close(const struct rans_in *in, unsigned lanes, uint32_t *start);

#endif
