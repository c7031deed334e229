/* tools/prompts.h - prompts of a file, for measurements: JSON objects, one a line, with a key
 * "prompt", as models/gateway-test.jsonl has them. One thread. */
#ifndef TOOLS_PROMPTS_H
#define TOOLS_PROMPTS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct prompts {
	char **texts; /* [n]; owned */
	size_t n;
};

/* ERR_IO, ERR_NOMEM, ERR_FORMAT naming the line; ERR_USAGE when there is none. */
MUST_CHECK int prompts_read(struct prompts *p, const char *path, struct err *e);
void prompts_free(struct prompts *p);

#endif
