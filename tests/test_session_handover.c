/* tests/test_session_handover.c - a session whose split moves (agent/handover.h), event by event;
 * side pieces have at most 4 rows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/session_machine.h"

static void decide(uint32_t split, bool alone)
{
	step((struct session_event){ .kind = SESSION_EV_DECIDE, .split = split, .alone = alone });
}

static void give_side(void)
{
	assert_true(m.s.handover.out);
	step((struct session_event){ .kind = SESSION_EV_SIDE,
				     .bytes = (const uint8_t *)"sidesidesideside",
				     .len = m.s.handover.way == SESSION_UP ? 0 : m.s.handover.out,
				     .codec = 1 });
}

/* The worker has so many positions of the fill. */
static void give_filled(uint32_t len)
{
	struct msg_need n = { .session = 1,
			      .epoch = m.s.epoch,
			      .has_fill = true,
			      .fill_split = m.s.handover.to,
			      .fill_len = len };

	step((struct session_event){ .kind = SESSION_EV_NEED, .need = &n });
}

static void a_split_moves_up_between_two_tokens(void **state)
{
	(void)state;
	open_machine(6);
	decide(3, false);
	assert_true(m.fx.side_begin && m.fx.side);
	assert_int_equal(m.fx.side_pos, 0);
	assert_int_equal(m.fx.side_rows, 4);
	give_side();
	assert_false(m.fx.side); /* the last piece: not before a row was sent */
	give_token(7);
	assert_true(m.fx.compute && !m.fx.moved);
	give_rows();
	assert_int_equal(m.fx.side_pos, 4);
	assert_int_equal(m.fx.side_rows, 3);
	give_side();
	assert_false(m.fx.side || m.fx.moved); /* not before the token */
	give_token(8);
	assert_true(m.fx.moved && m.fx.compute && m.fx.token);
	assert_int_equal(m.s.conf.split, 3);
	give_rows();
	assert_int_equal(m.s.chunks[m.s.n_chunks - 1].split, 3);
	assert_int_equal(m.s.chunks[0].split, 1);
	assert_int_equal(session_open_split(&m.s), 1);
}

static void a_token_waits_for_the_last_piece(void **state)
{
	(void)state;
	open_machine(6);
	decide(3, false);
	give_side();
	give_token(7);
	give_rows();
	give_token(8); /* while the last piece is out */
	assert_true(m.fx.token && !m.fx.compute);
	assert_true(m.s.handover.holding);
	give_side();
	assert_true(m.fx.moved && m.fx.compute);
}

/* Tokens that come while a piece is out, until one has to wait; its rows are not asked for. */
static unsigned tokens_until_one_waits(void)
{
	for (unsigned n = 0;; n++) {
		give_token(7);
		if (!m.fx.compute)
			return n;
		give_rows();
	}
}

static void side_work_catches_up_with_quick_tokens(void **state)
{
	unsigned n;

	(void)state;
	open_machine(12);
	decide(3, false);
	for (n = 0; n < 4; n++) { /* before the first piece: weights may have to be prepared */
		give_token(7);
		give_rows();
	}
	give_side();
	assert_int_equal(m.s.handover.done, 4);
	assert_int_equal(tokens_until_one_waits(), 5); /* 2 * 5 > 4 + 4 */
	assert_false(m.fx.moved || m.s.handover.holding);
	give_side();
	assert_true(m.fx.compute);
	give_rows();
	for (n = 0; m.s.conf.split != 3 && n < 20; n++) { /* a piece a token is enough */
		if (m.s.handover.out)
			give_side();
		if (m.s.computing)
			give_rows();
		else
			give_token(7);
	}
	assert_int_equal(m.s.conf.split, 3);
}

