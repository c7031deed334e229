/* tools/bench_handover.h - `splitmq bench handover`: what a split that moves does to a session. */
#ifndef TOOLS_BENCH_HANDOVER_H
#define TOOLS_BENCH_HANDOVER_H

extern const char bench_handover_usage[];
int bench_handover(int argc, char **argv);

#endif
