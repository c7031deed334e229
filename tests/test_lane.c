/* tests/test_lane.c - the worker's lane, event by event. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/kv_type.h"
#include "worker/lane.h"

#define CONTEXT  32u
#define DIM      8u
#define LAYERS   4u
#define MAX_ROWS 16u
#define IDLE_US  1000u
#define MODEL    "00112233445566778899aabbccddeeff"

/* Of the test that is running: a lane, its newest effects, and the time. */
static struct lane_limits lim;
static struct lane l;
static struct lane_effects fx;
static uint64_t now_us;

static int set_up(void **state)
{
	(void)state;
	lim = (struct lane_limits){
		.worker = "w1",
		.model = MODEL,
		.n_layers = LAYERS,
		.first_layer = 1,
		.dim = DIM,
		.context_tokens = CONTEXT,
		.max_packet_bytes = 65536,
		.max_rows = MAX_ROWS,
		.idle_us = IDLE_US,
	};
	now_us = 10;
	return lane_init(&l, &lim);
}

static int tear_down(void **state)
{
	(void)state;
	lane_finish(&l);
	return 0;
}

static void step(struct lane_event ev)
{
	ev.now_us = now_us;
	lane_step(&l, &lim, &ev, &fx);
}

static struct msg_open an_open(uint32_t epoch)
{
	return (struct msg_open){
		.session = 5,
		.epoch = epoch,
		.model = MODEL,
		.dim = DIM,
		.split = 2,
		.context_tokens = CONTEXT,
	};
}

static void open_as(const struct msg_open *o)
{
	step((struct lane_event){ .kind = LANE_EV_OPEN, .agent = "gw", .open = o });
}

static void open_epoch(uint32_t epoch)
{
	struct msg_open o = an_open(epoch);

	open_as(&o);
}

static struct wire_hdr a_chunk(uint32_t seq, uint32_t pos, uint32_t rows)
{
	return (struct wire_hdr){
		.kind = WIRE_ROWS,
		.flags = WIRE_SAMPLE,
		.session = 5,
		.epoch = l.open.epoch,
		.seq = seq,
		.pos = pos,
		.rows = rows,
		.dim = DIM,
		.split = 2,
	};
}

static void send(const struct wire_hdr *h)
{
	step((struct lane_event){ .kind = LANE_EV_ROWS, .hdr = h });
}

static void send_rows(uint32_t seq, uint32_t pos, uint32_t rows)
{
	struct wire_hdr h = a_chunk(seq, pos, rows);

	send(&h);
}

/* The job of chunk seq of an epoch comes back; it sampled id for position pos. */
static void compute(uint32_t epoch, uint32_t seq, uint32_t pos, uint32_t id)
{
	step((struct lane_event){
		.kind = LANE_EV_COMPUTED,
		.epoch = epoch,
		.seq = seq,
		.pos = pos,
		.id = id,
		.sampled = true,
		.queue_us = 3,
		.compute_us = 4,
	});
}

static void fail_job(uint32_t epoch, uint32_t seq)
{
	step((struct lane_event){ .kind = LANE_EV_FAILED,
				  .epoch = epoch,
				  .seq = seq,
				  .code = ERR_NOT_FINITE,
				  .reason = "a NaN" });
}

static void close_epoch(uint32_t epoch)
{
	step((struct lane_event){ .kind = LANE_EV_CLOSE, .epoch = epoch });
}

static void tick(void)
{
	step((struct lane_event){ .kind = LANE_EV_TICK });
}

static void assert_nothing(void)
{
	assert_false(fx.reset || fx.accept || fx.run || fx.answer || fx.need || fx.freed);
	assert_int_equal(fx.error, 0);
}

static void assert_refused(int code, uint32_t epoch, uint32_t seq)
{
	assert_int_equal(fx.error, code);
	assert_int_equal(fx.error_epoch, epoch);
	assert_int_equal(fx.error_seq, seq);
	assert_true(fx.reason[0]);
	assert_false(fx.run || fx.answer || fx.need || fx.accept);
}

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

static void an_older_chunk_is_neither_run_nor_answered(void **state)
{
	(void)state;
	open_epoch(1);
	send_rows(1, 0, 4);
	compute(1, 1, 4, 9);
	send_rows(2, 4, 1);
	send_rows(1, 0, 4);
	assert_nothing();
	compute(1, 2, 5, 8);
	assert_true(fx.answer);
	send_rows(1, 0, 4);
	assert_nothing(); /* the stored answer is that of chunk 2 */
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

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
		TEST(an_older_chunk_is_neither_run_nor_answered),
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
		TEST(an_opening_brings_its_history_along),
		TEST(the_history_of_the_session_before_is_forgotten),
		TEST(a_history_longer_than_the_context_is_cut),
		TEST(rows_that_ask_for_it_are_told_of_when_they_have_run),
		TEST(rows_of_a_higher_split_give_layers_up),
		TEST(a_fill_is_joined_when_it_is_as_long),
		TEST(what_goes_wrong_with_a_fill_ends_nothing_else),
		TEST(a_fill_that_came_too_early_may_come_again),
		TEST(keys_and_values_must_fit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
