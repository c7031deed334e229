/* codec/squeeze.h - LZ4, for what repeats. Pure, allocates nothing; any thread. */
#ifndef CODEC_SQUEEZE_H
#define CODEC_SQUEEZE_H

#include <stddef.h>
#include <stdint.h>

/* Bytes of memory, aligned to 8, that squeeze needs. */
size_t squeeze_memory(void);

/* src[0..len) -> dst[0..cap). Bytes written, 0 when they do not fit. */
size_t squeeze(void *memory, const uint8_t *src, size_t len, uint8_t *dst, size_t cap);

/* The reverse: bytes written, 0 when src is malformed or they do not fit. */
size_t squeeze_expand(const uint8_t *src, size_t len, uint8_t *dst, size_t cap);

#endif
