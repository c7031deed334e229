#include "tests/shop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "codec/plain.h"
#include "daemon/inbox.h"
#include "daemon/link.h"

static int begin(void *ctx, struct kv **kv, uint32_t split, uint32_t context, enum kv_type type,
		 struct err *e)
{
	struct shop *h = ctx;

	if (h->kv_tokens + (int)context > h->kv_budget)
		return err_set(e, ERR_LIMIT, "no room for %u tokens", context);
	if (h->begin_rc)
		return err_set(e, h->begin_rc, "no room for %u tokens", context);
	h->kv_tokens += (int)context;
	h->kv_type = type;
	h->n_begun++;
	return toy_begin_tail(ctx, kv, split, context, type, e);
}

static void end(void *ctx, struct kv *kv, uint32_t split, uint32_t context)
{
	struct shop *h = ctx;

	h->kv_tokens -= (int)context;
	toy_end_tail(ctx, kv, split, context);
}

static uint64_t missing(void *ctx, uint32_t split, uint32_t context, enum kv_type type)
{
	struct shop *h = ctx;
	int tokens = h->kv_tokens + (int)context - h->kv_budget;

	(void)split;
	(void)type;
	return tokens > 0 ? (uint64_t)tokens : 0;
}

/* All sessions of these tests have the same context. */
static uint64_t held(void *ctx, const struct kv *kv)
{
	(void)ctx;
	(void)kv;
	return TOY_CONTEXT;
}

static bool submit(void *ctx, struct tail_job *job)
{
	struct shop *h = ctx;

	if (h->refuse_jobs)
		return false;
	assert_true(h->n_jobs < SHOP_MAX_JOBS);
	h->jobs[h->n_jobs++] = job;
	return true;
}

static void hear(struct shop *h)
{
	struct inbox_item *item;

	while ((item = queue_pop(h->person.inbox, 0))) {
		const struct bus_event *ev = &((struct inbox_bus *)item)->ev;

		if (ev->kind == BUS_MESSAGE) {
			assert_true(h->n_heard < SHOP_MAX_HEARD);
			assert_int_equal(msg_parse(&h->heard[h->n_heard++],
						   (const char *)ev->payload, ev->len,
						   MSG_TYPE_COUNT, NULL),
					 0);
		}
		inbox_free(item);
	}
}

static void return_jobs(struct shop *h)
{
	for (unsigned i = 0; i < h->n_jobs; i++) {
		h->rows_run += toy_run_tail(h->jobs[i]);
		worker_core_computed(h->core, h->jobs[i], h->now_us);
	}
	h->n_jobs = 0;
}

void shop_settle(struct shop *h)
{
	for (unsigned i = 0; i < 5; i++) {
		struct inbox_item *item;

		bus_mem_pump(h->broker, h->now_us / 1000);
		while ((item = queue_pop(h->worker_node.inbox, 0))) {
			const struct bus_event *ev = &((struct inbox_bus *)item)->ev;

			if (ev->kind == BUS_MESSAGE)
				worker_core_message(h->core, ev, h->now_us);
			inbox_free(item);
		}
		if (!h->hold)
			return_jobs(h);
		hear(h);
	}
}

int shop_open(void **state)
{
	struct shop *h = calloc(1, sizeof(*h));

	assert_non_null(h);
	h->now_us = 1000000;
	h->conf = toy_worker_conf("w0", 1);
	h->conf.max_sessions = 2;
	h->conf.evict_us = SHOP_EVICT_US;
	h->kv_budget = 1 << 20;
	assert_int_equal(bus_mem_create(&h->broker, NULL, NULL), 0);
	toy_open_node(&h->worker_node, h->broker, "w0", 1);
	toy_open_node(&h->person, h->broker, "person", 0);
	assert_int_equal(
		worker_core_create(&h->core, &h->conf,
				   &(struct worker_ops){ h, begin, end, toy_begin_codec, submit,
							 missing, held, toy_begin_side,
							 toy_end_side, toy_settle }),
		0);
	assert_int_equal(worker_core_start(h->core, h->worker_node.bus), 0);
	assert_int_equal(bus_subscribe(h->person.bus, "splitmq/v1/sim/session/+/+/+/down", 1), 0);
	shop_settle(h);
	*state = h;
	return 0;
}

int shop_close(void **state)
{
	struct shop *h = *state;

	h->hold = false;
	shop_settle(h);
	toy_close_node(&h->worker_node);
	toy_close_node(&h->person);
	worker_core_destroy(h->core);
	assert_int_equal(h->kv_tokens, 0); /* each cache was given back as it was made */
	bus_mem_destroy(h->broker);
	free(h);
	return 0;
}

void shop_publish(struct shop *h, uint64_t session, const void *payload, size_t len)
{
	struct topic t = { .kind = TOPIC_UP,
			   .fleet = TOY_FLEET,
			   .agent = "gw",
			   .worker = "w0",
			   .session = session };
	char topic[TOPIC_MAX];

	topic_put(topic, &t);
	assert_int_equal(bus_publish(h->person.bus, &(struct bus_publish){ .topic = topic,
									   .payload = payload,
									   .len = len }),
			 0);
	shop_settle(h);
}

