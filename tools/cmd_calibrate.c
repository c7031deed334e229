/* tools/cmd_calibrate.c - learn predictors for the splits of a model, and what splitting costs. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/cal.h"
#include "engine/model.h"
#include "engine/quantize.h"
#include "tools/calibrate.h"
#include "tools/cmd.h"
#include "tools/commands.h"
#include "tools/inspect_cal.h"

#define NAME       "calibrate"
#define MAX_DELTAS 16

const char cmd_calibrate_usage[] =
	"splitmq calibrate -m FILE -f TEXT [OPTIONS]\n"
	"\n"
	"  -m, --model FILE    GGUF file\n"
	"  -f, --file TEXT     text like that which the model will be used for; 20,000 tokens and\n"
	"                      more are good\n"
	"  -o, --output FILE   where to (default: MODEL.cal, where every other command looks)\n"
	"  --splits A,B,...    (default: all, 0 to L-1)\n"
	"  --deltas D,D,...    codec levels of the accuracy table (default 0.005,0.02,0.05; none:\n"
	"                      no table)\n"
	"  --kv T,T,...        caches of the table (default f16,q8_0,q4_0)\n"
	"  --front T,T,...     precisions of the front layers in it; keep: as in the file "
	"(default\n"
	"                      keep,Q4_K)\n"
	"  --features N        describe a token by N numbers, 1..4096, instead of giving it values "
	"of\n"
	"                      its own (default: 256 where vocabulary x width is above 1 Mi)\n"
	"  --imatrix FILE      also write importance of the weights, for splitmq quantize\n"
	"  --tokens N          most tokens that a line of it is measured over (default 1024)\n"
	"  --ctx N             tokens of a window (default: the model's context, at most 512)\n"
	"  --hold N            every Nth window is not learned from, but measured with (default "
	"8)\n"
	"  --fresh             begin anew; else what FILE holds already is kept and completed\n"
	"  -t, --threads N     (default 1)\n"
	"  --json              print the accuracy table as JSON, a line each\n"
	"  -h, --help          this text\n"
	"\n"
	"Agent and worker need the same calibration file to predict rows from one another. It is\n"
	"saved after every step: an interrupted run goes on where it was.\n";

struct options {
	struct calibrate_conf conf;
	char out[4096];
	uint32_t splits[CAL_MAX_SPLITS];
	bool all_splits;
	float deltas[MAX_DELTAS];
	unsigned fronts[MAX_DELTAS];
	enum kv_type caches[KV_TYPE_COUNT];
	bool json;
};

enum {
	OPT_SPLITS = 0x100,
	OPT_DELTAS,
	OPT_TOKENS,
	OPT_CTX,
	OPT_HOLD,
	OPT_FRESH,
	OPT_JSON,
	OPT_KV,
	OPT_FRONT,
	OPT_IMATRIX,
	OPT_FEATURES,
};

static int parse_splits(struct options *o, const char *arg)
{
	struct err e;
	uint32_t *ids = NULL;
	size_t n = 0;
	int rc = cmd_read_ids(arg, &ids, &n, &e);

	if (rc)
		return cmd_usage(NAME, "--splits: %s", e.text);
	o->conf.n_splits = 0;
	for (size_t i = 0; i < n && i < CAL_MAX_SPLITS; i++)
		o->splits[o->conf.n_splits++] = ids[i];
	o->all_splits = false;
	free(ids);
	return 0;
}

static int parse_deltas(struct options *o, const char *arg)
{
	const char *at = arg;

	o->conf.n_deltas = 0;
	if (!strcmp(arg, "none"))
		return 0;
	while (*at) {
		char *end;
		double v = strtod(at, &end);

		if (end == at || (*end && *end != ',') || !(v >= 1e-6 && v <= 0.5) ||
		    o->conf.n_deltas == MAX_DELTAS)
			return cmd_usage(NAME,
					 "--deltas: up to %d numbers in 0.000001..0.5, not \"%s\"",
					 MAX_DELTAS, arg);
		o->deltas[o->conf.n_deltas++] = (float)v;
		at = *end ? end + 1 : end;
	}
	return 0;
}

/* The next of some words with commas between them; false at the end. */
static bool next_word(const char **at, char word[static 16])
{
	size_t len = strcspn(*at, ",");

	if (!**at)
		return false;
	snprintf(word, 16, "%.*s", len < 16 ? (int)len : 15, *at);
	*at += len + ((*at)[len] == ',');
	return true;
}

