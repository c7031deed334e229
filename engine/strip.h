/* engine/strip.h - the integer kernels per instruction set, for the tables of kern_*.c.
 *
 * strip_ref.c is the definition, and knows every type by way of struct kern_wide. Others:
 *
 *   strip_avx2.c strip_avx2_many.c     AVX2, FMA, F16C
 *   strip_avx512vnni.c                 AVX-512 with VNNI
 *   strip_amx.c strip_amx_few.c strip_amx_super.c
 *                                      that, FP16 and tiles, for 16 rows and more of packed types;
 *                                      all else goes to strip_avx512vnni.c
 *   strip_neon.c strip_dotprod.c strip_i8mm.c
 *
 * Each is compiled with its own flags. What a file does not have of its own its table takes from a
 * lesser one. Contracts: kern.h. */
#ifndef ENGINE_STRIP_H
#define ENGINE_STRIP_H

#include "engine/kern.h"

#define STRIP_FUNCTIONS(isa)                                                                       \
	void isa##_quantize(const float *x, size_t n, size_t group, int8_t *q, float *step,        \
			    int16_t *sum);                                                         \
	void isa##_strip(const struct kern_strips *w, size_t strip, size_t n,                      \
			 const struct kern_acts *x, size_t first, size_t rows, float *out,         \
			 size_t ldo);                                                              \
	void isa##_wide(const struct kern_wide *w, bool mins, const struct kern_acts *x,           \
			size_t first, size_t rows, float *out, size_t ldo)

STRIP_FUNCTIONS(strip_ref);
STRIP_FUNCTIONS(strip_avx2);
STRIP_FUNCTIONS(strip_avx512vnni);
STRIP_FUNCTIONS(strip_amx);
STRIP_FUNCTIONS(strip_neon);
STRIP_FUNCTIONS(strip_dotprod);
STRIP_FUNCTIONS(strip_i8mm);

#undef STRIP_FUNCTIONS

/* kern.panels and kern.strips; the others have none. */
void strip_avx2_panels(const struct kern_acts *x, size_t first, size_t rows, void *to);
void strip_avx2_strips(const struct kern_strips *w, size_t strip, size_t n, const void *panels,
		       size_t rows, float *out, size_t ldo);
/* kern.tiles; the others have none. */
void strip_amx_tiles(const struct kern_acts *x, size_t row);

#endif
