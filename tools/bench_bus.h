/* tools/bench_bus.h - `splitmq bench bus`: round trips through a broker. */
#ifndef TOOLS_BENCH_BUS_H
#define TOOLS_BENCH_BUS_H

#include "daemon/options.h"

extern const struct options_table bench_bus_options;
int bench_bus(int argc, char **argv);

#endif
