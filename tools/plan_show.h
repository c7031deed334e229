/* tools/plan_show.h - a plan on stdout, for people and for machines. */
#ifndef TOOLS_PLAN_SHOW_H
#define TOOLS_PLAN_SHOW_H

#include "tools/plan_case.h"

void plan_show_text(const struct plan_case *p, const char *agent);
/* One JSON object. ERR_NOMEM. */
MUST_CHECK int plan_show_json(const struct plan_case *p, const char *agent);

#endif
