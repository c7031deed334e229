/* agent/guess.h - which token may come next: the one that came last time.
 *
 * A table from the newest one, two or three tokens to what followed them, learned from prompts and
 * answers of all sessions, since what a gateway is asked and says repeats itself. Longer contexts
 * are believed first; an entry that was right gives way only after it was wrong as often.
 *
 * Pure. One thread. All 0: nothing was seen. */
#ifndef AGENT_GUESS_H
#define AGENT_GUESS_H

#include <stdbool.h>
#include <stdint.h>

#define GUESS_CONTEXT 3u    /* tokens, at most */
#define GUESS_ENTRIES 4096u /* a power of two */

struct guess_entry {
	uint32_t context; /* hash; 0: none */
	uint32_t id, sure;
};

struct guess {
	struct guess_entry entries[GUESS_ENTRIES];
};

/* ids[n - 1] came after those before it; n >= 1. */
void guess_learn(struct guess *g, const uint32_t *ids, uint32_t n);

/* What may come after ids[0..n). False: nothing is known. */
bool guess_next(const struct guess *g, const uint32_t *ids, uint32_t n, uint32_t *id);

#endif
