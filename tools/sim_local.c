#include "tools/sim_local.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/rng.h"
#include "bus/bus.h"
#include "coordinator/core.h"
#include "tools/progress.h"

#define TICK_US     200000u /* as coordinator/main.c */
#define DECIDE_MS   1000    /* between two decisions for an agent, likewise */
#define TICK_AGENTS 64      /* that a call of it looks at, as coordinator/core.c */
#define START_MS    1000u   /* the coordinator's clock at the beginning; 0 means "never" to it */

/* A decision on its way to the broker. */
struct letter {
	struct letter *next;
	size_t len;
	char *topic;
	char payload[];
};

struct local {
	struct sim_world *world;
	struct coordinator_core core;
	uint32_t n_agents;
	struct bus_mem *broker;
	struct bus *bus;
	struct sim_cost *cost;
	struct letter *first, **last;
	uint64_t published; /* decisions, by the call that is measured */
	int error;
};

void sim_cost_finish(struct sim_cost *c)
{
	sim_series_finish(&c->decision_us);
}

static uint64_t cpu_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000;
}

static uint64_t now_ms(const struct local *l)
{
	return START_MS + (l->world ? sim_world_now_us(l->world) / 1000 : 0);
}

/* ---- what the coordinator publishes ---- */

/* bus_mem's hook: decisions are ours to carry; the broker in memory keeps the rest. */
static unsigned on_publish(void *ctx, const char *client, const struct bus_publish *p,
			   uint32_t *delay_ms)
{
	struct local *l = ctx;
	struct letter *letter;
	struct topic t;

	(void)client;
	(void)delay_ms;
	if (topic_get(&t, p->topic, strlen(p->topic)) || t.kind != TOPIC_DECISION)
		return 1;
	letter = malloc(sizeof(*letter) + p->len + strlen(p->topic) + 1);
	if (!letter) {
		l->error = ERR_NOMEM;
		return 0;
	}
	letter->next = NULL;
	letter->len = p->len;
	letter->topic = letter->payload + p->len;
	memcpy(letter->payload, p->payload, p->len);
	memcpy(letter->topic, p->topic, strlen(p->topic) + 1);
	*l->last = letter;
	l->last = &letter->next;
	l->published++;
	return 0;
}

/* ---- calls of the coordinator, measured ---- */

struct watch {
	uint64_t wall_us, cpu_us;
};

static struct watch begin(struct local *l)
{
	l->published = 0;
	return (struct watch){ .wall_us = clock_now_us(), .cpu_us = cpu_us() };
}

/* looked: agents that were thought about, with or without a change. */
static void end(struct local *l, const struct watch *w, uint64_t looked)
{
	double us = (double)(clock_now_us() - w->wall_us);

	l->cost->cpu_s += (double)(cpu_us() - w->cpu_us) / 1e6;
	l->cost->decisions += l->published;
	if (looked < l->published)
		looked = l->published;
	l->cost->plans += looked;
	for (uint64_t i = 0; i < looked; i++)
		sim_series_add(&l->cost->decision_us, us / (double)looked);
}

/* Agents that the next call decides for: who was told something a moment ago has to wait. */
static uint64_t count_ready(const struct local *l)
{
	const struct roster *r = &l->core.roster;
	uint64_t ready = 0;

	for (uint32_t i = 0; i < r->n_due && i < TICK_AGENTS; i++) {
		uint32_t place = r->due[(r->first_due + i) % r->cap_due];
		const struct roster_agent *a = &r->agents[place];

		ready += !a->decided_ms || now_ms(l) >= a->decided_ms + DECIDE_MS;
	}
	return ready;
}

/* True when more are due. */
static bool decide(struct local *l)
{
	uint64_t ready = count_ready(l);
	struct watch w = begin(l);
	bool more = coordinator_core_tick(&l->core, now_ms(l));

	end(l, &w, ready);
	return more;
}

/* Read, then decide: apart, so that it can be told what each takes. */
static void hear(struct local *l, const char *topic, const void *payload, size_t len)
{
	const struct bus_event ev = {
		.kind = BUS_MESSAGE,
		.topic = topic,
		.payload = payload,
		.len = len,
	};
	struct watch w = begin(l);

	l->core.behind = true;
	coordinator_core_message(&l->core, &ev, now_ms(l));
	l->core.behind = false;
	end(l, &w, 0);
	l->cost->messages++;
	decide(l);
}

