#include "base/queue.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

struct queue {
	pthread_mutex_t lock;
	pthread_cond_t ready; /* signalled on push and on close; monotonic clock */
	size_t capacity, length, head;
	size_t refused;
	bool closed;
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
	bool ok;

	pthread_mutex_lock(&q->lock);
	ok = !q->closed && q->length < q->capacity;
	if (ok) {
		q->items[(q->head + q->length) % q->capacity] = item;
		q->length++;
		pthread_cond_signal(&q->ready);
	} else {
		q->refused++;
	}
	pthread_mutex_unlock(&q->lock);
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
