#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const struct {
	int code;
	const char *name;
	const char *phrase;
} list[] = {
#define ERR_ROW(name, number, phrase) { -(number), #name, phrase },
	ERR_LIST(ERR_ROW)
#undef ERR_ROW
};

#define N_CODES (sizeof(list) / sizeof(list[0]))

/* Text that had to be cut says so. */
static void mark_cut(char *text, size_t cap)
{
	memcpy(text + cap - 4, "...", 4);
}

int err_set(struct err *e, int code, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (!e)
		return code;
	va_start(ap, fmt);
	n = vsnprintf(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
	if (n >= (int)sizeof(e->text))
		mark_cut(e->text, sizeof(e->text));
	e->code = code;
	return code;
}

int err_wrap(struct err *e, const char *fmt, ...)
{
	char joined[2 * sizeof(e->text) + 3];
	char context[sizeof(e->text)];
	va_list ap;

	if (!e)
		return ERR_INTERNAL;
	va_start(ap, fmt);
	if (vsnprintf(context, sizeof(context), fmt, ap) >= (int)sizeof(context))
		mark_cut(context, sizeof(context));
	va_end(ap);
	snprintf(joined, sizeof(joined), "%s: %s", context, e->text);
	if (strlen(joined) >= sizeof(e->text)) {
		memcpy(e->text, joined, sizeof(e->text));
		mark_cut(e->text, sizeof(e->text));
	} else {
		memcpy(e->text, joined, strlen(joined) + 1);
	}
	return e->code;
}

int err_create(struct err *e, const char *path, int number)
{
	const char *slash = strrchr(path, '/');

	if (number == ENOENT && slash)
		return err_set(e, ERR_IO, "%s: there is no folder %.*s", path, (int)(slash - path),
			       path);
	return err_set(e, ERR_IO, "%s: %s", path, strerror(number));
}

/* Lower-case names, made once per call site from the upper-case list; constant strings. */
static const char *const lower[] = {
	"format",      "version",   "limit",     "nomem",    "io",
	"unsupported", "not_found", "usage",     "config",   "model_mismatch",
	"timeout",     "offline",   "busy",      "state",    "refused",
	"not_finite",  "context",   "cancelled", "internal",
};

_Static_assert(sizeof(lower) / sizeof(lower[0]) == N_CODES, "one wire word per error code");

const char *err_name(int code)
{
	for (size_t i = 0; i < N_CODES; i++) {
		if (list[i].code == code)
			return lower[i];
	}
	return code ? "unknown" : "none";
}

const char *err_phrase(int code)
{
	for (size_t i = 0; i < N_CODES; i++) {
		if (list[i].code == code)
			return list[i].phrase;
	}
	return code ? "unknown error" : "no error";
}

int err_code_of(const char *name)
{
	for (size_t i = 0; i < N_CODES; i++) {
		if (!strcasecmp(list[i].name, name))
			return list[i].code;
	}
	return ERR_INTERNAL;
}
