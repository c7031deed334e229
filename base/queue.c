#include "base/queue.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/relax.h"

#define PAUSES     30u   /* between two looks: less than a microsecond */
#define CROWDED_US 1000u /* somebody else had the processor for longer than passing by */

struct queue {
	pthread_mutex_t lock;
	pthread_cond_t ready; /* signalled on push and on close; monotonic clock */
	size_t capacity, head;
	atomic_size_t length; /* this and the next one are looked at without the lock, too */
	atomic_bool closed;
	size_t refused;
	bool lent;     /* the owner waits: its turn may be taken */
	bool entered;  /* and was */
	bool called;   /* by one who left */
	void *items[]; /* [capacity], ring */
};

int queue_create(struct queue **out, size_t capacity)
{
	struct queue *q = calloc(1, sizeof(*q) + capacity * sizeof(q->items[0]));
	pthread_condattr_t attr;

	if (!q)
		return ERR_NOMEM;
	q->capacity = capacity;
	pthread_mutex_init(&q->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&q->ready, &attr);
	pthread_condattr_destroy(&attr);
	*out = q;
	return 0;
}

static void *take(struct queue *q)
{
	void *item = q->items[q->head];

	q->head = (q->head + 1) % q->capacity;
	q->length--;
	return item;
}

void queue_destroy(struct queue *q, void (*drop)(void *item))
{
	if (!q)
		return;
	while (q->length) {
		void *item = take(q);

		if (drop)
			drop(item);
	}
	pthread_cond_destroy(&q->ready);
	pthread_mutex_destroy(&q->lock);
	free(q);
}

bool queue_push(struct queue *q, void *item)
{
	bool ok, wake;

	pthread_mutex_lock(&q->lock);
	ok = !q->closed && q->length < q->capacity;
	wake = ok && !q->entered; /* who is inside wakes the owner when he leaves */
	if (ok) {
		q->items[(q->head + q->length) % q->capacity] = item;
		q->length++;
	} else {
		q->refused++;
	}
	pthread_mutex_unlock(&q->lock);
	if (wake) /* not while the lock is held: that is what the woken thread wants first */
		pthread_cond_signal(&q->ready);
	return ok;
}

static struct timespec deadline_after(int64_t timeout_us)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += timeout_us / 1000000;
	t.tv_nsec += timeout_us % 1000000 * 1000;
	if (t.tv_nsec >= 1000000000) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000;
	}
	return t;
}

void *queue_pop_us(struct queue *q, int64_t timeout_us)
{
	struct timespec until = deadline_after(timeout_us < 0 ? 0 : timeout_us);
	void *item = NULL;

	pthread_mutex_lock(&q->lock);
	while (!q->length && !q->closed) {
		if (!timeout_us)
			break;
		if (timeout_us < 0)
			pthread_cond_wait(&q->ready, &q->lock);
		else if (pthread_cond_timedwait(&q->ready, &q->lock, &until) == ETIMEDOUT)
			break;
	}
	if (q->length)
		item = take(q);
	pthread_mutex_unlock(&q->lock);
	return item;
}

void *queue_pop(struct queue *q, long timeout_ms)
{
	return queue_pop_us(q, (int64_t)timeout_ms * 1000);
}

/* Look for an item until a time, without sleeping. Who else wants the processor has it meanwhile;
 * one that keeps it is worth sleeping for, as a thread that wakes is preferred to it: false. */
static bool look_until(struct queue *q, uint64_t until_us)
{
	uint64_t now_us = clock_now_us(), last_us;

	while (now_us < until_us && !atomic_load(&q->length) && !atomic_load(&q->closed)) {
		sched_yield();
		for (unsigned i = 0; i < PAUSES; i++) /* the core may have another thread */
			relax();
		last_us = now_us;
		now_us = clock_now_us();
		if (now_us - last_us > CROWDED_US)
			return false;
	}
	return true;
}

void *queue_pop_due(struct queue *q, struct due *d, uint64_t since_us, uint32_t spin_us)
{
	const uint64_t gone_us = clock_now_us() - since_us;
	void *item = queue_pop_us(q, 0);
	struct due_window w;
	bool alone = true;

	if (item)
		return item;
	if (due_window(d, spin_us, &w)) {
		item = queue_pop_us(q, w.from_us > gone_us ? (int64_t)(w.from_us - gone_us) : 0);
		if (!item)
			alone = look_until(q, since_us + w.to_us);
	}
	if (!item)
		item = queue_pop_us(q, -1);
	due_learn(d, clock_now_us() - since_us, !alone);
	return item;
}

/* The owner has something to do, and the turn for it. */
static bool is_wanted(const struct queue *q)
{
	return !q->entered && (q->length || q->closed || q->called);
}

void *queue_pop_lending(struct queue *q, long timeout_ms)
{
	struct timespec until = deadline_after(timeout_ms < 0 ? 0 : (int64_t)timeout_ms * 1000);
	bool late = !timeout_ms;
	void *item = NULL;

	pthread_mutex_lock(&q->lock);
	q->lent = true;
	while (!is_wanted(q) && (!late || q->entered)) {
		if (timeout_ms < 0 || late)
			pthread_cond_wait(&q->ready, &q->lock);
		else
			late = pthread_cond_timedwait(&q->ready, &q->lock, &until) == ETIMEDOUT;
		q->called |= late; /* so that who is inside calls */
	}
	q->lent = q->called = false;
	if (q->length)
		item = take(q);
	pthread_mutex_unlock(&q->lock);
	return item;
}

bool queue_enter(struct queue *q)
{
	bool ok;

	pthread_mutex_lock(&q->lock);
	ok = q->lent && !q->entered && !q->called && !q->length && !q->closed;
	q->entered |= ok;
	pthread_mutex_unlock(&q->lock);
	return ok;
}

void queue_leave(struct queue *q, bool call)
{
	bool wake;

	pthread_mutex_lock(&q->lock);
	q->entered = false;
	q->called |= call;
	wake = is_wanted(q);
	pthread_mutex_unlock(&q->lock);
	if (wake)
		pthread_cond_signal(&q->ready);
}

void queue_close(struct queue *q)
{
	pthread_mutex_lock(&q->lock);
	q->closed = true;
	pthread_cond_broadcast(&q->ready);
	pthread_mutex_unlock(&q->lock);
}

bool queue_done(struct queue *q)
{
	bool done;

	pthread_mutex_lock(&q->lock);
	done = q->closed && !q->length;
	pthread_mutex_unlock(&q->lock);
	return done;
}

void queue_yield(void)
{
	(void)sched_yield();
}

size_t queue_length(struct queue *q)
{
	size_t n;

	pthread_mutex_lock(&q->lock);
	n = q->length;
	pthread_mutex_unlock(&q->lock);
	return n;
}

size_t queue_refused(struct queue *q)
{
	size_t n;

	pthread_mutex_lock(&q->lock);
	n = q->refused;
	pthread_mutex_unlock(&q->lock);
	return n;
}
