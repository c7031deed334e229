/* The state of a session goes back when drafts turn out not to have been: what is sent afterwards
 * are the bytes of a session that never had them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "tests/codec_pair.h"

#define DIM   96u
#define TURNS 60u
#define WRONG 77u /* seed of rows that are not those of the session */

static const char *const specs[] = {
	"tabq:delta=1e-3",
	"tabq:delta=1e-3,predict=rows",
	"tabq:delta=1e-3,predict=none",
	"tabq:delta=1e-3,entropy=none",
	"q8",
};
#define SPECS (sizeof(specs) / sizeof(specs[0]))

struct sent {
	uint8_t bytes[CAP];
	size_t len;
	uint16_t hash; /* before it */
};

static struct pair *make_pair(void)
{
	return pair_create(DIM, calibration(DIM, 1), "f32");
}

/* One row of position pos crosses, and is kept. */
static void send_row(struct pair *p, uint32_t pos, uint64_t seed, bool draft, struct sent *sent)
{
	set_spec(p, specs[pos / 7 % SPECS]);
	make_rows(p, seed, pos, 1);
	codec_state_return(p->sender, pos);
	codec_state_return(p->receiver, pos);
	if (draft) {
		codec_state_mark(p->sender, pos);
		codec_state_mark(p->receiver, pos);
	}
	sent->hash = codec_state_hash(p->sender);
	assert_int_equal(sent->hash, codec_state_hash(p->receiver));
	cross(p, 1, true);
	memcpy(sent->bytes, p->bytes, p->out.len);
	sent->len = p->out.len;
}

static void check_same(const struct sent *a, const struct sent *b)
{
	assert_int_equal(a->len, b->len);
	assert_int_equal(a->hash, b->hash);
	assert_memory_equal(a->bytes, b->bytes, a->len);
}

/* What a session sends that knows no drafts. */
static void plain_session(struct sent truth[TURNS])
{
	struct pair *p = make_pair();

	for (uint32_t pos = 0; pos < TURNS; pos++)
		send_row(p, pos, 1, false, &truth[pos]);
	pair_destroy(p);
}

static struct sent truth[TURNS];

/* Each turn `right` drafts that become rows, then `wrong` ones that do not. */
static void run_drafts(unsigned right, unsigned wrong)
{
	struct pair *p = make_pair();
	struct sent sent;

	for (uint32_t pos = 0; pos < TURNS;) {
		send_row(p, pos, 1, false, &sent);
		check_same(&sent, &truth[pos++]);
		for (unsigned i = 0; i < right && pos < TURNS; i++) {
			send_row(p, pos, 1, true, &sent);
			check_same(&sent, &truth[pos++]);
		}
		for (unsigned i = 0; i < wrong; i++)
			send_row(p, pos + i, WRONG, true, &sent);
	}
	pair_destroy(p);
}

static void drafts_leave_no_trace(void **state)
{
	(void)state;
	for (unsigned right = 0; right <= 6; right++) {
		for (unsigned wrong = 0; wrong <= CODEC_MARKS; wrong++)
			run_drafts(right, wrong);
	}
}

/* A draft may be sent where a dropped one was. */
static void a_draft_takes_the_place_of_another(void **state)
{
	struct pair *p = make_pair();
	struct sent sent;

	(void)state;
	for (uint32_t pos = 0; pos + 1 < TURNS; pos += 2) {
		send_row(p, pos, 1, false, &sent);
		check_same(&sent, &truth[pos]);
		for (uint64_t i = 0; i < 3; i++) {
			send_row(p, pos + 1, WRONG + i, true, &sent);
			send_row(p, pos + 2, WRONG + i, true, &sent);
		}
		send_row(p, pos + 1, 1, true, &sent);
		check_same(&sent, &truth[pos + 1]);
	}
	pair_destroy(p);
}

