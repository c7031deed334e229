/* tools/progress.h - one line on a terminal while long work goes on; nothing anywhere else. */
#ifndef TOOLS_PROGRESS_H
#define TOOLS_PROGRESS_H

#include <stdint.h>

/* "what: 12 of 345 units" on stderr, rewritten at most ten times a second. */
struct progress {
	const char *what, *units;
	uint64_t total;
	uint64_t shown_ms; /* when last written; 0: never */
};

void progress_show(struct progress *p, uint64_t done);

/* Wipe the line, so that the next output starts clean. */
void progress_clear(struct progress *p);

#endif
