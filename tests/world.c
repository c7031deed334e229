#include "tests/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/slot.h"
#include "base/rng.h"
#include "daemon/inbox.h"

static uint64_t roll(struct world *w, uint64_t below)
{
	return rng_u64(w->seed, w->rolls++) % below;
}

static void see_split(struct world *w, const struct wire_hdr *h)
{
	if (wire_is_fill(h)) {
		w->fills += h->kind == WIRE_ROWS;
		w->values += h->kind == WIRE_KV;
		return;
	}
	w->raised += h->split > w->split;
	w->lowered += h->split < w->split;
	w->split = h->split;
}

static unsigned fault(void *ctx, const char *client, const struct bus_publish *p,
		      uint32_t *delay_ms)
{
	struct world *w = ctx;
	struct wire_hdr h;

	(void)client;
	if (w->codec.later && !wire_get_hdr(&h, p->payload, p->len, NULL) && h.kind == WIRE_ROWS)
		memset(w->codecs + h.pos, h.codec + 1, h.rows);
	if (w->splits_move && !wire_get_hdr(&h, p->payload, p->len, NULL))
		see_split(w, &h);
	if (!wire_get_hdr(&h, p->payload, p->len, NULL) && h.kind == WIRE_ROWS)
		w->drafts += (h.flags & WIRE_DRAFT) != 0;
	*delay_ms = (uint32_t)roll(w, w->max_delay_ms + 1);
	if (w->quiet || p->retain || strstr(p->topic, "/reply/"))
		return 1;
	if (roll(w, 100) < w->drop_percent)
		return 0;
	return roll(w, 100) < w->double_percent ? 2 : 1;
}

static void schedule(struct world *w, struct head_job *head, struct tail_job *tail, unsigned worker)
{
	assert_true(w->n_jobs < WORLD_JOBS);
	w->jobs[w->n_jobs++] = (struct world_job){
		.due_us = w->now_us + roll(w, 4000), .head = head, .tail = tail, .worker = worker
	};
}

static int begin_head(void *ctx, struct head_job *job, uint32_t split, uint32_t context,
		      enum kv_type type, struct err *e)
{
	struct world *w = ctx;

	w->head_types |= 1u << type;
	return toy_begin_head(ctx, job, split, context, type, e);
}

static int begin_tail(void *ctx, struct kv **kv, uint32_t split, uint32_t context,
		      enum kv_type type, struct err *e)
{
	struct world_node *n = ctx;

	n->world->tail_types |= 1u << type;
	return toy_begin_tail(ctx, kv, split, context, type, e);
}

static bool agent_submit(void *ctx, struct head_job *job)
{
	struct world *w = ctx;

	if (!job->side && !job->recast)
		w->ahead[job->slot].on = false;
	if (!job->side && !job->recast && !job->pos)
		w->ahead[job->slot].prompt = w->asking;
	schedule(w, job, NULL, 0);
	return true;
}

static void end_head(void *ctx, struct head_job *job, uint32_t split, uint32_t context)
{
	struct world *w = ctx;

	w->ahead[job->slot].on = false;
	toy_end_head(ctx, job, split, context);
}

/* The head has rows of one job more, and may go on with what is guessed. */
static void may_go_ahead(struct world *w, struct head_job *job)
{
	struct world_ahead *a = &w->ahead[job->slot];

	if (job->side || job->recast)
		return;
	a->on = !job->sample && !job->rc;
	a->job = job;
	a->pos = job->pos + job->rows;
}

/* Four guesses of five are right, where the answer is known. */
static uint32_t guess(struct world *w, const struct world_ahead *a)
{
	const uint32_t n = w->n_prompt[a->prompt], made = w->n_expected[a->prompt];

	if (roll(w, 5) && a->pos >= n && a->pos - n < made)
		return w->expected[a->prompt][a->pos - n];
	return (uint32_t)roll(w, TOY_VOCAB);
}

/* No more than the codec's states can be taken back by. */
static bool may_draft(const struct world *w, const struct world_ahead *a)
{
	return a->on && a->pos < w->agent->slots[a->job->slot].session.n_ids + CODEC_MARKS;
}

