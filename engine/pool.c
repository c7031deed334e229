#include "engine/pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
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

	/* The loop in progress: written by the caller before `round` moves on. */
	void (*fn)(void *arg, size_t item, unsigned thread);
	void *arg;
	size_t n;
	atomic_size_t next;
	atomic_uint busy;  /* workers that have not yet finished this round */
	atomic_uint round; /* written under lock */
};

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

static void work(struct pool *p, unsigned thread)
{
	size_t item;

	while ((item = atomic_fetch_add_explicit(&p->next, 1, memory_order_relaxed)) < p->n)
		p->fn(p->arg, item, thread);
}

/* Wait for another round than seen; false when the pool stops. */
static bool wait_round(struct pool *p, unsigned *seen)
{
	bool stop;

	for (unsigned i = 0; i < SPINS; i++) {
		unsigned now = atomic_load_explicit(&p->round, memory_order_acquire);

		if (now != *seen) {
			*seen = now;
			return true;
		}
		relax();
	}
	pthread_mutex_lock(&p->lock);
	while (atomic_load(&p->round) == *seen && !p->stop)
		pthread_cond_wait(&p->wake, &p->lock);
	stop = p->stop;
	*seen = atomic_load(&p->round);
	pthread_mutex_unlock(&p->lock);
	return !stop;
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	struct pool *p = w->pool;
	unsigned seen = 0;

	while (wait_round(p, &seen)) {
		work(p, w->index);
		if (atomic_fetch_sub_explicit(&p->busy, 1, memory_order_acq_rel) == 1) {
			pthread_mutex_lock(&p->lock);
			pthread_cond_signal(&p->done);
			pthread_mutex_unlock(&p->lock);
		}
	}
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

static void wait_done(struct pool *p)
{
	for (unsigned i = 0; i < SPINS; i++) {
		if (!atomic_load_explicit(&p->busy, memory_order_acquire))
			return;
		relax();
	}
	pthread_mutex_lock(&p->lock);
	while (atomic_load_explicit(&p->busy, memory_order_acquire))
		pthread_cond_wait(&p->done, &p->lock);
	pthread_mutex_unlock(&p->lock);
}

void pool_run(struct pool *p, void (*fn)(void *arg, size_t item, unsigned thread), void *arg,
	      size_t n)
{
	if (p->threads == 1 || n <= 1) {
		for (size_t i = 0; i < n; i++)
			fn(arg, i, 0);
		return;
	}
	p->fn = fn;
	p->arg = arg;
	p->n = n;
	atomic_store_explicit(&p->next, 0, memory_order_relaxed);
	atomic_store_explicit(&p->busy, p->threads - 1, memory_order_relaxed);
	pthread_mutex_lock(&p->lock);
	atomic_fetch_add_explicit(&p->round, 1, memory_order_release);
	pthread_cond_broadcast(&p->wake);
	pthread_mutex_unlock(&p->lock);
	work(p, 0);
	wait_done(p);
}
