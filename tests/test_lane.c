/* tests/test_lane.c - the worker's lane, event by event. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/lane_machine.h"

/* ---- admission ---- */

static void a_fitting_open_is_admitted(void **state)
{
	char why[MSG_REASON_MAX] = "";
	struct msg_open o = an_open(1);

	(void)state;
	for (o.split = 1; o.split <= LAYERS; o.split++)
		assert_int_equal(lane_admit(&lim, &o, why), 0);
	assert_string_equal(why, "");
}

static void another_model_is_a_mismatch(void **state)
{
	char why[MSG_REASON_MAX] = "";
	struct msg_open o = an_open(1);

	(void)state;
	o.model[0] = 'f';
	assert_int_equal(lane_admit(&lim, &o, why), ERR_MODEL_MISMATCH);
	assert_non_null(strstr(why, "w1"));
	assert_non_null(strstr(why, o.model));
	assert_non_null(strstr(why, MODEL));
}

static void rows_of_another_width_are_a_mismatch(void **state)
{
	char why[MSG_REASON_MAX] = "";
	struct msg_open o = an_open(1);

	(void)state;
	o.dim = DIM + 1;
	assert_int_equal(lane_admit(&lim, &o, why), ERR_MODEL_MISMATCH);
	assert_string_equal(why, "rows of 9 elements do not fit a model of 8");
}

static void a_split_outside_the_workers_layers_is_refused(void **state)
{
	char why[MSG_REASON_MAX] = "";
	struct msg_open o = an_open(1);

	(void)state;
	o.split = 0;
	assert_int_equal(lane_admit(&lim, &o, why), ERR_REFUSED);
	assert_string_equal(why, "split 0 is outside 1..4, the splits worker w1 can serve");
	o.split = LAYERS + 1;
	assert_int_equal(lane_admit(&lim, &o, why), ERR_REFUSED);
}

/* ---- OPEN ---- */

static void open_resets_and_accepts(void **state)
{
	(void)state;
	open_epoch(1);
	assert_true(fx.reset && fx.accept);
	assert_int_equal(l.state, LANE_SERVING);
	assert_string_equal(l.agent, "gw");
	assert_int_equal(l.context_tokens, CONTEXT);
	assert_int_equal(l.planned_len, 0);
}

static void the_context_granted_is_the_smaller_one(void **state)
{
	struct msg_open o = an_open(1);

	(void)state;
	o.context_tokens = 20;
	open_as(&o);
	assert_int_equal(l.context_tokens, 20);
	o = an_open(2);
	o.context_tokens = 1000;
	open_as(&o);
	assert_int_equal(l.context_tokens, CONTEXT);
}

static void a_repeated_open_is_accepted_again_and_resets_nothing(void **state)
{
	(void)state;
	open_epoch(1);
	send_rows(1, 0, 4);
	open_epoch(1);
	assert_true(fx.accept);
	assert_false(fx.reset);
	assert_int_equal(l.planned_len, 4);
	assert_int_equal(l.last_seq, 1);
}

static void a_newer_epoch_starts_over(void **state)
{
	(void)state;
	open_epoch(1);
	send_rows(1, 0, 4);
	compute(1, 1, 4, 9);
	open_epoch(3);
	assert_true(fx.reset && fx.accept);
	assert_int_equal(l.planned_len, 0);
	assert_int_equal(l.last_seq, 0);
	assert_int_equal(l.n_generated, 0);
	send_rows(1, 0, 4);
	assert_true(fx.run);
	assert_false(fx.answer);
}

static void an_older_epoch_is_not_opened(void **state)
{
	(void)state;
	open_epoch(3);
	open_epoch(2);
	assert_nothing();
	assert_int_equal(l.open.epoch, 3);
}

