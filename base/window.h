/* base/window.h - the newest figures of what happens again and again.
 *
 * What many of them add up to is told by their mean, not by their median: times of jobs are skewed,
 * and the median of each part of a token is less than what the parts take in the sum. The mean here
 * is winsorised: the largest of each 32 figures counts as the largest of the others, the smallest
 * as the smallest, at least one each. So a stall tells nothing, however long, but what happens to
 * one row in ten does.
 *
 * Pure. One thread. All 0: nothing is known. */
#ifndef BASE_WINDOW_H
#define BASE_WINDOW_H

#include <stdint.h>

#define WINDOW_KEPT 256u

struct window {
	float v[WINDOW_KEPT]; /* ring */
	uint32_t n;           /* ever */
};

void window_add(struct window *w, double v);

/* 0: nothing is known. */
double window_median(const struct window *w);
double window_mean(const struct window *w);

/* All of them are to be others by this factor. */
void window_scale(struct window *w, double factor);

/* The same of a ring of another size, of which the first n are filled. n <= WINDOW_KEPT. */
double window_median_of(const float *v, uint32_t n);
double window_mean_of(const float *v, uint32_t n);

#endif
