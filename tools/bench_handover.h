/* tools/bench_handover.h - `splitmq bench handover`: what a split that moves does to a session. */
#ifndef TOOLS_BENCH_HANDOVER_H
#define TOOLS_BENCH_HANDOVER_H

#include "daemon/options.h"

extern const struct options_table bench_handover_options;
int bench_handover(int argc, char **argv);

#endif