static void a_newer_epoch_of_another_shape_waits_for_the_jobs(void **state)
{
	struct msg_open o = an_open(2);

	(void)state;
	open_epoch(1);
	send_rows(1, 0, 4);
	o.split = 3;
	open_as(&o);
	assert_refused(ERR_BUSY, 2, 0);
	assert_int_equal(l.open.epoch, 1);
	o = an_open(2);
	o.context_tokens = CONTEXT - 1;
	open_as(&o);
	assert_refused(ERR_BUSY, 2, 0);
	compute(1, 1, 4, 9);
	open_as(&o);
	assert_true(fx.reset && fx.accept);
	assert_int_equal(l.open.epoch, 2);
}

static void a_newer_epoch_of_the_same_shape_need_not_wait(void **state)
{
	(void)state;
	open_epoch(1);
	send_rows(1, 0, 4);
	open_epoch(2);
	assert_true(fx.reset && fx.accept);
	assert_int_equal(l.jobs, 1);
}

static void a_draining_lane_is_busy(void **state)
{
	(void)state;
	open_epoch(1);
	send_rows(1, 0, 4);
	close_epoch(1);
	open_epoch(2);
	assert_refused(ERR_BUSY, 2, 0);
	assert_int_equal(l.state, LANE_DRAINING);
}

/* ---- ROWS ---- */

static void rows_are_run_and_answered(void **state)
{
	(void)state;
	open_epoch(1);
	send_rows(1, 0, 4);
	assert_true(fx.run);
	assert_false(fx.answer);
	assert_int_equal(l.planned_len, 4);
	assert_int_equal(l.jobs, 1);
	compute(1, 1, 4, 9);
	assert_true(fx.answer);
	assert_int_equal(l.jobs, 0);
	assert_int_equal(l.answer.session, 5);
	assert_int_equal(l.answer.epoch, 1);
	assert_int_equal(l.answer.seq, 1);
	assert_int_equal(l.answer.pos, 4);
	assert_int_equal(l.answer.n_ids, 1);
	assert_int_equal(l.answer.ids[0], 9);
	assert_false(l.answer.end);
	assert_int_equal(l.answer.queue_us, 3);
	assert_int_equal(l.answer.compute_us, 4);
}

static void the_end_of_an_answer_is_told(void **state)
{
	(void)state;
	open_epoch(1);
	send_rows(1, 0, 4);
	step((struct lane_event){ .kind = LANE_EV_COMPUTED,
				  .epoch = 1,
				  .seq = 1,
				  .pos = 4,
				  .sampled = true,
				  .end = true });
	assert_true(fx.answer);
	assert_true(l.answer.end);
}

static void a_repeated_chunk_is_answered_again_and_not_run_again(void **state)
{
	(void)state;
	open_epoch(1);
	send_rows(1, 0, 4);
	compute(1, 1, 4, 9);
	for (unsigned i = 0; i < 3; i++) {
		send_rows(1, 0, 4);
		assert_false(fx.run);
		assert_true(fx.answer);
		assert_int_equal(l.answer.ids[0], 9);
		assert_int_equal(l.jobs, 0);
		assert_int_equal(l.planned_len, 4);
	}
}

static void a_chunk_repeated_while_it_runs_is_ignored(void **state)
{
	(void)state;
	open_epoch(1);
	send_rows(1, 0, 4);
	send_rows(1, 0, 4);
	assert_nothing();
	assert_int_equal(l.jobs, 1);
}

static void an_older_chunk_is_not_run_again(void **state)
{
	(void)state;
	open_epoch(1);
	send_rows(1, 0, 4);
	compute(1, 1, 4, 9);
	send_rows(2, 4, 1);
	send_rows(1, 0, 4);
	assert_true(fx.answer && !fx.run);
	compute(1, 2, 5, 8);
	assert_true(fx.answer);
	send_rows(1, 0, 4);
	assert_true(fx.answer && !fx.run); /* it may be that which is missing */
	assert_int_equal(l.answer.seq, 1);
	assert_int_equal(l.answer.ids[0], 9);
	send_rows(0, 0, 1);
	assert_nothing();
	assert_int_equal(l.planned_len, 5);
}

