/* tools/child.h - another program for a while: started with its output in a file, and stopped.
 *
 * A child ends with the thread that started it, whatever happens to that. One thread. */
#ifndef TOOLS_CHILD_H
#define TOOLS_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

struct child {
	pid_t pid; /* 0: none */
};

/* Run argv[0] (looked for in PATH, /usr/sbin and /usr/local/sbin) with standard input closed and
 * output appended to the file log. ERR_IO; what exec says is seen as an early end. */
MUST_CHECK int child_start(struct child *c, char *const argv[], const char *log, struct err *e);

/* Path of a program that belongs to this one: beside it, where it is installed, or in `folder`
 * beside its folder, where it is built. ERR_NOT_FOUND, ERR_LIMIT. */
MUST_CHECK int child_find(char *path, size_t room, const char *folder, const char *program,
			  struct err *e);

/* Still running? Takes the status of one that has ended. */
bool child_runs(struct child *c);

/* SIGTERM, after grace_ms SIGKILL, and wait. None is fine. */
void child_stop(struct child *c, unsigned grace_ms);

#endif
