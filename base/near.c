#include "base/near.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

#define MOST_SLIPS 4u

static unsigned least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

static bool same(char a, char b)
{
	return tolower((unsigned char)a) == tolower((unsigned char)b);
}

/* Rows of the table: of a word's first i letters; those of i - 1 and i - 2. */
struct rows {
	unsigned now[NEAR_WORD_MAX + 1], last[NEAR_WORD_MAX + 1], before[NEAR_WORD_MAX + 1];
};

static unsigned step(const struct rows *r, const char *word, unsigned i, const char *known,
		     unsigned j)
{
	const unsigned changed = r->last[j - 1] + !same(word[i - 1], known[j - 1]);
	const unsigned best = least(changed, least(r->last[j], r->now[j - 1]) + 1);

	if (i > 1 && j > 1 && same(word[i - 1], known[j - 2]) && same(word[i - 2], known[j - 1]))
		return least(best, r->before[j - 2] + 1);
	return best;
}

unsigned near_distance(const char *word, const char *known, size_t len)
{
	struct rows r = { 0 };

	if (len > NEAR_WORD_MAX || strlen(word) > NEAR_WORD_MAX)
		return NEAR_WORD_MAX;
	for (unsigned j = 0; j <= len; j++)
		r.now[j] = j;
	for (unsigned i = 1; word[i - 1]; i++) {
		memcpy(r.before, r.last, (len + 1) * sizeof(r.last[0]));
		memcpy(r.last, r.now, (len + 1) * sizeof(r.now[0]));
		r.now[0] = i;
		for (unsigned j = 1; j <= len; j++)
			r.now[j] = step(&r, word, i, known, j);
	}
	return r.now[len];
}

unsigned near_limit(const char *word)
{
	const unsigned third = (unsigned)strlen(word) / 3;

	return least(third, MOST_SLIPS) + 1;
}