static void prefill_chunks_are_pipelined_and_answered_once(void **state)
{
	struct wire_hdr h;

	(void)state;
	open_epoch(1);
	for (uint32_t i = 0; i < 3; i++) {
		h = a_chunk(i + 1, i * 4, 4);
		h.flags = i == 2 ? WIRE_SAMPLE : 0;
		send(&h);
		assert_true(fx.run);
	}
	assert_int_equal(l.jobs, 3);
	for (uint32_t i = 0; i < 2; i++) {
		step((struct lane_event){
			.kind = LANE_EV_COMPUTED, .epoch = 1, .seq = i + 1, .pos = i * 4 + 4 });
		assert_nothing();
	}
	compute(1, 3, 12, 9);
	assert_true(fx.answer);
}

static void a_gap_is_told_only_when_an_answer_is_asked_for(void **state)
{
	struct wire_hdr h;

	(void)state;
	open_epoch(1);
	send_rows(1, 0, 4);
	h = a_chunk(3, 8, 4);
	h.flags = 0;
	send(&h);
	assert_nothing();
	h = a_chunk(4, 12, 1);
	send(&h);
	assert_true(fx.need);
	assert_int_equal(fx.need_seq, 4);
	assert_int_equal(l.planned_len, 4);
	assert_false(fx.run);
	send_rows(2, 4, 4); /* the replay */
	assert_true(fx.run);
	send_rows(3, 8, 4);
	assert_true(fx.run);
	send_rows(4, 12, 1);
	assert_true(fx.run);
	assert_int_equal(l.planned_len, 13);
}

static void rows_may_go_back_and_overwrite(void **state)
{
	(void)state;
	open_epoch(1);
	send_rows(1, 0, 8);
	send_rows(2, 4, 2);
	assert_true(fx.run);
	assert_int_equal(l.planned_len, 6);
}

static void rows_of_an_older_epoch_are_dropped(void **state)
{
	struct wire_hdr h;

	(void)state;
	open_epoch(3);
	h = a_chunk(1, 0, 4);
	h.epoch = 2;
	send(&h);
	assert_nothing();
	assert_int_equal(l.last_seq, 0);
}

static void rows_of_an_epoch_that_was_not_opened_are_an_error(void **state)
{
	struct wire_hdr h;

	(void)state;
	open_epoch(1);
	h = a_chunk(7, 0, 4);
	h.epoch = 2;
	send(&h);
	assert_refused(ERR_STATE, 2, 7);
	assert_int_equal(l.state, LANE_SERVING); /* the epoch that is open goes on */
	send_rows(1, 0, 4);
	assert_true(fx.run);
}

static void rows_out_of_shape_end_the_session(void **state)
{
	static const struct {
		uint32_t pos, rows, dim, split;
		int code;
	} bad[] = {
		{ 0, 4, DIM + 1, 2, ERR_MODEL_MISMATCH }, { 0, 4, DIM, 0, ERR_STATE },
		{ 0, 4, DIM, LAYERS + 1, ERR_STATE },     { 0, MAX_ROWS + 1, DIM, 2, ERR_LIMIT },
		{ 20, 13, DIM, 2, ERR_CONTEXT },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct wire_hdr h;

		open_epoch(1);
		send_rows(1, 0, 10);
		send_rows(2, 10, 10);
		h = a_chunk(3, bad[i].pos, bad[i].rows);
		h.dim = bad[i].dim;
		h.split = bad[i].split;
		send(&h);
		assert_refused(bad[i].code, 1, 3);
		assert_int_equal(l.state, LANE_DRAINING);
		compute(1, 1, 10, 0);
		assert_nothing();
		compute(1, 2, 20, 0);
		assert_true(fx.freed);
		assert_int_equal(l.state, LANE_FREE);
	}
}

static void rows_up_to_the_last_position_are_run(void **state)
{
	(void)state;
	open_epoch(1);
	send_rows(1, 0, 16);
	send_rows(2, 16, 16);
	assert_true(fx.run);
	send_rows(3, 32, 1);
	assert_refused(ERR_CONTEXT, 1, 3);
}

