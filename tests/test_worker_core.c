/* tests/test_worker_core.c - the worker over a bus in memory: what good and bad agents send it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "base/le.h"
#include "base/log.h"
#include "codec/codec.h"
#include "daemon/link.h"
#include "tests/shop.h"

static void a_session_is_served(void **state)
{
	struct shop *h = *state;
	struct msg_telemetry t = { 0 };

	shop_open_session(h, 1);
	assert_string_equal(shop_last(h)->u.accept.worker, "w0");
	assert_int_equal(shop_last(h)->u.accept.context_tokens, TOY_CONTEXT);
	shop_send_rows(h, 1, 1, 0, 4);
	shop_assert_tokens(h, 1, 1, 4);
	shop_send_rows(h, 1, 2, 4, 1);
	shop_assert_tokens(h, 1, 2, 5);
	assert_int_equal(h->rows_run, 5);
	worker_core_telemetry(h->core, &t);
	assert_int_equal(t.sessions, 1);
	assert_int_equal(t.tokens, 2);
	assert_int_equal(t.rows, 5);
	assert_true(t.bytes_up > 0);
}

static void a_duplicated_frame_is_answered_again_and_not_run_again(void **state)
{
	struct shop *h = *state;
	unsigned before;

	shop_open_two(h);
	before = h->n_heard;
	shop_send_rows(h, 2, 1, 0, 4);
	assert_int_equal(h->n_heard, before + 1);
	shop_assert_tokens(h, 2, 1, 4);
	assert_int_equal(h->rows_run, 4);
	shop_assert_other_goes_on(h);
}

static void a_stale_frame_is_dropped(void **state)
{
	struct shop *h = *state;
	struct msg m = shop_msg_open(1, 2);
	unsigned before;

	shop_open_two(h);
	shop_publish_open(h, &m);
	before = h->n_heard;
	shop_send_rows(h, 1, 1, 0, 4); /* of epoch 1 */
	assert_int_equal(h->n_heard, before);
	assert_int_equal(h->rows_run, 4);
	shop_assert_other_goes_on(h);
}

static void damaged_frames_are_dropped(void **state)
{
	struct shop *h = *state;
	struct wire_hdr hdr = shop_hdr(1, 1, 0, 2);
	uint8_t frame[SHOP_FRAME_MAX];
	size_t len = shop_frame(frame, &hdr);
	unsigned before;

	shop_open_two(h);
	before = h->n_heard;
	for (size_t i = 1; i < len; i++) /* byte 0 says that it is a frame */
		shop_publish(h, 1, frame, i);
	for (size_t i = 1; i < len; i++) {
		frame[i] ^= 0x10;
		shop_publish(h, 1, frame, len);
		frame[i] ^= 0x10;
	}
	assert_int_equal(h->n_heard, before);
	assert_int_equal(h->rows_run, 4);
	shop_assert_other_goes_on(h);
	shop_send_frame(h, 1, &hdr);
	shop_assert_tokens(h, 1, 1, 2);
}

static void a_frame_of_another_session_than_its_topics_is_dropped(void **state)
{
	struct shop *h = *state;
	struct wire_hdr hdr = shop_hdr(2, 2, 4, 1);
	unsigned before;

	shop_open_two(h);
	before = h->n_heard;
	shop_send_frame(h, 1, &hdr);
	assert_int_equal(h->n_heard, before);
	assert_int_equal(h->rows_run, 4);
	shop_assert_other_goes_on(h);
}

static void rows_of_an_unknown_session_are_not_found(void **state)
{
	struct shop *h = *state;
	struct wire_hdr hdr = shop_hdr(9, 3, 0, 1);
	unsigned before;

	shop_send_frame(h, 9, &hdr);
	shop_assert_error(h, 9, 3, ERR_NOT_FOUND);
	before = h->n_heard;
	hdr.flags = 0; /* no answer is waited for */
	shop_send_frame(h, 9, &hdr);
	assert_int_equal(h->n_heard, before);
}

