#include "agent/seat.h"

#include "agent/admit.h"
#include "agent/move.h"

struct segment_ask seat_ask(const struct segment *seg, uint32_t split, uint32_t context_tokens,
			    enum kv_type kv, const struct codec_spec *codec)
{
	return (struct segment_ask){
		.last = split,
		.context_tokens = context_tokens,
		.kv = kv,
		.extra = admit_extra(codec, seg->hp.dim, split == seg->hp.n_layers),
		.predict = true,
		.split = split,
	};
}

int seat_take(struct segment *seg, struct head_job *job, const struct segment_ask *ask,
	      struct err *e)
{
	struct room_answer answer;
	int rc;

	segment_judge(seg, ask, false, &answer);
	if (answer.missing_bytes)
		return segment_refuse(ask, &answer, e);
	rc = segment_begin(seg, &job->kv, 0, ask->last, ask->context_tokens, ask->kv, e);
	if (rc)
		return rc;
	rc = segment_begin_codec(seg, &job->state, ask->split, e);
	if (rc) {
		segment_end(seg, job->kv);
		return rc;
	}
	job->booked_bytes =
		ask->extra.session_bytes + (uint64_t)ask->extra.token_bytes * ask->context_tokens;
	segment_book(seg, job->booked_bytes);
	return 0;
}

void seat_give_back(struct segment *seg, struct head_job *job)
{
	segment_unbook(seg, job->booked_bytes);
	move_forget(seg, job->kept);
	segment_end(seg, job->kv);
	codec_state_destroy(job->state);
}
