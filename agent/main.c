/* agent/main.c - splitmq-agent: the daemon on the gateway. */
#include <stdio.h>

#include "agent/agent.h"
#include "base/log.h"
#include "config/config.h"
#include "daemon/daemon.h"
#include "daemon/link.h"
#include "daemon/memory.h"
#include "daemon/options.h"

#define NAME "splitmq-agent"

static int fail(const struct err *e)
{
	fprintf(stderr, NAME ": %s\n", e->text);
	return 1;
}

/* "--check": what an operator wants to know before the service starts. */
static int check(const struct config_agent *conf)
{
	const char *front = NULL;
	struct err e = { 0 };

	if (link_check(&conf->broker, &e) || agent_check(conf, &front, &e))
		return fail(&e);
	printf("ok: agent %s of fleet %s, model %s%s%s\n", conf->agent, conf->fleet, conf->model,
	       front ? ", whose own layers do not fit: front " : "", front ? front : "");
	return 0;
}

static int serve(const struct config_agent *conf, const struct daemon_args *args)
{
	struct err e = { 0 };
	struct agent *a = NULL;
	struct agent_facts f;
	int rc;

	daemon_block_signals();
	rc = daemon_trace(args, NAME, conf->agent, &e);
	if (!rc)
		rc = agent_create(&a, conf, NULL, NULL, &e);
	if (rc) {
		daemon_trace_end();
		return fail(&e);
	}
	agent_get_facts(a, &f);
	log_event(LOG_LEVEL_INFO, "agent.started",
		  "agent=%s fleet=%s layers=0..%u weight_bytes=%zu rss_bytes=%llu", conf->agent,
		  conf->fleet, f.split, f.weight_bytes,
		  (unsigned long long)memory_resident_bytes());
	rc = daemon_catch_signals(agent_signal, a);
	if (rc)
		err_set(&e, rc, "signals");
	else
		rc = agent_run(a, NULL, &e);
	daemon_ignore_signals();
	agent_destroy(a);
	daemon_trace_end();
	log_event(LOG_LEVEL_INFO, "agent.stopped", "agent=%s", conf->agent);
	return rc ? fail(&e) : 0;
}

int main(int argc, char **argv)
{
	static struct config_agent conf;
	struct daemon_args args;
	struct err e = { 0 };
	enum log_level level;
	int rc = daemon_parse(
		&args, argc, argv,
		"Runs the first layers of a model on a gateway; a worker runs the rest.",
		SPLITMQ_VERSION, true);

	if (rc >= 0)
		return rc;
	if (config_load_agent(&conf, args.config, &e))
		return fail(&e);
	config_warn_environment(stderr);
	if (!log_level_parse(&level, conf.log))
		log_set_level(level);
	if (args.print_config) {
		config_print_agent(&conf, stdout);
		return options_finish(NAME, 0);
	}
	return args.check ? options_finish(NAME, check(&conf)) : serve(&conf, &args);
}
