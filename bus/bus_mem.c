/* One list of things to do, ordered by time, then by age: a message to route, a subscription that
 * reaches the broker, or a change of a client's connection. bus_mem_pump takes them one by one; the
 * handlers are called from there and nowhere else. One thread for the broker and its clients. */
#include "bus/bus.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "bus/bus_impl.h"

enum item_kind {
	ITEM_ROUTE,     /* a publish reaches the broker: store and hand out */
	ITEM_SUBSCRIBE, /* topic is a filter of client `to` that begins to work */
	ITEM_UP,
	ITEM_DOWN,
};

struct item {
	struct item *next;
	enum item_kind kind;
	uint64_t due_ms;
	struct client *to; /* all kinds but ITEM_ROUTE */
	char *topic;       /* NULL for ITEM_UP and ITEM_DOWN */
	uint8_t *payload;
	size_t len;
	bool retain;
};

struct sub {
	struct sub *next;
	char *filter;
	bool active; /* known to the broker */
};

struct client {
	struct bus bus; /* first */
	struct client *next;
	struct bus_mem *broker;
	bus_handler *handler;
	void *ctx;
	bool up, cut;
	uint32_t max_packet;
	struct bus_counts counts;
	char *id;
	char *will_topic, *will_payload;   /* NULL: none */
	char *birth_topic, *birth_payload; /* NULL: none */
	struct sub *subs;
};

/* One topic's retained message, or one shared filter's turn. */
struct stored {
	struct stored *next;
	char *topic;
	uint8_t *payload;
	size_t len;
};

struct share {
	struct share *next;
	char *filter; /* with "$share/<group>/" */
	size_t turn;
};

struct bus_mem {
	bus_mem_hook *hook;
	void *hook_ctx;
	uint64_t now_ms; /* of the last pump */
	struct client *clients;
	struct item *items;
	struct stored *store;
	struct share *shares;
};

/* ---- items ---- */

static void item_free(struct item *it)
{
	if (!it)
		return;
	free(it->topic);
	free(it->payload);
	free(it);
}

static void enqueue(struct bus_mem *m, struct item *it)
{
	struct item **at = &m->items;

	while (*at && (*at)->due_ms <= it->due_ms)
		at = &(*at)->next;
	it->next = *at;
	*at = it;
}

static int add_message(struct bus_mem *m, enum item_kind kind, struct client *to,
		       const struct bus_publish *p, uint64_t due_ms)
{
	struct item *it = calloc(1, sizeof(*it));

	if (!it)
		return ERR_NOMEM;
	it->kind = kind;
	it->due_ms = due_ms;
	it->to = to;
	it->topic = strdup(p->topic);
	it->payload = malloc(p->len + 1);
	it->len = p->len;
	it->retain = p->retain;
	if (!it->topic || !it->payload) {
		item_free(it);
		return ERR_NOMEM;
	}
	if (p->len)
		memcpy(it->payload, p->payload, p->len);
	enqueue(m, it);
	return 0;
}

static int add_change(struct client *c, enum item_kind kind)
{
	struct item *it = calloc(1, sizeof(*it));

	if (!it)
		return ERR_NOMEM;
	it->kind = kind;
	it->due_ms = c->broker->now_ms;
	it->to = c;
	enqueue(c->broker, it);
	return 0;
}

/* Birth and Last Will: retained text, published by the broker itself, past the hook. */
static int add_status(struct bus_mem *m, const char *topic, const char *payload)
{
	struct bus_publish p = {
		.topic = topic,
		.payload = payload,
		.len = strlen(payload),
		.qos = 1,
		.retain = true,
	};

	return add_message(m, ITEM_ROUTE, NULL, &p, m->now_ms);
}

/* Forget what is under way to c. */
static void drop_items_to(struct bus_mem *m, const struct client *c)
{
	struct item **at = &m->items;

	while (*at) {
		struct item *it = *at;

		if (it->to == c) {
			*at = it->next;
			item_free(it);
		} else {
			at = &it->next;
		}
	}
}

/* ---- the retained store ---- */

