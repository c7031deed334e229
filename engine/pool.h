/* engine/pool.h - a few threads that share the items of one loop at a time.
 *
 * Threads live as long as the pool and sleep between loops (after a short spin, since the loops of
 * one token follow each other within microseconds). One caller at a time; the caller works too. */
#ifndef ENGINE_POOL_H
#define ENGINE_POOL_H

#include <stddef.h>

#include "base/err.h"

#define POOL_MAX_THREADS 256

struct pool;

/* threads counts the caller, 1..POOL_MAX_THREADS. Returns 0, ERR_LIMIT or ERR_NOMEM. */
MUST_CHECK int pool_create(struct pool **out, unsigned threads);
void pool_destroy(struct pool *p);

unsigned pool_threads(const struct pool *p);

/* fn(arg, item, thread) once for every item < n, thread < pool_threads(); returns when all are
 * done, and what they wrote is visible. Which thread takes which item is left to chance: items must
 * not depend on each other. */
void pool_run(struct pool *p, void (*fn)(void *arg, size_t item, unsigned thread), void *arg,
	      size_t n);

#endif
