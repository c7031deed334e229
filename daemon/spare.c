#include "daemon/spare.h"

#include "base/log.h"

#define LOOK_US    100000u
#define STEP_BYTES ((size_t)64 << 20)

static bool is_empty(struct segment_range r)
{
	return r.first == r.last;
}

/* What of r is held; an empty range stands at the beginning of what is. */
static struct segment_range within(struct segment_range r, struct segment_range held)
{
	r.first = r.first > held.first ? r.first : held.first;
	r.last = r.last < held.last ? r.last : held.last;
	if (r.first >= r.last)
		r.first = r.last = held.first;
	r.head = r.head && held.head;
	return r;
}

static bool is_same(struct segment_range a, struct segment_range b)
{
	return a.first == b.first && a.last == b.last && a.head == b.head;
}

/* What is held but for a part of what `used` has not: layers above it first. */
static struct segment_range less(const struct segment *seg, struct segment_range used,
				 size_t step_bytes)
{
	const size_t had = segment_weight_bytes(seg, seg->held.first, seg->held.last, false, false);
	struct segment_range r = seg->held;
	bool more = true;

	r.head = used.head;
	while (more && (r.last > used.last || r.first < used.first)) {
		if (r.last > used.last)
			r.last--;
		else
			r.first++;
		more = had - segment_weight_bytes(seg, r.first, r.last, false, false) < step_bytes;
	}
	return r;
}

static void give_back(struct spare *sp, struct segment *seg)
{
	const struct segment_range used = within(sp->used, seg->held);
	const size_t before = seg->weight_bytes;

	segment_release(seg, less(seg, used, sp->step_bytes));
	log_event(LOG_LEVEL_INFO, "weights.released", "bytes=%zu layers=%u..%u head=%s",
		  before - seg->weight_bytes, seg->held.first, seg->held.last,
		  seg->held.head ? "yes" : "no");
}

void spare_init(struct spare *sp, const struct segment *seg, uint64_t after_us)
{
	*sp = (struct spare){ .after_us = after_us, .step_bytes = STEP_BYTES, .last = seg->held };
}

void spare_look(struct spare *sp, struct segment *seg, const struct segment_range *need,
		uint64_t now_us)
{
	struct segment_range now = need ? *need : is_empty(seg->begun) ? sp->last : seg->begun;

	if (!sp->after_us || now_us < sp->due_us)
		return;
	sp->due_us = now_us + LOOK_US;
	sp->last = now;
	now = segment_join(now, seg->begun);
	seg->begun = (struct segment_range){ 0 };
	sp->used = sp->since_us ? segment_join(sp->used, now) : now;
	if (is_same(within(sp->used, seg->held), seg->held)) {
		sp->since_us = 0;
		return;
	}
	sp->since_us = sp->since_us ? sp->since_us : now_us;
	if (now_us - sp->since_us >= sp->after_us)
		give_back(sp, seg);
}