static void go_ahead(struct world *w, struct world_ahead *a)
{
	const uint32_t id = guess(w, a);
	struct head_draft d = { .slot = a->job->slot, .pos = a->pos, .id = id };
	uint8_t bytes[1024];

	a->on = toy_draft(a->job, &d, bytes, sizeof(bytes));
	a->pos++;
	if (a->on)
		agent_core_drafted(w->agent, &d, w->now_us);
}

static void on_reply(void *ctx, const struct msg_reply *r)
{
	struct world *w = ctx;
	unsigned i = (unsigned)(r->id[0] - 'a');

	if (!r->done)
		return;
	w->finals[i]++;
	w->finished++;
	w->errors[i] = r->error;
	if (r->error)
		return;
	if (w->codec.later) {
		w->n_got = r->n_ids;
		memcpy(w->got, r->ids, r->n_ids * sizeof(r->ids[0]));
		return;
	}
	if (r->n_ids != w->n_expected[i] ||
	    memcmp(r->ids, w->expected[i], r->n_ids * sizeof(r->ids[0])) != 0)
		print_message("seed %llu: prompt %u at %llu us\n", (unsigned long long)w->seed, i,
			      (unsigned long long)w->now_us);
	assert_int_equal(r->n_ids, w->n_expected[i]);
	assert_memory_equal(r->ids, w->expected[i], r->n_ids * sizeof(r->ids[0]));
}

static bool worker_submit(void *ctx, struct tail_job *job)
{
	struct world_node *n = ctx;

	schedule(n->world, NULL, job, n->index);
	return true;
}

static void start_worker(struct world *w, unsigned i)
{
	struct world_node *wn = &w->workers[i];
	struct worker_core_conf wc;
	char name[8];

	snprintf(name, sizeof(name), "w%u", i);
	wc = toy_worker_conf(name, roll(w, UINT64_MAX - 1) + 1);
	wn->index = i;
	wn->world = w;
	toy_open_node(&wn->n, w->broker, name, wc.boot);
	assert_int_equal(worker_core_create(&wn->core, &wc,
					    &(struct worker_ops){ wn, begin_tail, toy_end_tail,
								  toy_begin_codec, worker_submit,
								  NULL, NULL, toy_begin_side,
								  toy_end_side, toy_settle }),
			 0);
	assert_int_equal(worker_core_start(wn->core, wn->n.bus), 0);
}

/* A worker dies: its jobs, sessions and unread messages with it; the broker tells its Last Will. */
void world_kill_worker(struct world *w, unsigned i)
{
	struct world_node *wn = &w->workers[i];
	unsigned kept = 0;

	for (unsigned j = 0; j < w->n_jobs; j++) {
		if (w->jobs[j].tail && w->jobs[j].worker == i)
			free(w->jobs[j].tail);
		else
			w->jobs[kept++] = w->jobs[j];
	}
	w->n_jobs = kept;
	bus_mem_cut(w->broker, wn->n.name);
	toy_close_node(&wn->n);
	worker_core_destroy(wn->core);
	wn->core = NULL;
	wn->back_us = w->now_us + 100000 + roll(w, 3000000);
}

static void start_agent(struct world *w)
{
	struct agent_core_conf ac = toy_agent_conf();

	if (w->codec.spec) {
		assert_int_equal(spec_parse(&ac.codec, w->codec.spec, NULL), 0);
		ac.split = w->codec.split;
	}
	toy_open_node(&w->agent_node, w->broker, "gw", 0);
	assert_int_equal(agent_core_create(&w->agent, &ac,
					   &(struct agent_ops){
						   w, begin_head, end_head, agent_submit, TOY_SIDE,
						   on_reply, NULL, NULL, NULL, NULL, NULL, NULL }),
			 0);
	assert_int_equal(agent_core_start(w->agent, w->agent_node.bus), 0);
}

