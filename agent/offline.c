#include "agent/offline.h"

#include <stdio.h>
#include <string.h>

#include "agent/admit.h"
#include "base/log.h"

static uint32_t usual_split(const struct agent_core *c)
{
	return c->has_decision ? c->decision.split : c->conf.split;
}

static bool is_away(const struct agent_core *c)
{
	return !c->up || !workers_can_serve(&c->workers, c->conf.model, usual_split(c), "");
}

static bool runs(const struct slot *sl)
{
	return sl->used && sl->session.state != SESSION_ENDED;
}

/* Name of the first front with which the whole model fits here, with sessions as usual; NULL:
 * none. */
static const char *whole_front(const struct agent_core *c)
{
	struct msg_decision whole = { .split = c->conf.n_layers };
	struct room_answer a;
	struct err e = { 0 };

	for (unsigned i = 0; i < (c->conf.n_fronts ? c->conf.n_fronts : 1); i++) {
		memcpy(whole.front, c->conf.fronts[i], sizeof(whole.front));
		if (!admit_decision(c, &whole, &a, &e))
			return c->conf.fronts[i];
		log_event(LOG_LEVEL_WARN, "offline.refused", "front=%s reason=%s", whole.front,
			  LOG_QUOTED(e.text));
	}
	return NULL;
}

static void begin(struct agent_core *c, uint64_t now_us)
{
	c->alone = true;
	log_event(LOG_LEVEL_WARN, "offline.begun", "away_ms=%llu reason=%s",
		  (unsigned long long)(now_us - c->away_us) / 1000,
		  LOG_QUOTED(c->up ? "no worker" : "no broker"));
	for (unsigned i = 0; i < c->conf.max_sessions; i++) {
		struct slot *sl = &c->slots[i];

		if (!runs(sl) || sl->split_given || sl->session.conf.local)
			continue;
		sl->degraded = true;
		slot_go_alone(c, sl, now_us);
	}
}

/* Go alone if that is possible, once the front that it takes is there. */
static void try(struct agent_core *c, uint64_t now_us)
{
	const char *front;

	c->offline_tried = true;
	if (usual_split(c) == c->conf.n_layers)
		return;
	front = whole_front(c);
	if (!front) {
		log_event(LOG_LEVEL_WARN, "offline.waiting", "reason=\"not all layers fit here\"");
	} else if (!c->ops.front ||
		   !strcmp(front, c->front.index ? c->front.name : c->conf.front)) {
		begin(c, now_us);
	} else {
		c->offline_loading = true;
		c->ops.front(c->ops.ctx, front); /* offline_front */
	}
}

void offline_front(struct agent_core *c)
{
	if (!c->offline_loading)
		return;
	c->offline_arrived = true;
	c->offline_due_us = 1; /* at once */
}

/* The front that was waited for is there; or it could not be loaded. */
static void go_on(struct agent_core *c, uint64_t now_us)
{
	c->offline_loading = c->offline_arrived = false;
	if (c->front.layers == c->conf.n_layers && c->front.has_head)
		begin(c, now_us);
	else
		log_event(LOG_LEVEL_WARN, "offline.waiting", "reason=\"no front with all layers\"");
}

static void end(struct agent_core *c, uint64_t now_us)
{
	c->alone = c->offline_loading = c->offline_arrived = false;
	log_event(LOG_LEVEL_INFO, "offline.ended", "away_ms=%llu",
		  (unsigned long long)(now_us - c->away_us) / 1000);
	for (unsigned i = 0; i < c->conf.max_sessions; i++) {
		if (runs(&c->slots[i]))
			slot_move(c, &c->slots[i], usual_split(c), now_us);
	}
	if (c->ops.front)
		c->ops.front(c->ops.ctx, c->has_decision ? c->decision.front : "");
}

const char *offline_waits_for(const struct agent_core *c)
{
	if (c->alone || usual_split(c) == c->conf.n_layers || !is_away(c))
		return NULL;
	return c->up ? "worker" : "broker";
}

const char *offline_reason(const struct agent_core *c)
{
	return c->up ? "no worker is there for the split that the prompt wants"
		     : "no broker is there for the split that the prompt wants";
}

/* A session whose split is not to change ends, with the text that there is. */
static void fail_pinned(struct agent_core *c, struct slot *sl, uint64_t now_us)
{
	struct msg_error m = { .code = ERR_OFFLINE, .epoch = sl->session.epoch };

	snprintf(m.reason, sizeof(m.reason), "%s", offline_reason(c));
	slot_event(
		c, sl,
		&(struct session_event){ .kind = SESSION_EV_ERROR, .now_us = now_us, .error = &m });
}

static void fail_all_pinned(struct agent_core *c, uint64_t now_us)
{
	for (unsigned i = 0; i < c->conf.max_sessions; i++) {
		struct slot *sl = &c->slots[i];

		if (runs(sl) && sl->split_given && !sl->session.conf.local)
			fail_pinned(c, sl, now_us);
	}
}

static void look(struct agent_core *c, uint64_t now_us)
{
	const uint64_t after_us = c->conf.offline_after_ms * UINT64_C(1000);

	if (!is_away(c)) {
		if (c->alone || c->offline_loading)
			end(c, now_us);
		c->away_us = 0;
		c->offline_tried = false;
		return;
	}
	if (!c->away_us)
		c->away_us = now_us;
	if (c->offline_arrived)
		go_on(c, now_us);
	if (!after_us)
		return;
	if (now_us - c->away_us < after_us) {
		c->offline_due_us = c->away_us + after_us;
		return;
	}
	c->away_long = true;
	fail_all_pinned(c, now_us);
	if (!c->offline_tried)
		try(c, now_us);
}

bool offline_look(struct agent_core *c, uint64_t now_us)
{
	const bool was_alone = c->alone;

	c->offline_due_us = 0;
	c->away_long = false;
	if (c->up && now_us < c->settled_us) /* the retained statuses are on their way */
		c->offline_due_us = c->settled_us;
	else
		look(c, now_us);
	return c->alone && !was_alone;
}
