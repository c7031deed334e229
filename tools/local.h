/* tools/local.h - a model in one process: one segment, or two with the codec in between.
 *
 * What `generate`, `logits` and `perplexity` share: the way of a row is that of agent and worker,
 * cut into the same layers and through the same codec, but there is no broker. One thread calls. */
#ifndef TOOLS_LOCAL_H
#define TOOLS_LOCAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "codec/codec.h"
#include "daemon/options.h"
#include "engine/model.h"
#include "engine/pool.h"
#include "tools/cmd.h"

/* Rows per call of local_run: also the chunk in which rows cross the codec. */
#define LOCAL_ROWS     64

#define LOCAL_NO_SPLIT UINT32_MAX

struct local_conf {
	const char *model; /* path */
	const char *front; /* path of another precision of it, for the front; NULL: the same */
	uint32_t split;    /* LOCAL_NO_SPLIT: one segment, no codec */
	const char *codec; /* SPEC, used with a split */
	const char *calibration; /* path; NULL: beside the model, if there is one */
	uint32_t chunk;          /* rows that cross together, 1..LOCAL_ROWS; 1: as in decoding */
	unsigned threads;        /* 0: as many as there are processors */
	enum kv_type kv;
	uint32_t ctx;  /* tokens; 0: the model's context */
	uint32_t last; /* run layers [0, last) and no head; LOCAL_NO_SPLIT: all, and the head */
};

#define LOCAL_DEFAULTS(kv_)                                                                        \
	((struct local_conf){ .split = LOCAL_NO_SPLIT,                                             \
			      .codec = "tabq",                                                     \
			      .chunk = LOCAL_ROWS,                                                 \
			      .kv = (kv_),                                                         \
			      .last = LOCAL_NO_SPLIT })

/* Rows of a table of options that set the local_conf `field` of struct `conf`;
 * kv_: the word of its default. */
#define LOCAL_OPTIONS(conf, field, kv_)                                                            \
	{ 'm', "model", "FILE", OPTIONS_TEXT(conf, field.model), .needed = true,                   \
	  .help = "GGUF file" },                                                                   \
	{ 't', "threads", "N", OPTIONS_U32(conf, field.threads, 1, POOL_MAX_THREADS),              \
	  .help = "threads that compute", .preset = "the number of processors" },                  \
	{ 0, "split", "L", OPTIONS_U32(conf, field.split, 0, 4096), .preset = "",                  \
	  .help = "run layers [0, L) and the others as two segments" },                            \
	{ 0, "codec", "SPEC", OPTIONS_TAKEN(conf, field.codec, cmd_take_codec), .preset = "tabq",  \
	  .help = "how rows cross the split: f32, f16, q8, q4, tabq:... (docs/codec.md)" },        \
	{ 0, "calibration", "FILE", OPTIONS_TEXT(conf, field.calibration),                         \
	  .help = "predictors for tabq", .preset = "MODEL.cal, if it is there" },                  \
	{ 0, "chunk", "N", OPTIONS_U32(conf, field.chunk, 1, LOCAL_ROWS), .unit = "rows",          \
	  .help = "rows that cross together: 64 as a prompt does, 1 as generated tokens do" },     \
	{ 0, "ctx", "N", OPTIONS_U32(conf, field.ctx, 1, 1 << 30), .unit = "tokens",               \
	  .help = "longest sequence", .preset = "the model's context" },                           \
	{ 0, "kv", "TYPE", OPTIONS_TAKEN(conf, field.kv, cmd_take_kv), .preset = (kv_),            \
	  .help = "cache in " KV_TYPE_WORDS }

struct local;

MUST_CHECK int local_open(struct local **out, const struct local_conf *conf, struct err *e);
void local_close(struct local *l);

const struct gguf *local_gguf(const struct local *l);
const struct model_hparams *local_hparams(const struct local *l);

/* Longest sequence: --ctx, or what the model was trained for. */
uint32_t local_ctx(const struct local *l);

/* Begin a sequence of at most capacity tokens; forgets the one before. */
MUST_CHECK int local_begin(struct local *l, uint32_t capacity, struct err *e);

/* Whether the tokens from here on are generated ones, which both sides know; false after begin. */
void local_generating(struct local *l, bool on);

/* The next n (<= LOCAL_ROWS) tokens of the sequence; *x [n][d] are their rows after the last layer,
 * valid until the next call. */
MUST_CHECK int local_run(struct local *l, const uint32_t *ids, uint32_t n, const float **x,
			 struct err *e);

/* Head over rows (<= LOCAL_ROWS) of local_run -> logits [rows][V], valid until the next call. */
MUST_CHECK int local_logits(struct local *l, const float *x, uint32_t rows, const float **logits,
			    struct err *e);

/* What crossed the split since local_open. */
uint64_t local_wire_bytes(const struct local *l);
uint64_t local_wire_rows(const struct local *l);

/* What rows are predicted with; NULL: nothing. */
const struct cal *local_calibration(const struct local *l);

#endif
