/* tools/commands.h - what each tools/cmd_<name>.c puts into the table of splitmq.c. */
#ifndef TOOLS_COMMANDS_H
#define TOOLS_COMMANDS_H

#include "daemon/options.h"

extern const struct options_table cmd_bench_options;
int cmd_bench(int argc, char **argv);

/* Of a program beside this one. */
extern const struct options_table cmd_beside_options;
int cmd_beside(int argc, char **argv);

extern const struct options_table cmd_calibrate_options;
int cmd_calibrate(int argc, char **argv);

extern const struct options_table cmd_decode_options;
int cmd_decode(int argc, char **argv);

extern const struct options_table cmd_inspect_options;
int cmd_inspect(int argc, char **argv);

extern const struct options_table cmd_plan_options;
int cmd_plan(int argc, char **argv);

extern const struct options_table cmd_run_options;
int cmd_run(int argc, char **argv);

extern const struct options_table cmd_relay_options;
int cmd_relay(int argc, char **argv);

extern const struct options_table cmd_simulate_options;
int cmd_simulate(int argc, char **argv);

extern const struct options_table cmd_synth_options;
int cmd_synth(int argc, char **argv);

extern const struct options_table cmd_tokenize_options;
int cmd_tokenize(int argc, char **argv);

extern const struct options_table cmd_generate_options;
int cmd_generate(int argc, char **argv);

extern const struct options_table cmd_logits_options;
int cmd_logits(int argc, char **argv);

extern const struct options_table cmd_perplexity_options;
int cmd_perplexity(int argc, char **argv);

extern const struct options_table cmd_quantize_options;
int cmd_quantize(int argc, char **argv);

extern const struct options_table cmd_watch_options;
int cmd_watch(int argc, char **argv);

#endif
