#include "config/keys.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/near.h"
#include "config/value.h"

/* ---- names ---------------------------------------------------------------------------------- */

void keys_variable(char dst[static KEYS_VARIABLE_MAX], const char *key)
{
	int n = snprintf(dst, KEYS_VARIABLE_MAX, "SPLITMQ_%s", key);

	for (int i = 0; i < n && dst[i]; i++)
		dst[i] = dst[i] == '.' ? '_' : (char)toupper((unsigned char)dst[i]);
}

static const struct key *find(const struct key *keys, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++) {
		if (!strcmp(keys[i].name, name))
			return &keys[i];
	}
	return NULL;
}

/* "broker" is one when some key is called "broker.something". */
static bool is_section(const struct key_set *set, const char *name)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < set->n_keys; i++) {
		if (!strncmp(set->keys[i].name, name, len) && set->keys[i].name[len] == '.')
			return true;
	}
	return set->map && !strcmp(set->map->name, name);
}

static const char *leaf(const char *key)
{
	const char *dot = strrchr(key, '.');

	return dot ? dot + 1 : key;
}

const char *keys_nearest(const struct key_set *set, const char *text)
{
	unsigned best = near_limit(text);
	const char *nearest = NULL;

	for (size_t i = 0; i < set->n_keys; i++) {
		const char *name = set->keys[i].name;
		unsigned d = near_distance(text, name, strlen(name));

		if (!strcmp(leaf(name), leaf(text)))
			d = d < 1 ? d : 1; /* right word, wrong section */
		if (d < best) {
			best = d;
			nearest = name;
		}
	}
	return nearest;
}

/* Nearest section -> dst; false when none is near. */
static bool nearest_section(const struct key_set *set, const char *text, char dst[NEAR_WORD_MAX])
{
	unsigned best = 3;

	for (size_t i = 0; i < set->n_keys + !!set->map; i++) {
		const char *name = i < set->n_keys ? set->keys[i].name : set->map->name;
		size_t len = i < set->n_keys ? strcspn(name, ".") : strlen(name);
		unsigned d = near_distance(text, name, len);

		if (d >= best || len >= NEAR_WORD_MAX || (i < set->n_keys && !name[len]))
			continue;
		best = d;
		memcpy(dst, name, len);
		dst[len] = '\0';
	}
	return best < 3;
}

static int unknown(const struct key_set *set, const struct entry *entry, struct err *e)
{
	char section[NEAR_WORD_MAX];
	const char *near = keys_nearest(set, entry->key);

	if (set->owner && set->owner(set, entry->key))
		return err_set(e, ERR_CONFIG, "unknown key here; it is one of %s",
			       set->owner(set, entry->key));
	if ((!entry->value || entry->bare) && nearest_section(set, entry->key, section))
		near = section;
	if (near)
		return err_set(e, ERR_CONFIG, "unknown key; did you mean \"%s\"?", near);
	return err_set(e, ERR_CONFIG, "unknown key");
}

/* ---- where a message points to -------------------------------------------------------------- */

/* A long path would push the reason out of the message: keep its end. */
static const char *tail(const char *name)
{
	size_t len = strlen(name);

	return len > 100 ? name + len - 100 : name;
}

static int blame_line(const struct key_source *src, const struct entry *entry, struct err *e)
{
	return err_wrap(e, "%s:%u: %.80s", tail(src->name), entry->line, entry->key);
}

int keys_blame(const struct key_source *src, const char *key, struct err *e)
{
	const struct entry *entry = entries_find(&src->entries, key);
	char variable[KEYS_VARIABLE_MAX];

	keys_variable(variable, key);
	if (src->outside && getenv(variable))
		return err_wrap(e, "%s", variable);
	if (entry)
		return blame_line(src, entry, e);
	return err_wrap(e, "%s: %s", tail(src->name), key);
}

/* ---- reading -------------------------------------------------------------------------------- */

static int set_defaults(void *conf, const struct key *keys, size_t n, struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		int rc = keys[i].fallback ? value_set(conf, &keys[i], keys[i].fallback, "", e) : 0;

		if (rc)
			return err_wrap(e, "default of %s", keys[i].name);
	}
	return 0;
}

/* Directory of the file, with its last '/', or "". */
static int directory_of(char *dst, size_t cap, const char *name, struct err *e)
{
	const char *slash = strrchr(name, '/');
	size_t len = slash ? (size_t)(slash + 1 - name) : 0;

	if (len >= cap)
		return err_set(e, ERR_CONFIG, "the path of the file is too long");
	memcpy(dst, name, len);
	dst[len] = '\0';
	return 0;
}

static int set_entry(void *conf, const struct key *k, const struct entry *entry, const char *dir,
		     struct err *e)
{
	if (!entry->value)
		return err_set(e, ERR_CONFIG, "takes a value, not a section");
	if (entry->bare)
		return err_set(e, ERR_CONFIG, "has no value (leave the line out, or write \"\")");
	return value_set(conf, k, entry->value, dir, e);
}

/* The element of a map by its name; made, with its defaults, when it is new. */
static int map_element(void *conf, const struct key_map *map, const char *name, void **element,
		       struct err *e)
{
	const struct key key = { .name = map->name, .kind = KEY_NAME, .cap = 65, .fallback = "x" };
	uint32_t *n = (uint32_t *)(void *)((char *)conf + map->count_offset);
	char *at = (char *)conf + map->at_offset;
	int rc;

	for (uint32_t i = 0; i < *n; i++, at += map->stride) {
		if (!strcmp(at, name)) {
			*element = at;
			return 0;
		}
	}
	if (*n == map->max)
		return err_set(e, ERR_CONFIG, "more than %u %s", (unsigned)map->max, map->name);
	rc = value_set(at, &key, name, "", e);
	if (!rc)
		rc = set_defaults(at, map->keys, map->n_keys, e);
	if (rc)
		return rc;
	(*n)++;
	*element = at;
	return 0;
}

