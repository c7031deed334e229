#include "worker/wave.h"

#include <assert.h>

void wave_put(struct wave *w, const struct sched_part *part)
{
	const struct sched_job *job = part->job;

	assert(!w->begun && w->n < SCHED_MAX_ROWS);
	if (!w->n)
		w->at = w->until = 0;
	if (job->from < job->until) {
		w->at = !w->until || job->from < w->at ? job->from : w->at;
		w->until = job->until > w->until ? job->until : w->until;
	}
	w->parts[w->n++] = *part;
	w->rows += part->rows;
}

void wave_drop(struct wave *w, const struct sched_job *job)
{
	unsigned n = 0;

	for (unsigned i = 0; i < w->n; i++) {
		if (w->parts[i].job == job)
			w->rows -= w->parts[i].rows;
		else
			w->parts[n++] = w->parts[i];
	}
	w->n = n;
}

double wave_row_layers(const struct wave *w, uint32_t from, uint32_t until, double attention)
{
	double sum = 0;

	for (unsigned i = 0; i < w->n; i++) {
		const struct sched_part *p = &w->parts[i];
		const uint32_t first = p->job->from > from ? p->job->from : from;
		const uint32_t last = p->job->until < until ? p->job->until : until;
		const double pos = p->job->pos + p->first + p->rows / 2.0;

		if (last > first)
			sum += (last - first) * p->rows * (1 + attention * pos);
	}
	return sum;
}
