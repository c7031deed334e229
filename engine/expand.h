/* engine/expand.h - rows of any quantized type, as a file has them, as struct kern_wide.
 *
 * Pure, any thread. dequant(row)[32 b + e] of the row is scale * d * code + min * m (but for
 * rounding), with the numbers of block b. */
#ifndef ENGINE_EXPAND_H
#define ENGINE_EXPAND_H

#include "engine/kern.h"

/* Types that have such a form: all but F32, F16 and BF16. */
bool expand_knows(enum quant_type type);

/* The type has minimums (kern.wide). */
bool expand_mins(enum quant_type type);

/* n_rows (1..16) rows, row_bytes apart, of n columns -> out[n / 32]; rows from n_rows to 15 are
 * zeros. n is a multiple of the type's block. */
void expand_rows(enum quant_type type, const uint8_t *data, size_t row_bytes, size_t n_rows,
		 size_t n, struct kern_wide *out);

/* The same, compiled for AVX2. */
void expand_avx2(enum quant_type type, const uint8_t *data, size_t row_bytes, size_t n_rows,
		 size_t n, struct kern_wide *out);

#endif