static void a_gap_is_answered_with_what_is_there(void **state)
{
	struct shop *h = *state;

	shop_open_two(h);
	shop_send_rows(h, 2, 3, 6, 1);
	assert_int_equal(shop_last(h)->type, MSG_NEED);
	assert_int_equal(shop_last(h)->u.need.seq, 3);
	assert_int_equal(shop_last(h)->u.need.kv_len, 4);
	shop_assert_other_goes_on(h);
}

static void too_many_rows_end_their_session_only(void **state)
{
	struct shop *h = *state;

	shop_open_two(h);
	shop_send_rows(h, 1, 1, 0, AGENT_CHUNK_ROWS + 1);
	shop_assert_error(h, 1, 1, ERR_LIMIT);
	assert_int_equal(worker_core_sessions(h->core), 1);
	shop_assert_other_goes_on(h);
}

static void rows_that_are_not_finite_end_their_session_only(void **state)
{
	struct shop *h = *state;
	struct wire_hdr hdr = shop_hdr(1, 1, 0, 1);
	uint8_t frame[SHOP_FRAME_MAX];
	size_t len = shop_frame(frame, &hdr);
	float nan = NAN;

	shop_open_two(h);
	memcpy(frame + WIRE_HDR_LEN, &nan, sizeof(nan));
	wire_put_hdr(frame, &hdr, frame + WIRE_HDR_LEN);
	shop_publish(h, 1, frame, len);
	shop_assert_error(h, 1, 1, ERR_NOT_FINITE);
	assert_int_equal(worker_core_sessions(h->core), 1);
	shop_assert_other_goes_on(h);
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
	struct shop *h = *state;

	for (uint32_t i = 0; i < sizeof(epochs) / sizeof(epochs[0]); i++) {
		struct msg m = shop_msg_open(5, i + 1);

		snprintf(m.u.open.kv, sizeof(m.u.open.kv), "%s", epochs[i].word);
		shop_publish_open(h, &m);
		assert_int_equal(shop_last(h)->type, MSG_ACCEPT);
		assert_int_equal(h->kv_type, epochs[i].type);
		assert_int_equal(h->n_begun, epochs[i].begun);
		assert_int_equal(h->kv_tokens, TOY_CONTEXT);
	}
}

static void a_new_epoch_with_another_cache_waits_for_the_jobs_of_the_old_one(void **state)
{
	struct msg m = shop_msg_open(5, 2);
	struct shop *h = *state;

	shop_open_session(h, 5);
	h->hold = true;
	shop_send_rows(h, 5, 1, 0, 3);
	memcpy(m.u.open.kv, "q8_0", 5);
	shop_publish_open(h, &m);
	assert_int_equal(shop_last(h)->type, MSG_ERROR);
	assert_int_equal(shop_last(h)->u.error.code, ERR_BUSY);
	assert_int_equal(h->n_begun, 1); /* a job still writes to it */
	h->hold = false;
	shop_settle(h);
	shop_publish_open(h, &m);
	assert_int_equal(shop_last(h)->type, MSG_ACCEPT);
	assert_int_equal(h->kv_type, KV_Q8_0);
}

/* Asked before the bytes are looked at: they are no such rows. */
static void rows_predicted_from_another_past_end_their_session_only(void **state)
{
	struct shop *h = *state;
	struct wire_hdr hdr = shop_hdr(1, 1, 0, 1);

	shop_open_two(h);
	hdr.codec = CODEC_TABQ | CODEC_PACKED | SPEC_ROWS << 2;
	hdr.state = 1;
	shop_send_frame(h, 1, &hdr);
	shop_assert_error(h, 1, 1, ERR_STATE);
	shop_assert_other_goes_on(h);
}

static void an_unknown_codec_ends_its_session_only(void **state)
{
	struct shop *h = *state;
	struct wire_hdr hdr = shop_hdr(1, 1, 0, 1);

	shop_open_two(h);
	hdr.codec = 200;
	shop_send_frame(h, 1, &hdr);
	shop_assert_error(h, 1, 1, ERR_UNSUPPORTED);
	shop_assert_other_goes_on(h);
}

