#include "agent/pace.h"

#include <stdlib.h>
#include <string.h>

#define MOST_LEVELS 16
#define LEAST_TOOK  3u /* tokens that tell: one that was held up does not */

void pace_init(struct pace *p, const struct pace_conf *conf)
{
	*p = (struct pace){ .conf = *conf };
}

void pace_token(struct pace *p, uint64_t now_us)
{
	const uint64_t took = now_us - p->last_us;

	if (p->last_us)
		p->took_us[p->n_took++ % PACE_TOKENS] =
			took < UINT32_MAX ? (uint32_t)took : UINT32_MAX;
	p->last_us = now_us;
	p->settling -= p->settling > 0;
}

static int by_size(const void *a, const void *b)
{
	const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

uint64_t pace_token_us(const struct pace *p)
{
	const uint32_t n = p->n_took < PACE_TOKENS ? p->n_took : PACE_TOKENS;
	uint32_t sorted[PACE_TOKENS];

	if (!n)
		return 0;
	memcpy(sorted, p->took_us, n * sizeof(sorted[0]));
	qsort(sorted, n, sizeof(sorted[0]), by_size);
	return sorted[n / 2];
}

/* One level down, if there is one and the last one has had its time. */
static bool step(struct pace *p)
{
	if (p->level == p->conf.levels || p->settling)
		return false;
	p->level++;
	p->settling = PACE_SETTLE;
	p->n_took = 0; /* times of finer rows say nothing about these */
	return true;
}

bool pace_coarser(struct pace *p, uint64_t now_us, uint32_t tokens_left)
{
	const uint64_t token_us = pace_token_us(p);
	const uint64_t end_us = now_us + token_us * tokens_left;

	if (p->n_took < LEAST_TOOK ||
	    (end_us <= p->conf.deadline_us && (!p->conf.tpot_us || token_us <= p->conf.tpot_us)))
		return false;
	return step(p);
}

bool pace_prompt_coarser(struct pace *p, uint64_t now_us, uint32_t rows_done, uint32_t rows_left)
{
	const uint64_t spent_us = now_us - p->conf.begun_us;
	const uint64_t wanted_us =
		p->conf.ttft_us ? p->conf.begun_us + p->conf.ttft_us : p->conf.deadline_us;

	p->settling -= p->settling > 0;
	if (!rows_done || now_us + spent_us / rows_done * rows_left <= wanted_us)
		return false;
	return step(p);
}

/* tabq as base, or what stands for it. */
static struct codec_spec as_tabq(const struct codec_spec *base)
{
	struct codec_spec spec = *base;

	if (!base->tabq && spec_parse(&spec, "tabq", NULL))
		spec = *base; /* never: it is a word of ours */
	return spec;
}

/* Error at a level: that of a plain codec counts as none, and tabq is its first level. */
static float delta_at(const struct codec_spec *base, float max_delta, unsigned level)
{
	const struct codec_spec spec = as_tabq(base);
	const unsigned doublings = base->tabq ? level : level - 1;
	const float delta = spec.delta * (float)(1u << doublings);

	return delta < max_delta ? delta : max_delta;
}

unsigned pace_levels(const struct codec_spec *base, float max_delta)
{
	float before = base->tabq ? base->delta : 0;
	unsigned n = 0;

	while (n < MOST_LEVELS && before < max_delta)
		before = delta_at(base, max_delta, ++n);
	return n;
}

struct codec_spec pace_codec(const struct codec_spec *base, float max_delta, unsigned level)
{
	const unsigned most = pace_levels(base, max_delta);
	struct codec_spec spec = *base;

	level = level < most ? level : most;
	if (!level)
		return spec;
	spec = as_tabq(base);
	spec.delta = delta_at(base, max_delta, level);
	return spec;
}
