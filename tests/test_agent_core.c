/* tests/test_agent_core.c - the agent over a bus in memory: prompts, decisions, workers that come
 * and go. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/admit.h"
#include "base/log.h"
#include "daemon/inbox.h"
#include "daemon/link.h"
#include "tests/tiny_vocab.h"
#include "tests/toy.h"

#define N_WORKERS   2u
#define MAX_JOBS    16u
#define MAX_HEARD   4096u
#define SEED        7u
#define OTHER_MODEL "ffeeddccbbaa99887766554433221100"
#define PROMPT_TEXT "0123" /* ids 48..51, as the tiny vocabulary has it */

struct hall;

struct desk {
	struct hall *hall;
	struct toy_node node;
	struct worker_core *core; /* NULL: not there */
	struct tail_job *jobs[MAX_JOBS];
	unsigned n_jobs;
};

struct heard {
	struct topic topic;
	struct msg m;
};

/* An agent, its workers, and a person with a console. */
struct hall {
	struct bus_mem *broker;
	struct toy_node agent_node, person;
	struct tokenizer *tokenizer;
	struct agent_core *agent;
	struct desk desks[N_WORKERS];
	uint64_t now_us;
	struct head_job *jobs[MAX_JOBS];
	unsigned n_jobs;
	bool hold_heads, hold_tails; /* jobs stay out */
	bool refuse_jobs;
	bool refuse_types;             /* a cache stays of its type */
	uint32_t room_tokens;          /* of a session with split 1, half with 2, ...; 0: any */
	int kv_tokens;                 /* of all caches of the agent that exist */
	enum kv_type head_kv, tail_kv; /* of the newest caches */
	uint32_t rows_run;
	struct heard heard[MAX_HEARD];
	unsigned n_heard, n_in_process;
	struct msg_reply in_process; /* newest; its text is not kept */
};

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
	struct desk *d = ctx;

	d->hall->tail_kv = type;
	return toy_begin_tail(ctx, kv, split, context, type, e);
}

static void end(void *ctx, struct head_job *job, uint32_t split, uint32_t context)
{
	struct hall *h = ctx;

	h->kv_tokens -= (int)context;
	toy_end_head(ctx, job, split, context);
}

static int convert(void *ctx, struct head_job *job, enum kv_type type, struct err *e)
{
	struct hall *h = ctx;

	(void)job;
	if (h->refuse_types)
		return err_set(e, ERR_LIMIT, "no room");
	h->head_kv = type;
	return 0;
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
	assert_true(h->n_jobs < MAX_JOBS);
	h->jobs[h->n_jobs++] = job;
	return true;
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
	struct desk *d = ctx;

	assert_true(d->n_jobs < MAX_JOBS);
	d->jobs[d->n_jobs++] = job;
	return true;
}

/* ---- the hall ---- */

static void open_desk(struct hall *h, unsigned i, const struct worker_core_conf *wc)
{
	struct desk *d = &h->desks[i];

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

/* Worker w0 or w1, as it comes. */
static void open_worker(struct hall *h, unsigned i)
{
	struct worker_core_conf wc = toy_worker_conf(i ? "w1" : "w0", 10 + i);

	open_desk(h, i, &wc);
}

static void close_desk(struct desk *d)
{
	for (unsigned i = 0; i < d->n_jobs; i++)
		free(d->jobs[i]);
	toy_close_node(&d->node);
	worker_core_destroy(d->core);
	*d = (struct desk){ 0 };
}

static struct tokenizer *make_tokenizer(void)
{
	static struct tiny v;
	struct tokenizer *t = NULL;
	struct err e = { 0 };
	struct gguf *g;

	tiny_bpe(&v, "gpt-2");
	g = tiny_open(&v, &e);
	if (!g || tokenizer_create(&t, g, &e))
		fail_msg("%s", e.text);
	gguf_close(g);
	tiny_free(&v);
	return t;
}

static void hear(struct hall *h)
{
	struct inbox_item *item;

	while ((item = queue_pop(h->person.inbox, 0))) {
		const struct bus_event *ev = &((struct inbox_bus *)item)->ev;
		struct heard *x = &h->heard[h->n_heard];

		if (ev->kind == BUS_MESSAGE && ev->payload[0] == '{') {
			assert_true(h->n_heard < MAX_HEARD);
			assert_int_equal(topic_get(&x->topic, ev->topic, strlen(ev->topic)), 0);
			h->n_heard += !msg_parse(&x->m, (const char *)ev->payload, ev->len,
						 MSG_TYPE_COUNT, NULL);
		}
		inbox_free(item);
	}
}

static void forget(struct hall *h)
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
		toy_run_head(job);
		agent_core_computed(h->agent, job, h->now_us);
	}
}

static void read_desk(struct hall *h, struct desk *d)
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

/* Time passes, a millisecond at a time; messages are delivered, jobs run. */
static void pass(struct hall *h, unsigned ms)
{
	while (ms--) {
		h->now_us += 1000;
		bus_mem_pump(h->broker, h->now_us / 1000);
		read_agent(h);
		for (unsigned i = 0; i < N_WORKERS; i++) {
			if (h->desks[i].core)
				read_desk(h, &h->desks[i]);
		}
		if (agent_core_due_us(h->agent) <= h->now_us)
			agent_core_tick(h->agent, h->now_us);
		bus_mem_pump(h->broker, h->now_us / 1000);
		hear(h);
	}
}

