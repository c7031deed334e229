/* coordinator/plan.h - the best split, precisions and context of one agent with one worker.
 *
 * Facts in, a choice out: every combination of split 0..L, front end, KV type, codec level and
 * context is tried, so the result is the best there is, and for each split the limit that ruled it
 * out is known. l = 0 (all at the worker) and l = L (all at the agent) are ordinary.
 * docs/planning.md says how each figure is computed, coordinator/facts.h where facts come from.
 *
 * Pure and deterministic; no allocation, no clock; any thread. Time 40 layers: well under 1 ms.
 * Sizes are bytes, times ms, rates kbit/s (8000 bit/s = 1 byte per ms); a float or double that is
 * NaN, and a measured figure that is 0, is not known. Sources: arXiv 2511.04002 (the problem). */
#ifndef COORDINATOR_PLAN_H
#define COORDINATOR_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/kv_type.h"

#define PLAN_MAX_LAYERS   512
#define PLAN_MAX_FRONTS   8
#define PLAN_MAX_LEVELS   8
#define PLAN_MAX_CONTEXTS 8
#define PLAN_MAX_BATCHES  8
#define PLAN_MAX_SESSIONS 16
#define PLAN_NAME_MAX     32
#define PLAN_SPEC_MAX     128

/* ---- facts. What many agents have in common is behind pointers; all are only read. ---- */

/* A precision in which the agent has layers [0, n_layers). */
struct plan_front {
	char name[PLAN_NAME_MAX]; /* "Q4_0"; a decision names it */
	uint32_t n_layers;
	uint64_t embed_bytes, head_bytes; /* head 0: it cannot end at L */
	const uint64_t *weight_bytes;     /* [n_layers + 1] of layers [0, l) */
};

/* A way to code rows. What it costs and loses is in plan_accuracy. */
struct plan_level {
	char spec[PLAN_SPEC_MAX]; /* "f32", "tabq:delta=0.02,..." */
	uint32_t chunk_rows;      /* of a full prefill chunk */
};

/* Of one model. Index [(f * KV_TYPE_COUNT + kv) * n_levels + level][split] or [level][split]. */
struct plan_accuracy {
	uint32_t n_layers, n_levels; /* n_levels >= 1 */
	struct plan_level levels[PLAN_MAX_LEVELS];
	uint32_t n_fronts;                   /* as many as the agent has, in its order */
	const float *row_bits, *prompt_bits; /* [n_levels][L + 1] per element: decode, prefill */
	const float *loss;                   /* [n_fronts][KV types][n_levels][L + 1] */
	const uint32_t *codec_bytes;         /* [L + 1] of predictors in memory; NULL: none */
};

/* A time of a layer, for one row, holds at a position: later ones have more to attend to. */
struct plan_depth {
	double at;        /* position */
	double deeper_ms; /* what one position more takes of one row; 0: not known */
};

/* Of one front end of one agent. layer_token_ms 0: its speed is not known. */
struct plan_speed {
	double layer_token_ms; /* one layer, one row */
	double layer_row_ms;   /* one layer, per row of a full prefill chunk; 0: as a token's */
	double embed_ms;       /* per token: embedding and hand-overs between threads */
	double local_layer_ms, local_ms; /* layer_token_ms and embed_ms when all layers are here */
	double head_ms;                  /* norm, head and sampling of one token; 0: not known */
	double encode_ms;                /* a row */
	struct plan_depth token_depth, row_depth, local_depth; /* of the layers' times above */
};

struct plan_agent {
	uint32_t n_layers, dim;
	uint32_t n_fronts; /* 1..PLAN_MAX_FRONTS */
	const struct plan_front *fronts;
	uint32_t usual_front; /* of decisions that name none */
	struct plan_speed speeds[PLAN_MAX_FRONTS];
	double begin_ms;                  /* from a prompt to the first job for it */
	uint64_t kv_bytes[KV_TYPE_COUNT]; /* one position of one layer */
	uint64_t budget_bytes;            /* 0: nothing may be used */
	uint64_t base_bytes;              /* whatever the split: scratch, work of the codec */
	uint64_t session_bytes;           /* of a session besides its KV cache */
	uint64_t token_bytes;             /* of a position besides its KV cache: the log (l < L) */
	uint32_t context_tokens;          /* longest it serves */
};

