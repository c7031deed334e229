/* worker/lane.h - one session as the worker sees it: a pure state machine, events in, effects out.
 *
 *            OPEN               CLOSE, failure, idle
 *     FREE --------> SERVING -----------------------> FREE (once no job is out)
 *                     ^   |
 *                     +---+  OPEN with a newer epoch: start over at position 0
 *
 * A lane is a cache: it may vanish at any moment and the agent replays. It never runs the same rows
 * twice: a chunk whose seq was taken already is ignored, or answered again with the stored answer.
 * Rows beyond what is known are dropped; if they ask for an answer, NEED says from where to replay.
 * Jobs run in order on the compute thread; results of an older epoch are thrown away.
 *
 * The split may move. Rows at a higher one than the newest rows: the layers between are given up.
 * For a lower one, FILL frames build the layers between beside, in an order of their own; rows at
 * that split join them once they are as long as the rest, and are needed again before. Only one
 * job that moves the split is out at a time. What goes wrong with a fill ends only the fill.
 *
 * Drafts are rows of tokens that the agent guesses while it waits for an answer. One is taken only
 * right behind the chunk that it follows on. Once another token was sampled for its position, it
 * and those behind it have never been: they are cut off here as well, so that nothing can follow on
 * them, and what comes of their jobs is thrown away.
 *
 * Sees base and schema only. Loop thread. Source: schema/PROTOCOL.md, "Sessions". */
#ifndef WORKER_LANE_H
#define WORKER_LANE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "schema/msg.h"
#include "schema/wire.h"

#define LANE_MAX_JOBS 128u /* chunks of one session that may wait for the compute thread */

#define LANE_ANSWERS  8u   /* newest ones, which are given again */

/* Number of the fill that a frame with this seq belongs to. */
#define LANE_FILL_NO(seq) ((seq) >> 16)

enum lane_state { LANE_FREE, LANE_SERVING, LANE_DRAINING, LANE_NSTATES };

/* What this worker can do; the same for all its lanes. */
struct lane_limits {
	char worker[TOPIC_NAME_MAX + 1];
	char model[MSG_HASH_LEN + 1];
	char calibration[MSG_CALIBRATION_LEN + 1]; /* empty: none */
	uint32_t n_layers, first_layer, dim;
	uint32_t kv_elements; /* of a position's layer in KV frames; 0: none are taken */
	uint32_t context_tokens;
	uint32_t max_packet_bytes;
	uint32_t max_rows; /* of one frame */
	uint64_t idle_us;  /* a lane without traffic for that long is given up */
};

struct lane_answer {
	uint32_t seq, pos, id;
	bool end;
	uint32_t queue_us, compute_us;
};

struct lane {
	enum lane_state state;
	char agent[TOPIC_NAME_MAX + 1];
	struct msg_open open;    /* of the present epoch */
	uint32_t context_tokens; /* granted */
	uint32_t planned_len;    /* KV length once all jobs that are out have run */
	uint32_t last_seq;       /* newest chunk that was taken; 0: none */
	struct lane_answer answers[LANE_ANSWERS]; /* ring, at n_answers */
	uint32_t n_answers;                       /* of this epoch */
	struct msg_tokens answer;                 /* to be published */
	uint32_t drafts;   /* the last so many positions of planned_len came as drafts */
	uint32_t void_seq; /* what still comes back of chunks up to this one has never been */
	uint32_t *generated; /* [lim.context_tokens] sampled in this epoch and before; drafts */
	uint32_t n_generated;
	uint32_t generated_pos; /* position of generated[0]; UINT32_MAX: none yet */
	uint32_t jobs;          /* out on the compute thread, those of a fill included */
	uint64_t touched_us;    /* newest traffic */
	uint32_t split;         /* first layer of the cache once all jobs that are out have run */
	uint32_t change_seq;    /* chunk of the job that is out and moves the split; 0: none */
	bool side;              /* there is a cache beside */
	bool filling;           /* it is being filled: */
	uint32_t fill_split;    /* its first layer */
	uint32_t fill_len;      /* its length once all jobs that are out have run */
	uint32_t fill_seq;      /* its newest frame that was taken */
	uint32_t fill_no;       /* its number; frames of older ones are late */
	uint32_t fill_done; /* number of the newest one that was joined in this epoch; 0: none */
	uint32_t fill_jobs; /* of those that are out */
	uint64_t filled_us; /* newest FILL frame */
};

