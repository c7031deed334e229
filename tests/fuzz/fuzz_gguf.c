#include "engine/gguf.h"

#include <stddef.h>
#include <stdint.h>

#include "tests/gguf_walk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct err e = { .code = 0 };
	struct gguf *g;

	if (gguf_open_memory(&g, data, len, &e)) {
		walk_must(e.code < 0 && e.text[0]);
		return 0;
	}
	walk_gguf(g);
	gguf_close(g);
	return 0;
}
