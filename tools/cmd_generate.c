/* tools/cmd_generate.c - a prompt's continuation, in one process and without a broker. */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/prompt.h"
#include "schema/json.h"
#include "tools/cmd.h"
#include "tools/commands.h"
#include "tools/generate.h"
#include "tools/local.h"

#define NAME "generate"

struct request {
	struct local_conf conf;
	const char *prompt, *tokens;
	uint32_t n;
	struct sampler_params sampling;
	bool raw, json;
};

/* Text kept for --json. */
struct text {
	char *bytes;
	size_t len, cap;
	bool keep, failed;
};

#define TEXT(field)        OPTIONS_TEXT(struct request, field)
#define F32(field, lo, hi) OPTIONS_F32(struct request, sampling.field, lo, hi)
#define U32(field, lo, hi) OPTIONS_U32(struct request, field, lo, hi)

static const struct options_row options[] = {
	LOCAL_OPTIONS(struct request, conf, "f16"),
	{ 'p', "prompt", "TEXT", TEXT(prompt),
	  .help = "a person's text; the model's chat template is put around it" },
	{ 0, "raw", NULL, OPTIONS_FLAG(struct request, raw),
	  .help = "no chat template: continue TEXT itself" },
	{ 0, "tokens", "IDS", TEXT(tokens),
	  .help = "1,2,3 or @FILE: continue these tokens as they are (no BOS is added)" },
	{ 'n', "n-tokens", "N", U32(n, 1, 1 << 30), .help = "generate at most N tokens" },
	{ 0, "temp", "T", F32(temperature, 0, 10),
	  .help = "temperature; 0 takes the likeliest token" },
	{ 0, "top-k", "K", U32(sampling.top_k, 0, UINT32_MAX),
	  .help = "draw from the K likeliest; 0: all" },
	{ 0, "top-p", "P", F32(top_p, 0, 1),
	  .help = "draw from the fewest that reach probability P; 1: all" },
	{ 0, "min-p", "P", F32(min_p, 0, 1),
	  .help = "drop those less likely than P times the likeliest" },
	{ 0, "repeat-penalty", "R", F32(repeat_penalty, 0, 10),
	  .help = "divide logits of recent tokens by R; 1: off" },
	{ 0, "repeat-last", "N", U32(sampling.repeat_last, 0, 4096),
	  .help = "how many generated tokens are recent" },
	{ 0, "seed", "S", OPTIONS_U64(struct request, sampling.seed, 0, OPTIONS_ANY),
	  .help = "of the draws: the same seed gives the same text" },
	{ 0, "json", NULL, OPTIONS_FLAG(struct request, json),
	  .help = "one object instead of text: {\"text\",\"ids\",\"finish_reason\",...}" },
};

const struct options_table cmd_generate_options = {
	.program = "splitmq " NAME,
	.summary = "continue a prompt in one process",
	.synopsis = "-m FILE (-p TEXT | --tokens IDS) [OPTIONS]",
	OPTIONS_ROWS(options),
	.notes = "The text streams to standard output, a summary follows on standard error. "
		 "finish_reason is stop (an end token came; it is the last of ids), length (N "
		 "tokens) or context (it is full).",
};

/* OPTIONS_GO_ON, or the exit status. */
static int parse(struct request *o, int argc, char **argv)
{
	const struct options_table *table = &cmd_generate_options;
	const int rc = options_read(table, o, argc, argv);
	struct err e;

	if (rc != OPTIONS_GO_ON)
		return rc;
	if (!o->prompt == !o->tokens)
		return options_wrong(table, "either -p or --tokens is needed");
	if (sampler_check(&o->sampling, &e))
		return options_wrong(table, "%s", e.text);
	return rc;
}

static void keep(struct text *t, const char *bytes, size_t len)
{
	if (t->len + len > t->cap) {
		size_t cap = 2 * (t->len + len);
		char *bigger = realloc(t->bytes, cap);

		if (!bigger) {
			t->failed = true;
			return;
		}
		t->bytes = bigger;
		t->cap = cap;
	}
	if (len)
		memcpy(t->bytes + t->len, bytes, len);
	t->len += len;
}

static void on_text(void *arg, const char *bytes, size_t len)
{
	struct text *t = arg;

	if (t->keep) {
		keep(t, bytes, len);
	} else if (len) {
		fwrite(bytes, 1, len, stdout);
		fflush(stdout);
	}
}