static void open_agent(struct hall *h, const struct agent_core_conf *conf)
{
	toy_open_node(&h->agent_node, h->broker, "gw", 0);
	assert_int_equal(
		agent_core_create(&h->agent, conf,
				  &(struct agent_ops){ h, begin, end, submit_head, TOY_SIDE,
						       on_reply, fits, NULL, convert }),
		0);
	assert_int_equal(agent_core_start(h->agent, h->agent_node.bus), 0);
}

static int hall_open(void **state)
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
	open_agent(h, &conf);
	pass(h, 1000);
	*state = h;
	return 0;
}

static int hall_close(void **state)
{
	struct hall *h = *state;

	h->hold_heads = h->hold_tails = false;
	agent_core_cancel_all(h->agent, h->now_us);
	pass(h, 10);
	assert_false(agent_core_busy(h->agent));
	toy_close_node(&h->agent_node);
	agent_core_destroy(h->agent);
	assert_int_equal(h->kv_tokens, 0); /* each cache was given back as it was made */
	for (unsigned i = 0; i < N_WORKERS; i++) {
		if (h->desks[i].core)
			close_desk(&h->desks[i]);
	}
	toy_close_node(&h->person);
	forget(h);
	bus_mem_destroy(h->broker);
	tokenizer_destroy(h->tokenizer);
	free(h);
	return 0;
}

/* ---- what the person does ---- */

static void publish(struct hall *h, const char *topic, const char *text, bool retain)
{
	assert_int_equal(bus_publish(h->person.bus, &(struct bus_publish){ .topic = topic,
									   .payload = text,
									   .len = strlen(text),
									   .retain = retain }),
			 0);
}

/* keys: what follows the text, such as "\"split\":2". */
static void ask(struct hall *h, const char *id, const char *keys)
{
	char text[512];

	snprintf(text, sizeof(text),
		 "{\"prompt\":\"" PROMPT_TEXT "\",\"id\":\"%s\",\"seed\":%u,\"max_tokens\":12%s%s}",
		 id, SEED, keys[0] ? "," : "", keys);
	publish(h, "splitmq/v1/sim/agent/gw/prompt", text, false);
}

static void cancel(struct hall *h, const char *id)
{
	char text[128];

	snprintf(text, sizeof(text), "{\"type\":\"cancel\",\"id\":\"%s\"}", id);
	publish(h, "splitmq/v1/sim/agent/gw/prompt", text, false);
}

static void tell_decision(struct hall *h, const char *keys)
{
	char text[256];

	snprintf(text, sizeof(text), "{\"type\":\"decision\",\"agent\":\"gw\",\"number\":1,%s}",
		 keys);
	publish(h, "splitmq/v1/sim/decision/gw", text, true);
	pass(h, 2);
}

static void tell_status(struct hall *h, const char *worker, const char *state_name,
			const char *model)
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
	publish(h, topic, text, true);
}

/* Final replies to a prompt. */
static unsigned n_finals(const struct hall *h, const char *id)
{
	unsigned n = 0;

	for (unsigned i = 0; i < h->n_heard; i++)
		n += h->heard[i].m.type == MSG_REPLY && h->heard[i].m.u.reply.done &&
		     !strcmp(h->heard[i].m.u.reply.id, id);
	return n;
}

static const struct msg_reply * final(const struct hall *h, const char *id)
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

static unsigned n_of_type(const struct hall *h, enum msg_type type)
{
	unsigned n = 0;

	for (unsigned i = 0; i < h->n_heard; i++)
		n += h->heard[i].m.type == type;
	return n;
}

static const struct heard *last_of_type(const struct hall *h, enum msg_type type)
{
	for (unsigned i = h->n_heard; i-- > 0;) {
		if (h->heard[i].m.type == type)
			return &h->heard[i];
	}
	fail_msg("no %s was heard", msg_type_name(type));
	return NULL;
}

/* The answer is that of an undisturbed run. */
static void assert_answered(const struct hall *h, const char *id)
{
	static const uint32_t prompt[] = { 48, 49, 50, 51 };
	const struct msg_reply *r = final(h, id);
	uint32_t ids[TOY_CONTEXT], n = toy_answer(prompt, 4, 12, SEED, ids);

	assert_int_equal(n_finals(h, id), 1);
	assert_int_equal(r->error, 0);
	assert_string_equal(r->finish_reason, ids[n - 1] == TOY_END_ID ? "stop" : "length");
	assert_int_equal(r->n_ids, n);
	assert_memory_equal(r->ids, ids, n * sizeof(ids[0]));
}

static void assert_refused(const struct hall *h, const char *id, int code)
{
	const struct msg_reply *r = final(h, id);

	assert_int_equal(n_finals(h, id), 1);
	assert_int_equal(r->error, code);
	assert_string_equal(r->finish_reason, "error");
	assert_true(r->reason[0]);
}

/* ---- prompts ---- */

static void a_prompt_is_answered_on_its_reply_topic(void **state)
{
	struct hall *h = *state;
	const struct msg_stats *st;

	open_worker(h, 0);
	ask(h, "a", "");
	pass(h, 100);
	assert_answered(h, "a");
	st = &final(h, "a")->stats;
	assert_int_equal(st->prompt_tokens, 4);
	assert_int_equal(st->split, 1);
	assert_int_equal(st->epochs, 1);
	assert_int_equal(st->retries, 0);
	assert_string_equal(st->worker, "w0");
	assert_string_equal(st->codec, "f32");
	assert_true(st->bytes_up > 0 && st->bytes_down > 0);
	assert_int_equal(worker_core_sessions(h->desks[0].core), 0); /* it was closed */
}