static void more_rows_than_the_whole_context_are_refused(void **state)
{
	struct msg_open o = an_open(1);

	(void)state;
	o.context_tokens = 4;
	open_as(&o);
	send_rows(1, 0, 5); /* 4 - 5 must not wrap around */
	assert_refused(ERR_CONTEXT, 1, 1);
	assert_true(fx.freed);
}

static void a_free_lane_ignores_everything_but_open(void **state)
{
	(void)state;
	send_rows(1, 0, 1);
	assert_nothing();
	close_epoch(9);
	assert_nothing();
	now_us += 100 * IDLE_US;
	tick();
	assert_nothing();
	assert_int_equal(l.state, LANE_FREE);
}

/* ---- results ---- */

static void results_of_an_older_epoch_are_thrown_away(void **state)
{
	(void)state;
	open_epoch(1);
	send_rows(1, 0, 4);
	open_epoch(2);
	send_rows(1, 0, 4);
	compute(1, 1, 4, 7);
	assert_nothing();
	assert_int_equal(l.n_generated, 0);
	assert_int_equal(l.jobs, 1);
	send_rows(1, 0, 4);
	assert_nothing(); /* no answer yet */
	compute(2, 1, 4, 8);
	assert_true(fx.answer);
	assert_int_equal(l.answer.epoch, 2);
	assert_int_equal(l.answer.ids[0], 8);
}

static void a_failed_job_ends_the_session_with_its_words(void **state)
{
	(void)state;
	open_epoch(1);
	send_rows(1, 0, 4);
	fail_job(1, 1);
	assert_refused(ERR_NOT_FINITE, 1, 1);
	assert_string_equal(fx.reason, "a NaN");
	assert_true(fx.freed);
	assert_int_equal(l.state, LANE_FREE);
}

static void a_failed_job_of_an_older_epoch_is_nothing(void **state)
{
	(void)state;
	open_epoch(1);
	send_rows(1, 0, 4);
	open_epoch(2);
	fail_job(1, 1);
	assert_nothing();
	assert_int_equal(l.state, LANE_SERVING);
	assert_int_equal(l.jobs, 0);
}

static void one_failure_is_told_once(void **state)
{
	(void)state;
	open_epoch(1);
	send_rows(1, 0, 4);
	send_rows(2, 4, 4);
	send_rows(3, 8, 4);
	fail_job(1, 1);
	assert_refused(ERR_NOT_FINITE, 1, 1);
	assert_false(fx.freed);
	fail_job(1, 2);
	assert_nothing();
	compute(1, 3, 12, 1);
	assert_true(fx.freed);
	assert_false(fx.answer);
	assert_int_equal(fx.error, 0);
}

/* ---- the end ---- */

static void close_frees_at_once_when_no_job_is_out(void **state)
{
	(void)state;
	open_epoch(2);
	close_epoch(1);
	assert_nothing(); /* of an earlier epoch: late */
	close_epoch(2);
	assert_true(fx.freed);
	assert_int_equal(l.state, LANE_FREE);
	open_epoch(1); /* another session may have the lane */
	assert_true(fx.accept);
	close_epoch(4);
	assert_true(fx.freed);
}

static void close_waits_for_the_last_job(void **state)
{
	(void)state;
	open_epoch(1);
	send_rows(1, 0, 4);
	send_rows(2, 4, 4);
	close_epoch(1);
	assert_nothing();
	assert_int_equal(l.state, LANE_DRAINING);
	send_rows(3, 8, 1);
	assert_nothing();
	close_epoch(1);
	assert_nothing();
	compute(1, 1, 4, 1);
	assert_nothing();
	compute(1, 2, 8, 2);
	assert_true(fx.freed);
	assert_false(fx.answer);
}

static void an_idle_lane_is_given_up(void **state)
{
	(void)state;
	open_epoch(1);
	now_us += IDLE_US - 1;
	tick();
	assert_nothing();
	now_us += 1;
	tick();
	assert_true(fx.freed);
}

