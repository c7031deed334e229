/* base/crc32c.h - CRC-32C (Castagnoli; RFC 3720, appendix B.4). */
#ifndef BASE_CRC32C_H
#define BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* CRC of len bytes, continued from crc (0 to begin). */
uint32_t crc32c(uint32_t crc, const void *data, size_t len);

#endif
