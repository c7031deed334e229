/* agent/share.h - how much of the compute thread's time side jobs get between the others.
 *
 * Half of what the others take, but so that those do not take longer than LONGEST of what they take
 * when there are no side jobs: a worker on the same machine may slow them as well. A third of it in
 * any case. What a step of a side job was too long or too short by counts the next time, though no
 * more than two shares at once: after a pause the next row is not kept waiting for all of it.
 *
 * Pure. One thread. All 0: nothing has run. Times are us. */
#ifndef AGENT_SHARE_H
#define AGENT_SHARE_H

#include <stdbool.h>
#include <stdint.h>

struct share {
	int64_t owed_us;  /* that they have had too little since, or too much */
	int64_t spare_us; /* that they had since the newest of the others */
	int64_t step_us;  /* that their newest step took */
	int64_t calm_us;  /* that a row of the others takes when there are none; 0: not known */
	unsigned calm;    /* others since the last one */
};

/* One of the others took so long; beside: side jobs were there, a prompt: it had several rows. */
void share_learn(struct share *s, bool beside, bool prompt, int64_t took_us);

/* Side jobs get their part of that. */
void share_owe(struct share *s, int64_t took_us);

/* A step is theirs now: it is no longer than twice what they are owed. */
bool share_is_due(const struct share *s);

/* A step took so long: that was due, or while nobody else wanted the thread. */
void share_had(struct share *s, bool due, int64_t took_us);

/* There are no side jobs any more: nothing is owed. */
void share_forget(struct share *s);

#endif
