/* tools/bench_worker.h - `splitmq bench worker`: many sessions on the compute side of a worker. */
#ifndef TOOLS_BENCH_WORKER_H
#define TOOLS_BENCH_WORKER_H

#include "daemon/options.h"

extern const struct options_table bench_worker_options;
int bench_worker(int argc, char **argv);

#endif
