/* codec/plain.h - rows of floats <-> bytes, each row by itself: the simple codecs.
 *
 * Pure, allocates nothing, the same bytes on every machine. Any thread. The layout is in
 * schema/PROTOCOL.md, section "Codecs". */
#ifndef CODEC_PLAIN_H
#define CODEC_PLAIN_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Numbers travel in frames. */
enum plain_id { PLAIN_F32 = 0, PLAIN_F16 = 1, PLAIN_Q8 = 2, PLAIN_Q4 = 3, PLAIN_COUNT };

/* "f32", "f16", "q8", "q4". */
const char *plain_name(enum plain_id id);

/* Bytes that rows rows of dim elements take. */
size_t plain_bound(enum plain_id id, size_t dim, size_t rows);

/* x [rows][dim] f32 -> dst[cap], *len bytes. cap >= plain_bound(). ERR_NOT_FINITE (naming row and
 * element in e) when a value is NaN or infinite, or would decode as infinite; nothing is written
 * then. ERR_LIMIT when cap is too small. */
MUST_CHECK int plain_encode(enum plain_id id, const float *x, size_t dim, size_t rows, uint8_t *dst,
			    size_t cap, size_t *len, struct err *e);

/* src[len] -> x [rows][dim]. id, dim and rows are the frame's claims: ERR_FORMAT when len does not
 * match them, ERR_UNSUPPORTED for an unknown id, ERR_NOT_FINITE when a decoded value is not finite;
 * x holds nothing of use then. */
MUST_CHECK int plain_decode(unsigned id, const uint8_t *src, size_t len, size_t dim, size_t rows,
			    float *x, struct err *e);

#endif
