/* tests/test_worker_core.c - the worker over a bus in memory: what good and bad agents send it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "codec/codec.h"
#include "daemon/inbox.h"
#include "daemon/link.h"
#include "tests/toy.h"

#define MAX_JOBS  16u
#define MAX_HEARD 256u
#define SEED      7u
#define FRAME_MAX 4096u
#define EVICT_US  5000000u

/* One worker, and a person who plays all agents. */
struct hall {
	struct bus_mem *broker;
	struct toy_node worker_node, person;
	struct worker_core_conf conf;
	struct worker_core *core;
	uint64_t now_us;
	struct tail_job *jobs[MAX_JOBS];
	unsigned n_jobs;
	bool hold;            /* jobs stay out */
	bool refuse_jobs;     /* the compute queue is full */
	int begin_rc;         /* of new KV caches */
	int kv_tokens;        /* of all caches that exist */
	enum kv_type kv_type; /* of the newest cache */
	unsigned n_begun;
	int kv_budget; /* tokens that all caches may have */
	uint32_t rows_run;
	struct msg heard[MAX_HEARD]; /* down messages; none of these owns memory */
	unsigned n_heard;
};

static int begin(void *ctx, struct kv **kv, uint32_t split, uint32_t context, enum kv_type type,
		 struct err *e)
{
	struct hall *h = ctx;

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
	struct hall *h = ctx;

	h->kv_tokens -= (int)context;
	toy_end_tail(ctx, kv, split, context);
}

static uint64_t missing(void *ctx, uint32_t split, uint32_t context, enum kv_type type)
{
	struct hall *h = ctx;
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
	struct hall *h = ctx;

	if (h->refuse_jobs)
		return false;
	assert_true(h->n_jobs < MAX_JOBS);
	h->jobs[h->n_jobs++] = job;
	return true;
}

static void hear(struct hall *h)
{
	struct inbox_item *item;

	while ((item = queue_pop(h->person.inbox, 0))) {
		const struct bus_event *ev = &((struct inbox_bus *)item)->ev;

		if (ev->kind == BUS_MESSAGE) {
			assert_true(h->n_heard < MAX_HEARD);
			assert_int_equal(msg_parse(&h->heard[h->n_heard++],
						   (const char *)ev->payload, ev->len,
						   MSG_TYPE_COUNT, NULL),
					 0);
		}
		inbox_free(item);
	}
}

static void return_jobs(struct hall *h)
{
	for (unsigned i = 0; i < h->n_jobs; i++) {
		h->rows_run += toy_run_tail(h->jobs[i]);
		worker_core_computed(h->core, h->jobs[i], h->now_us);
	}
	h->n_jobs = 0;
}

/* Messages are delivered, jobs run, until all is quiet. */
static void settle(struct hall *h)
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

static int hall_open(void **state)
{
	struct hall *h = calloc(1, sizeof(*h));

	assert_non_null(h);
	h->now_us = 1000000;
	h->conf = toy_worker_conf("w0", 1);
	h->conf.max_sessions = 2;
	h->conf.evict_us = EVICT_US;
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
	settle(h);
	*state = h;
	return 0;
}

static int hall_close(void **state)
{
	struct hall *h = *state;

	h->hold = false;
	settle(h);
	toy_close_node(&h->worker_node);
	toy_close_node(&h->person);
	worker_core_destroy(h->core);
	assert_int_equal(h->kv_tokens, 0); /* each cache was given back as it was made */
	bus_mem_destroy(h->broker);
	free(h);
	return 0;
}

static void publish(struct hall *h, uint64_t session, const void *payload, size_t len)
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
	settle(h);
}

static struct msg an_open(uint64_t session, uint32_t epoch)
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
			    .sampling = { .top_p = 1, .repeat_penalty = 1, .seed = SEED } }
	};
}

/* To any worker. */
static void publish_open(struct hall *h, const struct msg *m)
{
	struct topic t = {
		.kind = TOPIC_OPEN, .fleet = TOY_FLEET, .agent = "gw", .model = TOY_MODEL
	};

	assert_int_equal(link_publish(h->person.bus, &t, m, 1, false, 0), 0);
	settle(h);
}

