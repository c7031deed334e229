#include "tools/prompts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "schema/json.h"

#define TEXT_MAX 65536u

static int add(struct prompts *p, const char *line, size_t len, struct err *e)
{
	char **more = realloc(p->texts, (p->n + 1) * sizeof(*more));
	struct json *root = NULL;
	const char *text = NULL;
	int rc;

	if (!more)
		return err_set(e, ERR_NOMEM, "prompts");
	p->texts = more;
	rc = json_parse(&root, line, len, e);
	if (!rc)
		rc = json_get_str(root, "prompt", true, TEXT_MAX, &text, e);
	if (!rc && !(p->texts[p->n] = strdup(text)))
		rc = err_set(e, ERR_NOMEM, "prompts");
	p->n += !rc;
	json_free(root);
	return rc;
}

static int read_lines(struct prompts *p, FILE *f, struct err *e)
{
	char *line = NULL;
	size_t cap = 0, number = 0;
	ssize_t len;
	int rc = 0;

	while (!rc && (len = getline(&line, &cap, f)) > 0) {
		number++;
		rc = add(p, line, (size_t)len, e);
		if (rc)
			err_wrap(e, "line %zu", number);
	}
	free(line);
	return rc;
}

int prompts_read(struct prompts *p, const char *path, struct err *e)
{
	FILE *f = fopen(path, "r");
	int rc;

	*p = (struct prompts){ 0 };
	if (!f)
		return err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
	rc = read_lines(p, f, e);
	if (!rc && ferror(f))
		rc = err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
	else if (rc)
		err_wrap(e, "%s", path);
	else if (!p->n)
		rc = err_set(e, ERR_USAGE, "%s: no prompts", path);
	(void)fclose(f);
	if (rc)
		prompts_free(p);
	return rc;
}

void prompts_free(struct prompts *p)
{
	for (size_t i = 0; i < p->n; i++)
		free(p->texts[i]);
	free(p->texts);
	*p = (struct prompts){ 0 };
}