/* A step of so many decode rows (or of a prefill chunk). */
struct plan_batch {
	uint32_t rows;
	double layer_ms, head_ms; /* of one layer, of the head, for the whole step */
	struct plan_depth depth;  /* of layer_ms */
};

struct plan_worker {
	bool present; /* ready and of the same model; else only l = L is possible */
	uint32_t first_layer;
	uint64_t kv_bytes[KV_TYPE_COUNT];
	uint64_t budget_bytes, used_bytes; /* used: without this agent's sessions */
	uint32_t context_tokens;
	uint32_t n_batches;                          /* 0: speeds not known */
	struct plan_batch batches[PLAN_MAX_BATCHES]; /* by rising rows */
	double batch_rows; /* rows of a step with this agent among them, >= 1 */
	double queue_ms;   /* before a step */
	double decode_ms;  /* a row of a prompt, besides layers; 0: not known */
};

/* The quantiles to plan with are chosen already. */
struct plan_link {
	double rtt_ms;                  /* empty payload there and back; 0: not known */
	double up_kbit_s, down_kbit_s;  /* 0: not known to be limited */
	uint32_t up_payload, up_packet; /* bytes of a message of rows besides the rows, and ... */
	uint32_t down_payload, down_packet; /* ... of an answer; around either on the wire */
	uint32_t open_bytes, accept_bytes;  /* of the messages that begin a session, on the wire */
	double open_ms;                     /* from a prompt to the latter, besides their trip */
};

enum plan_objective {
	PLAN_LATENCY, /* time per token */
	PLAN_WORKER,  /* the worker's time per token */
	PLAN_BYTES,   /* payload of the expected session, per token of its answer */
	PLAN_CONTEXT, /* the longest context */
	PLAN_OBJECTIVES
};

#define PLAN_OBJECTIVE_WORDS "latency|worker|bytes|context"

struct plan_policy {
	enum plan_objective objective;
	double ttft_ms, token_ms;              /* limits; 0: none */
	double loss;                           /* limit, relative rise of perplexity; NaN: none */
	uint32_t prompt_tokens, answer_tokens; /* of an expected session, >= 1 */
	uint32_t sessions;                     /* of this agent at a time, >= 1 */
	uint32_t n_contexts;                   /* >= 1 */
	uint32_t contexts[PLAN_MAX_CONTEXTS];  /* that may be chosen, rising */
	uint32_t min_split, max_split;         /* what the operator allows; max may exceed L */
	unsigned kv_types, levels, fronts;     /* bit masks of what is allowed */
	double tolerance; /* what rows that lose less may add to cost and session, as a share */
	double min_gain;  /* hysteresis: share of the objective that a change must gain */
};

struct plan_choice {
	uint32_t split;
	uint32_t front, level; /* indices; at l = L a level only cuts the prompt into chunks */
	enum kv_type kv;
	uint32_t context_tokens;
};

/* A running session. */
struct plan_session {
	uint32_t tokens_left; /* of its answer */
	uint32_t kv_tokens;   /* positions in use */
	bool stays;           /* at `split`, and has rows of stay_level: it was told so */
	uint32_t split;
};

/* What is decided now. */
struct plan_present {
	bool known;       /* false: nothing yet, or nothing that the facts can express */
	bool same_worker; /* as the one that is planned with */
	struct plan_choice choice;
	uint32_t stay_level;
	uint32_t n_sessions;
	struct plan_session sessions[PLAN_MAX_SESSIONS];
};

struct plan_input {
	const struct plan_agent *agent;
	const struct plan_worker *worker;
	const struct plan_link *link;
	const struct plan_accuracy *accuracy;
	const struct plan_policy *policy;
	const struct plan_present *present;
};

/* ---- result ---- */

/* Why not, in the order of checking. */
enum plan_limit {
	PLAN_OK,
	PLAN_NO_POLICY,     /* the operator's fixed choices exclude it */
	PLAN_NO_FRONT,      /* no front end has these layers, or a head for l = L */
	PLAN_NO_WORKER,     /* none is ready for this model, or it begins at a later layer */
	PLAN_NO_FIGURE,     /* a speed or the round trip was not measured */
	PLAN_LONG,          /* a context beyond what agent or worker serve */
	PLAN_EDGE_MEMORY,   /* bytes */
	PLAN_WORKER_MEMORY, /* bytes */
	PLAN_TTFT,          /* ms */
	PLAN_TOKEN,         /* ms */
	PLAN_LOSS,          /* share */
	PLAN_LIMITS
};

