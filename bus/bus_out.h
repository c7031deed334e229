/* bus/bus_out.h - what the owner thread wants of net-out: publish, subscribe, be born.
 *
 * Bounded in messages and bytes for publishes; the others always find room. */
#ifndef BUS_BUS_OUT_H
#define BUS_BUS_OUT_H

#include "bus/bus.h"

enum out_kind { OUT_PUBLISH, OUT_SUBSCRIBE, OUT_BIRTH, OUT_WAKE };

struct out_item {
	enum out_kind kind;
	unsigned session;     /* the connection that a publish was meant for */
	struct bus_publish p; /* topic and payload are inside the item; a filter is a topic */
};

struct bus_out;

/* max_messages: publishes that may wait. ERR_NOMEM. */
MUST_CHECK int bus_out_create(struct bus_out **out, uint32_t max_messages);

/* NULL is fine. No thread may be waiting. */
void bus_out_destroy(struct bus_out *o);

/* Copy p into the queue. ERR_LIMIT (too many messages or bytes), ERR_NOMEM. */
MUST_CHECK int bus_out_put(struct bus_out *o, enum out_kind kind, const struct bus_publish *p,
			   unsigned session);

/* Oldest item, to be given to bus_out_free; waits up to timeout_ms (-1: for ever). NULL on timeout,
 * or when closed and empty. */
struct out_item *bus_out_take(struct bus_out *o, long timeout_ms);
void bus_out_free(struct bus_out *o, struct out_item *it);

/* Nothing waits, and the item taken last is done with (the next take was called): what is published
 * now, past the queue, overtakes nothing. */
bool bus_out_is_idle(const struct bus_out *o);

/* Make a waiting bus_out_take return, with an OUT_WAKE. Any thread; never blocks. */
void bus_out_wake(struct bus_out *o);

/* No more items; a waiting take returns. */
void bus_out_close(struct bus_out *o);

#endif
