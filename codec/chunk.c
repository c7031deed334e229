#include "codec/chunk.h"

#define USUAL_BYTES 16384u /* travels best */
#define MIN_ROWS    8u     /* fewer make layers slow: take more bytes */

size_t chunk_row_room(const struct codec_spec *codec, uint32_t dim)
{
	const struct codec_spec tabq = { .tabq = true };
	size_t own = codec_bound(codec, dim, 1), other = codec_bound(&tabq, dim, 1);

	return own > other ? own : other;
}

uint32_t chunk_rows(const struct codec_spec *codec, uint32_t dim, size_t room, uint32_t most)
{
	size_t row = chunk_row_room(codec, dim) + CHUNK_TOKEN_BYTES;
	size_t usual = codec->tabq ? dim * 5u / 8 + 1 : codec_bound(codec, dim, 1);
	size_t rows = USUAL_BYTES / usual;

	if (room > CHUNK_MAX_BYTES)
		room = CHUNK_MAX_BYTES;
	if (rows < MIN_ROWS)
		rows = MIN_ROWS;
	if (rows > room / row)
		rows = room / row;
	if (rows > most)
		rows = most;
	return rows ? (uint32_t)rows : 1;
}