static bool in_map(const struct key_map *map, const char *key)
{
	size_t len = map ? strlen(map->name) : 0;

	return map && !strncmp(key, map->name, len) && key[len] == '.';
}

static int unknown_in_map(const struct key_map *map, const char *field, struct err *e)
{
	const struct key_set set = { .keys = map->keys, .n_keys = map->n_keys };
	const char *near = keys_nearest(&set, field);

	if (near)
		return err_set(e, ERR_CONFIG, "unknown key; did you mean \"%s\"?", near);
	return err_set(e, ERR_CONFIG, "unknown key");
}

/* agents.<name>: a section; agents.<name>.<field>: a value. The name may hold dots, a field not. */
static int take_in_map(void *conf, const struct key_map *map, const struct entry *entry,
		       const char *dir, struct err *e)
{
	const char *rest = entry->key + strlen(map->name) + 1;
	const char *field = leaf(rest);
	char name[ENTRIES_KEY_MAX];
	const struct key *k;
	void *element;
	int rc;

	if (!entry->value || (entry->bare && field == rest))
		return map_element(conf, map, rest, &element, e);
	if (field == rest)
		return err_set(e, ERR_CONFIG, "must be a section");
	k = find(map->keys, map->n_keys, field);
	if (!k)
		return unknown_in_map(map, field, e);
	memcpy(name, rest, (size_t)(field - 1 - rest));
	name[field - 1 - rest] = '\0';
	rc = map_element(conf, map, name, &element, e);
	return rc ? rc : set_entry(element, k, entry, dir, e);
}

static int take(void *conf, const struct key_set *set, const struct entry *entry, const char *dir,
		struct err *e)
{
	const struct key *k = find(set->keys, set->n_keys, entry->key);

	if (k)
		return set_entry(conf, k, entry, dir, e);
	if (in_map(set->map, entry->key))
		return take_in_map(conf, set->map, entry, dir, e);
	if (!is_section(set, entry->key))
		return unknown(set, entry, e);
	if (entry->value && !entry->bare)
		return err_set(e, ERR_CONFIG, "must be a section");
	return 0;
}

static int take_file(void *conf, const struct key_set *set, const struct key_source *src,
		     struct err *e)
{
	char dir[4096];
	int rc = directory_of(dir, sizeof(dir), src->name, e);

	if (rc)
		return err_wrap(e, "%s", tail(src->name));
	for (size_t i = 0; i < src->entries.n; i++) {
		const struct entry *entry = &src->entries.at[i];

		if (take(conf, set, entry, dir, e))
			return blame_line(src, entry, e);
	}
	return 0;
}

static int take_environment(void *conf, const struct key_set *set, struct err *e)
{
	for (size_t i = 0; i < set->n_keys; i++) {
		char variable[KEYS_VARIABLE_MAX];
		const char *text;

		keys_variable(variable, set->keys[i].name);
		text = getenv(variable);
		if (text && value_set(conf, &set->keys[i], text, "", e))
			return err_wrap(e, "%s", variable);
	}
	return 0;
}

/* A required text may be missing, or given as "". */
static int check_required(const void *conf, const struct key_set *set, const struct key_source *src,
			  struct err *e)
{
	for (size_t i = 0; i < set->n_keys; i++) {
		const struct key *k = &set->keys[i];

		if (k->fallback || *value_text(conf, k))
			continue;
		err_set(e, ERR_CONFIG, "required, but not given");
		return keys_blame(src, k->name, e);
	}
	return 0;
}

int keys_read(void *conf, const struct key_set *set, struct key_source *src, struct err *e)
{
	int rc = set_defaults(conf, set->keys, set->n_keys, e);

	if (!rc)
		rc = entries_parse(&src->entries, tail(src->name), src->text, src->len, e);
	if (!rc)
		rc = take_file(conf, set, src, e);
	if (!rc && src->outside)
		rc = take_environment(conf, set, e);
	return rc ? rc : check_required(conf, set, src, e);
}

/* ---- printing ------------------------------------------------------------------------------- */

/* Lines of one table, `indent` deep, section headings where the section changes. */
static void print_table(const void *conf, const struct key *keys, size_t n, const char *indent,
			FILE *out)
{
	const char *section = "";
	size_t section_len = 0;

	for (size_t i = 0; i < n; i++) {
		const char *name = keys[i].name, *dot = strchr(name, '.');
		size_t len = dot ? (size_t)(dot - name) : 0;

		if (len && (len != section_len || strncmp(section, name, len)))
			fprintf(out, "%s%.*s:\n", indent, (int)len, name);
		section = name;
		section_len = len;
		fprintf(out, "%s%s%s: ", indent, dot ? "  " : "", dot ? dot + 1 : name);
		value_print(conf, &keys[i], out);
		fputc('\n', out);
	}
}

void keys_print(const void *conf, const struct key_set *set, FILE *out)
{
	const struct key_map *map = set->map;
	const char *at;
	uint32_t n;

	print_table(conf, set->keys, set->n_keys, "", out);
	if (!map)
		return;
	memcpy(&n, (const char *)conf + map->count_offset, sizeof(n));
	at = (const char *)conf + map->at_offset;
	fprintf(out, "%s:%s\n", map->name, n ? "" : " {}");
	for (uint32_t i = 0; i < n; i++, at += map->stride) {
		fprintf(out, "  \"%s\":\n", at);
		print_table(at, map->keys, map->n_keys, "    ", out);
	}
}