static void a_split_moves_down_when_the_worker_has_all(void **state)
{
	uint32_t chunks;

	(void)state;
	open_machine(6);
	decide(0, false);
	assert_true(m.fx.side_begin && m.fx.side);
	give_side();
	assert_int_equal(m.fx.fill_to - m.fx.fill_from, 1);
	give_token(7);
	give_rows();
	assert_false(m.fx.side); /* too much is on its way */
	give_filled(4);
	give_token(8);
	assert_true(m.fx.compute && !m.fx.moved);
	give_rows();
	assert_int_equal(m.fx.side_rows, 4);
	give_side();
	chunks = m.s.n_chunks;
	give_token(9); /* the last ones need not be answered */
	assert_true(m.fx.moved && m.fx.compute);
	give_rows();
	assert_sends(chunks, chunks + 1);
	assert_false(m.fx.refill);
	assert_int_equal(m.s.fills[0].before, chunks);
	lose("w1", false); /* another worker gets all of it */
	assert_int_equal(session_open_split(&m.s), 0);
	accept_from("w2", 2, MAX_IDS);
	assert_sends(0, chunks + 1);
	assert_true(m.fx.refill);
}

static void where_tokens_are_quick_a_frame_of_a_fill_follows_each_row(void **state)
{
	(void)state;
	open_machine(6);
	m.now_us += 1900;
	give_token(7);
	give_rows();
	decide(0, false);
	assert_true(m.fx.side_begin && !m.fx.side);
	m.now_us += 1900;
	give_token(8);
	give_rows();
	assert_true(m.fx.side);
	give_side();
	assert_true(m.fx.fill_from < m.fx.fill_to && !m.fx.side);
	give_filled(4);
	assert_false(m.fx.side);
	m.now_us += 2100; /* a longer trip: one goes whenever another has arrived */
	give_token(9);
	give_rows();
	assert_int_equal(m.fx.side_pos, 4);
	give_side();
	assert_false(m.fx.side); /* the last piece */
}

static void a_fill_that_is_refused_leaves_the_session_as_it_was(void **state)
{
	(void)state;
	open_machine(6);
	decide(0, false);
	give_side();
	give_token(7);
	give_error(1, ERR_LIMIT, true);
	assert_true(m.fx.side_end && !m.fx.moved);
	assert_int_equal(m.s.state, SESSION_OPEN);
	assert_int_equal(m.s.conf.split, 1);
	give_rows();
	assert_false(m.fx.side_begin); /* not before the next decision */
	decide(0, false);
	assert_true(m.fx.side_begin);
}

static void silence_about_a_fill_is_asked_then_given_up(void **state)
{
	(void)state;
	open_machine(6);
	decide(0, false);
	give_side();
	give_token(7);
	assert_true(m.fx.compute); /* tokens do not wait for it */
	tick_at(m.s.handover.due_us);
	assert_int_equal(m.fx.fill_to - m.fx.fill_from, 1);
	while (m.s.handover.way != SESSION_STAYS)
		tick_at(m.s.handover.due_us);
	assert_true(m.fx.side_end);
	assert_int_equal(m.s.state, SESSION_OPEN);
}

static void who_goes_on_alone_draws_the_token_that_is_out(void **state)
{
	(void)state;
	open_machine(3);
	decide(4, true);
	assert_true(m.fx.side_begin);
	assert_int_equal(m.fx.side_rows, 2); /* but for the newest */
	give_side();
	assert_true(m.fx.moved && m.fx.compute);
	assert_closes("w1", 1);
	assert_int_equal(m.s.state, SESSION_LOCAL);
	assert_int_equal(m.fx.compute_pos, 2);
	step((struct session_event){ .kind = SESSION_EV_LOCAL_TOKEN, .id = 9 });
	assert_true(m.fx.token && m.fx.compute);
	decide(1, false); /* and back */
	assert_true(m.fx.open && m.fx.side_begin);
	accept_from("w2", 2, MAX_IDS);
	assert_false(m.fx.side); /* the last piece: while a token waits */
	step((struct session_event){ .kind = SESSION_EV_LOCAL_TOKEN, .id = 9 });
	assert_true(m.fx.side && !m.fx.compute && m.s.handover.holding);
	give_side();
	assert_sends(0, 1);
	assert_true(m.fx.moved && m.fx.compute);
	assert_int_equal(m.s.state, SESSION_OPEN);
	give_rows();
	assert_true(m.s.awaiting);
}

/* Up to so many positions have run at the worker. */
static void give_told(uint32_t len)
{
	struct msg_need n = { .session = 1, .epoch = m.s.epoch, .kv_len = len };

	step((struct session_event){ .kind = SESSION_EV_NEED, .need = &n });
}

