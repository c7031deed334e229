/* agent/session.h - one session as the agent sees it: a pure state machine, events in, effects out.
 *
 *            START            ACCEPT                 TOKENS: last one
 *     IDLE ---------> OPENING ---------> OPEN ----------------------------> ENDED
 *       |               ^                 | silence, worker lost, unknown     ^
 *       |               +-----------------+ there: epoch + 1, replay the log  |
 *       +---------> LOCAL (split = L: no worker at all) ----------------------+
 *
 * OPENING and OPEN become LOCAL, and LOCAL becomes OPEN, when the split moves (handover.h).
 *
 * It waits in OPENING (for ACCEPT), in OPEN (for the answer to the last chunk), and in any state
 * for rows from the compute thread; every wait has a due time. Losses, repetitions and reordering
 * of messages are ordinary: an event that makes no sense now is ignored. A token is emitted
 * exactly once, since only an answer for the expected position of the current epoch counts.
 *
 * The session owns its truth: the ids and the replay log (encoded chunks, in order, each with its
 * split). A chunk keeps its seq, in whichever epoch. Only the chunk that ends with the newest token
 * asks for a sample; behind it may be drafts (draft.h). FILL frames that moved the split down are
 * kept apart, have numbers of their own, and go before the chunk that joined them. Sees base and
 * schema only. Loop thread. Source: schema/PROTOCOL.md, "Sessions". */
#ifndef AGENT_SESSION_H
#define AGENT_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "schema/msg.h"

enum session_state {
	SESSION_IDLE,
	SESSION_OPENING,
	SESSION_OPEN,
	SESSION_LOCAL,
	SESSION_ENDED,
	SESSION_NSTATES
};

enum session_finish {
	SESSION_STOP,     /* the model ended its answer */
	SESSION_LENGTH,   /* max_new tokens */
	SESSION_CONTEXT,  /* the context is full */
	SESSION_DEADLINE, /* the next token would not be there in time */
	SESSION_CANCELLED,
	SESSION_ERROR, /* see error, reason */
	SESSION_NFINISHES
};

/* One message worth of consecutive rows, encoded. */
struct session_chunk {
	uint32_t pos, rows;
	uint32_t seq; /* of a FILL frame: first_seq and its index */
	uint8_t codec;
	uint16_t state;     /* hash of what they are predicted from */
	uint16_t split;     /* layers that were run on them */
	size_t offset, len; /* in the log */
};

/* FILL frames, from position 0 on: what layers [split, that of the rows before) were built from. */
struct session_fill {
	uint32_t split;
	uint32_t before;              /* the chunk of the log that joined them */
	uint32_t first_seq;           /* of the first frame */
	uint32_t upto;                /* KV frames of layers [split, upto); 0: rows */
	struct session_chunk *chunks; /* [conf.max_ids]; owned */
	uint32_t n_chunks;
	uint8_t *log; /* [cap]; owned */
	size_t log_len, cap;
};

#define SESSION_FILLS 8u /* of one session; then its split moves down no more */

enum session_way { SESSION_STAYS, SESSION_UP, SESSION_DOWN, SESSION_BACK };

struct session_handover {
	enum session_way way;
	uint32_t from, to; /* splits */
	uint32_t done;     /* positions whose side work is done */
	uint32_t since;    /* UP: positions that had rows when its first piece was done */
	uint32_t acked;    /* DOWN, BACK: those that the worker has */
	uint32_t out;      /* rows of the side effect that is out; 0: none is */
	bool holding;      /* rows wait for the last piece */
	bool values;       /* DOWN: keys and values go, not rows */
	bool accepted;     /* BACK: the worker is there */
	uint32_t opened_at; /* BACK: positions that were computed when it was asked, ... */
	uint32_t trip_rows; /* ... and those that were until it had accepted */
	uint64_t streams_us; /* BACK: since then only kept rows have been missing there, ... */
	uint32_t streamed;  /* ... for so many tokens, ... */
	uint32_t late;      /* ... and those of them when few were */
	/* The driver's, once it has what side_begin asks for: rows of positions from kept_from on
	 * are kept, kept_rows of them, and need not run again for BACK. */
	uint32_t kept_from, kept_rows;
	unsigned tries;    /* of the present wait */
	uint64_t due_us;   /* end of the present wait; UINT64_MAX: not waiting */
	uint64_t begun_us;
	uint64_t bytes;  /* that went for it */
	const char *why; /* it was abandoned */
};

