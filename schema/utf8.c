#include "schema/utf8.h"

#include <string.h>

static bool in_range(unsigned char c, unsigned min, unsigned max)
{
	return c >= min && c <= max;
}

/* Allowed second bytes (RFC 3629, section 4) depend on the first; the third and fourth do not. */
static bool second_ok(unsigned char first, unsigned char second)
{
	switch (first) {
	case 0xe0:
		return in_range(second, 0xa0, 0xbf);
	case 0xed:
		return in_range(second, 0x80, 0x9f);
	case 0xf0:
		return in_range(second, 0x90, 0xbf);
	case 0xf4:
		return in_range(second, 0x80, 0x8f);
	default:
		return in_range(second, 0x80, 0xbf);
	}
}

size_t utf8_char_len(const char *src, size_t len)
{
	const unsigned char *s = (const unsigned char *)src;
	size_t n;

	if (!len)
		return 0;
	if (s[0] < 0x80)
		return 1;
	if (!in_range(s[0], 0xc2, 0xf4))
		return 0;
	n = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	if (len < n || !second_ok(s[0], s[1]))
		return 0;
	for (size_t i = 2; i < n; i++) {
		if (!in_range(s[i], 0x80, 0xbf))
			return 0;
	}
	return n;
}

bool utf8_is_valid(const char *text)
{
	size_t len = strlen(text), n;

	for (size_t i = 0; i < len; i += n) {
		n = utf8_char_len(text + i, len - i);
		if (!n)
			return false;
	}
	return true;
}
