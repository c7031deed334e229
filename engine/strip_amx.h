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

/* All eight tiles are whole ones. */
static inline void strip_amx_configure(void)
{
	static const struct strip_amx_config c = {
		.palette = 1,
		.row_bytes = { 64, 64, 64, 64, 64, 64, 64, 64 },
		.rows = { 16, 16, 16, 16, 16, 16, 16, 16 },
	};

	_tile_loadconfig(&c);
}

/* What is written at p is in memory from here on: gcc 12 does not know that tiles are loaded from
 * there. */
static inline void strip_amx_publish(const void *p)
{
	__asm__ volatile("" : : "r"(p) : "memory");
}

/* As kern.strip, for Q4_K and Q6_K and a multiple of 16 rows. */
void strip_amx_super(const struct kern_strips *s, size_t strip, size_t n, const struct kern_acts *x,
		     size_t first, size_t rows, float *out, size_t ldo);

/* Likewise, for Q4_0 and Q8_0 and few rows, where x fits. */
bool strip_amx_few_fits(const struct kern_acts *x);
void strip_amx_few(const struct kern_strips *w, size_t strip, size_t n, const struct kern_acts *x,
		   size_t first, size_t rows, float *out, size_t ldo);

#endif
