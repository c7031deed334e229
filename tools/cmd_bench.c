/* tools/cmd_bench.c - what parts of splitmq cost and gain: `splitmq bench WHAT`. */
#include <stdio.h>
#include <string.h>

#include "tools/bench.h"
#include "tools/bench_bus.h"
#include "tools/bench_handover.h"
#include "tools/bench_model.h"
#include "tools/bench_split.h"
#include "tools/bench_worker.h"
#include "tools/cmd.h"
#include "tools/commands.h"

#define NAME "bench"

static const struct {
	const char *name;
	const struct options_table *options;
	int (*run)(int argc, char **argv);
} benches[] = {
	{ "codec", &bench_codec_options, bench_codec },
	{ "bus", &bench_bus_options, bench_bus },
	{ "split", &bench_split_options, bench_split },
	{ "handover", &bench_handover_options, bench_handover },
	{ "model", &bench_model_options, bench_model },
	{ "worker", &bench_worker_options, bench_worker },
};

#define BENCHES (sizeof(benches) / sizeof(benches[0]))

const struct options_table cmd_bench_options = {
	.program = "splitmq " NAME,
	.summary = "what it costs and gains: bench codec, model, bus, split, handover, worker",
};

static int help(void)
{
	printf("%s - %s\n\nusage: %s WHAT [OPTIONS]\n\n", cmd_bench_options.program,
	       cmd_bench_options.summary, cmd_bench_options.program);
	for (size_t i = 0; i < BENCHES; i++)
		printf("  %-10s%s\n", benches[i].name, benches[i].options->summary);
	printf("\nsplitmq bench WHAT --help tells more.\n");
	return CMD_OK;
}

int cmd_bench(int argc, char **argv)
{
	if (argc < 2)
		return options_wrong(&cmd_bench_options, "what shall be measured?");
	for (size_t i = 0; i < BENCHES; i++) {
		if (!strcmp(benches[i].name, argv[1]))
			return benches[i].run(argc - 1, argv + 1);
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))
		return help();
	return options_wrong(&cmd_bench_options, "\"%s\" cannot be measured", argv[1]);
}
