/* coordinator/assign.h - which workers are worth a plan for an agent: pure.
 *
 * The present one stays unless it is gone or draining, another one is much less busy or much
 * faster, or was measured to be much nearer; what a move is worth is then the planner's to say. */
#ifndef COORDINATOR_ASSIGN_H
#define COORDINATOR_ASSIGN_H

#include <stdbool.h>

#include "coordinator/roster.h"

/* Ready, not draining, of the agent's model. */
bool assign_can_serve(const struct roster_worker *w, const struct roster_agent *a);

/* Agents (with this one) for what it can do: by measured speed of all that can serve, else by
 * sessions. Comparable among workers of one agent at one time. */
double assign_load(const struct roster *r, const struct roster_worker *w,
		   const struct roster_agent *a);

/* The least busy one that can serve, other than `than` (may be NULL); NULL: none. Of equal ones,
 * the first known. */
const struct roster_worker *assign_least_busy(const struct roster *r, const struct roster_agent *a,
					      const struct roster_worker *than);

/* With this one it has 2/3 of the load at most, by measured speeds: as it is fast, or has few. */
bool assign_is_lighter(const struct roster *r, const struct roster_agent *a,
		       const struct roster_worker *present, const struct roster_worker *other);

/* Two agents fewer, and 2/3 of the load at most. */
bool assign_is_much_busier(const struct roster *r, const struct roster_agent *a,
			   const struct roster_worker *present, const struct roster_worker *other);

/* Round trip that a measured to w, now or before it was moved; 0: never. */
double assign_rtt_ms(const struct roster *r, const struct roster_agent *a,
		     const struct roster_worker *w);

/* A worker at 2/3 of the present one's round trip and 5 ms nearer, by measurement; NULL: none. */
const struct roster_worker *assign_nearer(const struct roster *r, const struct roster_agent *a,
					  const struct roster_worker *present);

#endif
