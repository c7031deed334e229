/* schema/msg.h - control messages: one JSON object each, `type` says which.
 *
 * JSON Schemas: schema/json/<type>.schema.json. On the wire unknown keys are ignored, missing or
 * wrong ones are ERR_FORMAT naming type and key. Fixed-size fields hold NUL-terminated strings.
 * Pure; any thread. A parsed message may own memory: msg_finish. */
#ifndef SCHEMA_MSG_H
#define SCHEMA_MSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/kv_type.h"
#include "schema/topic.h"

#define MSG_VERSION 1
#define MSG_HASH_LEN 32	      /* hex digits of a model hash */
#define MSG_CALIBRATION_LEN 16 /* hex digits of a calibration's id */
#define MSG_SPEC_MAX 128      /* codec SPEC string, NUL included */
#define MSG_REASON_MAX 240    /* a sentence, NUL included */
#define MSG_IDS_MAX 256	      /* token ids in one message */
#define MSG_PROMPT_MAX 65536  /* bytes of a prompt: with its escapes it must fit a packet */
#define MSG_FRONT_MAX 32      /* name of a front end's precision, NUL included */
#define MSG_FRONTS_MAX 8      /* precisions of one agent */
#define MSG_BATCHES_MAX 8     /* sizes of step in one message */
#define MSG_REMAINING_MAX 16  /* sessions in one message */
#define MSG_OBJECTIVE_MAX 16  /* a word, NUL included */

enum msg_type {
	MSG_AGENT_STATUS, MSG_WORKER_STATUS, MSG_COORDINATOR_STATUS, MSG_AGENT_PROFILE,
	MSG_AGENT_TELEMETRY, MSG_WORKER_TELEMETRY, MSG_COORDINATOR_LEASE, MSG_DECISION,
	MSG_DECISION_ANSWER, MSG_OPEN, MSG_ACCEPT, MSG_ERROR, MSG_TOKENS, MSG_NEED, MSG_CLOSE,
	MSG_PROMPT, MSG_CANCEL, MSG_REPLY, MSG_TYPE_COUNT
};

/* Life cycle of a daemon as its retained status tells it; LOST is the Last Will. */
enum msg_state { MSG_INIT, MSG_READY, MSG_DRAINING, MSG_OFFLINE, MSG_LOST, MSG_STATE_COUNT };

/* {"v":1,"type":"agent.status","agent":"gw1","state":"ready","boot":"<16 hex>","model":"<hash>",
 *  "model_name":"...","layers":8,"dim":256,"context_tokens":512,"max_sessions":4,
 *  "version":"0.1.0"} */
struct msg_agent_status {
	char agent[TOPIC_NAME_MAX + 1];
	enum msg_state state;
	uint64_t boot; /* unique per start: tells a late Last Will of an earlier life */
	/* The rest may be empty/0 unless state is READY or DRAINING. */
	char model[MSG_HASH_LEN + 1];
	char model_name[TOPIC_NAME_MAX + 1];
	uint32_t n_layers, dim, context_tokens, max_sessions;
	char version[32];
};

/* "worker.status": the same plus the layers it can run, [first_layer, layers). */
struct msg_worker_status {
	char worker[TOPIC_NAME_MAX + 1];
	enum msg_state state;
	uint64_t boot;
	char model[MSG_HASH_LEN + 1];
	char model_name[TOPIC_NAME_MAX + 1];
	uint32_t n_layers, dim, first_layer, context_tokens, max_sessions;
	char calibration[MSG_CALIBRATION_LEN + 1]; /* to predict rows with; empty: none */
	/* What a planner needs to know; 0: not said. */
	uint32_t kv_elements;  /* numbers of one position of one layer: H_kv * (D + D_v) */
	uint32_t threads;
	uint64_t budget_bytes; /* hard limit of weights, buffers and caches together */
	uint64_t weight_bytes; /* booked for weights and buffers now: the rest is for caches */
	uint64_t layer_bytes;  /* weights of one layer, the mean over those it can run */
	uint64_t head_bytes;   /* final norm and output matrix */
	char version[32];
};

