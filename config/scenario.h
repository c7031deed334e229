/* config/scenario.h - a fleet to be simulated, as a YAML file says it, checked.
 *
 * The same rules as config/config.h, but for the environment: a simulation depends on its file (and
 * the seed in it) alone. Values of `struct draw` are drawn per agent, worker or session, with the
 * units in their names. Const after loading; any thread. */
#ifndef CONFIG_SCENARIO_H
#define CONFIG_SCENARIO_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "config/draw.h"

#define SCENARIO_AGENTS_MAX  20000
#define SCENARIO_WORKERS_MAX 256
#define SCENARIO_DURATION_MAX 604800 /* s */
#define SCENARIO_FRONTS_MAX  8
#define SCENARIO_FRONT_MAX   32

/* One precision of the front end's weights: "Q4_0:4.5" is its name and its bits per number. */
struct scenario_front {
	char name[SCENARIO_FRONT_MAX];
	double bits;
};

struct scenario_model {
	uint32_t layers, dim;  /* model.layers, 2..256; model.dim */
	uint32_t kv_elements;  /* model.kv_elements: numbers of one position of one layer */
	uint32_t context_tokens;
	double layer_numbers;  /* model.layer_numbers: weights of one layer */
	double vocab;          /* model.vocab: rows of the embedding and of the head */
	char fronts_text[256]; /* model.fronts: "Q8_0:8.5 Q4_0:4.5" */
	struct scenario_front fronts[SCENARIO_FRONTS_MAX];
	uint32_t n_fronts;  /* 1..SCENARIO_FRONTS_MAX */
	double worker_bits; /* model.worker_bits: of the workers' weights */
};

struct scenario_agent {
	struct draw memory_mib; /* budget */
	struct draw threads, sessions;
	struct draw layer_ms;   /* one layer, one decode row, at the first front */
	struct draw row_share;  /* a row of a prompt costs so much of it */
	struct draw head_share; /* the head costs so much of what layers of as many weights do */
	struct draw embed_ms, encode_ms;
	double jitter;              /* deviation of the logarithm of each time */
	double throttles_per_hour;  /* too hot: everything takes throttle_factor times as long */
	struct draw throttle_s, throttle_factor;
};

struct scenario_link {
	struct draw up_kbit_s, down_kbit_s, rtt_ms;
	double jitter;         /* deviation of the logarithm of each message's delay */
	double walk;           /* deviation of the logarithm of both rates per minute */
	double steps_per_hour; /* rates are step_factor of themselves for step_s */
	struct draw step_factor, step_s;
	double outages_per_hour; /* nothing gets through */
	struct draw outage_s;
};

struct scenario_worker {
	struct draw memory_mib, sessions;
	struct draw layer_ms; /* one layer of a step of one row */
	struct draw row_ms;   /* each further row of the step adds, per layer */
	struct draw head_ms;  /* per step */
	double drains_per_hour, fails_per_hour; /* of each worker */
	struct draw drain_s, fail_s;            /* until it is back */
};

struct scenario_session {
	double per_hour; /* of each agent */
	struct draw prompt_tokens, answer_tokens;
};

struct scenario {
	uint32_t seed;
	uint32_t agents, workers; /* 1.., 0.. */
	uint32_t duration_s;
	uint32_t telemetry_s;
	struct scenario_model model;
	struct scenario_agent agent;
	struct scenario_link link;
	struct scenario_worker worker;
	struct scenario_session session;
};

/* ERR_IO, ERR_CONFIG with "path:line: key: what is wrong". */
MUST_CHECK int scenario_load(struct scenario *s, const char *path, struct err *e);

/* The same from memory; `name` stands in messages. *s is written only on 0. */
MUST_CHECK int scenario_parse(struct scenario *s, const char *name, const char *text, size_t len,
			      struct err *e);

/* As scenario_parse understands it. */
void scenario_print(const struct scenario *s, FILE *out);

#endif
