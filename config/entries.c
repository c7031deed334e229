#include "config/entries.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <yaml.h>

/* One pass over libyaml's events. `path` holds the flattened key of where we are. */
struct walk {
	const char *name;
	struct entries *list;
	struct err *e;
	char path[ENTRIES_KEY_MAX];
	size_t ends[ENTRIES_DEPTH_MAX + 1]; /* length of the path of each open section */
	unsigned depth;                     /* open mappings */
	unsigned key_line;
	unsigned documents;
	bool at_value; /* a key was read, its value comes next */
};

static unsigned line_of(const yaml_event_t *ev)
{
	return (unsigned)ev->start_mark.line + 1;
}

static int refuse(const struct walk *w, const yaml_event_t *ev, const char *what)
{
	if (w->at_value)
		return err_set(w->e, ERR_CONFIG, "%s:%u: %s: %s", w->name, w->key_line, w->path,
			       what);
	return err_set(w->e, ERR_CONFIG, "%s:%u: %s", w->name, line_of(ev), what);
}

/* Bytes that no value needs and that would spoil a line of a log. */
static bool has_control(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			return true;
	}
	return false;
}

static int grow(struct entries *list)
{
	struct entry *bigger;

	if (list->n & (list->n - 1)) /* room is made at powers of two */
		return 0;
	bigger = realloc(list->at, (list->n ? 2 * list->n : 1) * sizeof(*bigger));
	if (!bigger)
		return ERR_NOMEM;
	list->at = bigger;
	return 0;
}

/* Append (path, value); value NULL is a section. */
static int add(struct walk *w, const char *value, size_t len, bool bare)
{
	const struct entry *twin = entries_find(w->list, w->path);
	struct entry *entry;

	if (twin)
		return err_set(w->e, ERR_CONFIG, "%s:%u: %s: given twice (first on line %u)",
			       w->name, w->key_line, w->path, twin->line);
	if (w->list->n == ENTRIES_MAX)
		return err_set(w->e, ERR_LIMIT, "%s:%u: more than %d keys", w->name, w->key_line,
			       ENTRIES_MAX);
	if (grow(w->list))
		return err_set(w->e, ERR_NOMEM, "out of memory");
	entry = &w->list->at[w->list->n];
	*entry = (struct entry){ .line = w->key_line, .bare = bare };
	entry->key = strdup(w->path);
	entry->value = value ? strndup(value, len) : NULL;
	w->list->n++;
	if (!entry->key || (value && !entry->value))
		return err_set(w->e, ERR_NOMEM, "out of memory");
	return 0;
}

static int open_section(struct walk *w, const yaml_event_t *ev)
{
	if (w->depth && !w->at_value)
		return refuse(w, ev, "a key must be text");
	if (w->depth == ENTRIES_DEPTH_MAX)
		return refuse(w, ev, "sections are nested too deeply");
	if (w->depth) {
		int rc = add(w, NULL, 0, false);

		if (rc)
			return rc;
	}
	w->ends[++w->depth] = strlen(w->path);
	w->at_value = false;
	return 0;
}

static void close_section(struct walk *w)
{
	w->depth--;
	w->path[w->depth ? w->ends[w->depth] : 0] = '\0';
}

static int take_key(struct walk *w, const yaml_event_t *ev)
{
	const char *text = (const char *)ev->data.scalar.value;
	size_t len = ev->data.scalar.length, end = strlen(w->path);

	if (!len || has_control(text, len))
		return refuse(w, ev, "a key must be printable text");
	if (end + 1 + len >= sizeof(w->path))
		return refuse(w, ev, "a key is too long");
	w->key_line = line_of(ev);
	if (end)
		w->path[end++] = '.';
	memcpy(w->path + end, text, len);
	w->path[end + len] = '\0';
	w->at_value = true;
	return 0;
}

static bool is_bare(const yaml_event_t *ev)
{
	const char *text = (const char *)ev->data.scalar.value;

	return ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
	       (!*text || !strcmp(text, "~") || !strcmp(text, "null"));
}