/* "coordinator.status". There may be several; one of them is active. */
struct msg_coordinator_status {
	char coordinator[TOPIC_NAME_MAX + 1];
	enum msg_state state;
	uint64_t boot;
	bool active;   /* holds the lease: its decisions count */
	uint64_t term; /* of the lease that it holds, or last saw; 0: none */
	uint32_t agents, workers; /* ready ones on the roster */
	char version[32];
};

/* "coordinator.lease", retained: who decides. An empty payload: given back. */
struct msg_coordinator_lease {
	char coordinator[TOPIC_NAME_MAX + 1];
	uint64_t boot; /* of the holder */
	uint64_t term; /* grows by one per holder */
	uint64_t renewal; /* grows with each message of a life; 0: not said */
	uint32_t lease_ms; /* 1..: it ends so long after the message unless it is renewed */
};

/* One precision of an agent's layers: a file, or a slice of one. */
struct msg_front {
	char name[MSG_FRONT_MAX]; /* "Q4_0"; letters as in a topic name; a decision names it */
	uint32_t layers;	  /* it holds [0, layers) */
	uint64_t embed_bytes;	  /* token embeddings, as stored */
	uint64_t head_bytes;	  /* final norm and output matrix; 0: it has no head */
	uint64_t *layer_bytes;	  /* [layers] weights of each; owned by the message */
};

/* "agent.profile", retained: what does not change while the agent runs. With F one of its fronts,
 * a split of s layers and a KV type of K bytes for kv_elements numbers, it needs
 *   base_bytes + F.embed_bytes + sum of F.layer_bytes[0..s) (+ F.head_bytes when s = n_layers)
 *   + sessions * (session_bytes + context * (token_bytes + s * K))          <= budget_bytes. */
struct msg_agent_profile {
	char agent[TOPIC_NAME_MAX + 1];
	uint64_t boot;
	char model[MSG_HASH_LEN + 1];
	uint32_t n_layers, dim; /* of the model */
	uint32_t kv_elements;	/* numbers of one position of one layer: H_kv * (D + D_v) */
	uint32_t threads, max_sessions, context_tokens;
	uint32_t prefill_rows; /* most rows of a chunk */
	uint64_t budget_bytes; /* hard limit of everything above */
	uint64_t base_bytes;   /* scratch and codec work, whatever the split */
	uint64_t session_bytes; /* of one session, besides what grows with its context */
	uint64_t token_bytes;	/* of one position of a session besides its KV: log, ids */
	struct msg_front fronts[MSG_FRONTS_MAX]; /* [n_fronts] */
	uint32_t n_fronts;			 /* 1..MSG_FRONTS_MAX */
	char front[MSG_FRONT_MAX]; /* of decisions that name none; empty: the first of these */
};

/* How fast an agent computes, with one of its fronts: means of late, without extremes
 * (base/window.h), or of the measurement at its start. A decode token of a session with split s
 * takes, if it has the agent for itself,
 *   embed_ms + s * layer_token_ms + encode_ms                   + the link and the worker, s < L
 *   local_ms + L * local_layer_ms + head_ms                                                s = L
 * and a prompt chunk of n rows s * n * layer_row_ms, and encoding. These times of a layer hold at
 * the positions told beside them; MSG_DEEPER positions later a row takes deeper_*_ms more.
 * 0: not known. */
#define MSG_DEEPER 1000.0

struct msg_speed {
	char front[MSG_FRONT_MAX];
	double layer_token_ms; /* one layer, one decode row */
	double layer_row_ms;   /* one layer, per row of a full chunk of a prompt: a median */
	/* All that a decode token takes beside layers, encoding, head, and its trip (msg_link):
	 * embedding, handing over between threads, looking after the session. */
	double embed_ms;
	/* The same of sessions without a worker, which no trip interrupts: nothing has left the
	 * caches, no thread has gone to sleep. 0: as layer_token_ms, as embed_ms. */
	double local_layer_ms, local_ms;
	double layer_token_at, layer_row_at, local_layer_at; /* positions; a chunk's: its middle */
	double deeper_token_ms, deeper_row_ms; /* of one layer; without a worker in proportion */
	double head_ms;	  /* final norm, head and sampling of one token; until they have run here:
			   * as layers of as many bytes would take */
	double encode_ms; /* encoding one decode row */
};

