/* tests/emulated_amx.h - the tiles of AMX (palette 1) on plain arrays: included before a kernel's
 * source (-include), it gives the intrinsics that the source names another meaning.
 *
 * As Intel's manual tells TILELOADD, TILESTORED, TILEZERO, TDPBSSD, TDPBSUD, TDPBF16PS and
 * LDTILECFG. What would raise an exception there ends the program, and so does a shape that cannot
 * have been meant. */
#ifndef TESTS_EMULATED_AMX_H
#define TESTS_EMULATED_AMX_H

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EMULATED_TILES 8

struct emulated_tile {
	unsigned rows, row_bytes;
	uint8_t data[16][64];
};

static _Thread_local struct emulated_tile emulated_tiles[EMULATED_TILES];

static inline void emulated_require(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "emulated AMX: %s\n", what);
	abort();
}

static inline struct emulated_tile *emulated_tile(unsigned t)
{
	emulated_require(t < EMULATED_TILES && emulated_tiles[t].rows > 0,
			 "a tile that is not configured");
	return &emulated_tiles[t];
}

static inline void emulated_tile_release(void)
{
	memset(emulated_tiles, 0, sizeof(emulated_tiles));
}

/* 64 bytes: palette, start row, 14 of 0, u16 bytes per row of each of 16 tiles, u8 rows of each. */
static inline void emulated_tile_loadconfig(const void *config)
{
	uint8_t c[64];

	memcpy(c, config, sizeof(c));
	emulated_require(c[0] == 1 && c[1] == 0, "palette and start row");
	for (unsigned i = 2; i < 16; i++)
		emulated_require(c[i] == 0, "reserved bytes");
	emulated_tile_release();
	for (unsigned t = 0; t < 16; t++) {
		unsigned row_bytes = c[16 + 2 * t] + c[17 + 2 * t] * 256u, rows = c[48 + t];

		emulated_require(row_bytes <= 64 && rows <= 16, "a tile too large");
		emulated_require((row_bytes == 0) == (rows == 0), "a tile with one of two sizes");
		if (t >= EMULATED_TILES) {
			emulated_require(rows == 0, "a tile that does not exist");
			continue;
		}
		emulated_tiles[t].rows = rows;
		emulated_tiles[t].row_bytes = row_bytes;
	}
}

static inline void emulated_tile_zero(unsigned t)
{
	memset(emulated_tile(t)->data, 0, sizeof(emulated_tiles[t].data));
}

static inline void emulated_tile_loadd(unsigned t, const void *base, size_t stride)
{
	struct emulated_tile *tile = emulated_tile(t);

	emulated_tile_zero(t);
	for (unsigned r = 0; r < tile->rows; r++)
		memcpy(tile->data[r], (const uint8_t *)base + r * stride, tile->row_bytes);
}

static inline void emulated_tile_stored(unsigned t, void *base, size_t stride)
{
	const struct emulated_tile *tile = emulated_tile(t);

	for (unsigned r = 0; r < tile->rows; r++)
		memcpy((uint8_t *)base + r * stride, tile->data[r], tile->row_bytes);
}

/* What a product needs of its tiles. */
static inline void emulated_fit(const struct emulated_tile *c, const struct emulated_tile *a,
				const struct emulated_tile *b)
{
	emulated_require(c != a && c != b && a != b, "the same tile twice");
	emulated_require(c->rows == a->rows && c->row_bytes == b->row_bytes, "shape of the sum");
	emulated_require(a->row_bytes == 4 * b->rows && c->row_bytes % 4 == 0, "shape of factors");
}

/* Of a row of a and a column of b: bytes with signs, but where b_unsigned those of b. */
static inline int32_t emulated_dot(const struct emulated_tile *a, const struct emulated_tile *b,
				   unsigned m, unsigned n, bool b_unsigned)
{
	int32_t sum = 0;

	for (unsigned k = 0; k < a->row_bytes; k++) {
		const uint8_t byte = b->data[k / 4][4 * n + k % 4];

		sum += (int8_t)a->data[m][k] * (b_unsigned ? byte : (int8_t)byte);
	}
	return sum;
}

/* c[m][n] += sum over k and i < 4 of a[m][4 k + i] * b[k][4 n + i]. */
static inline void emulated_tile_dp(unsigned tc, unsigned ta, unsigned tb, bool b_unsigned)
{
	struct emulated_tile *c = emulated_tile(tc);
	const struct emulated_tile *a = emulated_tile(ta), *b = emulated_tile(tb);

	emulated_fit(c, a, b);
	for (unsigned m = 0; m < c->rows; m++) {
		for (unsigned n = 0; n < c->row_bytes / 4; n++) {
			int32_t sum;

			memcpy(&sum, c->data[m] + 4 * n, sizeof(sum));
			sum += emulated_dot(a, b, m, n, b_unsigned);
			memcpy(c->data[m] + 4 * n, &sum, sizeof(sum));
		}
	}
}

static inline void emulated_tile_dpbssd(unsigned tc, unsigned ta, unsigned tb)
{
	emulated_tile_dp(tc, ta, tb, false);
}

static inline void emulated_tile_dpbsud(unsigned tc, unsigned ta, unsigned tb)
{
	emulated_tile_dp(tc, ta, tb, true);
}

static inline float emulated_bf16(const uint8_t *p)
{
	const uint32_t bits = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 24;
	float x;

	memcpy(&x, &bits, sizeof(x));
	return x;
}

/* c[m][n] += sum over k and i < 2 of a[m][2 k + i] * b[k][2 n + i], bfloat16 to floats, those with
 * i = 0 and those with i = 1 apart. */
static inline void emulated_tile_dpbf16ps(unsigned tc, unsigned ta, unsigned tb)
{
	struct emulated_tile *c = emulated_tile(tc);
	const struct emulated_tile *a = emulated_tile(ta), *b = emulated_tile(tb);

	emulated_fit(c, a, b);
	for (unsigned m = 0; m < c->rows; m++) {
		for (unsigned n = 0; n < c->row_bytes / 4; n++) {
			float sum, part[2] = { 0, 0 };

			for (unsigned k = 0; k < a->row_bytes / 2; k++)
				part[k % 2] += emulated_bf16(a->data[m] + 2 * k) *
					       emulated_bf16(b->data[k / 2] + 4 * n + 2 * (k % 2));
			memcpy(&sum, c->data[m] + 4 * n, sizeof(sum));
			sum += part[0] + part[1];
			memcpy(c->data[m] + 4 * n, &sum, sizeof(sum));
		}
	}
}

#undef _tile_dpbf16ps
#undef _tile_dpbssd
#undef _tile_dpbsud
#undef _tile_loadd
#undef _tile_stored
#undef _tile_zero
#define _tile_dpbf16ps   emulated_tile_dpbf16ps
#define _tile_dpbssd     emulated_tile_dpbssd
#define _tile_dpbsud     emulated_tile_dpbsud
#define _tile_loadconfig emulated_tile_loadconfig
#define _tile_loadd      emulated_tile_loadd
#define _tile_release    emulated_tile_release
#define _tile_stored     emulated_tile_stored
#define _tile_zero       emulated_tile_zero

#endif
