/* tools/sim_link.h - the way between a simulated agent and its workers, as it changes. Pure.
 *
 * Messages of one direction go one after the other: each takes its bits at the rate of its start,
 * and then half the round trip. During an outage nothing starts; what had started arrives. */
#ifndef TOOLS_SIM_LINK_H
#define TOOLS_SIM_LINK_H

#include <stdint.h>

#include "config/scenario.h"
#include "tools/sim_draw.h"

enum sim_way { SIM_UP, SIM_DOWN, SIM_WAYS };

struct sim_link {
	const struct scenario_link *conf;
	struct sim_rng rng;
	double kbit_s[SIM_WAYS]; /* as drawn */
	double rtt_ms;
	double wander; /* factor of the random walk */
	double step;   /* factor of a step; 1: none now */
	uint64_t walked_us, until_us; /* last move of the walk; end of an outage, 0: none */
	uint64_t free_us[SIM_WAYS];   /* when the messages before are out */
};

/* When a message came and went. */
struct sim_trip {
	uint64_t begin_us, out_us, arrive_us; /* first bit out, last bit out, there */
};

struct sim_link sim_link(const struct scenario_link *conf, struct sim_rng rng);

/* The rate of the moment. Moves the walk on to now_us. */
double sim_link_kbit_s(struct sim_link *l, enum sim_way way, uint64_t now_us);

struct sim_trip sim_link_send(struct sim_link *l, enum sim_way way, double bytes, uint64_t now_us);

/* The rates are `factor` of themselves from now on; 1 ends it. */
void sim_link_step(struct sim_link *l, double factor);
/* Nothing gets out until then. */
void sim_link_cut(struct sim_link *l, uint64_t until_us);

#endif