/* Usual payloads of those messages. */
#define MSG_OPEN_BYTES	 420u
#define MSG_ACCEPT_BYTES 130u

/* The way from an agent to its worker and back, brokers and relays, publishing and reading
 * included: what of a request's round trip is not the worker's queue_us + compute_us. It takes
 *   rtt_ms + 8 * (bytes up / up_kbit_s + bytes down / down_kbit_s)        (kbit/s = bits per ms)
 * Bytes are MQTT payloads. rtt_ms: for an empty one. A rate of 0 is not known; then rtt_ms has what
 * usual messages take. Before the first answer of a worker: the way to the broker and back. */
struct msg_link {
	double rtt_ms, rtt_high_ms;	     /* median, 95 % quantile */
	double up_kbit_s, up_low_kbit_s;     /* median, 5 % quantile */
	double down_kbit_s, down_low_kbit_s; /* likewise */
	double idle_ms;			     /* since the newest sample */
	/* From a prompt to ACCEPT, less the trip of MSG_OPEN_BYTES up and MSG_ACCEPT_BYTES down:
	 * what agent and worker take to begin a session; 0: not known. */
	double open_ms;
	uint32_t samples; /* that the figures stand on; 0: no figures */
};

/* What is left of a session that runs. */
struct msg_remaining {
	char id[TOPIC_NAME_MAX + 1]; /* of its prompt */
	uint32_t tokens;	     /* that it may generate still: the rest of max_tokens */
	uint32_t kv_tokens;	     /* positions in its caches */
	uint32_t split;
	double deadline_ms;	     /* left */
};

/* A worker's step of `rows` rows: decode rows of as many sessions, or those of a prompt. A row
 * waits for its step, then for L - s layers and the rest:
 *   queue + (L - s) * layer_ms + head_ms   = queue_us + compute_us of its answer
 * Medians of steps of rows up to the next size, of late, brought to `rows`; of one row means
 * without extremes. */
struct msg_batch {
	uint32_t rows;	 /* 1, 2, 4, 8, 16, 32, 64, 256: those of which there were steps */
	double layer_ms; /* one layer of the step */
	double head_ms;	 /* if all are decode rows: decoding, final norm, head, sampling */
	double at;	 /* mean position of the rows, to which layer_ms belongs */
	double deeper_ms; /* what a layer takes more for each row, MSG_DEEPER positions later */
};

/* Which of the facts that not every machine tells are there. */
enum {
	MSG_HAS_TEMPERATURE = 1,
	MSG_HAS_THROTTLED = 2,
	MSG_HAS_BATTERY = 4,
	MSG_HAS_ON_BATTERY = 8,
};

/* "agent.telemetry" and "worker.telemetry": counters since start, and now. Owns nothing: it may be
 * copied. */
