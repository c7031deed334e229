/* tests/lane_machine.h - one lane, driven event by event: what the tests of worker/lane stand on.
 * Include it after cmocka.h, in one .c file of a program. */
#ifndef TESTS_LANE_MACHINE_H
#define TESTS_LANE_MACHINE_H

#include <string.h>

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

static inline int set_up(void **state)
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

static inline int tear_down(void **state)
{
	(void)state;
	lane_finish(&l);
	return 0;
}

static inline void step(struct lane_event ev)
{
	ev.now_us = now_us;
	lane_step(&l, &lim, &ev, &fx);
}

static inline struct msg_open an_open(uint32_t epoch)
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

static inline void open_as(const struct msg_open *o)
{
	step((struct lane_event){ .kind = LANE_EV_OPEN, .agent = "gw", .open = o });
}

static inline void open_epoch(uint32_t epoch)
{
	struct msg_open o = an_open(epoch);

	open_as(&o);
}

static inline struct wire_hdr a_chunk(uint32_t seq, uint32_t pos, uint32_t rows)
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

static inline void send(const struct wire_hdr *h)
{
	step((struct lane_event){ .kind = LANE_EV_ROWS, .hdr = h });
}

static inline void send_rows(uint32_t seq, uint32_t pos, uint32_t rows)
{
	struct wire_hdr h = a_chunk(seq, pos, rows);

	send(&h);
}

/* The job of chunk seq of an epoch comes back; it sampled id for position pos. */
static inline void compute(uint32_t epoch, uint32_t seq, uint32_t pos, uint32_t id)
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

static inline void fail_job(uint32_t epoch, uint32_t seq)
{
	step((struct lane_event){ .kind = LANE_EV_FAILED,
				  .epoch = epoch,
				  .seq = seq,
				  .code = ERR_NOT_FINITE,
				  .reason = "a NaN" });
}

static inline void close_epoch(uint32_t epoch)
{
	step((struct lane_event){ .kind = LANE_EV_CLOSE, .epoch = epoch });
}

static inline void tick(void)
{
	step((struct lane_event){ .kind = LANE_EV_TICK });
}

static inline void assert_nothing(void)
{
	assert_false(fx.reset || fx.accept || fx.run || fx.answer || fx.need || fx.freed);
	assert_int_equal(fx.error, 0);
}

static inline void assert_refused(int code, uint32_t epoch, uint32_t seq)
{
	assert_int_equal(fx.error, code);
	assert_int_equal(fx.error_epoch, epoch);
	assert_int_equal(fx.error_seq, seq);
	assert_true(fx.reason[0]);
	assert_false(fx.run || fx.answer || fx.need || fx.accept);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
