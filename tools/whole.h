/* tools/whole.h - decoding by a whole model in this process, token by token: the time that a split
 * session is compared with.
 *
 * One thread. */
#ifndef TOOLS_WHOLE_H
#define TOOLS_WHOLE_H

#include <stdint.h>

#include "base/err.h"
#include "base/kv_type.h"

struct gguf;
struct whole;

/* Borrow g. Room for `tokens` positions. */
MUST_CHECK int whole_open(struct whole **out, const struct gguf *g, unsigned threads,
			  uint32_t tokens, enum kv_type kv, struct err *e);
void whole_close(struct whole *w); /* NULL is fine */

/* From an empty cache: a prompt of random tokens -> *prompt_ms until the first token is known; then
 * n more, the likeliest each -> ms[n]. prompt + n must not exceed the room. */
MUST_CHECK int whole_measure(struct whole *w, uint32_t prompt, uint32_t n, double *prompt_ms,
			     double *ms, struct err *e);

#endif
