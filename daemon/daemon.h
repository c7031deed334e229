/* daemon/daemon.h - what the daemons share: command line, signals, facts about the process. */
#ifndef DAEMON_DAEMON_H
#define DAEMON_DAEMON_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct daemon_args {
	const char *config; /* -c FILE */
	bool check;         /* --check: validate and exit */
	bool print_config;  /* --print-config: the effective configuration, secrets masked */
	const char *trace;  /* --trace FILE; NULL: none */
};

/* Parse the command line; traces: --trace is one of its options. Returns -1 to go on, else the exit
 * status (0 after --help or --version, 2 for wrong usage, said on stderr). Main thread. */
int daemon_parse(struct daemon_args *args, int argc, char **argv, const char *what,
		 const char *version, bool traces);

/* Block SIGINT and SIGTERM in the calling thread and all threads it starts later, ignore SIGPIPE.
 * First thing in main. */
void daemon_block_signals(void);

/* Start one thread that calls on_signal(ctx, signal) for each SIGINT and SIGTERM. Call once.
 * daemon_ignore_signals: no call is running or will come once it returned (before ctx is freed). */
void daemon_ignore_signals(void);
MUST_CHECK int daemon_catch_signals(void (*on_signal)(void *ctx, int signal), void *ctx);

/* As trace_open for `program name`, when args ask for a trace. At its end, what goes wrong is
 * logged. Main thread. */
MUST_CHECK int daemon_trace(const struct daemon_args *args, const char *program, const char *name,
			    struct err *e);
void daemon_trace_end(void);

/* Addresses that the stack of a new thread takes. */
uint64_t daemon_stack_bytes(void);

/* Processors this process may run on, >= 1. */
unsigned daemon_n_cpus(void);

#endif
