/* tools/cmd_perplexity.c - how well the model, or the model and its split, predicts a text. */
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/tokenizer.h"
#include "schema/json.h"
#include "tools/cmd.h"
#include "tools/commands.h"
#include "tools/local.h"
#include "tools/progress.h"

#define NAME           "perplexity"
#define HEAD_ROWS      16
#define MAX_TEXT_BYTES ((size_t)16 << 20)

const char cmd_perplexity_usage[] =
	"splitmq perplexity -m FILE -f TEXT [OPTIONS]\n"
	"\n" LOCAL_USAGE "  --kv TYPE           cache in " KV_TYPE_WORDS " (default f32)\n"
	"  -f, --file TEXT     the text, - for standard input\n"
	"  --json              nothing but the line on stdout: {\"ppl\",\"nll\",\"tokens\",\n"
	"                      \"bits_per_element\",\"bytes_per_token\"}; without it also a "
	"sentence\n"
	"                      on stderr\n"
	"  -h, --help          this text\n"
	"\n"
	"The text is encoded once (control tokens in it are read as such) and cut into "
	"consecutive\n"
	"windows of --ctx tokens, each of which begins with BOS where the vocabulary adds one. "
	"Every\n"
	"token that has another before it in its window is predicted and counted. nll is the mean\n"
	"negative log likelihood in nats, ppl = exp(nll), tokens how many were predicted. What "
	"crosses\n"
	"the split is given per element and per row; both are 0 without --split.\n";

struct options {
	struct local_conf conf;
	const char *file;
	bool json;
};

struct score {
	double nll; /* sum */
	uint64_t tokens;
};

