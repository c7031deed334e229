/* base/near.h - which known word a mistyped one may have been meant to be. Pure; any thread. */
#ifndef BASE_NEAR_H
#define BASE_NEAR_H

#include <stddef.h>

/* How many letters of word are missing, too many, others, or swapped with their neighbour (optimal
 * string alignment), against known[0..len), case ignored; a word that is longer than NEAR_WORD_MAX
 * is NEAR_WORD_MAX away from everything. */
#define NEAR_WORD_MAX 64
unsigned near_distance(const char *word, const char *known, size_t len);

/* Words at this distance and beyond are no help to who wrote `word`: more than a third of its
 * letters are wrong, or more than four. */
unsigned near_limit(const char *word);

#endif
