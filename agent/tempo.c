#include "agent/tempo.h"

#include "base/log.h"

void tempo_set_codec(const struct agent_core *c, struct slot *sl)
{
	if (!sl->codec_given)
		sl->pace.conf.levels = pace_levels(&sl->base_codec, c->conf.max_delta);
	sl->next_codec = pace_codec(&sl->base_codec, c->conf.max_delta, sl->pace.level);
	if (!sl->predicts) /* no row is predicted that OPEN did not speak of */
		sl->next_codec.predict = SPEC_PREDICT_NONE;
	sl->has_next_codec = true;
}

bool tempo_predicts(const struct agent_core *c, const struct slot *sl, const char *worker)
{
	const struct codec_spec *codec = &sl->base_codec;
	const bool wants = codec->tabq && codec->predict != SPEC_PREDICT_NONE;
	enum workers_calibrated have;

	if (!c->conf.calibration[0])
		return false;
	have = workers_calibrated(&c->workers, c->conf.model, c->conf.calibration, worker);
	if (have == WORKERS_LACK && wants)
		log_event(LOG_LEVEL_WARN, "codec.unpredicted",
			  "id=%s reason=\"a worker has not calibration %s\"", sl->id,
			  c->conf.calibration);
	return have == WORKERS_HAVE || (have == WORKERS_UNKNOWN && wants);
}

void tempo_meet(const struct agent_core *c, struct slot *sl)
{
	sl->predicts = tempo_predicts(c, sl, sl->session.conf.worker);
	tempo_set_codec(c, sl);
}

/* A prompt's wish, or the configured one. */
static uint64_t wanted_us(double given_ms, uint32_t conf_ms)
{
	return given_ms > 0 ? (uint64_t)(given_ms * 1000) : conf_ms * UINT64_C(1000);
}

void tempo_begin(const struct agent_core *c, struct slot *sl, const struct msg_prompt *m,
		 uint64_t now_us)
{
	const bool fixed = sl->codec_given || sl->session.conf.local;

	pace_init(&sl->pace,
		  &(struct pace_conf){
			  .begun_us = now_us,
			  .deadline_us = sl->session.conf.deadline_us,
			  .ttft_us = wanted_us(m->ttft_ms, c->conf.ttft_ms),
			  .tpot_us = wanted_us(m->tpot_ms, c->conf.tpot_ms),
			  .levels = fixed ? 0 : pace_levels(&sl->job.codec, c->conf.max_delta),
		  });
}

/* Tokens that the answer may still get. */
static uint32_t tokens_left(const struct session *s)
{
	const uint32_t by_length = s->conf.max_new - (s->n_ids - s->n_prompt);
	const uint32_t by_context = s->conf.max_ids - s->n_ids;

	return by_length < by_context ? by_length : by_context;
}

void tempo_keep(const struct agent_core *c, struct slot *sl, bool token, uint64_t now_us)
{
	struct session *s = &sl->session;
	bool coarser;

	if (token)
		pace_token(&sl->pace, now_us);
	s->token_us = pace_token_us(&sl->pace);
	if (s->conf.local) /* no rows */
		return;
	if (!token && s->n_ids == s->n_prompt)
		coarser =
			pace_prompt_coarser(&sl->pace, now_us, s->computed, s->n_ids - s->computed);
	else
		coarser = token && pace_coarser(&sl->pace, now_us, tokens_left(s));
	if (!coarser)
		return;
	tempo_set_codec(c, sl);
	log_event(LOG_LEVEL_INFO, "session.coarser", "id=%s level=%u delta=%g", sl->id,
		  sl->pace.level, (double)sl->next_codec.delta);
}
