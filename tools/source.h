/* tools/source.h - rows of known distribution: what codecs are measured and tested with.
 *
 * Each row follows from its kind and seed alone. Pure; any thread. */
#ifndef TOOLS_SOURCE_H
#define TOOLS_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of variance 1; the last one Gaussian but for two elements of 1000 sigma. */
enum source_kind { SOURCE_GAUSS, SOURCE_LAPLACE, SOURCE_T4, SOURCE_MASSIVE, SOURCE_COUNT };

/* "gauss", "laplace", "student-t4", "massive". */
const char *source_name(enum source_kind kind);

/* A row -> x [dim]. */
void source_row(enum source_kind kind, uint64_t seed, float *x, size_t dim);

/* Does element i of a row of dim elements stick out? */
bool source_sticks_out(enum source_kind kind, size_t i, size_t dim);

#endif
