/* tests/shop.h - a worker on a bus in memory and a clock of its own, and a person who plays all its
 * agents, named "gw". Functions fail the running test when something goes wrong. */
#ifndef TESTS_SHOP_H
#define TESTS_SHOP_H

#include "tests/toy.h"

#define SHOP_MAX_JOBS  16u
#define SHOP_MAX_HEARD 256u
#define SHOP_SEED      7u
#define SHOP_FRAME_MAX 4096u
#define SHOP_EVICT_US  5000000u

/* One worker, and a person who plays all agents. */
struct shop {
	struct bus_mem *broker;
	struct toy_node worker_node, person;
	struct worker_core_conf conf;
	struct worker_core *core;
	uint64_t now_us;
	struct tail_job *jobs[SHOP_MAX_JOBS];
	unsigned n_jobs;
	bool hold;            /* jobs stay out */
	bool refuse_jobs;     /* the compute queue is full */
	int begin_rc;         /* of new KV caches */
	int kv_tokens;        /* of all caches that exist */
	enum kv_type kv_type; /* of the newest cache */
	unsigned n_begun;
	int kv_budget; /* tokens that all caches may have */
	uint32_t rows_run;
	struct msg heard[SHOP_MAX_HEARD]; /* down messages; none of these owns memory */
	unsigned n_heard;
};

/* Set up and tear down of a cmocka test; the latter holds that each cache was given back. */
int shop_open(void **state);
int shop_close(void **state);

/* Messages are delivered, jobs run, until all is quiet. What publishes ends with it. */
void shop_settle(struct shop *h);

/* On the up topic of a session; to any worker. */
void shop_publish(struct shop *h, uint64_t session, const void *payload, size_t len);
void shop_publish_open(struct shop *h, const struct msg *m);

/* An OPEN at split 1, with the longest context; such a session is accepted, or 1 and 2 are, and 2
 * has four rows in. */
struct msg shop_msg_open(uint64_t session, uint32_t epoch);
void shop_open_session(struct shop *h, uint64_t session);
void shop_open_two(struct shop *h);

/* Rows of ids 0, 1, 2 ... at their positions, f32 at split 1, to be answered. shop_frame returns
 * the frame's length. */
struct wire_hdr shop_hdr(uint64_t session, uint32_t seq, uint32_t pos, uint32_t rows);
size_t shop_frame(uint8_t frame[static SHOP_FRAME_MAX], const struct wire_hdr *h);
void shop_send_frame(struct shop *h, uint64_t topic_session, const struct wire_hdr *hdr);
void shop_send_rows(struct shop *h, uint64_t session, uint32_t seq, uint32_t pos, uint32_t rows);

/* What the person heard last; never NULL. */
const struct msg *shop_last(const struct shop *h);
void shop_assert_tokens(const struct shop *h, uint64_t session, uint32_t seq, uint32_t pos);
void shop_assert_error(const struct shop *h, uint64_t session, uint32_t seq, int code);

/* Session 2 of shop_open_two is asked for one more: it goes on as if nothing had been. */
void shop_assert_other_goes_on(struct shop *h);

#endif
