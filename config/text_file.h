/* config/text_file.h - small text files. Any thread. */
#ifndef CONFIG_TEXT_FILE_H
#define CONFIG_TEXT_FILE_H

#include <stddef.h>

#include "base/err.h"

/* Whole file -> malloc'ed *text of *len bytes. ERR_IO, ERR_LIMIT (more than max_bytes), ERR_NOMEM;
 * the message does not name the path. */
MUST_CHECK int text_file_read(const char *path, size_t max_bytes, char **text, size_t *len,
			      struct err *e);

/* First line, without its end, -> dst[cap], NUL-terminated. ERR_CONFIG when it is empty or does not
 * fit. */
MUST_CHECK int text_file_line(const char *path, char *dst, size_t cap, struct err *e);

#endif