static void stored_free(struct stored *s)
{
	free(s->topic);
	free(s->payload);
	free(s);
}

/* Takes topic and payload over from it; an empty payload only erases. */
static void store(struct bus_mem *m, struct item *it)
{
	struct stored **at = &m->store;
	struct stored *s;

	while (*at && strcmp((*at)->topic, it->topic))
		at = &(*at)->next;
	s = *at;
	if (s) {
		*at = s->next;
		stored_free(s);
	}
	s = it->len ? calloc(1, sizeof(*s)) : NULL;
	if (!s)
		return;
	*s = (struct stored){ m->store, it->topic, it->payload, it->len };
	m->store = s;
	it->topic = NULL;
	it->payload = NULL;
}

/* ---- delivery ---- */

static void deliver(struct client *c, const char *topic, const uint8_t *payload, size_t len,
		    bool retained)
{
	struct bus_event ev = {
		.kind = BUS_MESSAGE,
		.topic = topic,
		.payload = payload,
		.len = len,
		.retained = retained,
	};

	/* Brokers drop silently what the receiver's maximum forbids. */
	if (len > bus_payload_room(c->max_packet, topic)) {
		c->counts.oversized++;
		return;
	}
	c->counts.received++;
	c->handler(c->ctx, &ev);
}

/* Returns the number of deliveries. */
static unsigned send_retained(struct client *c, const char *filter)
{
	unsigned n = 0;

	if (!strncmp(filter, "$share/", 7))
		return 0; /* MQTT 5.0, 4.8.2: not for shared subscriptions */
	for (struct stored *s = c->broker->store; s; s = s->next) {
		if (bus_filter_match(filter, s->topic)) {
			deliver(c, s->topic, s->payload, s->len, true);
			n++;
		}
	}
	return n;
}

static bool wants(const struct client *c, const char *topic)
{
	for (const struct sub *s = c->subs; s; s = s->next) {
		if (s->active && strncmp(s->filter, "$share/", 7) &&
		    bus_filter_match(s->filter, topic))
			return true;
	}
	return false;
}

static bool is_member(const struct client *c, const char *filter)
{
	for (const struct sub *s = c->subs; s; s = s->next) {
		if (!strcmp(s->filter, filter))
			return c->up && s->active;
	}
	return false;
}

/* The member whose turn it is, or NULL. */
static struct client *next_member(struct bus_mem *m, struct share *sh)
{
	size_t n = 0, turn;

	for (struct client *c = m->clients; c; c = c->next)
		n += is_member(c, sh->filter);
	if (!n)
		return NULL;
	turn = sh->turn++ % n;
	for (struct client *c = m->clients; c; c = c->next) {
		if (is_member(c, sh->filter) && turn-- == 0)
			return c;
	}
	return NULL;
}

static unsigned route(struct bus_mem *m, struct item *it)
{
	unsigned n = 0;

	for (struct client *c = m->clients; c; c = c->next) {
		if (c->up && wants(c, it->topic)) {
			deliver(c, it->topic, it->payload, it->len, false);
			n++;
		}
	}
	for (struct share *sh = m->shares; sh; sh = sh->next) {
		struct client *c = NULL;

		if (bus_filter_match(sh->filter, it->topic))
			c = next_member(m, sh);
		if (c) {
			deliver(c, it->topic, it->payload, it->len, false);
			n++;
		}
	}
	if (it->retain)
		store(m, it);
	return n;
}

static void tell(struct client *c, enum bus_event_kind kind, const char *text)
{
	struct bus_event ev = { .kind = kind, .text = text };

	c->handler(c->ctx, &ev);
}

static unsigned activate(struct client *c, struct sub *s)
{
	s->active = true;
	return send_retained(c, s->filter);
}

/* Out of memory here loses a message, as a network would. */
static unsigned come_up(struct client *c)
{
	unsigned n = 0;

	c->up = true;
	c->counts.connects++;
	for (struct sub *s = c->subs; s; s = s->next)
		n += activate(c, s);
	if (c->birth_topic)
		(void)!add_status(c->broker, c->birth_topic, c->birth_payload);
	tell(c, BUS_UP, "connected");
	return n;
}

