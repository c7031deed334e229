/* schema/scan.h - a look at JSON text before it is parsed: what cJSON would let pass.
 *
 * cJSON recurses up to 1000 levels, takes control characters and broken UTF-8 in strings, cuts a
 * string at \u0000 and reads 01 or 1. as numbers. scan_json counts the \u0000 and refuses the rest
 * in one pass, without allocating; it does not judge grammar, which stays the parser's job. Pure;
 * any thread. */
#ifndef SCHEMA_SCAN_H
#define SCHEMA_SCAN_H

#include <stddef.h>

#include "base/err.h"

#define SCAN_DEPTH_MAX 32

/* 0 or ERR_FORMAT; the sentence names the offset or the key whose value is bad. *nuls: how many
 * \u0000 there are in strings; in a key they are refused. */
MUST_CHECK int scan_json(const char *src, size_t len, size_t *nuls, struct err *e);

#endif