static const struct msg *last_heard(const struct hall *h)
{
	assert_true(h->n_heard);
	return &h->heard[h->n_heard - 1];
}

static void open_session(struct hall *h, uint64_t session)
{
	struct msg m = an_open(session, 1);

	publish_open(h, &m);
	assert_int_equal(last_heard(h)->type, MSG_ACCEPT);
	assert_true(last_heard(h)->u.accept.session == session);
}

static struct wire_hdr a_hdr(uint64_t session, uint32_t seq, uint32_t pos, uint32_t rows)
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

/* The rows of ids 0, 1, 2 ... at their positions. Returns the frame's length. */
static size_t make_frame(uint8_t frame[static FRAME_MAX], const struct wire_hdr *h)
{
	float x[TOY_CONTEXT * TOY_DIM];
	uint32_t ids[TOY_CONTEXT];
	size_t len;

	assert_true(h->rows <= TOY_CONTEXT);
	for (uint32_t i = 0; i < h->rows; i++)
		ids[i] = h->pos + i;
	toy_rows(ids, h->rows, h->pos, x);
	assert_int_equal(plain_encode(PLAIN_F32, x, TOY_DIM, h->rows, frame + WIRE_HDR_LEN,
				      FRAME_MAX - WIRE_HDR_LEN, &len, NULL),
			 0);
	wire_put_hdr(frame, h, frame + WIRE_HDR_LEN);
	return WIRE_HDR_LEN + h->body_len;
}

static void send_frame(struct hall *h, uint64_t topic_session, const struct wire_hdr *hdr)
{
	uint8_t frame[FRAME_MAX];
	size_t len = make_frame(frame, hdr);

	publish(h, topic_session, frame, len);
}

static void send_rows(struct hall *h, uint64_t session, uint32_t seq, uint32_t pos, uint32_t rows)
{
	struct wire_hdr hdr = a_hdr(session, seq, pos, rows);

	send_frame(h, session, &hdr);
}

/* The token after rows 0..n. */
static uint32_t token_after(uint32_t n)
{
	uint32_t ids[TOY_CONTEXT], out = TOY_END_ID;

	for (uint32_t i = 0; i < n; i++)
		ids[i] = i;
	toy_answer(ids, n, 1, SEED, &out);
	return out;
}

static void assert_tokens(const struct hall *h, uint64_t session, uint32_t seq, uint32_t pos)
{
	const struct msg_tokens *t = &last_heard(h)->u.tokens;

	assert_int_equal(last_heard(h)->type, MSG_TOKENS);
	assert_true(t->session == session);
	assert_int_equal(t->seq, seq);
	assert_int_equal(t->pos, pos);
	assert_int_equal(t->ids[0], token_after(pos));
}

static void assert_error(const struct hall *h, uint64_t session, uint32_t seq, int code)
{
	const struct msg_error *e = &last_heard(h)->u.error;

	assert_int_equal(last_heard(h)->type, MSG_ERROR);
	assert_true(e->session == session);
	assert_int_equal(e->seq, seq);
	assert_int_equal(e->code, code);
	assert_true(e->reason[0]);
}

/* Session 2 has four rows in and is asked for one more: it goes on as if nothing had been. */
static void assert_other_goes_on(struct hall *h)
{
	send_rows(h, 2, 2, 4, 1);
	assert_tokens(h, 2, 2, 5);
}

static void open_two(struct hall *h)
{
	open_session(h, 1);
	open_session(h, 2);
	send_rows(h, 2, 1, 0, 4);
	assert_tokens(h, 2, 1, 4);
}

