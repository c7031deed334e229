#include "agent/share.h"

#define CALM_JOBS 8   /* without side jobs, before what they take is believed; half-life thereof */
#define LONGEST   150 /* per cent */
#define LEAST     3   /* and this part of their time side jobs get anyway */
#define BURST     2   /* shares at once */

/* For two tokens the worker's share of a handover runs on. */
void share_learn(struct share *s, bool beside, bool prompt, int64_t took_us)
{
	s->calm = beside ? 0 : s->calm + 1;
	if (s->calm > CALM_JOBS && !prompt)
		s->calm_us += s->calm_us ? (took_us - s->calm_us) / CALM_JOBS : took_us;
}

static int64_t part_us(const struct share *s, int64_t took_us)
{
	const int64_t left_us = s->calm_us ? s->calm_us * LONGEST / 100 - took_us : took_us;
	const int64_t most_us = left_us > took_us / LEAST ? left_us : took_us / LEAST;

	return most_us < took_us / 2 ? most_us : took_us / 2;
}

void share_owe(struct share *s, int64_t took_us)
{
	const int64_t part = part_us(s, took_us);

	s->owed_us += part - s->spare_us;
	s->spare_us = 0;
	if (s->owed_us > BURST * part)
		s->owed_us = BURST * part;
	if (s->owed_us < -s->step_us)
		s->owed_us = -s->step_us;
}

bool share_is_due(const struct share *s)
{
	return s->owed_us > 0 && s->owed_us >= s->step_us / 2;
}

void share_had(struct share *s, bool due, int64_t took_us)
{
	if (due)
		s->owed_us -= took_us;
	else
		s->spare_us += took_us;
}

void share_forget(struct share *s)
{
	s->owed_us = 0;
}
