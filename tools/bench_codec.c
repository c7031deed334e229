/* tools/bench_codec.c - `splitmq bench codec`: its options, and which parts run. */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "codec/cal.h"
#include "engine/gguf.h"
#include "engine/model.h"
#include "tools/bench.h"
#include "tools/cmd.h"

#define NAME "bench codec"

const char bench_codec_usage[] =
	"splitmq bench codec [-m FILE -f TEXT] [OPTIONS]\n"
	"\n"
	"  -m, --model FILE    GGUF file: also measure its rows, with -f\n"
	"  -f, --file TEXT     the text that the model reads, - for standard input\n"
	"      --split A,B,... layers after which rows are taken (default: four over the model)\n"
	"      --calibration F predictors (default: MODEL.cal, if it is there)\n"
	"      --tokens N      of the text, at most (default 1024)\n"
	"      --dim N         elements of a row of the known sources (default 2048)\n"
	"      --rows N        of each source (default 32)\n"
	"      --part WHAT     rate (known sources), rows (of the model) or speed; may be given\n"
	"                      again (default: all that can be)\n"
	"  -r, --repeat N      repeats of a measurement of time (default 15)\n"
	"      --csv DIR       also write rate-sources.csv, rate-rows.csv and speed.csv there\n"
	"                      (tools/plot-codec draws them)\n"
	"      --json          one line of JSON instead of tables\n"
	"  -h, --help          this text\n"
	"\n"
	"bits/elem counts all bytes of a chunk. SNR is 10 log10 of energy over error, both of "
	"what\n"
	"does not stick out of a row, averaged over rows; bound is what a Gaussian source of that "
	"energy\n"
	"takes at that error, 1/2 log2(energy / error), and gap what a method takes beyond it. "
	"Rows "
	"of\n"
	"decoding cross one by one and their tokens are known; of a prompt 64 at a time, and "
	"tokens "
	"that\n"
	"rows are predicted from count 4 bytes each. Speed is that of one row, and of 64, of 4096\n"
	"Gaussian elements in tabq without prediction; what prediction takes comes on top of it.\n";

enum {
	OPT_SPLIT = 0x100,
	OPT_CALIBRATION,
	OPT_TOKENS,
	OPT_DIM,
	OPT_ROWS,
	OPT_PART,
	OPT_CSV,
	OPT_JSON
};

static const struct option options[] = {
	{ "model", required_argument, NULL, 'm' },
	{ "file", required_argument, NULL, 'f' },
	{ "split", required_argument, NULL, OPT_SPLIT },
	{ "calibration", required_argument, NULL, OPT_CALIBRATION },
	{ "tokens", required_argument, NULL, OPT_TOKENS },
	{ "dim", required_argument, NULL, OPT_DIM },
	{ "rows", required_argument, NULL, OPT_ROWS },
	{ "part", required_argument, NULL, OPT_PART },
	{ "repeat", required_argument, NULL, 'r' },
	{ "csv", required_argument, NULL, OPT_CSV },
	{ "json", no_argument, NULL, OPT_JSON },
	{ 0 },
};

static int set_u32(const char *option, const char *arg, uint32_t min, uint32_t max, uint32_t *v)
{
	unsigned long long n = 0;
	int rc = cmd_u64(NAME, option, arg, min, max, &n);

	if (!rc)
		*v = (uint32_t)n;
	return rc;
}

static int set_splits(struct bench_conf *c, const char *arg)
{
	uint32_t *ids = NULL;
	struct err e;
	size_t n = 0;

	if (cmd_read_ids(arg, &ids, &n, &e) || n > BENCH_MAX_SPLITS) {
		free(ids);
		return cmd_usage(NAME, "--split must be up to %d numbers with commas, not \"%s\"",
				 BENCH_MAX_SPLITS, arg);
	}
	memcpy(c->splits, ids, n * sizeof(*ids));
	c->n_splits = (unsigned)n;
	free(ids);
	return 0;
}

static int set_part(struct bench_conf *c, const char *arg)
{
	if (!strcmp(arg, "rate"))
		c->rate = true;
	else if (!strcmp(arg, "rows"))
		c->real = true;
	else if (!strcmp(arg, "speed"))
		c->speed = true;
	else
		return cmd_usage(NAME, "--part must be rate, rows or speed, not \"%s\"", arg);
	return 0;
}

