#include "agent/move.h"

#include <assert.h>
#include <stdlib.h>

#include "engine/kv_layers.h"

void move_end(struct segment *seg, struct head_job *side)
{
	segment_unbook(seg, side->booked_bytes);
	kv_destroy(side->again);
	kv_destroy(side->beside);
	segment_end(seg, side->kv);
	codec_state_destroy(side->state);
	codec_state_destroy(side->later);
	side->again = side->beside = side->kv = NULL;
	side->state = side->later = NULL;
	side->booked_bytes = 0;
}

/* Memory for what the session will keep. */
static int book_log(struct segment *seg, struct head_job *side, uint64_t bytes, struct err *e)
{
	const uint64_t want = seg->budget.booked_bytes + bytes;

	if (want > seg->budget.limit_bytes)
		return err_set(e, ERR_LIMIT, "its log is %llu bytes over the memory budget",
			       (unsigned long long)(want - seg->budget.limit_bytes));
	segment_book(seg, bytes);
	side->booked_bytes = bytes;
	return 0;
}

/* So that rows that are new need not run again; it can do without. */
static void begin_keeping(struct segment *seg, struct head_job *side)
{
	const uint64_t bytes = move_kept_bytes(seg);

	if (side->kept || seg->budget.booked_bytes + bytes > seg->budget.limit_bytes)
		return;
	side->kept = calloc(1, bytes);
	if (side->kept)
		segment_book(seg, bytes);
}

uint64_t move_kept_bytes(const struct segment *seg)
{
	return sizeof(struct head_kept) + HEAD_KEPT * seg->hp.dim * sizeof(float);
}

void move_forget(struct segment *seg, struct head_kept *kept)
{
	if (kept)
		segment_unbook(seg, move_kept_bytes(seg));
	free(kept);
}

/* What the rows run through. */
static int begin_caches(struct segment *seg, const struct head_job *job, struct head_job *side,
			const struct agent_move *m, struct err *e)
{
	const bool up = m->to > m->from;
	int rc;

	side->first = up ? m->from : m->to;
	side->last = m->to;
	if (kv_layers_view(&side->again, job->kv, 0, side->first))
		return err_set(e, ERR_NOMEM, "a view of layers 0..%u", side->first);
	begin_keeping(seg, side);
	if (!up)
		return 0;
	rc = segment_begin(seg, &side->kv, m->from, m->to, m->context_tokens, m->type, e);
	if (!rc && kv_layers_view(&side->beside, side->kv, m->from, m->to))
		rc = err_set(e, ERR_NOMEM, "a view of layers %u..%u", m->from, m->to);
	return rc;
}

int move_begin(struct segment *seg, const struct head_job *job, struct head_job *side,
	       const struct agent_move *m, struct err *e)
{
	const bool up = m->to > m->from;
	int rc = 0;

	if (m->values) {
		side->values = job->kv;
		side->first = m->to;
		side->last = m->from;
	} else {
		rc = begin_caches(seg, job, side, m, e);
	}
	if (!rc)
		rc = book_log(seg, side, m->log_bytes, e);
	if (!rc && !up && !m->values)
		rc = segment_begin_codec(seg, &side->state, m->to, e);
	if (!rc && !m->same_log)
		rc = segment_begin_codec(seg, &side->later, m->to, e);
	if (rc)
		move_end(seg, side);
	return rc;
}

void move_done(struct segment *seg, struct head_job *job, struct head_job *side,
	       const struct agent_move *m, uint32_t len)
{
	struct codec_state **later = m->same_log ? &side->state : &side->later;
	struct codec_state *before = job->state;
	int rc;

	kv_truncate(job->kv, len);
	if (m->to > m->from) {
		kv_truncate(side->kv, len);
		rc = kv_layers_join(job->kv, side->kv);
		segment_resized(seg, side->kv);
	} else {
		rc = kv_layers_cut(&side->kv, job->kv, m->to);
		if (rc) /* no memory to do so later */
			rc = kv_layers_keep(job->kv, 0, m->to);
		if (side->kv)
			segment_resized(seg, side->kv);
	}
	assert(!rc);
	(void)rc;
	segment_resized(seg, job->kv);
	job->booked_bytes += side->booked_bytes;
	side->booked_bytes = 0;
	job->state = *later;
	*later = before;
}
