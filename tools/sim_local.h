/* tools/sim_local.h - a simulated fleet and a real coordinator in one process, as fast as it goes.
 *
 * The coordinator is coordinator/core over a broker in memory; its clock is the simulated one. */
#ifndef TOOLS_SIM_LOCAL_H
#define TOOLS_SIM_LOCAL_H

#include "config/config.h"
#include "config/scenario.h"
#include "tools/sim_stats.h"
#include "tools/sim_world.h"

/* What the coordinator's code took of this machine; differs from run to run. */
struct sim_cost {
	double cpu_s;              /* of everything it did */
	double wall_s;             /* of the whole run */
	uint64_t messages, ticks;  /* it was called so often */
	uint64_t plans, decisions; /* agents that it thought about; decisions that it published */
	struct sim_series decision_us; /* wall time of each plan, with publishing */
};

void sim_cost_finish(struct sim_cost *c);

/* Run the scenario to its end; progress on a terminal. *world stays the caller's to look at and to
 * destroy, also after an error. ERR_NOMEM, or what the coordinator's start says. */
MUST_CHECK int sim_local_run(struct sim_world **world, struct sim_cost *cost,
			     const struct scenario *s, const struct sim_limits *limits,
			     const struct config_coordinator *conf, struct err *e);

#endif
