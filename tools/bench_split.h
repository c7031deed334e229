/* tools/bench_split.h - `splitmq bench split`: a split session beside the same model whole. */
#ifndef TOOLS_BENCH_SPLIT_H
#define TOOLS_BENCH_SPLIT_H

#include "daemon/options.h"

extern const struct options_table bench_split_options;
int bench_split(int argc, char **argv);

#endif
