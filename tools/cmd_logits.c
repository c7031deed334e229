/* tools/cmd_logits.c - what the model says after every position, as raw f32. */
#include <errno.h>
#include <getopt.h>
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

const char cmd_logits_usage[] =
	"splitmq logits -m FILE --tokens IDS -o OUT.f32 [OPTIONS]\n"
	"\n" LOCAL_USAGE "  --kv TYPE           cache in " KV_TYPE_WORDS " (default f32)\n"
	"  --tokens IDS        1,2,3 or @FILE: the sequence, taken as it is (no BOS is added)\n"
	"  -o, --output FILE   little-endian f32 [tokens][vocabulary], row by row\n"
	"  --hidden L          instead of logits the hidden rows [tokens][d] after L layers\n"
	"                      (0: the embeddings)\n"
	"      --json          one JSON line about the file on stdout\n"
	"  -h, --help          this text\n";

struct options {
	struct local_conf conf;
	const char *tokens, *output;
	bool json;
};

enum { OPT_TOKENS = 0x200, OPT_HIDDEN, OPT_JSON };

/* One or two of getopt's results that are not shared; 0 or CMD_USAGE. */
static int take(struct options *o, int opt)
{
	unsigned long long layer;
	int rc;

	switch (opt) {
	case OPT_TOKENS:
		o->tokens = optarg;
		return 0;
	case 'o':
		o->output = optarg;
		return 0;
	case OPT_JSON:
		o->json = true;
		return 0;
	case OPT_HIDDEN:
		rc = cmd_u64(NAME, "--hidden", optarg, 0, 4096, &layer);
		if (!rc)
			o->conf.last = (uint32_t)layer;
		return rc;
	default:
		return CMD_USAGE; /* not reached: every option of the table is above */
	}
}

/* 0, CMD_USAGE, or -1 after --help. */
static int parse(struct options *o, int argc, char **argv)
{
	static const struct option options[] = {
		LOCAL_OPTIONS,
		{ "tokens", required_argument, NULL, OPT_TOKENS },
		{ "output", required_argument, NULL, 'o' },
		{ "hidden", required_argument, NULL, OPT_HIDDEN },
		{ "json", no_argument, NULL, OPT_JSON },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int opt, rc;

	opterr = 0;
	while ((opt = getopt_long(argc, argv, "m:t:o:h", options, NULL)) != -1) {
		if (opt == 'h')
			return -1;
		if (opt == '?')
			return cmd_usage(NAME, "%s: no such option, or its value is missing",
					 argv[optind - 1]);
		rc = local_option(&o->conf, NAME, opt, optarg);
		if (rc < 0)
			rc = take(o, opt);
		if (rc)
			return rc;
	}
	if (optind < argc)
		return cmd_usage(NAME, "what is \"%s\"?", argv[optind]);
	if (!o->conf.model || !o->tokens || !o->output)
		return cmd_usage(NAME, "-m, --tokens and -o are needed");
	return 0;
}

static int write_floats(FILE *f, const char *path, const float *x, size_t n, struct err *e)
{
	if (fwrite(x, sizeof(*x), n, f) != n)
		return err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
	return 0;
}

/* Rows of one call: themselves, or a few logits at a time. */
static int write_rows(struct local *l, const struct options *o, FILE *f, const float *x, uint32_t n,
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

static void print_json(const struct local *l, const struct options *o, size_t n)
{
	const struct model_hparams *hp = local_hparams(l);
	bool hidden = o->conf.last != LOCAL_NO_SPLIT;
	struct json *root = json_object();
	char *line;
	size_t len;

	json_add_str(root, "file", o->output);
	json_add_str(root, "kind", hidden ? "hidden" : "logits");
	json_add_u64(root, "rows", n);
	json_add_u64(root, "width", hidden ? hp->dim : hp->n_vocab);
	if (!json_print(root, &line, &len)) {
		puts(line);
		free(line);
	}
	json_free(root);
}

static int write_all(struct local *l, const struct options *o, const uint32_t *ids, size_t n,
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

static int logits(const struct options *o, struct err *e)
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
		rc = f ? write_all(l, o, ids, n, f, e)
		       : err_set(e, ERR_IO, "%s: %s", o->output, strerror(errno));
	}
	if (f && fclose(f) && !rc)
		rc = err_set(e, ERR_IO, "%s: %s", o->output, strerror(errno));
	if (!rc && o->json)
		print_json(l, o, n);
	local_close(l);
	free(ids);
	return rc;
}

int cmd_logits(int argc, char **argv)
{
	struct options o = { .conf = LOCAL_DEFAULTS(KV_F32) };
	struct err e;
	int rc = parse(&o, argc, argv);

	if (rc)
		return rc < 0 ? cmd_help(NAME) : rc;
	return logits(&o, &e) ? cmd_fail(NAME, &e) : CMD_OK;
}
