/* tools/cmd_logits.c - what the model says after every position, as raw f32. */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "schema/json.h"
#include "tools/cmd.h"
#include "tools/commands.h"
#include "tools/local.h"
#include "tools/progress.h"

#define NAME "logits"

/* Logits of a large vocabulary take megabytes a row: few rows at a time. */
#define HEAD_ROWS 16

struct request {
	struct local_conf conf;
	const char *tokens, *output;
	bool json;
};

static const struct options_row options[] = {
	LOCAL_OPTIONS(struct request, conf, "f32"),
	{ 0, "tokens", "IDS", OPTIONS_TEXT(struct request, tokens), .needed = true,
	  .help = "1,2,3 or @FILE: the sequence, taken as it is (no BOS is added)" },
	{ 'o', "output", "FILE", OPTIONS_TEXT(struct request, output), .needed = true,
	  .help = "little-endian f32 [tokens][vocabulary], row by row" },
	{ 0, "hidden", "L", OPTIONS_U32(struct request, conf.last, 0, 4096), .preset = "",
	  .help = "instead of logits the hidden rows [tokens][d] after L layers (0: the "
		  "embeddings)" },
	{ 0, "json", NULL, OPTIONS_FLAG(struct request, json),
	  .help = "one JSON line about the file on stdout" },
};

const struct options_table cmd_logits_options = {
	.program = "splitmq " NAME,
	.summary = "what the model says after every position",
	.synopsis = "-m FILE --tokens IDS -o OUT.f32 [OPTIONS]",
	OPTIONS_ROWS(options),
};

static int write_floats(FILE *f, const char *path, const float *x, size_t n, struct err *e)
{
	if (fwrite(x, sizeof(*x), n, f) != n)
		return err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
	return 0;
}

/* Rows of one call: themselves, or a few logits at a time. */
static int write_rows(struct local *l, const struct request *o, FILE *f, const float *x, uint32_t n,
		      struct err *e)
{
	const struct model_hparams *hp = local_hparams(l);
	int rc = 0;

	if (o->conf.last != LOCAL_NO_SPLIT)
		return write_floats(f, o->output, x, (size_t)n * hp->dim, e);
	for (uint32_t at = 0; at < n && !rc; at += HEAD_ROWS) {
		uint32_t rows = n - at < HEAD_ROWS ? n - at : HEAD_ROWS;
		const float *logits;

		rc = local_logits(l, x + (size_t)at * hp->dim, rows, &logits, e);
		if (!rc)
			rc = write_floats(f, o->output, logits, (size_t)rows * hp->n_vocab, e);
	}
	return rc;
}

/* Before an older output is overwritten. */
static int check_ids(const struct local *l, const uint32_t *ids, size_t n, struct err *e)
{
	uint32_t n_vocab = local_hparams(l)->n_vocab;

	if (n > local_ctx(l))
		return err_set(e, ERR_CONTEXT, "%zu tokens in a context of %" PRIu32, n,
			       local_ctx(l));
	for (size_t i = 0; i < n; i++) {
		if (ids[i] >= n_vocab)
			return err_set(e, ERR_LIMIT, "token id %" PRIu32 " is not in 0..%" PRIu32,
				       ids[i], n_vocab - 1);
	}
	return 0;
}

static int print_json(const struct local *l, const struct request *o, size_t n, struct err *e)
{
	const struct model_hparams *hp = local_hparams(l);
	bool hidden = o->conf.last != LOCAL_NO_SPLIT;
	struct json *root = json_object();

	json_add_str(root, "file", o->output);
	json_add_str(root, "kind", hidden ? "hidden" : "logits");
	json_add_u64(root, "rows", n);
	json_add_u64(root, "width", hidden ? hp->dim : hp->n_vocab);
	return cmd_print_json(root, e);
}

static int write_all(struct local *l, const struct request *o, const uint32_t *ids, size_t n,
		     FILE *f, struct err *e)
{
	struct progress progress = { .what = NAME, .units = "tokens", .total = n };
	int rc = 0;

	rc = local_begin(l, (uint32_t)n, e);
	for (size_t at = 0; at < n && !rc; at += LOCAL_ROWS) {
		uint32_t rows = n - at < LOCAL_ROWS ? (uint32_t)(n - at) : LOCAL_ROWS;
		const float *x;

		rc = local_run(l, ids + at, rows, &x, e);
		if (!rc)
			rc = write_rows(l, o, f, x, rows, e);
		progress_show(&progress, at + rows);
	}
	progress_clear(&progress);
	return rc;
}

static int logits(const struct request *o, struct err *e)
{
	struct local *l = NULL;
	uint32_t *ids = NULL;
	FILE *f = NULL;
	size_t n;
	int rc = cmd_read_ids(o->tokens, &ids, &n, e);

	if (!rc)
		rc = local_open(&l, &o->conf, e);
	if (!rc)
		rc = check_ids(l, ids, n, e);
	if (!rc) {
		f = fopen(o->output, "wb");
		rc = f ? write_all(l, o, ids, n, f, e) : err_create(e, o->output, errno);
	}
	if (f && fclose(f) && !rc)
		rc = err_set(e, ERR_IO, "%s: %s", o->output, strerror(errno));
	if (!rc && o->json)
		rc = print_json(l, o, n, e);
	local_close(l);
	free(ids);
	return rc;
}

int cmd_logits(int argc, char **argv)
{
	struct request o = { .conf = LOCAL_DEFAULTS(KV_F32) };
	struct err e;
	int rc = options_read(&cmd_logits_options, &o, argc, argv);

	if (rc != OPTIONS_GO_ON)
		return rc;
	return logits(&o, &e) ? cmd_fail(NAME, &e) : CMD_OK;
}
