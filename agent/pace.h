/* agent/pace.h - what a session's deadlines ask of it: predict, give way, stop in time.
 *
 * From the times of its newest tokens the pace predicts what the rest of the answer takes. When
 * that is more than there is (deadline_us for the whole answer, ttft_us until its first token,
 * tpot_us for each further one) rows become coarser, a level at a time, as far as the loss is
 * allowed; a level is given some tokens to show before the next one. What is left then is to end
 * the answer early: the session does, with the last token that is there in time. Pure. */
#ifndef AGENT_PACE_H
#define AGENT_PACE_H

#include <stdbool.h>
#include <stdint.h>

#include "codec/spec.h"

#define PACE_TOKENS 16 /* newest ones that count */
#define PACE_SETTLE 4  /* tokens, or chunks of a prompt, between two levels */

struct pace_conf {
	uint64_t begun_us, deadline_us; /* absolute */
	uint64_t ttft_us, tpot_us;      /* wanted; 0: whatever */
	unsigned levels;                /* of coarser rows that may be taken */
};

struct pace {
	struct pace_conf conf;
	uint64_t last_us;              /* of the newest token; 0: none */
	uint32_t took_us[PACE_TOKENS]; /* ring */
	uint32_t n_took;
	uint32_t settling; /* until the next level may be taken */
	unsigned level;
};

void pace_init(struct pace *p, const struct pace_conf *conf);

/* A token is there. */
void pace_token(struct pace *p, uint64_t now_us);

/* What the next token takes: the median of the newest ones; 0: not known. */
uint64_t pace_token_us(const struct pace *p);

/* Rows shall be coarser from now on: p->level was raised. Call once per token, with the most tokens
 * that the answer may still get, ... */
bool pace_coarser(struct pace *p, uint64_t now_us, uint32_t tokens_left);
/* ... and, before the first one, once per chunk of the prompt. */
bool pace_prompt_coarser(struct pace *p, uint64_t now_us, uint32_t rows_done, uint32_t rows_left);

/* Levels that lie between a codec and the coarsest that is allowed (squared error, as `delta` of
 * tabq; 0: none): each has twice the error. A codec that is not tabq becomes tabq. */
unsigned pace_levels(const struct codec_spec *base, float max_delta);
struct codec_spec pace_codec(const struct codec_spec *base, float max_delta, unsigned level);

#endif
