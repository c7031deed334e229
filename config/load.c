#include "config/load.h"

#include <ctype.h>
#include <string.h>
#include <unistd.h>

#include "config/config.h"
#include "config/text_file.h"

extern char **environ;

int load_source(struct key_source *src, const char *path, char **text, struct err *e)
{
	size_t len = 0;

	*src = (struct key_source){ .name = path, .outside = true };
	if (strlen(path) >= CONFIG_PATH_MAX)
		return err_set(e, ERR_CONFIG, "%.60s...: path too long", path);
	if (text_file_read(path, ENTRIES_FILE_BYTES_MAX, text, &len, e))
		return err_wrap(e, "%s", path);
	src->text = *text;
	src->len = len;
	return 0;
}

uint32_t load_processors(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	return n < 1 ? 1 : n > 64 ? 64 : (uint32_t)n;
}

static const struct key_set *const sets[] = {
	&load_agent_keys,
	&load_worker_keys,
	&load_coordinator_keys,
};

static const char *const programs[] = { "splitmq-agent", "splitmq-worker", "splitmq-coordinator" };

#define N_SETS (sizeof(sets) / sizeof(sets[0]))

/* A key, or a section. */
static bool has(const struct key_set *set, const char *key)
{
	const size_t len = strlen(key);

	for (size_t i = 0; i < set->n_keys; i++) {
		const char *name = set->keys[i].name;

		if (!strncmp(name, key, len) && (!name[len] || name[len] == '.'))
			return true;
	}
	return false;
}

const char *load_owner(const struct key_set *set, const char *key)
{
	for (size_t i = 0; !has(set, key) && i < N_SETS; i++) {
		if (has(sets[i], key))
			return programs[i];
	}
	return NULL;
}

/* Variables that are read elsewhere and are no keys. */
static const char *const others[] = { "SPLITMQ_ISA", "SPLITMQ_ROOT", "SPLITMQ_CONFORMANCE",
				      "SPLITMQ_BROKER_TESTS" };

#define N_OTHERS (sizeof(others) / sizeof(others[0]))

static bool is_known(const char *variable)
{
	char name[KEYS_VARIABLE_MAX];

	for (size_t i = 0; i < N_OTHERS; i++) {
		if (!strcmp(others[i], variable))
			return true;
	}
	for (size_t i = 0; i < N_SETS; i++) {
		for (size_t j = 0; j < sets[i]->n_keys; j++) {
			keys_variable(name, sets[i]->keys[j].name);
			if (!strcmp(name, variable))
				return true;
		}
	}
	return false;
}

static const char *nearest(const char *variable)
{
	char text[64];
	size_t n = 0;

	for (const char *p = variable + strlen("SPLITMQ_"); *p && n < sizeof(text) - 1; p++)
		text[n++] = (char)tolower((unsigned char)*p);
	text[n] = '\0';
	for (size_t i = 0; i < N_SETS; i++) {
		const char *name = keys_nearest(sets[i], text);

		if (name)
			return name;
	}
	return NULL;
}

unsigned config_warn_environment(FILE *out)
{
	unsigned warnings = 0;

	for (char **at = environ; at && *at; at++) {
		char variable[KEYS_VARIABLE_MAX], meant[KEYS_VARIABLE_MAX];
		size_t len = strcspn(*at, "=");
		const char *near;

		if (strncmp(*at, "SPLITMQ_", strlen("SPLITMQ_")) || len >= sizeof(variable))
			continue;
		memcpy(variable, *at, len);
		variable[len] = '\0';
		near = is_known(variable) ? NULL : nearest(variable);
		if (!near)
			continue;
		keys_variable(meant, near);
		fprintf(out, "%s: no key of that name; did you mean %s?\n", variable, meant);
		warnings++;
	}
	return warnings;
}
