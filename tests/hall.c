#include "tests/hall.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/inbox.h"
#include "daemon/link.h"
#include "tests/tok_check.h"

/* ---- ops ---- */

static int begin(void *ctx, struct head_job *job, uint32_t split, uint32_t context,
		 enum kv_type type, struct err *e)
{
	struct hall *h = ctx;

	h->kv_tokens += (int)context;
	h->head_kv = type;
	return toy_begin_head(ctx, job, split, context, type, e);
}

static int begin_tail(void *ctx, struct kv **kv, uint32_t split, uint32_t context,
		      enum kv_type type, struct err *e)
{
	struct hall_desk *d = ctx;

	d->hall->tail_kv = type;
	return toy_begin_tail(ctx, kv, split, context, type, e);
}

static void end(void *ctx, struct head_job *job, uint32_t split, uint32_t context)
{
	struct hall *h = ctx;

	h->kv_tokens -= (int)context;
	toy_end_head(ctx, job, split, context);
}

static int begin_recast(void *ctx, const struct head_job *job, struct head_job *recast,
			enum kv_type type, struct err *e)
{
	struct hall *h = ctx;

	(void)job;
	(void)recast;
	if (h->refuse_types)
		return err_set(e, ERR_LIMIT, "no room");
	assert_false(h->recasts);
	h->recasts++;
	h->recast_kv = type;
	h->recast_len = 0;
	return 0;
}

/* Every position was brought there, in order and once. */
static int done_recast(void *ctx, struct head_job *job, struct head_job *recast, uint32_t from,
		       uint32_t len, struct err *e)
{
	struct hall *h = ctx;

	(void)job;
	(void)recast;
	(void)e;
	assert_int_equal(h->recast_len, from);
	assert_in_range(len, from, from + 4);
	h->head_kv = h->recast_kv;
	return 0;
}

static void end_recast(void *ctx, struct head_job *recast)
{
	struct hall *h = ctx;

	(void)recast;
	h->recasts--;
}

static int fits(void *ctx, const struct admit_ask *ask, struct room_answer *a, struct err *e)
{
	const struct hall *h = ctx;
	uint32_t most = ask->split ? h->room_tokens / ask->split : UINT32_MAX;

	if (!h->room_tokens || !ask->alone || ask->context_tokens <= most)
		return 0;
	a->most_tokens = most;
	a->missing_bytes = 1000ull * (ask->context_tokens - most);
	return err_set(e, ERR_LIMIT, "%llu bytes more than there are",
		       (unsigned long long)a->missing_bytes);
}

static bool submit_head(void *ctx, struct head_job *job)
{
	struct hall *h = ctx;

	if (h->refuse_jobs)
		return false;
	assert_true(h->n_jobs < HALL_MAX_JOBS);
	h->jobs[h->n_jobs++] = job;
	h->right += h->guessing && job->rows == 1 && job->ids[0] == h->guess;
	h->guesses += job->guesses.n > 0;
	h->to_send += job->guesses.n_send;
	h->guessing = job->guesses.n;
	h->guess = job->guesses.ids[0];
	return true;
}

static void guess_more(void *ctx, const struct head_job *job, uint32_t pos,
		       const struct head_guesses *guesses)
{
	(void)ctx;
	(void)job;
	(void)pos;
	(void)guesses;
	fail(); /* no draft is ever right */
}

static void on_reply(void *ctx, const struct msg_reply *r)
{
	struct hall *h = ctx;

	h->in_process = *r;
	h->in_process.text = NULL;
	h->in_process.ids = NULL;
	h->n_in_process++;
}

static bool submit_tail(void *ctx, struct tail_job *job)
{
	struct hall_desk *d = ctx;

	assert_true(d->n_jobs < HALL_MAX_JOBS);
	d->jobs[d->n_jobs++] = job;
	return true;
}

/* ---- the hall ---- */

void hall_open_desk(struct hall *h, unsigned i, const struct worker_core_conf *wc)
{
	struct hall_desk *d = &h->desks[i];

	d->hall = h;
	toy_open_node(&d->node, h->broker, wc->limits.worker, wc->boot);
	assert_int_equal(worker_core_create(&d->core, wc,
					    &(struct worker_ops){ d, begin_tail, toy_end_tail,
								  toy_begin_codec, submit_tail,
								  NULL, NULL, toy_begin_side,
								  toy_end_side, toy_settle }),
			 0);
	assert_int_equal(worker_core_start(d->core, d->node.bus), 0);
}

void hall_open_worker(struct hall *h, unsigned i)
{
	struct worker_core_conf wc = toy_worker_conf(i ? "w1" : "w0", 10 + i);

	hall_open_desk(h, i, &wc);
}

void hall_close_desk(struct hall_desk *d)
{
	for (unsigned i = 0; i < d->n_jobs; i++)
		free(d->jobs[i]);
	toy_close_node(&d->node);
	worker_core_destroy(d->core);
	*d = (struct hall_desk){ 0 };
}

static struct tokenizer *make_tokenizer(void)
{
	static struct tiny v;

	tiny_bpe(&v, "gpt-2");
	return create(&v);
}

