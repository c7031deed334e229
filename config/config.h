/* config/config.h - what an operator writes in YAML, checked.
 *
 * One table of keys per program: type, limits, default, in config/<program>_conf.c. Unknown keys,
 * duplicate keys, wrong types and values outside their limits are errors naming file, line and
 * key. Sections are flattened: `broker:` / `  host: x` is the key broker.host. Every key except
 * agents.* and fronts.* can be overridden by an environment variable: SPLITMQ_BROKER_HOST for
 * broker.host.
 * Relative paths in the file are relative to the file's directory, those of the environment to the
 * working directory. Where a number may be left to the program, the word is "auto". Const after
 * loading; any thread. */
#ifndef CONFIG_CONFIG_H
#define CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

#define CONFIG_NAME_MAX   65
#define CONFIG_TEXT_MAX   256
#define CONFIG_PATH_MAX   4096
#define CONFIG_MAX_FRONTS 7  /* of an agent, besides its model */
#define CONFIG_MAX_AGENTS 64 /* per-agent overrides of a coordinator */

struct config_broker {
	char host[CONFIG_TEXT_MAX];     /* broker.host, default 127.0.0.1 */
	uint32_t port;                  /* broker.port, 1..65535, default 1883; 8883 with ca_file */
	char username[CONFIG_TEXT_MAX]; /* broker.username, default none */
	char password[CONFIG_TEXT_MAX]; /* broker.password, default none; masked when printed */
	/* broker.password_file: its first line is put into password by config_load_*() */
	char password_file[CONFIG_PATH_MAX];
	char ca_file[CONFIG_PATH_MAX];   /* broker.ca_file: switches TLS on */
	char cert_file[CONFIG_PATH_MAX]; /* broker.cert_file, with key_file */
	char key_file[CONFIG_PATH_MAX];
	uint32_t keepalive_s;      /* broker.keepalive_s, 2..3600, default 5 */
	uint32_t max_packet_bytes; /* broker.max_packet_bytes, 4096..268435456, default 131072 */
	uint32_t qos;              /* broker.qos of rows and tokens, 0..1, default 0 */
};

struct config_sampling {
	double temperature, top_p, min_p, repeat_penalty; /* defaults 0, 1, 0, 1 */
	uint32_t top_k, repeat_last;                      /* 0, 64 (<= 256) */
};

/* Another precision of the front layers. */
struct config_front {
	char front[CONFIG_NAME_MAX];
	char model[CONFIG_PATH_MAX]; /* fronts.<name>.model: GGUF file */
};

struct config_agent {
	char fleet[CONFIG_NAME_MAX]; /* fleet, default "default" */
	char agent[CONFIG_NAME_MAX]; /* agent: id, required */
	struct config_broker broker;
	char model[CONFIG_PATH_MAX]; /* model: GGUF file, required */
	uint32_t split; /* split: when no decision is there, default UINT32_MAX = a quarter */
	char codec[CONFIG_TEXT_MAX];       /* codec: likewise, default tabq */
	uint32_t threads;                  /* threads, 1..64, default: number of processors */
	char pin_threads[4];               /* pin_threads: no | yes, default no */
	uint32_t spin_us;                  /* spin_us, 0 (never)..10000, default 1000 */
	char run_ahead[4];                 /* run_ahead: no | yes, default yes */
	uint32_t drafts;                   /* drafts, 0 (none)..4, default 4 */
	uint32_t context_tokens;           /* context_tokens, 16..1048576, default 512 */
	char kv[8];                        /* kv: f16 | f32 | q8_0 | q4_0, default f16 */
	char class[16];                    /* class: interactive | bulk, default interactive */
	char calibration[CONFIG_PATH_MAX]; /* calibration: default MODEL.cal, if it is there */
	uint32_t max_sessions;             /* max_sessions, 1..64, default 4 */
	uint64_t memory_budget_bytes;  /* memory_budget: "512MiB"; 0 = what the machine has free */
	uint64_t memory_reserve_bytes; /* memory_reserve of what is free, default 64MiB */
	uint32_t max_tokens;           /* max_tokens per answer by default, default 256 */
	struct config_sampling sampling;
	uint32_t accept_timeout_ms; /* timeouts.accept_ms, 50..60000, default 1000 */
	uint32_t reply_timeout_ms;  /* timeouts.reply_ms, 50..600000, default 2000 (then doubles) */
	uint32_t session_deadline_ms; /* timeouts.session_ms, 1000..86400000, default 120000 */
	uint32_t deadline_ttft_ms, deadline_tpot_ms; /* deadline.*, 0 (none)..86400000, default 0 */
	uint32_t offline_after_ms; /* offline_after_ms, 0 (never)..86400000, default 10000 */
	char front_fallback[4];    /* front_fallback: no | yes, default yes */
	struct config_front fronts[CONFIG_MAX_FRONTS];
	uint32_t n_fronts;
	uint32_t release_after_ms; /* release_after_ms, 0 (never)..86400000, default 60000 */
	double deadline_max_delta; /* deadline.max_delta, 0 (never coarser)..0.5, default 0.02 */
	uint32_t telemetry_s;      /* telemetry_s, 0 (off)..3600, default 10 */
	char metered[4];           /* metered: no | yes, default no */
	char log[8];               /* log: error|warn|info|debug, default info */
};

