/* engine/strip_amx.h - what the files of AMX have of each other. Private to strip_amx*.c. */
#ifndef ENGINE_STRIP_AMX_H
#define ENGINE_STRIP_AMX_H

#include <immintrin.h>

#include "engine/kern.h"

/* The operand of LDTILECFG. */
struct strip_amx_config {
	uint8_t palette, start_row, reserved[14];
	uint16_t row_bytes[16];
	uint8_t rows[16];
};

/* What is written at p is in memory from here on: gcc 12 does not know that tiles are loaded from
 * there. */
static inline void strip_amx_publish(const void *p)
{
	__asm__ volatile("" : : "r"(p) : "memory");
}

/* Tiles have lines of 64 bytes: 16 of them, or, but for WEIGHTS, so many. */
static inline void strip_amx_configure(size_t tile_rows)
{
	const uint8_t n = (uint8_t)tile_rows;
	const struct strip_amx_config c = {
		.palette = 1,
		.row_bytes = { 64, 64, 64, 64, 64, 64, 64, 64 },
		.rows = { n, n, n, n, n, 16, 16, 16 },
	};

	strip_amx_publish(&c);
	_tile_loadconfig(&c);
}

/* As few and as equal tiles of rows as may be, of 16 at most, have so many each: together they may
 * have more rows than there are. */
static inline size_t strip_amx_tile_rows(size_t rows)
{
	const size_t tiles = (rows + 15) / 16;

	return (rows + tiles - 1) / tiles;
}

/* As kern.strip, for Q4_K and Q6_K. */
void strip_amx_super(const struct kern_strips *s, size_t strip, size_t n, const struct kern_acts *x,
		     size_t first, size_t rows, float *out, size_t ldo);

/* Likewise, for Q4_0 and Q8_0 and few rows, where x fits. */
bool strip_amx_few_fits(const struct kern_acts *x);
void strip_amx_few(const struct kern_strips *w, size_t strip, size_t n_strips,
		   const struct kern_acts *x, size_t first, size_t rows, float *out, size_t ldo);

#endif
