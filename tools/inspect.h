/* tools/inspect.h - the two faces of `splitmq inspect`. */
#ifndef TOOLS_INSPECT_H
#define TOOLS_INSPECT_H

#include "base/err.h"
#include "engine/gguf.h"
#include "tools/shares.h"

/* For people, on stdout. hash: of gguf_hash. */
void inspect_text(const struct gguf *g, const char *hash, const struct shares *s);

/* For machines: one JSON object and a newline on stdout. ERR_NOMEM. */
MUST_CHECK int inspect_json(const struct gguf *g, const char *hash, const struct shares *s,
			    struct err *e);

/* "u32", "string", ... */
const char *inspect_type_name(enum gguf_value_type type);

#endif
