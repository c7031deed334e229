/* tools/sim_impl.h - the inside of the simulated fleet. For tools/sim_*.c only. */
#ifndef TOOLS_SIM_IMPL_H
#define TOOLS_SIM_IMPL_H

#include "agent/hurry.h"
#include "agent/meter.h"
#include "agent/probe.h"
#include "base/kv_type.h"
#include "tools/sim_link.h"
#include "tools/sim_queue.h"
#include "tools/sim_window.h"
#include "tools/sim_world.h"

#define SIM_NONE       UINT32_MAX
#define SIM_WAITING    16 /* prompts that wait at an agent; more are dropped, and counted */
#define SIM_CHUNK_ROWS 64
#define SIM_MIB        1048576.0

/* Payloads and what is around them on the wire, bytes. */
#define SIM_FRAME_BYTES  60.0
#define SIM_PACKET_BYTES 120.0
#define SIM_ANSWER_BYTES 180.0
#define SIM_OPEN_BYTES   700.0
#define SIM_ACCEPT_BYTES 250.0

/* Of an agent, whatever the split; of a session; of a position in its log, per element of a row. */
#define SIM_BASE_BYTES    16777216u
#define SIM_SESSION_BYTES 65536u

enum sim_kind {
	SIM_START,      /* an agent's or worker's first words */
	SIM_TELEMETRY,
	SIM_ARRIVAL,    /* of a prompt */
	SIM_HOT, SIM_COOL,
	SIM_STEP, SIM_STEP_END, SIM_OUTAGE,
	SIM_PROBE,      /* time to look whether one is due */
	SIM_PROBED,     /* it is back */
	SIM_DECISION,   /* arrives */
	SIM_OPENED,     /* the worker's answer to OPEN is there */
	SIM_OPEN,       /* ask (again) for a worker */
	SIM_COMPUTED,   /* by the agent: rows to be sent, or a token when there is no worker */
	SIM_ANSWERED,   /* by the worker: tokens arrive */
	SIM_LOST,       /* the agent learns that its session's worker is gone */
	SIM_SWITCHED,   /* a handover is complete */
	SIM_W_START, SIM_W_TELEMETRY,
	SIM_W_ROWS,     /* arrive at a worker */
	SIM_W_STEPPED,  /* a step is done */
	SIM_W_DRAIN, SIM_W_FAIL, SIM_W_BACK,
	SIM_KINDS
};

/* What an agent goes by. */
struct sim_decision {
	uint64_t number; /* 0: none yet */
	uint32_t split, front, context_tokens;
	enum kv_type kv;
	double bits;     /* per element of a row */
	bool stays;      /* sessions that run at other splits keep them, and ... */
	double stay_bits; /* ... have such rows */
	uint32_t worker; /* SIM_NONE: any */
	char codec[MSG_SPEC_MAX];
	double token_ms; /* predicted; 0: not */
};

enum sim_phase { SIM_UNUSED, SIM_OPENING, SIM_PROMPT, SIM_DECODE };

struct sim_session {
	enum sim_phase phase;
	uint32_t life; /* grows with each session in this place, and each loss of its worker */
	struct sim_decision by;
	uint32_t prompt, answer; /* tokens in all, as they will be */
	uint32_t kv, tokens;     /* positions in the caches, tokens of the answer so far */
	uint32_t target;         /* rows that the worker must have before it answers */
	uint32_t to_compute, at_worker; /* rows: not begun, arrived there (of target) */
	bool replay;             /* those rows are in the log already */
	uint32_t next_split;     /* of a handover that is under way; SIM_NONE */
	uint32_t worker, worker_life; /* SIM_NONE; which of its lives */
	uint64_t booked_bytes;   /* there */
	uint64_t answered_us;             /* its newest token */
	uint64_t begun_us;                /* taken up: a place was free */
	struct {
		uint64_t sent_us, worker_us; /* worker_us: that it was there */
		uint32_t up_bytes, sends;
		bool clear;
	} trip; /* of the newest request */
	double token_ms;                  /* summed over `timed` tokens */
	uint32_t timed;
	bool calm, one_split; /* nothing changed; the same split all the time */
};

struct sim_agent {
	uint32_t index;
	uint64_t boot;
	bool up;
	uint64_t started_us;
	struct sim_rng rng;
	struct sim_link link;
	uint64_t budget_bytes;
	uint32_t threads, max_sessions, n_sessions;
	double layer_ms, row_ms, head_ms, embed_ms, encode_ms; /* first front, cool */
	double heat;           /* factor of the moment */
	uint64_t cpu_free_us;  /* end of what it computes */
	struct sim_decision by;
	struct msg_decision *coming; /* published, not here yet; the newest counts */
	uint64_t changed_us;   /* of the newest change of its world without a decision; 0: none */
	bool worker_changed;   /* that change is its worker's */
	struct meter *meter; /* the one of real agents, in units of the first front */
	struct probe probe;
	struct hurry hurry;
	uint64_t telemetry_us; /* when the next one is due; another event for one counts not */
	struct sim_window token;
	uint64_t tokens, rows, bytes_up, bytes_down, done, failed, retries;
	uint32_t n_waiting; /* prompts */
	struct sim_session *sessions; /* [max_sessions] */
};

