/* tests/bundled.h - the model that comes with the program, which has 8 layers, for tests of what
 * stands on a file. */
#ifndef TESTS_BUNDLED_H
#define TESTS_BUNDLED_H

#include <stdio.h>
#include <stdlib.h>

#include "daemon/segment.h"

#define BUNDLED_LAYERS  8u
#define BUNDLED_CONTEXT 64u
#define BUNDLED_PATH    512

static inline const char *bundled_path(char path[static BUNDLED_PATH])
{
	const char *root = getenv("SPLITMQ_ROOT");

	snprintf(path, BUNDLED_PATH, "%s/models/gateway.gguf", root ? root : ".");
	return path;
}

/* Layers [first, last), the embedding, behind the last one the head: on one thread, short sessions,
 * as much memory as they want. path is lent as long as the result. */
static inline struct segment_conf bundled_conf(char path[static BUNDLED_PATH], uint32_t first,
					       uint32_t last)
{
	return (struct segment_conf){ .path = bundled_path(path),
				      .kv = "f16",
				      .first = first,
				      .last = last,
				      .embed = true,
				      .head = last == BUNDLED_LAYERS,
				      .threads = 1,
				      .max_rows = 16,
				      .context_tokens = BUNDLED_CONTEXT,
				      .memory_budget_bytes = 1u << 30 };
}

#endif
