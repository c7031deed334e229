/* tools/bench_bus.h - `splitmq bench bus`: round trips through a broker. */
#ifndef TOOLS_BENCH_BUS_H
#define TOOLS_BENCH_BUS_H

extern const char bench_bus_usage[];
int bench_bus(int argc, char **argv);

#endif
