/* codec/cal.h - what `splitmq calibrate` learned of a model: predictors and accuracy per split.
 *
 * The file stands beside the model, as MODEL.cal; docs/calibration.md has its layout. Agent and
 * worker need the same one to predict: cal->id tells. It is mapped, and only the splits that are
 * used are ever read. cal_use: one thread at a time; what it gave: any thread.
 *
 *   d  elements of a row      k  components that a row is coded in, k <= d
 *   V  vocabulary             f  features of a token; 0: each token has values of its own */
#ifndef CODEC_CAL_H
#define CODEC_CAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define CAL_VERSION    1
#define CAL_SUFFIX     ".cal"
#define CAL_ID_LEN     16 /* hex digits */
#define CAL_HASH_LEN   32 /* hex digits of a model's hash */
#define CAL_MAX_BYTES  ((size_t)1 << 30)
#define CAL_MAX_K      16384
#define CAL_MAX_F      4096
#define CAL_MAX_SPLITS 4096
#define CAL_MAX_LOSSES 65536

/* What a row is predicted from. */
enum cal_mode { CAL_ROWS, CAL_TOKENS, CAL_MODES };

/* p = scale * (rows z) + token_scale * (now[token] + before[token before]) + bias, element by
 * element: sums of integers, then one float operation at a time. z: the components of the row
 * before, times in_scale, rounded. With features, now[t] stands for now features[t]. */
struct cal_predictor {
	const int8_t *rows;         /* [k][k] */
	const int8_t *now, *before; /* [V][k], or [k][f]; CAL_TOKENS only */
	float *scale, *token_scale; /* [k] of rows; [k] of now and before */
	float *bias;                /* [k] */
	const int8_t *class;        /* [k] of what is left: row.h */
	float *inverse;             /* [k] 2^(-class/4) */
};

/* u = forward x, x = back u. */
struct cal_split {
	uint32_t split, k;
	size_t at, bytes; /* in the file */
	uint32_t crc;
	bool ready;           /* the arrays below are there */
	int16_t *forward;     /* [k][d] */
	float *forward_scale; /* [k] */
	const int8_t *back;   /* [d][k] */
	float *back_scale;    /* [d] */
	float *in_scale;      /* [k] */
	float *first;         /* [k] what stands at position 0 */
	struct cal_predictor predictors[CAL_MODES];
};

/* One line of the accuracy-loss table: the model with this split, weights, cache and codec against
 * itself undivided. */
struct cal_loss {
	uint32_t split;
	uint16_t front_type; /* enum quant_type of the front layers; CAL_AS_IS: as in the file */
	uint16_t kv_type;    /* enum kv_type, of both sides */
	uint16_t predict;    /* enum spec_predict */
	uint16_t decode;     /* 1: rows one by one; 0: in chunks */
	float delta;         /* distortion tolerance of the codec */
	float bits;          /* per element of a row, on the wire */
	float ppl_ratio;     /* perplexity, divided by that of the undivided model */
	float kl;            /* mean divergence from its distribution, nats */
	float top1;          /* share of positions with the same likeliest token */
	uint32_t tokens;     /* positions that this was measured over */
};

#define CAL_AS_IS 0xffff

struct cal {
	char model[CAL_HASH_LEN + 1];
	char id[CAL_ID_LEN + 1]; /* of everything but the losses and the hash of the text */
	uint64_t text;           /* hash of the text and the options it was made with */
	uint32_t dim, n_vocab, n_features;
	const int8_t *features;   /* [V][f] */
	struct cal_split *splits; /* [n_splits] by rising split */
	uint32_t n_splits;
	struct cal_loss *losses; /* [n_losses] */
	uint32_t n_losses;
	const uint8_t *data; /* [len] the file; what pointers to bytes above point into; owned */
	size_t len;
	bool mapped;
};

/* Errors name the path. ERR_FORMAT, ERR_VERSION, ERR_IO, ERR_LIMIT, ERR_NOMEM; ERR_NOT_FOUND when
 * there is no such file. */
MUST_CHECK int cal_open(struct cal **out, const char *path, struct err *e);
void cal_close(struct cal *c);

/* The same from bytes, which are copied. */
MUST_CHECK int cal_parse(struct cal **out, const uint8_t *src, size_t len, struct err *e);

/* *out: what there is for this split, checked; NULL when there is nothing. ERR_FORMAT,
 * ERR_NOMEM. */
MUST_CHECK int cal_use(struct cal *c, uint32_t split, const struct cal_split **out, struct err *e);

/* Bytes of memory that cal_use of this split will take, the mapped ones included; 0 when it is
 * there already, or nothing is. */
size_t cal_use_bytes(const struct cal *c, uint32_t split);

/* Bytes of the file -> malloc'ed *out; the caller frees. ERR_NOMEM. */
MUST_CHECK int cal_print(const struct cal *c, uint8_t **out, size_t *len);

/* Write it beside `path`, then rename. */
MUST_CHECK int cal_save(const struct cal *c, const char *path, struct err *e);

#endif
