/* daemon/memory.h - how much memory the system still gives this process. Any thread.
 *
 * Three kinds of limits: what the machine has available without swapping; what the control groups
 * of the process (v2 memory.max and memory.high, v1 memory.limit_in_bytes, of each group up to the
 * root) leave, page cache that nobody uses counted as free; and RLIMIT_DATA and RLIMIT_AS, which
 * count what is mapped, touched or not. */
#ifndef DAEMON_MEMORY_H
#define DAEMON_MEMORY_H

#include <stdint.h>

struct memory {
	uint64_t resident_bytes;  /* of this process (VmRSS); 0: /proc does not tell */
	uint64_t available_bytes; /* of machine and control groups; UINT64_MAX: not known */
	uint64_t mappable_bytes;  /* that the resource limits leave; UINT64_MAX: no limit */
};

/* Some small files of /proc and /sys are read: not per token. */
void memory_read(struct memory *m);

/* What was read of late is good enough: control groups take some 0.2 ms. */
struct memory_look {
	struct memory m;
	uint64_t read_us; /* 0: never */
};

/* As memory_read, but read anew only when older than max_age_us; mappable_bytes is always of now.
 * What was booked meanwhile is not in memory yet: room.h knows the difference. */
void memory_look(struct memory_look *l, uint64_t now_us, uint64_t max_age_us);

/* memory_read from files below `root` ("" for those of the system) and without resource limits. */
void memory_read_at(struct memory *m, const char *root);

/* available_bytes, and resident_bytes, alone; 0: not known. */
uint64_t memory_available_bytes(void);
uint64_t memory_resident_bytes(void);

#endif
