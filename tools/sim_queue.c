#include "tools/sim_queue.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>

static bool before(const struct sim_event *a, const struct sim_event *b)
{
	return a->at_us < b->at_us || (a->at_us == b->at_us && a->order < b->order);
}

static int grow(struct sim_queue *q)
{
	size_t cap = q->cap ? 2 * q->cap : 1024;
	struct sim_event *bigger;

	if (q->n < q->cap)
		return 0;
	bigger = realloc(q->at, cap * sizeof(*bigger));
	if (!bigger)
		return ERR_NOMEM;
	q->at = bigger;
	q->cap = cap;
	return 0;
}

int sim_queue_add(struct sim_queue *q, const struct sim_event *ev)
{
	struct sim_event own = *ev;
	size_t i;

	if (ev->at_us == UINT64_MAX)
		return 0;
	if (grow(q))
		return ERR_NOMEM;
	own.order = q->added++;
	for (i = q->n++; i && before(&own, &q->at[(i - 1) / 2]); i = (i - 1) / 2)
		q->at[i] = q->at[(i - 1) / 2];
	q->at[i] = own;
	return 0;
}

uint64_t sim_queue_next_us(const struct sim_queue *q)
{
	return q->n ? q->at[0].at_us : UINT64_MAX;
}

struct sim_event sim_queue_take(struct sim_queue *q)
{
	struct sim_event first, last;
	size_t i = 0, child;

	assert(q->n);
	first = q->at[0];
	last = q->at[--q->n];
	while ((child = 2 * i + 1) < q->n) {
		if (child + 1 < q->n && before(&q->at[child + 1], &q->at[child]))
			child++;
		if (!before(&q->at[child], &last))
			break;
		q->at[i] = q->at[child];
		i = child;
	}
	q->at[i] = last;
	return first;
}

void sim_queue_finish(struct sim_queue *q)
{
	free(q->at);
	*q = (struct sim_queue){ 0 };
}
