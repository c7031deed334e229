/* agent/guess.h - which token may come next: the one that came last time.
 *
 * A table from the newest one, two or three tokens to what followed them, learned from prompts and
 * answers of all sessions, since what a gateway is asked and says repeats itself. Longer contexts
 * are believed first; an entry that was right gives way only after it was wrong as often. What only
 * prompts have told is known apart: tokens of prompts do not leave the gateway.
 *
 * Pure. One thread. All 0: nothing was seen. */
#ifndef AGENT_GUESS_H
#define AGENT_GUESS_H

#include <stdbool.h>
#include <stdint.h>

#define GUESS_CONTEXT 3u    /* tokens, at most */
#define GUESS_ENTRIES 16384u /* a power of two */
#define GUESS_SURE_MAX 3u

struct guess_entry {
	uint32_t context; /* hash; 0: none */
	uint32_t id;
	uint8_t length; /* of the context, 1 to GUESS_CONTEXT */
	uint8_t sure;   /* how often it was right of late, 0 to GUESS_SURE_MAX */
	bool said;      /* in an answer */
};

struct guess {
	struct guess_entry entries[GUESS_ENTRIES];
};

/* ids[n - 1] came after those before it; n >= 1. said: it was sampled. */
void guess_learn(struct guess *g, const uint32_t *ids, uint32_t n, bool said);

/* What may come after ids[0..n); NULL: nothing is known. Good until the next guess_learn. */
const struct guess_entry *guess_next(const struct guess *g, const uint32_t *ids, uint32_t n);

#endif
