/* base/due.h - when what a thread waits for is due, as far as the waits before tell.
 *
 * To wake a thread from sleep takes 40 to 300 us, the more the longer it and its processor slept. A
 * thread that knows when it will be needed is awake by then: it naps until shortly before, then
 * looks again and again, for a time that is bounded. Waits that end anywhere are slept through.
 *
 * Pure: times are the caller's, all in microseconds. One thread. */
#ifndef BASE_DUE_H
#define BASE_DUE_H

#include <stdbool.h>
#include <stdint.h>

#define DUE_KEPT 8u /* waits that count */

/* All 0: nothing is known. */
struct due {
	uint32_t waits_us[DUE_KEPT]; /* ring */
	uint32_t n;                  /* waits so far */
	uint32_t shy;                /* waits to sleep through, since others want the processor */
	uint32_t shyness;            /* how many it was last time */
	uint32_t calm;               /* waits since that nobody else disturbed */
};

/* A part of a wait, from its beginning. */
struct due_window {
	uint32_t from_us, to_us;
};

/* One more wait has ended; others had the processor while it was looked for, which is left to them
 * for some waits then, each time for twice as many. Only many waits that they did not disturb make
 * it fewer again: to be late costs more than to be early gains. */
void due_learn(struct due *d, uint64_t waited_us, bool crowded);

/* Where to look, for at most spin_us. False: nowhere, most waits of late were of different
 * lengths. */
bool due_window(const struct due *d, uint32_t spin_us, struct due_window *w);

#endif
