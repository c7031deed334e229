/* codec/packed.h - the integers of some rows <-> bits packed side by side, no statistics.
 *
 * What is kept when the entropy stage gains nothing, or is not wanted; and what LZ4 looks for
 * repetitions in. The layout is in schema/PROTOCOL.md, section "Codecs". Pure; any thread. */
#ifndef CODEC_PACKED_H
#define CODEC_PACKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "codec/row.h"

/* Most bytes that rows of dim elements take. */
size_t packed_bound(size_t dim, size_t rows);

/* Bytes that these rows take. */
size_t packed_len(const struct row *rows, size_t n, size_t dim);

/* rows [n] -> dst[packed_len()]. */
void packed_put(const struct row *rows, size_t n, size_t dim, uint8_t *dst);

/* src[0..len) -> rows [n], whose q and outliers have room. ERR_FORMAT. */
MUST_CHECK int packed_get(struct row *rows, size_t n, size_t dim, const uint8_t *src, size_t len);

#endif
