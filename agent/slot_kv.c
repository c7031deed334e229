#include "agent/slot.h"

#include <stdio.h>

#include "base/log.h"

int slot_choose_kv(const struct agent_core *c, const struct msg_prompt *m, struct slot *sl,
		   struct err *e)
{
	const char *word = m->kv[0] ? m->kv : c->has_decision ? c->decision.kv : "";

	sl->kv_type = c->conf.kv;
	sl->kv_wished = word[0];
	sl->kv_given = m->kv[0];
	if (sl->kv_wished && kv_type_parse(&sl->kv_type, word))
		return err_set(e, ERR_FORMAT, "kv must be " KV_TYPE_WORDS ", not %s", word);
	sl->next_kv = sl->worker_kv = sl->kv_type;
	return 0;
}

void slot_decide_kv(struct slot *sl, const char *word)
{
	enum kv_type type;

	if (!sl->kv_given && word[0] && !kv_type_parse(&type, word))
		sl->next_kv = type;
}

void slot_change_kv(struct agent_core *c, struct slot *sl)
{
	struct err e = { 0 };

	if (sl->next_kv == sl->kv_type || sl->session.handover.way != SESSION_STAYS ||
	    sl->session.handover.out)
		return;
	if (c->ops.convert && !c->ops.convert(c->ops.ctx, &sl->job, sl->next_kv, &e)) {
		log_event(LOG_LEVEL_INFO, "session.kv", "id=%s kv=%s before=%s", sl->id,
			  kv_type_name(sl->next_kv), kv_type_name(sl->kv_type));
		sl->kv_type = sl->next_kv;
		return;
	}
	log_event(LOG_LEVEL_WARN, "session.kv_refused", "id=%s kv=%s reason=\"%s\"", sl->id,
		  kv_type_name(sl->next_kv), e.text);
	sl->next_kv = sl->kv_type;
}
