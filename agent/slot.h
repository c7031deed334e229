/* agent/slot.h - one prompt being answered: session, job, text, times; and the effects carried out.
 *
 * Internal to the agent's core. Loop thread. */
#ifndef AGENT_SLOT_H
#define AGENT_SLOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/core.h"
#include "agent/guess.h"
#include "agent/hurry.h"
#include "agent/meter.h"
#include "agent/odds.h"
#include "agent/pace.h"
#include "agent/probe.h"
#include "agent/session.h"
#include "agent/timeline.h"
#include "agent/workers.h"
#include "engine/tokenizer.h"

#define SLOT_RTTS    256 /* round trips kept for the median */
#define CORE_WAITING 64  /* prompts that may wait for a slot */
#define CORE_KEPT    16  /* final replies that may wait for the broker */

struct slot_times {
	uint64_t begun_us, first_token_us, last_token_us;
	uint64_t head_us, encode_us, worker_queue_us, worker_us,
		rtt_us;              /* sums over decode tokens */
	uint32_t n_rtts;             /* answered without a retry */
	uint32_t n_ahead;            /* rows that had run ahead, if not through all layers */
	uint32_t n_drafts, n_right;  /* rows that were sent as drafts, and those that were right */
	uint32_t rtts_us[SLOT_RTTS]; /* ring */
	uint64_t bytes_up, bytes_down;
};

/* What the token of a position was guessed to be. */
struct slot_guessed {
	uint32_t pos, id, length, sure; /* pos 0: nothing */
};

/* Of the newest chunk that was sent. */
struct slot_trip {
	bool clear; /* nothing held it up on its way: worth measuring */
	uint32_t up_bytes;
	uint32_t sends; /* the meter's count behind it */
};

struct slot {
	bool used;
	bool in_process; /* the prompt came through agent_core_prompt */
	bool stream;
	char id[TOPIC_NAME_MAX + 1];
	struct session session;
	struct head_job job;
	bool job_ready;       /* kv, state and bytes exist */
	struct head_job side; /* of a handover */
	bool side_ready;      /* its caches and states exist */
	bool side_leaves;     /* the split has moved: they go with the next event */
	struct agent_move move;
	double side_row_us;           /* of a row in a step of it; 0: not known */
	double side_encode_us;        /* and of encoding one */
	uint64_t moved_us;            /* when the split moved, until the next token */
	uint64_t token_before_us;     /* the token before that */
	bool degraded;                /* the fleet was away while it ran */
	bool split_given;             /* by the prompt: decisions do not change it */
	bool codec_given;             /* by the prompt: decisions do not change it */
	struct pace pace;             /* how it stands with its deadlines */
	struct codec_spec base_codec; /* before the pace made it coarser; predicted or not */
	struct codec_spec next_codec; /* decided while a job was out: from the next job on */
	bool has_next_codec;
	bool predicts;        /* OPEN says the calibration: rows may be predicted, now or later */
	size_t row_bytes;     /* most that a row may take in the log */
	uint32_t kv_context;  /* tokens that kv was made for: the worker may grant fewer later */
	enum kv_type kv_type; /* of the agent's cache, now */
	enum kv_type next_kv; /* decided since; when no split moves it becomes kv_type */
	struct recast_state {
		struct head_job job; /* of the cache that is being filled, or was given up */
		enum kv_type type;
		bool begun; /* it has a cache */
		bool over;  /* which is of no use any more, and ends when no job is out */
		bool out;
		uint32_t len; /* positions that it has */
	} recast;
	enum kv_type worker_kv; /* of the session's beginning: a replay must give the same again */
	bool kv_given;          /* by the prompt: decisions do not change it */
	bool kv_wished;         /* by prompt or decision: the worker shall have worker_kv */
	enum msg_class class;
	struct msg_sampling sampling;
	struct detok detok;
	char *text; /* [text_cap] the answer so far: text_len bytes, and a NUL behind them */
	size_t text_len, text_cap;
	bool text_lost; /* memory ran out: a piece is missing */
	struct slot_times times;
	struct timeline timeline;
	uint32_t learned; /* tokens that the guesses know */
	struct slot_guessed guessed[HEAD_GUESSES]; /* by position modulo HEAD_GUESSES */
	uint64_t arrived_us; /* of the message that is being worked on */
	uint32_t arrived_bytes;
	struct slot_trip trip;
};

/* A prompt that waits for a slot, or for the broker. */
struct waiting {
	struct msg_prompt prompt; /* owns its text */
	bool in_process;
	uint64_t deadline_us;
};

/* A final reply that could not be published while the broker was away. */
struct kept_reply {
	char *topic, *text; /* owned */
};

struct agent_core {
	struct agent_core_conf conf;
	struct agent_ops ops;
	struct bus *bus;
	struct slot *slots;                   /* [conf.max_sessions] */
	struct waiting waiting[CORE_WAITING]; /* oldest first */
	unsigned n_waiting;
	struct kept_reply kept[CORE_KEPT]; /* oldest first */
	unsigned n_kept;
	struct msg_decision decision;
	bool has_decision;
	struct workers workers;
	uint8_t *frame; /* [frame_cap] header and body of one outgoing frame */
	size_t frame_cap;
	struct agent_front front; /* of jobs, where it has their layers; index 0: the first */
	bool up, draining;
	bool held;               /* no session begins (agent_core_hold) */
	bool alone;              /* the fleet is away, and all runs here (offline.h) */
	bool offline_loading;    /* it waits for a front that has all layers */
	bool offline_arrived;    /* ... and the answer to that is there */
	bool offline_tried;      /* of this absence: whether that is possible is known */
	bool away_long;          /* the fleet has been away for conf.offline_after_ms */
	uint64_t away_us;        /* since when the fleet is away; 0: it is not */
	uint64_t offline_due_us; /* 0: never */
	uint64_t settled_us;     /* retained statuses have arrived by then */
	uint32_t ids_made;       /* prompts that came without id */
	uint64_t sessions_done, sessions_failed, tokens, rows, bytes_up, bytes_down, retries;
	double token_ms, rtt_ms; /* of the newest finished session */
	struct meter meter;
	struct probe probe;
	struct hurry hurry;
	struct guess guess;
	struct odds odds;
	double wait_us; /* of late, of a row for its answer; 0: not known */
};

