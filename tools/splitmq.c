/* tools/splitmq.c - the one tool: `splitmq COMMAND ...`. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tools/cmd.h"
#include "tools/commands.h"

const struct cmd cmd_table[] = {
	{ "run", "one prompt over the bus, through an agent", cmd_run_usage, cmd_run },
	{ "generate", "continue a prompt in one process", cmd_generate_usage, cmd_generate },
	{ "logits", "what the model says after every position", cmd_logits_usage, cmd_logits },
	{ "perplexity", "how well a model, or its split, predicts a text", cmd_perplexity_usage,
	  cmd_perplexity },
	{ "bench", "what it costs and gains: bench codec, model, bus, split", cmd_bench_usage,
	  cmd_bench },
	{ "calibrate", "learn to predict rows, and what a split costs", cmd_beside_usage,
	  cmd_beside },
	{ "decode", "what a frame or control message from stdin says", cmd_decode_usage,
	  cmd_decode },
	{ "inspect", "what a GGUF file holds, and what each split would weigh", cmd_inspect_usage,
	  cmd_inspect },
	{ "plan", "what a coordinator would decide for an agent, and why", cmd_plan_usage,
	  cmd_plan },
	{ "quantize", "a GGUF file in other precisions, whole or a slice of its layers",
	  cmd_quantize_usage, cmd_quantize },
	{ "relay", "a slow link, to be put between an agent and its broker", cmd_relay_usage,
	  cmd_relay },
	{ "simulate", "a fleet that is not there, and what a coordinator decides for it",
	  cmd_simulate_usage, cmd_simulate },
	{ "synth", "a model of a known shape with random weights", cmd_synth_usage, cmd_synth },
	{ "tokenize", "text to token ids, or back", cmd_tokenize_usage, cmd_tokenize },
	{ "watch", "live traffic of a fleet, decoded", cmd_watch_usage, cmd_watch },
	{ 0 },
};

static int list(FILE *out)
{
	fprintf(out, "usage: splitmq COMMAND [OPTIONS]\n\n");
	for (const struct cmd *c = cmd_table; c->name; c++)
		fprintf(out, "  %-12s %s\n", c->name, c->summary);
	fprintf(out,
		"\nsplitmq COMMAND --help tells more. splitmq --version prints the version.\n");
	return out == stdout ? CMD_OK : CMD_USAGE;
}

/* What could not be written was not done: a full disk must not look like success. */
static int finish(int status)
{
	if (!fflush(stdout) && !ferror(stdout))
		return status;
	fprintf(stderr, "splitmq: standard output cannot be written: %s\n", strerror(errno));
	return status ? status : CMD_FAILED;
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return list(stderr);
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help"))
		return finish(list(stdout));
	if (!strcmp(argv[1], "--version")) {
		printf("splitmq %s\n", SPLITMQ_VERSION);
		return CMD_OK;
	}
	for (const struct cmd *c = cmd_table; c->name; c++) {
		if (!strcmp(c->name, argv[1]))
			return finish(c->run(argc - 1, argv + 1));
	}
	fprintf(stderr, "splitmq: no command \"%s\" (see: splitmq --help)\n", argv[1]);
	return CMD_USAGE;
}
