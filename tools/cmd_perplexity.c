/* tools/cmd_perplexity.c - how well the model, or the model and its split, predicts a text. */
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

struct request {
	struct local_conf conf;
	const char *file;
	bool json;
};

struct score {
	double nll; /* sum */
	uint64_t tokens;
};

static const struct options_row options[] = {
	LOCAL_OPTIONS(struct request, conf, "f32"),
	{ 'f', "file", "TEXT", OPTIONS_TEXT(struct request, file), .needed = true,
	  .help = "the text, - for standard input" },
	{ 0, "json", NULL, OPTIONS_FLAG(struct request, json),
	  .help = "nothing but the line on stdout: "
		  "{\"ppl\",\"nll\",\"tokens\",\"bits_per_element\","
		  "\"bytes_per_token\"}; without it also a sentence on stderr" },
};

const struct options_table cmd_perplexity_options = {
	.program = "splitmq " NAME,
	.summary = "how well a model, or its split, predicts a text",
	.synopsis = "-m FILE -f TEXT [OPTIONS]",
	OPTIONS_ROWS(options),
	.notes = "The text is encoded once (control tokens in it are read as such) and cut into "
		 "consecutive windows of --ctx tokens, each of which begins with BOS where the "
		 "vocabulary adds one. Every token that has another before it in its window is "
		 "predicted and counted. nll is the mean negative log likelihood in nats, ppl = "
		 "exp(nll), tokens how many were predicted. What crosses the split is given per "
		 "element and per row; both are 0 without --split.",
};

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
				return err_set(e, ERR_LIMIT,
					       "token id %" PRIu32 " is not in 0..%" PRIu32,
					       next[at + r], hp->n_vocab - 1);
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

	json_add_f64(root, "ppl", exp(s->nll / (double)s->tokens));
	json_add_f64(root, "nll", s->nll / (double)s->tokens);
	json_add_u64(root, "tokens", s->tokens);
	json_add_f64(root, "bits_per_element", per_row * 8 / local_hparams(l)->dim);
	json_add_f64(root, "bytes_per_token", per_row);
	return cmd_print_json(root, e);
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
static int encode(const struct request *o, const struct local *l, uint32_t **ids, size_t *n,
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

static int perplexity(const struct request *o, struct err *e)
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
	struct request o = { .conf = LOCAL_DEFAULTS(KV_F32) };
	struct err e;
	int rc = options_read(&cmd_perplexity_options, &o, argc, argv);

	if (rc != OPTIONS_GO_ON)
		return rc;
	return perplexity(&o, &e) ? cmd_fail(NAME, &e) : CMD_OK;
}