struct plan_figures {
	double ttft_ms, token_ms;
	double up_bytes, down_bytes; /* payload per token of the answer */
	double session_bytes;        /* payload of the expected session, both ways */
	double worker_ms;      /* the worker's compute per token: a step's, divided by its rows */
	uint64_t edge_bytes;   /* all of the agent */
	uint64_t worker_bytes; /* booked at the worker for this agent's sessions */
	double loss;           /* NaN: not known */
	double cost;           /* what the objective minimizes */
};

struct plan_option {
	struct plan_choice choice;
	struct plan_figures figures;
};

/* One split: its best option, or what ruled the last of its options out. */
struct plan_split {
	enum plan_limit limit;     /* PLAN_OK: option is the best one here */
	double need, allowed;      /* of memory, time, loss and context: nearest miss */
	struct plan_option option; /* PLAN_OK: with figures; else the choice that came furthest */
};

enum plan_verdict {
	PLAN_NONE,          /* no option keeps all limits */
	PLAN_FIRST,         /* nothing was decided before */
	PLAN_SAME,          /* the present choice is the best */
	PLAN_CHANGE,        /* the best one pays */
	PLAN_FORCED,        /* the present choice breaks a limit */
	PLAN_KEEP_GAIN,     /* the best one gains less than min_gain */
	PLAN_KEEP_HANDOVER, /* ... less than taking the running sessions to another worker costs */
	PLAN_NEW,           /* it pays for new sessions, moving those that run does not */
	PLAN_VERDICTS
};

struct plan_result {
	enum plan_verdict verdict;
	struct plan_option best;   /* of all; unless PLAN_NONE */
	struct plan_option chosen; /* what to decide: best, or the present choice that is kept */
	uint32_t n_elsewhere;      /* sessions that run where they would not by what is chosen */
	bool stays;                /* they stay there, with rows of this level; else they move */
	uint32_t stay_level;
	bool has_runner_up;
	struct plan_option runner_up;  /* the best with another split */
	enum plan_limit present_limit; /* why the present choice is forced out */
	double gain, handover; /* of a change, in units of the objective: over all tokens that are
				* left of sessions that would move (per token, when there are none),
				* and what moving costs */
	uint32_t n_layers;
	struct plan_split splits[PLAN_MAX_LAYERS + 1]; /* [n_layers + 1] */
};

/* ERR_LIMIT when the facts contradict the bounds above (nothing is written but e); otherwise 0,
 * also when nothing is possible: PLAN_NONE. */
MUST_CHECK int plan_make(struct plan_result *r, const struct plan_input *in, struct err *e);

/* One choice by itself, whatever its rank: PLAN_OK, or the first limit that it breaks; then *need
 * and *allowed say by how much where they are numbers. *f is written as far as figures are known
 * (zeroed before). */
enum plan_limit plan_evaluate(const struct plan_input *in, const struct plan_choice *c,
			      struct plan_figures *f, double *need, double *allowed);

/* < 0 when a is better. The objective's cost first; then time per token, TTFT, loss (unknown is
 * worst), the longer context, fewer bytes of the session; then lower split, front, KV type and
 * level: no two choices are equal. For options of different workers, too. */
int plan_compare(const struct plan_option *a, const struct plan_option *b);

const char *plan_objective_name(enum plan_objective o);
/* ERR_CONFIG for another word. */
MUST_CHECK int plan_objective_parse(enum plan_objective *o, const char *word);
const char *plan_limit_name(enum plan_limit l);     /* "memory of the agent" */
const char *plan_verdict_name(enum plan_verdict v); /* "keep: ..." for people */

/* Why a split is out, for people: "memory of the agent: 612 MiB, 512 MiB allowed". */
void plan_explain(const struct plan_input *in, const struct plan_split *s, char *text, size_t cap);
/* One line for a decision's reason. */
void plan_reason(const struct plan_input *in, const struct plan_result *r, char *text, size_t cap);

#endif