static void malformed_json_is_an_error_to_its_session(void **state)
{
	static const char *const texts[] = {
		"{", "null", "[]", "{}", "{\"type\":\"close\"}", "\xff\xfe", "{\"type\":\"x\"}"
	};
	struct shop *h = *state;

	shop_open_two(h);
	for (unsigned i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		shop_publish(h, 1, texts[i], strlen(texts[i]));
		shop_assert_error(h, 1, 0, ERR_FORMAT);
	}
	shop_publish(h, 1, "", 0);
	shop_assert_other_goes_on(h);
	shop_send_rows(h, 1, 1, 0, 2);
	shop_assert_tokens(h, 1, 1, 2);
}

static void an_open_that_breaks_its_schema_is_told_to_its_session(void **state)
{
	static const char text[] =
		"{\"type\":\"open\",\"session\":\"000000000000002a\",\"epoch\":3}";
	struct shop *h = *state;

	assert_int_equal(
		bus_publish(h->person.bus,
			    &(struct bus_publish){ .topic = "splitmq/v1/sim/open/" TOY_MODEL "/gw",
						   .payload = text,
						   .len = strlen(text) }),
		0);
	shop_settle(h);
	shop_assert_error(h, 0x2a, 0, ERR_FORMAT);
	assert_int_equal(shop_last(h)->u.error.epoch, 3);
}

static void messages_that_do_not_belong_on_up_are_ignored(void **state)
{
	struct shop *h = *state;
	struct msg m = { .type = MSG_CLOSE, .u.close = { .session = 2, .epoch = 1 } };
	struct topic t = {
		.kind = TOPIC_UP, .fleet = TOY_FLEET, .agent = "gw", .worker = "w0", .session = 1
	};
	unsigned before;

	shop_open_two(h);
	before = h->n_heard;
	assert_int_equal(link_publish(h->person.bus, &t, &m, 1, false, 0), 0); /* session differs */
	memcpy(t.agent, "g2", 3);
	m.u.close.session = 1;
	assert_int_equal(link_publish(h->person.bus, &t, &m, 1, false, 0), 0); /* another agent's */
	m = shop_msg_open(3, 1);
	assert_int_equal(link_publish(h->person.bus, &t, &m, 1, false, 0), 0); /* session differs */
	m = (struct msg){ .type = MSG_CANCEL, .u.cancel = { .id = "x" } };
	assert_int_equal(link_publish(h->person.bus, &t, &m, 1, false, 0), 0);
	shop_settle(h);
	assert_int_equal(h->n_heard, before);
	assert_int_equal(worker_core_sessions(h->core), 2);
	shop_assert_other_goes_on(h);
}

/* A row of this token, which goes with it. */
static void send_one(struct shop *h, const struct wire_hdr *about, uint32_t id)
{
	struct wire_hdr hdr = *about;
	uint8_t frame[SHOP_FRAME_MAX], *body = frame + WIRE_HDR_LEN;
	float x[TOY_DIM];

	toy_rows(&id, 1, hdr.pos, x);
	le_put32(body, id);
	memcpy(body + 4, x, sizeof(x));
	hdr.body_len += 4;
	wire_put_hdr(frame, &hdr, body);
	shop_publish(h, hdr.session, frame, WIRE_HDR_LEN + hdr.body_len);
}

static void send_row(struct shop *h, uint64_t session, uint32_t seq, uint32_t pos, uint32_t id)
{
	struct wire_hdr hdr = shop_hdr(session, seq, pos, 1);

	hdr.flags = WIRE_SAMPLE | WIRE_IDS;
	send_one(h, &hdr, id);
}

