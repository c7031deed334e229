#include "tools/cmd.h"

#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/kv_type.h"
#include "codec/spec.h"

int cmd_fail(const char *name, const struct err *e)
{
	fprintf(stderr, "splitmq %s: %s\n", name, e->text);
	return CMD_FAILED;
}

static volatile sig_atomic_t interrupted;

static void note(int signal_number)
{
	(void)signal_number;
	interrupted = 1;
}

void cmd_catch_interrupt(void)
{
	signal(SIGINT, note);
	signal(SIGTERM, note);
}

bool cmd_interrupted(void)
{
	return interrupted;
}

void cmd_say_once(const char *name, char said[static CMD_SAID_MAX], const char *text)
{
	if (!strcmp(said, text))
		return;
	snprintf(said, CMD_SAID_MAX, "%s", text);
	fprintf(stderr, "splitmq %s: %s\n", name, text);
}

int cmd_take_kv(void *place, const char *text, struct err *e)
{
	enum kv_type *type = place;

	return kv_type_parse(type, text)
		       ? err_set(e, ERR_USAGE, "must be " KV_TYPE_WORDS ", not \"%s\"", text)
		       : 0;
}

int cmd_take_codec(void *place, const char *text, struct err *e)
{
	const char **codec = place;
	struct codec_spec spec;
	int rc = spec_parse(&spec, text, e);

	if (!rc)
		*codec = text;
	return rc ? err_wrap(e, "\"%s\"", text) : 0;
}

int cmd_print_json(struct json *root, struct err *e)
{
	char *line = NULL;
	size_t len;
	int rc = json_print(root, &line, &len);

	if (rc)
		err_set(e, rc, "%s", err_phrase(rc));
	else
		puts(line);
	free(line);
	json_free(root);
	return rc;
}

/* Grow *text by reading f to its end; the byte after the last is NUL. */
static int slurp(FILE *f, size_t max_bytes, char **text, size_t *len, struct err *e)
{
	size_t cap = 65536, n = 0, got;
	char *buf = malloc(cap);

	while (buf && (got = fread(buf + n, 1, cap - n - 1, f)) > 0) {
		n += got;
		if (n > max_bytes) {
			free(buf);
			return err_set(e, ERR_LIMIT, "longer than %zu bytes", max_bytes);
		}
		if (n == cap - 1) {
			char *bigger = realloc(buf, cap *= 2);

			if (!bigger)
				free(buf);
			buf = bigger;
		}
	}
	if (!buf)
		return err_set(e, ERR_NOMEM, "out of memory");
	if (ferror(f)) {
		free(buf);
		return err_set(e, ERR_IO, "%s", strerror(errno));
	}
	buf[n] = '\0';
	*text = buf;
	*len = n;
	return 0;
}

int cmd_read_file(const char *path, size_t max_bytes, char **text, size_t *len, struct err *e)
{
	FILE *f = strcmp(path, "-") ? fopen(path, "rb") : stdin;
	int rc;

	if (!f)
		return err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
	rc = slurp(f, max_bytes, text, len, e);
	if (rc)
		err_wrap(e, "%s", path);
	if (f != stdin)
		fclose(f);
	return rc;
}

static bool is_separator(char c)
{
	return c == ',' || isspace((unsigned char)c);
}

/* Ids of a list of len bytes; ids has room for len / 2 + 1 of them. */
static int parse_ids(const char *list, uint32_t *ids, size_t *n, struct err *e)
{
	*n = 0;
	while (*list) {
		unsigned long long id;
		char *end;

		if (is_separator(*list)) {
			list++;
			continue;
		}
		errno = 0;
		id = strtoull(list, &end, 10);
		if (!isdigit((unsigned char)*list) || errno || id >= UINT32_MAX ||
		    (*end && !is_separator(*end)))
			return err_set(e, ERR_USAGE, "token %zu is not a token id: \"%.16s\"", *n,
				       list);
		ids[(*n)++] = (uint32_t)id;
		list = end;
	}
	return *n ? 0 : err_set(e, ERR_USAGE, "no token ids");
}

int cmd_read_ids(const char *text, uint32_t **ids, size_t *n, struct err *e)
{
	char *file = NULL;
	size_t len = strlen(text);
	int rc;

	if (text[0] == '@') {
		rc = cmd_read_file(text + 1, 1 << 26, &file, &len, e);
		if (rc)
			return rc;
	}
	*ids = malloc((len / 2 + 1) * sizeof(**ids));
	rc = *ids ? parse_ids(file ? file : text, *ids, n, e)
		  : err_set(e, ERR_NOMEM, "out of memory");
	if (rc) {
		free(*ids);
		*ids = NULL;
	}
	free(file);
	return rc;
}
