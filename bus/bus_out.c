#include "bus/bus_out.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/queue.h"

#define BYTES_MAX   (64u << 20)
#define SPARE_ITEMS 64 /* room for what is not a publish */

struct bus_out {
	struct queue *q;
	uint32_t max_messages;
	atomic_size_t bytes;  /* payloads waiting */
	atomic_size_t open;   /* items that net-out has not done with */
	bool taken;           /* of net-out: the item that it works on is one of them */
	struct out_item wake; /* may be in the queue several times; never freed */
};

int bus_out_create(struct bus_out **out, uint32_t max_messages)
{
	struct bus_out *o = calloc(1, sizeof(*o));

	if (!o)
		return ERR_NOMEM;
	o->max_messages = max_messages;
	o->wake.kind = OUT_WAKE;
	if (queue_create(&o->q, (size_t)max_messages + SPARE_ITEMS)) {
		free(o);
		return ERR_NOMEM;
	}
	*out = o;
	return 0;
}

void bus_out_free(struct bus_out *o, struct out_item *it)
{
	if (it != &o->wake)
		free(it);
}

void bus_out_destroy(struct bus_out *o)
{
	struct out_item *it;

	if (!o)
		return;
	queue_close(o->q);
	while ((it = queue_pop(o->q, 0)))
		bus_out_free(o, it);
	queue_destroy(o->q, NULL);
	free(o);
}

static struct out_item *copy(enum out_kind kind, const struct bus_publish *p, unsigned session)
{
	size_t topic_len = strlen(p->topic) + 1;
	struct out_item *it;
	char *data;

	if (p->len > SIZE_MAX - topic_len - sizeof(*it))
		return NULL;
	it = malloc(sizeof(*it) + topic_len + p->len);
	if (!it)
		return NULL;
	data = (char *)(it + 1);
	it->kind = kind;
	it->session = session;
	it->p = *p;
	it->p.topic = memcpy(data, p->topic, topic_len);
	it->p.payload = data + topic_len;
	if (p->len)
		memcpy(data + topic_len, p->payload, p->len);
	return it;
}

int bus_out_put(struct bus_out *o, enum out_kind kind, const struct bus_publish *p,
		unsigned session)
{
	struct out_item *it;

	if (kind == OUT_PUBLISH &&
	    (queue_length(o->q) >= o->max_messages || atomic_load(&o->bytes) + p->len > BYTES_MAX))
		return ERR_LIMIT;
	it = copy(kind, p, session);
	if (!it)
		return ERR_NOMEM;
	atomic_fetch_add(&o->bytes, p->len);
	atomic_fetch_add(&o->open, 1);
	if (!queue_push(o->q, it)) {
		atomic_fetch_sub(&o->bytes, p->len);
		atomic_fetch_sub(&o->open, 1);
		free(it);
		return ERR_LIMIT;
	}
	return 0;
}

struct out_item *bus_out_take(struct bus_out *o, long timeout_ms)
{
	struct out_item *it;

	if (o->taken)
		atomic_fetch_sub(&o->open, 1);
	it = queue_pop(o->q, timeout_ms);
	o->taken = it && it->kind != OUT_WAKE;
	if (it)
		atomic_fetch_sub(&o->bytes, it->p.len);
	return it;
}

bool bus_out_is_idle(const struct bus_out *o)
{
	return !atomic_load(&o->open);
}

void bus_out_wake(struct bus_out *o)
{
	/* A full queue needs no waking. */
	if (!queue_push(o->q, &o->wake))
		return;
}

void bus_out_close(struct bus_out *o)
{
	queue_close(o->q);
}
