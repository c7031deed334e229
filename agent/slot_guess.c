/* agent/slot_guess.c - what may come after the rows of a job, for the head to run ahead. */
#include "agent/slot.h"

/* The token behind the next one will be wanted from here, and have its place in the cache. */
static bool goes_on(const struct slot *sl)
{
	const struct session *s = &sl->session;
	const uint32_t n = s->n_ids + 1;

	return n < s->conf.max_ids && n < sl->kv_context && n - s->n_prompt < s->conf.max_new;
}

void slot_guess(struct agent_core *c, struct slot *sl)
{
	const struct session *s = &sl->session;
	struct head_job *job = &sl->job;

	job->guesses = false;
	if (!c->conf.run_ahead)
		return;
	for (; sl->learned < s->n_ids; sl->learned++)
		guess_learn(&c->guess, s->ids, sl->learned + 1);
	if (s->conf.local || job->pos + job->rows < s->n_ids || sl->side_ready ||
	    sl->recast.begun || !goes_on(sl))
		return;
	job->guesses = guess_next(&c->guess, s->ids, s->n_ids, &job->guess);
}
