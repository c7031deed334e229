#define _GNU_SOURCE /* sched_setaffinity */

#include "engine/pool.h"

#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include "base/relax.h"

/* How long to look at a variable before sleeping on it: longer than what lies between the loops of
 * a token; and where threads share processors, no longer than a sleep and a wake-up take. */
#define SPIN_NS       50000
#define SPIN_CROWD_NS 5000
#define LOOKS         32 /* between two looks at the clock */

/* A thread takes at most this part of its share of what is left: the last ones come out even. */
#define TAKES 8

#define LINE  64 /* bytes of a cache line */

struct worker {
	struct pool *pool;
	unsigned index; /* 1.. : 0 is the caller */
	pthread_t id;
};

struct pool {
	unsigned threads;
	unsigned started; /* workers that run: threads - 1 unless creation failed half-way */
	struct worker *workers;
	long spin_ns;

	pthread_mutex_t lock;
	pthread_cond_t wake, done;
	bool stop;            /* under lock */
	atomic_uint sleepers; /* workers that sleep, or are about to and will look once more */
	atomic_bool waiting;  /* so does the caller */

	cpu_set_t processors; /* that the process may use; for pinning */
	atomic_bool pin;
	bool pinned[POOL_MAX_THREADS]; /* each its thread's */

	/* The loop in progress. Whoever lowers `left` owns items of that round, and the round
	 * cannot end before the owner has counted them in `finished`: so fn, arg and n hold still
	 * for owners, and nobody waits for a worker that owns nothing because it was not
	 * scheduled. */
	void (*fn)(void *arg, size_t item, unsigned thread);
	void *arg;
	size_t n;
	_Alignas(LINE) atomic_ullong left;     /* round << 32 | items that nobody owns yet */
	_Alignas(LINE) atomic_size_t finished; /* items of this round */
};

#define LEFT_MASK 0xffffffffull

static bool has_items(struct pool *p)
{
	return atomic_load(&p->left) & LEFT_MASK;
}

static bool all_finished(struct pool *p)
{
	return atomic_load(&p->finished) == p->n;
}

static long long now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

/* Look for a while; whether it came. */
static bool spin(struct pool *p, bool (*came)(struct pool *p))
{
	const long long end = now_ns() + p->spin_ns;

	do {
		for (unsigned i = 0; i < LOOKS; i++) {
			if (came(p))
				return true;
			relax();
		}
	} while (now_ns() < end);
	return false;
}

/* Own some items of the current round, from *first on. Returns how many. */
static size_t take(struct pool *p, size_t *first)
{
	unsigned long long left = atomic_load_explicit(&p->left, memory_order_relaxed);

	while (left & LEFT_MASK) {
		const unsigned long long n = (left & LEFT_MASK) / (p->threads * TAKES) + 1;

		if (atomic_compare_exchange_weak_explicit(&p->left, &left, left - n,
							  memory_order_acquire,
							  memory_order_relaxed)) {
			*first = p->n - (size_t)(left & LEFT_MASK);
			return (size_t)n;
		}
	}
	return 0;
}

/* The calling thread, to the nth processor of the process. */
static void pin_to(const struct pool *p, unsigned nth)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (CPU_ISSET(cpu, &p->processors) && nth-- == 0) {
			CPU_SET(cpu, &one);
			(void)sched_setaffinity(0, sizeof(one), &one); /* no harm without */
			return;
		}
	}
}

/* Looked at for each share, as a thread may go from one loop to the next without a pause. */
static void pin_once(struct pool *p, unsigned thread)
{
	if (!p->pinned[thread] && atomic_load_explicit(&p->pin, memory_order_relaxed)) {
		pin_to(p, thread);
		p->pinned[thread] = true;
	}
}

/* Run items until none is left; the last one to finish wakes the caller. */
static void work(struct pool *p, unsigned thread)
{
	size_t first, taken;

	while ((taken = take(p, &first)) > 0) {
		const size_t n = p->n;

		pin_once(p, thread);
		for (size_t i = 0; i < taken; i++)
			p->fn(p->arg, first + i, thread);
		if (atomic_fetch_add(&p->finished, taken) + taken == n && thread > 0 &&
		    atomic_load(&p->waiting)) {
			pthread_mutex_lock(&p->lock);
			pthread_cond_signal(&p->done);
			pthread_mutex_unlock(&p->lock);
		}
	}
}

