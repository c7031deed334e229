#include "base/background.h"

#include <sched.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NICE     10
#define SLICE_NS 100000u /* the least that Linux takes */

/* struct sched_attr of linux/sched/types.h, in its first size: that header and sched.h both define
 * sched_param. */
struct attributes {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

/* Runtime is the slice of an ordinary thread: one of another policy is left as it is. Source:
 * Linux, Documentation/scheduler/sched-eevdf.rst. */
static bool shorten_slices(int nice)
{
	struct attributes a = {
		.size = sizeof(a), .policy = SCHED_OTHER, .nice = nice, .runtime = SLICE_NS
	};

	if (sched_getscheduler(0) != SCHED_OTHER || syscall(SYS_sched_setattr, 0, &a, 0u))
		return false;
	a.runtime = 0;
	return !syscall(SYS_sched_getattr, 0, &a, sizeof(a), 0u) && a.runtime == SLICE_NS;
}

bool background_enter(void)
{
	const int own = getpriority(PRIO_PROCESS, 0); /* Linux: of this thread, like the next */
	const int nice = own > NICE ? own : NICE;

	(void)setpriority(PRIO_PROCESS, 0, nice);
	return shorten_slices(nice);
}
