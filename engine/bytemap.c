#include "engine/bytemap.h"

/* The byte that code point c spells, or -1. */
static int byte_of(unsigned c)
{
	if ((c >= 0x21 && c <= 0x7E) || (c >= 0xA1 && c <= 0xFF && c != 0xAD))
		return (int)c;
	if (c < 0x100 || c > 0x143)
		return -1;
	c -= 0x100;
	if (c <= 0x20)
		return (int)c;
	return c == 0x43 ? 0xAD : (int)(c - 0x21 + 0x7F);
}

size_t bytemap_decode(const char *text, size_t len, char *dst)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		unsigned c = (unsigned char)text[i];
		int b;

		/* Only characters of one and two bytes can spell anything. */
		if (c >= 0x80) {
			unsigned low = i + 1 < len ? (unsigned char)text[i + 1] : 0;

			if ((c & 0xE0) != 0xC0 || (low & 0xC0) != 0x80)
				return BYTEMAP_NONE;
			c = (c & 0x1F) << 6 | (low & 0x3F);
			i++;
			if (c < 0x80)
				return BYTEMAP_NONE; /* overlong */
		}
		b = byte_of(c);
		if (b < 0)
			return BYTEMAP_NONE;
		dst[n++] = (char)b;
	}
	return n;
}