static void draw_here(void)
{
	step((struct session_event){ .kind = SESSION_EV_LOCAL_TOKEN, .id = 9 });
}

/* A session of 7 tokens that goes back to split 1; its newest row is being computed. */
static void go_back(bool kept)
{
	conf.split = 4;
	conf.local = true;
	idle_machine();
	start(6);
	while (m.s.computing && m.s.computed + conf.chunk_rows < m.s.n_ids)
		give_rows();
	draw_here();
	decide(1, false);
	assert_true(m.fx.open && m.fx.side_begin);
	if (kept) { /* as the driver says */
		m.s.handover.kept_from = m.s.n_ids;
		m.s.handover.kept_rows = 256;
	}
}

static void rows_that_were_kept_go_out_until_the_worker_keeps_up(void **state)
{
	(void)state;
	go_back(true);
	accept_from("w2", 2, MAX_IDS);
	give_side();
	assert_sends(0, 1);
	assert_true(m.fx.side && !m.fx.side_first);
	assert_int_equal(m.fx.side_pos, 4);
	draw_here(); /* position 6 was being computed at the decision: it runs again, too */
	assert_true(m.fx.compute);
	give_side();
	assert_sends(1, 2);
	assert_false(m.fx.side); /* two are on their way, unanswered */
	draw_here();
	assert_true(m.fx.compute && !m.fx.side && !m.s.handover.holding);
	give_told(4);
	assert_int_equal(m.fx.side_pos, 6);
	assert_int_equal(m.fx.side_rows, 1);
	assert_false(m.fx.side_first);
	give_side();
	assert_false(m.fx.side); /* of kept ones a frame at a time */
	give_told(7);
	assert_true(m.fx.side && m.fx.side_first);
	assert_int_equal(m.fx.side_pos, 7);
	draw_here(); /* while it is encoded */
	assert_true(m.s.handover.holding && !m.fx.compute);
	give_side();
	assert_sends(3, 4);
	assert_true(m.fx.moved && m.fx.compute); /* with row 8, which ran here */
	assert_int_equal(m.fx.compute_pos, 8);
	assert_int_equal(m.fx.compute_rows, 2);
	assert_int_equal(m.fx.compute_kept, 1);
	assert_int_equal(m.s.state, SESSION_OPEN);
	give_told(9); /* late */
	give_rows();
	assert_sends(4, 5);
	assert_int_equal(m.s.chunks[4].rows, 2);
	assert_int_equal(m.s.n_ids, m.s.computed);
	assert_true(m.s.awaiting);
}

static void a_token_waits_where_a_frame_has_room_for_one_row(void **state)
{
	(void)state;
	conf.chunk_rows = conf.side_rows = conf.kept_side_rows = 1;
	go_back(true);
	accept_from("w2", 2, MAX_IDS);
	for (unsigned i = 0; i < 7; i++) { /* all that was not kept */
		if (i == 6)
			draw_here();
		give_side();
		give_told(i + 1);
	}
	assert_false(m.fx.side);
	draw_here(); /* row 7 is done, and goes first */
	assert_true(m.s.handover.holding && m.fx.side_first && !m.fx.compute);
	give_side();
	assert_sends(7, 8);
	assert_true(m.fx.moved && m.fx.compute);
	assert_int_equal(m.fx.compute_kept, 0);
	assert_int_equal(m.fx.compute_rows, 1);
}

/* On the way back, all that was not kept is out, and the worker has said little of it. */
static void stream_to_a_slow_worker(void)
{
	conf.max_ids = conf.max_new = conf.log_bytes = 200;
	conf.reply_us = conf.deadline_us = 100000000;
	go_back(true);
	accept_from("w2", 2, 200);
	give_side();
	for (unsigned i = 0; i < 10; i++)
		draw_here();
	give_side();
	give_told(4);
	give_side();
}

/* For 128 tokens, and as long as half a second: what was kept meanwhile takes a while there. */
static void a_worker_that_never_keeps_up_is_waited_for_in_the_end(void **state)
{
	(void)state;
	stream_to_a_slow_worker();
	for (unsigned i = 0; i < 150; i++) {
		m.now_us += 1000;
		draw_here();
		assert_true(m.fx.compute && !m.s.handover.holding);
	}
	m.now_us += 300000;
	draw_here();
	assert_true(m.fx.compute && !m.s.handover.holding);
	m.now_us += 100000;
	draw_here();
	assert_true(m.s.handover.holding && !m.fx.compute);
}

