#include "tools/sim_link.h"

#include <math.h>

#define MINUTE_US  6e7
#define WANDER_MAX 20.0 /* a walk that went farther would be another link */

struct sim_link sim_link(const struct scenario_link *conf, struct sim_rng rng)
{
	struct sim_link l = { .conf = conf, .rng = rng, .wander = 1, .step = 1 };

	l.kbit_s[SIM_UP] = sim_draw(&l.rng, &conf->up_kbit_s);
	l.kbit_s[SIM_DOWN] = sim_draw(&l.rng, &conf->down_kbit_s);
	l.rtt_ms = sim_draw(&l.rng, &conf->rtt_ms);
	return l;
}

/* Not more often than once a second: finer steps would change nothing but the work. */
static void walk(struct sim_link *l, uint64_t now_us)
{
	double minutes = (double)(now_us - l->walked_us) / MINUTE_US;

	if (now_us < l->walked_us + 1000000 || !(l->conf->walk > 0))
		return;
	l->wander *= sim_noise(&l->rng, l->conf->walk * sqrt(minutes));
	l->wander = fmin(fmax(l->wander, 1 / WANDER_MAX), WANDER_MAX);
	l->walked_us = now_us;
}

double sim_link_kbit_s(struct sim_link *l, enum sim_way way, uint64_t now_us)
{
	walk(l, now_us);
	return l->kbit_s[way] * l->wander * l->step;
}

struct sim_trip sim_link_send(struct sim_link *l, enum sim_way way, double bytes, uint64_t now_us)
{
	struct sim_trip t = { .begin_us = now_us };
	double half_ms = l->rtt_ms / 2 * sim_noise(&l->rng, l->conf->jitter);

	if (t.begin_us < l->free_us[way])
		t.begin_us = l->free_us[way];
	if (t.begin_us < l->until_us)
		t.begin_us = l->until_us;
	t.out_us = t.begin_us + (uint64_t)(8000 * bytes / sim_link_kbit_s(l, way, now_us));
	t.arrive_us = t.out_us + (uint64_t)(1000 * half_ms);
	l->free_us[way] = t.out_us;
	return t;
}

void sim_link_step(struct sim_link *l, double factor)
{
	l->step = factor;
}

void sim_link_cut(struct sim_link *l, uint64_t until_us)
{
	l->until_us = until_us;
}
