/* tools/commands.h - what each tools/cmd_<name>.c puts into the table of splitmq.c. */
#ifndef TOOLS_COMMANDS_H
#define TOOLS_COMMANDS_H

extern const char cmd_bench_usage[];
int cmd_bench(int argc, char **argv);

/* Of a program beside this one. */
extern const char cmd_beside_usage[];
int cmd_beside(int argc, char **argv);

extern const char cmd_calibrate_usage[];
int cmd_calibrate(int argc, char **argv);

extern const char cmd_decode_usage[];
int cmd_decode(int argc, char **argv);

extern const char cmd_inspect_usage[];
int cmd_inspect(int argc, char **argv);

extern const char cmd_plan_usage[];
int cmd_plan(int argc, char **argv);

extern const char cmd_run_usage[];
int cmd_run(int argc, char **argv);

extern const char cmd_relay_usage[];
int cmd_relay(int argc, char **argv);

extern const char cmd_simulate_usage[];
int cmd_simulate(int argc, char **argv);

extern const char cmd_synth_usage[];
int cmd_synth(int argc, char **argv);

extern const char cmd_tokenize_usage[];
int cmd_tokenize(int argc, char **argv);

extern const char cmd_generate_usage[];
int cmd_generate(int argc, char **argv);

extern const char cmd_logits_usage[];
int cmd_logits(int argc, char **argv);

extern const char cmd_perplexity_usage[];
int cmd_perplexity(int argc, char **argv);

extern const char cmd_quantize_usage[];
int cmd_quantize(int argc, char **argv);

extern const char cmd_watch_usage[];
int cmd_watch(int argc, char **argv);

#endif
