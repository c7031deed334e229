#include "agent/verdict.h"

#include <stdio.h>
#include <string.h>

#include "agent/admit.h"
#include "agent/slot.h"
#include "base/log.h"
#include "daemon/link.h"

bool verdict_is_same(const struct msg_decision *a, const struct msg_decision *b)
{
	return a->number == b->number && a->split == b->split &&
	       a->context_tokens == b->context_tokens && !strcmp(a->worker, b->worker) &&
	       !strcmp(a->codec, b->codec) && !strcmp(a->stay_codec, b->stay_codec) &&
	       !strcmp(a->kv, b->kv) && !strcmp(a->front, b->front);
}

int verdict_on(const struct agent_core *c, const struct msg_decision *d,
	       struct msg_decision_answer *an)
{
	struct room_answer room = { 0 };
	struct err e = { 0 };
	int rc = admit_decision(c, d, &room, &e);

	*an = (struct msg_decision_answer){ .number = d->number, .taken = !rc, .code = rc };
	snprintf(an->agent, sizeof(an->agent), "%s", c->conf.agent);
	if (!rc)
		return 0;
	snprintf(an->reason, sizeof(an->reason), "%.239s", e.text);
	an->missing_bytes = room.missing_bytes;
	if (room.missing_bytes && room.most_tokens < c->conf.context_tokens)
		an->context_tokens = room.most_tokens;
	return rc;
}

void verdict_publish(struct agent_core *c, const struct msg_decision_answer *an)
{
	struct topic t = { .kind = TOPIC_AGENT_ANSWER };
	struct msg m = { .type = MSG_DECISION_ANSWER, .u.decision_answer = *an };

	snprintf(t.fleet, sizeof(t.fleet), "%s", c->conf.fleet);
	snprintf(t.agent, sizeof(t.agent), "%s", c->conf.agent);
	if (link_publish(c->bus, &t, &m, 1, true, 0))
		log_event(LOG_LEVEL_DEBUG, "answer.failed", "number=%llu",
			  (unsigned long long)an->number);
	if (!an->taken)
		log_event(LOG_LEVEL_WARN, "decision.refused",
			  "number=%llu code=%s missing=%llu reason=%s",
			  (unsigned long long)an->number, err_name(an->code),
			  (unsigned long long)an->missing_bytes, LOG_QUOTED(an->reason));
}
