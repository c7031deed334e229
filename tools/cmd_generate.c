/* tools/cmd_generate.c - a prompt's continuation, in one process and without a broker. */
#include <float.h>
#include <getopt.h>
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

const char cmd_generate_usage[] =
	"splitmq generate -m FILE (-p TEXT | --tokens IDS) [OPTIONS]\n"
	"\n" LOCAL_USAGE "  --kv TYPE           cache in " KV_TYPE_WORDS " (default f16)\n"
	"  -p, --prompt TEXT   a person's text; the model's chat template is put around it\n"
	"  --raw               no chat template: continue TEXT itself\n"
	"  --tokens IDS        1,2,3 or @FILE: continue these tokens as they are (no BOS is "
	"added)\n"
	"  -n, --n-tokens N    generate at most N tokens (default 256)\n"
	"  --temp T            temperature, 0..10; 0 takes the likeliest token (default 0)\n"
	"  --top-k K           draw from the K likeliest (default 0: all)\n"
	"  --top-p P           draw from the fewest that reach probability P (default 1: all)\n"
	"  --min-p P           drop those less likely than P times the likeliest (default 0)\n"
	"  --repeat-penalty R  divide logits of recent tokens by R (default 1: off)\n"
	"  --repeat-last N     how many generated tokens are recent, 0..4096 (default 64)\n"
	"  --seed S            of the draws: the same seed gives the same text (default 0)\n"
	"  --json              one object instead of text: "
	"{\"text\",\"ids\",\"finish_reason\",...}\n"
	"  -h, --help          this text\n"
	"\n"
	"The text streams to standard output, a summary follows on standard error. finish_reason "
	"is\n"
	"stop (an end token came; it is the last of ids), length (N tokens) or context (it is "
	"full).\n";

struct options {
	struct local_conf conf;
	const char *prompt, *tokens;
	unsigned long long n;
	struct sampler_params sampling;
	bool raw, json;
};

/* Text kept for --json. */
struct text {
	char *bytes;
	size_t len, cap;
	bool keep, failed;
};

enum {
	OPT_TOKENS = 0x200,
	OPT_RAW,
	OPT_TEMP,
	OPT_TOP_K,
	OPT_TOP_P,
	OPT_MIN_P,
	OPT_PENALTY,
	OPT_LAST,
	OPT_SEED,
	OPT_JSON,
};

static const struct option options[] = {
	LOCAL_OPTIONS,
	{ "prompt", required_argument, NULL, 'p' },
	{ "tokens", required_argument, NULL, OPT_TOKENS },
	{ "raw", no_argument, NULL, OPT_RAW },
	{ "n-tokens", required_argument, NULL, 'n' },
	{ "temp", required_argument, NULL, OPT_TEMP },
	{ "top-k", required_argument, NULL, OPT_TOP_K },
	{ "top-p", required_argument, NULL, OPT_TOP_P },
	{ "min-p", required_argument, NULL, OPT_MIN_P },
	{ "repeat-penalty", required_argument, NULL, OPT_PENALTY },
	{ "repeat-last", required_argument, NULL, OPT_LAST },
	{ "seed", required_argument, NULL, OPT_SEED },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "help", no_argument, NULL, 'h' },
	{ 0 },
};

static int set_u32(const char *option, uint32_t *v)
{
	unsigned long long n = 0;
	int rc = cmd_u64(NAME, option, optarg, 0, UINT32_MAX, &n);

	if (!rc)
		*v = (uint32_t)n;
	return rc;
}

/* Any number here; sampler_check knows the ranges. */
static int set_float(const char *option, float *v)
{
	double x = 0;
	int rc = cmd_f64(NAME, option, optarg, -FLT_MAX, FLT_MAX, &x);

	if (!rc)
		*v = (float)x;
	return rc;
}

static int take_sampling(struct sampler_params *p, int opt)
{
	unsigned long long seed = 0;
	int rc;

	switch (opt) {
	case OPT_TEMP:
		return set_float("--temp", &p->temperature);
	case OPT_TOP_K:
		return set_u32("--top-k", &p->top_k);
	case OPT_TOP_P:
		return set_float("--top-p", &p->top_p);
	case OPT_MIN_P:
		return set_float("--min-p", &p->min_p);
	case OPT_PENALTY:
		return set_float("--repeat-penalty", &p->repeat_penalty);
	case OPT_LAST:
		return set_u32("--repeat-last", &p->repeat_last);
	case OPT_SEED:
		rc = cmd_u64(NAME, "--seed", optarg, 0, UINT64_MAX, &seed);
		p->seed = seed;
		return rc;
	default:
		return CMD_USAGE; /* not reached: every option of the table is above */
	}
}

static int take(struct options *o, int opt)
{
	switch (opt) {
	case 'p':
		o->prompt = optarg;
		return 0;
	case 'n':
		return cmd_u64(NAME, "-n", optarg, 1, 1 << 30, &o->n);
	case OPT_TOKENS:
		o->tokens = optarg;
		return 0;
	case OPT_RAW:
		o->raw = true;
		return 0;
	case OPT_JSON:
		o->json = true;
		return 0;
	default:
		return take_sampling(&o->sampling, opt);
	}
}

/* 0, CMD_USAGE, or -1 after --help. */
static int parse(struct options *o, int argc, char **argv)
{
	struct err e;
	int opt, rc;

	opterr = 0;
	while ((opt = getopt_long(argc, argv, "m:t:p:n:h", options, NULL)) != -1) {
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
	if (!o->conf.model || !o->prompt == !o->tokens)
		return cmd_usage(NAME, "-m and either -p or --tokens are needed");
	if (sampler_check(&o->sampling, &e))
		return cmd_usage(NAME, "%s", e.text);
	return 0;
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
static int encode(const struct options *o, const struct local *l, const struct tokenizer *tok,
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

static int print_json(const struct options *o, const struct local *l, size_t n_prompt,
		      const struct generate_result *r, const struct text *text, struct err *e)
{
	struct json *root = json_object(), *ids;
	char *line = NULL;
	size_t len;
	int rc;

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
	rc = json_print(root, &line, &len);
	if (rc)
		err_set(e, rc, "%s", err_phrase(rc));
	else
		puts(line);
	free(line);
	json_free(root);
	return rc;
}

static void print_summary(const struct options *o, const struct local *l, size_t n_prompt,
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
static int answer(const struct options *o, struct local *l, const struct tokenizer *tok,
		  const uint32_t *ids, size_t n, struct err *e)
{
	struct text text = { .keep = o->json };
	struct generate_result r = { 0 };
	struct generate_job job = { .prompt = ids,
				    .n_prompt = n < UINT32_MAX ? (uint32_t)n : UINT32_MAX,
				    .n_max = (uint32_t)o->n,
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

static int generate(const struct options *o, struct err *e)
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
	struct options o = { .conf = LOCAL_DEFAULTS(KV_F16), .n = 256 };
	struct err e;
	int rc;

	o.sampling = SAMPLER_DEFAULTS;
	rc = parse(&o, argc, argv);
	if (rc)
		return rc < 0 ? cmd_help(NAME) : rc;
	return generate(&o, &e) ? cmd_fail(NAME, &e) : CMD_OK;
}
