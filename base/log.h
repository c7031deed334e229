/* base/log.h - one line per event on stderr: time, level, event word, key=value.
 *
 * Only agent/, worker/, coordinator/ and tools/ log; everything below returns errors. Never log
 * prompts, tokens, activations or passwords: lengths and ids only. Any thread; a line is written
 * whole, with '?' for control characters in it. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/err.h"

enum log_level {
	LOG_LEVEL_ERROR,
	LOG_LEVEL_WARN,
	LOG_LEVEL_INFO,
	LOG_LEVEL_DEBUG,
	LOG_LEVEL_COUNT
};

/* Lines above this level are dropped. Default: LOG_LEVEL_INFO. Set once, in main. */
void log_set_level(enum log_level level);

/* "error", "warn", "info", "debug" -> *level; ERR_CONFIG for anything else. */
MUST_CHECK int log_level_parse(enum log_level *level, const char *word);

/* log_event(LOG_LEVEL_WARN, "session.failed", "session=%u reason=%s", id, LOG_QUOTED(text)); */
void log_event(enum log_level level, const char *event, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* A text as one value of a line: in quotes, those in it behind a backslash, which peers may have
 * chosen. Where it is too long it is cut. It lives as long as the block around. */
#define LOG_QUOTED_MAX   512u
#define LOG_QUOTED(text) log_quoted((char[LOG_QUOTED_MAX]){ 0 }, text)
const char *log_quoted(char out[static LOG_QUOTED_MAX], const char *text);

#endif
