/* tools/bench_model.c - prefill, decoding and batches of one model, its opening and its memory. */
#include "tools/bench_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/rng.h"
#include "engine/model.h"
#include "engine/pool.h"
#include "tools/bandwidth.h"
#include "tools/cmd.h"

#define NAME          "bench model"
#define DEFAULT_MODEL "models/gateway.gguf"
#define MOST_TOKENS   (1u << 20)
#define MOST_REPEAT   1000
#define CHUNK         512 /* rows of a pass, of a prompt */

struct rig {
	struct bench_model *b;
	struct gguf *gguf;
	struct model_hparams hp;
	struct model *model;
	struct kv *kv[BENCH_MODEL_BATCH];
	uint32_t capacity; /* of each cache */
	float *x;          /* [CHUNK or batch][d] */
	float *logits;     /* [batch][V] */
	uint64_t drawn;    /* tokens so far */
};

static uint32_t largest(const struct options_list *l)
{
	uint32_t most = 0;

	for (unsigned i = 0; i < l->n; i++)
		most = l->v[i] > most ? l->v[i] : most;
	return most;
}

static int open_model(struct rig *r, struct err *e)
{
	struct model_conf conf = {
		.embed = true, .head = true, .threads = r->b->conf.threads, .max_rows = CHUNK
	};
	int rc = gguf_open(&r->gguf, r->b->conf.model, e);

	if (!rc)
		rc = model_read_hparams(&r->hp, r->gguf, e);
	conf.last = r->hp.n_layers;
	if (!rc)
		rc = model_open(&r->model, r->gguf, &conf, e);
	return rc;
}

static void close_model(struct rig *r)
{
	model_close(r->model);
	gguf_close(r->gguf);
	r->model = NULL;
	r->gguf = NULL;
}

static int need_cache(struct rig *r, uint32_t session, struct err *e)
{
	int rc;

	if (r->kv[session])
		return 0;
	rc = kv_create(&r->kv[session], NULL, &r->hp, 0, r->hp.n_layers, r->capacity,
		       r->b->conf.kv);
	return rc ? err_set(e, rc, "cache of session %u: %s", (unsigned)session, err_phrase(rc))
		  : 0;
}

static void embed_random(struct rig *r, uint32_t rows)
{
	for (uint32_t i = 0; i < rows; i++) {
		const uint32_t id = (uint32_t)(rng_u64(1, r->drawn++) % r->hp.n_vocab);

		(void)!model_embed(r->model, &id, 1, r->x + (size_t)i * r->hp.dim);
	}
}

/* The next n tokens of a session. */
static int prefill(struct rig *r, uint32_t session, uint32_t n)
{
	int rc = 0;

	for (uint32_t rows; n && !rc; n -= rows) {
		rows = n < CHUNK ? n : CHUNK;
		embed_random(r, rows);
		rc = model_forward(r->model, r->kv[session], r->x, rows);
		if (rows == n)
			model_logits(r->model, r->x + (size_t)(rows - 1) * r->hp.dim, 1, r->logits);
	}
	return rc;
}

/* One token of each of the first `batch` sessions, together. */
static int step(struct rig *r, uint32_t batch)
{
	struct model_part parts[BENCH_MODEL_BATCH];
	int rc;

	embed_random(r, batch);
	for (uint32_t i = 0; i < batch; i++)
		parts[i] = (struct model_part){ .kv = r->kv[i],
						.x = r->x + (size_t)i * r->hp.dim,
						.rows = 1 };
	rc = model_step(r->model, parts, batch);
	if (!rc)
		model_logits(r->model, r->x, batch, r->logits);
	return rc;
}

static void set_line(struct bench_model *b, struct bench_model_line line, double *tok_s)
{
	line.tok_s = spread_of(tok_s, b->conf.repeat);
	b->lines[b->n_lines++] = line;
}

static double seconds_since(uint64_t start_us)
{
	const uint64_t us = clock_now_us() - start_us;

	return (double)(us ? us : 1) * 1e-6;
}

static int measure_prefill(struct rig *r, uint32_t n, struct err *e)
{
	double tok_s[MOST_REPEAT];
	int rc = 0;

	for (unsigned k = 0; k < r->b->conf.repeat && !rc; k++) {
		const uint64_t start = clock_now_us();

		kv_truncate(r->kv[0], 0);
		rc = prefill(r, 0, n);
		tok_s[k] = n / seconds_since(start);
	}
	if (rc)
		return err_set(e, rc, "a prompt of %u tokens: %s", (unsigned)n, err_phrase(rc));
	set_line(r->b, (struct bench_model_line){ .tokens = n, .batch = 1 }, tok_s);
	return 0;
}

/* Bytes of cache that a token reads, on the average over the positions that are decoded. */
static double cache_bytes(const struct rig *r, uint32_t depth)
{
	const struct bench_model_conf *c = &r->b->conf;
	const uint32_t middle = depth + (c->tokens + 1) / 2;

	return (double)kv_bytes(&r->hp, r->hp.n_layers, middle, c->kv);
}

