/* engine/pack.h - rows as a file has them -> strips of 16 rows, which kernels read in one stream.
 *
 * Pure, any thread. A strip is as large as its rows were; the last one of a matrix is filled up
 * with zero rows. Its blocks (of 32 columns, or of 256 for Q4_K and Q6_K) follow each other.
 * "nibbles" are four vectors of 64 bytes for 32 columns: byte 4 r + e of vector v has the code of
 * element 4 v + e of row r in its low half, that of element 16 + 4 v + e in its high half.
 *
 *   Q4_0   288 bytes  value d * (code - 8)
 *     f16 d[16]
 *     nibbles
 *   Q8_0   544 bytes  value d * code
 *     f16 d[16]
 *     i8 code[8][16][4]     [g][r][e]: element 4 g + e of row r
 *   Q4_K  2304 bytes  value d * scale * code - dmin * min
 *     f16 d[16], dmin[16]
 *     u8 low[8][16]         of block b and row r: scale & 15 | (min & 15) << 4
 *     u8 high[4][16]        of blocks 2p and 2p + 1, the upper two bits: from bit 0 on those of
 *                           scale and min of the first, scale and min of the second
 *     nibbles[8]
 *   Q6_K  3360 bytes  value d * scale * (code - 32)
 *     f16 d[16]
 *     i8 scale[16][16]      of columns 16 i .. 16 i + 15 and row r
 *     nibbles[8]            the lower four bits of the codes
 *     u8 high[8][2][64]     byte 4 r + e of vector v of a block: bits 2k, 2k + 1 are the upper two
 *                           of element 4 (4 v + k) + e of row r
 *
 * f16 are little-endian. */
#ifndef ENGINE_PACK_H
#define ENGINE_PACK_H

#include "engine/kern.h"

/* The type has a packed form: Q4_0, Q8_0, Q4_K, Q6_K. */
bool pack_knows(enum quant_type type);

/* Bytes of one block (of the type's elements) of a strip, and of a strip of n columns. */
size_t pack_block_bytes(enum quant_type type);
size_t pack_strip_bytes(enum quant_type type, size_t n);

/* n_rows (1..16) rows, row_bytes apart, of n columns -> the strip at dst. */
void pack_strip(enum quant_type type, const uint8_t *data, size_t row_bytes, size_t n_rows,
		size_t n, uint8_t *dst);

/* One block of a strip -> out[1], or out[8] for Q4_K and Q6_K. */
void pack_widen(enum quant_type type, const uint8_t *src, struct kern_wide *out);

#endif
