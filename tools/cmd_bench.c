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

static const struct {
	const char *name, *summary, *usage;
	int (*run)(int argc, char **argv);
} benches[] = {
	{ "codec", "bits, error and speed of the codec and of other ways to send rows",
	  bench_codec_usage, bench_codec },
	{ "bus", "round trips through a broker, by size and QoS", bench_bus_usage, bench_bus },
	{ "split", "a whole split session, over a slow link or none", bench_split_usage,
	  bench_split },
	{ "handover", "the gap between tokens while the split moves", bench_handover_usage,
	  bench_handover },
	{ "model", "speed of prompts, decoding and batches; opening and memory", bench_model_usage,
	  bench_model },
	{ "worker", "many sessions that decode at once, alone and beside a long prompt",
	  bench_worker_usage, bench_worker },
};

#define BENCHES (sizeof(benches) / sizeof(benches[0]))

const char cmd_bench_usage[] =
	"splitmq bench WHAT [OPTIONS]\n"
	"\n"
	"  codec     bits, error and speed of the codec and of other ways to send rows\n"
	"  bus       round trips through a broker, by size and QoS\n"
	"  split     a whole split session, over a slow link or none\n"
	"  handover  the gap between tokens while the split moves\n"
	"  model     speed of prompts, decoding and batches; opening and memory\n"
	"  worker    many sessions that decode at once, alone and beside a long prompt\n"
	"\n"
	"splitmq bench WHAT --help tells more.\n";

static bool asks_for_help(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
			return true;
	}
	return false;
}

int cmd_bench(int argc, char **argv)
{
	if (argc < 2)
		return cmd_usage("bench", "what shall be measured?");
	for (size_t i = 0; i < BENCHES; i++) {
		if (strcmp(benches[i].name, argv[1]))
			continue;
		if (asks_for_help(argc - 1, argv + 1)) {
			printf("splitmq bench %s - %s\n\n%s", benches[i].name, benches[i].summary,
			       benches[i].usage);
			return CMD_OK;
		}
		return benches[i].run(argc - 1, argv + 1);
	}
	if (asks_for_help(argc, argv))
		return cmd_help("bench");
	return cmd_usage("bench", "\"%s\" cannot be measured", argv[1]);
}