static int parse_caches(struct options *o, const char *arg)
{
	char word[16];

	o->conf.n_caches = 0;
	for (const char *at = arg; next_word(&at, word);) {
		if (o->conf.n_caches == KV_TYPE_COUNT ||
		    kv_type_parse(&o->caches[o->conf.n_caches++], word))
			return cmd_usage(NAME, "--kv: \"%s\" is none of " KV_TYPE_WORDS, word);
	}
	return 0;
}

static int parse_fronts(struct options *o, const char *arg)
{
	char word[16];

	o->conf.n_fronts = 0;
	for (const char *at = arg; next_word(&at, word);) {
		enum quant_type type = QUANT_F32;
		bool keep = !strcmp(word, "keep");

		if (o->conf.n_fronts == MAX_DELTAS || (!keep && quantize_parse(&type, word)))
			return cmd_usage(NAME, "--front: \"%s\" is no type that can be written",
					 word);
		o->fronts[o->conf.n_fronts++] = keep ? CAL_AS_IS : (unsigned)type;
	}
	return 0;
}

static int take(struct options *o, int opt, const char *arg)
{
	unsigned long long n = 0;
	int rc = 0;

	switch (opt) {
	case 'm':
		o->conf.model = arg;
		return 0;
	case 'f':
		o->conf.text = arg;
		return 0;
	case 'o':
		o->conf.out = arg;
		return 0;
	case 't':
		rc = cmd_u64(NAME, "--threads", arg, 1, 64, &n);
		o->conf.threads = (unsigned)n;
		return rc;
	case OPT_SPLITS:
		return parse_splits(o, arg);
	case OPT_DELTAS:
		return parse_deltas(o, arg);
	case OPT_KV:
		return parse_caches(o, arg);
	case OPT_FRONT:
		return parse_fronts(o, arg);
	case OPT_FEATURES:
		rc = cmd_u64(NAME, "--features", arg, 1, CAL_MAX_F, &n);
		o->conf.features = (uint32_t)n;
		return rc;
	case OPT_IMATRIX:
		o->conf.imatrix = arg;
		return 0;
	case OPT_TOKENS:
		rc = cmd_u64(NAME, "--tokens", arg, 16, 1 << 24, &n);
		o->conf.loss_tokens = (uint32_t)n;
		return rc;
	case OPT_CTX:
		rc = cmd_u64(NAME, "--ctx", arg, 2, 1 << 20, &n);
		o->conf.ctx = (uint32_t)n;
		return rc;
	case OPT_HOLD:
		rc = cmd_u64(NAME, "--hold", arg, 2, 1000, &n);
		o->conf.hold = (unsigned)n;
		return rc;
	case OPT_FRESH:
		o->conf.fresh = true;
		return 0;
	default:
		o->json = true;
		return 0;
	}
}

