/* coordinator/names.h - where in a list the element of a name is, in constant time: pure.
 *
 * The list is an array whose elements begin with their name; nothing is ever taken out. */
#ifndef COORDINATOR_NAMES_H
#define COORDINATOR_NAMES_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define NAMES_NONE UINT32_MAX

struct names {
	uint32_t *slots; /* [cap] place + 1; 0: free */
	uint32_t cap;    /* a power of two, more than n; 0 at first */
};

/* The place of name in list, elements of stride bytes; NAMES_NONE when it is not there. */
uint32_t names_find(const struct names *x, const void *list, size_t stride, const char *name);

/* Element n was appended to the n that are known: ERR_NOMEM, and it is not. */
MUST_CHECK int names_add(struct names *x, const void *list, size_t stride, uint32_t n);

void names_finish(struct names *x);

#endif
