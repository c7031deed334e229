/* codec/chunk.h - how many rows of a prompt travel in one frame. Agent and planner must agree.
 *
 * Pure; any thread. docs/decisions.md, 18. */
#ifndef CODEC_CHUNK_H
#define CODEC_CHUNK_H

#include "codec/codec.h"

#define CHUNK_MAX_BYTES   65536u /* of rows in a frame, if one row is not larger */
#define CHUNK_TOKEN_BYTES 4u     /* of a row, where its token is told */

/* Bytes to keep for a row, whatever codec a decision may change to. */
size_t chunk_row_room(const struct codec_spec *codec, uint32_t dim);

/* Rows of a full chunk: what travels well, but enough for the layers, at least one and at most
 * `most`; in `room` bytes (SIZE_MAX: not known). */
uint32_t chunk_rows(const struct codec_spec *codec, uint32_t dim, size_t room, uint32_t most);

#endif
