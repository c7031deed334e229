/* base/queue.h - a bounded queue of pointers between threads.
 *
 * Any number of producers and consumers; the only mutex between the threads of a daemon lives
 * here. Items are owned by the queue from a successful push to the pop that returns them.
 *
 * A queue with one consumer, its owner, can lend that one's turn: while the owner waits in
 * queue_pop_lending, a producer may enter and do the owner's work itself, on what the owner alone
 * may touch at other times, instead of waking it. At first, and outside that call, the turn is the
 * owner's. Order is kept: nobody enters while an item waits. */
#ifndef BASE_QUEUE_H
#define BASE_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/due.h"
#include "base/err.h"

struct queue;

/* capacity >= 1 items, allocated here. Returns 0 or ERR_NOMEM. */
MUST_CHECK int queue_create(struct queue **out, size_t capacity);

/* NULL is fine. Items still inside are passed to drop (may be NULL). No other thread may be in a
 * call. */
void queue_destroy(struct queue *q, void (*drop)(void *item));

/* Never blocks. False when full or closed: the caller keeps the item, the queue counts it. */
MUST_CHECK bool queue_push(struct queue *q, void *item);

/* Oldest item; waits up to timeout_ms (-1: for ever). NULL on timeout, or when closed and empty. */
void *queue_pop(struct queue *q, long timeout_ms);
/* The same in microseconds. */
void *queue_pop_us(struct queue *q, int64_t timeout_us);

/* Oldest item, waited for as long as it takes; NULL when closed and empty. Learns in *d, which is
 * the caller's, when items are due after since_us (base/clock.h), and around that time looks for
 * one without sleeping for spin_us at most (0: never), letting others have the processor. */
void *queue_pop_due(struct queue *q, struct due *d, uint64_t since_us, uint32_t spin_us);

/* As queue_pop, for the owner: others may have the turn until this returns. It also returns NULL
 * when one of them called. */
void *queue_pop_lending(struct queue *q, long timeout_ms);

/* Take the owner's turn, if it waits and nothing is in the queue. Never blocks. */
MUST_CHECK bool queue_enter(struct queue *q);
/* Give it back. call: the owner has something to see to. */
void queue_leave(struct queue *q, bool call);

/* Refuse further pushes and wake all waiters; items inside can still be popped. Idempotent. */
void queue_close(struct queue *q);

/* Closed and empty: nothing will ever come. */
bool queue_done(struct queue *q);

/* Let threads run that wait for this processor, if any. For work that nobody waits for. */
void queue_yield(void);

/* Items inside now; items refused since creation. */
size_t queue_length(struct queue *q);
size_t queue_refused(struct queue *q);

#endif
