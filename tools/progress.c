#include "tools/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"

#define INTERVAL_MS 100

void progress_show(struct progress *p, uint64_t done)
{
	uint64_t now = clock_now_ms();

	if (!isatty(STDERR_FILENO) || (p->shown_ms && now - p->shown_ms < INTERVAL_MS))
		return;
	p->shown_ms = now;
	fprintf(stderr, "\r\033[K%s: %" PRIu64 " of %" PRIu64 " %s", p->what, done, p->total,
		p->units);
	fflush(stderr);
}

void progress_clear(struct progress *p)
{
	if (!p->shown_ms)
		return;
	fputs("\r\033[K", stderr);
	fflush(stderr);
	p->shown_ms = 0;
}
