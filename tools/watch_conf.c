#include <stdlib.h>
#include <string.h>

#include "tools/cmd.h"
#include "tools/watch.h"

#define FILE_MAX ((size_t)1 << 20)

static int load_agent(struct watch_conf *c, const char *path, struct err *e)
{
	struct config_agent a;
	int rc = config_load_agent(&a, path, e);

	if (!rc) {
		memcpy(c->fleet, a.fleet, sizeof(c->fleet));
		c->broker = a.broker;
	}
	return rc;
}

static int load_worker(struct watch_conf *c, const char *path, struct err *e)
{
	struct config_worker w;
	int rc = config_load_worker(&w, path, e);

	if (!rc) {
		memcpy(c->fleet, w.fleet, sizeof(c->fleet));
		c->broker = w.broker;
	}
	return rc;
}

static int load_coordinator(struct watch_conf *c, const char *path, struct err *e)
{
	struct config_coordinator *k = malloc(sizeof(*k)); /* large: overrides of 64 agents */
	int rc = k ? config_load_coordinator(k, path, e)
		   : err_set(e, ERR_NOMEM, "%s", err_phrase(ERR_NOMEM));

	if (!rc) {
		memcpy(c->fleet, k->fleet, sizeof(c->fleet));
		c->broker = k->broker;
	}
	free(k);
	return rc;
}

/* Does a line of text begin with key and a colon? */
static bool has_key(const char *text, const char *key)
{
	size_t n = strlen(key);

	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (!strncmp(line, key, n) && line[n + strspn(line + n, " \t")] == ':')
			return true;
	}
	return false;
}

int watch_load(struct watch_conf *c, const char *path, struct err *e)
{
	char *text;
	size_t len;
	bool agent, worker;
	int rc = cmd_read_file(path, FILE_MAX, &text, &len, e);

	if (rc)
		return rc;
	agent = has_key(text, "agent");
	worker = has_key(text, "worker");
	free(text);
	if (agent)
		return load_agent(c, path, e);
	if (worker)
		return load_worker(c, path, e);
	/* The environment may name an agent or a worker instead of the file. */
	if (load_agent(c, path, NULL) == 0 || load_worker(c, path, NULL) == 0)
		return 0;
	return load_coordinator(c, path, e);
}