/* Sessions at this depth; those that are too long are cut. */
static int go_to(struct rig *r, uint32_t batch, uint32_t depth)
{
	int rc = 0;

	for (uint32_t i = 0; i < batch && !rc; i++) {
		kv_truncate(r->kv[i], depth);
		rc = prefill(r, i, depth - kv_length(r->kv[i]));
	}
	return rc;
}

static int measure_decode(struct rig *r, uint32_t batch, uint32_t depth, struct err *e)
{
	const uint32_t n = r->b->conf.tokens;
	struct bench_model_line line = {
		.decode = true, .tokens = n, .depth = depth, .batch = batch
	};
	double tok_s[MOST_REPEAT];
	int rc = 0;

	for (uint32_t i = 0; i < batch && !rc; i++)
		rc = need_cache(r, i, e);
	if (rc)
		return rc;
	for (unsigned k = 0; k < r->b->conf.repeat && !rc; k++) {
		uint64_t start;

		rc = go_to(r, batch, depth);
		start = clock_now_us();
		for (uint32_t i = 0; i < n && !rc; i++)
			rc = step(r, batch);
		tok_s[k] = n * (double)batch / seconds_since(start);
	}
	if (rc)
		return err_set(e, rc, "%u tokens at %u: %s", (unsigned)n, (unsigned)depth,
			       err_phrase(rc));
	line.bytes_per_step = (double)r->b->weights_bytes + batch * cache_bytes(r, depth);
	set_line(r->b, line, tok_s);
	return 0;
}

/* Open the model again and again, each time until its first token is there; the last one stays. */
static int measure_opening(struct rig *r, struct err *e)
{
	double open_ms[MOST_REPEAT], first_ms[MOST_REPEAT];
	int rc = 0;

	for (unsigned k = 0; k < r->b->conf.repeat && !rc; k++) {
		uint64_t start;

		kv_destroy(r->kv[0]);
		r->kv[0] = NULL;
		close_model(r);
		start = clock_now_us();
		rc = open_model(r, e);
		open_ms[k] = 1e3 * seconds_since(start);
		if (!rc)
			rc = need_cache(r, 0, e);
		if (!rc && prefill(r, 0, 1))
			rc = err_set(e, ERR_CONTEXT, "no room for one token");
		first_ms[k] = 1e3 * seconds_since(start);
	}
	if (rc)
		return rc;
	r->b->open_ms = spread_of(open_ms, r->b->conf.repeat);
	r->b->first_ms = spread_of(first_ms, r->b->conf.repeat);
	return 0;
}