/* 0, CMD_USAGE, or -1 after --help. */
static int parse(struct options *o, int argc, char **argv)
{
	static const struct option options[] = {
		LOCAL_OPTIONS,
		{ "file", required_argument, NULL, 'f' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int opt, rc;

	opterr = 0;
	while ((opt = getopt_long(argc, argv, "m:t:f:h", options, NULL)) != -1) {
		if (opt == 'h')
			return -1;
		if (opt == '?')
			return cmd_usage(NAME, "%s: no such option, or its value is missing",
					 argv[optind - 1]);
		rc = local_option(&o->conf, NAME, opt, optarg);
		if (rc < 0 && opt == 'f')
			o->file = optarg;
		else if (rc < 0 && opt == 'j')
			o->json = true;
		else if (rc)
			return CMD_USAGE;
	}
	if (optind < argc)
		return cmd_usage(NAME, "what is \"%s\"?", argv[optind]);
	if (!o->conf.model || !o->file)
		return cmd_usage(NAME, "-m and -f are needed");
	return 0;
}

/* -log p of one token, in double. */
static double nll_of(const float *logits, uint32_t n, uint32_t id)
{
	double top = (double)logits[0], sum = 0;

	for (uint32_t i = 1; i < n; i++)
		top = (double)logits[i] > top ? (double)logits[i] : top;
	for (uint32_t i = 0; i < n; i++)
		sum += exp((double)logits[i] - top);
	return top + log(sum) - (double)logits[id];
}

/* Rows x of positions whose successors are next[0..n). */
static int score_rows(struct local *l, const float *x, const uint32_t *next, uint32_t n,
		      struct score *s, struct err *e)
{
	const struct model_hparams *hp = local_hparams(l);

	for (uint32_t at = 0; at < n; at += HEAD_ROWS) {
		uint32_t rows = n - at < HEAD_ROWS ? n - at : HEAD_ROWS;
		const float *logits;
		int rc = local_logits(l, x + (size_t)at * hp->dim, rows, &logits, e);

		if (rc)
			return rc;
		for (uint32_t r = 0; r < rows; r++) {
			if (next[at + r] >= hp->n_vocab)
				return err_set(e, ERR_LIMIT, "a token id is not in 0..%" PRIu32,
					       hp->n_vocab - 1);
			s->nll +=
				nll_of(logits + (size_t)r * hp->n_vocab, hp->n_vocab, next[at + r]);
			s->tokens++;
		}
	}
	return 0;
}

/* One window of n tokens: all but the last are run, all but the first are predicted. */
static int score_window(struct local *l, const uint32_t *ids, uint32_t n, struct score *s,
			struct err *e)
{
	int rc = local_begin(l, n, e);

	for (uint32_t at = 0; at + 1 < n && !rc; at += LOCAL_ROWS) {
		uint32_t rows = n - 1 - at < LOCAL_ROWS ? n - 1 - at : LOCAL_ROWS;
		const float *x;

		rc = local_run(l, ids + at, rows, &x, e);
		if (!rc)
			rc = score_rows(l, x, ids + at + 1, rows, s, e);
	}
	return rc;
}

/* All windows. ids[0] is BOS when bos: it is then put before each later window, too, in the place
 * of the token that the window before it ended with. */
static int score_text(struct local *l, uint32_t *ids, size_t n, bool bos, struct score *s,
		      struct err *e)
{
	struct progress progress = { .what = NAME, .units = "tokens", .total = n };
	const size_t window = local_ctx(l), step = bos ? window - 1 : window;
	int rc = 0;

	if (window < 2)
		return err_set(e, ERR_LIMIT, "a context of one token predicts nothing");
	for (size_t at = 0; at + 1 < n && !rc; at += step) {
		size_t len = n - at < window ? n - at : window;

		if (bos)
			ids[at] = ids[0];
		rc = score_window(l, ids + at, (uint32_t)len, s, e);
		progress_show(&progress, at + len);
	}
	progress_clear(&progress);
	return rc;
}

static int print_json(const struct local *l, const struct score *s, struct err *e)
{
	const double rows = (double)local_wire_rows(l), bytes = (double)local_wire_bytes(l);
	const double per_row = rows > 0 ? bytes / rows : 0;
	struct json *root = json_object();
	char *line = NULL;
	size_t len;
	int rc;

	json_add_f64(root, "ppl", exp(s->nll / (double)s->tokens));
	json_add_f64(root, "nll", s->nll / (double)s->tokens);
	json_add_u64(root, "tokens", s->tokens);
	json_add_f64(root, "bits_per_element", per_row * 8 / local_hparams(l)->dim);
	json_add_f64(root, "bytes_per_token", per_row);
	rc = json_print(root, &line, &len);
	if (rc)
		err_set(e, rc, "%s", err_phrase(rc));
	else
		puts(line);
	free(line);
	json_free(root);
	return rc;
}

static void print_text(const struct local *l, const struct score *s)
{
	const uint64_t rows = local_wire_rows(l);
	const double mean = s->nll / (double)s->tokens;

	fprintf(stderr, "perplexity %.4f (nll %.6f) over %" PRIu64 " tokens\n", exp(mean), mean,
		s->tokens);
	if (rows)
		fprintf(stderr, "across the split: %.1f bytes per token, %.3f bits per element\n",
			(double)local_wire_bytes(l) / (double)rows,
			(double)local_wire_bytes(l) * 8 / (double)rows / local_hparams(l)->dim);
}

/* The text's ids; *bos: they begin with the BOS that the vocabulary adds. */
static int encode(const struct options *o, const struct local *l, uint32_t **ids, size_t *n,
		  bool *bos, struct err *e)
{
	const unsigned flags = TOKENIZER_ADD_SPECIAL | TOKENIZER_PARSE_SPECIAL;
	struct tokenizer *tok = NULL;
	char *text = NULL;
	size_t len;
	int rc = cmd_read_file(o->file, MAX_TEXT_BYTES, &text, &len, e);

	if (!rc)
		rc = tokenizer_create(&tok, local_gguf(l), e);
	if (!rc)
		rc = tokenizer_encode(tok, text, len, flags, ids, n, e);
	if (!rc)
		*bos = *n > 0 && (*ids)[0] == tokenizer_bos(tok);
	if (!rc && *n < 2)
		rc = err_set(e, ERR_USAGE, "%s: too short to predict anything", o->file);
	tokenizer_destroy(tok);
	free(text);
	return rc;
}

static int perplexity(const struct options *o, struct err *e)
{
	struct score score = { 0 };
	struct local *l = NULL;
	uint32_t *ids = NULL;
	bool bos = false;
	size_t n = 0;
	int rc = local_open(&l, &o->conf, e);

	if (!rc)
		rc = encode(o, l, &ids, &n, &bos, e);
	if (!rc)
		rc = score_text(l, ids, n, bos, &score, e);
	if (!rc && !isfinite(score.nll))
		rc = err_set(e, ERR_NOT_FINITE, "the model's logits are not finite");
	if (!rc)
		rc = print_json(l, &score, e);
	if (!rc && !o->json)
		print_text(l, &score);
	local_close(l);
	free(ids);
	return rc;
}

int cmd_perplexity(int argc, char **argv)
{
	struct options o = { .conf = LOCAL_DEFAULTS(KV_F32) };
	struct err e;
	int rc = parse(&o, argc, argv);

	if (rc)
		return rc < 0 ? cmd_help(NAME) : rc;
	return perplexity(&o, &e) ? cmd_fail(NAME, &e) : CMD_OK;
}
