#include "codec/state.h"

#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "codec/predict.h"

#define MOMENTS (1 + CODEC_MARKS)

size_t codec_state_bytes(size_t dim)
{
	return sizeof(struct codec_state) + dim * (2 * MOMENTS * sizeof(float) + sizeof(int16_t));
}

static void place(struct codec_moment *m, float **floats, size_t dim)
{
	m->u = *floats;
	m->ahead = *floats + dim;
	*floats += 2 * dim;
}

int codec_state_create(struct codec_state **out, size_t dim, const struct cal *cal,
		       const struct cal_split *split)
{
	struct codec_state *s = calloc(1, sizeof(*s));
	float *next;

	if (!s)
		return ERR_NOMEM;
	s->dim = dim;
	s->cal = split ? cal : NULL;
	s->split = split;
	s->floats = next = calloc(2 * MOMENTS * dim, sizeof(*next));
	s->z = calloc(dim, sizeof(*s->z));
	if (!s->floats || !s->z) {
		codec_state_destroy(s);
		return ERR_NOMEM;
	}
	place(&s->now, &next, dim);
	for (unsigned i = 0; i < CODEC_MARKS; i++)
		place(&s->marks[i].then, &next, dim);
	codec_state_reset(s);
	*out = s;
	return 0;
}

void codec_state_destroy(struct codec_state *s)
{
	if (!s)
		return;
	free(s->floats);
	free(s->z);
	free(s);
}

void codec_state_reset(struct codec_state *s)
{
	s->now = (struct codec_moment){ .u = s->now.u, .ahead = s->now.ahead };
	s->now.hash = s->cal ? crc32c(0, s->cal->id, CAL_ID_LEN) : 0;
	s->n_marks = 0;
}

void codec_state_foresee(struct codec_state *s)
{
	if (!s || !s->now.predicted || s->now.foreseen)
		return;
	predict_ahead(s->split, s->now.mode, s->now.u, s->z, s->now.ahead);
	s->now.foreseen = true;
}

uint16_t codec_state_hash(const struct codec_state *s)
{
	return (uint16_t)(s->now.hash ^ s->now.hash >> 16);
}

static void copy(const struct codec_state *s, struct codec_moment *to,
		 const struct codec_moment *from)
{
	const size_t len = s->split ? s->split->k * sizeof(*from->u) : 0;
	float *const u = to->u, *const ahead = to->ahead;

	*to = *from;
	to->u = u;
	to->ahead = ahead;
	if (from->any && len)
		memcpy(u, from->u, len);
	if (from->foreseen)
		memcpy(ahead, from->ahead, len);
}

/* Those at pos and behind it, which are the newest. Returns the one of pos, or NULL. */
static const struct codec_moment *forget(struct codec_state *s, uint32_t pos)
{
	const struct codec_moment *found = NULL;

	while (s->n_marks) {
		const unsigned at = (s->first + s->n_marks - 1) % CODEC_MARKS;

		if (s->marks[at].pos < pos)
			break;
		if (s->marks[at].pos == pos)
			found = &s->marks[at].then;
		s->n_marks--;
	}
	return found;
}

void codec_state_mark(struct codec_state *s, uint32_t pos)
{
	unsigned at;

	forget(s, pos);
	codec_state_foresee(s); /* of use to both rows that may follow on this */
	if (s->n_marks == CODEC_MARKS) {
		s->first = (s->first + 1) % CODEC_MARKS;
		s->n_marks--;
	}
	at = (s->first + s->n_marks++) % CODEC_MARKS;
	s->marks[at].pos = pos;
	copy(s, &s->marks[at].then, &s->now);
}

void codec_state_return(struct codec_state *s, uint32_t pos)
{
	const struct codec_moment *then = forget(s, pos);

	if (then)
		copy(s, &s->now, then);
}
