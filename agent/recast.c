#include "agent/recast.h"

#include "engine/kv_layers.h"
#include "engine/kv_rows.h"

int recast_begin(struct segment *seg, const struct head_job *job, struct head_job *recast,
		 enum kv_type type, struct err *e)
{
	int rc = kv_rows_like(&recast->kv, job->kv, &seg->hp, type);

	if (rc)
		return err_set(e, rc, "no room for it beside the one that there is: %s",
			       err_phrase(rc));
	segment_added(seg, recast->kv);
	recast->values = job->kv;
	recast->first = kv_layers_first(job->kv);
	recast->last = kv_layers_last(job->kv);
	return 0;
}

int recast_done(struct head_job *job, struct head_job *recast, uint32_t from, uint32_t len,
		struct err *e)
{
	const struct kv_rows_range rest = { recast->first, recast->last, from, len - from };
	struct kv *old = job->kv;
	int rc = kv_rows_copy(recast->kv, old, &rest);

	if (rc)
		return err_set(e, rc, "keys and values of positions %u to %u", from, len);
	kv_layers_reach(recast->kv, len);
	job->kv = recast->kv;
	recast->kv = old;
	return 0;
}
