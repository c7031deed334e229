/* tools/gaps.h - the times between tokens that a reader sees, where some tokens bring no text. */
#ifndef TOOLS_GAPS_H
#define TOOLS_GAPS_H

#include <stddef.h>
#include <stdint.h>

#define GAPS_NEAR 8u /* on either side, that tell what a token took */

/* In gap i of n more[i] tokens came besides the one that ended it: it becomes as much shorter as
 * they take, that is the median of the near gaps of one token; nothing where there are none, and
 * not below 0. Pure. */
void gaps_take_out(double *gaps, const uint32_t *more, size_t n);

#endif
