/* tools/sim_stats.h - what a simulation found. */
#ifndef TOOLS_SIM_STATS_H
#define TOOLS_SIM_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tools/spread.h"

#define SIM_SETTLE_S 60

/* Figures to be summed up at the end. Zeroed is empty. */
struct sim_series {
	double *x;
	size_t n, cap;
	bool lost; /* no memory: some are missing */
};

void sim_series_add(struct sim_series *s, double x);
/* Sorts it. Zeroes when it is empty. */
struct spread sim_series_spread(struct sim_series *s);
/* The q-quantile, 0..1, nearest rank, after sim_series_spread; 0 when it is empty. */
double sim_series_quantile(const struct sim_series *s, double q);
void sim_series_finish(struct sim_series *s);

/* Counted by the world. Times are simulated. */
struct sim_stats {
	uint64_t events, messages; /* performed; published by agents and workers */
	uint64_t too_small; /* workers without room for the model: they never come up */
	/* Decisions that reached an agent, and how many of them changed ... */
	uint64_t decisions, refused, splits, codecs, fronts, workers, contexts;
	uint64_t settling; /* of them, in the first SIM_SETTLE_S of an agent: it gets to be known */
	/* Changes of the world that one agent notices. */
	uint64_t changes, answered; /* by a decision before the next change */
	struct sim_series link_s;   /* until a decision: after a change of rates or speed */
	struct sim_series worker_s; /* after its worker began to drain or failed */
	/* Sessions. */
	uint64_t arrived, dropped, done, failed, moved, handovers, tokens;
	uint64_t cut; /* ended by the context that was decided */
	/* What was decided against what is true. */
	uint64_t edge_misses;   /* plans that do not fit the agent's memory: it refuses */
	uint64_t worker_misses; /* sessions that the decided worker had no room for */
	uint64_t token_checks, token_misses; /* sessions with a limit of time per token; slower */
	uint64_t calm_checks, calm_misses;   /* of them: nothing changed while they ran */
	uint64_t ttft_checks, ttft_misses;
	/* Simulated time per token / the predicted one, per session with one split. */
	struct sim_series ratio, calm_ratio;
	struct sim_series token_ms, ttft_ms; /* of sessions */
};

void sim_stats_finish(struct sim_stats *s);

#endif