static void streamed_pieces_make_up_the_text(void **state)
{
	struct hall *h = *state;
	char whole[4096] = "";
	size_t len = 0;

	open_worker(h, 0);
	ask(h, "a", "\"stream\":true");
	pass(h, 100);
	assert_answered(h, "a");
	for (unsigned i = 0; i < h->n_heard; i++) {
		const struct msg_reply *r = &h->heard[i].m.u.reply;

		if (h->heard[i].m.type == MSG_REPLY && !r->done)
			len += (size_t)snprintf(whole + len, sizeof(whole) - len, "%s", r->text);
	}
	assert_true(len > 0);
	assert_string_equal(whole, final(h, "a")->text);
}

static void all_layers_here_need_no_worker(void **state)
{
	struct hall *h = *state;

	ask(h, "a", "\"split\":4");
	pass(h, 100);
	assert_answered(h, "a");
	assert_string_equal(final(h, "a")->stats.worker, "");
}

static void malformed_prompts_get_an_error_reply(void **state)
{
	static const char *const texts[] = { "{\"prompt\":", "{}", "[1]", "{\"prompt\":\"\"}" };
	struct hall *h = *state;

	for (unsigned i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		publish(h, "splitmq/v1/sim/agent/gw/prompt", texts[i], false);
	publish(h, "splitmq/v1/sim/agent/gw/prompt", "{\"prompt\":5,\"id\":\"mine\"}", false);
	pass(h, 5);
	assert_int_equal(n_of_type(h, MSG_REPLY), 5);
	assert_refused(h, "p1", ERR_FORMAT);
	assert_refused(h, "p4", ERR_FORMAT);
	assert_refused(h, "mine", ERR_FORMAT);
}

static void a_retained_prompt_is_ignored(void **state)
{
	struct hall *h = *state;
	struct agent_core_conf conf = toy_agent_conf();

	agent_core_destroy(h->agent);
	toy_close_node(&h->agent_node);
	open_worker(h, 0);
	publish(h, "splitmq/v1/sim/agent/gw/prompt", "{\"prompt\":\"again\",\"id\":\"a\"}", true);
	publish(h, "splitmq/v1/sim/agent/gw/reply/x", "{}", false);
	bus_mem_pump(h->broker, h->now_us / 1000);
	conf.tokenizer = h->tokenizer;
	open_agent(h, &conf);
	pass(h, 200);
	assert_int_equal(n_of_type(h, MSG_REPLY), 0);
	assert_int_equal(agent_core_sessions(h->agent), 0);
}

static void a_repeated_id_is_ignored_while_it_is_being_answered(void **state)
{
	struct hall *h = *state;

	open_worker(h, 0);
	ask(h, "a", "");
	ask(h, "a", "");
	pass(h, 100);
	assert_int_equal(n_finals(h, "a"), 1);
	ask(h, "a", "");
	pass(h, 100);
	assert_int_equal(n_finals(h, "a"), 2); /* that one is over: a new question */
}

static void prompts_that_cannot_be_are_refused_with_their_code(void **state)
{
	char keys[128];
	struct hall *h = *state;

	open_worker(h, 0);
	ask(h, "split", "\"split\":5");
	ask(h, "codec", "\"codec\":\"q9\"");
	ask(h, "kv", "\"kv\":\"q9\"");
	snprintf(keys, sizeof(keys), "{\"id\":\"long\",\"prompt\":\"%096d\"}", 0);
	publish(h, "splitmq/v1/sim/agent/gw/prompt", keys, false);
	pass(h, 5);
	assert_refused(h, "split", ERR_LIMIT);
	assert_refused(h, "codec", ERR_UNSUPPORTED);
	assert_refused(h, "kv", ERR_FORMAT);
	assert_non_null(strstr(final(h, "kv")->reason, KV_TYPE_WORDS));
	assert_refused(h, "long", ERR_CONTEXT);
	assert_int_equal(n_of_type(h, MSG_OPEN), 0);
	ask(h, "a", "");
	pass(h, 100);
	assert_answered(h, "a");
}

static void prompts_wait_for_a_session_and_too_many_are_refused(void **state)
{
	struct hall *h = *state;
	char id[16];

	open_worker(h, 0);
	h->hold_heads = true;
	for (unsigned i = 0; i < 3 + 64 + 2; i++) {
		snprintf(id, sizeof(id), "n%u", i);
		ask(h, id, "");
	}
	pass(h, 5);
	assert_int_equal(agent_core_sessions(h->agent), 3 + 64);
	assert_int_equal(n_of_type(h, MSG_REPLY), 2);
	assert_refused(h, "n67", ERR_BUSY);
	assert_refused(h, "n68", ERR_BUSY);
	cancel(h, "n10");
	pass(h, 2);
	h->hold_heads = false;
	forget(h);
	for (unsigned i = 0; i < 30; i++) {
		snprintf(id, sizeof(id), "n%u", 37 + i);
		cancel(h, id);
	}
	pass(h, 600);
	assert_answered(h, "n0");
	assert_answered(h, "n36");
	assert_int_equal(agent_core_sessions(h->agent), 0);
}

static void running_and_waiting_prompts_can_be_cancelled(void **state)
{
	struct hall *h = *state;

	open_worker(h, 0);
	h->hold_tails = true;
	ask(h, "r1", "");
	ask(h, "r2", "");
	ask(h, "r3", "");
	ask(h, "w1", "");
	ask(h, "w2", "");
	pass(h, 10);
	cancel(h, "w1");
	cancel(h, "r2");
	cancel(h, "nobody");
	pass(h, 10);
	assert_string_equal(final(h, "r2")->finish_reason, "cancelled");
	assert_string_equal(final(h, "w1")->finish_reason, "cancelled");
	assert_int_equal(final(h, "w1")->error, ERR_CANCELLED);
	assert_int_equal(agent_core_sessions(h->agent), 3);
	h->hold_tails = false;
	pass(h, 200);
	assert_answered(h, "r1");
	assert_answered(h, "r3");
	assert_answered(h, "w2");
	assert_int_equal(n_finals(h, "r2") + n_finals(h, "w1"), 2);
}

static void a_cancelled_session_keeps_its_slot_until_the_job_is_back(void **state)
{
	struct hall *h = *state;

	open_worker(h, 0);
	h->hold_heads = true;
	ask(h, "a", "");
	pass(h, 5);
	cancel(h, "a");
	pass(h, 5);
	assert_string_equal(final(h, "a")->finish_reason, "cancelled");
	assert_int_equal(agent_core_sessions(h->agent), 0);
	assert_true(agent_core_busy(h->agent));
	h->hold_heads = false;
	pass(h, 5);
	assert_false(agent_core_busy(h->agent));
	assert_int_equal(h->kv_tokens, 0);
}

static void a_full_compute_queue_fails_the_prompt(void **state)
{
	struct hall *h = *state;

	h->refuse_jobs = true;
	ask(h, "a", "");
	pass(h, 5);
	assert_refused(h, "a", ERR_BUSY);
	assert_false(agent_core_busy(h->agent));
	assert_int_equal(h->kv_tokens, 0);
}

static void a_draining_agent_refuses_and_finishes(void **state)
{
	struct hall *h = *state;

	open_worker(h, 0);
	h->hold_tails = true;
	ask(h, "a", "");
	pass(h, 5);
	agent_core_drain(h->agent);
	ask(h, "b", "");
	pass(h, 5);
	assert_refused(h, "b", ERR_REFUSED);
	assert_int_equal(last_of_type(h, MSG_AGENT_STATUS)->m.u.agent_status.state, MSG_DRAINING);
	h->hold_tails = false;
	pass(h, 100);
	assert_answered(h, "a");
	assert_int_equal(agent_core_goodbye(h->agent), 0);
	pass(h, 2);
	assert_int_equal(last_of_type(h, MSG_AGENT_STATUS)->m.u.agent_status.state, MSG_OFFLINE);
}

static void a_prompt_of_this_process_is_answered_in_it(void **state)
{
	struct msg_prompt m = { .id = "a", .prompt_len = 4, .max_tokens = 3, .kv = "q4_0" };
	struct hall *h = *state;

	open_worker(h, 0);
	m.prompt = strdup(PROMPT_TEXT);
	agent_core_prompt(h->agent, &m, h->now_us);
	assert_null(m.prompt);
	pass(h, 100);
	assert_int_equal(h->n_in_process, 1);
	assert_int_equal(h->in_process.error, 0);
	assert_true(h->in_process.done);
	assert_int_equal(h->head_kv, KV_Q4_0);
	assert_int_equal(n_of_type(h, MSG_REPLY), 0);
}

/* ---- decisions ---- */

static void a_decision_holds_from_the_next_session_on(void **state)
{
	struct hall *h = *state;

	open_worker(h, 0);
	open_worker(h, 1);
	tell_decision(h, "\"split\":2,\"codec\":\"f32\",\"worker\":\"w1\",\"context_tokens\":8");
	ask(h, "a", "");
	pass(h, 100);
	assert_int_equal(final(h, "a")->stats.split, 2);
	assert_string_equal(final(h, "a")->stats.worker, "w1");
	assert_string_equal(final(h, "a")->finish_reason, "context");
	assert_int_equal(final(h, "a")->n_ids, 4);
	ask(h, "b", "\"split\":3"); /* the prompt's own wish comes first */
	pass(h, 100);
	assert_int_equal(final(h, "b")->stats.split, 3);
}

/* What the next session gets: the agent's cache, the worker's, the word of OPEN. */
static void assert_caches(struct hall *h, const char *id, const char *keys, enum kv_type head,
			  enum kv_type tail, const char *word)
{
	ask(h, id, keys);
	pass(h, 100);
	assert_answered(h, id);
	assert_int_equal(h->head_kv, head);
	assert_int_equal(h->tail_kv, tail);
	assert_string_equal(last_of_type(h, MSG_OPEN)->m.u.open.kv, word);
	assert_string_equal(final(h, id)->stats.kv, kv_type_name(head));
}

static void the_decided_cache_reaches_both_sides_and_a_prompt_may_want_another(void **state)
{
	struct worker_core_conf wc = toy_worker_conf("w0", 10);
	struct hall *h = *state;

	wc.kv = KV_F32;
	open_desk(h, 0, &wc);
	assert_caches(h, "own", "", KV_F16, KV_F32, ""); /* nothing said: each its own */
	tell_decision(h, "\"split\":1,\"kv\":\"q8_0\"");
	pass(h, 2);
	assert_caches(h, "decided", "", KV_Q8_0, KV_Q8_0, "q8_0");
	assert_caches(h, "wished", "\"kv\":\"q4_0\"", KV_Q4_0, KV_Q4_0, "q4_0");
	tell_decision(h, "\"split\":1,\"kv\":\"q5_0\""); /* unknown: the one before stays */
	pass(h, 2);
	assert_caches(h, "kept", "", KV_Q8_0, KV_Q8_0, "q8_0");
	tell_decision(h, "\"split\":1");
	pass(h, 2);
	assert_caches(h, "again", "", KV_F16, KV_F32, "");
}

static void assert_class(struct hall *h, const char *id, const char *keys, enum msg_class wanted)
{
	ask(h, id, keys);
	pass(h, 100);
	assert_answered(h, id);
	assert_int_equal(last_of_type(h, MSG_OPEN)->m.u.open.class, wanted);
}

static void a_session_is_of_the_prompts_class_else_of_the_agents(void **state)
{
	struct hall *h = *state;

	open_worker(h, 0);
	assert_class(h, "a", "", MSG_BULK);
	assert_class(h, "b", "\"class\":\"interactive\"", MSG_INTERACTIVE);
	assert_class(h, "c", "\"class\":\"bulk\"", MSG_BULK);
}

/* Decided in mid-session; then the session's worker dies. */
static void decide_another_type(struct hall *h, const char *keys)
{
	open_worker(h, 0);
	open_worker(h, 1);
	tell_decision(h, "\"split\":1,\"kv\":\"q8_0\",\"worker\":\"w0\"");
	h->hold_tails = true;
	ask(h, "a", keys);
	pass(h, 5);
	tell_decision(h, "\"split\":1,\"kv\":\"q4_0\",\"worker\":\"w1\"");
	pass(h, 2);
	bus_mem_cut(h->broker, "w0");
	close_desk(&h->desks[0]);
	h->hold_tails = false;
	pass(h, 100);
	assert_answered(h, "a");
	assert_int_equal(final(h, "a")->stats.epochs, 2);
}

static void a_decision_changes_the_agents_cache_of_a_session_not_the_workers(void **state)
{
	struct hall *h = *state;

	decide_another_type(h, "");
	assert_string_equal(last_of_type(h, MSG_OPEN)->m.u.open.kv, "q8_0");
	assert_int_equal(h->tail_kv, KV_Q8_0);
	assert_int_equal(h->head_kv, KV_Q4_0);
	assert_string_equal(final(h, "a")->stats.kv, "q4_0");
}

static void a_cache_that_cannot_be_changed_stays(void **state)
{
	struct hall *h = *state;

	h->refuse_types = true;
	decide_another_type(h, "");
	assert_int_equal(h->head_kv, KV_Q8_0);
	assert_string_equal(final(h, "a")->stats.kv, "q8_0");
}

static void a_prompts_own_cache_stays(void **state)
{
	struct hall *h = *state;

	decide_another_type(h, "\"kv\":\"f32\"");
	assert_int_equal(h->head_kv, KV_F32);
	assert_string_equal(last_of_type(h, MSG_OPEN)->m.u.open.kv, "f32");
}

static void an_invalid_decision_is_refused_and_the_old_one_kept(void **state)
{
	struct hall *h = *state;

	open_worker(h, 0);
	tell_decision(h, "\"split\":2");
	tell_decision(h, "\"split\":5,\"codec\":\"f32\"");
	tell_decision(h, "\"split\":3,\"codec\":\"q9\"");
	tell_decision(h, "\"split\":\"3\"");
	publish(h, "splitmq/v1/sim/decision/gw", "{", true);
	publish(h, "splitmq/v1/sim/decision/other",
		"{\"type\":\"decision\",\"agent\":\"other\",\"number\":1,\"split\":0}", true);
	publish(h, "splitmq/v1/sim/decision/gw",
		"{\"type\":\"decision\",\"agent\":\"other\",\"number\":9,\"split\":0}", true);
	pass(h, 2);
	ask(h, "a", "");
	pass(h, 100);
	assert_answered(h, "a");
	assert_int_equal(final(h, "a")->stats.split, 2);
	assert_string_equal(final(h, "a")->stats.codec, "f32"); /* not said: the agent's own */
}

static const struct msg_decision_answer *answer_of(const struct hall *h)
{
	const struct msg_decision_answer *an = NULL;

	for (unsigned i = 0; i < h->n_heard; i++) {
		if (h->heard[i].topic.kind == TOPIC_AGENT_ANSWER)
			an = &h->heard[i].m.u.decision_answer;
	}
	assert_non_null(an);
	return an;
}

static void a_decision_is_answered_with_what_would_fit(void **state)
{
	struct hall *h = *state;

	open_worker(h, 0);
	h->room_tokens = 60;
	tell_decision(h, "\"split\":1,\"context_tokens\":60");
	pass(h, 2);
	assert_true(answer_of(h)->taken);
	assert_int_equal(answer_of(h)->number, 1);
	tell_decision(h, "\"split\":3,\"context_tokens\":64");
	pass(h, 2);
	assert_false(answer_of(h)->taken);
	assert_int_equal(answer_of(h)->code, ERR_LIMIT);
	assert_int_equal(answer_of(h)->missing_bytes, 44000);
	assert_int_equal(answer_of(h)->context_tokens, 20);
	assert_string_equal(answer_of(h)->reason, "44000 bytes more than there are");
	ask(h, "a", "");
	pass(h, 100);
	assert_int_equal(final(h, "a")->stats.split, 1); /* the one that was taken */
}

/* ---- workers ---- */

static void another_model_everywhere_is_told_at_once(void **state)
{
	struct hall *h = *state;

	ask(h, "before", "");
	pass(h, 5);
	tell_status(h, "w8", "ready", OTHER_MODEL);
	pass(h, 2);
	assert_refused(h, "before", ERR_MODEL_MISMATCH);
	assert_non_null(strstr(final(h, "before")->reason, OTHER_MODEL));
	assert_non_null(strstr(final(h, "before")->reason, "w8"));
	ask(h, "after", "");
	pass(h, 2);
	assert_refused(h, "after", ERR_MODEL_MISMATCH);
	ask(h, "local", "\"split\":4");
	pass(h, 100);
	assert_answered(h, "local");
	open_worker(h, 0);
	pass(h, 5);
	ask(h, "a", "");
	pass(h, 100);
	assert_answered(h, "a");
}

static void waiting_prompts_hear_of_the_mismatch_too(void **state)
{
	struct hall *h = *state;
	char id[16];

	for (unsigned i = 0; i < 7; i++) {
		snprintf(id, sizeof(id), "n%u", i);
		ask(h, id, "");
	}
	pass(h, 5);
	tell_status(h, "w8", "ready", OTHER_MODEL);
	pass(h, 1000);
	for (unsigned i = 0; i < 7; i++) {
		snprintf(id, sizeof(id), "n%u", i);
		assert_refused(h, id, ERR_MODEL_MISMATCH);
	}
}

static void a_mismatch_is_not_believed_before_all_statuses_are_in(void **state)
{
	struct hall *h = *state;

	bus_mem_cut(h->broker, "gw");
	pass(h, 5);
	tell_status(h, "w8", "ready", OTHER_MODEL);
	bus_mem_restore(h->broker, "gw");
	ask(h, "a", "");
	pass(h, 5);
	assert_int_equal(n_finals(h, "a"), 0);
	open_worker(h, 0); /* a little later */
	pass(h, 400);
	assert_answered(h, "a");
}

static void an_accept_for_an_unknown_session_is_closed(void **state)
{
	static const char accept[] =
		"{\"type\":\"accept\",\"session\":\"00000000000000aa\",\"epoch\":3,"
		"\"worker\":\"w0\",\"context_tokens\":96,\"max_packet_bytes\":65536}";
	struct hall *h = *state;
	const struct heard *x;

	publish(h, "splitmq/v1/sim/session/w1/gw/00000000000000aa/down", accept, false);
	pass(h, 5);
	assert_int_equal(n_of_type(h, MSG_CLOSE), 0); /* w1 cannot speak for w0 */
	publish(h, "splitmq/v1/sim/session/w0/gw/00000000000000aa/down", accept, false);
	pass(h, 5);
	x = last_of_type(h, MSG_CLOSE);
	assert_int_equal(n_of_type(h, MSG_CLOSE), 1);
	assert_string_equal(x->topic.worker, "w0");
	assert_true(x->m.u.close.session == 0xaa);
	assert_int_equal(x->m.u.close.epoch, 3);
}

static void a_draining_worker_hands_its_sessions_over(void **state)
{
	struct hall *h = *state;

	open_worker(h, 0);
	h->hold_tails = true;
	ask(h, "a", "");
	pass(h, 5);
	assert_int_equal(worker_core_sessions(h->desks[0].core), 1);
	worker_core_drain(h->desks[0].core);
	pass(h, 50);
	assert_int_equal(worker_core_sessions(h->desks[0].core), 1); /* no other is there */
	open_worker(h, 1);
	pass(h, 5);
	worker_core_drain(h->desks[0].core);
	pass(h, 5);
	h->hold_tails = false;
	pass(h, 5);
	assert_int_equal(worker_core_sessions(h->desks[0].core), 0); /* it was told */
	pass(h, 200);
	assert_answered(h, "a");
	assert_string_equal(final(h, "a")->stats.worker, "w1");
	assert_int_equal(final(h, "a")->stats.epochs, 2);
}

static void a_dead_worker_is_replaced_at_once(void **state)
{
	struct hall *h = *state;

	open_worker(h, 0);
	h->hold_tails = true;
	ask(h, "a", "");
	pass(h, 5);
	open_worker(h, 1);
	pass(h, 5);
	bus_mem_cut(h->broker, "w0");
	close_desk(&h->desks[0]);
	h->hold_tails = false;
	pass(h, 100);
	assert_answered(h, "a");
	assert_string_equal(final(h, "a")->stats.worker, "w1");
}

static void a_status_in_anothers_name_is_refused(void **state)
{
	struct hall *h = *state;

	open_worker(h, 0);
	open_worker(h, 1);
	h->hold_tails = true;
	ask(h, "a", "");
	pass(h, 5);
	publish(h, "splitmq/v1/sim/worker/evil/status",
		"{\"type\":\"worker.status\",\"worker\":\"w0\",\"state\":\"lost\","
		"\"boot\":\"000000000000000a\"}",
		false);
	publish(h, "splitmq/v1/sim/worker/evil/status",
		"{\"type\":\"worker.status\",\"worker\":\"w1\",\"state\":\"lost\","
		"\"boot\":\"000000000000000b\"}",
		false);
	pass(h, 5);
	h->hold_tails = false;
	pass(h, 100);
	assert_answered(h, "a");
	assert_int_equal(final(h, "a")->stats.epochs, 1);
}

static void a_shorter_context_of_the_worker_ends_the_answer_earlier(void **state)
{
	struct worker_core_conf wc = toy_worker_conf("w0", 10);
	struct hall *h = *state;

	wc.limits.context_tokens = 9;
	open_desk(h, 0, &wc);
	ask(h, "a", "");
	pass(h, 100);
	assert_string_equal(final(h, "a")->finish_reason, "context");
	assert_int_equal(final(h, "a")->n_ids, 5);
	assert_int_equal(h->kv_tokens, 0);
}

static void a_full_worker_is_passed_over(void **state)
{
	struct worker_core_conf wc = toy_worker_conf("w0", 10);
	struct hall *h = *state;

	wc.max_sessions = 1;
	open_desk(h, 0, &wc);
	h->hold_tails = true;
	ask(h, "a", "");
	pass(h, 5);
	ask(h, "b", "");
	pass(h, 5);
	assert_int_equal(last_of_type(h, MSG_ERROR)->m.u.error.code, ERR_BUSY);
	h->hold_tails = false;
	pass(h, 1000);
	assert_answered(h, "a");
	assert_answered(h, "b"); /* at the next try */
}

static void answers_about_another_session_than_their_topics_are_dropped(void **state)
{
	static const char *const forged[] = {
		"{\"type\":\"error\",\"session\":\"00000000000000aa\",\"epoch\":1,\"seq\":0,"
		"\"code\":\"refused\",\"reason\":\"forged\"}",
		"{\"type\":\"tokens\",\"session\":\"00000000000000aa\",\"epoch\":1,\"seq\":1,"
		"\"pos\":4,\"ids\":[1],\"end\":false,\"queue_us\":0,\"compute_us\":0}",
		"{\"type\":\"need\",\"session\":\"00000000000000aa\",\"epoch\":1,\"seq\":1,"
		"\"kv_len\":1}",
		"{\"type\":\"accept\",\"session\":\"00000000000000aa\",\"epoch\":1,"
		"\"worker\":\"w0\",\"context_tokens\":1,\"max_packet_bytes\":65536}",
		"{\"type\":",
	};
	struct hall *h = *state;
	struct topic t = { .kind = TOPIC_DOWN, .fleet = TOY_FLEET, .agent = "gw", .worker = "w0" };
	char topic[TOPIC_MAX];

	open_worker(h, 0);
	h->hold_tails = true;
	ask(h, "a", "");
	pass(h, 5);
	t.session = last_of_type(h, MSG_OPEN)->m.u.open.session;
	topic_put(topic, &t);
	for (unsigned i = 0; i < sizeof(forged) / sizeof(forged[0]); i++)
		publish(h, topic, forged[i], false);
	pass(h, 5);
	h->hold_tails = false;
	pass(h, 100);
	assert_answered(h, "a");
	assert_int_equal(final(h, "a")->stats.epochs, 1);
}

static void without_a_free_session_ids_are_refused(void **state)
{
	struct msg_prompt m = { .id = "x" };
	struct hall *h = *state;

	h->hold_heads = true;
	for (unsigned i = 0; i < 3; i++)
		agent_core_prompt_ids(h->agent, &m, (uint32_t[]){ 1, 2 }, 2, h->now_us);
	assert_int_equal(h->n_in_process, 0);
	agent_core_prompt_ids(h->agent, &m, (uint32_t[]){ 1, 2 }, 2, h->now_us);
	assert_int_equal(h->n_in_process, 1);
	assert_int_equal(h->in_process.error, ERR_BUSY);
}

static void a_final_reply_waits_for_the_broker(void **state)
{
	struct hall *h = *state;

	h->hold_heads = true;
	ask(h, "a", "\"split\":4");
	pass(h, 5);
	assert_int_equal(agent_core_sessions(h->agent), 1);
	bus_mem_cut(h->broker, "gw");
	h->hold_heads = false;
	pass(h, 100);
	assert_int_equal(agent_core_sessions(h->agent), 0); /* it is done, but nobody can know */
	assert_int_equal(n_finals(h, "a"), 0);
	bus_mem_restore(h->broker, "gw");
	pass(h, 10);
	assert_answered(h, "a");
}

/* The same prompt through an agent whose packets hold so much. */
static const struct msg_reply *answer_within(struct hall *h, uint32_t max_packet, const char *id)
{
	struct agent_core_conf conf = toy_agent_conf();
	struct bus_conf bc = { .client_id = "gw", .max_packet_bytes = max_packet };

	toy_close_node(&h->agent_node);
	agent_core_destroy(h->agent);
	conf.tokenizer = h->tokenizer;
	assert_int_equal(inbox_create(&h->agent_node.inbox), 0);
	assert_int_equal(bus_mem_open(&h->agent_node.bus, h->broker, &bc, inbox_bus_handler,
				      h->agent_node.inbox),
			 0);
	assert_int_equal(
		agent_core_create(&h->agent, &conf,
				  &(struct agent_ops){ h, begin, end, submit_head, TOY_SIDE,
						       on_reply, fits, NULL, NULL }),
		0);
	assert_int_equal(agent_core_start(h->agent, h->agent_node.bus), 0);
	pass(h, 1000);
	ask(h, id, "\"split\":4");
	pass(h, 200);
	return final(h, id);
}

static void an_answer_too_large_for_a_packet_goes_without_its_ids(void **state)
{
	struct hall *h = *state;
	const struct msg_reply *r = answer_within(h, 65536, "a");
	size_t len, whole;
	char *text;

	assert_int_equal(msg_print(&(struct msg){ .type = MSG_REPLY, .u.reply = *r }, &text, &len),
			 0);
	free(text);
	whole = len + strlen("splitmq/v1/sim/agent/gw/reply/a") + 16;
	r = answer_within(h, (uint32_t)(whole - 20), "b");
	assert_int_equal(r->error, 0);
	assert_int_equal(r->n_ids, 0);
	assert_true(r->text[0]);
}

static void our_workers_death_is_no_mismatch(void **state)
{
	struct hall *h = *state;

	open_worker(h, 0);
	tell_status(h, "w8", "ready", OTHER_MODEL);
	pass(h, 400);
	h->hold_tails = true;
	ask(h, "a", "");
	pass(h, 5);
	bus_mem_cut(h->broker, "w0");
	close_desk(&h->desks[0]);
	h->hold_tails = false;
	pass(h, 50);
	assert_int_equal(n_finals(h, "a"), 0);
	open_worker(h, 0);
	pass(h, 1000);
	assert_answered(h, "a");
}

static void a_made_id_is_never_one_that_lives(void **state)
{
	struct hall *h = *state;

	h->hold_heads = true;
	ask(h, "p1", "\"split\":4");
	publish(h, "splitmq/v1/sim/agent/gw/prompt", "{\"prompt\":\"" PROMPT_TEXT "\",\"split\":4}",
		false);
	pass(h, 5);
	h->hold_heads = false;
	pass(h, 100);
	assert_int_equal(n_finals(h, "p1"), 1);
	assert_int_equal(n_finals(h, "p2"), 1);
}

static void a_waiting_prompt_has_its_deadline(void **state)
{
	struct hall *h = *state;
	char id[8];

	for (unsigned i = 0; i < 6; i++) { /* three find a session, none a worker */
		snprintf(id, sizeof(id), "a%u", i);
		ask(h, id, "\"deadline_ms\":500");
	}
	pass(h, 490);
	for (unsigned i = 0; i < 6; i++) {
		snprintf(id, sizeof(id), "a%u", i);
		assert_int_equal(n_finals(h, id), 0);
	}
	pass(h, 50);
	for (unsigned i = 0; i < 6; i++) {
		snprintf(id, sizeof(id), "a%u", i);
		assert_refused(h, id, ERR_TIMEOUT);
	}
}

static void without_a_broker_prompts_wait_but_not_for_ever(void **state)
{
	struct hall *h = *state;
	struct msg_prompt m = { .id = "x", .prompt = strdup(PROMPT_TEXT), .deadline_ms = 300 };

	m.prompt_len = strlen(m.prompt);
	bus_mem_cut(h->broker, "gw");
	pass(h, 5);
	agent_core_prompt(h->agent, &m, h->now_us);
	pass(h, 290);
	assert_int_equal(h->n_in_process, 0);
	pass(h, 20);
	assert_int_equal(h->n_in_process, 1);
	assert_int_equal(h->in_process.error, ERR_TIMEOUT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, hall_open, hall_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_prompt_is_answered_on_its_reply_topic),
		TEST(streamed_pieces_make_up_the_text),
		TEST(all_layers_here_need_no_worker),
		TEST(malformed_prompts_get_an_error_reply),
		TEST(a_retained_prompt_is_ignored),
		TEST(a_repeated_id_is_ignored_while_it_is_being_answered),
		TEST(prompts_that_cannot_be_are_refused_with_their_code),
		TEST(prompts_wait_for_a_session_and_too_many_are_refused),
		TEST(running_and_waiting_prompts_can_be_cancelled),
		TEST(a_cancelled_session_keeps_its_slot_until_the_job_is_back),
		TEST(a_full_compute_queue_fails_the_prompt),
		TEST(a_draining_agent_refuses_and_finishes),
		TEST(a_prompt_of_this_process_is_answered_in_it),
		TEST(a_decision_holds_from_the_next_session_on),
		TEST(the_decided_cache_reaches_both_sides_and_a_prompt_may_want_another),
		TEST(a_session_is_of_the_prompts_class_else_of_the_agents),
		TEST(a_decision_changes_the_agents_cache_of_a_session_not_the_workers),
		TEST(a_cache_that_cannot_be_changed_stays),
		TEST(a_prompts_own_cache_stays),
		TEST(an_invalid_decision_is_refused_and_the_old_one_kept),
		TEST(a_decision_is_answered_with_what_would_fit),
		TEST(another_model_everywhere_is_told_at_once),
		TEST(waiting_prompts_hear_of_the_mismatch_too),
		TEST(a_mismatch_is_not_believed_before_all_statuses_are_in),
		TEST(an_accept_for_an_unknown_session_is_closed),
		TEST(a_draining_worker_hands_its_sessions_over),
		TEST(a_dead_worker_is_replaced_at_once),
		TEST(a_status_in_anothers_name_is_refused),
		TEST(a_shorter_context_of_the_worker_ends_the_answer_earlier),
		TEST(a_full_worker_is_passed_over),
		TEST(answers_about_another_session_than_their_topics_are_dropped),
		TEST(without_a_free_session_ids_are_refused),
		TEST(a_final_reply_waits_for_the_broker),
		TEST(our_workers_death_is_no_mismatch),
		TEST(a_waiting_prompt_has_its_deadline),
		TEST(without_a_broker_prompts_wait_but_not_for_ever),
		TEST(a_made_id_is_never_one_that_lives),
		TEST(an_answer_too_large_for_a_packet_goes_without_its_ids),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