struct msg_telemetry {
	char name[TOPIC_NAME_MAX + 1]; /* key "agent" or "worker" */
	uint64_t boot, uptime_ms, rss_bytes, mem_available_bytes;
	uint32_t sessions;	       /* open now */
	uint64_t sessions_done, sessions_failed, tokens, rows, bytes_up, bytes_down, retries;
	double token_ms, rtt_ms; /* medians of late; 0 = none yet (rtt_ms: agents only) */
	/* Of workers: */
	double batch_rows, queue_ms; /* means since the last message; 0: nothing ran */
	uint64_t evictions;
	uint64_t kv_bytes, kv_budget_bytes; /* promised to caches, allowed; 0: not known */
	double queue_high_ms; /* 95 % quantile of late */
	double decode_ms; /* a row of a prompt: its decoding; 0: not known */
	uint64_t weight_bytes; /* for weights and buffers, those not needed now too */
	bool draining;
	struct msg_batch batches[MSG_BATCHES_MAX]; /* [n_batches], of late, by rows */
	uint32_t n_batches;
	/* Of agents: */
	uint64_t budget_bytes, used_bytes; /* hard limit, booked now; 0: not known */
	struct msg_speed speeds[MSG_FRONTS_MAX]; /* [n_speeds] */
	uint32_t n_speeds;
	char front[MSG_FRONT_MAX]; /* in use; empty: not said */
	struct msg_link link;
	double begin_ms; /* from a prompt to the first job for it; 0: not known */
	double broker_rtt_ms, broker_rtt_high_ms; /* there and back: median, 95 %; 0: not known */
	unsigned has; /* MSG_HAS_TEMPERATURE ...: others of the next four mean nothing */
	double temperature_c, battery_percent;
	bool throttled, on_battery;
	struct msg_remaining remaining[MSG_REMAINING_MAX]; /* [n_remaining], longest first */
	uint32_t n_remaining;
};

/* What a planner expects of a decision. Bytes up are those of one decode token. */
struct msg_predicted {
	double ttft_ms, token_ms, up_bytes;
	uint64_t edge_bytes, worker_bytes; /* memory */
};

/* "decision": what the coordinator wants of one agent. Empty/0 optional fields are left out. */
struct msg_decision {
	char agent[TOPIC_NAME_MAX + 1];
	uint64_t number;		/* grows by one per change of the choice */
	char worker[TOPIC_NAME_MAX + 1]; /* optional: else the agent asks all workers */
	uint32_t split;
	char codec[MSG_SPEC_MAX]; /* optional: else the agent's own */
	char stay_codec[MSG_SPEC_MAX]; /* optional: sessions that run at another split keep it, and
					* have such rows; else they move */
	char kv[KV_TYPE_MAX];	 /* optional: else agent and worker each their own */
	uint32_t context_tokens; /* optional, 0: the agent's own */
	char front[MSG_FRONT_MAX]; /* optional: else the usual one of the agent's profile */
	char coordinator[TOPIC_NAME_MAX + 1]; /* optional: who decided */
	uint64_t term;			      /* of its lease; 0: it has none */
	char objective[MSG_OBJECTIVE_MAX];    /* optional: latency, worker, bytes, context */
	bool has_predicted;
	struct msg_predicted predicted;
	char reason[MSG_REASON_MAX];
};

/* "decision.answer", retained: what an agent says to its newest decision. */
struct msg_decision_answer {
	char agent[TOPIC_NAME_MAX + 1];
	uint64_t number; /* of the decision */
	bool taken;
	int code; /* ERR_*; its err_name on the wire; 0 when taken */
	char reason[MSG_REASON_MAX];
	uint64_t missing_bytes;	 /* 0: memory was not the matter */
	uint32_t context_tokens; /* longest context that fits with the rest of it; 0: not known */
};

/* How urgent a session is: a worker lets bulk ones wait for interactive ones. */
enum msg_class { MSG_CLASS_NONE /* not said */, MSG_INTERACTIVE, MSG_BULK, MSG_CLASS_COUNT };

#define MSG_CLASS_WORDS "interactive|bulk" /* all of them, for tables of keys and for --help */

/* Which keys of a sampling were given. */
enum {
	MSG_TEMPERATURE = 1,
	MSG_TOP_K = 2,
	MSG_TOP_P = 4,
	MSG_MIN_P = 8,
	MSG_REPEAT_PENALTY = 16,
	MSG_REPEAT_LAST = 32,
	MSG_SEED = 64,
	MSG_SAMPLING_ALL = 127,
};

struct msg_sampling {
	double temperature, top_p, min_p, repeat_penalty;
	uint32_t top_k, repeat_last; /* repeat_last <= MSG_IDS_MAX */
	uint64_t seed;		     /* below 2^53, so that any JSON reader keeps it */
};