/* Resident memory of this process; 0 where the system does not tell. */
static uint64_t resident_bytes(void)
{
	FILE *f = fopen("/proc/self/statm", "r");
	unsigned long long size, resident = 0;

	if (!f)
		return 0;
	if (fscanf(f, "%llu %llu", &size, &resident) != 2)
		resident = 0;
	fclose(f);
	return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static int allocate(struct rig *r, struct err *e)
{
	struct bench_model *b = r->b;
	const struct bench_model_conf *c = &b->conf;
	const size_t batch = largest(&c->batch) > 0 ? largest(&c->batch) : 1;
	const size_t rows = batch > CHUNK ? batch : CHUNK;
	const uint32_t longest = largest(&c->depth) + c->tokens;

	r->capacity = largest(&c->prefill) > longest ? largest(&c->prefill) : longest;
	r->capacity = r->capacity ? r->capacity : 1;
	r->x = malloc(rows * r->hp.dim * sizeof(*r->x));
	r->logits = malloc(batch * r->hp.n_vocab * sizeof(*r->logits));
	b->lines = calloc(c->prefill.n + (size_t)c->depth.n * c->batch.n, sizeof(*b->lines));
	return r->x && r->logits && b->lines ? 0 : err_set(e, ERR_NOMEM, "out of memory");
}

/* What one session takes: before there are others. */
static void weigh(struct rig *r)
{
	const struct model_conf conf = { .last = r->hp.n_layers, .embed = true, .head = true };

	r->b->weights_bytes = model_weight_bytes(r->gguf, &r->hp, &conf);
	r->b->kv_bytes = kv_bytes(&r->hp, r->hp.n_layers, kv_length(r->kv[0]), r->b->conf.kv);
	r->b->rss_bytes = resident_bytes();
	r->b->isa = model_isa(r->model);
}

/* Weights that a token reads: of an embedding of its own one row, which is nothing. */
static void weigh_token(struct rig *r)
{
	const struct model_conf conf = { .last = r->hp.n_layers, .head = true };

	r->b->weights_bytes = model_weight_bytes(r->gguf, &r->hp, &conf);
}

/* Scratch and caches get their memory, clocks and pages their speed. */
static int warm_up(struct rig *r, struct err *e)
{
	const struct bench_model_conf *c = &r->b->conf;
	int rc;

	if (!c->prefill.n)
		return 0;
	kv_truncate(r->kv[0], 0);
	rc = prefill(r, 0, c->prefill.v[0]);
	return rc ? err_set(e, rc, "%s", err_phrase(rc)) : 0;
}

static int measure(struct rig *r, struct err *e)
{
	const struct bench_model_conf *c = &r->b->conf;
	uint64_t all;
	int rc = measure_opening(r, e);

	if (!rc)
		rc = warm_up(r, e);
	for (unsigned i = 0; i < c->prefill.n && !rc; i++)
		rc = measure_prefill(r, c->prefill.v[i], e);
	if (rc)
		return rc;
	weigh(r);
	all = r->b->weights_bytes;
	weigh_token(r);
	for (unsigned d = 0; d < c->depth.n && c->tokens; d++) {
		for (unsigned i = 0; i < c->batch.n && !rc; i++)
			rc = measure_decode(r, c->batch.v[i], c->depth.v[d], e);
	}
	r->b->weights_bytes = all;
	return rc;
}

static int run(struct bench_model *b, struct err *e)
{
	struct rig r = { .b = b };
	int rc = bandwidth_measure(1, &b->bandwidth_1, e);

	if (!rc)
		rc = bandwidth_measure(b->conf.threads, &b->bandwidth, e);
	if (!rc)
		rc = open_model(&r, e);
	if (!rc)
		rc = allocate(&r, e);
	if (!rc)
		rc = measure(&r, e);
	if (!rc && b->conf.json)
		rc = bench_model_print_json(b, e);
	else if (!rc)
		bench_model_print(b);
	for (unsigned i = 0; i < BENCH_MODEL_BATCH; i++)
		kv_destroy(r.kv[i]);
	close_model(&r);
	free(r.x);
	free(r.logits);
	return rc;
}

#define LIST(field, lo, hi) OPTIONS_LIST(struct bench_model_conf, field, lo, hi, BENCH_MODEL_LIST)
#define U32(field, lo, hi)  OPTIONS_U32(struct bench_model_conf, field, lo, hi)

static const struct options_row options[] = {
	{ 'm', "model", "FILE", OPTIONS_TEXT(struct bench_model_conf, model), .help = "GGUF file",
	  .preset = DEFAULT_MODEL ", below where you are" },
	{ 't', "threads", "N", U32(threads, 1, POOL_MAX_THREADS), .help = "threads that compute",
	  .preset = "the number of processors" },
	{ 'p', "prompt", "LIST", LIST(prefill, 0, MOST_TOKENS), .unit = "tokens",
	  .help = "lengths of prompts, with commas; 0: none" },
	{ 'n', "tokens", "N", U32(tokens, 0, MOST_TOKENS), .unit = "tokens",
	  .help = "how many to decode; 0: none" },
	{ 'd', "depth", "LIST", LIST(depth, 0, MOST_TOKENS), .unit = "tokens",
	  .help = "positions before the first token decoded" },
	{ 'b', "batch", "LIST", LIST(batch, 1, BENCH_MODEL_BATCH),
	  .help = "sessions that decode together" },
	{ 0, "kv", "TYPE", OPTIONS_TAKEN(struct bench_model_conf, kv, cmd_take_kv),
	  .help = "of the cache: " KV_TYPE_WORDS, .preset = "f16" },
	{ 'r', "repeat", "N", U32(repeat, 1, MOST_REPEAT), .help = "of each measurement" },
	{ 0, "json", NULL, OPTIONS_FLAG(struct bench_model_conf, json),
	  .help = "one line of JSON instead of a table" },
};

const struct options_table bench_model_options = {
	.program = "splitmq " NAME,
	.summary = "speed of prompts, decoding and batches; opening and memory",
	.synopsis = "[-m FILE] [OPTIONS]",
	OPTIONS_ROWS(options),
	.notes =
		"Medians over the repeats, and their ends. Tokens are random; each one decoded "
		"takes "
		"its logits too, of a prompt only the last one does. Weights are read once for all "
		"sessions of a batch. \"of memory\" is the part of the measured read bandwidth "
		"that "
		"weights and cache of one session take.",
};

/* 0 says that there shall be no prompt. */
static void drop_zeros(struct options_list *l)
{
	unsigned n = 0;

	for (unsigned i = 0; i < l->n; i++) {
		if (l->v[i])
			l->v[n++] = l->v[i];
	}
	l->n = n;
}

int bench_model(int argc, char **argv)
{
	const long processors = sysconf(_SC_NPROCESSORS_ONLN);
	struct bench_model b = {
		.conf = { .model = DEFAULT_MODEL,
			  .threads = processors < 1    ? 1
				     : processors > 64 ? 64
						       : (unsigned)processors,
			  .repeat = 3,
			  .prefill = { { 128, 512 }, 2 },
			  .depth = { { 0 }, 1 },
			  .batch = { { 1, 4, 16 }, 3 },
			  .tokens = 64,
			  .kv = KV_F16 },
	};
	struct err e;
	int rc = options_read(&bench_model_options, &b.conf, argc, argv);

	if (rc != OPTIONS_GO_ON)
		return rc;
	drop_zeros(&b.conf.prefill);
	rc = run(&b, &e) ? cmd_fail(NAME, &e) : CMD_OK;
	free(b.lines);
	return rc;
}
