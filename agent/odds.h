/* agent/odds.h - how often guesses are right, and which rows are worth sending on them.
 *
 * A draft that is right saves the wait for its row; one that is wrong keeps the true row waiting
 * behind its bytes, and a worker busy. Guesses of one kind (after how long a context, and how sure)
 * are as often right as they were of late, sent or not.
 *
 * Pure. One thread. All 0: nothing was seen. */
#ifndef AGENT_ODDS_H
#define AGENT_ODDS_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/guess.h"

struct odds {
	struct {
		uint32_t right, all;
	} kinds[GUESS_CONTEXT][GUESS_SURE_MAX + 1];
};

/* A guess of this kind turned out right, or not; length, sure: as in guess_entry. */
void odds_learn(struct odds *o, uint32_t length, uint32_t sure, bool right);

/* Probability that the next one is. */
double odds_of(const struct odds *o, uint32_t length, uint32_t sure);

/* A row that is right with probability p: the wait that it saves then, against what it takes in
 * vain else. */
bool odds_are_good(double p, double wait_us, double vain_us);

#endif
