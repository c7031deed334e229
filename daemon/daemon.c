#include "daemon/daemon.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/trace.h"
#include "daemon/options.h"

struct request {
	struct daemon_args args;
	bool version;
};

/* The last one is not every daemon's. */
static const struct options_row options[] = {
	{ 'c', "config", "FILE", OPTIONS_TEXT(struct request, args.config),
	  .help = "configuration (YAML); keys can be overridden by SPLITMQ_* variables" },
	{ 0, "check", NULL, OPTIONS_FLAG(struct request, args.check),
	  .help = "validate the configuration and what it names, then exit" },
	{ 0, "print-config", NULL, OPTIONS_FLAG(struct request, args.print_config),
	  .help = "print the effective configuration, secrets masked, then exit" },
	{ 0, "version", NULL, OPTIONS_FLAG(struct request, version), .help = "print the version" },
	{ 0, "trace", "FILE", OPTIONS_TEXT(struct request, args.trace),
	  .help = "write where time went, as a Chrome trace, at the end" },
};

int daemon_parse(struct daemon_args *args, int argc, char **argv, const char *what,
		 const char *version, bool traces)
{
	const char *slash = strrchr(argv[0], '/');
	const struct options_table table = {
		.program = slash ? slash + 1 : argv[0],
		.synopsis = traces ? "-c FILE [--check | --print-config | --trace FILE]"
				   : "-c FILE [--check | --print-config]",
		.about = what,
		.rows = options,
		.n_rows = sizeof(options) / sizeof(options[0]) - !traces,
	};
	struct request r = { 0 };
	int rc = options_read(&table, &r, argc, argv);

	*args = r.args;
	if (rc != OPTIONS_GO_ON)
		return options_finish(table.program, rc);
	if (r.version) {
		printf("%s %s\n", table.program, version);
		return options_finish(table.program, 0);
	}
	return args->config ? -1 : options_wrong(&table, "-c FILE is missing");
}

static void fill(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGTERM);
}

void daemon_block_signals(void)
{
	sigset_t set;

	fill(&set);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

/* For the life of the process, like its thread. */
static struct {
	pthread_mutex_t lock;
	void (*on_signal)(void *ctx, int signal); /* NULL: ignored */
	void *ctx;
} catcher = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void *wait_for_signals(void *arg)
{
	sigset_t set;
	int sig;

	(void)arg;
	fill(&set);
	while (!sigwait(&set, &sig)) {
		pthread_mutex_lock(&catcher.lock);
		if (catcher.on_signal)
			catcher.on_signal(catcher.ctx, sig);
		pthread_mutex_unlock(&catcher.lock);
	}
	return NULL;
}

static void set_catcher(void (*on_signal)(void *ctx, int signal), void *ctx)
{
	pthread_mutex_lock(&catcher.lock);
	catcher.on_signal = on_signal;
	catcher.ctx = ctx;
	pthread_mutex_unlock(&catcher.lock);
}

int daemon_catch_signals(void (*on_signal)(void *ctx, int signal), void *ctx)
{
	pthread_t thread;

	set_catcher(on_signal, ctx);
	if (pthread_create(&thread, NULL, wait_for_signals, NULL))
		return ERR_INTERNAL;
	pthread_detach(thread);
	return 0;
}

void daemon_ignore_signals(void)
{
	set_catcher(NULL, NULL);
}

int daemon_trace(const struct daemon_args *args, const char *program, const char *name,
		 struct err *e)
{
	char process[128];

	if (!args->trace)
		return 0;
	snprintf(process, sizeof(process), "%s %.100s", program, name);
	return trace_open(args->trace, process, e);
}

void daemon_trace_end(void)
{
	struct err e = { 0 };

	if (trace_close(&e))
		log_event(LOG_LEVEL_ERROR, "trace.failed", "reason=%s", LOG_QUOTED(e.text));
}

uint64_t daemon_stack_bytes(void)
{
	pthread_attr_t attr;
	size_t bytes = 0;

	if (pthread_attr_init(&attr))
		return 0;
	if (pthread_attr_getstacksize(&attr, &bytes))
		bytes = 0;
	pthread_attr_destroy(&attr);
	return bytes;
}

unsigned daemon_n_cpus(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	return n < 1 ? 1 : (unsigned)n;
}
