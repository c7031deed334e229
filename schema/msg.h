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

enum msg_type {
	MSG_AGENT_STATUS, MSG_WORKER_STATUS, MSG_COORDINATOR_STATUS, MSG_AGENT_TELEMETRY,
	MSG_WORKER_TELEMETRY, MSG_DECISION, MSG_OPEN, MSG_ACCEPT, MSG_ERROR, MSG_TOKENS, MSG_NEED,
	MSG_CLOSE, MSG_PROMPT, MSG_CANCEL, MSG_REPLY, MSG_TYPE_COUNT
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
	char version[32];
};

/* "coordinator.status" */
struct msg_coordinator_status {
	enum msg_state state;
	uint64_t boot;
	uint32_t agents, workers; /* ready ones on the roster */
	char version[32];
};

/* "agent.telemetry" and "worker.telemetry": counters since start, and now. */
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
};

/* "decision": what the coordinator wants of one agent. Empty/0 optional fields are left out. */
struct msg_decision {
	char agent[TOPIC_NAME_MAX + 1];
	uint64_t number;		/* grows by one per change */
	char worker[TOPIC_NAME_MAX + 1]; /* optional: else the agent asks all workers */
	uint32_t split;
	char codec[MSG_SPEC_MAX]; /* optional: else the agent's own */
	char kv[KV_TYPE_MAX];	 /* optional: else agent and worker each their own */
	uint32_t context_tokens; /* optional, 0: the agent's own */
	char reason[MSG_REASON_MAX];
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

/* "need": the worker holds kv_len positions; replay from there. */
struct msg_need {
	uint64_t session;
	uint32_t epoch, seq, kv_len;
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
	char *prompt; /* owned by the message; not empty, UTF-8 without NUL */
	size_t prompt_len;
	bool raw;		/* do not apply the model's chat template */
	bool stream;		/* a reply per piece of text, then the final one; default false */
	uint32_t max_tokens;	/* 0: the agent's default */
	struct msg_sampling sampling;
	unsigned given;		/* MSG_TEMPERATURE ...: other members of sampling mean nothing */
	uint32_t deadline_ms;	/* 0: the agent's default */
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
	char codec[MSG_SPEC_MAX];
	char kv[KV_TYPE_MAX]; /* of the agent's cache */
	char worker[TOPIC_NAME_MAX + 1];
};

/* "reply": agent -> agent/<a>/reply/<id>. Pieces: {"id","text","done":false}; the last one has the
 * whole text, done true, finish_reason "stop" | "length" | "context" | "deadline" | "cancelled" |
 * "error", stats, error. */
struct msg_reply {
	char id[TOPIC_NAME_MAX + 1];
	char *text; /* owned by the message; UTF-8, NUL-terminated */
	bool done;
	char finish_reason[16]; /* when done */
	int error;		/* ERR_* or 0; when done */
	char reason[MSG_REASON_MAX];
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
		struct msg_telemetry telemetry; /* both kinds */
		struct msg_decision decision;
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
