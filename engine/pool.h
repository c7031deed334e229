/* engine/pool.h - a few threads that share the items of one loop at a time.
 *
 * Threads live as long as the pool. Between loops they look for work for some tens of microseconds,
 * since the loops of one token follow each other that fast, and then sleep; sooner where there are
 * more threads than processors, for then they would keep the others from running. A loop during
 * which nobody sleeps costs no lock and no call to the system. One caller at a time; the caller
 * works too, so a loop ends even when no other thread gets to run. */
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

/* From the next loop on each thread stays on a processor of its own, the caller on the first of
 * those that the process may use; where there are too few of them nothing happens. The thread that
 * calls pool_run next is the caller meant, and stays there for good. */
void pool_pin(struct pool *p);

/* fn(arg, item, thread) once for every item < n, thread < pool_threads(); returns when all are
 * done, and what they wrote is visible. Which thread takes which item is left to chance: items must
 * not depend on each other. Neighbours may be taken together, fewer towards the end. */
void pool_run(struct pool *p, void (*fn)(void *arg, size_t item, unsigned thread), void *arg,
	      size_t n);

#endif
