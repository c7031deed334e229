/* tools/cmd_simulate.c - many agents that are not there, and a coordinator that is. */
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

struct simulate {
	const char *scenario, *config; /* NULL: the defaults */
	bool live, json;
	struct scenario s;
	/* As given; has_...: else as the scenario says. */
	uint32_t agents, workers, duration_s, seed;
	bool has_agents, has_workers, has_duration, has_seed;
};

static int load(struct simulate *sim, struct err *e)
{
	int rc = sim->scenario ? scenario_load(&sim->s, sim->scenario, e)
			       : scenario_parse(&sim->s, "defaults", "", 0, e);

	if (rc)
		return rc;
	sim->s.agents = sim->has_agents ? sim->agents : sim->s.agents;
	sim->s.workers = sim->has_workers ? sim->workers : sim->s.workers;
	sim->s.duration_s = sim->has_duration ? sim->duration_s : sim->s.duration_s;
	sim->s.seed = sim->has_seed ? sim->seed : sim->s.seed;
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

#define FLAG(field)        OPTIONS_FLAG(struct simulate, field)
#define U32(field, lo, hi) OPTIONS_U32(struct simulate, field, lo, hi)
#define GIVEN(field)       .given = OPTIONS_GIVEN(struct simulate, field)

static const struct options_row options[] = {
	{ 0, "SCENARIO", NULL, OPTIONS_TEXT(struct simulate, scenario), .operand = true,
	  .help = "a YAML file such as config/scenario.yaml", .preset = "what is in there" },
	{ 'c', "config", "FILE", OPTIONS_TEXT(struct simulate, config),
	  .help = "configuration of the coordinator", .preset = "its defaults" },
	{ 0, "agents", "N", U32(agents, 1, SCENARIO_AGENTS_MAX), GIVEN(has_agents),
	  .help = "so many agents", .preset = "as in SCENARIO, 100" },
	{ 0, "workers", "N", U32(workers, 0, SCENARIO_WORKERS_MAX), GIVEN(has_workers),
	  .help = "so many workers", .preset = "as in SCENARIO, 4" },
	{ 0, "duration", "S", U32(duration_s, 1, SCENARIO_DURATION_MAX), GIVEN(has_duration),
	  .unit = "seconds", .help = "how long, by the fleet's time",
	  .preset = "as in SCENARIO, 600" },
	{ 0, "seed", "N", U32(seed, 0, UINT32_MAX), GIVEN(has_seed),
	  .help = "another fleet of the same kind", .preset = "as in SCENARIO, 1" },
	{ 0, "live", NULL, FLAG(live),
	  .help = "publish to the broker of -c FILE (of any daemon or splitmq watch), at the speed "
		  "of the clock, and obey whoever decides there, until the end or Ctrl-C" },
	{ 0, "json", NULL, FLAG(json), .help = "one JSON object on standard output" },
};

const struct options_table cmd_simulate_options = {
	.program = "splitmq " NAME,
	.summary = "a fleet that is not there, and what a coordinator decides for it",
	.synopsis = "[SCENARIO] [-c FILE] [OPTIONS]",
	.about = "Plays a fleet of simulated agents and workers against the coordinator's code, as "
		 "fast as the machine can, and tells how well it decides and what it costs. The "
		 "same scenario and seed give the same fleet and the same decisions.",
	OPTIONS_ROWS(options),
};

int cmd_simulate(int argc, char **argv)
{
	static struct simulate sim;
	int rc = options_read(&cmd_simulate_options, &sim, argc, argv);

	if (rc != OPTIONS_GO_ON)
		return rc;
	if (sim.live && !sim.config)
		return options_wrong(&cmd_simulate_options, "--live needs -c FILE");
	return simulate(&sim);
}
