/* tools/sim_live.h - a simulated fleet on a real broker, at the speed of the clock. */
#ifndef TOOLS_SIM_LIVE_H
#define TOOLS_SIM_LIVE_H

#include <stdbool.h>

#include "base/err.h"
#include "config/scenario.h"
#include "tools/sim_world.h"

/* Connect as `config` (the file of any daemon) says, play the scenario to its end or Ctrl-C, take
 * what was retained for this fleet away again, and report on stdout. All of the fleet is behind one
 * connection, whose user must be allowed to speak for everybody. ERR_* with a sentence. */
MUST_CHECK int sim_live_run(const struct scenario *s, const struct sim_limits *limits,
			    const char *config, bool json, struct err *e);

#endif
