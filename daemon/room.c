#include "daemon/room.h"

static uint64_t minus(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

/* Saturates: what nobody has is never enough. */
static uint64_t plus(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static uint64_t times(uint64_t a, uint64_t b)
{
	return b && a > UINT64_MAX / b ? UINT64_MAX : a * b;
}

/* One limit: of `have` bytes, `taken` are; the session wants fixed and each * tokens more. */
struct limit {
	enum room_limit by;
	uint64_t have, taken, fixed;
};

static uint32_t most_tokens(const struct limit *l, uint64_t each)
{
	const uint64_t used = plus(l->taken, l->fixed);
	uint64_t n = used > l->have ? 0 : UINT32_MAX;

	if (n && each)
		n = (l->have - used) / each;
	return n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
}

/* The answer is that of the limit that lacks most, or else has least to spare. */
static void weigh(const struct limit *l, const struct room_ask *ask, struct room_answer *a)
{
	const uint64_t session = plus(l->fixed, times(ask->token_bytes, ask->tokens));
	const uint64_t missing = minus(plus(l->taken, session), l->have);
	const uint32_t most = most_tokens(l, ask->token_bytes);

	if (l->have == UINT64_MAX)
		return;
	if (missing > a->missing_bytes || (!a->missing_bytes && most < a->most_tokens)) {
		a->missing_bytes = missing;
		a->by = l->by;
	}
	if (most < a->most_tokens)
		a->most_tokens = most;
}

void room_judge(const struct room *r, const struct room_ask *ask, struct room_answer *a)
{
	const uint64_t fixed = plus(ask->weight_bytes, ask->session_bytes);
	const struct limit limits[] = {
		{ ROOM_BUDGET, r->limit_bytes, r->booked_bytes, fixed },
		{ ROOM_MACHINE, r->available_bytes,
		  plus(minus(r->booked_bytes, r->resident_bytes), r->reserve_bytes), fixed },
		{ ROOM_ADDRESSES, r->mappable_bytes, r->mapped_bytes, ask->session_bytes },
	};

	*a = (struct room_answer){
		.need_bytes = plus(fixed, times(ask->token_bytes, ask->tokens)),
		.most_tokens = UINT32_MAX,
	};
	for (unsigned i = 0; i < sizeof(limits) / sizeof(limits[0]); i++)
		weigh(&limits[i], ask, a);
}

const char *room_limit_name(enum room_limit by)
{
	static const char *const names[] = {
		[ROOM_BUDGET] = "the memory budget",
		[ROOM_MACHINE] = "the memory that is available",
		[ROOM_ADDRESSES] = "the limit of addresses",
	};

	return names[by];
}
