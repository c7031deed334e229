/* tools/cmd_synth.c - a model of a known shape with random weights, for measuring. */
#include <strings.h>

#include "engine/quantize.h"
#include "tools/cmd.h"
#include "tools/commands.h"
#include "tools/synth.h"

#define NAME    "synth"
#define MIXTURE "Q4_K_M"

struct request {
	struct synth_conf conf;
	const char *out;
};

static int take_shape(void *place, const char *text, struct err *e)
{
	struct request *r = place;

	r->conf.shape = synth_find(text);
	return r->conf.shape ? 0 : err_set(e, ERR_USAGE, "\"%s\" is not known", text);
}

static int take_type(void *place, const char *text, struct err *e)
{
	struct request *r = place;

	r->conf.mixture = !strcasecmp(text, MIXTURE);
	r->conf.type = QUANT_Q4_K;
	if (!r->conf.mixture && quantize_parse(&r->conf.type, text))
		return err_set(e, ERR_USAGE, "\"%s\" is no type that can be written", text);
	return 0;
}

static const struct options_row options[] = {
	{ 0, "OUT", NULL, OPTIONS_TEXT(struct request, out), .operand = true, .needed = true,
	  .help = "the file" },
	{ 0, "shape", "S", OPTIONS_TAKEN_ALL(take_shape), .needed = true,
	  .help = "tinyllama-1.1b, llama-3.2-1b, qwen2.5-0.5b, llama-3.1-8b, or toy (a few "
		  "megabytes, for tests)" },
	{ 0, "type", "T", OPTIONS_TAKEN_ALL(take_type), .needed = true,
	  .help = "F32, F16, BF16, Q8_0, Q6_K, Q5_1, Q5_0, Q5_K, Q4_1, Q4_0, Q4_K, Q3_K, Q2_K, or "
		  "the mixture Q4_K_M: Q6_K in half of attn_v and ffn_down. The output matrix has "
		  "at least Q6_K, as in files of real models" },
	{ 0, "seed", "S", OPTIONS_U64(struct request, conf.seed, 0, OPTIONS_ANY),
	  .help = "other random numbers; the same seed makes the same file" },
};

const struct options_table cmd_synth_options = {
	.program = "splitmq " NAME,
	.summary = "a model of a known shape with random weights",
	.synopsis = "--shape S --type T OUT [OPTIONS]",
	.about =
		"Writes a GGUF file with random weights: as large and as fast as the real model of "
		"that shape, so that speed can be measured without a download. Its text means "
		"nothing.",
	OPTIONS_ROWS(options),
};

int cmd_synth(int argc, char **argv)
{
	struct request r = { .conf = { .seed = 1 } };
	struct progress p = { .what = NAME, .units = "KiB" };
	struct err e;
	int rc = options_read(&cmd_synth_options, &r, argc, argv);

	if (rc != OPTIONS_GO_ON)
		return rc;
	cmd_catch_interrupt();
	return synth_write(&r.conf, r.out, &p, cmd_interrupted, &e) ? cmd_fail(NAME, &e) : CMD_OK;
}