static void traffic_keeps_a_lane(void **state)
{
	(void)state;
	open_epoch(1);
	for (unsigned i = 0; i < 5; i++) {
		now_us += IDLE_US - 1;
		tick();
		assert_nothing();
		send_rows(i + 1, i, 1);
		compute(1, i + 1, i + 1, 3);
	}
	send_rows(6, 5, 1);
	now_us += 10 * IDLE_US;
	tick();
	assert_nothing(); /* a slow job is out: not idle */
	assert_int_equal(l.state, LANE_SERVING);
}

/* ---- the penalty's history ---- */

static void assert_generated(const uint32_t *ids, uint32_t n)
{
	assert_int_equal(l.n_generated, n);
	assert_memory_equal(l.generated, ids, n * sizeof(ids[0]));
}

static void generated_tokens_are_remembered_in_order(void **state)
{
	(void)state;
	open_epoch(1);
	send_rows(1, 0, 4);
	compute(1, 1, 4, 40);
	send_rows(2, 4, 1);
	compute(1, 2, 5, 50);
	send_rows(3, 5, 1);
	compute(1, 3, 6, 60);
	assert_generated((uint32_t[]){ 40, 50, 60 }, 3);
	send_rows(4, 4, 1); /* back: position 5 is sampled anew */
	compute(1, 4, 5, 51);
	assert_generated((uint32_t[]){ 40, 51 }, 2);
}

static void a_token_is_known_at_the_position_where_it_was_sampled(void **state)
{
	uint32_t id = 0;

	(void)state;
	open_epoch(1);
	assert_false(lane_token_at(&l, 0, &id));
	send_rows(1, 0, 4);
	compute(1, 1, 4, 40);
	send_rows(2, 4, 1);
	compute(1, 2, 5, 50);
	assert_false(lane_token_at(&l, 3, &id)); /* of the prompt */
	assert_true(lane_token_at(&l, 4, &id));
	assert_int_equal(id, 40);
	assert_true(lane_token_at(&l, 5, &id));
	assert_int_equal(id, 50);
	assert_false(lane_token_at(&l, 6, &id)); /* nobody knows it yet */
}

static void an_opening_brings_its_history_along(void **state)
{
	struct msg_open o = an_open(2);

	(void)state;
	o.n_history = 3;
	memcpy(o.history, (uint32_t[]){ 40, 50, 60 }, 3 * sizeof(o.history[0]));
	open_as(&o);
	assert_generated((uint32_t[]){ 40, 50, 60 }, 3);
	send_rows(1, 0, 7); /* the replay: four tokens of the prompt and these three */
	compute(2, 1, 7, 70);
	assert_generated((uint32_t[]){ 40, 50, 60, 70 }, 4);
}

static void the_history_of_the_session_before_is_forgotten(void **state)
{
	struct msg_open o = an_open(2);

	(void)state;
	open_epoch(1);
	send_rows(1, 0, 12);
	compute(1, 1, 12, 9);
	close_epoch(1);
	assert_true(fx.freed);
	o.session = 6;
	o.n_history = 5;
	memcpy(o.history, (uint32_t[]){ 1, 2, 3, 4, 5 }, 5 * sizeof(o.history[0]));
	open_as(&o);
	send_rows(1, 0, 15);
	compute(2, 1, 15, 6);
	assert_generated((uint32_t[]){ 1, 2, 3, 4, 5, 6 }, 6);
}

static void a_history_longer_than_the_context_is_cut(void **state)
{
	struct msg_open o = an_open(1);

	(void)state;
	o.n_history = MSG_IDS_MAX;
	open_as(&o);
	assert_int_equal(l.n_generated, CONTEXT);
	send_rows(1, 0, 16);
	compute(1, 1, 16, 9);
	assert_true(l.n_generated <= CONTEXT);
	send_rows(2, 16, 16);
	compute(1, 2, CONTEXT, 9);
	assert_true(fx.answer);
	assert_true(l.n_generated <= CONTEXT);
}

