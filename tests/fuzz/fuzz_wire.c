/* A frame is refused, or it is what wire_put_hdr writes for the header that was read. */
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/le.h"
#include "schema/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void read_and_write_back(const uint8_t *frame, size_t len)
{
	uint8_t again[WIRE_HDR_LEN];
	struct wire_hdr h;
	struct err e;

	if (wire_get_hdr(&h, frame, len, &e))
		return;
	if (!wire_is_frame(frame, len))
		abort();
	wire_put_hdr(again, &h, frame + WIRE_HDR_LEN);
	if (memcmp(again, frame, WIRE_HDR_LEN) != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	uint8_t *fixed;

	read_and_write_back(data, len);
	if (len < WIRE_HDR_LEN)
		return 0;
	fixed = malloc(len); /* the same with length and CRC made to fit */
	if (!fixed)
		return 0;
	memcpy(fixed, data, len);
	le_put32(fixed + 40, (uint32_t)(len - WIRE_HDR_LEN));
	le_put32(fixed + 44,
		 crc32c(crc32c(0, fixed, 44), fixed + WIRE_HDR_LEN, len - WIRE_HDR_LEN));
	read_and_write_back(fixed, len);
	free(fixed);
	return 0;
}
