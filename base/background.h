/* base/background.h - a thread whose work nobody waits for. */
#ifndef BASE_BACKGROUND_H
#define BASE_BACKGROUND_H

#include <stdbool.h>

/* The calling thread, and those that it makes, run behind what others wait for, from now on: at a
 * lower priority, and in slices so short that a thread which wakes on its processor need not wait
 * for their end, and that to give up what is left of one (queue_yield) costs it little. False where
 * Linux knows no such slices (before 6.12), or a sandbox forbids them. */
bool background_enter(void);

#endif
