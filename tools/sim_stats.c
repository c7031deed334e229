#include "tools/sim_stats.h"

#include <math.h>
#include <stdlib.h>

void sim_series_add(struct sim_series *s, double x)
{
	if (s->n == s->cap) {
		size_t cap = s->cap ? 2 * s->cap : 256;
		double *bigger = realloc(s->x, cap * sizeof(*bigger));

		if (!bigger) {
			s->lost = true;
			return;
		}
		s->x = bigger;
		s->cap = cap;
	}
	s->x[s->n++] = x;
}

struct spread sim_series_spread(struct sim_series *s)
{
	return s->n ? spread_of(s->x, s->n) : (struct spread){ 0 };
}

double sim_series_quantile(const struct sim_series *s, double q)
{
	double rank = ceil(q * (double)s->n);

	return s->n ? s->x[rank < 1 ? 0 : (size_t)rank - 1] : 0;
}

void sim_series_finish(struct sim_series *s)
{
	free(s->x);
	*s = (struct sim_series){ 0 };
}

void sim_stats_finish(struct sim_stats *s)
{
	sim_series_finish(&s->link_s);
	sim_series_finish(&s->worker_s);
	sim_series_finish(&s->ratio);
	sim_series_finish(&s->calm_ratio);
	sim_series_finish(&s->token_ms);
	sim_series_finish(&s->ttft_ms);
}
