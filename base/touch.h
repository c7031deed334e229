/* base/touch.h - memory that is there before it is needed.
 *
 * What was allocated takes its pages from the kernel when it is first written: in the way of the
 * token that does, and later than it was booked. Any thread. */
#ifndef BASE_TOUCH_H
#define BASE_TOUCH_H

#include <stddef.h>

/* p[0..bytes), just allocated, is in memory then; zeros stay zeros, others are undefined. NULL:
 * nothing. */
void touch(void *p, size_t bytes);

#endif