/* "open": agent -> worker. history: the last generated tokens (only when a penalty needs them). */
struct msg_open {
	uint64_t session;
	uint32_t epoch;
	char agent[TOPIC_NAME_MAX + 1];
	char model[MSG_HASH_LEN + 1];
	uint32_t dim, split, context_tokens;
	char codec[MSG_SPEC_MAX]; /* what the agent will send first; every frame says its own */
	char kv[KV_TYPE_MAX];	  /* of the worker's cache; empty: the worker's own */
	enum msg_class class;	  /* not said: interactive */
	char calibration[MSG_CALIBRATION_LEN + 1]; /* that rows are predicted with; or empty */
	struct msg_sampling sampling;
	uint32_t history[MSG_IDS_MAX];
	uint32_t n_history;
};

/* "accept": worker -> agent. */
struct msg_accept {
	uint64_t session;
	uint32_t epoch;
	char worker[TOPIC_NAME_MAX + 1];
	uint32_t context_tokens;   /* what the worker reserved: min(asked, its own limit) */
	uint32_t max_packet_bytes; /* largest MQTT packet that it will get */
	uint32_t drafts;	   /* most that may be out; 0: none */
};

/* "error": ends the session's epoch unless `again` says that the same request may be repeated. */
struct msg_error {
	uint64_t session;
	uint32_t epoch, seq;
	int code; /* ERR_*; its err_name on the wire */
	bool again;
	char reason[MSG_REASON_MAX];
};

/* "tokens": answer to ROWS seq. ids[0] stands at position pos. */
struct msg_tokens {
	uint64_t session;
	uint32_t epoch, seq, pos;
	uint32_t ids[MSG_IDS_MAX];
	uint32_t n_ids; /* >= 1 */
	bool end; /* the last id ends the answer (EOS), as the worker's vocabulary says */
	uint32_t queue_us, compute_us; /* the worker's share of the round trip */
};

/* "need": the worker holds kv_len positions; replay from there. Where layers from fill_split on are
 * being filled beside (has_fill): fill_len positions of them, FILL frames up to fill_seq. seq 0:
 * the answer to FILL frame fill_seq; without has_fill, to ROWS with TELL: they have run. */
struct msg_need {
	uint64_t session;
	uint32_t epoch, seq, kv_len;
	bool has_fill;
	uint32_t fill_split, fill_seq, fill_len;
};

/* "close": agent -> worker. */
struct msg_close {
	uint64_t session;
	uint32_t epoch;
	char reason[MSG_REASON_MAX];
};

/* "prompt": anyone -> agent/<a>/prompt. Only `prompt` is required; an id is made up when missing.
 * {"prompt":"turn on the pump","id":"1","max_tokens":64,"temperature":0,"seed":1,"stream":true} */
struct msg_prompt {
	char id[TOPIC_NAME_MAX + 1];
	char *prompt; /* owned by the message; not empty, UTF-8, may have NUL characters */
	size_t prompt_len;
	bool raw;		/* do not apply the model's chat template */
	bool stream;		/* a reply per piece of text, then the final one; default false */
	uint32_t max_tokens;	/* 0: the agent's default */
	struct msg_sampling sampling;
	unsigned given;		/* MSG_TEMPERATURE ...: other members of sampling mean nothing */
	uint32_t deadline_ms;	/* of the whole answer; 0: the agent's default */
	double ttft_ms;		/* wanted until the first token; 0: the agent's default */
	double tpot_ms;		/* wanted per further token; likewise */
	bool has_split;
	uint32_t split;		/* overrides the decision */
	char codec[MSG_SPEC_MAX]; /* likewise; empty: as decided */
	char kv[KV_TYPE_MAX];	  /* likewise */
	enum msg_class class;	  /* not said: the agent's default */
};

/* "cancel": on the same topic: {"type":"cancel","id":"1"} */
struct msg_cancel {
	char id[TOPIC_NAME_MAX + 1];
};

