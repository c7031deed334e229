/* agent/slot_guess.c - what may come after the rows of a session: for the head to run ahead, and to
 * send as drafts. */
#include "agent/slot.h"

#include <string.h>

/* The token behind the one of position pos will be wanted from here, and has its place. */
static bool goes_on(const struct session *s, uint32_t pos)
{
	return pos + 1 < s->conf.max_ids;
}

static void learn(struct agent_core *c, struct slot *sl)
{
	const struct session *s = &sl->session;

	for (; sl->learned < s->n_ids; sl->learned++) {
		const struct slot_guessed *g = &sl->guessed[sl->learned % HEAD_GUESSES];

		if (g->pos == sl->learned && g->pos)
			odds_learn(&c->odds, g->length, g->sure, g->id == s->ids[sl->learned]);
		guess_learn(&c->guess, s->ids, sl->learned + 1, sl->learned >= s->n_prompt);
	}
}

/* What a row takes on the way up, as far as is known, and at the worker. */
static double vain_us(const struct agent_core *c, const struct slot *sl)
{
	return sl->trip.up_bytes * c->meter.up_ms * 1000 + sl->session.last_answer.compute_us;
}

static uint32_t most_drafts(const struct agent_core *c, const struct slot *sl)
{
	const struct session *s = &sl->session;
	const uint32_t most = s->drafts < s->conf.drafts ? s->drafts : s->conf.drafts;

	return c->ops.guess && c->wait_us > 0 ? most : 0;
}

/* Probability that the guesses up to position pos are right: those of drafts that are out. */
static double p_before(const struct agent_core *c, const struct slot *sl, uint32_t pos)
{
	double p = 1;

	for (uint32_t at = sl->session.n_ids; at < pos; at++) {
		const struct slot_guessed *g = &sl->guessed[at % HEAD_GUESSES];

		p *= g->pos == at ? odds_of(&c->odds, g->length, g->sure) : 0;
	}
	return p;
}

/* The newest ids, and one more. Returns how many there are. */
static uint32_t shift(uint32_t ids[GUESS_CONTEXT], uint32_t n, uint32_t id)
{
	if (n == GUESS_CONTEXT)
		memmove(ids, ids + 1, --n * sizeof(*ids));
	ids[n++] = id;
	return n;
}

/* Tokens of positions from pos on, the ids before being known or guessed. */
static void guess(struct agent_core *c, struct slot *sl, uint32_t pos, struct head_guesses *g)
{
	const struct session *s = &sl->session;
	const uint32_t out = pos - s->n_ids, most = most_drafts(c, sl);
	uint32_t ids[GUESS_CONTEXT], n = pos < GUESS_CONTEXT ? pos : GUESS_CONTEXT;
	double p = p_before(c, sl, pos);

	*g = (struct head_guesses){
		.wanted = true,
		.known = s->n_ids,
		.end = s->conf.max_ids - 1,
		.most = most,
		.wait_us = (float)c->wait_us,
		.vain_us = (float)vain_us(c, sl),
	};
	memcpy(ids, sl->session.ids + pos - n, n * sizeof(*ids));
	while (g->n < HEAD_GUESSES && goes_on(&sl->session, pos + g->n)) {
		const struct guess_entry *e = guess_next(&c->guess, ids, n);

		if (!e)
			return;
		sl->guessed[(pos + g->n) % HEAD_GUESSES] =
			(struct slot_guessed){ pos + g->n, e->id, e->length, e->sure };
		g->ids[g->n++] = e->id;
		p *= odds_of(&c->odds, e->length, e->sure);
		if (out + g->n > most || !e->said || !odds_are_good(p, c->wait_us, vain_us(c, sl)))
			return;
		g->n_send = g->n;
		n = shift(ids, n, e->id);
	}
}

void slot_guess(struct agent_core *c, struct slot *sl)
{
	const struct session *s = &sl->session;
	struct head_job *job = &sl->job;

	job->guesses = (struct head_guesses){ 0 };
	if (!c->conf.run_ahead)
		return;
	learn(c, sl);
	if (!s->conf.local && s->conf.split && job->pos + job->rows == s->n_ids &&
	    !sl->side_ready && !sl->recast.begun)
		guess(c, sl, s->n_ids, &job->guesses);
}

void slot_guess_more(struct agent_core *c, struct slot *sl)
{
	const struct session *s = &sl->session;
	const uint32_t pos = s->n_ids + s->n_drafts;

	sl->times.n_right++;
	sl->times.n_ahead++;
	if (!c->conf.run_ahead || !s->conf.split || !c->ops.guess || sl->side_ready ||
	    sl->recast.begun)
		return;
	learn(c, sl);
	guess(c, sl, pos, &sl->job.guesses);
	c->ops.guess(c->ops.ctx, &sl->job, pos, &sl->job.guesses);
}

void slot_drafted(struct agent_core *c, const struct head_draft *d, uint64_t now_us)
{
	struct slot *sl = &c->slots[d->slot];

	if (!sl->used || sl->session.state == SESSION_ENDED)
		return;
	c->rows++;
	slot_event(c, sl,
		   &(struct session_event){
			   .kind = SESSION_EV_DRAFT,
			   .now_us = now_us,
			   .bytes = d->bytes,
			   .len = d->len,
			   .codec = d->codec_id,
			   .state = d->state_hash,
			   .pos = d->pos,
			   .id = d->id,
		   });
}
