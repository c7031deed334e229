#include "base/near.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

static unsigned least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

unsigned near_distance(const char *word, const char *known, size_t len)
{
	unsigned row[NEAR_WORD_MAX + 1];

	if (len > NEAR_WORD_MAX || strlen(word) > NEAR_WORD_MAX)
		return NEAR_WORD_MAX;
	for (unsigned j = 0; j <= len; j++)
		row[j] = j;
	for (unsigned i = 1; word[i - 1]; i++) {
		unsigned diagonal = row[0];

		row[0] = i;
		for (unsigned j = 1; j <= len; j++) {
			bool same = tolower((unsigned char)word[i - 1]) ==
				    tolower((unsigned char)known[j - 1]);
			unsigned best = least(diagonal + !same, least(row[j], row[j - 1]) + 1);

			diagonal = row[j];
			row[j] = best;
		}
	}
	return row[len];
}

unsigned near_limit(const char *word)
{
	return (unsigned)strlen(word) / 3 + 2;
}
