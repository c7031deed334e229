/* daemon/inbox.h - what reaches a daemon's loop thread, in one queue: bus events, finished jobs,
 * signals.
 *
 * Producers: net threads (inbox_bus_handler), the compute thread (inbox_push_job), the signal
 * thread; the first two may take the loop's turn instead (queue_enter). The loop owns an item from
 * its pop to inbox_free. Network messages may fill the queue
 * only in part, so that a finished job always finds room. */
#ifndef DAEMON_INBOX_H
#define DAEMON_INBOX_H

#include "base/queue.h"
#include "bus/bus.h"

#define INBOX_MESSAGES 4096 /* most network messages that may wait */
#define INBOX_JOBS     4096 /* most jobs that may be out: the compute queue's bound */

enum inbox_kind {
	INBOX_BUS,
	INBOX_JOB,
	INBOX_SIGNAL,
	INBOX_REPLY, /* agent/agent.c */
	INBOX_FRONT, /* agent/fronts.c */
	INBOX_DRAFT, /* agent/agent.c, whose own it is */
};

/* First member of whatever is queued: says what it is. A job begins with it and is its own item,
 * so that handing it back needs no memory. */
struct inbox_item {
	enum inbox_kind kind;
};

struct inbox_bus {
	struct inbox_item item; /* INBOX_BUS */
	struct bus_event ev;    /* topic, payload, text point to data */
	char data[];
};

struct inbox_signal {
	struct inbox_item item; /* INBOX_SIGNAL */
	int number;
};

MUST_CHECK int inbox_create(struct queue **out);
void inbox_destroy(struct queue *q);

/* A bus_handler: copies the event into the queue `ctx`. Too many waiting: dropped; the sender's
 * deadline resends. */
void inbox_bus_handler(void *ctx, const struct bus_event *ev);

/* The same for a daemon that must not miss what is retained, and that nobody sends rows: when too
 * many wait, the net thread is held up (INBOX_PATIENCE_MS a message at most), and the broker keeps
 * the rest. */
#define INBOX_PATIENCE_MS 1000
void inbox_patient_handler(void *ctx, const struct bus_event *ev);

/* *job is the first member of the job; its kind is set. At most INBOX_JOBS may be out. */
void inbox_push_job(struct queue *q, struct inbox_item *job);
void inbox_push_signal(struct queue *q, int signal);

/* Jobs and drafts are not freed: they belong to whoever made them. */
void inbox_free(void *item);

#endif