static void send_draft(struct shop *h, uint64_t session, uint32_t seq, uint32_t pos, uint32_t id)
{
	struct wire_hdr hdr = shop_hdr(session, seq, pos, 1);

	hdr.flags = WIRE_DRAFT | WIRE_SAMPLE | WIRE_IDS;
	send_one(h, &hdr, id);
}

/* A session with a penalty, whose prompt (0, 1, 2, 3) is on the compute thread; truth: what follows
 * on it. */
static void begin_guessing(struct shop *h, uint32_t truth[4])
{
	static const uint32_t prompt[] = { 0, 1, 2, 3 };
	struct msg m = shop_msg_open(1, 1);

	m.u.open.sampling.repeat_penalty = 1.3;
	m.u.open.sampling.repeat_last = 8;
	shop_publish_open(h, &m);
	assert_int_equal(shop_last(h)->u.accept.drafts, 4);
	assert_int_equal(toy_answer(prompt, 4, 4, SHOP_SEED, truth), 4);
	h->hold = true;
	shop_send_rows(h, 1, 1, 0, 4);
}

static void assert_heard(const struct shop *h, unsigned at, uint32_t seq, uint32_t pos, uint32_t id)
{
	const struct msg_tokens *t = &h->heard[at].u.tokens;

	assert_int_equal(h->heard[at].type, MSG_TOKENS);
	assert_int_equal(t->seq, seq);
	assert_int_equal(t->pos, pos);
	assert_int_equal(t->ids[0], id);
}

static void a_draft_is_told_what_was_said_before_it_and_answered(void **state)
{
	struct shop *h = *state;
	uint32_t truth[4];
	unsigned before;

	begin_guessing(h, truth);
	before = h->n_heard;
	send_draft(h, 1, 2, 4, truth[0]);
	send_draft(h, 1, 3, 5, truth[1]);
	assert_int_equal(h->n_jobs, 3);
	assert_int_equal(h->jobs[0]->n_history, 0);
	assert_int_equal(h->jobs[1]->n_history, 1);
	assert_int_equal(h->jobs[2]->n_history, 2);
	assert_memory_equal(h->jobs[2]->history, truth, 2 * sizeof(truth[0]));
	h->hold = false;
	shop_settle(h);
	assert_int_equal(h->n_heard, before + 3);
	for (uint32_t i = 0; i < 3; i++)
		assert_heard(h, before + i, 1 + i, 4 + i, truth[i]);
}

static void a_draft_that_is_wrong_is_not_answered(void **state)
{
	struct shop *h = *state;
	uint32_t truth[4];
	unsigned before;

	begin_guessing(h, truth);
	before = h->n_heard;
	send_draft(h, 1, 2, 4, truth[0] ^ 1);
	send_draft(h, 1, 3, 5, truth[1]);
	h->hold = false;
	shop_settle(h);
	assert_int_equal(h->n_heard, before + 1);
	assert_heard(h, before, 1, 4, truth[0]);
	send_draft(h, 1, 4, 6, truth[2]); /* it follows on them */
	assert_int_equal(h->n_heard, before + 1);
	h->hold = true;
	send_draft(h, 1, 6, 5, truth[1]); /* the row at 4 is not here yet */
	assert_int_equal(shop_last(h)->type, MSG_NEED);
	assert_int_equal(shop_last(h)->u.need.kv_len, 4);
	send_row(h, 1, 5, 4, truth[0]);
	send_draft(h, 1, 6, 5, truth[1]);
	assert_int_equal(h->n_jobs, 2);
	assert_int_equal(h->jobs[1]->n_history, 2);
	assert_memory_equal(h->jobs[1]->history, truth, 2 * sizeof(truth[0]));
	before = h->n_heard;
	h->hold = false;
	shop_settle(h);
	assert_int_equal(h->n_heard, before + 2);
	assert_heard(h, before, 5, 5, truth[1]);
	assert_heard(h, before + 1, 6, 6, truth[2]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, shop_open, shop_close)

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
		TEST(a_draft_is_told_what_was_said_before_it_and_answered),
		TEST(a_draft_that_is_wrong_is_not_answered),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