static int take_scalar(struct walk *w, const yaml_event_t *ev)
{
	const char *text = (const char *)ev->data.scalar.value;
	size_t len = ev->data.scalar.length;
	int rc;

	if (!w->depth)
		return is_bare(ev) ? 0 : refuse(w, ev, "not a list of `key: value` lines");
	if (!w->at_value)
		return take_key(w, ev);
	if (has_control(text, len))
		return refuse(w, ev, "a value must be one line of printable text");
	rc = add(w, text, len, is_bare(ev));
	w->path[w->ends[w->depth]] = '\0';
	w->at_value = false;
	return rc;
}

static bool is_decorated(const yaml_event_t *ev)
{
	if (ev->type == YAML_SCALAR_EVENT)
		return ev->data.scalar.anchor || ev->data.scalar.tag;
	if (ev->type == YAML_MAPPING_START_EVENT)
		return ev->data.mapping_start.anchor || ev->data.mapping_start.tag;
	return ev->type == YAML_ALIAS_EVENT;
}

static int take(struct walk *w, const yaml_event_t *ev)
{
	if (is_decorated(ev))
		return refuse(w, ev, "YAML anchors, aliases and tags are not used here");
	switch (ev->type) {
	case YAML_DOCUMENT_START_EVENT:
		return w->documents++ ? refuse(w, ev, "a second YAML document") : 0;
	case YAML_SEQUENCE_START_EVENT:
		return refuse(w, ev, "a list is not possible here");
	case YAML_MAPPING_START_EVENT:
		return open_section(w, ev);
	case YAML_MAPPING_END_EVENT:
		close_section(w);
		return 0;
	case YAML_SCALAR_EVENT:
		return take_scalar(w, ev);
	default:
		return 0;
	}
}

/* libyaml's words for it tell little. */
static const char *hint(const char *problem)
{
	return strstr(problem, "cannot start any token") ? " (a tab? YAML indents with blanks)"
							 : "";
}

static int walk_events(struct walk *w, yaml_parser_t *parser)
{
	bool done = false;
	int rc = 0;

	while (!done && !rc) {
		yaml_event_t ev;

		if (!yaml_parser_parse(parser, &ev)) {
			const char *problem = parser->problem ? parser->problem : "not YAML";

			return err_set(w->e, ERR_CONFIG, "%s:%u: %s%s", w->name,
				       (unsigned)parser->problem_mark.line + 1, problem,
				       hint(problem));
		}
		done = ev.type == YAML_STREAM_END_EVENT;
		rc = take(w, &ev);
		yaml_event_delete(&ev);
	}
	return rc;
}

int entries_parse(struct entries *list, const char *name, const char *text, size_t len,
		  struct err *e)
{
	struct walk w = { .name = name, .list = list, .e = e };
	yaml_parser_t parser;
	int rc;

	*list = (struct entries){ 0 };
	if (len > ENTRIES_FILE_BYTES_MAX)
		return err_set(e, ERR_LIMIT, "%s: larger than %zu bytes", name,
			       ENTRIES_FILE_BYTES_MAX);
	if (!yaml_parser_initialize(&parser))
		return err_set(e, ERR_NOMEM, "out of memory");
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
	rc = walk_events(&w, &parser);
	yaml_parser_delete(&parser);
	if (rc)
		entries_finish(list);
	return rc;
}

const struct entry *entries_find(const struct entries *list, const char *key)
{
	for (size_t i = 0; i < list->n; i++) {
		if (!strcmp(list->at[i].key, key))
			return &list->at[i];
	}
	return NULL;
}

void entries_finish(struct entries *list)
{
	if (!list)
		return;
	for (size_t i = 0; i < list->n; i++) {
		free(list->at[i].key);
		free(list->at[i].value);
	}
	free(list->at);
	*list = (struct entries){ 0 };
}
