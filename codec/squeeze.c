#include "codec/squeeze.h"

#include <limits.h>
#include <lz4.h>

size_t squeeze_memory(void)
{
	return (size_t)LZ4_sizeofState();
}

size_t squeeze(void *memory, const uint8_t *src, size_t len, uint8_t *dst, size_t cap)
{
	int n;

	if (len > LZ4_MAX_INPUT_SIZE)
		return 0;
	n = LZ4_compress_fast_extState(memory, (const char *)src, (char *)dst, (int)len,
				       cap > INT_MAX ? INT_MAX : (int)cap, 1);
	return n > 0 ? (size_t)n : 0;
}

size_t squeeze_expand(const uint8_t *src, size_t len, uint8_t *dst, size_t cap)
{
	int n;

	if (len > INT_MAX)
		return 0;
	n = LZ4_decompress_safe((const char *)src, (char *)dst, (int)len,
				cap > INT_MAX ? INT_MAX : (int)cap);
	return n > 0 ? (size_t)n : 0;
}
