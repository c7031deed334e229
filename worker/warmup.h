/* worker/warmup.h - steps that no session asked for, so that a worker's pace is known before the
 * first one.
 *
 * Steps of 1, 8 and 64 rows through layers, head and sampling, with a cache of their own, some of
 * them behind positions that were made up; WARMUP_US at most, the first pass over the weights not
 * counted. Before the compute thread starts. */
#ifndef WORKER_WARMUP_H
#define WORKER_WARMUP_H

#include "daemon/segment.h"
#include "worker/tempo.h"

#define WARMUP_US 300000u

/* As far as time and memory allow; what it cannot find out sessions will. */
void warmup_run(struct segment *seg, struct tempo *p);

#endif