/* However long tokens take. */
static void tokens_do_not_wait_for_a_worker_before_it_had_the_time_of_128(void **state)
{
	unsigned n = 0;

	(void)state;
	stream_to_a_slow_worker();
	for (; m.s.computing && n < 180; n++) {
		m.now_us += 10000;
		draw_here();
	}
	assert_in_range(n, 128, 130);
	assert_true(m.s.handover.holding);
}

/* Frames of rows that run again, which go out while the worker says nothing, when so many tokens
 * were drawn until it had accepted. */
static uint32_t frames_on_their_way(unsigned trip)
{
	conf.max_ids = conf.max_new = conf.log_bytes = 400;
	conf.reply_us = conf.deadline_us = 100000000;
	go_back(false);
	for (unsigned i = 0; i < trip; i++)
		draw_here();
	accept_from("w2", 2, 400);
	for (unsigned i = 0; i < 20; i++)
		draw_here();
	while (m.s.handover.out)
		give_side();
	return m.s.n_chunks;
}

static void a_far_worker_is_sent_as_much_as_its_trip_takes_and_no_end_of_it(void **state)
{
	(void)state;
	assert_int_equal(frames_on_their_way(0), 2);
	assert_int_equal(frames_on_their_way(40), 2 + 40 / 4);
	assert_int_equal(frames_on_their_way(200), 32);
}

static void a_split_moves_down_so_often_and_then_no_more(void **state)
{
	(void)state;
	open_machine(6);
	m.s.n_fills = SESSION_FILLS - 1;
	decide(0, false);
	assert_true(m.fx.side_begin);
	open_machine(6);
	m.s.n_fills = SESSION_FILLS;
	decide(0, false);
	assert_false(m.fx.side_begin);
	give_token(7);
	assert_true(m.fx.compute && !m.fx.side_begin);
}

static void rows_that_were_kept_go_out_in_frames_of_their_own_length(void **state)
{
	(void)state;
	go_back(true);
	accept_from("w2", 2, MAX_IDS);
	give_side();
	draw_here();
	give_side();
	for (unsigned i = 0; i < 6; i++)
		draw_here();
	give_told(4);
	assert_int_equal(m.fx.side_rows, 1); /* the last one that was not kept */
	give_side();
	assert_false(m.fx.side); /* one frame on its way */
	give_told(7);
	assert_true(m.fx.side_first);
	assert_int_equal(m.fx.side_rows, 2); /* of more than four */
	give_side();
	assert_true(m.fx.side_first);
	assert_int_equal(m.fx.side_rows, 2); /* and another, where that is not all */
}

/* Only the newest are kept: those behind them become as many as new ones come. */
static void rows_that_are_kept_no_more_run_again_in_whole_pieces(void **state)
{
	(void)state;
	go_back(true);
	m.s.handover.kept_rows = 2;
	accept_from("w2", 2, MAX_IDS);
	give_side();
	for (unsigned i = 0; i < 3; i++)
		draw_here();
	give_side();
	give_told(6);
	assert_int_equal(m.fx.side_rows, 1); /* the last one from before any was kept */
	for (unsigned i = 0; i < 3; i++)
		draw_here();
	give_side();
	assert_int_equal(m.fx.side_pos, 7);
	assert_int_equal(m.fx.side_rows, 4); /* two of them for a second time */
	assert_false(m.fx.side_first);
}

static void a_token_waits_for_rows_that_run_again_too_slowly(void **state)
{
	(void)state;
	go_back(false);
	accept_from("w2", 2, MAX_IDS);
	give_side();
	draw_here();
	for (unsigned i = 0; i < 4; i++) {
		assert_true(m.fx.compute && !m.s.handover.holding);
		draw_here();
	}
	assert_false(m.fx.compute); /* four are done, and that only while five came */
	give_side();
	assert_true(m.fx.compute);
}

/* Tokens until the split has moved, where the worker takes a position in the time of two tokens;
 * 1000: it has not. */