static void start_coordinator(struct world *w)
{
	w->coordinator_conf = (struct config_coordinator){
		.fleet = TOY_FLEET,
		.coordinator = "coordinator",
		.lease_ms = 1000,
		.policy = { .split = 2,
			    .codec = "f32",
			    .kv = "q8_0",
			    .context_tokens = UINT32_MAX },
	};
	if (w->codec.spec) {
		w->coordinator_conf.policy.split = w->codec.split;
		snprintf(w->coordinator_conf.policy.codec, sizeof(w->coordinator_conf.policy.codec),
			 "%s", w->codec.later ? "" : w->codec.spec);
	}
	w->coordinator = (struct coordinator_core){ .conf = &w->coordinator_conf, .boot = 1 };
	toy_open_node(&w->coordinator_node, w->broker, "coordinator", 0);
	assert_int_equal(coordinator_core_start(&w->coordinator, w->coordinator_node.bus), 0);
}

/* spec: how rows cross the split after layer 2; later: what a test will change that to. */
struct world *world_with(uint64_t seed, const char *spec, const char *later)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	w->seed = seed;
	w->codec = (struct toy_codec){ .split = 2, .spec = spec, .later = later };
	w->now_us = 1000000;
	assert_int_equal(bus_mem_create(&w->broker, fault, w), 0);
	start_coordinator(w);
	for (unsigned i = 0; i < WORLD_WORKERS; i++)
		start_worker(w, i);
	start_agent(w);
	return w;
}

struct world *world_create(uint64_t seed)
{
	return world_with(seed, NULL, NULL);
}

void world_destroy(struct world *w)
{
	for (unsigned j = 0; j < w->n_jobs; j++)
		free(w->jobs[j].tail);
	toy_close_node(&w->agent_node);
	agent_core_destroy(w->agent);
	for (unsigned i = 0; i < WORLD_WORKERS; i++) {
		if (!w->workers[i].core)
			continue;
		toy_close_node(&w->workers[i].n);
		worker_core_destroy(w->workers[i].core);
	}
	toy_close_node(&w->coordinator_node);
	coordinator_core_finish(&w->coordinator);
	bus_mem_destroy(w->broker);
	free(w);
}

static void read_agent(struct world *w)
{
	struct inbox_item *item;

	while ((item = queue_pop(w->agent_node.inbox, 0))) {
		const struct bus_event *ev = &((struct inbox_bus *)item)->ev;

		if (ev->kind == BUS_MESSAGE)
			agent_core_message(w->agent, ev, w->now_us);
		else
			agent_core_link(w->agent, ev->kind == BUS_UP, w->now_us);
		inbox_free(item);
	}
}

static void read_coordinator(struct world *w)
{
	struct inbox_item *item;

	while ((item = queue_pop(w->coordinator_node.inbox, 0))) {
		const struct bus_event *ev = &((struct inbox_bus *)item)->ev;

		if (ev->kind == BUS_MESSAGE)
			coordinator_core_message(&w->coordinator, ev, w->now_us / 1000);
		else
			coordinator_core_link(&w->coordinator, ev->kind == BUS_UP,
					      w->now_us / 1000);
		inbox_free(item);
	}
	coordinator_core_tick(&w->coordinator, w->now_us / 1000);
}

static void read_worker(struct world *w, struct world_node *wn)
{
	struct inbox_item *item;

	while (wn->core && (item = queue_pop(wn->n.inbox, 0))) {
		const struct bus_event *ev = &((struct inbox_bus *)item)->ev;

		if (ev->kind == BUS_MESSAGE)
			worker_core_message(wn->core, ev, w->now_us);
		inbox_free(item);
	}
	if (wn->core)
		worker_core_tick(wn->core, w->now_us);
}

/* Jobs come back in the order they were given, like from one compute thread. */
static void return_jobs(struct world *w)
{
	for (unsigned j = 0; j < w->n_jobs;) {
		struct world_job p = w->jobs[j];
		bool first = true;

		for (unsigned k = 0; k < j; k++)
			first &= !(w->jobs[k].tail && p.tail && w->jobs[k].worker == p.worker);
		if (p.due_us > w->now_us || !first) {
			j++;
			continue;
		}
		memmove(&w->jobs[j], &w->jobs[j + 1], (w->n_jobs - j - 1) * sizeof(w->jobs[0]));
		w->n_jobs--;
		if (p.head) {
			toy_run_head(p.head);
			may_go_ahead(w, p.head);
			agent_core_computed(w->agent, p.head, w->now_us);
		} else {
			w->worker_runs += toy_run_tail(p.tail);
			worker_core_computed(w->workers[p.worker].core, p.tail, w->now_us);
		}
		j = 0;
	}
}