static void a_history_as_long_as_the_context_has_no_room_for_a_token(void **state)
{
	struct msg_open o = an_open(1);

	(void)state;
	o.n_history = CONTEXT;
	open_as(&o);
	send_rows(1, 0, 16);
	send_rows(2, 16, 16);
	compute(1, 2, CONTEXT, 9);
	assert_true(fx.answer);
	assert_int_equal(l.n_generated, CONTEXT);
}

/* Rows ran here that were not sampled from: those before are not where tokens are missing. */
static void tokens_that_were_sampled_elsewhere_do_not_move_the_history(void **state)
{
	uint32_t id;

	(void)state;
	open_epoch(1);
	send_rows(1, 0, 4);
	compute(1, 1, 4, 40);
	send_rows(2, 4, 4);
	compute(1, 2, 8, 80);
	assert_generated((uint32_t[]){ 40, 80 }, 2);
	assert_true(lane_token_at(&l, 8, &id));
	assert_int_equal(id, 80);
}

static void one_session_may_not_fill_the_compute_queue(void **state)
{
	uint32_t seq = 0;

	(void)state;
	open_epoch(1);
	while (seq < LANE_MAX_JOBS) { /* each at position 0 again: allowed, but not without end */
		send_rows(++seq, 0, 1);
		assert_true(fx.run);
	}
	send_rows(seq + 1, 0, 1);
	assert_nothing();
	compute(1, 1, 1, 5);
	send_rows(seq + 1, 0, 1); /* there is room again */
	assert_true(fx.run);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_fitting_open_is_admitted),
		TEST(another_model_is_a_mismatch),
		TEST(rows_of_another_width_are_a_mismatch),
		TEST(a_split_outside_the_workers_layers_is_refused),
		TEST(open_resets_and_accepts),
		TEST(one_session_may_not_fill_the_compute_queue),
		TEST(the_context_granted_is_the_smaller_one),
		TEST(a_repeated_open_is_accepted_again_and_resets_nothing),
		TEST(a_newer_epoch_starts_over),
		TEST(an_older_epoch_is_not_opened),
		TEST(a_newer_epoch_of_another_shape_waits_for_the_jobs),
		TEST(a_newer_epoch_of_the_same_shape_need_not_wait),
		TEST(a_draining_lane_is_busy),
		TEST(rows_are_run_and_answered),
		TEST(the_end_of_an_answer_is_told),
		TEST(a_repeated_chunk_is_answered_again_and_not_run_again),
		TEST(a_chunk_repeated_while_it_runs_is_ignored),
		TEST(an_older_chunk_is_not_run_again),
		TEST(prefill_chunks_are_pipelined_and_answered_once),
		TEST(a_gap_is_told_only_when_an_answer_is_asked_for),
		TEST(rows_may_go_back_and_overwrite),
		TEST(rows_of_an_older_epoch_are_dropped),
		TEST(rows_of_an_epoch_that_was_not_opened_are_an_error),
		TEST(rows_out_of_shape_end_the_session),
		TEST(rows_up_to_the_last_position_are_run),
		TEST(more_rows_than_the_whole_context_are_refused),
		TEST(a_free_lane_ignores_everything_but_open),
		TEST(results_of_an_older_epoch_are_thrown_away),
		TEST(a_failed_job_ends_the_session_with_its_words),
		TEST(a_failed_job_of_an_older_epoch_is_nothing),
		TEST(one_failure_is_told_once),
		TEST(close_frees_at_once_when_no_job_is_out),
		TEST(close_waits_for_the_last_job),
		TEST(an_idle_lane_is_given_up),
		TEST(traffic_keeps_a_lane),
		TEST(generated_tokens_are_remembered_in_order),
		TEST(a_token_is_known_at_the_position_where_it_was_sampled),
		TEST(a_history_as_long_as_the_context_has_no_room_for_a_token),
		TEST(tokens_that_were_sampled_elsewhere_do_not_move_the_history),
		TEST(an_opening_brings_its_history_along),
		TEST(the_history_of_the_session_before_is_forgotten),
		TEST(a_history_longer_than_the_context_is_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
