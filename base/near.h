/* base/near.h - which known word a mistyped one may have been meant to be. Pure; any thread. */
#ifndef BASE_NEAR_H
#define BASE_NEAR_H

#include <stddef.h>

/* Levenshtein distance of word and known[0..len), case ignored; one that is longer than
 * NEAR_WORD_MAX is NEAR_WORD_MAX away from everything. */
#define NEAR_WORD_MAX 64
unsigned near_distance(const char *word, const char *known, size_t len);

/* Words at this distance and beyond are no help to who wrote `word`. */
unsigned near_limit(const char *word);

#endif
