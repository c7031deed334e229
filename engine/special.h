/* engine/special.h - tokens that are found in a text as they are written: control and
 * user-defined ones.
 *
 * The longest token wins wherever it stands, then the leftmost: a shorter one never cuts into
 * it. Read-only after special_load: any thread. */
#ifndef ENGINE_SPECIAL_H
#define ENGINE_SPECIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/vocab.h"

struct special {
	const struct vocab *v;
	uint32_t *ids; /* in the order of their bytes */
	uint32_t n;
	uint32_t first[257]; /* ids[first[c] .. first[c + 1]) begin with byte c */
};

/* A special token in a text. */
struct special_hit {
	uint32_t start; /* byte */
	uint32_t index; /* of special.ids */
};

/* The user-defined tokens of v and, when `control`, control and unknown tokens. v outlives s. */
MUST_CHECK int special_load(struct special *s, const struct vocab *v, bool control);
void special_finish(struct special *s);

/* Those in text (len < 2^32), left to right -> malloc'ed *hits (NULL when none). ERR_NOMEM.
 * Cost O(len) where few positions begin a token, O(len log len) otherwise. */
MUST_CHECK int special_find(const struct special *s, const char *text, size_t len,
			    struct special_hit **hits, size_t *n);

#endif