static void a_session_is_served(void **state)
{
	struct hall *h = *state;
	struct msg_telemetry t = { 0 };

	open_session(h, 1);
	assert_string_equal(last_heard(h)->u.accept.worker, "w0");
	assert_int_equal(last_heard(h)->u.accept.context_tokens, TOY_CONTEXT);
	send_rows(h, 1, 1, 0, 4);
	assert_tokens(h, 1, 1, 4);
	send_rows(h, 1, 2, 4, 1);
	assert_tokens(h, 1, 2, 5);
	assert_int_equal(h->rows_run, 5);
	worker_core_telemetry(h->core, &t);
	assert_int_equal(t.sessions, 1);
	assert_int_equal(t.tokens, 2);
	assert_int_equal(t.rows, 5);
	assert_true(t.bytes_up > 0);
}

static void a_duplicated_frame_is_answered_again_and_not_run_again(void **state)
{
	struct hall *h = *state;
	unsigned before;

	open_two(h);
	before = h->n_heard;
	send_rows(h, 2, 1, 0, 4);
	assert_int_equal(h->n_heard, before + 1);
	assert_tokens(h, 2, 1, 4);
	assert_int_equal(h->rows_run, 4);
	assert_other_goes_on(h);
}

static void a_stale_frame_is_dropped(void **state)
{
	struct hall *h = *state;
	struct msg m = an_open(1, 2);
	unsigned before;

	open_two(h);
	publish_open(h, &m);
	before = h->n_heard;
	send_rows(h, 1, 1, 0, 4); /* of epoch 1 */
	assert_int_equal(h->n_heard, before);
	assert_int_equal(h->rows_run, 4);
	assert_other_goes_on(h);
}

static void damaged_frames_are_dropped(void **state)
{
	struct hall *h = *state;
	struct wire_hdr hdr = a_hdr(1, 1, 0, 2);
	uint8_t frame[FRAME_MAX];
	size_t len = make_frame(frame, &hdr);
	unsigned before;

	open_two(h);
	before = h->n_heard;
	for (size_t i = 1; i < len; i++) /* byte 0 says that it is a frame */
		publish(h, 1, frame, i);
	for (size_t i = 1; i < len; i++) {
		frame[i] ^= 0x10;
		publish(h, 1, frame, len);
		frame[i] ^= 0x10;
	}
	assert_int_equal(h->n_heard, before);
	assert_int_equal(h->rows_run, 4);
	assert_other_goes_on(h);
	send_frame(h, 1, &hdr);
	assert_tokens(h, 1, 1, 2);
}

static void a_frame_of_another_session_than_its_topics_is_dropped(void **state)
{
	struct hall *h = *state;
	struct wire_hdr hdr = a_hdr(2, 2, 4, 1);
	unsigned before;

	open_two(h);
	before = h->n_heard;
	send_frame(h, 1, &hdr);
	assert_int_equal(h->n_heard, before);
	assert_int_equal(h->rows_run, 4);
	assert_other_goes_on(h);
}

static void rows_of_an_unknown_session_are_not_found(void **state)
{
	struct hall *h = *state;
	struct wire_hdr hdr = a_hdr(9, 3, 0, 1);
	unsigned before;

	send_frame(h, 9, &hdr);
	assert_error(h, 9, 3, ERR_NOT_FOUND);
	before = h->n_heard;
	hdr.flags = 0; /* no answer is waited for */
	send_frame(h, 9, &hdr);
	assert_int_equal(h->n_heard, before);
}

static void a_gap_is_answered_with_what_is_there(void **state)
{
	struct hall *h = *state;

	open_two(h);
	send_rows(h, 2, 3, 6, 1);
	assert_int_equal(last_heard(h)->type, MSG_NEED);
	assert_int_equal(last_heard(h)->u.need.seq, 3);
	assert_int_equal(last_heard(h)->u.need.kv_len, 4);
	assert_other_goes_on(h);
}

static void too_many_rows_end_their_session_only(void **state)
{
	struct hall *h = *state;

	open_two(h);
	send_rows(h, 1, 1, 0, AGENT_CHUNK_ROWS + 1);
	assert_error(h, 1, 1, ERR_LIMIT);
	assert_int_equal(worker_core_sessions(h->core), 1);
	assert_other_goes_on(h);
}

