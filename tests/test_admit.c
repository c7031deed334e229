/* tests/test_admit.c - what a session of the agent takes, and decisions that do not fit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "agent/admit.h"
#include "agent/session.h"
#include "agent/slot.h"

#define DIM 256u

static struct codec_spec spec_of(const char *text)
{
	struct codec_spec spec;

	assert_int_equal(spec_parse(&spec, text, NULL), 0);
	return spec;
}

/* A decision may change the codec within a session: its log must have room for either. */
static void a_row_has_room_whatever_is_decided(void **state)
{
	const struct codec_spec f32 = spec_of("f32"), q4 = spec_of("q4"), tabq = spec_of("tabq");

	(void)state;
	assert_int_equal(admit_row_bytes(&f32, DIM), codec_bound(&f32, DIM, 1));
	assert_int_equal(admit_row_bytes(&q4, DIM), codec_bound(&tabq, DIM, 1));
	assert_true(admit_row_bytes(&q4, DIM) > codec_bound(&q4, DIM, 1));
}

static void a_session_alone_keeps_no_log(void **state)
{
	const struct codec_spec f32 = spec_of("f32");
	const struct segment_extra split = admit_extra(&f32, DIM, false);
	const struct segment_extra local = admit_extra(&f32, DIM, true);

	(void)state;
	assert_int_equal(split.token_bytes - local.token_bytes, codec_bound(&f32, DIM, 1));
	assert_true(local.token_bytes >= sizeof(struct session_chunk) + sizeof(uint32_t));
	assert_true(split.session_bytes > codec_state_bytes(DIM) + codec_bound(&f32, DIM, 1));
	assert_true(split.session_bytes - codec_state_bytes(DIM) -
			    slot_chunk_bytes(admit_row_bytes(&f32, DIM)) <
		    65536);
}

/* The driver: notes what it was asked, and has room for so many tokens. */
struct driver {
	struct admit_ask asked;
	struct codec_spec codec;
	char front[64];
	uint32_t room_tokens;
};

static int fits(void *ctx, const struct admit_ask *ask, struct room_answer *a, struct err *e)
{
	struct driver *d = ctx;

	d->asked = *ask;
	d->codec = *ask->codec;
	snprintf(d->front, sizeof(d->front), "%s", ask->front);
	a->most_tokens = d->room_tokens;
	a->missing_bytes =
		ask->context_tokens > d->room_tokens ? ask->context_tokens - d->room_tokens : 0;
	return a->missing_bytes ? err_set(e, ERR_LIMIT, "it lacks %llu",
					  (unsigned long long)a->missing_bytes)
				: 0;
}

static struct agent_core *core_of(struct driver *d)
{
	static struct agent_core core;

	core = (struct agent_core){
		.conf = { .n_layers = 8, .context_tokens = 512, .kv = KV_F16, .dim = DIM },
		.ops = { .ctx = d, .fits = d ? fits : NULL },
	};
	core.conf.codec = spec_of("q8");
	return &core;
}

static void a_decision_is_asked_for_as_it_says(void **state)
{
	struct driver d = { .room_tokens = 1000 };
	const struct msg_decision m = {
		.split = 3, .codec = "f32", .kv = "q4_0", .context_tokens = 100
	};
	struct room_answer a;

	(void)state;
	assert_int_equal(admit_decision(core_of(&d), &m, &a, NULL), 0);
	assert_int_equal(d.asked.split, 3);
	assert_int_equal(d.asked.kv, KV_Q4_0);
	assert_int_equal(d.asked.context_tokens, 100);
	assert_true(d.asked.alone);
	assert_int_equal(codec_bound(&d.codec, DIM, 1),
			 codec_bound(&(struct codec_spec){ 0 }, DIM, 1));
	assert_int_equal(a.most_tokens, 1000);
}