void world_advance(struct world *w)
{
	w->now_us += 1000;
	bus_mem_pump(w->broker, w->now_us / 1000);
	read_agent(w);
	read_coordinator(w);
	for (unsigned i = 0; i < WORLD_WORKERS; i++) {
		if (!w->workers[i].core && w->workers[i].back_us <= w->now_us)
			start_worker(w, i);
		read_worker(w, &w->workers[i]);
	}
	return_jobs(w);
	for (unsigned i = 0; i < WORLD_SLOTS && w->draft_percent; i++) {
		if (may_draft(w, &w->ahead[i]) && roll(w, 100) < w->draft_percent)
			go_ahead(w, &w->ahead[i]);
	}
	if (agent_core_due_us(w->agent) <= w->now_us)
		agent_core_tick(w->agent, w->now_us);
}

void world_ask(struct world *w, unsigned i, bool local)
{
	uint32_t ids[32], n = 1 + (uint32_t)roll(w, 31), max_new = 1 + (uint32_t)roll(w, 40);
	struct msg_prompt m = { .max_tokens = max_new,
				.has_split = local,
				.split = TOY_LAYERS,
				.given = MSG_SEED,
				.sampling = { .seed = 7 } };

	m.id[0] = (char)('a' + i);
	for (uint32_t k = 0; k < n; k++)
		ids[k] = (uint32_t)roll(w, TOY_VOCAB);
	w->n_expected[i] =
		toy_answer_in(w->codec.spec ? &w->codec : NULL, ids, n, max_new, 7, w->expected[i]);
	memcpy(w->asked, ids, n * sizeof(ids[0]));
	w->n_asked = w->n_prompt[i] = n;
	w->asking = i;
	agent_core_prompt_ids(w->agent, &m, ids, n, w->now_us);
}

void world_tell(struct world *w, const char *text)
{
	assert_int_equal(
		bus_publish(w->coordinator_node.bus,
			    &(struct bus_publish){ .topic = "splitmq/v1/" TOY_FLEET "/decision/gw",
						   .payload = text,
						   .len = strlen(text),
						   .retain = true }),
		0);
}

static void decide_split(struct world *w, unsigned split)
{
	char text[256];

	if (!bus_is_up(w->coordinator_node.bus))
		return;
	snprintf(text, sizeof(text),
		 "{\"type\":\"decision\",\"agent\":\"gw\",\"number\":99999,\"split\":%u}", split);
	world_tell(w, text);
}

/* Ask all prompts as slots become free, let things go wrong on the way. */
void world_run(struct world *w, unsigned kills, unsigned cuts, uint64_t limit_ms)
{
	uint64_t end_us = w->now_us + limit_ms * 1000;
	unsigned asked = 0;

	while (w->finished < WORLD_PROMPTS && w->now_us < end_us) {
		if (asked < WORLD_PROMPTS && agent_core_sessions(w->agent) + 1 < 3 && !roll(w, 20))
			world_ask(w, asked++, false);
		if (kills && !roll(w, 150) && w->workers[0].core && w->workers[1].core) {
			world_kill_worker(w, (unsigned)roll(w, WORLD_WORKERS));
			kills--;
		}
		if (cuts && !roll(w, 200)) {
			bus_mem_cut(w->broker, "gw");
			cuts--;
		} else if (w->splits_move && !roll(w, 60)) {
			decide_split(w, (unsigned)roll(w, TOY_LAYERS + 1));
		} else if (!roll(w, 300)) {
			bus_mem_restore(w->broker, "gw");
		}
		if (!cuts && !bus_is_up(w->agent_node.bus))
			bus_mem_restore(w->broker, "gw");
		world_advance(w);
	}
}

void world_check(const struct world *w)
{
	for (unsigned i = 0; i < WORLD_PROMPTS; i++) {
		if (w->finals[i] != 1 || w->errors[i])
			fail_msg("seed %llu: prompt %u: %u final replies, error %d",
				 (unsigned long long)w->seed, i, w->finals[i], w->errors[i]);
	}
}
