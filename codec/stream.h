/* codec/stream.h - the integers of some rows <-> an entropy-coded stream.
 *
 * Tables are static (codec/tables.h); which of them an element belongs to follows from what
 * travels with its row and from its class. What travels with a row is told as its difference to
 * the row before. The layout is in schema/PROTOCOL.md, section "Codecs".
 * Pure, allocates nothing; any thread. */
#ifndef CODEC_STREAM_H
#define CODEC_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "codec/row.h"

/* What the row before said; both ends have the same. */
struct stream_before {
	bool any; /* false: there was none, the first row says all of it */
	uint16_t step;
	uint8_t gain, shape;
};

/* rows [n] of dim elements -> the end of buf[0..cap): *begin is where the stream begins. False when
 * it does not fit. *before is moved on. */
MUST_CHECK bool stream_put(const struct row *rows, size_t n, size_t dim, const int8_t *class,
			   struct stream_before *before, uint8_t *buf, size_t cap, uint8_t **begin);

/* src[0..len) -> rows [n], whose q and outliers have room. *before is moved on. ERR_FORMAT when
 * the bytes are no such stream; then rows and *before hold nothing of use. */
MUST_CHECK int stream_get(struct row *rows, size_t n, size_t dim, const int8_t *class,
			  struct stream_before *before, const uint8_t *src, size_t len);

#endif