/* 0, CMD_USAGE, or -1 after --help. */
static int parse(struct options *o, int argc, char **argv)
{
	static const struct option options[] = {
		{ "model", required_argument, NULL, 'm' },
		{ "file", required_argument, NULL, 'f' },
		{ "output", required_argument, NULL, 'o' },
		{ "threads", required_argument, NULL, 't' },
		{ "splits", required_argument, NULL, OPT_SPLITS },
		{ "deltas", required_argument, NULL, OPT_DELTAS },
		{ "kv", required_argument, NULL, OPT_KV },
		{ "front", required_argument, NULL, OPT_FRONT },
		{ "features", required_argument, NULL, OPT_FEATURES },
		{ "imatrix", required_argument, NULL, OPT_IMATRIX },
		{ "tokens", required_argument, NULL, OPT_TOKENS },
		{ "ctx", required_argument, NULL, OPT_CTX },
		{ "hold", required_argument, NULL, OPT_HOLD },
		{ "fresh", no_argument, NULL, OPT_FRESH },
		{ "json", no_argument, NULL, OPT_JSON },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int opt, rc;

	opterr = 0;
	while ((opt = getopt_long(argc, argv, "m:f:o:t:h", options, NULL)) != -1) {
		if (opt == 'h')
			return -1;
		if (opt == '?')
			return cmd_usage(NAME, "%s: no such option, or its value is missing",
					 argv[optind - 1]);
		rc = take(o, opt, optarg);
		if (rc)
			return rc;
	}
	if (optind < argc)
		return cmd_usage(NAME, "what is \"%s\"?", argv[optind]);
	if (!o->conf.model || !o->conf.text)
		return cmd_usage(NAME, "-m and -f are needed");
	return 0;
}

static int compare_splits(const void *a, const void *b)
{
	const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* What depends on the model: all its splits, its context. */
static int complete(struct options *o, struct err *e)
{
	struct model_hparams hp;
	struct gguf *g = NULL;
	int rc = gguf_open(&g, o->conf.model, e);

	if (!rc)
		rc = model_read_hparams(&hp, g, e);
	gguf_close(g);
	if (rc)
		return rc;
	for (uint32_t i = 0; o->all_splits && i < hp.n_layers && i < CAL_MAX_SPLITS; i++)
		o->splits[o->conf.n_splits++] = i;
	qsort(o->splits, o->conf.n_splits, sizeof(o->splits[0]), compare_splits);
	if (o->conf.n_splits && o->splits[o->conf.n_splits - 1] >= hp.n_layers)
		return err_set(e, ERR_LIMIT, "split %u: this model has splits 0..%u",
			       (unsigned)o->splits[o->conf.n_splits - 1],
			       (unsigned)hp.n_layers - 1);
	if (!o->conf.ctx)
		o->conf.ctx = hp.n_ctx_train < 512 ? hp.n_ctx_train : 512;
	return 0;
}

static int print_table(const struct options *o, struct err *e)
{
	struct cal *c = NULL;
	int rc = cal_open(&c, o->conf.out, e);

	if (rc)
		return rc;
	inspect_cal_losses(c, o->json);
	if (!o->json)
		fprintf(stderr, "%s: %u splits, calibration %s\n", o->conf.out,
			(unsigned)c->n_splits, c->id);
	cal_close(c);
	return 0;
}

int cmd_calibrate(int argc, char **argv)
{
	static struct options o = {
		.conf = { .threads = 1,
			  .hold = 8,
			  .loss_tokens = 1024,
			  .n_deltas = 3,
			  .n_fronts = 2,
			  .n_caches = 3 },
		.all_splits = true,
		.deltas = { 0.005f, 0.02f, 0.05f },
		.fronts = { CAL_AS_IS, QUANT_Q4_K },
		.caches = { KV_F16, KV_Q8_0, KV_Q4_0 },
	};
	struct err e = { 0 };
	int rc = parse(&o, argc, argv);

	if (rc)
		return rc < 0 ? cmd_help(NAME) : rc;
	o.conf.splits = o.splits;
	o.conf.deltas = o.deltas;
	o.conf.fronts = o.fronts;
	o.conf.caches = o.caches;
	if (!o.conf.out) {
		snprintf(o.out, sizeof(o.out), "%s" CAL_SUFFIX, o.conf.model);
		o.conf.out = o.out;
	}
	rc = complete(&o, &e);
	if (!rc)
		rc = calibrate_run(&o.conf, &e);
	if (!rc)
		rc = print_table(&o, &e);
	return rc ? cmd_fail(NAME, &e) : CMD_OK;
}
