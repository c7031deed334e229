#include "tools/bus_trip.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/queue.h"
#include "base/rng.h"

#define PATIENCE_MS 5000
#define QUEUE_ITEMS 64
#define HEAD_BYTES  4 /* of a request: how many bytes the answer shall have */
#define WEIGHTS     ((size_t)1 << 20)
#define PIECE       4096 /* of them between two looks at the clock */

/* One client and what has come to it: an item per message, or for BUS_UP. */
struct end {
	struct bus *bus;
	struct queue *inbox;
};

struct arrival {
	bool up;
	uint32_t wanted; /* bytes of an answer */
	int qos;
};

struct bus_trip {
	struct end asks, answers;
	char there[160], back[160];
	uint8_t *bytes; /* what is sent, both ways */
	atomic_uint busy_us;
	uint64_t *weights; /* [WEIGHTS], to compute with */
	pthread_t echo;
	bool echoes;
};

/* Any thread of a bus. */
static void take(void *ctx, const struct bus_event *ev)
{
	struct arrival *a;

	if (ev->kind != BUS_UP && (ev->kind != BUS_MESSAGE || ev->len < HEAD_BYTES))
		return;
	a = calloc(1, sizeof(*a));
	if (!a)
		return; /* seen as a timeout */
	a->up = ev->kind == BUS_UP;
	if (!a->up) {
		memcpy(&a->wanted, ev->payload, sizeof(a->wanted));
		a->qos = (int)(a->wanted >> 31);
		a->wanted &= INT32_MAX;
	}
	if (!queue_push(ctx, a))
		free(a);
}

static int open_end(struct end *end, const struct bus_conf *conf, const char *what,
		    const char *listens, struct err *e)
{
	struct bus_conf c = *conf;
	struct arrival *a;
	char id[64];
	int rc;

	snprintf(id, sizeof(id), "bench-%s-%08" PRIx32, what, (uint32_t)rng_entropy());
	c.client_id = id;
	c.max_packet_bytes = BUS_TRIP_MAX_BYTES + 1024;
	if (queue_create(&end->inbox, QUEUE_ITEMS))
		return err_set(e, ERR_NOMEM, "out of memory");
	rc = bus_mqtt_open(&end->bus, &c, take, end->inbox, e);
	if (!rc && bus_subscribe(end->bus, listens, 1))
		rc = err_set(e, ERR_USAGE, "cannot subscribe to %s", listens);
	if (rc)
		return rc;
	a = queue_pop(end->inbox, PATIENCE_MS);
	free(a);
	return a ? 0
		 : err_set(e, ERR_OFFLINE, "broker %s:%u does not answer", conf->host, conf->port);
}

static void close_end(struct end *end)
{
	bus_close(end->bus, 100);
	queue_destroy(end->inbox, free);
}

static int send(struct bus_trip *t, struct bus *bus, const char *topic, size_t len, int qos)
{
	return bus_publish(bus,
			   &(struct bus_publish){
				   .topic = topic, .payload = t->bytes, .len = len, .qos = qos });
}

/* Read weights, as layers do, which leaves nothing else in the caches of the processor. */
static void compute(const struct bus_trip *t, uint32_t us)
{
	const uint64_t until = clock_now_us() + us;
	uint64_t sum = 0;
	size_t at = 0;

	while (us && clock_now_us() < until) {
		for (size_t i = 0; i < PIECE; i++)
			sum += t->weights[at + i];
		at = (at + PIECE) % WEIGHTS;
		__asm__ volatile("" : : "r"(sum)); /* it counts */
	}
}

/* The echo thread: until its inbox is closed. What it sends is zeros, which ask for nothing. */
static void *answer(void *arg)
{
	static const uint8_t zeros[BUS_TRIP_MAX_BYTES];
	struct bus_trip *t = arg;

	while (!queue_done(t->answers.inbox)) {
		struct arrival *a = queue_pop(t->answers.inbox, -1);
		struct bus_publish p = { .topic = t->back, .payload = zeros };

		if (a && !a->up && a->wanted <= sizeof(zeros)) {
			compute(t, atomic_load(&t->busy_us));
			p.len = a->wanted;
			p.qos = a->qos;
			(void)!bus_publish(t->answers.bus, &p); /* a failure is seen as a timeout */
		}
		free(a);
	}
	return NULL;
}

int bus_trip_open(struct bus_trip **out, const struct bus_conf *asks,
		  const struct bus_conf *answers, const char *topics, struct err *e)
{
	struct bus_trip *t = calloc(1, sizeof(*t));
	const uint32_t own = (uint32_t)rng_entropy();
	int rc = 0;

	if (!t)
		return err_set(e, ERR_NOMEM, "out of memory");
	snprintf(t->there, sizeof(t->there), "%.120s/%08" PRIx32 "/there", topics, own);
	snprintf(t->back, sizeof(t->back), "%.120s/%08" PRIx32 "/back", topics, own);
	t->bytes = calloc(1, BUS_TRIP_MAX_BYTES);
	t->weights = malloc(WEIGHTS * sizeof(*t->weights));
	if (t->weights)
		memset(t->weights, 1, WEIGHTS * sizeof(*t->weights));
	if (!t->bytes || !t->weights)
		rc = err_set(e, ERR_NOMEM, "out of memory");
	if (!rc)
		rc = open_end(&t->answers, answers, "answers", t->there, e);
	if (!rc)
		rc = open_end(&t->asks, asks, "asks", t->back, e);
	if (!rc && pthread_create(&t->echo, NULL, answer, t))
		rc = err_set(e, ERR_NOMEM, "a thread: out of memory");
	t->echoes = !rc;
	if (rc) {
		bus_trip_close(t);
		return rc;
	}
	*out = t;
	return 0;
}

void bus_trip_close(struct bus_trip *t)
{
	if (!t)
		return;
	if (t->echoes) {
		queue_close(t->answers.inbox);
		pthread_join(t->echo, NULL);
	}
	close_end(&t->asks);
	close_end(&t->answers);
	free(t->bytes);
	free(t->weights);
	free(t);
}

int bus_trip_measure(struct bus_trip *t, const struct bus_trip_conf *c, unsigned n, double *us,
		     struct err *e)
{
	const uint32_t wanted = (uint32_t)c->back | (uint32_t)c->qos << 31;

	memcpy(t->bytes, &wanted, sizeof(wanted));
	atomic_store(&t->busy_us, c->busy_us);
	for (unsigned i = 0; i < n; i++) {
		struct arrival *a = NULL;
		uint64_t start;
		int rc;

		compute(t, c->busy_us);
		start = clock_now_us() + c->busy_us; /* that of the other end */
		rc = send(t, t->asks.bus, t->there, c->there, c->qos);
		if (rc)
			return err_set(e, rc, "%zu bytes: %s", c->there, err_phrase(rc));
		do {
			free(a);
			a = queue_pop(t->asks.inbox, PATIENCE_MS);
		} while (a && a->up);
		if (!a)
			return err_set(e, ERR_TIMEOUT, "no answer to %zu bytes", c->there);
		free(a);
		us[i] = (double)clock_now_us() - (double)start;
	}
	return 0;
}
