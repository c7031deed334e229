/* engine/best.h - the best of many logits, best first: the largest, and the lowest id of equals.
 *
 * Passes over all logits compare and copy, a vector at a time; only what is left is sorted. Plain
 * C, and nothing is rounded: the same on every machine. Any thread. */
#ifndef ENGINE_BEST_H
#define ENGINE_BEST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* The best of n. ERR_NOT_FINITE when one is NaN or +inf, or all are -inf. */
MUST_CHECK int best_one(const float *x, uint32_t n, uint32_t *id);

/* Something that at least k of n numbers reach, k <= n, and not many more unless they are equal or
 * k is more than an eighth of n. */
float best_reached(const float *x, uint32_t n, uint32_t k, float *scratch);

/* Ids of those that are at least that, best first; returns how many. order and scratch: [n]. */
uint32_t best_of(const float *x, uint32_t n, float least, uint32_t *order, uint32_t *scratch);

/* A list of ids by classes of about equal numbers, the better ones first; within a class they
 * ascend until it is settled. */
struct best_rough {
	float top, last; /* the numbers lie between */
	bool settled;    /* all of it */
};

/* As best_of, but roughly; top: the largest of all. */
uint32_t best_roughly(const float *x, uint32_t n, float top, float least, uint32_t *order,
		      uint32_t *scratch, struct best_rough *r);

/* Bring the class of the one at `at` in its right order; true when that changed something in
 * *from..*to - 1. n may be fewer than best_roughly gave where the best have been kept. */
bool best_settle(const float *x, const struct best_rough *r, uint32_t *order, uint32_t n,
		 uint32_t at, uint32_t *scratch, uint32_t *from, uint32_t *to);

#endif
