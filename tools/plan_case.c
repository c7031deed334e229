#include "tools/plan_case.h"

#include <stdlib.h>
#include <string.h>

int plan_case_calibration(struct cal **out, const struct config_coordinator *conf,
			  const struct capture *c, struct err *e)
{
	const struct msg_agent_profile *p = &c->profile.u.agent_profile;
	int rc;

	*out = NULL;
	if (!conf->calibration[0] || !c->has_profile)
		return 0;
	rc = cal_open(out, conf->calibration, e);
	if (rc || !strcmp((*out)->model, p->model))
		return rc;
	rc = err_set(e, ERR_MODEL_MISMATCH, "%.100s is of model %s, agent %s runs %s",
		     conf->calibration, (*out)->model, c->agent, p->model);
	cal_close(*out);
	*out = NULL;
	return rc;
}

static bool predicts(const struct cal *cal, const struct capture_worker *w)
{
	return cal && w && w->has_status && !strcmp(w->status.calibration, cal->id);
}

static int make_accuracy(struct plan_case *p, const struct msg_agent_profile *profile,
			 const struct config_coordinator *conf, const struct cal *cal,
			 const struct capture_worker *w, struct err *e)
{
	struct accuracy_conf ac = { .cal = cal,
				    .predicts = predicts(cal, w),
				    .n_layers = profile->n_layers,
				    .dim = profile->dim,
				    .n_fronts = profile->n_fronts,
				    .codec = facts_codec(conf, profile->agent),
				    .chunk_rows = profile->prefill_rows };

	for (uint32_t i = 0; i < profile->n_fronts; i++)
		ac.fronts[i] = profile->fronts[i].name;
	return accuracy_init(&p->accuracy, &ac, e);
}

static int fill(struct plan_case *p, const struct capture *c, const struct capture_worker *w,
		const struct config_coordinator *conf, const struct cal *cal, struct err *e)
{
	const struct msg_agent_profile *profile = &c->profile.u.agent_profile;
	const struct msg_telemetry *t = c->has_telemetry ? &c->telemetry : NULL;
	int rc = facts_agent_init(&p->agent, profile, t, e);

	if (!rc)
		rc = make_accuracy(p, profile, conf, cal, w, e);
	if (rc)
		return rc;
	p->in = (struct plan_input){ &p->agent.agent,    &p->facts,  &p->link,
				     &p->accuracy.table, &p->policy, &p->present };
	p->worker = w ? w->name : "";
	facts_present(&p->present, c->has_decision ? &c->decision : NULL, t, p->in.agent,
		      p->in.accuracy, p->worker);
	facts_worker(&p->facts, w && w->has_status ? &w->status : NULL,
		     w && w->has_telemetry ? &w->telemetry : NULL, profile->model,
		     facts_own_bytes(p->in.agent, &p->present));
	facts_link(&p->link, t, conf->expect.epsilon);
	if (!facts_policy(&p->policy, conf, profile->agent, p->in.agent, p->in.accuracy, cal))
		return err_set(e, ERR_STATE, "the objective of agent %s is none: nothing to plan",
			       profile->agent);
	return plan_make(&p->result, &p->in, e);
}

int plan_case_make(struct plan_case **out, const struct capture *c, const struct capture_worker *w,
		   const struct config_coordinator *conf, const struct cal *cal, struct err *e)
{
	struct plan_case *p;
	int rc;

	if (!c->has_profile)
		return err_set(e, ERR_STATE, "no profile of agent %s",
			       c->agent[0] ? c->agent : "(any)");
	p = calloc(1, sizeof(*p));
	if (!p)
		return err_set(e, ERR_NOMEM, "a plan");
	rc = fill(p, c, w, conf, cal, e);
	if (rc)
		plan_case_destroy(p);
	else
		*out = p;
	return rc;
}

void plan_case_destroy(struct plan_case *p)
{
	if (!p)
		return;
	facts_agent_finish(&p->agent);
	accuracy_finish(&p->accuracy);
	free(p);
}

/* The worker that the configuration asks for; empty: any. */
static const char *wanted(const struct config_coordinator *conf, const char *agent)
{
	for (uint32_t i = 0; i < conf->n_agents; i++) {
		if (!strcmp(conf->agents[i].agent, agent) && conf->agents[i].worker[0])
			return conf->agents[i].worker;
	}
	return conf->policy.worker;
}

static bool is_better(const struct plan_case *a, const struct plan_case *b)
{
	if (!b || b->result.verdict == PLAN_NONE)
		return !b || a->result.verdict != PLAN_NONE;
	return a->result.verdict != PLAN_NONE && plan_compare(&a->result.best, &b->result.best) < 0;
}

int plan_case_best(struct plan_case **out, const struct capture *c,
		   const struct config_coordinator *conf, const struct cal *cal, struct err *e)
{
	const char *want = wanted(conf, c->agent);
	struct plan_case *best = NULL;
	int rc = 0;

	for (uint32_t i = 0; i < c->n_workers && !rc; i++) {
		const struct capture_worker *w = &c->workers[i];
		struct plan_case *p = NULL;

		if (!w->has_status || w->status.state != MSG_READY ||
		    (want[0] && strcmp(want, w->name)))
			continue;
		rc = plan_case_make(&p, c, w, conf, cal, e);
		if (!rc && is_better(p, best)) {
			plan_case_destroy(best);
			best = p;
		} else {
			plan_case_destroy(p);
		}
	}
	if (!rc && !best)
		rc = plan_case_make(&best, c, NULL, conf, cal, e);
	if (rc) {
		plan_case_destroy(best);
		return rc;
	}
	*out = best;
	return 0;
}