static void what_a_decision_leaves_open_is_configured(void **state)
{
	const struct codec_spec q8 = spec_of("q8");
	struct driver d = { .room_tokens = 1000 };
	struct room_answer a;

	(void)state;
	assert_int_equal(
		admit_decision(core_of(&d), &(struct msg_decision){ .split = 8 }, &a, NULL), 0);
	assert_int_equal(d.asked.context_tokens, 512);
	assert_int_equal(d.asked.kv, KV_F16);
	assert_int_equal(codec_bound(&d.codec, DIM, 1), codec_bound(&q8, DIM, 1));
	assert_string_equal(d.front, "");
	/* an agent's own context is its longest */
	assert_int_equal(admit_decision(core_of(&d),
					&(struct msg_decision){ .split = 8, .context_tokens = 900 },
					&a, NULL),
			 0);
	assert_int_equal(d.asked.context_tokens, 512);
}

static void a_decision_that_does_not_fit_says_what_lacks(void **state)
{
	struct driver d = { .room_tokens = 300 };
	struct room_answer a;
	struct err e = { 0 };

	(void)state;
	assert_int_equal(admit_decision(core_of(&d), &(struct msg_decision){ .split = 8 }, &a, &e),
			 ERR_LIMIT);
	assert_string_equal(e.text, "it lacks 212");
	assert_int_equal(a.missing_bytes, 212);
	assert_int_equal(a.most_tokens, 300);
}

static void words_that_are_none_are_refused(void **state)
{
	static const struct msg_decision bad[] = {
		{ .split = 9 },
		{ .split = 1, .kv = "f17" },
		{ .split = 1, .codec = "mp3" },
	};
	struct driver d = { .room_tokens = 1000 };
	struct room_answer a;
	struct err e = { 0 };

	(void)state;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_true(admit_decision(core_of(&d), &bad[i], &a, &e) < 0);
	assert_int_equal(
		admit_decision(core_of(NULL), &(struct msg_decision){ .split = 1 }, &a, &e),
		0); /* nobody who could tell */
}

/* Jobs that are out belong to sessions that have a slot, over or not. */
static void layers_are_needed_by_sessions_the_decision_or_an_absence(void **state)
{
	struct agent_core *c = core_of(NULL);
	struct slot slots[2] = { 0 };

	(void)state;
	c->slots = slots;
	c->conf.max_sessions = 2;
	c->conf.split = 3;
	assert_int_equal(admit_need(c).last, 3);
	assert_false(admit_need(c).head);
	c->has_decision = true;
	c->decision.split = 1;
	assert_int_equal(admit_need(c).last, 1);
	slots[0].used = true;
	slots[0].session.conf.split = 4;
	assert_int_equal(admit_need(c).last, 4);
	slots[1].used = true;
	slots[1].session.conf.split = 5;
	assert_int_equal(admit_need(c).last, 5);
	slots[0].used = false;
	assert_int_equal(admit_need(c).last, 5);
	slots[1].session.conf.split = 2;
	slots[1].move = (struct agent_move){ .from = 2, .to = 6 };
	assert_int_equal(admit_need(c).last, 2);
	slots[1].side_ready = true;
	assert_int_equal(admit_need(c).last, 6);
	slots[1].move = (struct agent_move){ .from = 4, .to = 2 };
	assert_int_equal(admit_need(c).last, 4);
	slots[1].used = false;
	assert_int_equal(admit_need(c).last, 1);
	c->decision.split = 0;
	assert_int_equal(admit_need(c).last, 0);
	c->alone = true;
	assert_int_equal(admit_need(c).last, 8);
	assert_true(admit_need(c).head);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_row_has_room_whatever_is_decided),
		cmocka_unit_test(a_session_alone_keeps_no_log),
		cmocka_unit_test(a_decision_is_asked_for_as_it_says),
		cmocka_unit_test(what_a_decision_leaves_open_is_configured),
		cmocka_unit_test(a_decision_that_does_not_fit_says_what_lacks),
		cmocka_unit_test(words_that_are_none_are_refused),
		cmocka_unit_test(layers_are_needed_by_sessions_the_decision_or_an_absence),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
