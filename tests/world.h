/* tests/world.h - real agent, workers and coordinator over a bus in memory, on a fake clock: what
 * simulations stand on.
 *
 * Messages are dropped, doubled, held back (and so reordered) at random; links are cut, workers die
 * and come back: all by one seed. The model is a toy whose next token is a hash of all rows so far
 * (tests/toy.h). Functions fail the running test when something goes wrong. */
#ifndef TESTS_WORLD_H
#define TESTS_WORLD_H

#include "coordinator/core.h"
#include "tests/toy.h"

#define WORLD_WORKERS 2u
#define WORLD_PROMPTS 6u
#define WORLD_JOBS    512u
#define WORLD_SLOTS   3u /* sessions of the agent */

struct world_job {
	uint64_t due_us;
	struct head_job *head; /* or */
	struct tail_job *tail;
	unsigned worker;
};

struct world_node {
	struct toy_node n;
	struct worker_core *core; /* NULL while dead */
	unsigned index;
	struct world *world;
	uint64_t back_us;
};

/* A head that waits goes on with rows of guessed tokens. */
struct world_ahead {
	bool on;
	struct head_job *job; /* the newest one that came back */
	uint32_t pos;
	unsigned prompt;
};

struct world {
	uint64_t seed, rolls, now_us;
	struct toy_codec codec; /* spec NULL: f32 */
	unsigned drop_percent, double_percent, max_delay_ms;
	bool quiet; /* faults are over */
	struct bus_mem *broker;
	struct toy_node agent_node, coordinator_node;
	struct agent_core *agent;
	struct coordinator_core coordinator;
	struct config_coordinator coordinator_conf;
	struct world_node workers[WORLD_WORKERS];
	struct world_job jobs[WORLD_JOBS];
	unsigned n_jobs;
	unsigned finals[WORLD_PROMPTS], finished;
	uint32_t expected[WORLD_PROMPTS][TOY_CONTEXT], n_expected[WORLD_PROMPTS];
	int errors[WORLD_PROMPTS];
	/* of the only session, where the codec changes: */
	uint8_t codecs[TOY_CONTEXT]; /* of the row of each position, and 1; 0: not sent yet */
	uint32_t asked[TOY_CONTEXT], n_asked, got[TOY_CONTEXT], n_got;
	bool splits_move;                        /* decisions at random say another split */
	uint32_t split;                          /* of the newest frame of rows, but for fills */
	unsigned raised, lowered, fills, values; /* frames: at another split; FILL; KV */
	unsigned draft_percent; /* of a waiting head, each millisecond: it makes one */
	unsigned drafts;        /* frames */
	struct world_ahead ahead[WORLD_SLOTS];
	uint32_t n_prompt[WORLD_PROMPTS];
	unsigned asking;
	unsigned worker_runs;                    /* rows that were run in the tail */
	unsigned head_types, tail_types;         /* of caches that were made: bits */
};

/* Rows cross as spec says (NULL: as f32), from some token on as `later` does (NULL: no change). */
struct world *world_with(uint64_t seed, const char *spec, const char *later);
struct world *world_create(uint64_t seed);
void world_destroy(struct world *w);

/* It comes back after a while; workers[i].back_us says when. */
void world_kill_worker(struct world *w, unsigned i);

/* The agent is asked prompt i, of random length; local: with all layers. */
void world_ask(struct world *w, unsigned i, bool local);

/* A retained decision for the agent. */
void world_tell(struct world *w, const char *text);

/* To the next thing that happens; answers are compared as they come. */
void world_advance(struct world *w);

/* Ask all prompts as slots become free, let things go wrong on the way. */
void world_run(struct world *w, unsigned kills, unsigned cuts, uint64_t limit_ms);

/* Each prompt had one final reply, and no error. */
void world_check(const struct world *w);

#endif