struct session_conf {
	uint64_t id;
	uint32_t split;
	uint32_t n_layers; /* L */
	bool local;        /* split = L: layers, head and sampling here */
	uint32_t
		side_rows; /* most rows of a side effect, <= chunk_rows; the driver may change it */
	uint32_t kept_side_rows; /* of one that takes no time, since they were kept */
	size_t row_bytes;  /* most that a row takes in a log */
	uint32_t chunk_rows;             /* most rows of one prefill chunk */
	uint32_t max_ids;                /* prompt + answer, tokens */
	uint32_t max_new;                /* answer, tokens */
	uint32_t drafts;                 /* most that may be out (draft.h) */
	size_t log_bytes;                /* capacity of the log */
	size_t packet_bytes;             /* of the largest frame that may be sent, topic included */
	char worker[TOPIC_NAME_MAX + 1]; /* asked first; empty: any */
	uint64_t accept_us,
		reply_us;     /* patience for ACCEPT and for an answer (doubles per retry) */
	uint64_t deadline_us; /* absolute: the answer ends then; it fails where there is none */
};

struct session {
	struct session_conf conf;
	enum session_state state;
	uint32_t *ids; /* [conf.max_ids] prompt, then answer, then those of drafts; owned */
	uint32_t n_prompt, n_ids;
	struct session_chunk *chunks; /* [conf.max_ids]; owned */
	uint32_t n_chunks;
	uint8_t *log; /* [conf.log_bytes]; owned */
	size_t log_len;
	uint32_t newest_seq; /* that a chunk was given */
	uint32_t n_drafts;   /* chunks behind the others, one row each, that are out as drafts */
	uint32_t drafts;     /* most that the worker takes */
	uint32_t sampled_from; /* tokens from this position on were sampled in this epoch */
	uint32_t computed;     /* positions whose rows are in the log (LOCAL: in the KV cache) */
	bool computing;        /* a compute effect is out */

	uint32_t epoch;                  /* of the newest OPEN; counts from 1 */
	char worker[TOPIC_NAME_MAX + 1]; /* who accepted; while OPENING: who is asked, or empty */
	uint32_t next_send;              /* first chunk that this epoch has not been sent */
	bool awaiting;                   /* the newest chunk was sent, its answer is due */
	unsigned tries;                  /* of the present wait */
	uint32_t need_len;               /* positions that the newest NEED of the epoch spoke of */
	uint32_t need_fill_len;          /* and those of a fill */
	uint64_t due_us;                 /* end of the present wait; UINT64_MAX: not waiting */
	uint64_t sent_us;                /* when the awaited chunk was sent; 0: more than once */

	uint64_t now_us;   /* of the newest event */
	uint64_t token_us; /* what a token will take (the driver's guess); 0: no idea */
	uint32_t wish; /* split that was decided; it is conf.split where there is nothing to do */
	bool alone;    /* it is L, and no answer will be waited for */
	size_t value_bytes; /* DOWN as keys and values: of one position; 0: as rows */
	struct session_handover handover;
	struct session_fill fills[SESSION_FILLS];
	unsigned n_fills;   /* that were joined; one that is going on lies behind */
	uint32_t fill_no;   /* numbers that were given to fills */
	bool refill;        /* chunks that are sent next are a replay */
	unsigned handovers; /* that came to their end */

	enum session_finish finish;
	int error; /* ERR_*, when finish is SESSION_ERROR */
	char reason[MSG_REASON_MAX];
	uint32_t retries;              /* messages sent again */
	uint64_t last_rtt_us;          /* of the newest answer; 0 when it needed a retry */
	struct msg_tokens last_answer; /* of the newest answer: the worker's share of the time */
};