static struct sub *find_sub(struct client *c, const char *filter)
{
	struct sub *s = c->subs;

	while (s && strcmp(s->filter, filter))
		s = s->next;
	return s;
}

static unsigned perform(struct bus_mem *m, struct item *it)
{
	switch (it->kind) {
	case ITEM_ROUTE:
		return route(m, it);
	case ITEM_SUBSCRIBE:
		return activate(it->to, find_sub(it->to, it->topic));
	case ITEM_UP:
		return it->to->cut || it->to->up ? 0 : come_up(it->to);
	case ITEM_DOWN:
		tell(it->to, BUS_DOWN, "cut off");
		return 0;
	}
	return 0;
}

unsigned bus_mem_pump(struct bus_mem *broker, uint64_t now_ms)
{
	unsigned n = 0;

	assert(now_ms >= broker->now_ms);
	broker->now_ms = now_ms;
	while (broker->items && broker->items->due_ms <= now_ms) {
		struct item *it = broker->items;

		broker->items = it->next;
		n += perform(broker, it);
		item_free(it);
	}
	return n;
}

uint64_t bus_mem_next_ms(const struct bus_mem *broker)
{
	return broker->items ? broker->items->due_ms : UINT64_MAX;
}

/* ---- the bus of one client ---- */

static int remember_share(struct bus_mem *m, const char *filter)
{
	struct share *sh;

	for (sh = m->shares; sh; sh = sh->next) {
		if (!strcmp(sh->filter, filter))
			return 0;
	}
	sh = calloc(1, sizeof(*sh));
	if (sh)
		sh->filter = strdup(filter);
	if (!sh || !sh->filter) {
		free(sh);
		return ERR_NOMEM;
	}
	sh->next = m->shares;
	m->shares = sh;
	return 0;
}

static int remember(struct client *c, const char *filter)
{
	struct sub *s = calloc(1, sizeof(*s));

	if (s)
		s->filter = strdup(filter);
	if (!s || !s->filter ||
	    (!strncmp(filter, "$share/", 7) && remember_share(c->broker, filter))) {
		if (s)
			free(s->filter);
		free(s);
		return ERR_NOMEM;
	}
	s->next = c->subs;
	c->subs = s;
	return 0;
}

static int mem_subscribe(struct bus *b, const char *filter, int qos)
{
	struct client *c = (struct client *)b;
	struct bus_publish as_item = { .topic = filter };

	(void)qos; /* nothing is lost here but by the hook */
	if (!find_sub(c, filter) && remember(c, filter))
		return ERR_NOMEM;
	if (!c->up)
		return 0;
	return add_message(c->broker, ITEM_SUBSCRIBE, c, &as_item, c->broker->now_ms);
}

static int mem_set_birth(struct bus *b, const char *topic, const char *payload)
{
	struct client *c = (struct client *)b;
	char *t = strdup(topic), *p = strdup(payload);

	if (!t || !p) {
		free(t);
		free(p);
		return ERR_NOMEM;
	}
	free(c->birth_topic);
	free(c->birth_payload);
	c->birth_topic = t;
	c->birth_payload = p;
	return c->up ? add_status(c->broker, t, p) : 0;
}

static int mem_publish(struct bus *b, const struct bus_publish *p)
{
	struct client *c = (struct client *)b;
	struct bus_mem *m = c->broker;
	uint32_t delay_ms = 0;
	unsigned copies = m->hook ? m->hook(m->hook_ctx, c->id, p, &delay_ms) : 1;
	int rc = 0;

	c->counts.published++;
	if (p->expiry_s && delay_ms / 1000 >= p->expiry_s)
		return 0;
	while (copies-- && !rc)
		rc = add_message(m, ITEM_ROUTE, NULL, p, m->now_ms + delay_ms);
	return rc;
}

static uint32_t mem_max_packet(struct bus *b)
{
	return ((struct client *)b)->max_packet;
}

static bool mem_is_up(struct bus *b)
{
	return ((struct client *)b)->up;
}

