/* tools/local.h - a model in one process: one segment, or two with the codec in between.
 *
 * What `generate`, `logits` and `perplexity` share: the way of a row is that of agent and worker,
 * cut into the same layers and through the same codec, but there is no broker. One thread calls. */
#ifndef TOOLS_LOCAL_H
#define TOOLS_LOCAL_H

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "codec/codec.h"
#include "engine/model.h"

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
			      .codec = "f16",                                                      \
			      .chunk = LOCAL_ROWS,                                                 \
			      .kv = (kv_),                                                         \
			      .last = LOCAL_NO_SPLIT })

/* The options that set a local_conf, for getopt_long, and what --help says of them. */
enum {
	LOCAL_OPT_SPLIT = 0x100,
	LOCAL_OPT_CODEC,
	LOCAL_OPT_KV,
	LOCAL_OPT_CTX,
	LOCAL_OPT_CALIBRATION,
	LOCAL_OPT_CHUNK
};

/* clang-format off */
#define LOCAL_OPTIONS                                                                              \
	{ "model", required_argument, NULL, 'm' },                                                 \
	{ "threads", required_argument, NULL, 't' },                                               \
	{ "split", required_argument, NULL, LOCAL_OPT_SPLIT },                                     \
	{ "codec", required_argument, NULL, LOCAL_OPT_CODEC },                                     \
	{ "kv", required_argument, NULL, LOCAL_OPT_KV },                                           \
	{ "ctx", required_argument, NULL, LOCAL_OPT_CTX },                                         \
	{ "calibration", required_argument, NULL, LOCAL_OPT_CALIBRATION },                         \
	{ "chunk", required_argument, NULL, LOCAL_OPT_CHUNK }

#define LOCAL_USAGE                                                                                \
	"  -m, --model FILE    GGUF file\n"                                                        \
	"  -t, --threads N     default: the number of processors\n"                                \
	"  --split L           run layers [0, L) and the others as two segments\n"                 \
	"  --codec SPEC        how rows cross the split: f32, f16, q8, q4, tabq:...\n" \
	"                      (default f16; docs/codec.md)\n"                                     \
	"  --calibration FILE  predictors for tabq (default: MODEL.cal, if it is there)\n"         \
	"  --chunk N           rows that cross together, 1..64 (default 64: as a prompt does;\n"   \
	"                      1: as generated tokens do)\n"                                       \
	"  --ctx N             longest sequence in tokens (default: the model's context)\n"
/* clang-format on */

/* Take one of LOCAL_OPTIONS: 0, CMD_USAGE (said why), or -1 when opt is another option. */
MUST_CHECK int local_option(struct local_conf *conf, const char *command, int opt, const char *arg);

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
