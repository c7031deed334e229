/* tools/splitmq.c - the one tool: `splitmq COMMAND ...`. */
#include <stdio.h>
#include <string.h>

#include "base/near.h"
#include "tools/cmd.h"
#include "tools/commands.h"

#define NAME "splitmq"

static const struct {
	const char *name;
	const struct options_table *options;
	int (*run)(int argc, char **argv); /* argv[0] is the name */
} commands[] = {
	{ "run", &cmd_run_options, cmd_run },
	{ "generate", &cmd_generate_options, cmd_generate },
	{ "logits", &cmd_logits_options, cmd_logits },
	{ "perplexity", &cmd_perplexity_options, cmd_perplexity },
	{ "bench", &cmd_bench_options, cmd_bench },
	{ "calibrate", &cmd_beside_options, cmd_beside },
	{ "decode", &cmd_decode_options, cmd_decode },
	{ "inspect", &cmd_inspect_options, cmd_inspect },
	{ "plan", &cmd_plan_options, cmd_plan },
	{ "quantize", &cmd_quantize_options, cmd_quantize },
	{ "relay", &cmd_relay_options, cmd_relay },
	{ "simulate", &cmd_simulate_options, cmd_simulate },
	{ "synth", &cmd_synth_options, cmd_synth },
	{ "tokenize", &cmd_tokenize_options, cmd_tokenize },
	{ "watch", &cmd_watch_options, cmd_watch },
};

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static int list(FILE *out)
{
	fprintf(out, "usage: splitmq COMMAND [OPTIONS]\n\n");
	for (size_t i = 0; i < COMMANDS; i++)
		fprintf(out, "  %-12s %s\n", commands[i].name, commands[i].options->summary);
	fprintf(out,
		"\nsplitmq COMMAND --help tells more. splitmq --version prints the version.\n");
	return out == stdout ? CMD_OK : CMD_USAGE;
}

static int unknown(const char *word)
{
	unsigned best = near_limit(word);
	const char *near = NULL;

	for (size_t i = 0; i < COMMANDS; i++) {
		const char *name = commands[i].name;
		const unsigned d = near_distance(word, name, strlen(name));

		near = d < best ? name : near;
		best = d < best ? d : best;
	}
	fprintf(stderr, "splitmq: no command \"%s\"%s%s%s (see: splitmq --help)\n", word,
		near ? "; is " : "", near ? near : "", near ? " meant?" : "");
	return CMD_USAGE;
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return list(stderr);
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help"))
		return options_finish(NAME, list(stdout));
	if (!strcmp(argv[1], "--version")) {
		printf("splitmq %s\n", SPLITMQ_VERSION);
		return options_finish(NAME, CMD_OK);
	}
	for (size_t i = 0; i < COMMANDS; i++) {
		if (!strcmp(commands[i].name, argv[1]))
			return options_finish(NAME, commands[i].run(argc - 1, argv + 1));
	}
	return unknown(argv[1]);
}
