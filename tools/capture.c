#include "tools/capture.h"

#include <stdio.h>
#include <string.h>

void capture_finish(struct capture *c)
{
	if (c->has_profile)
		msg_finish(&c->profile);
	*c = (struct capture){ 0 };
}

/* Whether this agent is the one that the plan is for. */
static bool is_ours(struct capture *c, const char *agent)
{
	if (!c->agent[0])
		snprintf(c->agent, sizeof(c->agent), "%s", agent);
	return !strcmp(c->agent, agent);
}

static struct capture_worker *worker_of(struct capture *c, const char *name)
{
	struct capture_worker *w;

	for (uint32_t i = 0; i < c->n_workers; i++) {
		if (!strcmp(c->workers[i].name, name))
			return &c->workers[i];
	}
	if (c->n_workers == CAPTURE_WORKERS)
		return NULL;
	w = &c->workers[c->n_workers++];
	*w = (struct capture_worker){ 0 };
	snprintf(w->name, sizeof(w->name), "%s", name);
	return w;
}

/* True when *m was taken over as a whole. */
static bool take_profile(struct capture *c, struct msg *m)
{
	const char *agent = m->u.agent_profile.agent;

	if (!is_ours(c, agent)) {
		snprintf(c->other, sizeof(c->other), "%s", agent);
		return false;
	}
	if (c->has_profile)
		msg_finish(&c->profile);
	c->profile = *m;
	c->has_profile = true;
	return true;
}

static void take_telemetry(struct capture *c, const struct msg_telemetry *t)
{
	if (!is_ours(c, t->name))
		return;
	c->telemetry = *t;
	c->has_telemetry = true;
}

static void take_decision(struct capture *c, const struct msg_decision *d)
{
	if (!is_ours(c, d->agent))
		return;
	c->decision = *d;
	c->has_decision = true;
}

static int take_worker(struct capture *c, const struct msg *m, struct err *e)
{
	const bool is_status = m->type == MSG_WORKER_STATUS;
	const char *name = is_status ? m->u.worker_status.worker : m->u.telemetry.name;
	struct capture_worker *w = worker_of(c, name);

	if (!w)
		return err_set(e, ERR_LIMIT, "worker %s: more than %d workers", name,
			       CAPTURE_WORKERS);
	if (is_status)
		w->status = m->u.worker_status;
	else
		w->telemetry = m->u.telemetry;
	w->has_status = w->has_status || is_status;
	w->has_telemetry = w->has_telemetry || !is_status;
	return 0;
}

int capture_message(struct capture *c, const char *text, size_t len, struct err *e)
{
	bool kept = false;
	struct msg m;
	int rc = msg_parse(&m, text, len, MSG_TYPE_COUNT, e);

	if (rc)
		return rc;
	if (m.type == MSG_AGENT_PROFILE)
		kept = take_profile(c, &m);
	else if (m.type == MSG_AGENT_TELEMETRY)
		take_telemetry(c, &m.u.telemetry);
	else if (m.type == MSG_DECISION)
		take_decision(c, &m.u.decision);
	else if (m.type == MSG_WORKER_STATUS || m.type == MSG_WORKER_TELEMETRY)
		rc = take_worker(c, &m, e);
	if (!kept)
		msg_finish(&m);
	return rc;
}

static int take_line(struct capture *c, const char *line, size_t len, struct err *e)
{
	const char *object = memchr(line, '{', len);

	if (!object) /* empty, or the topic of a message that was cleared */
		return 0;
	return capture_message(c, object, len - (size_t)(object - line), e);
}

int capture_lines(struct capture *c, const char *name, const char *text, size_t len, struct err *e)
{
	unsigned number = 0;
	int rc = 0;

	for (const char *line = text, *end = text + len; !rc && line < end;) {
		const char *stop = memchr(line, '\n', (size_t)(end - line));
		size_t n = (size_t)((stop ? stop : end) - line);

		number++;
		rc = take_line(c, line, n, e);
		if (rc)
			err_wrap(e, "%s:%u", name, number);
		line += n + 1;
	}
	return rc;
}

bool capture_is_whole(const struct capture *c)
{
	for (uint32_t i = 0; i < c->n_workers; i++) {
		const struct capture_worker *w = &c->workers[i];

		if (!w->has_status || (w->status.state == MSG_READY && !w->has_telemetry))
			return false;
	}
	return c->has_profile && c->has_telemetry && c->n_workers;
}