static void hear(struct hall *h)
{
	struct inbox_item *item;

	while ((item = queue_pop(h->person.inbox, 0))) {
		const struct bus_event *ev = &((struct inbox_bus *)item)->ev;
		struct hall_heard *x = &h->heard[h->n_heard];

		if (ev->kind == BUS_MESSAGE && ev->payload[0] == '{') {
			assert_true(h->n_heard < HALL_MAX_HEARD);
			assert_int_equal(topic_get(&x->topic, ev->topic, strlen(ev->topic)), 0);
			h->n_heard += !msg_parse(&x->m, (const char *)ev->payload, ev->len,
						 MSG_TYPE_COUNT, NULL);
		}
		inbox_free(item);
	}
}

void hall_forget(struct hall *h)
{
	for (unsigned i = 0; i < h->n_heard; i++)
		msg_finish(&h->heard[i].m);
	h->n_heard = 0;
}

static void read_agent(struct hall *h)
{
	struct inbox_item *item;

	while ((item = queue_pop(h->agent_node.inbox, 0))) {
		const struct bus_event *ev = &((struct inbox_bus *)item)->ev;

		if (ev->kind == BUS_MESSAGE)
			agent_core_message(h->agent, ev, h->now_us);
		else
			agent_core_link(h->agent, ev->kind == BUS_UP, h->now_us);
		inbox_free(item);
	}
	while (!h->hold_heads && h->n_jobs) {
		struct head_job *job = h->jobs[0];

		h->n_jobs--;
		memmove(&h->jobs[0], &h->jobs[1], h->n_jobs * sizeof(h->jobs[0]));
		if (job->recast) {
			assert_int_equal(job->pos, h->recast_len);
			h->recast_len += job->rows;
			h->recast_jobs++;
			job->rc = h->fail_recasts ? err_set(&job->err, ERR_NOT_FINITE, "none") : 0;
		} else {
			toy_run_head(job);
		}
		agent_core_computed(h->agent, job, h->now_us);
	}
}

static void read_desk(struct hall *h, struct hall_desk *d)
{
	struct inbox_item *item;

	while ((item = queue_pop(d->node.inbox, 0))) {
		const struct bus_event *ev = &((struct inbox_bus *)item)->ev;

		if (ev->kind == BUS_MESSAGE)
			worker_core_message(d->core, ev, h->now_us);
		inbox_free(item);
	}
	while (!h->hold_tails && d->n_jobs) {
		struct tail_job *job = d->jobs[0];

		d->n_jobs--;
		memmove(&d->jobs[0], &d->jobs[1], d->n_jobs * sizeof(d->jobs[0]));
		h->rows_run += toy_run_tail(job);
		worker_core_computed(d->core, job, h->now_us);
	}
}

void hall_pass(struct hall *h, unsigned ms)
{
	while (ms--) {
		h->now_us += 1000;
		bus_mem_pump(h->broker, h->now_us / 1000);
		read_agent(h);
		for (unsigned i = 0; i < HALL_WORKERS; i++) {
			if (h->desks[i].core)
				read_desk(h, &h->desks[i]);
		}
		if (agent_core_due_us(h->agent) <= h->now_us)
			agent_core_tick(h->agent, h->now_us);
		bus_mem_pump(h->broker, h->now_us / 1000);
		hear(h);
	}
}

void hall_open_agent(struct hall *h, const struct agent_core_conf *conf, uint32_t max_packet)
{
	struct toy_node *n = &h->agent_node;
	struct bus_conf bc = { .client_id = "gw", .max_packet_bytes = max_packet };

	snprintf(n->name, sizeof(n->name), "gw");
	assert_int_equal(inbox_create(&n->inbox), 0);
	assert_int_equal(bus_mem_open(&n->bus, h->broker, &bc, inbox_bus_handler, n->inbox), 0);
	assert_int_equal(
		agent_core_create(&h->agent, conf,
				  &(struct agent_ops){ h, begin, end, submit_head, TOY_SIDE,
						       on_reply, fits, NULL, begin_recast,
						       done_recast, end_recast, guess_more }),
		0);
	assert_int_equal(agent_core_start(h->agent, h->agent_node.bus), 0);
}

int hall_open(void **state)
{
	struct hall *h = calloc(1, sizeof(*h));
	struct agent_core_conf conf = toy_agent_conf();

	assert_non_null(h);
	h->now_us = 1000000;
	h->tokenizer = make_tokenizer();
	conf.tokenizer = h->tokenizer;
	assert_int_equal(bus_mem_create(&h->broker, NULL, NULL), 0);
	toy_open_node(&h->person, h->broker, "person", 0);
	assert_int_equal(bus_subscribe(h->person.bus, "splitmq/v1/sim/#", 1), 0);
	hall_open_agent(h, &conf, 0);
	hall_pass(h, 1000);
	*state = h;
	return 0;
}

