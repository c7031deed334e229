/* tools/cmd_synth.c - a model of a known shape with random weights, for measuring. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "engine/quantize.h"
#include "tools/cmd.h"
#include "tools/commands.h"
#include "tools/synth.h"

#define NAME    "synth"
#define MIXTURE "Q4_K_M"

const char cmd_synth_usage[] =
	"usage: splitmq synth --shape S --type T OUT [OPTIONS]\n"
	"\n"
	"Writes a GGUF file with random weights: as large and as fast as the real model of that\n"
	"shape, so that speed can be measured without a download. Its text means nothing.\n"
	"\n"
	"  --shape S    tinyllama-1.1b, llama-3.2-1b, qwen2.5-0.5b, llama-3.1-8b, or toy (a few\n"
	"               megabytes, for tests)\n"
	"  --type T     F32, F16, BF16, Q8_0, Q6_K, Q5_1, Q5_0, Q5_K, Q4_1, Q4_0, Q4_K, Q3_K, "
	"Q2_K,\n"
	"               or the mixture Q4_K_M: Q6_K in half of attn_v and ffn_down. The output\n"
	"               matrix has at least Q6_K, as in files of real models\n"
	"  --seed S     other random numbers (default 1); the same seed makes the same file\n"
	"  -h, --help   this text\n";

enum { OPT_SHAPE = 0x100, OPT_TYPE, OPT_SEED };

static const struct option options[] = {
	{ "shape", required_argument, NULL, OPT_SHAPE },
	{ "type", required_argument, NULL, OPT_TYPE },
	{ "seed", required_argument, NULL, OPT_SEED },
	{ "help", no_argument, NULL, 'h' },
	{ 0 },
};

struct request {
	struct synth_conf conf;
	const char *out;
	bool has_type, help;
};

static int take(struct request *r, int opt, const char *seen)
{
	unsigned long long seed = 0;
	int rc;

	switch (opt) {
	case OPT_SHAPE:
		r->conf.shape = synth_find(optarg);
		return r->conf.shape ? 0 : cmd_usage(NAME, "no shape \"%s\" is known", optarg);
	case OPT_TYPE:
		r->has_type = true;
		r->conf.mixture = !strcasecmp(optarg, MIXTURE);
		r->conf.type = QUANT_Q4_K;
		if (!r->conf.mixture && quantize_parse(&r->conf.type, optarg))
			return cmd_usage(NAME, "--type: \"%s\" is no type that can be written",
					 optarg);
		return 0;
	case OPT_SEED:
		rc = cmd_u64(NAME, "--seed", optarg, 0, UINT64_MAX, &seed);
		r->conf.seed = seed;
		return rc;
	case 'h':
		r->help = true;
		return 0;
	default:
		return cmd_usage(NAME, "no option %s, or its value is missing", seen);
	}
}

static int parse(struct request *r, int argc, char **argv)
{
	int opt, rc = 0;

	opterr = 0;
	while (!rc && !r->help && (opt = getopt_long(argc, argv, "h", options, NULL)) != -1)
		rc = take(r, opt, argv[optind - 1]);
	if (rc || r->help)
		return rc;
	if (!r->conf.shape || !r->has_type || argc - optind != 1)
		return cmd_usage(NAME, "--shape, --type and one OUT wanted");
	r->out = argv[optind];
	return 0;
}

int cmd_synth(int argc, char **argv)
{
	struct request r = { .conf = { .seed = 1 } };
	struct progress p = { .what = NAME, .units = "KiB" };
	struct err e;
	int rc = parse(&r, argc, argv);

	if (rc)
		return rc;
	if (r.help)
		return cmd_help(NAME);
	return synth_write(&r.conf, r.out, &p, &e) ? cmd_fail(NAME, &e) : CMD_OK;
}