/* Wait for items; false when the pool stops. Either the caller sees the sleeper, and wakes it once
 * it waits, or the sleeper sees the items: both write before they look, in one order for all. */
static bool wait_items(struct pool *p)
{
	bool stop;

	if (spin(p, has_items))
		return true;
	pthread_mutex_lock(&p->lock);
	atomic_fetch_add(&p->sleepers, 1);
	while (!has_items(p) && !p->stop)
		pthread_cond_wait(&p->wake, &p->lock);
	atomic_fetch_sub(&p->sleepers, 1);
	stop = p->stop;
	pthread_mutex_unlock(&p->lock);
	return !stop;
}

/* The same between the caller and the last worker to finish. */
static void wait_finished(struct pool *p)
{
	if (all_finished(p) || spin(p, all_finished))
		return;
	pthread_mutex_lock(&p->lock);
	atomic_store(&p->waiting, true);
	while (!all_finished(p))
		pthread_cond_wait(&p->done, &p->lock);
	atomic_store(&p->waiting, false);
	pthread_mutex_unlock(&p->lock);
}

static void *worker_main(void *arg)
{
	const struct worker *w = arg;
	char name[16];

	snprintf(name, sizeof(name), "compute-%u", w->index);
	prctl(PR_SET_NAME, name);
	while (wait_items(w->pool))
		work(w->pool, w->index);
	return NULL;
}

static int start(struct pool *p)
{
	for (unsigned i = 1; i < p->threads; i++) {
		struct worker *w = &p->workers[i - 1];

		*w = (struct worker){ .pool = p, .index = i };
		if (pthread_create(&w->id, NULL, worker_main, w))
			return ERR_NOMEM;
		p->started++;
	}
	return 0;
}

int pool_create(struct pool **out, unsigned threads)
{
	struct pool *p;
	int rc = ERR_NOMEM;

	if (threads < 1 || threads > POOL_MAX_THREADS)
		return ERR_LIMIT;
	p = aligned_alloc(LINE, sizeof(*p));
	if (!p)
		return ERR_NOMEM;
	memset(p, 0, sizeof(*p));
	p->threads = threads;
	if (sched_getaffinity(0, sizeof(p->processors), &p->processors))
		CPU_ZERO(&p->processors);
	p->spin_ns = threads <= (unsigned)CPU_COUNT(&p->processors) ? SPIN_NS : SPIN_CROWD_NS;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->wake, NULL);
	pthread_cond_init(&p->done, NULL);
	p->workers = calloc(threads, sizeof(*p->workers));
	if (p->workers)
		rc = start(p);
	if (rc) {
		pool_destroy(p);
		return rc;
	}
	*out = p;
	return 0;
}

void pool_destroy(struct pool *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->stop = true;
	pthread_cond_broadcast(&p->wake);
	pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < p->started; i++)
		pthread_join(p->workers[i].id, NULL);
	pthread_cond_destroy(&p->wake);
	pthread_cond_destroy(&p->done);
	pthread_mutex_destroy(&p->lock);
	free(p->workers);
	free(p);
}

unsigned pool_threads(const struct pool *p)
{
	return p->threads;
}

void pool_pin(struct pool *p)
{
	if (p->threads <= (unsigned)CPU_COUNT(&p->processors))
		atomic_store(&p->pin, true);
}

void pool_run(struct pool *p, void (*fn)(void *arg, size_t item, unsigned thread), void *arg,
	      size_t n)
{
	unsigned long long round;

	pin_once(p, 0);
	if (p->threads == 1 || n <= 1) {
		for (size_t i = 0; i < n; i++)
			fn(arg, i, 0);
		return;
	}
	assert(n <= LEFT_MASK);
	p->fn = fn;
	p->arg = arg;
	p->n = n;
	atomic_store_explicit(&p->finished, 0, memory_order_relaxed);
	round = (atomic_load_explicit(&p->left, memory_order_relaxed) >> 32) + 1;
	atomic_store(&p->left, round << 32 | n);
	if (atomic_load(&p->sleepers) > 0) {
		pthread_mutex_lock(&p->lock);
		pthread_cond_broadcast(&p->wake);
		pthread_mutex_unlock(&p->lock);
	}
	work(p, 0);
	wait_finished(p);
}
