#include "agent/timeline.h"

#include "base/trace.h"

void timeline_computed(struct timeline *t, const struct head_job *job)
{
	uint64_t start_us = job->queued_us + job->queue_us;
	uint64_t ready_us = start_us + job->layers_us;

	if (!trace_is_on())
		return;
	*t = (struct timeline){
		.begun_us = job->queued_us,
		.encoded_us = ready_us + job->encode_us,
		.pos = job->pos,
	};
	trace_track(job->slot, "wait", job->queued_us, start_us, job->pos);
	trace_track(job->slot, "head", start_us, ready_us, job->pos);
	if (!job->sample)
		trace_track(job->slot, "encode", ready_us, t->encoded_us, job->pos);
}

void timeline_sent(struct timeline *t, unsigned track, uint32_t pos, uint64_t start_us)
{
	if (!trace_is_on())
		return;
	t->sent_us = trace_now_us();
	trace_track(track, "publish", t->encoded_us ? t->encoded_us : start_us, t->sent_us, pos);
	t->encoded_us = 0;
}

/* What the worker reports, in the middle of what is left of the round trip. */
static void draw_trip(const struct timeline *t, unsigned track, const struct msg_tokens *answer,
		      uint64_t arrived_us)
{
	uint64_t trip_us = arrived_us > t->sent_us ? arrived_us - t->sent_us : 0;
	uint64_t queue_us = answer->queue_us < trip_us ? answer->queue_us : trip_us;
	uint64_t rest_us = trip_us - queue_us;
	uint64_t tail_us = answer->compute_us < rest_us ? answer->compute_us : rest_us;
	uint64_t there_us = t->sent_us + (rest_us - tail_us) / 2;

	trace_track(track, "broker", t->sent_us, there_us, t->pos);
	trace_track(track, "queue", there_us, there_us + queue_us, t->pos);
	there_us += queue_us;
	trace_track(track, "tail", there_us, there_us + tail_us, t->pos);
	trace_track(track, "broker", there_us + tail_us, t->sent_us + trip_us, t->pos);
}

void timeline_token(struct timeline *t, unsigned track, const struct msg_tokens *answer,
		    uint64_t arrived_us, uint64_t end_us)
{
	if (!trace_is_on() || !t->begun_us)
		return;
	if (arrived_us < t->sent_us) /* who sent was held up behind the answer */
		arrived_us = t->sent_us;
	if (t->sent_us && answer) {
		draw_trip(t, track, answer, arrived_us);
		trace_track(track, "return", arrived_us, end_us, t->pos);
	}
	trace_track(track, "token", t->begun_us, end_us, t->pos);
	t->begun_us = 0;
}
