/* tools/bench_model.h - `splitmq bench model`: a model in this process, alone with its machine.
 *
 * What is measured (bench_model.c) and how it is told (bench_model_print.c). One thread calls. */
#ifndef TOOLS_BENCH_MODEL_H
#define TOOLS_BENCH_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/kv_type.h"
#include "daemon/options.h"
#include "tools/spread.h"

#define BENCH_MODEL_LIST  16  /* numbers of one option */
#define BENCH_MODEL_BATCH 128 /* sessions at once, at most */

struct bench_model_conf {
	const char *model;
	unsigned threads, repeat;
	struct options_list prefill, depth, batch;
	uint32_t tokens; /* decoded at each depth and batch; 0: none */
	enum kv_type kv;
	bool json;
};

/* One line of the table. */
struct bench_model_line {
	bool decode;	      /* else prefill */
	uint32_t tokens;      /* of a prompt, or decoded one after the other */
	uint32_t depth;	      /* positions that were there before */
	uint32_t batch;	      /* sessions */
	struct spread tok_s;  /* of all sessions together */
	double bytes_per_step; /* weights and cache that a decode step reads */
};

struct bench_model {
	struct bench_model_conf conf;
	const char *isa;
	struct spread open_ms;	       /* until the model is open */
	struct spread first_ms;	       /* until the first token after that is there as well */
	double bandwidth_1, bandwidth; /* bytes/s of one thread and of conf.threads */
	uint64_t weights_bytes, kv_bytes, rss_bytes; /* rss_bytes: 0 where it is not known */
	struct bench_model_line *lines;
	unsigned n_lines;
};

/* The part of the memory's speed that a line of decoding with one session reaches, 0..1. */
double bench_model_share(const struct bench_model *b, const struct bench_model_line *l);

void bench_model_print(const struct bench_model *b);
MUST_CHECK int bench_model_print_json(const struct bench_model *b, struct err *e);

/* `splitmq bench model`. */
extern const struct options_table bench_model_options;
int bench_model(int argc, char **argv);

#endif