static void mem_get_counts(struct bus *b, struct bus_counts *n)
{
	*n = ((struct client *)b)->counts;
}

static void client_free(struct client *c)
{
	while (c->subs) {
		struct sub *s = c->subs;

		c->subs = s->next;
		free(s->filter);
		free(s);
	}
	free(c->id);
	free(c->will_topic);
	free(c->will_payload);
	free(c->birth_topic);
	free(c->birth_payload);
	free(c);
}

static void mem_close(struct bus *b, uint32_t timeout_ms)
{
	struct client *c = (struct client *)b;
	struct client **at = &c->broker->clients;

	(void)timeout_ms; /* what was published is in the broker already */
	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	drop_items_to(c->broker, c);
	client_free(c);
}

static const struct bus_ops mem_ops = {
	.subscribe = mem_subscribe,
	.set_birth = mem_set_birth,
	.publish = mem_publish,
	.max_packet = mem_max_packet,
	.is_up = mem_is_up,
	.get_counts = mem_get_counts,
	.close = mem_close,
};

/* ---- the broker ---- */

static struct client *find(struct bus_mem *m, const char *id)
{
	struct client *c = m->clients;

	while (c && strcmp(c->id, id))
		c = c->next;
	return c;
}

int bus_mem_open(struct bus **out, struct bus_mem *broker, const struct bus_conf *conf,
		 bus_handler *handler, void *ctx)
{
	struct client *c, **at = &broker->clients;

	if (find(broker, conf->client_id))
		return ERR_STATE;
	c = calloc(1, sizeof(*c));
	if (!c)
		return ERR_NOMEM;
	c->bus.ops = &mem_ops;
	c->broker = broker;
	c->handler = handler;
	c->ctx = ctx;
	c->max_packet = conf->max_packet_bytes ? conf->max_packet_bytes : BUS_PACKET_BYTES_DEFAULT;
	c->id = strdup(conf->client_id);
	if (conf->will_topic) {
		c->will_topic = strdup(conf->will_topic);
		c->will_payload = strdup(conf->will_payload);
	}
	if (!c->id || (conf->will_topic && (!c->will_topic || !c->will_payload)) ||
	    add_change(c, ITEM_UP)) {
		client_free(c);
		return ERR_NOMEM;
	}
	while (*at) /* at the end: the order of delivery is the order of opening */
		at = &(*at)->next;
	*at = c;
	*out = &c->bus;
	return 0;
}

void bus_mem_cut(struct bus_mem *broker, const char *client_id)
{
	struct client *c = find(broker, client_id);

	assert(c);
	if (c->cut)
		return;
	c->cut = true;
	drop_items_to(broker, c);
	if (c->up && c->will_topic)
		(void)!add_status(broker, c->will_topic, c->will_payload);
	c->up = false;
	for (struct sub *s = c->subs; s; s = s->next)
		s->active = false;
	(void)!add_change(c, ITEM_DOWN);
}

void bus_mem_restore(struct bus_mem *broker, const char *client_id)
{
	struct client *c = find(broker, client_id);

	assert(c);
	if (!c->cut)
		return;
	c->cut = false;
	(void)!add_change(c, ITEM_UP);
}

int bus_mem_create(struct bus_mem **out, bus_mem_hook *hook, void *ctx)
{
	struct bus_mem *m = calloc(1, sizeof(*m));

	if (!m)
		return ERR_NOMEM;
	m->hook = hook;
	m->hook_ctx = ctx;
	*out = m;
	return 0;
}

void bus_mem_destroy(struct bus_mem *broker)
{
	if (!broker)
		return;
	assert(!broker->clients); /* close them first */
	while (broker->items) {
		struct item *it = broker->items;

		broker->items = it->next;
		item_free(it);
	}
	while (broker->store) {
		struct stored *s = broker->store;

		broker->store = s->next;
		stored_free(s);
	}
	while (broker->shares) {
		struct share *sh = broker->shares;

		broker->shares = sh->next;
		free(sh->filter);
		free(sh);
	}
	free(broker);
}
