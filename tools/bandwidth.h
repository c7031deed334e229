/* tools/bandwidth.h - how fast this machine reads memory. */
#ifndef TOOLS_BANDWIDTH_H
#define TOOLS_BANDWIDTH_H

#include "base/err.h"

/* Read a buffer that no cache holds (1 GiB, less where memory is short) several times, in order and
 * in eight streams, with that many threads -> *bytes_s of the fastest pass: a bound, not an
 * average. About a second. ERR_NOMEM. */
MUST_CHECK int bandwidth_measure(unsigned threads, double *bytes_s, struct err *e);

#endif
