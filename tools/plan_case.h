/* tools/plan_case.h - one agent's plan from captured messages: the best worker and choice. */
#ifndef TOOLS_PLAN_CASE_H
#define TOOLS_PLAN_CASE_H

#include "codec/cal.h"
#include "config/config.h"
#include "coordinator/accuracy.h"
#include "coordinator/facts.h"
#include "tools/capture.h"

/* With one worker, or without any. */
struct plan_case {
	const char *worker; /* name in the capture; empty: none */
	struct facts_agent agent;
	struct accuracy accuracy;
	struct plan_worker facts;
	struct plan_link link;
	struct plan_policy policy;
	struct plan_present present;
	struct plan_input in;
	struct plan_result result;
};

/* cal: NULL, or of the agent's model. *out is for plan_case_destroy. ERR_STATE: the agent
 * has no profile, or the policy has no objective; as facts_agent_init, accuracy_init, plan_make. */
MUST_CHECK int plan_case_make(struct plan_case **out, const struct capture *c,
			      const struct capture_worker *w, const struct config_coordinator *conf,
			      const struct cal *cal, struct err *e);
void plan_case_destroy(struct plan_case *p);

/* The best of all ready workers that the configuration allows; without any, a case with none. */
MUST_CHECK int plan_case_best(struct plan_case **out, const struct capture *c,
			      const struct config_coordinator *conf, const struct cal *cal,
			      struct err *e);

/* The calibration that the configuration names -> *out, NULL when it names none. Also as cal_open;
 * ERR_MODEL_MISMATCH. */
MUST_CHECK int plan_case_calibration(struct cal **out, const struct config_coordinator *conf,
				     const struct capture *c, struct err *e);

#endif
