#include "daemon/daemon.h"

#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/trace.h"

static void usage(FILE *out, const char *name, const char *what, bool traces)
{
	fprintf(out,
		"usage: %s -c FILE [--check | --print-config]\n\n"
		"%s\n\n"
		"  -c, --config FILE   configuration (YAML); keys can be overridden by SPLITMQ_* "
		"variables\n"
		"      --check         validate the configuration and what it names, then exit\n"
		"      --print-config  print the effective configuration, secrets masked, then "
		"exit\n"
		"%s"
		"      --version       print the version\n"
		"      --help          this text\n",
		name, what,
		traces ? "      --trace FILE    write where time went, as a Chrome trace, at the "
			 "end\n"
		       : "");
}

static int wrong(const char *name, const char *word, const char *what)
{
	fprintf(stderr, "%s: %s: %s (see: %s --help)\n", name, word, what, name);
	return 2;
}

int daemon_parse(struct daemon_args *args, int argc, char **argv, const char *what,
		 const char *version, bool traces)
{
	enum { OPT_CHECK = 256, OPT_PRINT, OPT_TRACE, OPT_VERSION, OPT_HELP };
	static const struct option longs[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "check", no_argument, NULL, OPT_CHECK },
		{ "print-config", no_argument, NULL, OPT_PRINT },
		{ "trace", required_argument, NULL, OPT_TRACE },
		{ "version", no_argument, NULL, OPT_VERSION },
		{ "help", no_argument, NULL, OPT_HELP },
		{ 0 },
	};
	const char *slash = strrchr(argv[0], '/');
	const char *name = slash ? slash + 1 : argv[0];
	int c;

	*args = (struct daemon_args){ 0 };
	opterr = 0;
	while ((c = getopt_long(argc, argv, "c:h", longs, NULL)) != -1) {
		if (c == 'c') {
			args->config = optarg;
		} else if (c == OPT_CHECK) {
			args->check = true;
		} else if (c == OPT_PRINT) {
			args->print_config = true;
		} else if (c == OPT_TRACE && traces) {
			args->trace = optarg;
		} else if (c == OPT_VERSION) {
			printf("%s %s\n", name, version);
			return 0;
		} else if (c == '?' || c == OPT_TRACE) {
			return wrong(name, argv[optind - 1],
				     "no such option, or its value is missing");
		} else {
			usage(stdout, name, what, traces);
			return 0;
		}
	}
	if (optind < argc)
		return wrong(name, argv[optind], "not an option");
	return args->config ? -1 : wrong(name, "-c FILE", "missing");
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
		log_event(LOG_LEVEL_ERROR, "trace.failed", "reason=\"%s\"", e.text);
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
