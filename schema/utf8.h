/* schema/utf8.h - is this UTF-8?
 *
 * RFC 3629: no surrogates, nothing above U+10FFFF, shortest form. Pure; any thread. */
#ifndef SCHEMA_UTF8_H
#define SCHEMA_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Bytes of the character at src[0..len), 1..4; 0 when it is malformed or cut, or len is 0. */
size_t utf8_char_len(const char *src, size_t len);

/* Is all of the NUL-terminated text well-formed? */
bool utf8_is_valid(const char *text);

#endif
