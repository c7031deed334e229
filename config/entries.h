/* config/entries.h - a YAML file as a flat list of (key, value, line).
 *
 * Only what a configuration needs is let in: one document, sections and scalars. Lists, anchors,
 * aliases, tags, a second document, a key given twice, deep nesting and huge files are errors
 * that name the line. Pure; any thread. */
#ifndef CONFIG_ENTRIES_H
#define CONFIG_ENTRIES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define ENTRIES_FILE_BYTES_MAX ((size_t)1 << 20)
#define ENTRIES_MAX            4096
#define ENTRIES_DEPTH_MAX      8
#define ENTRIES_KEY_MAX        256 /* bytes of a flattened key, NUL included */

struct entry {
	char *key;   /* "broker.host" */
	char *value; /* NULL: a section */
	bool bare;   /* nothing is written after the colon, or null, or ~ */
	unsigned line;
};

struct entries {
	struct entry *at;
	size_t n;
};

/* text[len] -> *list, sections before what is inside them, in the order of the file; `name` stands
 * in messages. ERR_CONFIG ("name:line: ..."), ERR_LIMIT, ERR_NOMEM; *list is empty then. */
MUST_CHECK int entries_parse(struct entries *list, const char *name, const char *text, size_t len,
			     struct err *e);

/* The entry of that key, or NULL. */
const struct entry *entries_find(const struct entries *list, const char *key);

/* Zeroed or NULL is fine. */
void entries_finish(struct entries *list);

#endif