int hall_close(void **state)
{
	struct hall *h = *state;

	h->hold_heads = h->hold_tails = false;
	agent_core_cancel_all(h->agent, h->now_us);
	hall_pass(h, 10);
	assert_false(agent_core_busy(h->agent));
	toy_close_node(&h->agent_node);
	agent_core_destroy(h->agent);
	assert_int_equal(h->kv_tokens, 0); /* each cache was given back as it was made */
	assert_int_equal(h->recasts, 0);
	for (unsigned i = 0; i < HALL_WORKERS; i++) {
		if (h->desks[i].core)
			hall_close_desk(&h->desks[i]);
	}
	toy_close_node(&h->person);
	hall_forget(h);
	bus_mem_destroy(h->broker);
	tokenizer_destroy(h->tokenizer);
	free(h);
	return 0;
}

/* ---- what the person does ---- */

void hall_publish(struct hall *h, const char *topic, const char *text, bool retain)
{
	assert_int_equal(bus_publish(h->person.bus, &(struct bus_publish){ .topic = topic,
									   .payload = text,
									   .len = strlen(text),
									   .retain = retain }),
			 0);
}

void hall_ask(struct hall *h, const char *id, const char *keys)
{
	char text[512];

	snprintf(text, sizeof(text),
		 "{\"prompt\":\"" HALL_PROMPT "\",\"id\":\"%s\",\"seed\":%u,\"max_tokens\":12%s%s}",
		 id, HALL_SEED, keys[0] ? "," : "", keys);
	hall_publish(h, "splitmq/v1/sim/agent/gw/prompt", text, false);
}

void hall_cancel(struct hall *h, const char *id)
{
	char text[128];

	snprintf(text, sizeof(text), "{\"type\":\"cancel\",\"id\":\"%s\"}", id);
	hall_publish(h, "splitmq/v1/sim/agent/gw/prompt", text, false);
}

void hall_decide(struct hall *h, const char *keys)
{
	char text[256];

	snprintf(text, sizeof(text), "{\"type\":\"decision\",\"agent\":\"gw\",\"number\":1,%s}",
		 keys);
	hall_publish(h, "splitmq/v1/sim/decision/gw", text, true);
	hall_pass(h, 2);
}

void hall_tell_status(struct hall *h, const char *worker, const char *state_name, const char *model)
{
	struct topic t = { .kind = TOPIC_WORKER_STATUS, .fleet = TOY_FLEET };
	char topic[TOPIC_MAX], text[512];

	snprintf(t.worker, sizeof(t.worker), "%s", worker);
	topic_put(topic, &t);
	snprintf(text, sizeof(text),
		 "{\"type\":\"worker.status\",\"worker\":\"%s\",\"state\":\"%s\","
		 "\"boot\":\"0000000000000063\",\"model\":\"%s\",\"model_name\":\"other\","
		 "\"layers\":4,\"dim\":8,\"first_layer\":0,\"context_tokens\":96,"
		 "\"max_sessions\":4,\"version\":\"1\"}",
		 worker, state_name, model);
	hall_publish(h, topic, text, true);
}

unsigned hall_n_finals(const struct hall *h, const char *id)
{
	unsigned n = 0;

	for (unsigned i = 0; i < h->n_heard; i++)
		n += h->heard[i].m.type == MSG_REPLY && h->heard[i].m.u.reply.done &&
		     !strcmp(h->heard[i].m.u.reply.id, id);
	return n;
}

const struct msg_reply *hall_final(const struct hall *h, const char *id)
{
	for (unsigned i = 0; i < h->n_heard; i++) {
		const struct msg_reply *r = &h->heard[i].m.u.reply;

		if (h->heard[i].m.type == MSG_REPLY && r->done && !strcmp(r->id, id)) {
			assert_string_equal(h->heard[i].topic.reply, id);
			return r;
		}
	}
	fail_msg("no final reply to %s", id);
	return NULL;
}

unsigned hall_n_of_type(const struct hall *h, enum msg_type type)
{
	unsigned n = 0;

	for (unsigned i = 0; i < h->n_heard; i++)
		n += h->heard[i].m.type == type;
	return n;
}

const struct hall_heard *hall_last_of_type(const struct hall *h, enum msg_type type)
{
	for (unsigned i = h->n_heard; i-- > 0;) {
		if (h->heard[i].m.type == type)
			return &h->heard[i];
	}
	fail_msg("no %s was heard", msg_type_name(type));
	return NULL;
}

void hall_assert_answered(const struct hall *h, const char *id)
{
	static const uint32_t prompt[] = { 48, 49, 50, 51 };
	const struct msg_reply *r = hall_final(h, id);
	uint32_t ids[TOY_CONTEXT], n = toy_answer(prompt, 4, 12, HALL_SEED, ids);

	assert_int_equal(hall_n_finals(h, id), 1);
	assert_int_equal(r->error, 0);
	assert_string_equal(r->finish_reason, ids[n - 1] == TOY_END_ID ? "stop" : "length");
	assert_int_equal(r->n_ids, n);
	assert_memory_equal(r->ids, ids, n * sizeof(ids[0]));
}

void hall_assert_refused(const struct hall *h, const char *id, int code)
{
	const struct msg_reply *r = hall_final(h, id);

	assert_int_equal(hall_n_finals(h, id), 1);
	assert_int_equal(r->error, code);
	assert_string_equal(r->finish_reason, "error");
	assert_true(r->reason[0]);
}
