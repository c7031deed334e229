/* base/depth.h - how much longer a row of a layer takes, the later its position: attention reads
 * all positions before it.
 *
 * Two things. The newest times and their positions, whose means (of times without extremes, see
 * base/window.h) belong together: a time, and the position where it holds. And the slope between
 * late and early positions of the session that runs (of all, where sessions are short or take
 * turns), as often as they are far enough apart: the median of the newest few such slopes, each of
 * which counts by how far that was, so that a machine that was busy for a while does not look like
 * depth. A slope is kept as a share of what a row
 * takes at position 0: a machine that becomes slower does so for attention, too. One set of slopes
 * may take from several windows: those of sessions that differ in what a row takes.
 *
 * While none was seen it is what the model's shape says, which counts as one more beside the first
 * few; and those are believed within limits: where a row takes long, or on a machine that others
 * use, noise over some hundred positions looks like more than attention to them takes.
 *
 * Pure. One thread. All 0: nothing is known. */
#ifndef BASE_DEPTH_H
#define BASE_DEPTH_H

#include <stdint.h>

#include "base/window.h"

#define DEPTH_KEPT     WINDOW_KEPT /* newest times */
#define DEPTH_SLOPES   9u   /* newest slopes */
#define DEPTH_DISTANCE 96.0 /* positions: over fewer, noise looks like a slope */
/* A multiply-add of attention takes as long as so many of matrices: 0.75 to 2.7 were measured. */
#define DEPTH_DEAR     1.5
#define DEPTH_DEAREST  3.0 /* ... if so few slopes say it: */
#define DEPTH_CHEAPEST 0.4
#define DEPTH_SURE     3u

struct depth_slopes {
	double shape; /* multiply-adds for a position, as a share of a layer's; 0: not known */
	float v[DEPTH_SLOPES];    /* shares per position, of what position 0 takes */
	float over[DEPTH_SLOPES]; /* so many positions */
	uint32_t n;               /* ever */
};

struct depth {
	float ms[DEPTH_KEPT], at[DEPTH_KEPT];
	uint32_t n; /* ever */
};

/* A time, and the position where it holds. */
struct depth_point {
	double at, ms;
};

/* A row at position `at` took ms. */
void depth_add(struct depth *d, double at, double ms);

/* The same. `slopes` learns whenever there is something to learn. */
void depth_learn(struct depth *d, struct depth_slopes *slopes, double at, double ms);

/* A row took so long early, and so long late. Nothing to learn from fewer than DEPTH_DISTANCE
 * positions between them. */
void depth_note(struct depth_slopes *slopes, struct depth_point early, struct depth_point late);

/* Mean of the newest times, and of their positions; 0: none. */
double depth_ms(const struct depth *d);
double depth_at(const struct depth *d);

/* Medians of the newest n times, or of all that there are; 0, 0: none. */
struct depth_point depth_newest(const struct depth *d, uint32_t n);

/* All times are to be another by this factor: what they were measured on has changed. */
void depth_scale(struct depth *d, double factor);

/* ms per position, of rows that take now.ms at now.at; >= 0; 0 when nothing is known. */
double depth_slope(const struct depth_slopes *slopes, struct depth_point now);

/* What a row takes at position `at`, when it takes now.ms at now.at. */
double depth_moved(const struct depth_slopes *slopes, struct depth_point now, double at);

#endif
