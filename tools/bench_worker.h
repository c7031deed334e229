/* tools/bench_worker.h - `splitmq bench worker`: many sessions on the compute side of a worker. */
#ifndef TOOLS_BENCH_WORKER_H
#define TOOLS_BENCH_WORKER_H

extern const char bench_worker_usage[];
int bench_worker(int argc, char **argv);

#endif