/* What a person typed, with the model's template around it. */
static int encode(const struct request *o, const struct local *l, const struct tokenizer *tok,
		  uint32_t **ids, size_t *n, struct err *e)
{
	const unsigned flags = TOKENIZER_ADD_SPECIAL | TOKENIZER_PARSE_SPECIAL;
	const char *family = o->raw ? "none" : prompt_family(local_gguf(l));
	char *wrapped = NULL;
	size_t len;
	int rc;

	if (!strcmp(family, "none"))
		return tokenizer_encode(tok, o->prompt, strlen(o->prompt), flags, ids, n, e);
	rc = prompt_apply(family, o->prompt, strlen(o->prompt), &wrapped, &len);
	if (rc)
		return err_set(e, rc, "chat template %s: %s", family, err_phrase(rc));
	rc = tokenizer_encode(tok, wrapped, len, flags, ids, n, e);
	free(wrapped);
	return rc;
}

static double per_second(uint64_t n, uint64_t us)
{
	return us ? (double)n * 1e6 / (double)us : 0;
}

static double bytes_per_token(const struct local *l)
{
	uint64_t rows = local_wire_rows(l);

	return rows ? (double)local_wire_bytes(l) / (double)rows : 0;
}

static int print_json(const struct request *o, const struct local *l, size_t n_prompt,
		      const struct generate_result *r, const struct text *text, struct err *e)
{
	struct json *root = json_object(), *ids;

	json_add_text(root, "text", text->bytes, text->len);
	ids = json_add_array(root, "ids");
	for (uint32_t i = 0; i < r->n; i++)
		json_push_u64(ids, r->ids[i]);
	json_add_str(root, "finish_reason", r->finish_reason);
	json_add_u64(root, "prompt_tokens", n_prompt);
	json_add_u64(root, "tokens", r->n);
	json_add_f64(root, "prompt_tok_s", per_second(n_prompt, r->prompt_us));
	json_add_f64(root, "tok_s", per_second(r->n, r->decode_us));
	if (o->conf.split != LOCAL_NO_SPLIT) {
		json_add_u64(root, "split", o->conf.split);
		json_add_str(root, "codec", o->conf.codec);
		json_add_f64(root, "bytes_per_token", bytes_per_token(l));
	}
	return cmd_print_json(root, e);
}

static void print_summary(const struct request *o, const struct local *l, size_t n_prompt,
			  const struct generate_result *r)
{
	fprintf(stderr,
		"\n%zu prompt tokens at %.1f tok/s, %" PRIu32
		" generated at %.1f tok/s, finish: %s\n",
		n_prompt, per_second(n_prompt, r->prompt_us), r->n, per_second(r->n, r->decode_us),
		r->finish_reason);
	if (o->conf.split != LOCAL_NO_SPLIT)
		fprintf(stderr, "split after layer %" PRIu32 ": %.1f bytes per token (%s)\n",
			o->conf.split, bytes_per_token(l), o->conf.codec);
}

/* Continue ids and print what comes. */
static int answer(const struct request *o, struct local *l, const struct tokenizer *tok,
		  const uint32_t *ids, size_t n, struct err *e)
{
	struct text text = { .keep = o->json };
	struct generate_result r = { 0 };
	struct generate_job job = { .prompt = ids,
				    .n_prompt = n < UINT32_MAX ? (uint32_t)n : UINT32_MAX,
				    .n_max = o->n,
				    .sampling = o->sampling,
				    .emit = on_text,
				    .arg = &text };
	int rc;

	if (n < 1)
		return err_set(e, ERR_USAGE, "an empty prompt and no BOS: nothing to continue");
	rc = generate_run(&r, l, tok, &job, e);
	if (!rc && text.failed)
		rc = err_set(e, ERR_NOMEM, "text: out of memory");
	if (!rc && o->json)
		rc = print_json(o, l, n, &r, &text, e);
	else if (!rc)
		print_summary(o, l, n, &r);
	free(r.ids);
	free(text.bytes);
	return rc;
}

static int generate(const struct request *o, struct err *e)
{
	struct tokenizer *tok = NULL;
	struct local *l = NULL;
	uint32_t *ids = NULL;
	size_t n = 0;
	int rc = local_open(&l, &o->conf, e);

	if (!rc)
		rc = tokenizer_create(&tok, local_gguf(l), e);
	if (!rc && o->tokens)
		rc = cmd_read_ids(o->tokens, &ids, &n, e);
	else if (!rc)
		rc = encode(o, l, tok, &ids, &n, e);
	if (!rc)
		rc = answer(o, l, tok, ids, n, e);
	tokenizer_destroy(tok);
	local_close(l);
	free(ids);
	return rc;
}

int cmd_generate(int argc, char **argv)
{
	struct request o = { .conf = LOCAL_DEFAULTS(KV_F16), .n = 256 };
	struct err e;
	int rc;

	o.sampling = SAMPLER_DEFAULTS;
	rc = parse(&o, argc, argv);
	if (rc != OPTIONS_GO_ON)
		return rc;
	return generate(&o, &e) ? cmd_fail(NAME, &e) : CMD_OK;
}
