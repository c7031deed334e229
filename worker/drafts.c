#include "worker/drafts.h"

#include "base/le.h"

bool drafts_void(struct drafts_lane *l, const struct tail_job *job)
{
	const struct wire_hdr *h = &job->hdr;

	if (wire_is_fill(h))
		return false;
	if (!(h->flags & WIRE_DRAFT)) {
		*l = (struct drafts_lane){ 0 };
		return false;
	}
	if (l->known && l->pos == h->pos && (l->end || l->id != le_get32(job->body)))
		l->over = true;
	return l->over;
}

void drafts_sampled(struct drafts_lane *l, const struct tail_job *job)
{
	l->known = true;
	l->pos = job->hdr.pos + job->hdr.rows;
	l->id = job->id;
	l->end = job->end;
}
