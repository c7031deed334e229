/* engine/bytemap.h - the printable characters by which byte-level vocabularies spell bytes.
 *
 * Printable Latin-1 bytes stand for themselves, the 68 others are U+0100 .. U+0143 in order
 * (Radford et al., GPT-2, 2019). Pure; any thread. */
#ifndef ENGINE_BYTEMAP_H
#define ENGINE_BYTEMAP_H

#include <stddef.h>
#include <stdint.h>

#define BYTEMAP_NONE SIZE_MAX /* the text has a character that spells no byte */

/* The bytes that len bytes of vocabulary text spell -> dst (room for len). Returns their number. */
size_t bytemap_decode(const char *text, size_t len, char *dst);

#endif