static void rows_that_are_not_finite_end_their_session_only(void **state)
{
	struct hall *h = *state;
	struct wire_hdr hdr = a_hdr(1, 1, 0, 1);
	uint8_t frame[FRAME_MAX];
	size_t len = make_frame(frame, &hdr);
	float nan = NAN;

	open_two(h);
	memcpy(frame + WIRE_HDR_LEN, &nan, sizeof(nan));
	wire_put_hdr(frame, &hdr, frame + WIRE_HDR_LEN);
	publish(h, 1, frame, len);
	assert_error(h, 1, 1, ERR_NOT_FINITE);
	assert_int_equal(worker_core_sessions(h->core), 1);
	assert_other_goes_on(h);
}

static void a_cache_is_of_the_type_that_open_names_and_new_when_it_changes(void **state)
{
	static const struct {
		const char *word;
		enum kv_type type;
		unsigned begun;
	} epochs[] = {
		{ "", KV_F16, 1 },      { "q8_0", KV_Q8_0, 2 }, { "q8_0", KV_Q8_0, 2 },
		{ "q4_0", KV_Q4_0, 3 }, { "f16", KV_F16, 4 },   { "", KV_F16, 4 },
	};
	struct hall *h = *state;

	for (uint32_t i = 0; i < sizeof(epochs) / sizeof(epochs[0]); i++) {
		struct msg m = an_open(5, i + 1);

		snprintf(m.u.open.kv, sizeof(m.u.open.kv), "%s", epochs[i].word);
		publish_open(h, &m);
		assert_int_equal(last_heard(h)->type, MSG_ACCEPT);
		assert_int_equal(h->kv_type, epochs[i].type);
		assert_int_equal(h->n_begun, epochs[i].begun);
		assert_int_equal(h->kv_tokens, TOY_CONTEXT);
	}
}

static void a_new_epoch_with_another_cache_waits_for_the_jobs_of_the_old_one(void **state)
{
	struct msg m = an_open(5, 2);
	struct hall *h = *state;

	open_session(h, 5);
	h->hold = true;
	send_rows(h, 5, 1, 0, 3);
	memcpy(m.u.open.kv, "q8_0", 5);
	publish_open(h, &m);
	assert_int_equal(last_heard(h)->type, MSG_ERROR);
	assert_int_equal(last_heard(h)->u.error.code, ERR_BUSY);
	assert_int_equal(h->n_begun, 1); /* a job still writes to it */
	h->hold = false;
	settle(h);
	publish_open(h, &m);
	assert_int_equal(last_heard(h)->type, MSG_ACCEPT);
	assert_int_equal(h->kv_type, KV_Q8_0);
}

/* Asked before the bytes are looked at: they are no such rows. */
static void rows_predicted_from_another_past_end_their_session_only(void **state)
{
	struct hall *h = *state;
	struct wire_hdr hdr = a_hdr(1, 1, 0, 1);

	open_two(h);
	hdr.codec = CODEC_TABQ | CODEC_PACKED | SPEC_ROWS << 2;
	hdr.state = 1;
	send_frame(h, 1, &hdr);
	assert_error(h, 1, 1, ERR_STATE);
	assert_other_goes_on(h);
}

static void an_unknown_codec_ends_its_session_only(void **state)
{
	struct hall *h = *state;
	struct wire_hdr hdr = a_hdr(1, 1, 0, 1);

	open_two(h);
	hdr.codec = 200;
	send_frame(h, 1, &hdr);
	assert_error(h, 1, 1, ERR_UNSUPPORTED);
	assert_other_goes_on(h);
}

static void malformed_json_is_an_error_to_its_session(void **state)
{
	static const char *const texts[] = {
		"{", "null", "[]", "{}", "{\"type\":\"close\"}", "\xff\xfe", "{\"type\":\"x\"}"
	};
	struct hall *h = *state;

	open_two(h);
	for (unsigned i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		publish(h, 1, texts[i], strlen(texts[i]));
		assert_error(h, 1, 0, ERR_FORMAT);
	}
	publish(h, 1, "", 0);
	assert_other_goes_on(h);
	send_rows(h, 1, 1, 0, 2);
	assert_tokens(h, 1, 1, 2);
}

