/* coordinator/facts.h - what agents, workers and an operator say, as a planner wants it.
 *
 * docs/planning.md says what stands in for a figure that was not measured. Any thread. */
#ifndef COORDINATOR_FACTS_H
#define COORDINATOR_FACTS_H

#include "config/config.h"
#include "coordinator/accuracy.h"
#include "coordinator/plan.h"
#include "schema/msg.h"

/* Of one agent: owns what agent points to. */
struct facts_agent {
	struct plan_agent agent;
	struct plan_front fronts[PLAN_MAX_FRONTS];
	uint64_t *weights; /* all fronts' weight_bytes */
};

/* From its profile and, unless NULL, its telemetry. Do not copy *f: it points into itself.
 * ERR_LIMIT (a model that cannot be planned), ERR_NOMEM; *f needs facts_agent_finish only on 0. */
MUST_CHECK int facts_agent_init(struct facts_agent *f, const struct msg_agent_profile *p,
				const struct msg_telemetry *t, struct err *e);
void facts_agent_finish(struct facts_agent *f);

/* Measured speeds and present budgets of telemetry that is newer. */
void facts_agent_update(struct facts_agent *f, const struct msg_agent_profile *p,
			const struct msg_telemetry *t);

/* status NULL, or of another model than `model`, or not ready: absent. t may be NULL. own_bytes:
 * of the caches that this worker holds for the agent now; they will be free for the plan. */
void facts_worker(struct plan_worker *w, const struct msg_worker_status *status,
		  const struct msg_telemetry *t, const char *model, uint64_t own_bytes);

/* epsilon: share of the time in which the link may be worse; 0.5: medians. */
void facts_link(struct plan_link *l, const struct msg_telemetry *agent, double epsilon);

/* What YAML says of this agent; a plan is wanted unless the objective is "none": then false.
 * fronts, n_layers and context are those of the agent. */
bool facts_policy(struct plan_policy *p, const struct config_coordinator *conf, const char *name,
		  const struct plan_agent *agent, const struct plan_accuracy *accuracy,
		  bool calibrated);

/* The SPEC that YAML fixes for this agent; empty: the planner's choice. */
const char *facts_codec(const struct config_coordinator *conf, const char *name);

/* What is decided and running: d (NULL: nothing) and the sessions of the agent's telemetry. worker:
 * that is planned with. A decision that leaves something to the agent is not known. */
void facts_present(struct plan_present *p, const struct msg_decision *d,
		   const struct msg_telemetry *agent, const struct plan_agent *facts,
		   const struct plan_accuracy *accuracy, const char *worker);

/* Bytes that a worker has booked for the agent's running sessions, as far as telemetry tells. */
uint64_t facts_own_bytes(const struct plan_agent *agent, const struct plan_present *present);

/* The choice as a decision, without names, number and term. */
void facts_decision(struct msg_decision *d, const struct plan_input *in,
		    const struct plan_result *r);

#endif
