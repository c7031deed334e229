/* tests/test_lane_fill.c - a lane whose split moves: what is given up, filled and joined. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/kv_type.h"
#include "tests/lane_machine.h"

static struct wire_hdr a_fill(uint32_t no, uint32_t piece, uint32_t pos, uint32_t rows)
{
	struct wire_hdr h = a_chunk(no << 16 | piece, pos, rows);

	h.flags |= WIRE_FILL;
	h.split = 1;
	return h;
}

static void send_fill(uint32_t no, uint32_t piece, uint32_t pos, uint32_t rows)
{
	struct wire_hdr h = a_fill(no, piece, pos, rows);

	send(&h);
}

static void fill_computed(uint32_t seq, uint32_t pos)
{
	step((struct lane_event){ .kind = LANE_EV_COMPUTED,
				  .epoch = l.open.epoch,
				  .seq = seq,
				  .pos = pos,
				  .sampled = true,
				  .fill = true });
}

static void send_rows_at(uint32_t split, uint32_t seq, uint32_t pos, uint32_t rows)
{
	struct wire_hdr h = a_chunk(seq, pos, rows);

	h.split = split;
	send(&h);
}

static void rows_that_ask_for_it_are_told_of_when_they_have_run(void **state)
{
	struct wire_hdr h;

	(void)state;
	open_epoch(1);
	h = a_chunk(1, 0, 4);
	h.flags = WIRE_TELL;
	send(&h);
	assert_true(fx.run && !fx.need);
	send(&h); /* again, before they have run */
	assert_nothing();
	h = a_chunk(3, 6, 1);
	h.flags = WIRE_TELL;
	send(&h); /* one is missing */
	assert_true(fx.need && !fx.run && !fx.need_fill);
	assert_int_equal(fx.need_seq, 0);
	assert_int_equal(fx.need_len, 4);
	step((struct lane_event){
		.kind = LANE_EV_COMPUTED, .epoch = 1, .seq = 1, .pos = 4, .tell = true });
	assert_true(fx.need && !fx.answer && !fx.need_fill);
	assert_int_equal(fx.need_seq, 0);
	assert_int_equal(fx.need_len, 4);
	h = a_chunk(1, 0, 4);
	h.flags = WIRE_TELL;
	send(&h); /* and when it got lost */
	assert_true(fx.need && !fx.run);
	assert_int_equal(fx.need_len, 4);
}

static void rows_of_a_higher_split_give_layers_up(void **state)
{
	(void)state;
	open_epoch(1);
	send_rows(1, 0, 4);
	send_rows_at(3, 2, 4, 1);
	assert_true(fx.run && fx.change && !fx.join);
	assert_int_equal(l.split, 3);
	send_rows_at(4, 3, 5, 1); /* one change at a time */
	assert_false(fx.run);
	assert_true(fx.need && !fx.need_fill);
	compute(1, 1, 4, 7);
	assert_false(fx.changed);
	compute(1, 2, 5, 7);
	assert_true(fx.changed);
	send_rows_at(4, 3, 5, 1);
	assert_true(fx.run && fx.change);
}

static void a_fill_is_joined_when_it_is_as_long(void **state)
{
	(void)state;
	open_epoch(1);
	send_rows(1, 0, 4);
	send_fill(1, 1, 0, 3);
	assert_true(fx.run && fx.side);
	assert_int_equal(l.fill_split, 1);
	send_rows_at(1, 2, 4, 1);
	assert_true(fx.need && fx.need_fill && !fx.run);
	assert_int_equal(fx.need_fill_len, 3);
	fill_computed(1 << 16 | 1, 3);
	assert_true(fx.need && fx.need_fill);
	assert_int_equal(fx.need_seq, 0);
	assert_int_equal(fx.need_fill_len, 3);
	send_fill(1, 3, 4, 1); /* one is missing */
	assert_true(fx.need && !fx.run);
	send_fill(1, 2, 3, 1);
	assert_true(fx.run && !fx.side);
	send_rows_at(1, 2, 4, 1);
	assert_true(fx.run && fx.change && fx.join);
	compute(1, 1, 4, 7);
	fill_computed(1 << 16 | 2, 4);
	assert_false(fx.need || fx.side_over);
	compute(1, 2, 5, 7);
	assert_true(fx.changed && fx.side_over && fx.answer);
	send_fill(1, 1, 0, 3); /* late */
	assert_nothing();
	assert_false(l.filling);
}

static void what_goes_wrong_with_a_fill_ends_nothing_else(void **state)
{
	(void)state;
	open_epoch(1);
	send_rows(1, 0, 4);
	send_fill(1, 1, 0, 3);
	step((struct lane_event){ .kind = LANE_EV_NO_SIDE,
				  .seq = 1 << 16 | 1,
				  .code = ERR_LIMIT,
				  .reason = "12 bytes" });
	assert_refused(ERR_LIMIT, 1, 1 << 16 | 1);
	assert_true(fx.error_again && fx.side_over);
	assert_int_equal(l.state, LANE_SERVING);
	send_fill(2, 1, 0, 3);
	assert_true(fx.run && fx.side);
	step((struct lane_event){ .kind = LANE_EV_FAILED,
				  .epoch = 1,
				  .seq = 2 << 16 | 1,
				  .fill = true,
				  .code = ERR_FORMAT,
				  .reason = "bytes" });
	assert_refused(ERR_FORMAT, 1, 2 << 16 | 1);
	assert_true(fx.error_again && fx.side_over);
	compute(1, 1, 4, 7);
	assert_true(fx.answer);
}

static void a_fill_that_came_too_early_may_come_again(void **state)
{
	(void)state;
	open_epoch(1);
	send_rows(1, 0, 4);
	send_fill(2, 1, 0, 6); /* of rows that come later */
	assert_true(fx.run);
	fill_computed(2 << 16 | 1, 6);
	send_rows_at(1, 2, 4, 1); /* wants fill 1 */
	assert_true(fx.need && !fx.run);
	send_fill(1, 1, 0, 4);
	assert_true(fx.run && fx.side && fx.side_over);
	send_rows_at(1, 2, 4, 1);
	assert_true(fx.run && fx.join);
}

static void keys_and_values_must_fit(void **state)
{
	struct wire_hdr h;

	(void)state;
	lim.kv_elements = 12;
	open_epoch(1);
	send_rows(1, 0, 4);
	h = a_fill(1, 1, 0, 4);
	h.kind = WIRE_KV;
	h.flags = WIRE_SAMPLE;
	h.codec = 0;
	h.state = 2;
	h.dim = 11;
	send(&h);
	assert_refused(ERR_MODEL_MISMATCH, 1, 1 << 16 | 1);
	assert_true(fx.error_again);
	h.dim = 12;
	h.state = 3;
	send(&h);
	assert_refused(ERR_UNSUPPORTED, 1, 1 << 16 | 1);
	h.state = 2;
	h.codec = KV_TYPE_COUNT;
	send(&h);
	assert_refused(ERR_UNSUPPORTED, 1, 1 << 16 | 1);
	h.codec = 1;
	send(&h);
	assert_true(fx.run && fx.side);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(rows_that_ask_for_it_are_told_of_when_they_have_run),
		TEST(rows_of_a_higher_split_give_layers_up),
		TEST(a_fill_is_joined_when_it_is_as_long),
		TEST(what_goes_wrong_with_a_fill_ends_nothing_else),
		TEST(a_fill_that_came_too_early_may_come_again),
		TEST(keys_and_values_must_fit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
