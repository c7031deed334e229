#include "engine/utf8.h"

int utf8_check(const char *s, size_t n)
{
	unsigned char first = (unsigned char)s[0];
	unsigned char lo = 0x80,
		      hi = 0xBF; /* of the second byte; narrower after some first bytes */
	size_t more;

	if (first < 0x80)
		return 1;
	if (first < 0xC2 || first > 0xF4)
		return -1;
	more = first < 0xE0 ? 1 : first < 0xF0 ? 2 : 3;
	if (first == 0xE0)
		lo = 0xA0;
	else if (first == 0xED)
		hi = 0x9F;
	else if (first == 0xF0)
		lo = 0x90;
	else if (first == 0xF4)
		hi = 0x8F;
	for (size_t i = 1; i <= more; i++) {
		unsigned char c;

		if (i == n)
			return 0;
		c = (unsigned char)s[i];
		if (c < lo || c > hi)
			return -(int)i;
		lo = 0x80;
		hi = 0xBF;
	}
	return (int)more + 1;
}
