#include "agent/slot.h"

#include <stdio.h>

#include "base/log.h"

#define PIECE_ROWS 64u /* of a job: a split that moves waits for it */
#define REST_ROWS  4u  /* that a token may wait for */

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

/* ---- another type, in mid-session ---- */

static void refuse_kv(struct slot *sl, const struct err *e)
{
	log_event(LOG_LEVEL_WARN, "session.kv_refused", "id=%s kv=%s reason=%s", sl->id,
		  kv_type_name(sl->next_kv), LOG_QUOTED(e->text));
	sl->next_kv = sl->kv_type;
	sl->recast.over = sl->recast.begun;
}

static bool may_recast(const struct slot *sl)
{
	const struct session *s = &sl->session;

	return s->state != SESSION_ENDED && s->wish == s->conf.split &&
	       s->handover.way == SESSION_STAYS && !s->handover.out;
}

void slot_recast_end(struct agent_core *c, struct slot *sl)
{
	struct recast_state *r = &sl->recast;

	r->over = r->begun;
	if (!r->begun || r->out)
		return;
	c->ops.recast_end(c->ops.ctx, &r->job);
	r->begun = r->over = false;
}

void slot_change_kv(struct agent_core *c, struct slot *sl)
{
	const uint32_t len = sl->session.computed;
	struct recast_state *r = &sl->recast;
	struct err e = { 0 };

	if (r->len > len) /* those behind will be computed again */
		r->len = len;
	if (!r->begun || r->over || r->out || !may_recast(sl) || len - r->len > REST_ROWS)
		return;
	if (c->ops.recast_done(c->ops.ctx, &sl->job, &r->job, r->len, len, &e)) {
		refuse_kv(sl, &e);
		return;
	}
	log_event(LOG_LEVEL_INFO, "session.kv", "id=%s kv=%s before=%s", sl->id,
		  kv_type_name(r->type), kv_type_name(sl->kv_type));
	sl->kv_type = r->type;
	r->over = true;
}

static bool begin_recast(struct agent_core *c, struct slot *sl, struct err *e)
{
	struct recast_state *r = &sl->recast;

	*r = (struct recast_state){ .type = sl->next_kv };
	r->job = (struct head_job){ .slot = sl->job.slot, .side = true, .recast = true };
	if (!c->ops.recast_begin)
		return !err_set(e, ERR_UNSUPPORTED, "this agent cannot");
	r->begun = !c->ops.recast_begin(c->ops.ctx, &sl->job, &r->job, r->type, e);
	return r->begun;
}

/* The rows that it lacks, some of them. */
static bool submit_recast(struct agent_core *c, struct slot *sl, uint64_t now_us, struct err *e)
{
	struct recast_state *r = &sl->recast;
	const uint32_t rows = sl->session.computed - r->len;

	if (rows <= REST_ROWS)
		return true;
	r->job.pos = r->len;
	r->job.rows = rows < PIECE_ROWS ? rows : PIECE_ROWS;
	r->job.queued_us = now_us;
	r->out = c->ops.submit(c->ops.ctx, &r->job);
	return r->out || !err_set(e, ERR_BUSY, "the compute queue is full");
}

void slot_recast(struct agent_core *c, struct slot *sl, uint64_t now_us)
{
	struct recast_state *r = &sl->recast;
	struct err e = { 0 };

	if (r->over || (r->begun && (!may_recast(sl) || r->type != sl->next_kv)))
		slot_recast_end(c, sl);
	if (r->over || r->out || sl->next_kv == sl->kv_type || !may_recast(sl))
		return;
	if ((!r->begun && !begin_recast(c, sl, &e)) || !submit_recast(c, sl, now_us, &e)) {
		refuse_kv(sl, &e);
		slot_recast_end(c, sl);
	}
}

static void take_back(struct agent_core *c, struct slot *sl, const struct head_job *job)
{
	struct recast_state *r = &sl->recast;

	r->out = false;
	if (r->over || sl->session.state == SESSION_ENDED) {
		slot_recast_end(c, sl);
	} else if (job->rc) {
		refuse_kv(sl, &job->err);
		slot_recast_end(c, sl);
	} else if (r->len == job->pos) {
		r->len += job->rows;
	}
}

void slot_recast_done(struct agent_core *c, struct slot *sl, const struct head_job *job,
		      uint64_t now_us)
{
	take_back(c, sl, job);
	if (sl->session.state != SESSION_ENDED)
		slot_recast(c, sl, now_us);
	else if (!slot_is_out(sl))
		slot_free(c, sl);
}
