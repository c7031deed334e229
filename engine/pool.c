#include "engine/pool.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

/* Looks at a variable before sleeping on it: some tens of microseconds. */
#define SPINS 400

struct worker {
	struct pool *pool;
	unsigned index; /* 1.. : 0 is the caller */
	pthread_t id;
};

struct pool {
	unsigned threads;
	unsigned started; /* workers that run: threads - 1 unless creation failed half-way */
	struct worker *workers;

	pthread_mutex_t lock;
	pthread_cond_t wake, done;
	bool stop; /* under lock */

	/* The loop in progress. Whoever lowers `left` owns an item of that round, and the round
	 * cannot end before the owner has counted it in `finished`: so fn, arg and n hold still for
	 * owners, and nobody waits for a worker that owns nothing because it was not scheduled. */
	void (*fn)(void *arg, size_t item, unsigned thread);
	void *arg;
	size_t n;
	atomic_ullong left;     /* round << 32 | items that nobody owns yet */
	atomic_size_t finished; /* items of this round */
};

#define LEFT_MASK 0xffffffffull

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

static bool has_items(struct pool *p)
{
	return atomic_load_explicit(&p->left, memory_order_relaxed) & LEFT_MASK;
}

/* Own one more item of the current round; false when none is left. */
static bool take(struct pool *p, size_t *item)
{
	unsigned long long left = atomic_load_explicit(&p->left, memory_order_relaxed);

	while (left & LEFT_MASK) {
		if (atomic_compare_exchange_weak_explicit(&p->left, &left, left - 1,
							  memory_order_acquire,
							  memory_order_relaxed)) {
			*item = p->n - (size_t)(left & LEFT_MASK);
			return true;
		}
	}
	return false;
}

/* Run items until none is left; the last one to finish wakes the caller. */
static void work(struct pool *p, unsigned thread)
{
	size_t item;

	while (take(p, &item)) {
		size_t n = p->n;

		p->fn(p->arg, item, thread);
		if (atomic_fetch_add_explicit(&p->finished, 1, memory_order_acq_rel) + 1 == n &&
		    thread > 0) {
			pthread_mutex_lock(&p->lock);
			pthread_cond_signal(&p->done);
			pthread_mutex_unlock(&p->lock);
		}
	}
}

/* Wait for items; false when the pool stops. */
static bool wait_items(struct pool *p)
{
	bool stop;

	for (unsigned i = 0; i < SPINS; i++) {
		if (has_items(p))
			return true;
		relax();
	}
	pthread_mutex_lock(&p->lock);
	while (!has_items(p) && !p->stop)
		pthread_cond_wait(&p->wake, &p->lock);
	stop = p->stop;
	pthread_mutex_unlock(&p->lock);
	return !stop;
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;

	while (wait_items(w->pool))
		work(w->pool, w->index);
	return NULL;
}

int pool_create(struct pool **out, unsigned threads)
{
	struct pool *p;

	if (threads < 1 || threads > POOL_MAX_THREADS)
		return ERR_LIMIT;
	p = calloc(1, sizeof(*p));
	if (!p)
		return ERR_NOMEM;
	p->threads = threads;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->wake, NULL);
	pthread_cond_init(&p->done, NULL);
	p->workers = calloc(threads, sizeof(*p->workers));
	if (!p->workers) {
		pool_destroy(p);
		return ERR_NOMEM;
	}
	for (unsigned i = 1; i < threads; i++) {
		struct worker *w = &p->workers[i - 1];

		*w = (struct worker){ .pool = p, .index = i };
		if (pthread_create(&w->id, NULL, worker_main, w)) {
			pool_destroy(p);
			return ERR_NOMEM;
		}
		p->started++;
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

static bool all_finished(struct pool *p)
{
	return atomic_load_explicit(&p->finished, memory_order_acquire) == p->n;
}

static void wait_finished(struct pool *p)
{
	for (unsigned i = 0; i < SPINS; i++) {
		if (all_finished(p))
			return;
		relax();
	}
	pthread_mutex_lock(&p->lock);
	while (!all_finished(p))
		pthread_cond_wait(&p->done, &p->lock);
	pthread_mutex_unlock(&p->lock);
}

void pool_run(struct pool *p, void (*fn)(void *arg, size_t item, unsigned thread), void *arg,
	      size_t n)
{
	unsigned long long round;

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
	pthread_mutex_lock(&p->lock);
	atomic_store_explicit(&p->left, round << 32 | n, memory_order_release);
	pthread_cond_broadcast(&p->wake);
	pthread_mutex_unlock(&p->lock);
	work(p, 0);
	wait_finished(p);
}