static void an_open_that_breaks_its_schema_is_told_to_its_session(void **state)
{
	static const char text[] =
		"{\"type\":\"open\",\"session\":\"000000000000002a\",\"epoch\":3}";
	struct hall *h = *state;

	assert_int_equal(
		bus_publish(h->person.bus,
			    &(struct bus_publish){ .topic = "splitmq/v1/sim/open/" TOY_MODEL "/gw",
						   .payload = text,
						   .len = strlen(text) }),
		0);
	settle(h);
	assert_error(h, 0x2a, 0, ERR_FORMAT);
	assert_int_equal(last_heard(h)->u.error.epoch, 3);
}

static void messages_that_do_not_belong_on_up_are_ignored(void **state)
{
	struct hall *h = *state;
	struct msg m = { .type = MSG_CLOSE, .u.close = { .session = 2, .epoch = 1 } };
	struct topic t = {
		.kind = TOPIC_UP, .fleet = TOY_FLEET, .agent = "gw", .worker = "w0", .session = 1
	};
	unsigned before;

	open_two(h);
	before = h->n_heard;
	assert_int_equal(link_publish(h->person.bus, &t, &m, 1, false, 0), 0); /* session differs */
	memcpy(t.agent, "g2", 3);
	m.u.close.session = 1;
	assert_int_equal(link_publish(h->person.bus, &t, &m, 1, false, 0), 0); /* another agent's */
	m = an_open(3, 1);
	assert_int_equal(link_publish(h->person.bus, &t, &m, 1, false, 0), 0); /* session differs */
	m = (struct msg){ .type = MSG_CANCEL, .u.cancel = { .id = "x" } };
	assert_int_equal(link_publish(h->person.bus, &t, &m, 1, false, 0), 0);
	settle(h);
	assert_int_equal(h->n_heard, before);
	assert_int_equal(worker_core_sessions(h->core), 2);
	assert_other_goes_on(h);
}

static void a_full_worker_is_busy_until_a_session_closes(void **state)
{
	static const char text[] =
		"{\"type\":\"close\",\"session\":\"0000000000000001\",\"epoch\":1}";
	struct hall *h = *state;
	struct msg m = an_open(3, 1);

	open_two(h);
	publish_open(h, &m);
	assert_error(h, 3, 0, ERR_BUSY);
	m = an_open(1, 1); /* repeated, not new */
	publish_open(h, &m);
	assert_int_equal(last_heard(h)->type, MSG_ACCEPT);
	publish(h, 1, text, strlen(text));
	assert_int_equal(worker_core_sessions(h->core), 1);
	open_session(h, 3);
	assert_other_goes_on(h);
}

static void a_draining_worker_takes_no_new_session(void **state)
{
	struct hall *h = *state;
	struct msg m = an_open(3, 1);

	open_session(h, 2);
	send_rows(h, 2, 1, 0, 4);
	worker_core_drain(h->core);
	publish_open(h, &m);
	assert_error(h, 3, 0, ERR_BUSY);
	assert_other_goes_on(h);
}

static void an_open_that_does_not_fit_is_refused_with_its_code(void **state)
{
	struct hall *h = *state;
	struct msg m = an_open(1, 4);

	m.u.open.model[0] = 'f';
	publish_open(h, &m);
	assert_error(h, 1, 0, ERR_MODEL_MISMATCH);
	assert_int_equal(last_heard(h)->u.error.epoch, 4);
	m = an_open(1, 4);
	m.u.open.split = TOY_LAYERS + 1;
	publish_open(h, &m);
	assert_error(h, 1, 0, ERR_REFUSED);
	assert_int_equal(worker_core_sessions(h->core), 0);
}