/* Bytes of the largest frame for rows of dim elements, whatever the codec. */
size_t slot_frame_bytes(uint32_t dim);

/* Bytes of the buffer for the rows of a chunk, at most. */
size_t slot_chunk_bytes(size_t row_bytes);

/* Begin w's prompt in a free slot: tokenize, admit, start. Failures are replied. ids NULL: tokenize
 * the text. */
void slot_begin(struct agent_core *c, struct slot *sl, const struct waiting *w, const uint32_t *ids,
		uint32_t n, uint64_t now_us);

/* Absolute time by which m must be answered when it is asked now. */
uint64_t slot_deadline_us(const struct agent_core *c, const struct msg_prompt *m, uint64_t now_us);

/* m will run here alone: split = L. */
bool slot_is_local(const struct agent_core *c, const struct msg_prompt *m);

/* The front of a job through layers [0, last) of sl's session. */
unsigned slot_front(const struct agent_core *c, uint32_t last);

/* Step the slot's session and carry the effects out; frees the slot when it ended. */
void slot_event(struct agent_core *c, struct slot *sl, const struct session_event *ev);

/* The job that is about to start says which tokens may follow its rows. */
void slot_guess(struct agent_core *c, struct slot *sl);

/* A draft was right: what may follow it, and those that are out. */
void slot_guess_more(struct agent_core *c, struct slot *sl);

/* A row of a guessed token has had its layers. */
void slot_drafted(struct agent_core *c, const struct head_draft *d, uint64_t now_us);

/* A job of this slot came back. */
void slot_computed(struct agent_core *c, struct slot *sl, const struct head_job *job,
		   uint64_t now_us);

/* Id of the calibration that rows of the slot may be predicted with; empty: they never are. */
const char *slot_calibration(const struct agent_core *c, const struct slot *sl);

/* How rows of the next job are coded. */
const struct codec_spec *slot_codec(const struct slot *sl);

/* A decision for a session that runs: rows go by this codec from the next chunk on, unless the
 * prompt named one, or the log has no room for it. One that is alone has it when it gets a worker.
 */
void slot_decide(struct agent_core *c, struct slot *sl, const struct codec_spec *spec);

/* Likewise the split, which moves at a token boundary (handover.h), unless the prompt named it. */
void slot_move(struct agent_core *c, struct slot *sl, uint32_t split, uint64_t now_us);

/* The session goes on here, alone, from where it is: its layers [split, L) run again for all ids so
 * far, then it draws the next token itself without waiting for an answer that is out. What cannot
 * be (memory, layers) leaves it as it is; slot.session.handover.way is SESSION_STAYS then. */
void slot_go_alone(struct agent_core *c, struct slot *sl, uint64_t now_us);

/* Likewise the agent's cache is of this type from the next job on; empty: as it is. The worker's
 * stays. */
void slot_decide_kv(struct slot *sl, const char *word);

/* Which caches the session of prompt m begins with; words that came through the bus are known
 * ones. ERR_FORMAT. */
MUST_CHECK int slot_choose_kv(const struct agent_core *c, const struct msg_prompt *m,
			      struct slot *sl, struct err *e);

/* Between two tokens the session goes over to the cache of the type that was decided, if that has
 * all but a few rows. No job of the slot's rows is out. */
void slot_change_kv(struct agent_core *c, struct slot *sl);

/* Have that cache and fill it, a little at a time beside the decoding, unless a split moves, which
 * has views of the one that there is. */
void slot_recast(struct agent_core *c, struct slot *sl, uint64_t now_us);

/* A piece of it is done. Frees the slot where it was the last thing that an ended session waited
 * for. */
void slot_recast_done(struct agent_core *c, struct slot *sl, const struct head_job *job,
		      uint64_t now_us);

/* It is not wanted any more. */
void slot_recast_end(struct agent_core *c, struct slot *sl);

/* A job of the slot is out: what it has must stay. */
bool slot_is_out(const struct slot *sl);

/* Release a slot that ended while its job was out. */
void slot_free(struct agent_core *c, struct slot *sl);

/* A final reply without a session: refused, or failed before it began. */
void slot_refuse(struct agent_core *c, const char *id, bool in_process, int code,
		 const char *reason);

/* Send a reply to where the prompt came from. */
void slot_reply(struct agent_core *c, const char *id, bool in_process, const struct msg_reply *r);

/* Where a session's frames and messages go; worker empty: to any. */
struct topic slot_topic(const struct agent_core *c, const char *worker, uint64_t session);

/* A publish that fails is only noted: the session's due time repeats what mattered. */
void slot_note_failure(const struct slot *sl, int rc);

#define SLOT_DATA_EXPIRY_S 10 /* of what is worthless when late */

/* A control message to a session's worker, or to any worker when `worker` is empty (OPEN only). */
void slot_send_control(struct agent_core *c, const struct msg *m, const char *worker,
		       uint64_t session);

#endif
