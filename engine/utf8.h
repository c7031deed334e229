/* engine/utf8.h - where a UTF-8 character ends.
 *
 * Pure; any thread. */
#ifndef ENGINE_UTF8_H
#define ENGINE_UTF8_H

#include <stddef.h>

/* Look at the character that begins at s[0]; n >= 1 bytes are there.
 *   1..4  it is whole and valid (no surrogate, no overlong form, at most U+10FFFF) and so long
 *   0     s ends inside it; more bytes may complete it
 *   -k    the first k bytes can never become a character: the "maximal subpart" that one U+FFFD
 *         replaces (Unicode 15, section 3.9) */
int utf8_check(const char *s, size_t n);

#endif