static void no_memory_for_a_session_is_busy(void **state)
{
	struct hall *h = *state;
	struct msg m = an_open(1, 1);

	h->begin_rc = ERR_LIMIT;
	publish_open(h, &m);
	assert_error(h, 1, 0, ERR_BUSY);
	assert_int_equal(worker_core_sessions(h->core), 0);
	h->begin_rc = 0;
	open_session(h, 1);
}

static void a_full_compute_queue_is_busy(void **state)
{
	struct hall *h = *state;

	open_two(h);
	h->refuse_jobs = true;
	send_rows(h, 1, 1, 0, 1);
	assert_error(h, 1, 1, ERR_BUSY);
	h->refuse_jobs = false;
	assert_int_equal(worker_core_jobs(h->core), 0);
	assert_other_goes_on(h);
}

static void a_new_split_gets_a_new_cache(void **state)
{
	struct hall *h = *state;
	struct msg m = an_open(1, 2);

	open_session(h, 1);
	send_rows(h, 1, 1, 0, 4);
	m.u.open.split = 2;
	m.u.open.context_tokens = 20;
	publish_open(h, &m);
	assert_int_equal(last_heard(h)->type, MSG_ACCEPT);
	assert_int_equal(last_heard(h)->u.accept.context_tokens, 20);
	assert_int_equal(h->kv_tokens, 20);
}

static void a_place_is_kept_until_the_last_job_is_back(void **state)
{
	static const char text[] =
		"{\"type\":\"close\",\"session\":\"0000000000000001\",\"epoch\":1}";
	struct hall *h = *state;
	struct msg m = an_open(1, 2);

	open_session(h, 1);
	h->hold = true;
	send_rows(h, 1, 1, 0, 4);
	publish(h, 1, text, strlen(text));
	assert_int_equal(worker_core_sessions(h->core), 1);
	publish_open(h, &m);
	assert_error(h, 1, 0, ERR_BUSY);
	h->hold = false;
	settle(h);
	assert_int_equal(worker_core_sessions(h->core), 0);
	assert_int_equal(last_heard(h)->type, MSG_ERROR); /* nobody waits for the answer */
	publish_open(h, &m);
	assert_int_equal(last_heard(h)->type, MSG_ACCEPT);
}

static void an_idle_session_is_given_up(void **state)
{
	struct hall *h = *state;

	open_two(h);
	h->now_us += h->conf.limits.idle_us - 1;
	worker_core_tick(h->core, h->now_us);
	send_rows(h, 2, 2, 4, 1);
	h->now_us += 1;
	worker_core_tick(h->core, h->now_us);
	assert_int_equal(worker_core_sessions(h->core), 1);
	send_rows(h, 1, 1, 0, 1);
	assert_error(h, 1, 1, ERR_NOT_FOUND);
}

static void the_session_that_is_idle_longest_makes_room(void **state)
{
	struct msg_telemetry t = { 0 };
	struct hall *h = *state;

	open_two(h); /* of 1 nothing was heard but its OPEN */
	h->now_us += 1000;
	send_rows(h, 1, 1, 0, 4);
	h->now_us += EVICT_US;
	open_session(h, 3); /* 2 is older */
	send_rows(h, 2, 2, 4, 1);
	assert_error(h, 2, 2, ERR_NOT_FOUND);
	send_rows(h, 1, 2, 4, 1);
	assert_tokens(h, 1, 2, 5);
	worker_core_telemetry(h->core, &t);
	assert_int_equal(t.evictions, 1);
}

static void a_session_that_is_not_idle_or_has_a_job_out_stays(void **state)
{
	struct hall *h = *state;
	struct msg m = an_open(3, 1);

	open_two(h);
	h->now_us += EVICT_US - 1;
	publish_open(h, &m);
	assert_error(h, 3, 0, ERR_BUSY);
	send_rows(h, 1, 1, 0, 4); /* not idle any more */
	h->hold = true;
	send_rows(h, 2, 2, 4, 1); /* and this one has a job out */
	h->now_us += EVICT_US - 1;
	send_rows(h, 1, 1, 0, 4);
	h->now_us += 10;
	publish_open(h, &m);
	assert_error(h, 3, 0, ERR_BUSY);
	h->hold = false;
	settle(h);
	assert_int_equal(worker_core_sessions(h->core), 2);
}