enum session_event_kind {
	SESSION_EV_START,          /* ids, n_ids of the prompt */
	SESSION_EV_ROWS,           /* the compute effect is done: bytes, len, codec, state */
	SESSION_EV_DRAFT, /* a row of position pos, had the token there been id: and the same */
	SESSION_EV_LOCAL_TOKEN,    /* LOCAL: all rows done, id sampled */
	SESSION_EV_COMPUTE_FAILED, /* code, reason */
	SESSION_EV_ACCEPT,         /* accept */
	SESSION_EV_TOKENS,         /* tokens */
	SESSION_EV_NEED,           /* need */
	SESSION_EV_ERROR,          /* error */
	SESSION_EV_WORKER_LOST,    /* worker */
	SESSION_EV_LINK_UP,        /* connected again */
	SESSION_EV_TICK,
	SESSION_EV_CANCEL,
	SESSION_EV_DECIDE, /* split: move there at a token boundary. alone, to L: the link is gone,
			    * in OPENING or OPEN; LOCAL follows when the layers are there */
	SESSION_EV_SIDE,   /* the side effect is done: but for UP, bytes, len, codec, state */
	SESSION_EV_SIDE_FAILED, /* the side_begin or side effect failed: reason */
	SESSION_EV_COUNT
};

struct session_event {
	enum session_event_kind kind;
	uint64_t now_us;
	const uint32_t *ids;
	uint32_t n_ids;
	const uint8_t *bytes;
	size_t len;
	uint8_t codec;
	uint16_t state;
	uint32_t pos, id;
	bool end; /* LOCAL_TOKEN: id ends the answer */
	int code;
	const char *reason;
	const char *worker;
	uint32_t split;     /* DECIDE */
	size_t value_bytes; /* DECIDE, down: keys and values of a position shall go; 0: rows */
	bool alone;         /* DECIDE, to L: the link is gone; do not wait for the present answer */
	bool listening;     /* WORKER_LOST: it goes away in peace and can still be told */
	const struct msg_accept *accept;
	const struct msg_tokens *tokens;
	const struct msg_need *need;
	const struct msg_error *error;
};

/* What the driver must do now, in this order. */
struct session_effects {
	bool close; /* tell close_worker that (session, close_epoch) is over */
	char close_worker[TOPIC_NAME_MAX + 1];
	uint32_t close_epoch;
	bool open;       /* publish OPEN: to s->worker, or to any when that is empty */
	bool side_end;   /* the handover is over (was abandoned): release what it has */
	bool side_begin; /* have what s->handover needs: caches, codec state of split `to` */
	bool moved; /* the split is s->conf.split now: its caches join, or part; release the rest */
	uint32_t fill, fill_from, fill_to; /* publish frames [from, to) of fills[fill] */
	uint32_t send_from, send_to;       /* publish chunks [from, to) */
	bool draft; /* publish the newest draft, chunk n_chunks + n_drafts - 1 */
	bool refill;                       /* and before each chunk the fill that it joins, ... */
	uint32_t refill_len;               /* ... of the first one only from this position on */
	bool compute;                      /* rows of positions [compute_pos, + compute_rows) */
	uint32_t compute_pos, compute_rows;
	uint32_t compute_kept; /* the first ones of them: they ran before, and were kept */
	bool side; /* run rows [side_pos, + side_rows) again for the handover */
	bool side_first; /* before `compute`: they were kept, nothing runs */
	uint32_t side_pos, side_rows;
	bool token; /* token_id was appended and belongs to the answer's text */
	uint32_t token_id;
	bool right; /* a token was that of a draft, which is the newest row now */
	bool ended; /* read finish, error, reason; no more effects will come */
};

const char *session_state_name(enum session_state state);

/* "stop", "length", "context", "deadline", "cancelled", "error". */
const char *session_finish_name(enum session_finish finish);

/* Allocates ids, chunks and log. Returns 0 or ERR_NOMEM. */
MUST_CHECK int session_init(struct session *s, const struct session_conf *conf);
void session_finish(struct session *s);

/* The one transition function. *fx is overwritten. */
void session_step(struct session *s, const struct session_event *ev, struct session_effects *fx);

/* When the next TICK is due; UINT64_MAX when the session has ended. */
uint64_t session_due_us(const struct session *s);

/* Chunk i asks for a sample: it ends with the newest token, or is a draft. */
bool session_wants_sample(const struct session *s, uint32_t chunk);

/* Lowest split of the log: layers from there on must be had by who replays it. */
uint32_t session_open_split(const struct session *s);

/* It waits for the answer to its first OPEN, which went out when it began. */
bool session_opens(const struct session *s);

/* Bytes of the log that hold chunk i. */
const uint8_t *session_chunk_bytes(const struct session *s, uint32_t chunk);

#endif
