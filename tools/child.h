/* tools/child.h - another program for a while: started with its output in a file, and stopped.
 *
 * A child ends with the thread that started it, whatever happens to that. One thread. */
#ifndef TOOLS_CHILD_H
#define TOOLS_CHILD_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

struct child {
	pid_t pid; /* 0: none */
};

/* Run argv[0] (looked for in PATH, /usr/sbin and /usr/local/sbin) with standard input closed and
 * output appended to the file log. ERR_IO; what exec says is seen as an early end. */
MUST_CHECK int child_start(struct child *c, char *const argv[], const char *log, struct err *e);

/* Still running? Takes the status of one that has ended. */
bool child_runs(struct child *c);

/* SIGTERM, after grace_ms SIGKILL, and wait. None is fine. */
void child_stop(struct child *c, unsigned grace_ms);

#endif