struct sim_rows {
	uint32_t agent, session, life, rows, first_layer;
	uint64_t since_us;
};

struct sim_worker {
	uint32_t index;
	uint64_t boot;
	enum msg_state state;
	struct sim_rng rng;
	uint64_t budget_bytes, weight_bytes, kv_bytes; /* booked for caches */
	uint32_t max_sessions, n_sessions;
	double layer_ms, row_ms, head_ms;
	struct sim_rows *rows; /* [n_rows]: waiting, oldest first */
	uint32_t n_rows, cap_rows, n_step; /* n_step: of them, in the step that runs */
	uint32_t life;
	uint64_t begun_us; /* of the step that runs */
	uint64_t steps, stepped_rows, n_queue; /* since the last telemetry */
	double queue_ms;                       /* summed over n_queue */
	struct sim_window queue;
	uint64_t answered; /* rows since it began */
};

struct sim_world {
	struct scenario conf;
	struct sim_limits limits;
	char fleet[TOPIC_NAME_MAX + 1];
	char model[MSG_HASH_LEN + 1];
	sim_publish *publish;
	void *ctx;
	uint64_t now_us;
	int error; /* ERR_NOMEM happened */
	struct sim_queue queue;
	struct sim_agent *agents;   /* [conf.agents] */
	struct sim_worker *workers; /* [conf.workers] */
	uint32_t turn;              /* of the worker for whom any will do */
	uint64_t *layer_bytes;      /* [n_fronts][layers], for profiles */
	struct sim_stats stats;
};

/* ---- sim_world.c ---- */

/* In wait_us from now; UINT64_MAX: never. */
void sim_after(struct sim_world *w, uint64_t wait_us, enum sim_kind kind, uint32_t who);
void sim_add(struct sim_world *w, const struct sim_event *ev);

/* ---- sim_agent.c ---- */

void sim_agent_init(struct sim_world *w, struct sim_agent *a, uint32_t index);
void sim_agent_event(struct sim_world *w, struct sim_agent *a, const struct sim_event *ev);
/* Its next probe, when it is time for one. */
void sim_agent_probe(struct sim_world *w, struct sim_agent *a);
/* Its meter heard something: probe and telemetry may be due. */
void sim_agent_heard(struct sim_world *w, struct sim_agent *a);
/* Its world changed: a decision may be due. */
void sim_agent_changed(struct sim_world *w, struct sim_agent *a, bool by_worker);
/* All of memory that a front end of `split` layers and so many sessions need. */
double sim_agent_bytes(const struct sim_world *w, const struct sim_decision *d, uint32_t sessions);
/* Weights of the head in those of a layer. */
double sim_head_layers(const struct sim_world *w);
/* Time of one layer at a front, as it is now. */
double sim_agent_layer_ms(const struct sim_world *w, const struct sim_agent *a, uint32_t front);

/* ---- sim_session.c ---- */

/* Begin what waits, where there is room. */
void sim_session_admit(struct sim_world *w, struct sim_agent *a);
void sim_session_event(struct sim_world *w, struct sim_agent *a, const struct sim_event *ev);
/* The agent took a decision: running sessions follow. */
void sim_session_decide(struct sim_world *w, struct sim_agent *a, struct sim_session *s);
/* Rows of a session are at their worker's end: the answer, when it was the last of them. */
void sim_session_answer(struct sim_world *w, const struct sim_rows *r);

/* ---- sim_worker.c ---- */

void sim_worker_init(struct sim_world *w, struct sim_worker *k, uint32_t index);
void sim_worker_event(struct sim_world *w, struct sim_worker *k, const struct sim_event *ev);
/* The named one when it is ready, else any; NULL: none is. */
struct sim_worker *sim_worker_pick(struct sim_world *w, uint32_t wanted);
/* Book a session's caches: ERR_BUSY when there is no room. */
MUST_CHECK int sim_worker_book(struct sim_worker *k, uint64_t bytes);
void sim_worker_unbook(struct sim_worker *k, uint64_t bytes);
/* Another size: ERR_BUSY when there is no room, and nothing changes. */
MUST_CHECK int sim_worker_rebook(struct sim_worker *k, uint64_t old_bytes, uint64_t bytes);
/* ms of one layer of a step of so many rows. */
double sim_worker_layer_ms(const struct sim_worker *k, uint32_t rows);

/* ---- sim_say.c ---- */

void sim_say_agent(struct sim_world *w, struct sim_agent *a, enum msg_state state);
void sim_say_profile(struct sim_world *w, struct sim_agent *a);
void sim_say_agent_telemetry(struct sim_world *w, struct sim_agent *a);
void sim_say_answer(struct sim_world *w, struct sim_agent *a, const struct msg_decision_answer *an);
void sim_say_worker(struct sim_world *w, struct sim_worker *k, enum msg_state state);
void sim_say_worker_telemetry(struct sim_world *w, struct sim_worker *k);

/* Bytes of one position of one layer. */
double sim_kv_bytes(const struct sim_world *w, enum kv_type kv);

#endif
