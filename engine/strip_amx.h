/* engine/strip_amx.h - what the files of AMX have of each other. */
#ifndef ENGINE_STRIP_AMX_H
#define ENGINE_STRIP_AMX_H

#include "engine/kern.h"

/* As kern.strip, for Q4_K and Q6_K and a multiple of 16 rows. */
void strip_amx_super(const struct kern_strips *s, size_t strip, size_t n, const struct kern_acts *x,
		     size_t first, size_t rows, float *out, size_t ldo);

#endif
