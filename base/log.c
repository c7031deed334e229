#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"

static const char *const names[LOG_LEVEL_COUNT] = { "error", "warn", "info", "debug" };

/* Written once in main before any thread starts, then read-only. */
static enum log_level max_level = LOG_LEVEL_INFO;

void log_set_level(enum log_level level)
{
	max_level = level;
}

int log_level_parse(enum log_level *level, const char *word)
{
	for (int i = 0; i < LOG_LEVEL_COUNT; i++) {
		if (!strcmp(word, names[i])) {
			*level = (enum log_level)i;
			return 0;
		}
	}
	return ERR_CONFIG;
}

/* Words of peers are in it: they shall not look like another line, nor move the cursor. */
static void keep_in_line(char *line, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
			line[i] = '?';
	}
}

const char *log_quoted(char out[static LOG_QUOTED_MAX], const char *text)
{
	size_t n = 0;

	out[n++] = '"';
	for (; *text && n + 4 <= LOG_QUOTED_MAX; text++) { /* two now, a quote, and the end */
		if (*text == '"' || *text == '\\')
			out[n++] = '\\';
		out[n++] = *text;
	}
	out[n++] = '"';
	out[n] = '\0';
	return out;
}

void log_event(enum log_level level, const char *event, const char *fmt, ...)
{
	char line[1024];
	uint64_t now_ms = clock_wall_ms();
	time_t sec = (time_t)(now_ms / 1000);
	struct tm tm;
	va_list ap;
	size_t n;
	int wrote;

	if (level > max_level)
		return;
	gmtime_r(&sec, &tm);
	n = strftime(line, sizeof(line), "%Y-%m-%dT%H:%M:%S", &tm);
	n += (size_t)snprintf(line + n, sizeof(line) - n, ".%03uZ %-5s %s ",
			      (unsigned)(now_ms % 1000), names[level], event);
	va_start(ap, fmt);
	wrote = vsnprintf(line + n, sizeof(line) - n, fmt, ap);
	va_end(ap);
	n += wrote > 0 ? (size_t)wrote : 0;
	if (n > sizeof(line) - 2)
		n = sizeof(line) - 2;
	keep_in_line(line, n);
	line[n] = '\n';
	line[n + 1] = '\0';
	fputs(line, stderr);
}