/* To the agent, and back to the coordinator, which listens to decisions, too. */
static void carry(struct local *l)
{
	while (l->first) {
		struct letter *letter = l->first;
		struct err e;
		struct msg m;

		l->first = letter->next;
		if (!l->first)
			l->last = &l->first;
		if (msg_parse(&m, letter->payload, letter->len, MSG_TYPE_COUNT, &e)) {
			l->error = ERR_INTERNAL;
		} else {
			if (sim_world_decide(l->world, &m.u.decision))
				l->error = ERR_NOMEM;
			msg_finish(&m);
		}
		hear(l, letter->topic, letter->payload, letter->len);
		free(letter);
	}
}

static void tick(struct local *l)
{
	struct watch w = begin(l);

	bus_mem_pump(l->broker, now_ms(l));
	end(l, &w, 0);
	for (uint32_t n = l->n_agents / TICK_AGENTS + 1; n; n--) {
		if (!decide(l))
			break;
	} /* more would not come to an end: who may not be decided for yet stays due */
	l->cost->ticks++;
	carry(l);
}

/* Messages reach the coordinator at once: the way is part of the decision's way back. */
static void on_message(void *ctx, const struct topic *t, const struct msg *m, int qos, bool retain)
{
	struct local *l = ctx;
	char topic[TOPIC_MAX], *text;
	size_t len;

	(void)qos;
	(void)retain;
	topic_put(topic, t);
	if (msg_print(m, &text, &len)) {
		l->error = ERR_NOMEM;
		return;
	}
	hear(l, topic, text, len);
	free(text);
	carry(l);
}

static void on_bus(void *ctx, const struct bus_event *ev)
{
	struct local *l = ctx;

	if (ev->kind == BUS_MESSAGE)
		coordinator_core_message(&l->core, ev, now_ms(l));
	else
		coordinator_core_link(&l->core, ev->kind == BUS_UP, now_ms(l));
}

/* ---- the run ---- */

static int start(struct local *l, const struct scenario *s, const struct sim_limits *limits,
		 const struct config_coordinator *conf)
{
	const struct bus_conf bus = { .client_id = conf->coordinator };
	int rc = bus_mem_create(&l->broker, on_publish, l);

	l->core = (struct coordinator_core){ .conf = conf, .boot = rng_u64(s->seed, 0) | 1 };
	if (!rc)
		rc = bus_mem_open(&l->bus, l->broker, &bus, on_bus, l);
	if (!rc)
		rc = coordinator_core_start(&l->core, l->bus);
	if (!rc)
		rc = sim_world_create(&l->world, s, limits, conf->fleet, on_message, l);
	return rc;
}

static int play(struct local *l, const struct scenario *s)
{
	const uint64_t end_us = 1000000u * (uint64_t)s->duration_s;
	struct progress p = { .what = "simulate", .units = "s", .total = s->duration_s };
	int rc = 0;

	for (uint64_t now_us = 0; !rc && now_us < end_us; now_us += TICK_US) {
		tick(l);
		rc = sim_world_run(l->world, now_us + TICK_US < end_us ? now_us + TICK_US : end_us);
		if (!rc)
			rc = l->error;
		progress_show(&p, now_us / 1000000);
	}
	progress_clear(&p);
	return rc;
}

int sim_local_run(struct sim_world **world, struct sim_cost *cost, const struct scenario *s,
		  const struct sim_limits *limits, const struct config_coordinator *conf,
		  struct err *e)
{
	struct local l = { .cost = cost, .last = &l.first, .n_agents = s->agents };
	uint64_t began_us = clock_now_us();
	int rc = start(&l, s, limits, conf);

	if (!rc)
		rc = play(&l, s);
	cost->wall_s = (double)(clock_now_us() - began_us) / 1e6;
	*world = l.world;
	while (l.first) {
		struct letter *letter = l.first;

		l.first = letter->next;
		free(letter);
	}
	coordinator_core_finish(&l.core);
	if (l.bus)
		bus_close(l.bus, 0);
	bus_mem_destroy(l.broker);
	return rc ? err_set(e, rc, "simulation: %s", err_phrase(rc)) : 0;
}