static int set(struct bench_conf *c, int opt, const char *arg)
{
	switch (opt) {
	case 'm':
		c->model = arg;
		return 0;
	case 'f':
		c->text = arg;
		return 0;
	case 'r':
		return set_u32("--repeat", arg, 1, BENCH_MAX_REPEAT, &c->repeat);
	case OPT_SPLIT:
		return set_splits(c, arg);
	case OPT_CALIBRATION:
		c->calibration = arg;
		return 0;
	case OPT_TOKENS:
		return set_u32("--tokens", arg, 1, 1 << 20, &c->tokens);
	case OPT_DIM:
		return set_u32("--dim", arg, 8, 1 << 20, &c->dim);
	case OPT_ROWS:
		return set_u32("--rows", arg, 1, 1 << 16, &c->rows);
	case OPT_PART:
		return set_part(c, arg);
	case OPT_CSV:
		c->csv = arg;
		return 0;
	case OPT_JSON:
		c->json = true;
		return 0;
	default:
		return CMD_USAGE;
	}
}

static int parse(struct bench_conf *c, int argc, char **argv)
{
	int opt, rc;

	opterr = 0;
	optind = 1;
	while ((opt = getopt_long(argc, argv, "m:f:r:", options, NULL)) != -1) {
		if (opt == '?')
			return cmd_usage(NAME, "%s: no such option, or its value is missing",
					 argv[optind - 1]);
		rc = set(c, opt, optarg);
		if (rc)
			return rc;
	}
	if (optind < argc)
		return cmd_usage(NAME, "what is \"%s\"?", argv[optind]);
	if (!c->model != !c->text)
		return cmd_usage(NAME, "-m and -f go together");
	if (c->real && !c->model)
		return cmd_usage(NAME, "--part rows needs -m and -f");
	if (!c->rate && !c->real && !c->speed)
		c->rate = c->speed = true, c->real = c->model;
	return 0;
}

/* The splits that were not named, the calibration beside the model, and that it is of the model. */
static int look_at_model(struct bench_conf *c, char path[static 4096], struct err *e)
{
	char hash[GGUF_HASH_LEN + 1];
	struct model_hparams hp;
	struct cal *cal = NULL;
	struct gguf *g = NULL;
	int rc = gguf_open(&g, c->model, e);

	if (!rc)
		rc = model_read_hparams(&hp, g, e);
	for (unsigned i = 0; i < 4 && !rc && !c->n_splits; i++)
		c->splits[i] = hp.n_layers < 4 ? (i + 1 < hp.n_layers ? i + 1 : hp.n_layers)
					       : (hp.n_layers * (i + 1) + 2) / 5;
	c->n_splits = c->n_splits ? c->n_splits : !rc && hp.n_layers < 4 ? hp.n_layers : 4;
	snprintf(path, 4096, "%s" CAL_SUFFIX, c->model);
	if (!rc && !c->calibration && !access(path, R_OK))
		c->calibration = path;
	if (!rc && c->calibration)
		rc = cal_open(&cal, c->calibration, e);
	if (!rc && cal)
		rc = gguf_hash(g, hash, e);
	if (!rc && cal && strcmp(hash, cal->model))
		rc = err_set(e, ERR_MODEL_MISMATCH, "%s is of model %s, not of %s (%s)",
			     c->calibration, cal->model, c->model, hash);
	cal_close(cal);
	gguf_close(g);
	return rc;
}

static int run(struct bench *b, struct err *e)
{
	char path[4096];
	int rc = b->conf.model ? look_at_model(&b->conf, path, e) : 0;

	if (!rc && b->conf.real && !b->conf.calibration)
		fprintf(stderr, "no calibration: nothing is predicted (splitmq calibrate)\n");
	if (!rc && b->conf.rate)
		rc = bench_rate(b, e);
	if (!rc && b->conf.real)
		rc = bench_real(b, e);
	if (!rc && b->conf.speed)
		rc = bench_speed(b, e);
	if (!rc && b->conf.csv)
		rc = bench_write_csv(b, e);
	if (!rc && b->conf.json)
		rc = bench_print_json(b, e);
	else if (!rc)
		bench_print(b);
	return rc;
}

int bench_codec(int argc, char **argv)
{
	struct bench b = {
		.conf = { .dim = 2048, .rows = 32, .tokens = 1024, .repeat = 15 },
	};
	struct err e;
	int rc = parse(&b.conf, argc, argv);

	if (!rc)
		rc = run(&b, &e) ? cmd_fail(NAME, &e) : CMD_OK;
	free(b.points);
	free(b.times);
	return rc;
}
