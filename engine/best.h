/* engine/best.h - the best of many logits, best first: the largest, and the lowest id of equals.
 *
 * Passes over all logits compare and copy, a vector at a time; only what is left is sorted. Plain
 * C, and nothing is rounded: the same on every machine. Any thread. */
#ifndef ENGINE_BEST_H
#define ENGINE_BEST_H

#include <stdint.h>

#include "base/err.h"

/* The best of n. ERR_NOT_FINITE when one is NaN or +inf, or all are -inf. */
MUST_CHECK int best_one(const float *x, uint32_t n, uint32_t *id);

/* Something that at least k of n numbers reach, k <= n, and not many more unless they are equal or
 * k is more than an eighth of n. */
float best_reached(const float *x, uint32_t n, uint32_t k, float *scratch);

/* Ids of those that are at least that, best first; returns how many. order and scratch: [n]. */
uint32_t best_of(const float *x, uint32_t n, float least, uint32_t *order, uint32_t *scratch);

#endif