enum lane_event_kind {
	LANE_EV_OPEN,     /* agent, open */
	LANE_EV_ROWS,     /* hdr: ROWS, with or without FILL, or KV; id, of a draft */
	LANE_EV_COMPUTED, /* a job is done: epoch, seq, pos, sampled?, fill, id, end, times */
	LANE_EV_FAILED,   /* a job failed: epoch, seq, fill, code, reason */
	LANE_EV_NO_SIDE,  /* the cache for a fill was refused: seq, code, reason */
	LANE_EV_CLOSE,    /* epoch */
	LANE_EV_EVICT,    /* another session needs the room; only while no job is out */
	LANE_EV_TICK,
	LANE_EV_COUNT
};

struct lane_event {
	enum lane_event_kind kind;
	uint64_t now_us;
	const char *agent;
	const struct msg_open *open;
	const struct wire_hdr *hdr;
	uint32_t epoch, seq, pos, id;
	bool sampled, end;
	bool tell; /* a job that is not sampled: say that it has run */
	bool fill; /* a job of a fill; sampled: it is to be answered */
	uint32_t queue_us, compute_us;
	int code;
	const char *reason;
};

/* What the driver must do now, in this order. */
struct lane_effects {
	bool reset;   /* have a KV cache for open.split, open.kv and context_tokens; if any of them
		      * changed, no job is out */
	bool accept;  /* publish ACCEPT for open.epoch */
	bool side;    /* have a cache beside for layers [fill_split, split), else LANE_EV_NO_SIDE */
	bool run;     /* queue the rows of hdr: truncate the KV to hdr.pos, run, sample if asked */
	bool change;  /* with run: they are at another split than the rows before them */
	bool join;    /* with change: it is a lower one, the cache beside is joined before */
	bool answer;  /* publish lane.answer: before what takes time */
	bool changed; /* the job that moved the split is done, the cache begins at `split` */
	bool side_over; /* the cache beside is no longer used, or has been joined: release it */
	bool need; /* publish NEED: epoch, need_seq, need_len; what is filled, if anything */
	uint32_t need_seq, need_len;
	bool need_fill; /* it says how far a fill is: */
	uint32_t need_fill_split, need_fill_len;
	int error; /* ERR_*: publish ERROR {error_epoch, error_seq, reason} */
	uint32_t error_epoch, error_seq;
	bool error_again; /* it says: only the fill is over */
	char reason[MSG_REASON_MAX];
	bool freed; /* no job is out any more, the lane is FREE: release the KV cache */
};

/* generated is allocated here. Returns 0 or ERR_NOMEM. */
MUST_CHECK int lane_init(struct lane *l, const struct lane_limits *lim);
void lane_finish(struct lane *l);

/* Why this OPEN cannot be served by a worker with these limits: 0, or ERR_* and a reason. */
MUST_CHECK int lane_admit(const struct lane_limits *lim, const struct msg_open *open,
			  char reason[static MSG_REASON_MAX]);

/* The token at position pos, when this lane sampled it, was told it by OPEN, or runs a draft of
 * it. */
bool lane_token_at(const struct lane *l, uint32_t pos, uint32_t *id);

/* The one transition function. *fx is overwritten. */
void lane_step(struct lane *l, const struct lane_limits *lim, const struct lane_event *ev,
	       struct lane_effects *fx);

#endif
