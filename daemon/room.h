/* daemon/room.h - the proof that what is asked for fits the memory there is. Pure arithmetic.
 *
 * What a process has promised (to sessions, and to itself) is booked, whether it is in memory by
 * now or not. More fits while the bookings stay within the budget, and what they still lack within
 * what the machine has available less a reserve for others. */
#ifndef DAEMON_ROOM_H
#define DAEMON_ROOM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct room {
	uint64_t limit_bytes;     /* the budget; UINT64_MAX: none */
	uint64_t booked_bytes;    /* promised */
	uint64_t resident_bytes;  /* of it, in memory now */
	uint64_t available_bytes; /* that the system would still give; UINT64_MAX: not known */
	uint64_t reserve_bytes;   /* of those, not for us */
	uint64_t mappable_bytes;  /* addresses, by the resource limits; UINT64_MAX: no limit */
	uint64_t mapped_bytes;    /* of those, for what is booked and not mapped yet */
};

struct room_ask {
	uint64_t weight_bytes;  /* of layers that are not booked: mapped already */
	uint64_t session_bytes; /* of the session, whatever its length */
	uint64_t token_bytes;   /* of each of its positions */
	uint32_t tokens;
};

enum room_limit { ROOM_BUDGET, ROOM_MACHINE, ROOM_ADDRESSES };

struct room_answer {
	uint64_t need_bytes;
	uint64_t missing_bytes; /* 0: it fits */
	uint32_t most_tokens;   /* that would fit; UINT32_MAX: any number */
	enum room_limit by;     /* what is the tightest */
};

/* Whether `ask` fits: within the budget, the machine, the addresses. */
void room_judge(const struct room *r, const struct room_ask *ask, struct room_answer *a);

/* "the memory budget", "the memory that the machine has available", "the limit of addresses". */
const char *room_limit_name(enum room_limit by);

#endif
