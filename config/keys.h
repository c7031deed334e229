/* config/keys.h - tables of keys: type, limits, default, and where the value goes.
 *
 * A program has one key_set; keys_read fills its struct from defaults, a file and the environment,
 * keys_print writes it back. Any thread. */
#ifndef CONFIG_KEYS_H
#define CONFIG_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "config/entries.h"

enum key_kind {
	KEY_TEXT,  /* char [cap] */
	KEY_NAME,  /* char [cap]; one topic level: [A-Za-z0-9_.-], at most 64 */
	KEY_PATH,  /* char [cap]; made relative to the file's directory */
	KEY_WORD,  /* char [cap]; one of `words` */
	KEY_U32,   /* uint32_t in min..max */
	KEY_REAL,  /* double in min..max */
	KEY_BYTES, /* uint64_t in min..max; "512MiB" */
	KEY_DRAW,  /* struct draw, its numbers in min..max; "uniform(1, 5)" */
};

struct key {
	const char *name; /* flattened: "broker.port" */
	enum key_kind kind;
	size_t offset, cap;
	double min, max;      /* limits of a number; whole ones stay below 2^53 */
	const char *fallback; /* the default as a file would say it; NULL: the key is required */
	const char *words;    /* KEY_WORD: "f16|f32" */
	bool has_auto;        /* the word "auto" stands for auto_value, or NaN as a KEY_REAL */
	uint32_t auto_value;
	bool secret; /* masked when printed */
};

/* name, kind and place of a key in struct `conf`. */
#define KEY(conf, key, field, key_kind)                                                            \
	.name = (key), .kind = (key_kind), .offset = offsetof(conf, field),                        \
	.cap = sizeof(((conf *)0)->field)

/* A section whose sub-sections are named by the operator: agents.<name>.split */
struct key_map {
	const char *name; /* "agents" */
	const struct key *keys;
	size_t n_keys;
	size_t at_offset, stride; /* of the array in the struct; an element starts with its name */
	size_t count_offset;      /* uint32_t elements in use */
	uint32_t max;
};

struct key_set {
	const struct key *keys;
	size_t n_keys;
	const struct key_map *map; /* or NULL */
	/* The program whose file has a key that is none of these; NULL: nobody's. May be NULL. */
	const char *(*owner)(const struct key_set *set, const char *key);
};

/* Where the values come from. */
struct key_source {
	const char *
		name; /* of the file: stands in messages; its directory is that of relative paths */
	const char *text;
	size_t len;
	bool outside; /* look at the environment and at files that are named inside, too */
	struct entries entries; /* filled by keys_read */
};

/* Defaults, the file, the environment, in this order, into conf (zeroed before by the caller).
 * ERR_CONFIG with "name:line: key: ..." or "VARIABLE: ...". The caller finishes src->entries. */
MUST_CHECK int keys_read(void *conf, const struct key_set *set, struct key_source *src,
			 struct err *e);

/* For a rule over several keys: put where `key` was set before the text of e; returns e's code. */
int keys_blame(const struct key_source *src, const char *key, struct err *e);

/* The name of the environment variable of a key. */
#define KEYS_VARIABLE_MAX (ENTRIES_KEY_MAX + 8)
void keys_variable(char dst[static KEYS_VARIABLE_MAX], const char *key);

/* conf as YAML that keys_read understands, secrets masked. */
void keys_print(const void *conf, const struct key_set *set, FILE *out);

/* Nearest name of the set (key or section) to text, or NULL when nothing is near. */
const char *keys_nearest(const struct key_set *set, const char *text);

#endif
