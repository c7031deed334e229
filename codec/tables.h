/* codec/tables.h - static distributions of quantized elements, for the entropy stage.
 *
 * Both ends have them built in: no table crosses the wire. Made by tools/make_tables.py, which says
 * what each row means. Symbols of a row: 0, -1, 1, -2, 2, ... -15, 15, escape. */
#ifndef CODEC_TABLES_H
#define CODEC_TABLES_H

#include <stdint.h>

#define TABLES_SHAPES 4  /* generalized Gaussians of exponent 2, 1.5, 1 (Laplace), 0.7 */
#define TABLES_SCALES 29 /* mean magnitude 2^(t/4 - 5) steps, t = 0..28 */
#define TABLES_ZERO   20 /* the t of a mean magnitude of one step */
#define TABLES_MOST   15 /* largest magnitude with a symbol of its own */
#define TABLES_ESCAPE 31
#define TABLES_BITS   14
#define TABLES_ROW    33

/* Sums of the frequencies before each symbol, and their total, 2^TABLES_BITS. */
extern const uint16_t tables_cum[TABLES_SHAPES][TABLES_SCALES][TABLES_ROW];

/* Mean squared error of rounding, in steps^2. */
extern const float tables_error[TABLES_SHAPES][TABLES_SCALES];

#endif
