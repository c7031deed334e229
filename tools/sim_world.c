#include "tools/sim_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "tools/sim_impl.h"

void sim_add(struct sim_world *w, const struct sim_event *ev)
{
	int rc = sim_queue_add(&w->queue, ev);

	if (rc)
		w->error = rc;
}

void sim_after(struct sim_world *w, uint64_t wait_us, enum sim_kind kind, uint32_t who)
{
	struct sim_event ev = { .kind = kind, .who = who, .at_us = UINT64_MAX };

	if (wait_us < UINT64_MAX - w->now_us)
		ev.at_us = w->now_us + wait_us;
	sim_add(w, &ev);
}

void sim_world_agent_name(char dst[static TOPIC_NAME_MAX + 1], uint32_t i)
{
	snprintf(dst, TOPIC_NAME_MAX + 1, "sim-%05u", (unsigned)i);
}

void sim_world_worker_name(char dst[static TOPIC_NAME_MAX + 1], uint32_t i)
{
	snprintf(dst, TOPIC_NAME_MAX + 1, "sim-w%03u", (unsigned)i);
}

double sim_kv_bytes(const struct sim_world *w, enum kv_type kv)
{
	static const double bytes[KV_TYPE_COUNT] = {
		[KV_F16] = 2, [KV_F32] = 4, [KV_Q8_0] = 34.0 / 32, [KV_Q4_0] = 18.0 / 32
	};

	return w->conf.model.kv_elements * bytes[kv];
}

static int make_layers(struct sim_world *w)
{
	const struct scenario_model *m = &w->conf.model;

	w->layer_bytes = calloc((size_t)m->n_fronts * m->layers, sizeof(*w->layer_bytes));
	if (!w->layer_bytes)
		return ERR_NOMEM;
	for (uint32_t f = 0; f < m->n_fronts; f++) {
		for (uint32_t i = 0; i < m->layers; i++)
			w->layer_bytes[f * m->layers + i] =
				(uint64_t)(m->layer_numbers * m->fronts[f].bits / 8);
	}
	return 0;
}

static int populate(struct sim_world *w)
{
	w->agents = calloc(w->conf.agents, sizeof(*w->agents));
	w->workers = calloc(w->conf.workers ? w->conf.workers : 1, sizeof(*w->workers));
	if (!w->agents || !w->workers || make_layers(w))
		return ERR_NOMEM;
	for (uint32_t i = 0; i < w->conf.workers; i++)
		sim_worker_init(w, &w->workers[i], i);
	for (uint32_t i = 0; i < w->conf.agents; i++)
		sim_agent_init(w, &w->agents[i], i);
	return w->error;
}

int sim_world_create(struct sim_world **out, const struct scenario *s,
		     const struct sim_limits *limits, const char *fleet, sim_publish *publish,
		     void *ctx)
{
	struct sim_world *w = calloc(1, sizeof(*w));
	int rc;

	if (!w)
		return ERR_NOMEM;
	w->conf = *s;
	w->limits = *limits;
	snprintf(w->fleet, sizeof(w->fleet), "%s", fleet);
	snprintf(w->model, sizeof(w->model), "%016llx%016llx",
		 (unsigned long long)rng_u64(s->seed, 1), (unsigned long long)rng_u64(s->seed, 2));
	w->publish = publish;
	w->ctx = ctx;
	rc = populate(w);
	if (rc) {
		sim_world_destroy(w);
		return rc;
	}
	*out = w;
	return 0;
}

void sim_world_destroy(struct sim_world *w)
{
	if (!w)
		return;
	for (uint32_t i = 0; w->agents && i < w->conf.agents; i++) {
		free(w->agents[i].sessions);
		free(w->agents[i].coming);
		free(w->agents[i].meter);
	}
	for (uint32_t i = 0; w->workers && i < w->conf.workers; i++)
		free(w->workers[i].rows);
	free(w->agents);
	free(w->workers);
	free(w->layer_bytes);
	sim_queue_finish(&w->queue);
	sim_stats_finish(&w->stats);
	free(w);
}

uint64_t sim_world_next_us(const struct sim_world *w)
{
	return sim_queue_next_us(&w->queue);
}

uint64_t sim_world_now_us(const struct sim_world *w)
{
	return w->now_us;
}

static void perform(struct sim_world *w, const struct sim_event *ev)
{
	w->stats.events++;
	if (ev->kind >= SIM_W_START)
		sim_worker_event(w, &w->workers[ev->who], ev);
	else if (ev->kind >= SIM_OPENED)
		sim_session_event(w, &w->agents[ev->who], ev);
	else
		sim_agent_event(w, &w->agents[ev->who], ev);
}

int sim_world_run(struct sim_world *w, uint64_t until_us)
{
	while (!w->error && sim_queue_next_us(&w->queue) <= until_us) {
		struct sim_event ev = sim_queue_take(&w->queue);

		w->now_us = ev.at_us;
		perform(w, &ev);
	}
	if (w->now_us < until_us)
		w->now_us = until_us;
	return w->error;
}

/* Of "sim-00012": 12, when there is such an agent. */
static struct sim_agent *find(struct sim_world *w, const char *name)
{
	char own[TOPIC_NAME_MAX + 1];
	unsigned long i;

	if (strncmp(name, "sim-", 4))
		return NULL;
	i = strtoul(name + 4, NULL, 10);
	if (i >= w->conf.agents)
		return NULL;
	sim_world_agent_name(own, (uint32_t)i);
	return strcmp(own, name) ? NULL : &w->agents[i];
}

int sim_world_decide(struct sim_world *w, const struct msg_decision *d)
{
	struct sim_agent *a = find(w, d->agent);

	if (!a)
		return 0;
	if (!a->coming)
		a->coming = malloc(sizeof(*a->coming));
	if (!a->coming)
		return ERR_NOMEM;
	*a->coming = *d;
	sim_after(w, (uint64_t)(1000 * a->link.rtt_ms), SIM_DECISION, a->index);
	return w->error;
}

void sim_world_leave(struct sim_world *w)
{
	for (uint32_t i = 0; i < w->conf.agents; i++) {
		if (w->agents[i].up)
			sim_say_agent(w, &w->agents[i], MSG_OFFLINE);
	}
	for (uint32_t i = 0; i < w->conf.workers; i++) {
		if (w->workers[i].state == MSG_READY || w->workers[i].state == MSG_DRAINING)
			sim_say_worker(w, &w->workers[i], MSG_OFFLINE);
	}
}

struct sim_stats *sim_world_stats(struct sim_world *w)
{
	return &w->stats;
}
