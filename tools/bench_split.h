/* tools/bench_split.h - `splitmq bench split`: a split session beside the same model whole. */
#ifndef TOOLS_BENCH_SPLIT_H
#define TOOLS_BENCH_SPLIT_H

extern const char bench_split_usage[];
int bench_split(int argc, char **argv);

#endif
