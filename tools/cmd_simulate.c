/* tools/cmd_simulate.c - many agents that are not there, and a coordinator that is. */
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/log.h"
#include "config/scenario.h"
#include "coordinator/core.h"
#include "tools/cmd.h"
#include "tools/commands.h"
#include "tools/sim_live.h"
#include "tools/sim_local.h"
#include "tools/sim_print.h"

#define NAME "simulate"

const char cmd_simulate_usage[] =
	"usage: splitmq simulate [SCENARIO] [-c FILE] [--agents N] [--workers N] [--duration S]\n"
	"                        [--seed N] [--live] [--json]\n"
	"\n"
	"Plays a fleet of simulated agents and workers against the coordinator's code, as fast as "
	"the\n"
	"machine can, and tells how well it decides and what it costs. The same scenario and seed "
	"give\n"
	"the same fleet and the same decisions. SCENARIO is a YAML file such as "
	"config/scenario.yaml.\n"
	"\n"
	"  -c, --config FILE   configuration of the coordinator; default: its defaults\n"
	"      --agents N      so many agents; default: as in SCENARIO (100)\n"
	"      --workers N     so many workers; default: as in SCENARIO (4)\n"
	"      --duration S    so many seconds; default: as in SCENARIO (600)\n"
	"      --seed N        another fleet of the same kind; default: as in SCENARIO (1)\n"
	"      --live          publish to the broker of -c FILE (of any daemon or splitmq watch), "
	"at\n"
	"                      the speed of the clock, and obey whoever decides there, until the "
	"end\n"
	"                      or Ctrl-C\n"
	"      --json          one JSON object on standard output\n"
	"  -h, --help          this text\n";

enum { OPT_AGENTS = 256, OPT_WORKERS, OPT_DURATION, OPT_SEED, OPT_LIVE, OPT_JSON };

struct simulate {
	const char *scenario, *config; /* NULL: the defaults */
	bool live, json;
	struct scenario s;
	/* UINT64_MAX: as the scenario says. */
	unsigned long long agents, workers, duration_s, seed;
};

static void override(uint32_t *v, unsigned long long given)
{
	if (given != UINT64_MAX)
		*v = (uint32_t)given;
}

static int load(struct simulate *sim, struct err *e)
{
	int rc = sim->scenario ? scenario_load(&sim->s, sim->scenario, e)
			       : scenario_parse(&sim->s, "defaults", "", 0, e);

	if (rc)
		return rc;
	override(&sim->s.agents, sim->agents);
	override(&sim->s.workers, sim->workers);
	override(&sim->s.duration_s, sim->duration_s);
	override(&sim->s.seed, sim->seed);
	return 0;
}

static int load_coordinator(const struct simulate *sim, struct config_coordinator *conf,
			    struct err *e)
{
	int rc = sim->config ? config_load_coordinator(conf, sim->config, e)
			     : config_parse_coordinator(conf, "defaults", "", 0, e);

	if (!rc && coordinator_check(conf, e))
		rc = err_wrap(e, "%s", sim->config ? sim->config : "defaults");
	return rc;
}

/* What its planner keeps to, for everybody. */
static struct sim_limits limits_of(const struct config_coordinator *conf)
{
	const struct config_policy *p = &conf->policy;

	return (struct sim_limits){ .token_ms = p->token_ms == UINT32_MAX ? 0 : p->token_ms,
				    .ttft_ms = p->ttft_ms == UINT32_MAX ? 0 : p->ttft_ms,
				    .prompt_tokens = conf->expect.prompt_tokens };
}

/* The file may be of another daemon: then there are no limits to know. */
static int run_live(struct simulate *sim, struct err *e)
{
	static struct config_coordinator conf;
	struct sim_limits limits = { 0 };
	struct err unread;

	if (!config_load_coordinator(&conf, sim->config, &unread))
		limits = limits_of(&conf);
	return sim_live_run(&sim->s, &limits, sim->config, sim->json, e);
}

static int run_local(struct simulate *sim, struct err *e)
{
	static struct config_coordinator conf;
	struct sim_world *world = NULL;
	struct sim_cost cost = { 0 };
	struct sim_limits limits;
	int rc = load_coordinator(sim, &conf, e);

	if (rc)
		return rc;
	limits = limits_of(&conf);
	log_set_level(LOG_LEVEL_ERROR);
	rc = sim_local_run(&world, &cost, &sim->s, &limits, &conf, e);
	if (!rc && sim_print(&sim->s, sim_world_stats(world), &cost, sim->s.duration_s, sim->json))
		rc = err_set(e, ERR_NOMEM, "report");
	sim_world_destroy(world);
	sim_cost_finish(&cost);
	return rc;
}

static int simulate(struct simulate *sim)
{
	struct err e = { 0 };
	int rc = load(sim, &e);

	if (!rc)
		rc = sim->live ? run_live(sim, &e) : run_local(sim, &e);
	return rc ? cmd_fail(NAME, &e) : CMD_OK;
}

static int number(struct simulate *sim, int opt)
{
	switch (opt) {
	case OPT_AGENTS:
		return cmd_u64(NAME, "--agents", optarg, 1, SCENARIO_AGENTS_MAX, &sim->agents);
	case OPT_WORKERS:
		return cmd_u64(NAME, "--workers", optarg, 0, SCENARIO_WORKERS_MAX, &sim->workers);
	case OPT_DURATION:
		return cmd_u64(NAME, "--duration", optarg, 1, SCENARIO_DURATION_MAX,
			       &sim->duration_s);
	default:
		return cmd_u64(NAME, "--seed", optarg, 0, UINT32_MAX, &sim->seed);
	}
}

int cmd_simulate(int argc, char **argv)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "agents", required_argument, NULL, OPT_AGENTS },
		{ "workers", required_argument, NULL, OPT_WORKERS },
		{ "duration", required_argument, NULL, OPT_DURATION },
		{ "seed", required_argument, NULL, OPT_SEED },
		{ "live", no_argument, NULL, OPT_LIVE },
		{ "json", no_argument, NULL, OPT_JSON },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	static struct simulate sim = { .agents = UINT64_MAX,
				       .workers = UINT64_MAX,
				       .duration_s = UINT64_MAX,
				       .seed = UINT64_MAX };
	int opt;

	opterr = 0;
	while ((opt = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
		if (opt == 'h')
			return cmd_help(NAME);
		if (opt == '?')
			return cmd_usage(NAME, "unknown option, or one without its value");
		if (opt == 'c')
			sim.config = optarg;
		else if (opt == OPT_LIVE)
			sim.live = true;
		else if (opt == OPT_JSON)
			sim.json = true;
		else if (number(&sim, opt))
			return CMD_USAGE;
	}
	if (optind < argc)
		sim.scenario = argv[optind++];
	if (optind < argc)
		return cmd_usage(NAME, "one SCENARIO only, not \"%s\" too", argv[optind]);
	if (sim.live && !sim.config)
		return cmd_usage(NAME, "--live needs -c FILE");
	return simulate(&sim);
}
