/* engine/pretok.h - cuts a text into the words inside which byte-level BPE may merge.
 *
 * Rules are named by tokenizer.ggml.pre. Each is a list of regular expressions: the first cuts the
 * text into matches and what lies between them, the next cuts each of these again, and so on.
 * Read-only after creation: any thread may split. */
#ifndef ENGINE_PRETOK_H
#define ENGINE_PRETOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct pretok;

/* The rule called name (len bytes). ERR_UNSUPPORTED naming it, ERR_NOMEM. */
MUST_CHECK int pretok_create(struct pretok **out, const char *name, size_t len, struct err *e);
void pretok_destroy(struct pretok *p);

/* A word that is a token needs no merging ("ignore merges"). */
bool pretok_whole_words(const struct pretok *p);

/* BOS is added when the metadata does not say. */
bool pretok_adds_bos(const struct pretok *p);

/* Most steps of one match; beyond, what is left of the stretch is one word. Tests make it small. */
void pretok_set_limit(struct pretok *p, uint32_t steps);

/* Call emit for each word, left to right; together they are the text. len < 2^32. A run of bytes
 * that are not UTF-8 is a word. Stops with what emit returned if that is not 0; else 0,
 * ERR_NOMEM. */
MUST_CHECK int pretok_split(const struct pretok *p, const char *text, size_t len,
			    int (*emit)(void *ctx, const char *word, size_t len), void *ctx);

#endif
