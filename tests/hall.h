/* tests/hall.h - an agent, its workers and a person with a console, on a bus in memory and a clock
 * of their own: what the tests of the agent stand on.
 *
 * A test gets a hall with the agent and no worker (hall_open), and lets time pass. The model is the
 * toy's (tests/toy.h). Functions fail the running test when something goes wrong. */
#ifndef TESTS_HALL_H
#define TESTS_HALL_H

#include "agent/admit.h"
#include "tests/toy.h"

#define HALL_WORKERS     2u
#define HALL_MAX_JOBS    16u
#define HALL_MAX_HEARD   4096u
#define HALL_SEED        7u
#define HALL_OTHER_MODEL "ffeeddccbbaa99887766554433221100"
#define HALL_PROMPT      "0123" /* ids 48..51, as the tiny vocabulary has it */

struct hall;

struct hall_desk {
	struct hall *hall;
	struct toy_node node;
	struct worker_core *core; /* NULL: not there */
	struct tail_job *jobs[HALL_MAX_JOBS];
	unsigned n_jobs;
};

struct hall_heard {
	struct topic topic;
	struct msg m;
};

/* An agent, its workers, and a person with a console. */
struct hall {
	struct bus_mem *broker;
	struct toy_node agent_node, person;
	struct tokenizer *tokenizer;
	struct agent_core *agent;
	struct hall_desk desks[HALL_WORKERS];
	uint64_t now_us;
	struct head_job *jobs[HALL_MAX_JOBS];
	unsigned n_jobs;
	bool hold_heads, hold_tails; /* jobs stay out */
	bool refuse_jobs;
	bool refuse_types;             /* a cache stays of its type */
	uint32_t room_tokens;          /* of a session with split 1, half with 2, ...; 0: any */
	int kv_tokens;                 /* of all caches of the agent that exist */
	enum kv_type head_kv, tail_kv; /* of the newest caches */
	enum kv_type recast_kv;        /* of one that is brought to another type, ... */
	uint32_t recast_len;           /* ... its positions, */
	unsigned recasts;              /* ... and whether there is one */
	unsigned recast_jobs;          /* that ran */
	bool fail_recasts;
	uint32_t rows_run;
	unsigned to_send;        /* of these: rows that are to go out as drafts; none is made */
	unsigned guesses, right; /* of head jobs: of what comes next, and those that came */
	bool guessing;           /* the newest one: */
	uint32_t guess;
	struct hall_heard heard[HALL_MAX_HEARD];
	unsigned n_heard, n_in_process;
	struct msg_reply in_process; /* newest; its text is not kept */
};

/* Set up and tear down of a cmocka test; the latter holds that each cache was given back. */
int hall_open(void **state);
int hall_close(void **state);

/* An agent in the place of the one that was closed; max_packet: bytes of its packets, 0: any. */
void hall_open_agent(struct hall *h, const struct agent_core_conf *conf, uint32_t max_packet);
/* Worker w0 or w1, as it comes; or as wc says. */
void hall_open_worker(struct hall *h, unsigned i);
void hall_open_desk(struct hall *h, unsigned i, const struct worker_core_conf *wc);
void hall_close_desk(struct hall_desk *d);

/* Time passes, a millisecond at a time; messages are delivered, jobs run. */
void hall_pass(struct hall *h, unsigned ms);

/* What the person does. keys: what follows the text, such as "\"split\":2". A decision is given
 * 2 ms to arrive. */
void hall_publish(struct hall *h, const char *topic, const char *text, bool retain);
void hall_ask(struct hall *h, const char *id, const char *keys);
void hall_cancel(struct hall *h, const char *id);
void hall_decide(struct hall *h, const char *keys);
void hall_tell_status(struct hall *h, const char *worker, const char *state_name,
		      const char *model);

/* What the person heard, until it is forgotten. hall_final, hall_last_of_type: never NULL. */
void hall_forget(struct hall *h);
unsigned hall_n_finals(const struct hall *h, const char *id);
const struct msg_reply *hall_final(const struct hall *h, const char *id);
unsigned hall_n_of_type(const struct hall *h, enum msg_type type);
const struct hall_heard *hall_last_of_type(const struct hall *h, enum msg_type type);

/* The answer is that of an undisturbed run. */
void hall_assert_answered(const struct hall *h, const char *id);
/* One final reply, with this code and a reason. */
void hall_assert_refused(const struct hall *h, const char *id, int code);

#endif
