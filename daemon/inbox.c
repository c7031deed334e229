#include "daemon/inbox.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define INBOX_SIGNALS 64

int inbox_create(struct queue **out)
{
	return queue_create(out, INBOX_MESSAGES + INBOX_JOBS + INBOX_SIGNALS);
}

void inbox_free(void *item)
{
	const enum inbox_kind kind = ((struct inbox_item *)item)->kind;

	if (kind != INBOX_JOB && kind != INBOX_DRAFT)
		free(item);
}

void inbox_destroy(struct queue *q)
{
	queue_destroy(q, inbox_free);
}

static void *put(char **at, const void *src, size_t len)
{
	char *dst = *at;

	if (len)
		memcpy(dst, src, len);
	dst[len] = '\0';
	*at += len + 1;
	return dst;
}

static void copy(void *ctx, const struct bus_event *ev)
{
	size_t topic_len = ev->topic ? strlen(ev->topic) : 0;
	size_t text_len = ev->text ? strlen(ev->text) : 0;
	struct inbox_bus *b;
	char *at;

	b = malloc(sizeof(*b) + topic_len + ev->len + text_len + 3);
	if (!b)
		return;
	at = b->data;
	b->item.kind = INBOX_BUS;
	b->ev = *ev;
	b->ev.topic = put(&at, ev->topic, topic_len);
	b->ev.payload = put(&at, ev->payload, ev->len);
	b->ev.text = put(&at, ev->text, text_len);
	if (!queue_push(ctx, b))
		free(b);
}

static bool is_full(void *ctx)
{
	return queue_length(ctx) >= INBOX_MESSAGES;
}

void inbox_bus_handler(void *ctx, const struct bus_event *ev)
{
	if (ev->kind != BUS_MESSAGE || !is_full(ctx))
		copy(ctx, ev);
}

void inbox_patient_handler(void *ctx, const struct bus_event *ev)
{
	const struct timespec a_moment = { .tv_nsec = 1000000 };

	for (int ms = 0; ms < INBOX_PATIENCE_MS && ev->kind == BUS_MESSAGE && is_full(ctx); ms++)
		nanosleep(&a_moment, NULL);
	inbox_bus_handler(ctx, ev);
}

void inbox_push_job(struct queue *q, struct inbox_item *job)
{
	bool pushed;

	job->kind = INBOX_JOB;
	pushed = queue_push(q, job);
	assert(pushed); /* the bounds of the queues leave room */
	(void)pushed;
}

void inbox_push_signal(struct queue *q, int signal)
{
	struct inbox_signal *s = malloc(sizeof(*s));

	if (!s)
		return;
	*s = (struct inbox_signal){ .item.kind = INBOX_SIGNAL, .number = signal };
	if (!queue_push(q, s))
		free(s);
}