static void idle_sessions_give_memory_to_a_new_one_if_that_is_enough(void **state)
{
	struct hall *h = *state;
	struct msg m = an_open(3, 1);

	h->kv_budget = TOY_CONTEXT;
	open_session(h, 1);
	publish_open(h, &m);
	assert_error(h, 3, 0, ERR_BUSY);
	h->now_us += EVICT_US;
	h->kv_budget = TOY_CONTEXT - 1; /* nobody would be helped */
	publish_open(h, &m);
	assert_error(h, 3, 0, ERR_BUSY);
	send_rows(h, 1, 1, 0, 4);
	assert_tokens(h, 1, 1, 4);
	h->kv_budget = TOY_CONTEXT;
	h->now_us += EVICT_US;
	open_session(h, 3);
	assert_int_equal(h->kv_tokens, TOY_CONTEXT);
	assert_int_equal(worker_core_sessions(h->core), 1);
}

/* Until no job that may run them is out. */
static void layers_are_needed_from_the_lowest_split_on(void **state)
{
	struct wire_hdr hdr = a_hdr(1, 1, 0, 2);
	struct hall *h = *state;

	assert_int_equal(worker_core_lowest(h->core), TOY_LAYERS);
	open_session(h, 1);
	assert_int_equal(worker_core_lowest(h->core), 1);
	send_frame(h, 1, &hdr);
	h->hold = true;
	hdr = a_hdr(1, 2, 2, 1);
	hdr.split = 2;
	send_frame(h, 1, &hdr);
	assert_int_equal(worker_core_lowest(h->core), 1);
	h->hold = false;
	settle(h);
	assert_int_equal(worker_core_lowest(h->core), 2);
	h->hold = true;
	hdr = a_hdr(1, 1u << 16, 0, 1);
	hdr.split = 0;
	hdr.flags = WIRE_FILL;
	send_frame(h, 1, &hdr);
	assert_int_equal(h->n_jobs, 1);
	assert_int_equal(worker_core_lowest(h->core), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, hall_open, hall_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_session_is_served),
		TEST(a_duplicated_frame_is_answered_again_and_not_run_again),
		TEST(a_stale_frame_is_dropped),
		TEST(damaged_frames_are_dropped),
		TEST(a_frame_of_another_session_than_its_topics_is_dropped),
		TEST(rows_of_an_unknown_session_are_not_found),
		TEST(a_gap_is_answered_with_what_is_there),
		TEST(too_many_rows_end_their_session_only),
		TEST(rows_that_are_not_finite_end_their_session_only),
		TEST(a_cache_is_of_the_type_that_open_names_and_new_when_it_changes),
		TEST(a_new_epoch_with_another_cache_waits_for_the_jobs_of_the_old_one),
		TEST(rows_predicted_from_another_past_end_their_session_only),
		TEST(an_unknown_codec_ends_its_session_only),
		TEST(malformed_json_is_an_error_to_its_session),
		TEST(an_open_that_breaks_its_schema_is_told_to_its_session),
		TEST(messages_that_do_not_belong_on_up_are_ignored),
		TEST(a_full_worker_is_busy_until_a_session_closes),
		TEST(a_draining_worker_takes_no_new_session),
		TEST(an_open_that_does_not_fit_is_refused_with_its_code),
		TEST(no_memory_for_a_session_is_busy),
		TEST(a_full_compute_queue_is_busy),
		TEST(a_new_split_gets_a_new_cache),
		TEST(layers_are_needed_from_the_lowest_split_on),
		TEST(a_place_is_kept_until_the_last_job_is_back),
		TEST(an_idle_session_is_given_up),
		TEST(the_session_that_is_idle_longest_makes_room),
		TEST(a_session_that_is_not_idle_or_has_a_job_out_stays),
		TEST(idle_sessions_give_memory_to_a_new_one_if_that_is_enough),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