/* One end has run drafts which the other has skipped. */
static void drafts_may_be_skipped(void **state)
{
	struct pair *p = make_pair();
	struct sent sent;

	(void)state;
	for (uint32_t pos = 0; pos < TURNS; pos++) {
		send_row(p, pos, 1, false, &sent);
		check_same(&sent, &truth[pos]);
		for (uint32_t i = 0; i < CODEC_MARKS; i++) {
			make_rows(p, WRONG, pos + 1 + i, 1);
			codec_state_return(p->sender, pos + 1 + i);
			codec_state_mark(p->sender, pos + 1 + i);
			assert_int_equal(encode(p, 1, true), 0);
			if (i >= pos % CODEC_MARKS)
				continue;
			codec_state_return(p->receiver, pos + 1 + i);
			codec_state_mark(p->receiver, pos + 1 + i);
			assert_int_equal(decode(p, 1, true), 0);
		}
	}
	pair_destroy(p);
}

static void what_is_foreseen_changes_nothing(void **state)
{
	struct pair *p = make_pair();
	struct sent sent;

	(void)state;
	for (uint32_t pos = 0; pos < TURNS; pos++) {
		if (pos % 3)
			codec_state_foresee(p->sender);
		send_row(p, pos, 1, false, &sent);
		check_same(&sent, &truth[pos]);
		if (pos % 4)
			codec_state_foresee(p->receiver);
		send_row(p, pos + 1, WRONG, true, &sent);
		if (pos % 5)
			codec_state_foresee(p->sender);
		send_row(p, pos + 2, WRONG, true, &sent);
	}
	pair_destroy(p);
}

static void the_oldest_mark_is_forgotten(void **state)
{
	struct pair *p = make_pair();
	struct sent sent;
	uint16_t hash;

	(void)state;
	send_row(p, 0, 1, false, &sent);
	hash = codec_state_hash(p->sender);
	for (uint32_t i = 0; i <= CODEC_MARKS; i++)
		send_row(p, 1 + i, 1, true, &sent);
	codec_state_return(p->sender, 2);
	assert_int_equal(codec_state_hash(p->sender), truth[2].hash);
	codec_state_return(p->sender, 1);
	assert_int_equal(codec_state_hash(p->sender), truth[2].hash);
	assert_int_not_equal(codec_state_hash(p->sender), hash);
	pair_destroy(p);
}

static void a_return_forgets_what_is_behind(void **state)
{
	struct pair *p = make_pair();
	struct sent sent;
	uint16_t hash;

	(void)state;
	send_row(p, 0, 1, false, &sent);
	send_row(p, 1, 1, true, &sent);
	send_row(p, 2, 1, true, &sent);
	codec_state_return(p->sender, 1);
	hash = codec_state_hash(p->sender);
	assert_int_equal(hash, truth[1].hash);
	codec_state_return(p->sender, 2);
	codec_state_return(p->sender, 1);
	assert_int_equal(codec_state_hash(p->sender), hash);
	codec_state_reset(p->receiver);
	hash = codec_state_hash(p->receiver);
	codec_state_return(p->receiver, 2);
	assert_int_equal(codec_state_hash(p->receiver), hash);
	pair_destroy(p);
}

/* Without a calibration there is nothing to go back to, and nothing goes wrong. */
static void a_state_without_a_split_has_marks_too(void **state)
{
	struct codec_state *s = NULL;

	(void)state;
	assert_int_equal(codec_state_create(&s, DIM, NULL, NULL), 0);
	for (uint32_t i = 0; i < 10; i++)
		codec_state_mark(s, i);
	codec_state_return(s, 7);
	assert_int_equal(codec_state_hash(s), 0);
	codec_state_destroy(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(drafts_leave_no_trace),
		cmocka_unit_test(a_draft_takes_the_place_of_another),
		cmocka_unit_test(drafts_may_be_skipped),
		cmocka_unit_test(what_is_foreseen_changes_nothing),
		cmocka_unit_test(the_oldest_mark_is_forgotten),
		cmocka_unit_test(a_return_forgets_what_is_behind),
		cmocka_unit_test(a_state_without_a_split_has_marks_too),
	};

	plain_session(truth);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
