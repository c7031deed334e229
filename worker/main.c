/* worker/main.c - splitmq-worker: the daemon in the cloud. */
#include <stdio.h>

#include "base/log.h"
#include "config/config.h"
#include "daemon/daemon.h"
#include "daemon/link.h"
#include "daemon/memory.h"
#include "daemon/options.h"
#include "worker/worker.h"

#define NAME "splitmq-worker"

static int fail(const struct err *e)
{
	fprintf(stderr, NAME ": %s\n", e->text);
	return 1;
}

static int check(const struct config_worker *conf)
{
	struct err e = { 0 };

	if (link_check(&conf->broker, &e) || worker_check(conf, &e))
		return fail(&e);
	printf("ok: worker %s of fleet %s, model %s\n", conf->worker, conf->fleet, conf->model);
	return 0;
}

static int serve(const struct config_worker *conf, const struct daemon_args *args)
{
	struct err e = { 0 };
	struct worker *w = NULL;
	struct worker_facts f;
	int rc;

	daemon_block_signals();
	rc = daemon_trace(args, NAME, conf->worker, &e);
	if (!rc)
		rc = worker_create(&w, conf, &e);
	if (rc) {
		daemon_trace_end();
		return fail(&e);
	}
	worker_get_facts(w, &f);
	log_event(LOG_LEVEL_INFO, "worker.started",
		  "worker=%s fleet=%s layers=%u..%u weight_bytes=%zu rss_bytes=%llu", conf->worker,
		  conf->fleet, f.first_layer, f.n_layers, f.weight_bytes,
		  (unsigned long long)memory_resident_bytes());
	rc = daemon_catch_signals(worker_signal, w);
	if (rc)
		err_set(&e, rc, "signals");
	else
		rc = worker_run(w, &e);
	daemon_ignore_signals();
	worker_destroy(w);
	daemon_trace_end();
	log_event(LOG_LEVEL_INFO, "worker.stopped", "worker=%s", conf->worker);
	return rc ? fail(&e) : 0;
}

int main(int argc, char **argv)
{
	static struct config_worker conf;
	struct daemon_args args;
	struct err e = { 0 };
	enum log_level level;
	int rc = daemon_parse(&args, argc, argv,
			      "Runs the last layers of a model for the sessions of many agents.",
			      SPLITMQ_VERSION, true);

	if (rc >= 0)
		return rc;
	if (config_load_worker(&conf, args.config, &e))
		return fail(&e);
	config_warn_environment(stderr);
	if (!log_level_parse(&level, conf.log))
		log_set_level(level);
	if (args.print_config) {
		config_print_worker(&conf, stdout);
		return options_finish(NAME, 0);
	}
	return args.check ? options_finish(NAME, check(&conf)) : serve(&conf, &args);
}