struct msg_stats {
	uint32_t prompt_tokens, tokens, split;
	uint64_t bytes_up, bytes_down; /* payload bytes */
	uint32_t retries, epochs;
	double ttft_ms, total_ms, tok_s;
	double rtt_ms;			      /* median round trip of decode requests */
	/* Mean per decode token: where its time went. */
	double head_ms, encode_ms, worker_queue_ms, worker_ms, wire_ms, other_ms;
	double predicted_token_ms; /* of the decision that it began with; 0: none was made */
	uint32_t handovers;   /* changes of its split */
	uint32_t levels_down; /* coarser codecs taken to meet the deadline */
	uint32_t ahead;	      /* rows whose layers ran here before their token was known */
	uint32_t drafts;      /* rows that were sent before, ... */
	uint32_t drafts_right; /* ... and those of them whose token it was: part of ahead, too */
	char front[MSG_FRONT_MAX]; /* of the agent's layers; empty: not said */
	char codec[MSG_SPEC_MAX];
	char kv[KV_TYPE_MAX]; /* of the agent's cache */
	char worker[TOPIC_NAME_MAX + 1];
};

/* "reply": agent -> agent/<a>/reply/<id>. Pieces: {"id","text","done":false}; the last one has the
 * whole text, done true, finish_reason "stop" | "length" | "context" | "deadline" | "cancelled" |
 * "error", stats, error. */
struct msg_reply {
	char id[TOPIC_NAME_MAX + 1];
	char *text; /* owned by the message; UTF-8, NUL-terminated, may have NUL inside */
	size_t text_len;
	bool done;
	char finish_reason[16]; /* when done */
	int error;		/* ERR_* or 0; when done */
	char reason[MSG_REASON_MAX];
	bool degraded;		/* when done: the fleet was away, the answer is of what was left */
	struct msg_stats stats; /* when done */
	uint32_t *ids;		/* owned; all generated, the one that ended the answer too */
	uint32_t n_ids;
};

struct msg {
	enum msg_type type;
	union {
		struct msg_agent_status agent_status;
		struct msg_worker_status worker_status;
		struct msg_coordinator_status coordinator_status;
		struct msg_coordinator_lease coordinator_lease;
		struct msg_agent_profile agent_profile;
		struct msg_telemetry telemetry; /* both kinds */
		struct msg_decision decision;
		struct msg_decision_answer decision_answer;
		struct msg_open open;
		struct msg_accept accept;
		struct msg_error error;
		struct msg_tokens tokens;
		struct msg_need need;
		struct msg_close close;
		struct msg_prompt prompt;
		struct msg_cancel cancel;
		struct msg_reply reply;
	} u;
};

/* "agent.status", "open", ... */
const char *msg_type_name(enum msg_type type);
const char *msg_state_name(enum msg_state state);
const char *msg_class_name(enum msg_class class); /* empty for MSG_CLASS_NONE */
/* ERR_FORMAT for another word; empty is MSG_CLASS_NONE. */
MUST_CHECK int msg_class_parse(enum msg_class *class, const char *word);

/* The defaults of a sampling object (greedy). */
struct msg_sampling msg_sampling_defaults(void);

/* One JSON object of len bytes -> *m. `want` is the type to assume when the object has no `type`
 * (so that a person may publish {"prompt":"..."}), or MSG_TYPE_COUNT for none.
 * ERR_FORMAT, ERR_VERSION ("v" present and not 1), ERR_NOMEM; *m needs msg_finish only on 0. */
MUST_CHECK int msg_parse(struct msg *m, const char *src, size_t len, enum msg_type want,
			 struct err *e);

/* Whom to tell that msg_parse refused a message: what can be read of it all the same. */
struct msg_peek {
	char id[TOPIC_NAME_MAX + 1]; /* of a prompt; empty: none */
	uint64_t session;	     /* 0: none */
	uint32_t epoch, seq;
};

/* False when there is neither an id nor a session (then nobody can be told). */
bool msg_peek(struct msg_peek *p, const char *src, size_t len);

/* One line of JSON, malloc'ed, NUL-terminated; the caller frees. ERR_NOMEM. */
MUST_CHECK int msg_print(const struct msg *m, char **out, size_t *len);

/* Free what a message owns; NULL and zeroed are fine. */
void msg_finish(struct msg *m);

#endif