struct msg shop_msg_open(uint64_t session, uint32_t epoch)
{
	return (struct msg){
		.type = MSG_OPEN,
		.u.open = { .session = session,
			    .epoch = epoch,
			    .agent = "gw",
			    .model = TOY_MODEL,
			    .dim = TOY_DIM,
			    .split = 1,
			    .context_tokens = TOY_CONTEXT,
			    .codec = "f32",
			    .sampling = { .top_p = 1, .repeat_penalty = 1, .seed = SHOP_SEED } }
	};
}

void shop_publish_open(struct shop *h, const struct msg *m)
{
	struct topic t = {
		.kind = TOPIC_OPEN, .fleet = TOY_FLEET, .agent = "gw", .model = TOY_MODEL
	};

	assert_int_equal(link_publish(h->person.bus, &t, m, 1, false, 0), 0);
	shop_settle(h);
}

const struct msg *shop_last(const struct shop *h)
{
	assert_true(h->n_heard);
	return &h->heard[h->n_heard - 1];
}

void shop_open_session(struct shop *h, uint64_t session)
{
	struct msg m = shop_msg_open(session, 1);

	shop_publish_open(h, &m);
	assert_int_equal(shop_last(h)->type, MSG_ACCEPT);
	assert_true(shop_last(h)->u.accept.session == session);
}

struct wire_hdr shop_hdr(uint64_t session, uint32_t seq, uint32_t pos, uint32_t rows)
{
	return (struct wire_hdr){ .kind = WIRE_ROWS,
				  .flags = WIRE_SAMPLE,
				  .codec = PLAIN_F32,
				  .session = session,
				  .epoch = 1,
				  .seq = seq,
				  .pos = pos,
				  .rows = rows,
				  .dim = TOY_DIM,
				  .split = 1,
				  .body_len = (uint32_t)(rows * TOY_DIM * sizeof(float)) };
}

size_t shop_frame(uint8_t frame[static SHOP_FRAME_MAX], const struct wire_hdr *h)
{
	float x[TOY_CONTEXT * TOY_DIM];
	uint32_t ids[TOY_CONTEXT];
	size_t len;

	assert_true(h->rows <= TOY_CONTEXT);
	for (uint32_t i = 0; i < h->rows; i++)
		ids[i] = h->pos + i;
	toy_rows(ids, h->rows, h->pos, x);
	assert_int_equal(plain_encode(PLAIN_F32, x, TOY_DIM, h->rows, frame + WIRE_HDR_LEN,
				      SHOP_FRAME_MAX - WIRE_HDR_LEN, &len, NULL),
			 0);
	wire_put_hdr(frame, h, frame + WIRE_HDR_LEN);
	return WIRE_HDR_LEN + h->body_len;
}

void shop_send_frame(struct shop *h, uint64_t topic_session, const struct wire_hdr *hdr)
{
	uint8_t frame[SHOP_FRAME_MAX];
	size_t len = shop_frame(frame, hdr);

	shop_publish(h, topic_session, frame, len);
}

void shop_send_rows(struct shop *h, uint64_t session, uint32_t seq, uint32_t pos, uint32_t rows)
{
	struct wire_hdr hdr = shop_hdr(session, seq, pos, rows);

	shop_send_frame(h, session, &hdr);
}

/* The token after rows 0..n. */
static uint32_t token_after(uint32_t n)
{
	uint32_t ids[TOY_CONTEXT], out = TOY_END_ID;

	for (uint32_t i = 0; i < n; i++)
		ids[i] = i;
	toy_answer(ids, n, 1, SHOP_SEED, &out);
	return out;
}

void shop_assert_tokens(const struct shop *h, uint64_t session, uint32_t seq, uint32_t pos)
{
	const struct msg_tokens *t = &shop_last(h)->u.tokens;

	assert_int_equal(shop_last(h)->type, MSG_TOKENS);
	assert_true(t->session == session);
	assert_int_equal(t->seq, seq);
	assert_int_equal(t->pos, pos);
	assert_int_equal(t->ids[0], token_after(pos));
}

void shop_assert_error(const struct shop *h, uint64_t session, uint32_t seq, int code)
{
	const struct msg_error *e = &shop_last(h)->u.error;

	assert_int_equal(shop_last(h)->type, MSG_ERROR);
	assert_true(e->session == session);
	assert_int_equal(e->seq, seq);
	assert_int_equal(e->code, code);
	assert_true(e->reason[0]);
}

void shop_assert_other_goes_on(struct shop *h)
{
	shop_send_rows(h, 2, 2, 4, 1);
	shop_assert_tokens(h, 2, 2, 5);
}

void shop_open_two(struct shop *h)
{
	shop_open_session(h, 1);
	shop_open_session(h, 2);
	shop_send_rows(h, 2, 1, 0, 4);
	shop_assert_tokens(h, 2, 1, 4);
}
