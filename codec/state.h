/* codec/state.h - what a codec_state is made of: for codec.c, which moves it on.
 *
 * What the chunks so far come to is a moment: `now`, and copies of it from before drafts
 * (codec_state_mark). The oldest of the marks lies at `first` of a ring. */
#ifndef CODEC_STATE_H
#define CODEC_STATE_H

#include "codec/codec.h"
#include "codec/stream.h"

struct codec_moment {
	bool any; /* there was a row before; u is what it was decoded to */
	struct stream_before before;
	bool has_id; /* the token before is known to both ends */
	uint32_t id;
	uint32_t hash;
	bool predicted, foreseen; /* the newest chunk was, in this mode; ahead is of use */
	enum cal_mode mode;
	float *u;     /* [dim]; k of the split are used */
	float *ahead; /* the same */
};

struct codec_state {
	size_t dim;
	const struct cal *cal;
	const struct cal_split *split;
	struct codec_moment now;
	int16_t *z; /* [dim], scratch */
	struct {
		uint32_t pos;
		struct codec_moment then;
	} marks[CODEC_MARKS];
	unsigned first, n_marks;
	float *floats; /* [(1 + CODEC_MARKS) * 2][dim]: u and ahead of each moment */
};

#endif