static unsigned tokens_until_a_slow_worker_has_it(void)
{
	unsigned n = 0;

	for (uint32_t halves = 2; m.s.state == SESSION_LOCAL && n < 1000; halves++) {
		while (m.s.handover.out)
			give_side();
		if (halves / 2 <= m.s.handover.done)
			give_told(halves / 2);
		if (m.s.computing && m.s.state == SESSION_LOCAL && ++n)
			draw_here();
	}
	return n;
}

static void a_worker_that_is_slower_than_the_agent_is_waited_for(void **state)
{
	(void)state;
	conf.max_ids = conf.max_new = conf.log_bytes = 1100;
	conf.reply_us = conf.deadline_us = 100000000;
	go_back(true);
	m.s.handover.kept_rows = 6;
	accept_from("w2", 2, 1100);
	assert_in_range(tokens_until_a_slow_worker_has_it(), 129, 400);
	assert_int_equal(m.s.state, SESSION_OPEN);
}

/* Frames are on their way for as long as five rows take: so many more may be missing there. */
static void without_kept_rows_a_far_worker_takes_over_with_a_trip_of_them_out(void **state)
{
	(void)state;
	go_back(false);
	for (unsigned i = 0; i < 5; i++)
		draw_here();
	accept_from("w2", 2, MAX_IDS);
	assert_int_equal(m.s.handover.trip_rows, 5);
	give_side();
	give_side();
	assert_int_equal(m.s.handover.done, 8); /* three more are no piece of their own yet */
	give_told(2);
	draw_here(); /* ten are out, */
	assert_true(m.fx.compute && !m.s.handover.holding);
	draw_here();
	give_side(); /* of five that are more than the last ones */
	give_told(5);
	draw_here(); /* nine: the last two go, and the token waits for them */
	assert_true(m.s.handover.holding && !m.fx.compute);
	give_side();
	assert_true(m.fx.moved && m.fx.compute);
	assert_int_equal(m.s.state, SESSION_OPEN);
}

static void a_worker_that_says_nothing_of_rows_is_asked_then_given_up(void **state)
{
	(void)state;
	go_back(true);
	accept_from("w2", 2, MAX_IDS);
	give_side();
	draw_here();
	give_side();
	for (unsigned i = 0; i < 3; i++) {
		tick_at(m.s.handover.due_us);
		assert_sends(0, 2);
		draw_here();
		assert_true(m.fx.compute); /* tokens do not wait */
	}
	tick_at(m.s.handover.due_us);
	assert_true(m.fx.side_end);
	assert_closes("w2", 2);
	assert_int_equal(m.s.state, SESSION_LOCAL);
	draw_here();
	assert_true(m.fx.compute);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_split_moves_up_between_two_tokens),
		TEST(a_token_waits_for_the_last_piece),
		TEST(side_work_catches_up_with_quick_tokens),
		TEST(a_split_moves_down_when_the_worker_has_all),
		TEST(where_tokens_are_quick_a_frame_of_a_fill_follows_each_row),
		TEST(a_fill_that_is_refused_leaves_the_session_as_it_was),
		TEST(silence_about_a_fill_is_asked_then_given_up),
		TEST(who_goes_on_alone_draws_the_token_that_is_out),
		TEST(rows_that_were_kept_go_out_until_the_worker_keeps_up),
		TEST(a_token_waits_where_a_frame_has_room_for_one_row),
		TEST(a_worker_that_never_keeps_up_is_waited_for_in_the_end),
		TEST(tokens_do_not_wait_for_a_worker_before_it_had_the_time_of_128),
		TEST(a_far_worker_is_sent_as_much_as_its_trip_takes_and_no_end_of_it),
		TEST(a_split_moves_down_so_often_and_then_no_more),
		TEST(rows_that_were_kept_go_out_in_frames_of_their_own_length),
		TEST(rows_that_are_kept_no_more_run_again_in_whole_pieces),
		TEST(a_token_waits_for_rows_that_run_again_too_slowly),
		TEST(a_worker_that_is_slower_than_the_agent_is_waited_for),
		TEST(without_kept_rows_a_far_worker_takes_over_with_a_trip_of_them_out),
		TEST(a_worker_that_says_nothing_of_rows_is_asked_then_given_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
