/* tools/sim_print.h - the report of `splitmq simulate`. */
#ifndef TOOLS_SIM_PRINT_H
#define TOOLS_SIM_PRINT_H

#include <stdbool.h>

#include "config/scenario.h"
#include "tools/sim_local.h"

/* On stdout. cost NULL: the coordinator was another process. seconds: simulated. ERR_NOMEM. */
MUST_CHECK int sim_print(const struct scenario *s, struct sim_stats *st, struct sim_cost *cost,
			 double seconds, bool json);

#endif
