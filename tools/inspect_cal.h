/* tools/inspect_cal.h - what a calibration file says, for people and programs. */
#ifndef TOOLS_INSPECT_CAL_H
#define TOOLS_INSPECT_CAL_H

#include <stdbool.h>

#include "base/err.h"
#include "codec/cal.h"

/* The accuracy-loss table on stdout; as JSON one object a line. */
void inspect_cal_losses(const struct cal *c, bool json);

/* The file begins as a calibration does. */
bool inspect_is_cal(const char *path);

/* What path holds on stdout: header and splits, then the table; as JSON one object. */
MUST_CHECK int inspect_cal(const char *path, bool json, struct err *e);

#endif