struct config_worker {
	char fleet[CONFIG_NAME_MAX];
	char worker[CONFIG_NAME_MAX]; /* worker: id, required */
	struct config_broker broker;
	char model[CONFIG_PATH_MAX];
	uint32_t first_layer; /* first_layer, default 0: it can serve any split >= this */
	uint32_t threads;
	char pin_threads[4];               /* pin_threads, likewise */
	uint32_t spin_us;                  /* likewise */
	uint32_t context_tokens;           /* most tokens of one session, default 512 */
	char kv[8];                        /* kv, likewise */
	char calibration[CONFIG_PATH_MAX]; /* calibration: default MODEL.cal, if it is there */
	uint32_t max_sessions;             /* default 16 */
	uint64_t memory_budget_bytes, memory_reserve_bytes; /* likewise */
	uint32_t interactive_ms, bulk_ms; /* batch.*: from a chunk's arrival to its deadline */
	uint32_t prompt_share;     /* batch.prompt_share, percent of a token's time; default 15 */
	uint32_t drafts;           /* batch.drafts of a session, 0..4, default 4 */
	uint32_t session_evict_ms; /* timeouts.evict_ms, 100..86400000, default 5000 */
	uint32_t session_idle_ms;  /* timeouts.idle_ms, 1000..86400000, default 60000 */
	uint32_t release_after_ms; /* likewise */
	uint32_t telemetry_s;
	char log[8];
};

/* What an agent shall do and keep; UINT32_MAX / empty / NaN = not said: the planner is free, or
 * an override leaves it to the defaults. */
struct config_policy {
	char agent[CONFIG_NAME_MAX]; /* of an override; empty for the defaults */
	uint32_t split;              /* policy.split, agents.<a>.split */
	char codec[CONFIG_TEXT_MAX];
	char kv[8]; /* one of the agents' words; "auto" is not said, too */
	char worker[CONFIG_NAME_MAX];
	uint32_t context_tokens;
	char objective[8]; /* policy.objective: latency, worker, bytes, context; none: no planning;
			     * auto (not said): latency */
	uint32_t ttft_ms;  /* limits.ttft_ms, agents.<a>.ttft_ms: 1..3600000; not said: no limit */
	uint32_t token_ms; /* limits.token_ms, likewise */
	double loss;       /* limits.loss, 0..1000: highest rise of perplexity, as a share of it;
			     * not said: 0.02 with a calibration, no limit without */
};

/* What a plan is made for. */
struct config_expect {
	uint32_t prompt_tokens, answer_tokens; /* expect.*: of a session, 1..1048576, default 64 */
	uint32_t sessions; /* expect.sessions of an agent at a time, 1..64, default 1 */
	double epsilon;    /* expect.epsilon: share of time in which the link may be worse than
			    * planned with, 0.001..0.5, default 0.05 */
	double tolerance;  /* expect.tolerance: what finer rows may cost, as a share; 0..1, 0.02 */
	double min_gain;   /* expect.min_gain: of a change, as a share; 0..1, default 0.05 */
};

struct config_coordinator {
	char fleet[CONFIG_NAME_MAX];
	char coordinator[CONFIG_NAME_MAX]; /* id, default "coordinator" */
	uint32_t lease_ms; /* lease_ms, 500..600000, default 5000: until a standby takes over */
	struct config_broker broker;
	struct config_policy policy; /* policy.*: for every agent that has no override */
	struct config_policy agents[CONFIG_MAX_AGENTS];
	uint32_t n_agents;
	struct config_expect expect;
	char calibration[CONFIG_PATH_MAX]; /* calibration: of the fleet's model; default none */
	char log[8];
};

/* Read path, then the environment. ERR_IO, ERR_CONFIG with "path:line: key: what is wrong". */
MUST_CHECK int config_load_agent(struct config_agent *c, const char *path, struct err *e);
MUST_CHECK int config_load_worker(struct config_worker *c, const char *path, struct err *e);
MUST_CHECK int config_load_coordinator(struct config_coordinator *c, const char *path,
				       struct err *e);

/* The same from memory, without environment and without reading password_file (tests, fuzzing);
 * `name` stands in messages and gives the directory of relative paths. *c is written only on 0. */
MUST_CHECK int config_parse_agent(struct config_agent *c, const char *name, const char *text,
				  size_t len, struct err *e);
MUST_CHECK int config_parse_worker(struct config_worker *c, const char *name, const char *text,
				   size_t len, struct err *e);
MUST_CHECK int config_parse_coordinator(struct config_coordinator *c, const char *name,
					const char *text, size_t len, struct err *e);

/* One line on out for each SPLITMQ_* variable that is no key of any program but looks like one.
 * Returns how many. For whoever has read a configuration. */
unsigned config_warn_environment(FILE *out);

/* The effective configuration as YAML, secrets masked. */
void config_print_agent(const struct config_agent *c, FILE *out);
void config_print_worker(const struct config_worker *c, FILE *out);
void config_print_coordinator(const struct config_coordinator *c, FILE *out);

#endif
