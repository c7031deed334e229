/* codec/symbols.h - a table of codec/tables.h in the form that is fast to encode or decode with.
 *
 * Made anew for a row whose table is another than before, which is cheap next to the row. Pure; any
 * thread. */
#ifndef CODEC_SYMBOLS_H
#define CODEC_SYMBOLS_H

#include <stdint.h>

#include "codec/tables.h"

/* x / freq is x * reciprocal >> SYMBOLS_SHIFT, exactly, for x < freq << (32 - TABLES_BITS):
 * reciprocal * freq is less than freq above 2^SYMBOLS_SHIFT, which freq^2 times 2^18 is below. */
#define SYMBOLS_SHIFT (32 + TABLES_BITS)

/* Table of an element, and how many of its low bits are told as they are. */
struct symbols {
	const uint16_t *cum;
	unsigned raw;
};

struct symbols_put {
	const uint16_t *cum; /* which table this is; NULL: none yet */
	struct symbols_code {
		uint64_t reciprocal;  /* 2^SYMBOLS_SHIFT / freq, rounded up */
		uint32_t most;        /* a state above this one sheds a word first */
		uint32_t start, rest; /* rest: 2^TABLES_BITS - freq */
	} code[2 * TABLES_MOST + 1];  /* of q + TABLES_MOST */
};

#define SYMBOLS_ESCAPE 0x80

struct symbols_get {
	const uint16_t *cum;
	struct symbols_range {
		uint32_t start, freq;
	} range[2 * TABLES_MOST + 1];   /* of q + TABLES_MOST */
	uint8_t code[1 << TABLES_BITS]; /* q + TABLES_MOST, or SYMBOLS_ESCAPE, of each slot */
};

void symbols_for_put(struct symbols_put *t, const uint16_t cum[TABLES_ROW]);
void symbols_for_get(struct symbols_get *t, const uint16_t cum[TABLES_ROW]);

#endif
